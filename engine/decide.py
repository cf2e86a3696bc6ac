"""The one decision function: `(plan, snapshot, events, terms) → Decision | Need`. Pure: no I/O, clock or randomness.

Events of one instance fold in arrival order over one overlay (`draft.py`); what an ended task sets off stands in
`ripple.py`. When the fold meets a row that was not read it answers `Need`, and the caller reads and asks again. An
event that a state does not allow is refused by itself: the others fold as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from ..executors.base import TaskError
from ..repositories.batch import Changes, CheckpointRow, ProgressRow
from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    InstanceRow,
    InstanceState,
    LogRow,
    TaskRow,
    TaskState,
    VarRow,
)
from .draft import Draft, NeedRows, Snapshot, Terms
from .errors import EngineError, IllegalTransition, NotFound
from .events import (
    Applied,
    CancelInstance,
    Claim,
    Event,
    ExecutorMissing,
    LeaseExpired,
    LogLineNote,
    Note,
    StartInstance,
    TaskEnded,
    TimerDue,
)
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
from .plan import Plan, PlanNode, address_of
from .retry import CRASH_BUDGET, retry_delay
from .ripple import Ripple, error_text, new_task
from .states import InstanceEvent, TaskEvent

__all__ = ["Decision", "Need", "decide", "first_keys"]


@dataclass(slots=True)
class Decision:
    """What is to be written, and what each event came to: an `Applied`, or the error its sender gets."""

    changes: Changes
    results: list[Applied | EngineError]
    #: Rows this engine executes after the commit.
    claimed: list[TaskRow] = field(default_factory=list[TaskRow])
    #: (path, attempt) of running tasks that are asked to stop.
    stopped: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    slots_used: int = 0
    #: The instance after the fold; None when it does not exist.
    instance: InstanceRow | None = None
    root: TaskRow | None = None


@dataclass(slots=True, frozen=True)
class Need:
    """Rows to read before the fold can be done: paths, and sweeps as (scope path, last path handled)."""

    keys: tuple[str, ...]
    sweep: tuple[str, str] | None


def decide(plan: Plan, snapshot: Snapshot, events: Sequence[Event], terms: Terms) -> Decision | Need:
    """Fold the events of one instance. Never raises for an event that is merely refused."""
    refused: dict[int, EngineError] = {}
    while True:
        draft = Draft(plan, snapshot, terms)
        try:
            return _fold(draft, events, refused)
        except NeedRows as need:
            return Need(need.keys, need.sweep)
        except _Refused as refusal:
            refused[refusal.index] = refusal.error


class _Refused(Exception):
    """Event number `index` is refused; the fold starts again without it, so that it leaves no trace."""

    def __init__(self, index: int, error: EngineError) -> None:
        super().__init__(index, error)
        self.index = index
        self.error = error


def _fold(draft: Draft, events: Sequence[Event], refused: dict[int, EngineError]) -> Decision:
    results: list[Applied | EngineError] = []
    for index, event in enumerate(events):
        if index in refused:
            results.append(refused[index])
            continue
        try:
            results.append(_apply(draft, event))
        except EngineError as error:
            raise _Refused(index, error) from error
    instance = draft.instance if draft.has_instance else None
    return Decision(
        changes=draft.finished() if instance else Changes(),
        results=results,
        claimed=[row for row in draft.claimed if row.state is TaskState.RUNNING],
        stopped=draft.stopped,
        slots_used=draft.terms.slots - draft.slots,
        instance=instance,
        root=draft.peek(""),
    )


def first_keys(plan: Plan | None, event: Event) -> list[str]:
    """Paths that the event certainly or probably touches, known without reading anything: one round trip less."""
    if isinstance(event, StartInstance):
        return []
    if isinstance(event, CancelInstance):
        return [""]
    path = event.path
    keys = [path]
    if isinstance(event, Note | Claim) or plan is None:
        return keys
    scope = parent_path(path)
    if scope is None:
        return keys
    keys.append(scope)
    node = plan.nodes.get(address_of(path))
    if node is not None and node.successors:
        scope_plan = plan.scopes[node.scope]
        prefix = f"{scope}." if scope else ""
        keys += [prefix + name for name in node.successors if len(scope_plan.nodes[name].deps) > 1]
    elif scope:
        outer = parent_path(scope)
        if outer is not None:
            keys.append(outer)
    return keys


def parent_path(path: str) -> str | None:
    """Path of the scope that owns a row: `settle[3].charge` → `settle[3]` → `settle` → '' → None."""
    if not path:
        return None
    cut = max(path.rfind("."), path.rfind("["))
    return path[:cut] if cut > 0 else ""


def _apply(draft: Draft, event: Event) -> Applied:
    match event:
        case StartInstance():
            return _start(draft, event)
        case TaskEnded():
            return _task_ended(draft, event)
        case Claim():
            return _claim(draft, event)
        case TimerDue():
            return _timer_due(draft, event)
        case LeaseExpired():
            return _lease_expired(draft, event)
        case Note():
            return _note(draft, event)
        case ExecutorMissing():
            return _executor_missing(draft, event)
        case CancelInstance():
            return _cancel(draft, event)
        case _:
            assert_never(event)


def _done(draft: Draft, status: str = "accepted") -> Applied:
    return Applied(status, draft.instance.id)


# --- instance


def _start(draft: Draft, event: StartInstance) -> Applied:
    if draft.has_instance:
        return _done(draft, "existing")
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
    return _done(draft)


def _cancel(draft: Draft, event: CancelInstance) -> Applied:
    if not draft.has_instance:
        raise NotFound(f"there is no instance {event.instance_id}.")
    if draft.instance.state in {InstanceState.CANCELLING, InstanceState.CANCELLED}:
        return _done(draft, "ignored")
    if draft.instance.state in TERMINAL_INSTANCE_STATES:
        raise IllegalTransition("instance", draft.instance.state, InstanceEvent.CANCEL, id=event.instance_id)
    draft.move_instance(InstanceEvent.CANCEL, event.reason)
    draft.instance.reason = event.reason
    ripple = Ripple(draft)
    root = draft.edit("", counters=True)
    if root.closed and root.cursor:
        draft.instance.sweeps -= 1  # the sweep of the failure is taken over by this one
        root.cursor = None
    root.closed = "cancelled"
    if root.state is TaskState.RUNNING:
        draft.stopped.append(("", root.attempt))
    elif root.open == 0:
        ripple.ended(draft.move(root, TaskEvent.CANCEL, event.reason))
    ripple.sweep(root)
    ripple.run()
    return _done(draft)


# --- tasks


def _held(draft: Draft, path: str, attempt: int, engine: str) -> TaskRow | None:
    """The running row, if this very attempt of this engine still holds it: the fence on every write."""
    row = draft.row(path) if draft.has_instance else None
    if row is None or row.state is not TaskState.RUNNING or row.attempt != attempt or row.engine != engine:
        return None
    return row


def _task_ended(draft: Draft, event: TaskEnded) -> Applied:
    row = _held(draft, event.path, event.attempt, event.engine)
    if row is None:
        return Applied("stale", event.instance_id)
    _add_logs(draft, row, event.logs)
    ripple = Ripple(draft)
    _apply_outcome(ripple, draft.edit(event.path), event)
    ripple.run()
    return _done(draft)


def _apply_outcome(ripple: Ripple, row: TaskRow, event: TaskEnded) -> None:
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
            error = TaskError("cancelled", f"the executor stopped by itself: {outcome.reason}", retryable=False)
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
            ripple.expand(row, _node(ripple, row), outcome)
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
        _give_back(ripple, row, TaskEvent.RETRY, f"retry {row.failures} of {node.retry.max}: {error.code}", delay)
    else:
        ripple.ended(draft.move(row, TaskEvent.FAIL, error.code))


def _claim(draft: Draft, event: Claim) -> Applied:
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.state is not TaskState.QUEUED:
        return Applied("ignored", event.instance_id)
    if draft.instance.state not in {InstanceState.PENDING, InstanceState.RUNNING}:
        return _done(draft, "ignored")
    ripple = Ripple(draft)
    if draft.instance.sweeps and row.scope is not None and ripple.is_closed(draft.known(row.scope)):
        return _done(draft, "ignored")
    if row.executor is not None and draft.slots <= 0:
        return _done(draft, "ignored")
    ripple.claim(row, "claimed")
    return _done(draft)


def _timer_due(draft: Draft, event: TimerDue) -> Applied:
    row = draft.row(event.path) if draft.has_instance else None
    if row is None or row.wake_at is None or row.wake_at > draft.now:
        return Applied("ignored", event.instance_id)
    ripple = Ripple(draft)
    if row.closed and row.cursor is not None:
        ripple.sweep(row)
    elif row.state is TaskState.RETRYING:
        ripple.ready(row, "backoff over")
    elif row.state is TaskState.PENDING:
        ripple.ended(draft.move(row, TaskEvent.SKIP, "a dependency cannot hold any more"))
    elif row.state is TaskState.WAITING:
        _wait_over(ripple, row)
    ripple.run()
    return _done(draft)


def _wait_over(ripple: Ripple, row: TaskRow) -> None:
    if _node(ripple, row).output is not None:
        ripple.ready(row, "timer over")
    else:
        ripple.ended(ripple.draft.move(row, TaskEvent.SUCCEED, "timer over"))


def _lease_expired(draft: Draft, event: LeaseExpired) -> Applied:
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
    return _done(draft)


def _executor_missing(draft: Draft, event: ExecutorMissing) -> Applied:
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
    return _done(draft)


def _note(draft: Draft, event: Note) -> Applied:
    row = _held(draft, event.path, event.attempt, event.engine)
    if row is None:
        return Applied("stale", event.instance_id)
    _add_logs(draft, row, event.logs)
    key = (row.instance_id, row.path, row.attempt, draft.now)
    if event.checkpoint is not None:
        draft.changes.checkpoints.append(CheckpointRow(*key, event.checkpoint))
    if event.fraction is not None:
        draft.changes.progress.append(ProgressRow(*key, event.fraction, event.message))
    return _done(draft)


def _add_logs(draft: Draft, row: TaskRow, logs: Sequence[LogLineNote]) -> None:
    for line in logs:
        draft.changes.logs.append(
            LogRow(row.instance_id, row.path, row.attempt, line.at, line.level, line.message)
        )


