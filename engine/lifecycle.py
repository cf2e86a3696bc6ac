"""What people do to a whole instance: start, cancel, pause, resume, take back. Pure; called by `decide`.

Each is O(1) on the instance plus bounded sweeps; a repeated request does nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    InstanceRow,
    InstanceState,
    TaskRow,
    TaskState,
)
from .draft import Draft
from .errors import Conflict, IllegalTransition, NotFound
from .events import (
    Applied,
    CancelInstance,
    PauseInstance,
    ResumeInstance,
    RollbackInstance,
    StartInstance,
)
from .plan import PlanNode, ScopePlan
from .ripple import Ripple
from .rows import error_text, new_task
from .states import InstanceEvent, TaskEvent

__all__ = ["answered", "cancel", "expire", "past_deadline", "pause", "resume", "rollback", "start", "unpark"]


def answered(draft: Draft, status: str = "accepted") -> Applied:
    """What an event came to."""
    return Applied(status, draft.instance.id)


def start(draft: Draft, event: StartInstance) -> Applied:
    """Make the instance, its root scope and the first tasks. The same id again starts nothing."""
    if draft.has_instance:
        return answered(draft, "existing")
    plan = draft.plan
    row = InstanceRow(
        id=event.instance_id,
        definition_id=event.definition_id,
        name=plan.name,
        version=plan.version,
        state=InstanceState.PENDING,
        key=event.key,
        gen=0,
        sweeps=0,
        inputs=None,
        inputs_ref=None,
        reason=None,
        created_at=draft.now,
        started_at=None,
        ended_at=None,
    )
    draft.begin(row, "started")
    row.inputs, row.inputs_ref = draft.store(event.inputs)
    ripple = Ripple(draft)
    root = new_task(row.id, "", None, gen=0)
    root.started_at = draft.now
    ripple.enter(draft.born(root, TaskEvent.ENTER, "started", scope_row=True))
    ripple.run()
    return answered(draft)


def _require(draft: Draft, instance_id: str) -> InstanceRow:
    if not draft.has_instance:
        raise NotFound(f"there is no instance {instance_id}.")
    return draft.instance


def cancel(draft: Draft, event: CancelInstance) -> Applied:
    """Start nothing new, stop what waits, tell what runs; the instance ends when nothing runs any more."""
    instance = _require(draft, event.instance_id)
    if instance.state in {InstanceState.CANCELLING, InstanceState.CANCELLED}:
        return answered(draft, "ignored")
    if instance.state in TERMINAL_INSTANCE_STATES:
        raise IllegalTransition("instance", instance.state, InstanceEvent.CANCEL, id=event.instance_id)
    draft.move_instance(InstanceEvent.CANCEL, event.reason)
    instance.reason = event.reason
    ripple = Ripple(draft)
    root = _end_root_sweep(draft)
    root.closed = "cancelled"
    if root.state is TaskState.RUNNING:
        draft.stopped.append(("", root.attempt))
    elif root.open == 0:
        ripple.ended(draft.move(root, TaskEvent.CANCEL, event.reason))
    ripple.sweep(root)
    ripple.run()
    return answered(draft)


def _end_root_sweep(draft: Draft) -> TaskRow:
    """A sweep of the root that still goes on is taken over by what comes now."""
    root = draft.edit("", counters=True)
    if root.cursor is not None:
        if root.closed:
            draft.instance.sweeps -= 1
        root.cursor = None
        root.wake_at = None
    return root


def past_deadline(draft: Draft, root: TaskRow) -> bool:
    """Has the run taken longer than its definition allows, and is it not being stopped already?"""
    limit = draft.plan.deadline
    if limit is None or root.started_at is None or root.closed in {"cancelled", "expired"}:
        return False
    return root.state is TaskState.WAITING and draft.now >= root.started_at + limit


def expire(ripple: Ripple, root: TaskRow) -> None:
    """The run's deadline has passed: stop everything, running tasks too; then it fails."""
    root = _end_root_sweep(ripple.draft)
    root.closed = "expired"
    root.error = root.error or error_text(
        "deadline", "the run did not end within its deadline", node="", path="", attempt=0
    )
    ripple.sweep(root)


def pause(draft: Draft, event: PauseInstance) -> Applied:
    """Nothing is rewritten: claims park what they meet, and what becomes ready is parked at once."""
    instance = _require(draft, event.instance_id)
    if instance.state is InstanceState.PAUSED:
        return answered(draft, "ignored")
    draft.move_instance(InstanceEvent.PAUSE, event.reason)
    instance.reason = event.reason
    root = draft.known("")
    if root.cursor is not None and not root.closed:
        _end_root_sweep(draft)
    return answered(draft)


def resume(draft: Draft, event: ResumeInstance) -> Applied:
    """Go on: parked tasks become ready again, at most SWEEP_LIMIT a transaction."""
    instance = _require(draft, event.instance_id)
    if instance.state in {InstanceState.RUNNING, InstanceState.PENDING}:
        return answered(draft, "ignored")
    draft.move_instance(InstanceEvent.RESUME, event.reason)
    instance.reason = None
    ripple = Ripple(draft)
    root = draft.known("")
    if not root.closed:
        unpark(ripple, root)
    ripple.run()
    return answered(draft)


def unpark(ripple: Ripple, root: TaskRow) -> None:
    """One bounded step of a resume; the root's cursor says where the next one goes on."""
    draft = ripple.draft
    if root.state is TaskState.PAUSED:
        ripple.ready(root, "resumed")  # all its nodes have ended: only its output is left
        return
    rows, last = draft.descendants("", root.cursor or "")
    if last is not None or root.cursor is not None:
        root = draft.edit("", counters=True)
        root.cursor = last
        root.wake_at = draft.now if last is not None else None
    for row in rows:
        if row.state is TaskState.PAUSED:
            ripple.ready(row, "resumed")


def rollback(draft: Draft, event: RollbackInstance) -> Applied:
    """Take an ended instance back to before its `targets`: they, and all that follows from them, are decided again.

    Tasks keep their attempt numbers; the journal keeps everything. Rows inside a map or group that is taken back are
    made anew by a higher generation.
    """
    instance = _require(draft, event.instance_id)
    if instance.state not in TERMINAL_INSTANCE_STATES:
        raise IllegalTransition("instance", instance.state, InstanceEvent.ROLLBACK, id=instance.id)
    scope = draft.plan.root
    rows = {name: draft.row(name) for name in scope.nodes}
    draft.row("")
    again = _again(scope, _targets(scope, rows, event))
    _refuse_lost_variables(scope, rows, again)
    draft.move_instance(InstanceEvent.ROLLBACK, event.reason)
    instance.gen += 1
    instance.reason = event.reason
    root = draft.edit("", counters=True)
    draft.move(root, TaskEvent.REOPEN, event.reason)
    root.started_at = draft.now  # the deadline counts from here
    root.open, root.closed, root.output, root.output_ref, root.error = 0, None, None, None, None
    draft.move(root, TaskEvent.ENTER, event.reason)
    ripple = Ripple(draft)
    for name in again:
        _decide_again(ripple, root, scope.nodes[name], rows, set(again), event.reason)
    ripple.run()
    return answered(draft)


def _targets(scope: ScopePlan, rows: Mapping[str, TaskRow | None], event: RollbackInstance) -> set[str]:
    unknown = [name for name in event.targets if name not in scope.nodes]
    if unknown:
        raise Conflict(
            f"{unknown[0]!r} is no node of the definition's outermost scope.",
            hint=f"It has: {', '.join(list(scope.nodes)[:20])}.",
        )
    undone = {
        name
        for name, row in rows.items()
        if row is not None
        and (
            row.state is TaskState.CANCELLED
            or (row.state is TaskState.FAILED and not scope.nodes[name].failure_handled)
        )
    }
    found = set(event.targets) | undone
    unreached = {name for name, row in rows.items() if row is None}
    if not found | unreached:
        raise Conflict("nothing of this instance failed.", hint="Name the node to go back to.")
    return found | unreached


def _again(scope: ScopePlan, targets: set[str]) -> list[str]:
    """The targets and everything downstream of them, dependencies first."""
    again, todo = set(targets), list(targets)
    while todo:
        for name in scope.nodes[todo.pop()].successors:
            if name not in again:
                again.add(name)
                todo.append(name)
    waiting = {name: sum(edge.node in again for edge in scope.nodes[name].deps) for name in again}
    ready = [name for name in scope.nodes if waiting.get(name) == 0]
    ordered: list[str] = []
    while ready:
        name = ready.pop()
        ordered.append(name)
        for successor in scope.nodes[name].successors:
            waiting[successor] -= 1
            if waiting[successor] == 0:
                ready.append(successor)
    return ordered


def _refuse_lost_variables(scope: ScopePlan, rows: Mapping[str, TaskRow | None], again: list[str]) -> None:
    """A variable that both a kept and a taken-back `set` wrote holds the later value: its earlier one is not stored."""
    kept = {v for n in scope.nodes.values() if n.name not in again and rows[n.name] for v in _writes(n)}
    lost = sorted(v for name in again if rows[name] for v in _writes(scope.nodes[name]) if v in kept)
    if lost:
        raise Conflict(
            f"variable {lost[0]!r} was written before and after the point to go back to.",
            hint="Go back to before its first `set`.",
        )


def _writes(node: PlanNode) -> list[str]:
    return list(node.set_.source) if node.set_ is not None else []


def _decide_again(  # noqa: PLR0917 - private
    ripple: Ripple,
    root: TaskRow,
    node: PlanNode,
    rows: Mapping[str, TaskRow | None],
    again: set[str],
    reason: str,
) -> None:
    """One node as it stands when everything kept has ended: skipped, ready, or waiting for others taken back."""
    draft = ripple.draft
    row = rows[node.name]
    kept = [edge for edge in node.deps if edge.node not in again]
    broken = next((e for e in kept if not _holds(rows[e.node], e.on)), None)
    remaining = len(node.deps) - len(kept)
    if row is not None:
        row = _reset(draft, row, reason)
        draft.edit("", counters=True).open += 1
        row.remaining = remaining
    if broken is not None:
        ripple.skip(root, node, node.name, row, f"{broken.node} does not hold")
    elif remaining == 0:
        ripple.activate(root, node, node.name, row)
    elif row is None and kept:
        ripple.wait_for(root, node, node.name, remaining, reason)


def _holds(row: TaskRow | None, on: frozenset[str]) -> bool:
    return row is not None and row.state.value in on


def _reset(draft: Draft, row: TaskRow, reason: str) -> TaskRow:
    row = draft.move(row, TaskEvent.REOPEN, reason)
    draft.edit(row.path, counters=True)
    row.gen = draft.instance.gen
    row.failures = row.crashes = row.open = row.next = row.done = row.failed = row.skipped = 0
    row.total = row.width = row.closed = row.cursor = None
    row.output = row.output_ref = row.error = row.started_at = None
    return row
