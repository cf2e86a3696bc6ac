"""The one decision function: `(plan, snapshot, events, terms) → Decision | Need`. Pure: no I/O, clock or randomness.

Events of one instance fold in arrival order over one overlay (`draft.py`); what an ended task sets off stands in
`ripple.py`. When the fold meets a row that was not read it answers `Need`, and the caller reads and asks again. An
event that a state does not allow is refused by itself: the others fold as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from ..repositories.batch import Changes
from ..repositories.records import InstanceRow, TaskRow, TaskState
from .attempts import claim, executor_missing, lease_expired, move_task, note, task_ended, timer_due
from .beginning import start, wake
from .draft import Ask, Draft, NeedRows, Snapshot, Terms
from .errors import EngineError
from .events import (
    Applied,
    CancelInstance,
    ChildEnded,
    Claim,
    Event,
    ExecutorMissing,
    ForkInstance,
    LeaseExpired,
    MigrateInstance,
    MoveTask,
    Note,
    PauseInstance,
    ResumeInstance,
    RollbackInstance,
    SignalInstance,
    StartInstance,
    TaskEnded,
    TerminateInstance,
    TimerDue,
    WakeInstance,
)
from .flows import child_ended
from .forking import fork
from .lifecycle import cancel, pause, required, resume, terminate
from .plan import Plan, address_of
from .reopening import rollback
from .repinning import migrate
from .ripple import Ripple
from .rows import parent_path
from .waits import signalled

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
    #: Counters of limits that the fold changed, and those that have room for a task that waits.
    counters: list[str] = field(default_factory=list[str])
    freed: set[str] = field(default_factory=set[str])


@dataclass(slots=True, frozen=True)
class Need:
    """What to read before the fold can be done: paths, a sweep as (scope path, last path handled), a question.

    `limits` are counters to lock.
    """

    keys: tuple[str, ...]
    sweep: tuple[str, str] | None
    ask: Ask | None = None
    limits: tuple[str, ...] = ()


def decide(plan: Plan, snapshot: Snapshot, events: Sequence[Event], terms: Terms) -> Decision | Need:
    """Fold the events of one instance. Never raises for an event that is merely refused."""
    refused: dict[int, EngineError] = {}
    while True:
        draft = Draft(plan, snapshot, terms)
        try:
            return _fold(draft, events, refused)
        except NeedRows as need:
            return Need(need.keys, need.sweep, need.ask, need.limits)
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
        counters=draft.limits.commit(),
        freed=draft.limits.freed,
    )


def first_keys(plan: Plan | None, event: Event) -> list[str]:
    """Paths that the event certainly or probably touches, known without reading anything: one round trip less."""
    if isinstance(event, StartInstance | ForkInstance):
        return []
    path = getattr(event, "path", None)
    if path is None:
        return [""]
    keys = [path]
    if isinstance(event, Note | Claim | MoveTask) or plan is None:
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


def _apply(draft: Draft, event: Event) -> Applied:  # noqa: C901, PLR0911, PLR0912 - one case an event
    message = getattr(event, "message", None)
    if message is not None:  # what another instance told is told once
        draft.changes.delivered.append((event.instance_id, message))
    match event:
        case StartInstance():
            return start(draft, event)
        case TaskEnded():
            return task_ended(draft, event)
        case Claim():
            return claim(draft, event)
        case TimerDue():
            return timer_due(draft, event)
        case MoveTask():
            return move_task(draft, event)
        case LeaseExpired():
            return lease_expired(draft, event)
        case Note():
            return note(draft, event)
        case ExecutorMissing():
            return executor_missing(draft, event)
        case SignalInstance():
            return _rippled(draft, event.instance_id, lambda ripple: signalled(ripple, event))
        case ChildEnded():
            return _rippled(draft, event.instance_id, lambda ripple: child_ended(ripple, event))
        case WakeInstance():
            return wake(draft, event)
        case ForkInstance():
            return fork(draft, event)
        case CancelInstance():
            return cancel(draft, event)
        case TerminateInstance():
            return terminate(draft, event)
        case PauseInstance():
            return pause(draft, event)
        case ResumeInstance():
            return resume(draft, event)
        case RollbackInstance():
            return rollback(draft, event)
        case MigrateInstance():
            return migrate(draft, event)
        case _:
            assert_never(event)


def _rippled(draft: Draft, instance_id: str, change: Callable[[Ripple], Applied]) -> Applied:
    required(draft, instance_id)
    ripple = Ripple(draft)
    answer = change(ripple)
    ripple.run()
    return answer
