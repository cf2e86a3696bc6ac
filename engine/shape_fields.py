"""The fields of every object of the language, of this version and of later ones, by name; and who reports them.

For `shape`: known fields come from the models, so they cannot fall behind; later ones are refused by name, which
tells an author that the field is right and only early.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .definition import (
    Defaults,
    Definition,
    DoNode,
    Join,
    MapNode,
    NeedOn,
    Retry,
    RunNode,
    Scope,
    SetNode,
    Wait,
    WaitNode,
)
from .errors import Problem
from .pointers import child
from .problems import suggestion

__all__ = [
    "ANY_NODE_FIELD",
    "DEFAULTS_FIELDS",
    "DEFINITION_FIELDS",
    "JOIN_FIELDS",
    "LATER_DEFAULTS",
    "LATER_DEFINITION",
    "LATER_NEED",
    "LATER_NODE",
    "LATER_VERBS",
    "LATER_WAIT",
    "NEED_FIELDS",
    "NODE_FIELDS",
    "RETRY_FIELDS",
    "RUN_ONLY_LATER",
    "SCOPE_FIELDS",
    "WAIT_FIELDS",
    "Shape",
]


def _fields(model: type[Any]) -> dict[str, None]:
    return {info.alias or name: None for name, info in model.model_fields.items()}


_NODE_MODELS: Final = {"run": RunNode, "map": MapNode, "set": SetNode, "wait": WaitNode, "do": DoNode}
NODE_FIELDS: Final = {verb: _fields(model) for verb, model in _NODE_MODELS.items()}
NEED_FIELDS: Final = _fields(NeedOn)
RETRY_FIELDS: Final = _fields(Retry)
ANY_NODE_FIELD: Final = {name: None for fields in NODE_FIELDS.values() for name in fields}
LATER_VERBS: Final = ("parallel", "loop", "switch", "flow")
LATER_NODE: Final = dict.fromkeys(
    (*LATER_VERBS, "else", "on_error", "undo", "deadline", "heartbeat", "limits", "key", "collect", "detach")
)
LATER_DEFINITION: Final = dict.fromkeys(
    ("start", "schedule", "on_error", "finally", "on_failure", "labels", "limits", "undo")
)
LATER_WAIT: Final = dict.fromkeys(("until", "signal", "match", "condition", "every", "timeout", "on_timeout"))
LATER_NEED: Final = dict.fromkeys(("any", "all", "none"))
LATER_DEFAULTS: Final = dict.fromkeys(("heartbeat", "deadline", "limits"))
#: Fields of `run` whose meaning on other verbs belongs to a later version.
RUN_ONLY_LATER: Final = frozenset({"retry", "timeout"})
DEFINITION_FIELDS: Final = _fields(Definition)
DEFAULTS_FIELDS: Final = _fields(Defaults)
JOIN_FIELDS: Final = _fields(Join)
SCOPE_FIELDS: Final = _fields(Scope)
WAIT_FIELDS: Final = _fields(Wait)
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
