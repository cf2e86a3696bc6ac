"""What happens to one task, event by event: claim, outcome, timer, lost lease, note. Pure; called by `decide`.

Every write of an attempt is fenced: it counts only while the row is running under this very attempt and engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from ..executors.base import TaskError
from ..repositories.batch import CheckpointRow, ProgressRow
from ..repositories.records import InstanceState, LogRow, TaskRow, TaskState, VarRow
from .draft import Draft
from .events import (
    Applied,
    Claim,
    ExecutorMissing,
    LeaseExpired,
    LogLineNote,
    Note,
    TaskEnded,
    TimerDue,
)
from .lifecycle import answered, expire, past_deadline, unpark
from .outcomes import (
    Cancelled,
    Entered,
    Expanded,
    Failed,
    Released,
    RetryLater,
    Skipped,
    Succeeded,
    Suspended,
)
from .plan import PlanNode, address_of
from .retry import CRASH_BUDGET, retry_delay
from .ripple import Ripple
from .rows import error_text, parent_path
from .states import TaskEvent

__all__ = ["claim", "executor_missing", "lease_expired", "note", "task_ended", "timer_due"]


def _held(draft: Draft, path: str, attempt: int, engine: str) -> TaskRow | None:
    """The running row, if this very attempt of this engine still holds it: the fence on every write."""
    row = draft.row(path) if draft.has_instance else None
    if row is None or row.state is not TaskState.RUNNING or row.attempt != attempt or row.engine != engine:
        return None
    return row


def _own(draft: Draft, event: TaskEnded | Note) -> TaskRow | None:
    """The running row, if its holder is who writes now.

    What an engine sent before it was fenced is worth nothing, even when the same process carries it under its new id.
    """
    if event.engine != draft.terms.engine:
        return None
    return _held(draft, event.path, event.attempt, event.engine)


def task_ended(draft: Draft, event: TaskEnded) -> Applied:
    """Record an attempt's outcome and follow its consequences; `stale` when it holds the task no more."""
    row = _own(draft, event)
    if row is None:
        return Applied("stale", event.instance_id)
    _add_logs(draft, row, event.logs)
    ripple = Ripple(draft)
    _apply_outcome(ripple, draft.edit(event.path), event)
    ripple.run()
    return answered(draft)


def _apply_outcome(ripple: Ripple, row: TaskRow, event: TaskEnded) -> None:  # noqa: C901 - one case an outcome
    outcome = event.outcome
    if row.closed == "cancelled" and (row.executor is None or not isinstance(outcome, Succeeded)):
        ripple.ended(ripple.draft.move(row, TaskEvent.CANCEL, "stopped"))
        return
    match outcome:
        case Succeeded():
            _succeed(ripple, row, outcome)
        case Failed():
            _attempt_failed(ripple, row, outcome.error)
        case Cancelled():
            error = TaskError(
                "cancelled", f"the executor stopped by itself: {outcome.reason}", retryable=False
            )
            _attempt_failed(ripple, row, error)
        case Skipped():
            ripple.ended(ripple.draft.move(row, TaskEvent.SKIP, outcome.reason))
        case RetryLater():
            _give_back(ripple, row, TaskEvent.RETRY, outcome.reason, delay=outcome.delay)
        case Released():
            _give_back(ripple, row, TaskEvent.RELEASE, outcome.reason)
        case Suspended():
            _suspend(ripple, row, outcome)
        case Expanded():
            ripple.parallel.generate_parallel_tasks(row, _node(ripple, row), outcome)
        case Entered():
            ripple.enter(ripple.draft.move(row, TaskEvent.ENTER, "entered"))
        case _:
            assert_never(outcome)


def _node(ripple: Ripple, row: TaskRow) -> PlanNode:
    return ripple.plan.nodes[address_of(row.path)]


def _succeed(ripple: Ripple, row: TaskRow, outcome: Succeeded) -> None:
    draft = ripple.draft
    row.output, row.output_ref = draft.store(outcome.output)
    row.crashes = 0
    for name, payload in outcome.vars.items():
        text, ref = draft.store(payload)
        owner = _var_scope(ripple, row, name)
        draft.changes.vars.append(VarRow(row.instance_id, owner, name, draft.instance.gen, text, ref))
    ripple.ended(draft.move(row, TaskEvent.SUCCEED, "completed"))


def _var_scope(ripple: Ripple, row: TaskRow, name: str) -> str:
    """Path of the scope that owns the variable: the nearest definition or map item (DSL rule 15)."""
    owner = ripple.plan.vars[_node(ripple, row).scope, name]
    path: str | None = row.path
    while path is not None and (address_of(path) != owner or path == row.path):
        path = parent_path(path)
    return path or ""


def _suspend(ripple: Ripple, row: TaskRow, outcome: Suspended) -> None:
    draft = ripple.draft
    if ripple.is_closed(draft.known(row.scope or "")):
        ripple.ended(draft.move(row, TaskEvent.CANCEL, "scope closed"))
        return
    row = draft.edit(row.path, counters=True)
    draft.move(row, TaskEvent.SUSPEND, "timer")
    row.total = 0  # from now on a claim evaluates the output, not the duration
    row.wake_at = draft.now + outcome.delay


def _give_back(ripple: Ripple, row: TaskRow, event: TaskEvent, reason: str, delay: int = 0) -> None:
    draft = ripple.draft
    if row.scope is not None and ripple.is_closed(draft.known(row.scope)):
        ripple.ended(draft.move(row, TaskEvent.CANCEL, "scope closed"))
        return
    row = draft.move(row, event, reason)
    if event is TaskEvent.RETRY:
        row.wake_at = draft.now + delay


def _attempt_failed(ripple: Ripple, row: TaskRow, error: TaskError) -> None:
    """Retry by the node's policy, or fail for good (DSL rule 20)."""
    draft = ripple.draft
    node = ripple.plan.nodes.get(address_of(row.path))
    row.failures += 1
    row.error = error_text(
        error.code,
        error.message,
        node=node.name if node else "",
        path=row.path,
        attempt=row.attempt,
        details=error.details,
    )
    closed = row.scope is not None and ripple.is_closed(draft.known(row.scope))
    delay = None
    if node is not None and node.kind == "run" and not closed:
        delay = retry_delay(node.retry, error, row.failures, f"{row.instance_id}/{row.path}")
    if delay is not None and node is not None:
        _give_back(
            ripple, row, TaskEvent.RETRY, f"retry {row.failures} of {node.retry.max}: {error.code}", delay
        )
    else:
        ripple.ended(draft.move(row, TaskEvent.FAIL, error.code))


def claim(draft: Draft, event: Claim) -> Applied:
    """Take a ready task, unless its instance or a scope around it starts nothing new."""
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.state is not TaskState.QUEUED:
        return Applied("ignored", event.instance_id)
    if draft.instance.state is InstanceState.PAUSED:
        draft.move(row, TaskEvent.HOLD, "paused")  # out of the ready index: each row is met once
        return answered(draft, "ignored")
    if draft.instance.state not in {InstanceState.PENDING, InstanceState.RUNNING}:
        return answered(draft, "ignored")
    ripple = Ripple(draft)
    if draft.instance.sweeps and row.scope is not None and ripple.is_closed(draft.known(row.scope)):
        return answered(draft, "ignored")
    if row.executor is not None and draft.slots <= 0:
        return answered(draft, "ignored")
    ripple.claim(row, "claimed")
    return answered(draft)


def timer_due(draft: Draft, event: TimerDue) -> Applied:
    """Do what the task's `wake_at` was for: a sweep, a retry, the end of a wait."""
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.wake_at is None or row.wake_at > draft.now:
        return Applied("ignored", event.instance_id)
    ripple = Ripple(draft)
    if row.scope is None and past_deadline(draft, row):
        expire(ripple, row)
    elif row.cursor is not None and row.closed:
        ripple.sweep(row)
    elif row.cursor is not None:
        unpark(ripple, row)
    elif row.state is TaskState.RETRYING:
        ripple.ready(row, "backoff over")
    elif row.state is TaskState.PENDING:
        ripple.ended(draft.move(row, TaskEvent.SKIP, "a dependency cannot hold any more"))
    elif row.state is TaskState.WAITING:
        _wait_over(ripple, row)
    ripple.run()
    return answered(draft)


def _wait_over(ripple: Ripple, row: TaskRow) -> None:
    if _node(ripple, row).output is not None:
        ripple.ready(row, "timer over")
    else:
        ripple.ended(ripple.draft.move(row, TaskEvent.SUCCEED, "timer over"))


def lease_expired(draft: Draft, event: LeaseExpired) -> Applied:
    """Bring back a task whose engine died, or end it: timed out meanwhile, or poison."""
    row = _held(draft, event.path, event.attempt, event.engine)
    if row is None:
        return Applied("ignored", event.instance_id)
    ripple = Ripple(draft)
    row = draft.edit(event.path)
    node = ripple.plan.nodes.get(address_of(row.path))
    timeout = node.timeout if node else None
    row.crashes += 1
    if row.closed == "cancelled":
        ripple.ended(draft.move(row, TaskEvent.CANCEL, "stopped: its engine died"))
    elif timeout is not None and row.started_at is not None and draft.now > row.started_at + timeout:
        _attempt_failed(ripple, row, TaskError("timeout", "the attempt timed out while its engine was dead"))
    elif row.crashes > CRASH_BUDGET:
        message = f"{row.crashes} attempts died with their engine; the task is not tried again"
        row.error = error_text(
            "crashed", message, node=node.name if node else "", path=row.path, attempt=row.attempt
        )
        ripple.ended(draft.move(row, TaskEvent.FAIL, "crashed"))
    else:
        _give_back(ripple, row, TaskEvent.LOSE, f"engine {event.engine} is gone")
    ripple.run()
    return answered(draft)


def executor_missing(draft: Draft, event: ExecutorMissing) -> Applied:
    """Fail a ready task that no live engine can execute."""
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.state is not TaskState.QUEUED or row.executor != event.executor:
        return Applied("ignored", event.instance_id)
    ripple = Ripple(draft)
    row = draft.edit(event.path)
    row.error = error_text(
        "no_executor",
        f"no live engine has the executor {event.executor!r}; install its package, or start a worker that has it",
        node=_node(ripple, row).name,
        path=row.path,
        attempt=row.attempt,
    )
    ripple.ended(draft.move(row, TaskEvent.FAIL, "no_executor"))
    ripple.run()
    return answered(draft)


def note(draft: Draft, event: Note) -> Applied:
    """Keep log lines, progress or a checkpoint of a running attempt."""
    row = _own(draft, event)
    if row is None:
        return Applied("stale", event.instance_id)
    _add_logs(draft, row, event.logs)
    key = (row.instance_id, row.path, row.attempt, draft.now)
    if event.checkpoint is not None:
        draft.changes.checkpoints.append(CheckpointRow(*key, event.checkpoint))
    if event.fraction is not None:
        draft.changes.progress.append(ProgressRow(*key, event.fraction, event.message))
    return answered(draft)


def _add_logs(draft: Draft, row: TaskRow, logs: Sequence[LogLineNote]) -> None:
    for line in logs:
        draft.changes.logs.append(
            LogRow(row.instance_id, row.path, row.attempt, line.at, line.level, line.message)
        )
