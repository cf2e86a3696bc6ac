"""Which members of `nodes.X`, `instance` and the like exist, and how a reference is refused (rules 3, 4, 14).

The leaf below `references`: it looks at one reference at a time and knows no scopes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, NoReturn

from .problems import listed, nearest, suggestion

if TYPE_CHECKING:
    from .expressions import Reference
    from .symbols import NodeSymbol

__all__ = [
    "ERROR_FIELDS",
    "INSTANCE_FIELDS",
    "LOOP_FIELDS",
    "NODE_FIELDS",
    "STATS_FIELDS",
    "TASK_FIELDS",
    "TRIGGER_FIELDS",
    "Refused",
    "check_field",
    "member_of",
    "refuse",
]

NODE_FIELDS: Final = ("state", "output", "error", "attempt", "path", "started_at", "ended_at")
STATS_FIELDS: Final = ("total", "completed", "failed", "skipped", "cancelled")
INSTANCE_FIELDS: Final = ("id", "key", "name", "version", "started_at", "scheduled_for")
TASK_FIELDS: Final = ("path", "attempt", "idempotency_key")
LOOP_FIELDS: Final = ("index", "output")
TRIGGER_FIELDS: Final = ("path", "output")
ERROR_FIELDS: Final = ("code", "message", "node", "path", "attempt", "details", "cause", "compensation")
#: Fields that only some verbs have.
_VERB_FIELDS: Final = {
    "stats": ("map", "parallel", "loop"),
    "branch": ("switch",),
    "instance": ("flow",),
}


class Refused(Exception):
    """Raised for a reference that cannot stand."""

    def __init__(self, code: str, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def refuse(code: str, message: str, hint: str | None = None) -> NoReturn:
    """Raise `Refused`."""
    raise Refused(code, message, hint)


def check_field(target: NodeSymbol, parts: tuple[str | int, ...]) -> None:
    """Check the part after `nodes.<name>`."""
    name = parts[0]
    if len(parts) == 1:
        refuse("bare_nodes", f"'nodes.{name}' is read by a field", f"write nodes.{name}.output")
    field_name = parts[1]
    if field_name in NODE_FIELDS:
        return
    verbs = _VERB_FIELDS.get(str(field_name), ())
    if target.kind in verbs:
        if field_name == "stats" and len(parts) > 2 and parts[2] not in STATS_FIELDS:
            refuse("unknown_node_field", f"'stats' has no {parts[2]!r}", f"it has {listed(STATS_FIELDS)}")
        return
    if verbs:
        have = listed(verbs)
        message = f"nodes.{name} has no {field_name!r}: it is a {target.kind!r}"
        refuse("unknown_node_field", message, f"only {have} nodes have it")
    known = [*NODE_FIELDS, *(extra for extra, owners in _VERB_FIELDS.items() if target.kind in owners)]
    refuse(
        "unknown_node_field", f"nodes.{name} has no {field_name!r}", _field_hint(str(field_name), name, known)
    )


def _field_hint(field_name: str, name: str | int, known: Collection[str]) -> str:
    close = nearest(field_name, known)
    return f"did you mean {close[0]!r}?" if close else f"write nodes.{name}.output.{field_name}"


def member_of(root: str, reference: Reference, known: Collection[str]) -> None:
    """Check the first part after a root with fixed members."""
    if reference.parts and reference.parts[0] not in known:
        name = str(reference.parts[0])
        refuse("unknown_member", f"{root!r} has no {name!r}", suggestion(name, known, otherwise="it has"))
