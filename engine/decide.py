"""The one decision function: `(plan, snapshot, events, terms) → Decision | Need`. Pure: no I/O, clock or randomness.

Events of one instance fold in arrival order over one overlay (`draft.py`); what an ended task sets off stands in
`ripple.py`. When the fold meets a row that was not read it answers `Need`, and the caller reads and asks again. An
event that a state does not allow is refused by itself: the others fold as if it had not been there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from ..repositories.batch import Changes
from ..repositories.records import TERMINAL_INSTANCE_STATES, InstanceRow, InstanceState, TaskRow, TaskState
from .attempts import answered, claim, executor_missing, lease_expired, note, task_ended, timer_due
from .draft import Draft, NeedRows, Snapshot, Terms
from .errors import EngineError, IllegalTransition, NotFound
from .events import (
    Applied,
    CancelInstance,
    Claim,
    Event,
    ExecutorMissing,
    LeaseExpired,
    Note,
    StartInstance,
    TaskEnded,
    TimerDue,
)
from .plan import Plan, address_of
from .ripple import Ripple
from .rows import new_task, parent_path
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


def _apply(draft: Draft, event: Event) -> Applied:
    match event:
        case StartInstance():
            return _start(draft, event)
        case TaskEnded():
            return task_ended(draft, event)
        case Claim():
            return claim(draft, event)
        case TimerDue():
            return timer_due(draft, event)
        case LeaseExpired():
            return lease_expired(draft, event)
        case Note():
            return note(draft, event)
        case ExecutorMissing():
            return executor_missing(draft, event)
        case CancelInstance():
            return _cancel(draft, event)
        case _:
            assert_never(event)


# --- instance


def _start(draft: Draft, event: StartInstance) -> Applied:
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


def _cancel(draft: Draft, event: CancelInstance) -> Applied:
    if not draft.has_instance:
        raise NotFound(f"there is no instance {event.instance_id}.")
    if draft.instance.state in {InstanceState.CANCELLING, InstanceState.CANCELLED}:
        return answered(draft, "ignored")
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
    return answered(draft)
