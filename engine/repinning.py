"""Migration: a live run goes on under another version of its definition. Pure; called by `decide`.

What has begun must be found again in the new version, as the same kind of node; what has not begun is decided by the
new one. `plan_migration` says what stands in the way before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    InstanceState,
    TaskRow,
    TaskState,
)
from .beginning import answered
from .draft import Draft
from .errors import Conflict
from .events import Applied, MigrateInstance
from .lifecycle import required
from .plan import Plan, PlanNode, address_of
from .ripple import Ripple
from .starting import holds

__all__ = ["MigrationPlan", "migrate", "plan_migration"]


@dataclass(slots=True)
class MigrationPlan:
    """What a migration would meet, by task path."""

    #: Tasks that go on as they are.
    safe: list[str] = field(default_factory=list[str])
    #: Finished tasks whose node the new version does not have: their outputs can no longer be read.
    lost: list[str] = field(default_factory=list[str])
    #: Why it cannot be done: path and reason; '' is the run itself.
    impossible: list[tuple[str, str]] = field(default_factory=list["tuple[str, str]"])

    @property
    def verdict(self) -> str:
        """`safe`, `needs mapping` (finished work would be lost) or `impossible`."""
        return "impossible" if self.impossible else "needs mapping" if self.lost else "safe"


def plan_migration(plan: Plan, rows: Iterable[TaskRow]) -> MigrationPlan:
    """Judge every row of a run against the plan it would go on with."""
    found = MigrationPlan()
    for row in rows:
        if not row.path:
            continue
        why = _obstacle(plan, row)
        if why is None:
            found.safe.append(row.path)
        elif row.state in TERMINAL_TASK_STATES:
            found.lost.append(row.path)
        else:
            found.impossible.append((row.path, why))
    return found


def _obstacle(plan: Plan, row: TaskRow) -> str | None:
    address = address_of(row.path)
    node = plan.nodes.get(address)
    if node is None:
        return None if address in plan.scopes else "the new version has no such node"
    if row.executor != node.executor:
        return (
            f"it is a {node.kind!r} node there"
            if node.executor is None
            else f"it calls {node.executor} there"
        )
    if row.state is TaskState.WAITING and node.kind in {"run", "set"} and row.closed is None:
        return f"it is a {node.kind!r} node there"
    return None


def migrate(draft: Draft, event: MigrateInstance) -> Applied:
    """Pin the instance to the plan at hand. Raises Conflict naming what has begun and is not there."""
    instance = required(draft, event.instance_id)
    if instance.state in TERMINAL_INSTANCE_STATES:
        raise Conflict(
            f"instance {instance.id} has ended {instance.state}.", hint="Fork or rerun it instead."
        )
    if instance.definition_id == event.definition_id:
        return answered(draft, "ignored")
    if instance.name != draft.plan.name:
        raise Conflict(f"instance {instance.id} runs {instance.name!r}, not {draft.plan.name!r}.")
    rows, _ = draft.descendants("", "")
    refused = plan_migration(draft.plan, rows).impossible
    if refused:
        path, why = refused[0]
        raise Conflict(
            f"{path} has begun, and {why}.", hint="Wait until it has ended, or cancel the instance."
        )
    old = instance.version
    instance.definition_id, instance.version = event.definition_id, draft.plan.version
    draft.note_instance(f"migrated from version {old}: {event.reason}")
    if instance.state is not InstanceState.QUEUED:
        _decide_new(draft)
    return answered(draft)


def _decide_new(draft: Draft) -> None:
    """Nodes that nothing will reach any more, because all they wait for has ended, are reached now."""
    ripple, scope = Ripple(draft), draft.plan.root
    root = draft.known("")
    rows = draft.rows(scope.nodes)
    for name, node in scope.nodes.items():
        row = rows[name]
        if row is not None and row.state is not TaskState.PENDING:
            continue
        _reach_now(ripple, root, node, row, {e.node: rows[e.node] for e in node.deps})
    ripple.run()


def _reach_now(
    ripple: Ripple, root: TaskRow, node: PlanNode, row: TaskRow | None, befores: dict[str, TaskRow | None]
) -> None:
    if node.groups:
        ripple.judge(root, node, node.name, row, None)
        return
    ended = {n: r for n, r in befores.items() if r is not None and r.state in TERMINAL_TASK_STATES}
    broken = next((e.node for e in node.deps if e.node in ended and not holds(ended[e.node], e.on)), None)
    remaining = len(node.deps) - len(ended)
    if broken is not None:
        ripple.skip(root, node, node.name, row, f"{broken} does not hold")
    elif remaining == 0:
        ripple.activate(root, node, node.name, row)
    elif row is not None:
        ripple.draft.edit(row.path).remaining = remaining
    elif ended:
        ripple.wait_for(root, node, node.name, remaining, "migrated")
