"""What people do to a whole instance: cancel, terminate, pause, resume. Pure; called by `decide`.

Each is O(1) on the instance plus bounded sweeps; a repeated request does nothing twice.
"""

from __future__ import annotations

from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    InstanceRow,
    InstanceState,
    TaskRow,
    TaskState,
)
from .beginning import answered
from .draft import Draft
from .ending import release
from .errors import IllegalTransition, NotFound
from .events import Applied, CancelInstance, PauseInstance, ResumeInstance, TerminateInstance
from .ripple import Ripple
from .rows import error_text, memo_of, node_of, remember
from .states import InstanceEvent, TaskEvent
from .stopping import CLOSED

__all__ = ["cancel", "expire", "force", "pause", "required", "resume", "terminate", "unpark"]


def required(draft: Draft, instance_id: str) -> InstanceRow:
    """The instance. Raises NotFound."""
    if not draft.has_instance:
        raise NotFound(f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is.")
    return draft.instance


def cancel(draft: Draft, event: CancelInstance) -> Applied:
    """Start nothing new, stop what waits, tell what runs; the instance ends when nothing runs any more."""
    instance = required(draft, event.instance_id)
    if instance.state in {InstanceState.CANCELLING, InstanceState.CANCELLED}:
        return answered(draft, "ignored")
    if instance.state is InstanceState.QUEUED:
        return _never_begin(draft, event.reason)
    if instance.state in TERMINAL_INSTANCE_STATES:
        raise IllegalTransition("instance", instance.state, InstanceEvent.CANCEL, id=event.instance_id)
    draft.move_instance(InstanceEvent.CANCEL, event.reason)
    instance.reason = event.reason
    ripple = Ripple(draft)
    root = _end_root_sweep(draft)
    root.deadline_at = None if event.grace is None else draft.now + event.grace
    if "end" in memo_of(root):
        remember(root, end=TaskEvent.CANCEL.value)  # `finally` runs already, and ends before the run does
        unpark(ripple, root)
        ripple.run()
        return answered(draft)
    handling = root.closed == "handling"
    root.closed = "cancelled"
    if handling:
        remember(root, was="cancelled")
    if root.state is TaskState.RUNNING:
        draft.stopped.append(("", root.attempt))
    elif root.open == 0:
        ripple.finish(root, TaskEvent.CANCEL, event.reason)
    ripple.sweep(root)
    ripple.run()
    return answered(draft)


def _never_begin(draft: Draft, reason: str) -> Applied:
    root = draft.edit("", counters=True)
    draft.move(root, TaskEvent.CANCEL, reason)
    draft.move_instance(InstanceEvent.STOP, reason)
    draft.instance.reason = reason
    release(Ripple(draft))
    return answered(draft)


def terminate(draft: Draft, event: TerminateInstance) -> Applied:
    """End an instance at once: running attempts are given up, nothing of its own runs any more."""
    instance = required(draft, event.instance_id)
    root = draft.known("")
    if instance.state in TERMINAL_INSTANCE_STATES or root.closed == "terminated":
        return answered(draft, "ignored")
    if instance.state is InstanceState.QUEUED:
        return _never_begin(draft, event.reason)
    draft.move_instance(InstanceEvent.TERMINATE, event.reason)
    instance.reason = event.reason
    _give_up(Ripple(draft))
    return answered(draft)


def force(ripple: Ripple) -> None:
    """The grace of a cancel is over: what still runs is given up; `finally` has its turn all the same."""
    root = _end_root_sweep(ripple.draft)
    root.deadline_at = None
    remember(root, forced=True)
    ripple.sweep(root)


def _give_up(ripple: Ripple) -> None:
    draft = ripple.draft
    root = _end_root_sweep(draft)
    root.closed = "terminated"
    root.deadline_at = None
    if root.state is TaskState.RUNNING:
        draft.stopped.append(("", root.attempt))
        root = draft.move(root, TaskEvent.HANDLE, "terminated")
    elif root.state in {TaskState.QUEUED, TaskState.PAUSED}:
        root = draft.move(root, TaskEvent.HANDLE, "terminated")
    draft.edit("", counters=True)
    ripple.sweep(root)
    if root.open == 0:
        ripple.ended(draft.move(root, TaskEvent.CANCEL, "terminated"))
    ripple.run()


def _end_root_sweep(draft: Draft) -> TaskRow:
    """A sweep of the root that still goes on is taken over by what comes now."""
    root = draft.edit("", counters=True)
    if root.cursor is not None:
        if root.closed in CLOSED:
            draft.instance.sweeps -= 1
        root.cursor = None
        root.wake_at = None
    return root


def expire(ripple: Ripple, row: TaskRow) -> None:
    """A deadline has passed: what is below is stopped, then the row fails; its handler may follow."""
    node = node_of(ripple.plan, row)
    if row.scope is None:
        row = _end_root_sweep(ripple.draft)
    row = ripple.draft.edit(row.path, counters=True)
    what = "the run" if row.scope is None else repr(node.name if node and node.name else row.path)
    row.error = row.error or error_text(
        "deadline",
        f"{what} did not end within its deadline",
        node=node.name if node else "",
        path=row.path,
        attempt=row.attempt if row.scope is not None else 0,
    )
    row.awaits = row.wake_at = row.deadline_at = None
    if row.open > 0:
        row.closed = "expired"
        ripple.sweep(row)
    else:
        ripple.forsake(row)
        ripple.failures.fail(row, "deadline")


def pause(draft: Draft, event: PauseInstance) -> Applied:
    """Nothing is rewritten: claims park what they meet, and what becomes ready is parked at once."""
    instance = required(draft, event.instance_id)
    if instance.state is InstanceState.PAUSED:
        return answered(draft, "ignored")
    draft.move_instance(InstanceEvent.PAUSE, event.reason)
    instance.reason = event.reason
    root = draft.known("")
    if root.cursor is not None and root.closed not in CLOSED:
        _end_root_sweep(draft)
    return answered(draft)


def resume(draft: Draft, event: ResumeInstance) -> Applied:
    """Go on: parked tasks become ready again, at most SWEEP_LIMIT a transaction."""
    instance = required(draft, event.instance_id)
    if instance.state in {InstanceState.RUNNING, InstanceState.PENDING}:
        return answered(draft, "ignored")
    draft.move_instance(InstanceEvent.RESUME, event.reason)
    instance.reason = None
    ripple = Ripple(draft)
    root = draft.known("")
    if root.cursor is None or root.closed not in CLOSED:
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
