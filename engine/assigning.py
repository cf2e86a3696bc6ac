"""What a `set` node writes, and whom that wakes (DSL rule 15). Pure; called by `attempts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..repositories.records import TaskRow, VarRow
from .outcomes import Payload
from .plan import address_of
from .rows import VARS, node_of, parent_path
from .waits import look_again

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["write_vars"]


def write_vars(ripple: Ripple, row: TaskRow, values: Mapping[str, Payload]) -> None:
    """Store the variables a row wrote in the scopes that own them; conditions look again."""
    if not values:
        return
    draft, instance = ripple.draft, ripple.draft.instance
    for name, payload in values.items():
        text, ref = draft.store(payload)
        owner = _owner(ripple, row, name)
        node = ripple.plan.nodes.get(address_of(owner)) if owner else None
        # of a loop's variable only the last value is kept: turns are many, and a loop is taken back as a whole
        writer = "" if node is not None and node.kind == "loop" else row.path
        instance.vars_rev += 1
        draft.changes.vars.append(
            VarRow(row.instance_id, owner, name, writer, instance.vars_rev, instance.gen, text, ref)
        )
    if ripple.plan.watches_vars:
        look_again(ripple, VARS)


def _owner(ripple: Ripple, row: TaskRow, name: str) -> str:
    """Path of the row that owns the variable: the nearest definition, map item, branch or loop."""
    node = node_of(ripple.plan, row)
    owner = ripple.plan.vars[node.scope if node else "", name]
    path: str | None = row.path
    while path is not None and (address_of(path) != owner or path == row.path):
        path = parent_path(path)
    return path or ""
