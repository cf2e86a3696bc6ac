"""The fields of every object of the language, of this version and of later ones, by name; and who reports them.

For `shape`: known fields come from the models, so they cannot fall behind; later ones are refused by name, which
tells an author that the field is right and only early.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .definition import (
    Case,
    Definition,
    DoNode,
    FlowNode,
    Handler,
    LoopNode,
    MapNode,
    Node,
    OnError,
    ParallelNode,
    RunNode,
    Scope,
    SetNode,
    SwitchNode,
    Wait,
    WaitNode,
)
from .definition_parts import Defaults, Fail, Join, Loop, NeedGroup, NeedOn, Retry, Start
from .errors import Problem
from .pointers import child
from .problems import listed, suggestion

__all__ = [
    "ACTIONS",
    "ANY_NODE_FIELD",
    "CASE_FIELDS",
    "COMMON_FIELDS",
    "DEFAULTS_FIELDS",
    "DEFINITION_FIELDS",
    "FAIL_FIELDS",
    "HANDLER_FIELDS",
    "JOIN_FIELDS",
    "LATER_DEFINITION",
    "LATER_NODE",
    "LOOP_FIELDS",
    "LOOP_KINDS",
    "NEED_FIELDS",
    "NEED_GROUPS",
    "NODE_FIELDS",
    "ON_ERROR_FIELDS",
    "RETRY_FIELDS",
    "SCOPE_FIELDS",
    "START_FIELDS",
    "WAIT_FIELDS",
    "WAIT_KINDS",
    "Shape",
]


def _fields(model: type[Any]) -> dict[str, None]:
    return {info.alias or name: None for name, info in model.model_fields.items()}


_NODE_MODELS: Final = {
    "run": RunNode,
    "map": MapNode,
    "parallel": ParallelNode,
    "loop": LoopNode,
    "switch": SwitchNode,
    "flow": FlowNode,
    "wait": WaitNode,
    "set": SetNode,
    "do": DoNode,
}
NODE_FIELDS: Final = {verb: _fields(model) for verb, model in _NODE_MODELS.items()}
COMMON_FIELDS: Final = _fields(Node)
ANY_NODE_FIELD: Final = {name: None for fields in NODE_FIELDS.values() for name in fields}
NEED_FIELDS: Final = _fields(NeedOn)
NEED_GROUPS: Final = _fields(NeedGroup)
RETRY_FIELDS: Final = _fields(Retry)
DEFINITION_FIELDS: Final = _fields(Definition)
DEFAULTS_FIELDS: Final = _fields(Defaults)
JOIN_FIELDS: Final = _fields(Join)
SCOPE_FIELDS: Final = _fields(Scope)
WAIT_FIELDS: Final = _fields(Wait)
WAIT_KINDS: Final = ("for", "until", "signal", "condition")
LOOP_FIELDS: Final = _fields(Loop)
LOOP_KINDS: Final = ("while", "until", "times", "for")
CASE_FIELDS: Final = _fields(Case)
HANDLER_FIELDS: Final = _fields(Handler)
ON_ERROR_FIELDS: Final = _fields(OnError)
#: What a handler may do, one of them.
ACTIONS: Final = ("output", "do", "continue", "fail")
FAIL_FIELDS: Final = _fields(Fail)
START_FIELDS: Final = _fields(Start)
LATER_NODE: Final = dict.fromkeys(("limits",))
LATER_DEFINITION: Final = dict.fromkeys(("schedule", "limits"))
#: Where null is a value like any other.
_NULLABLE: Final = frozenset({"with", "output"})


@dataclass(slots=True)
class Shape:
    """Result of the check: a document of known fields only, and what was wrong."""

    document: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    #: Pointers of stand-ins.
    muted: set[str] = field(default_factory=set)
    nodes: int = 0

    def one_of(self, kept: dict[str, Any], pointer: str, names: Collection[str], what: str) -> str | None:
        """The one of these fields that is said; further ones are reported and taken out."""
        found = [name for name in names if name in kept]
        for other in found[1:]:
            del kept[other]
        if len(found) > 1:
            said = " and ".join(repr(name) for name in found)
            self.report(
                pointer, "bad_value", f"{what} has one of {listed(names)}; this has {said}", "keep one"
            )
        return found[0] if found else None

    def report(self, pointer: str, code: str, message: str, hint: str | None = None) -> None:
        """Add a problem."""
        self.problems.append(Problem(pointer, code, message, hint))

    def members(
        self, raw: Mapping[str, Any], pointer: str, known: Collection[str], later: Collection[str] = ()
    ) -> dict[str, Any]:
        """The known members of an object; the others are reported."""
        kept: dict[str, Any] = {}
        for name, value in raw.items():
            if name not in known:
                self._refuse(name, child(pointer, name), known, later)
            elif value is None and name not in _NULLABLE:
                self.report(
                    child(pointer, name), "wrong_type", f"{name!r} must not be null", "leave it out instead"
                )
            else:
                kept[name] = value
        return kept

    def _refuse(self, name: str, pointer: str, known: Collection[str], later: Collection[str]) -> None:
        if name in later:
            self.report(pointer, "not_supported", f"{name!r} is not built in this version", "remove it")
        else:
            self.report(
                pointer,
                "unknown_field",
                f"there is no field {name!r} here",
                suggestion(name, [*known, *later], otherwise="fields"),
            )
