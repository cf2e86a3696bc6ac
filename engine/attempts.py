"""What happens to one task, event by event: claim, outcome, timer, lost lease, note. Pure; called by `decide`.

Every write of an attempt is fenced: it counts only while the row is running under this very attempt and engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from ..executors.base import TaskError
from ..repositories.batch import CheckpointRow, ProgressRow
from ..repositories.records import TERMINAL_TASK_STATES, InstanceState, LogRow, TaskRow, TaskState
from .assigning import write_vars
from .beginning import answered, begin_queued
from .draft import Draft
from .events import (
    Applied,
    Claim,
    ExecutorMissing,
    LeaseExpired,
    LogLineNote,
    MoveTask,
    Note,
    TaskEnded,
    TimerDue,
)
from .flows import child_started
from .lifecycle import expire, force, unpark
from .outcomes import (
    Cancelled,
    Chose,
    Entered,
    Expanded,
    Failed,
    Limited,
    Received,
    Released,
    RetryLater,
    Skipped,
    Started,
    Succeeded,
    Suspended,
    Turned,
)
from .plan import PlanNode, address_of
from .retry import CRASH_BUDGET, retry_delay
from .ripple import Ripple
from .rows import BEAT, error_text, node_of, remember
from .starting import runs_executor
from .states import TaskEvent
from .stopping import CLOSED
from .waits import received, suspended, wait_due

__all__ = ["claim", "executor_missing", "lease_expired", "move_task", "note", "task_ended", "timer_due"]

#: Instance states in which a ready task may be taken.
_ACTIVE = frozenset({InstanceState.PENDING, InstanceState.RUNNING})
#: … when it is part of ending the run: a handler, an `undo`, `finally`.
_ENDING = frozenset({InstanceState.CANCELLING, InstanceState.COMPENSATING})


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


def _apply_outcome(ripple: Ripple, row: TaskRow, event: TaskEnded) -> None:  # noqa: C901, PLR0912 - one case an outcome
    outcome = event.outcome
    if row.closed in {"cancelled", "terminated"} and (
        not runs_executor(row) or not isinstance(outcome, Succeeded)
    ):
        ripple.finish(row, TaskEvent.CANCEL, "stopped")
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
            suspended(ripple, row, outcome)
        case Received():
            received(ripple, row, outcome)
        case Expanded():
            _expanded(ripple, row, _node(ripple, row), outcome)
        case Turned():
            ripple.turns.turned(row, _node(ripple, row), again=outcome.again)
        case Chose():
            ripple.choices.chose(row, _node(ripple, row), outcome)
        case Started():
            child_started(ripple, row, outcome)
        case Limited():
            _limits_known(ripple, row, outcome)
        case Entered():
            ripple.enter(ripple.draft.move(row, TaskEvent.ENTER, "entered"))
        case _:
            assert_never(outcome)


def _limits_known(ripple: Ripple, row: TaskRow, outcome: Limited) -> None:
    row = ripple.draft.edit(row.path, counters=True)
    row.phase = None
    remember(row, limits={"key": outcome.key, "mutex": list(outcome.mutex)})
    if ripple.is_stopped(row):
        ripple.ended(ripple.draft.move(row, TaskEvent.CANCEL, "scope closed"))
    else:
        ripple.ready(row, "limits known")


def _expanded(ripple: Ripple, row: TaskRow, node: PlanNode, outcome: Expanded) -> None:
    if node.kind == "loop":
        ripple.turns.expanded(row, node, outcome)
    else:
        ripple.parallel.generate_parallel_tasks(row, node, outcome)


def _node(ripple: Ripple, row: TaskRow) -> PlanNode:
    return ripple.plan.nodes[address_of(row.path)]


def _succeed(ripple: Ripple, row: TaskRow, outcome: Succeeded) -> None:
    draft = ripple.draft
    row.output, row.output_ref = draft.store(outcome.output)
    row.crashes = 0
    write_vars(ripple, row, outcome.vars)
    if row.phase == "handler":
        ripple.failures.evaluated(row, None)
    else:
        ripple.finish(row, TaskEvent.SUCCEED, "completed")


def _give_back(ripple: Ripple, row: TaskRow, event: TaskEvent, reason: str, delay: int = 0) -> None:
    draft = ripple.draft
    if ripple.is_stopped(row):
        ripple.ended(draft.move(row, TaskEvent.CANCEL, "scope closed"))
        return
    row = draft.move(row, event, reason)
    if event is TaskEvent.RETRY:
        row.wake_at = draft.now + delay


def _attempt_failed(ripple: Ripple, row: TaskRow, error: TaskError) -> None:
    """Retry by the node's policy, or fail for good (DSL rule 20)."""
    draft = ripple.draft
    node = node_of(ripple.plan, row)
    text = error_text(
        error.code,
        error.message,
        node=node.name if node else "",
        path=row.path,
        attempt=row.attempt,
        details=error.details,
    )
    if row.phase == "handler":
        ripple.failures.evaluated(row, text, error.codes)
        return
    row.failures += 1
    row.error = text
    delay = None
    if node is not None and node.kind in {"run", "flow"} and row.phase is None and not ripple.is_stopped(row):
        delay = retry_delay(node.retry, error, row.failures, f"{row.instance_id}/{row.path}")
    if delay is not None and node is not None and not _too_late(draft, row, delay):
        _give_back(
            ripple, row, TaskEvent.RETRY, f"retry {row.failures} of {node.retry.max}: {error.code}", delay
        )
        return
    if error.codes:
        remember(draft.edit(row.path, counters=True), codes=list(error.codes))
    ripple.failures.fail(row, error.code)


def _too_late(draft: Draft, row: TaskRow, delay: int) -> bool:
    return row.deadline_at is not None and draft.now + delay >= row.deadline_at


def claim(draft: Draft, event: Claim) -> Applied:
    """Take a ready task, unless its instance or a scope around it starts nothing new."""
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.state not in {TaskState.QUEUED, TaskState.BLOCKED}:
        return Applied("ignored", event.instance_id)
    state = draft.instance.state
    if state is InstanceState.PAUSED:
        draft.move(row, TaskEvent.HOLD, "paused")  # out of the ready index: each row is met once
        return answered(draft, "ignored")
    ripple = Ripple(draft)
    if state not in _ACTIVE and (state not in _ENDING or ripple.is_stopped(row)):
        return answered(draft, "ignored")
    if draft.instance.sweeps and ripple.is_stopped(row):
        return answered(draft, "ignored")
    if not runs_executor(row):
        ripple.claim(row, "claimed")
    elif draft.slots <= 0 or not ripple.admit(row):
        return answered(draft, "ignored")
    return answered(draft)


def move_task(draft: Draft, event: MoveTask) -> Applied:
    """Give a ready task another place in its queue; what was taken meanwhile, or waits elsewhere, stays as it is."""
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.state is not TaskState.QUEUED:
        return Applied("ignored", event.instance_id)
    row = draft.edit(event.path)
    row.priority, row.ready_at = event.priority, event.ready_at
    if not any(moved is row for moved in draft.changes.moved):
        draft.changes.moved.append(
            row
        )  # the row itself: what the rest of the batch does to it is written, too
    return answered(draft)


def timer_due(draft: Draft, event: TimerDue) -> Applied:
    """Do what the task's `wake_at` was for: a sweep, a retry, the end of a wait, a deadline."""
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.wake_at is None or row.wake_at > draft.now:
        return Applied("ignored", event.instance_id)
    ripple = Ripple(draft)
    late = row.deadline_at is not None and row.deadline_at <= draft.now
    if row.scope is None and draft.instance.state is InstanceState.QUEUED:
        begin_queued(ripple)
    elif row.cursor is not None and row.closed in CLOSED:
        ripple.sweep(row)
    elif row.cursor is not None:
        unpark(ripple, row)
    elif late and row.scope is None and row.closed == "cancelled":
        force(ripple)
    elif late and row.closed is None and row.state not in TERMINAL_TASK_STATES:
        expire(ripple, row)
    else:
        _timer_over(ripple, row)
    ripple.run()
    return answered(draft)


def _timer_over(ripple: Ripple, row: TaskRow) -> None:
    node = node_of(ripple.plan, row)
    if row.state is TaskState.RETRYING:
        ripple.ready(row, "backoff over")
    elif row.state is TaskState.BLOCKED:
        draft = ripple.draft
        draft.move(row, TaskEvent.READY, "the limit's rate has room")
    elif row.state is TaskState.PENDING:
        ripple.ended(ripple.draft.move(row, TaskEvent.SKIP, "a dependency cannot hold any more"))
    elif row.state is TaskState.WAITING and node is not None and node.kind == "wait":
        wait_due(ripple, row, node)
    elif row.state is TaskState.WAITING and node is not None and node.kind == "loop" and row.closed is None:
        ripple.turns.pause_over(row, node)
    else:
        ripple.draft.edit(row.path, counters=True).wake_at = None  # what it was for is over


def lease_expired(draft: Draft, event: LeaseExpired) -> Applied:
    """Bring back a task whose engine died, or end it: timed out meanwhile, or poison."""
    row = _held(draft, event.path, event.attempt, event.engine)
    if row is None:
        return Applied("ignored", event.instance_id)
    ripple = Ripple(draft)
    row = draft.edit(event.path)
    node = node_of(ripple.plan, row)
    timeout = node.timeout if node and runs_executor(row) else None
    row.crashes += 1
    if row.closed in {"cancelled", "terminated"}:
        ripple.finish(row, TaskEvent.CANCEL, "stopped: its engine died")
    elif row.deadline_at is not None and draft.now >= row.deadline_at and row.closed is None:
        expire(ripple, row)
    elif timeout is not None and row.started_at is not None and draft.now > row.started_at + timeout:
        _attempt_failed(ripple, row, TaskError("timeout", "the attempt timed out while its engine was dead"))
    elif row.crashes > CRASH_BUDGET:
        message = f"{row.crashes} attempts died with their engine; the task is not tried again"
        row.error = error_text(
            "crashed", message, node=node.name if node else "", path=row.path, attempt=row.attempt
        )
        ripple.failures.fail(row, "crashed")
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
    ripple.failures.fail(row, "no_executor")
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
    if event.beat is not None:
        at = (row.instance_id, row.path + BEAT, row.attempt, draft.now)
        draft.changes.checkpoints.append(CheckpointRow(*at, event.beat))
    if event.spawned is not None:
        draft.changes.messages.append(event.spawned)
    if event.fraction is not None:
        draft.changes.progress.append(ProgressRow(*key, event.fraction, event.message))
    return answered(draft)


def _add_logs(draft: Draft, row: TaskRow, logs: Sequence[LogLineNote]) -> None:
    for line in logs:
        draft.changes.logs.append(
            LogRow(row.instance_id, row.path, row.attempt, line.at, line.level, line.message)
        )
