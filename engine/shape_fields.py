"""The fields of every object of the language, by name; and who reports them.

For `shape`: the names come from the models, so they cannot fall behind.
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
from .definition_pace import Limits, Schedule, TotalLimits
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
    "LIMITS_FIELDS",
    "LIMIT_KINDS",
    "LOOP_FIELDS",
    "LOOP_KINDS",
    "NEED_FIELDS",
    "NEED_GROUPS",
    "NODE_FIELDS",
    "ON_ERROR_FIELDS",
    "RETRY_FIELDS",
    "SCHEDULE_FIELDS",
    "SCHEDULE_KINDS",
    "SCOPE_FIELDS",
    "START_FIELDS",
    "TOTAL_FIELDS",
    "TOTAL_KINDS",
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
LIMITS_FIELDS: Final = _fields(Limits)
#: What limits must have one of, or nothing is limited.
LIMIT_KINDS: Final = ("concurrency", "rate", "mutex", "pools")
TOTAL_FIELDS: Final = _fields(TotalLimits)
TOTAL_KINDS: Final = ("concurrency", "rate")
SCHEDULE_FIELDS: Final = _fields(Schedule)
SCHEDULE_KINDS: Final = ("cron", "every")
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

    def members(self, raw: Mapping[str, Any], pointer: str, known: Collection[str]) -> dict[str, Any]:
        """The known members of an object; the others are reported."""
        kept: dict[str, Any] = {}
        for name, value in raw.items():
            if name not in known:
                hint = suggestion(name, known, otherwise="fields")
                self.report(child(pointer, name), "unknown_field", f"there is no field {name!r} here", hint)
            elif value is None and name not in _NULLABLE:
                self.report(
                    child(pointer, name), "wrong_type", f"{name!r} must not be null", "leave it out instead"
                )
            else:
                kept[name] = value
        return kept
