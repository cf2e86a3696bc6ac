"""How an instance begins: at once, at a later time, or when its mutex is free. Pure; called by `decide`.

A start that has to wait is an instance in state `queued` whose root row carries the timer; what wakes it enters like
any due timer. A mutex is a row that only one live instance can hold, taken in the transaction that begins it.
"""

from __future__ import annotations

import json
from typing import Final

from ..repositories.records import InstanceRow, InstanceState, LabelRow
from .draft import Draft
from .errors import Conflict
from .events import Applied, ForkInstance, StartInstance, WakeInstance
from .ripple import Ripple
from .rows import new_task
from .states import InstanceEvent, TaskEvent

__all__ = ["answered", "begin_queued", "start", "wake"]

#: A start that waits for a mutex looks by itself this often, in microseconds, beside being told.
_LOOK: Final = 5_000_000


def answered(draft: Draft, status: str = "accepted") -> Applied:
    """What an event came to."""
    return Applied(status, draft.instance.id)


def start(draft: Draft, event: StartInstance) -> Applied:
    """Make the instance, its root scope and the first tasks. The same id again starts nothing."""
    if draft.has_instance:
        return answered(draft, "existing")
    waits_for_time = event.start_at is not None and event.start_at > draft.now
    held_by = None if event.mutex is None or waits_for_time else _take(draft, event, event.mutex)
    if held_by is not None and event.on_duplicate != "queue":
        if event.on_duplicate == "return_existing":
            return Applied("existing", held_by)
        raise Conflict(
            f"mutex {event.mutex!r} of {draft.plan.name!r} is held by the live instance {held_by}.",
            hint="Wait for its end, cancel it, or start with on_duplicate 'queue' or 'return_existing'.",
        )
    queued = waits_for_time or held_by is not None
    begin(draft, event, InstanceState.QUEUED if queued else InstanceState.PENDING, "started")
    ripple = Ripple(draft)
    if queued:
        root = new_task(event.instance_id, "", None, gen=0)
        why = "start_at" if waits_for_time else f"mutex held by {held_by}"
        draft.born(root, TaskEvent.AWAIT, why, scope_row=True).wake_at = _next_look(draft)
    else:
        _enter(ripple)
    ripple.run()
    return answered(draft)


def _take(draft: Draft, event: StartInstance, mutex: str) -> str | None:
    """Take the mutex; the instance that holds it already, or None when it is ours now."""
    holder = draft.ask(("mutex", draft.plan.name, mutex))
    return None if holder == event.instance_id else holder


def begin(
    draft: Draft, event: StartInstance | ForkInstance, state: InstanceState, reason: str
) -> InstanceRow:
    """Make the instance row with its labels and inputs; its tasks are known to be absent."""
    plan, labels = draft.plan, {**draft.plan.labels, **dict(event.labels)}
    row = InstanceRow(
        id=event.instance_id,
        definition_id=event.definition_id,
        name=plan.name,
        version=plan.version,
        state=state,
        key=None,
        gen=0,
        sweeps=0,
        inputs=None,
        inputs_ref=None,
        reason=None,
        created_at=draft.now,
        started_at=None,
        ended_at=None,
        labels=json.dumps(labels, separators=(",", ":")) if labels else None,
    )
    if isinstance(event, StartInstance):
        row.key, row.mutex = event.key, event.mutex
        row.start_at, row.expires_at = event.start_at, event.expires_at
        row.queue, row.priority, row.scheduled_for = event.queue, event.priority, event.scheduled_for
        row.parent_id, row.parent_path, row.depth = event.parent_id, event.parent_path, event.depth
    draft.begin(row, reason)
    row.inputs, row.inputs_ref = draft.store(event.inputs)
    draft.changes.labels.extend(LabelRow(row.id, name, value) for name, value in labels.items())
    return row


def _enter(ripple: Ripple) -> None:
    draft = ripple.draft
    root = draft.row("")
    if root is None:
        root = draft.born(
            new_task(draft.instance.id, "", None, gen=0), TaskEvent.ENTER, "started", scope_row=True
        )
    else:
        root = draft.move(root, TaskEvent.ENTER, "started")
    root = draft.edit("", counters=True)
    root.started_at = draft.now
    root.deadline_at = None if draft.plan.deadline is None else draft.now + draft.plan.deadline
    ripple.enter(root)


def _next_look(draft: Draft) -> int:
    instance = draft.instance
    later = instance.start_at is not None and instance.start_at > draft.now
    look = instance.start_at if later and instance.start_at is not None else draft.now + _LOOK
    return look if instance.expires_at is None else min(look, instance.expires_at)


def begin_queued(ripple: Ripple) -> None:
    """Begin an instance whose time has come and whose mutex is free; expire one that came too late."""
    draft, instance = ripple.draft, ripple.draft.instance
    root = draft.edit("", counters=True)
    if instance.expires_at is not None and instance.expires_at <= draft.now:
        draft.move(root, TaskEvent.EXPIRE, "not begun in time")
        draft.move_instance(InstanceEvent.EXPIRE, "not begun in time")
        return
    root.wake_at = _next_look(draft)
    if instance.start_at is not None and instance.start_at > draft.now:
        return
    if instance.mutex is not None and draft.ask(("mutex", instance.name, instance.mutex)) != instance.id:
        return
    draft.move_instance(InstanceEvent.BEGIN, "its time has come" if instance.mutex is None else "mutex taken")
    _enter(ripple)


def wake(draft: Draft, event: WakeInstance) -> Applied:
    """What a queued start waits for may be free now."""
    if not draft.has_instance or draft.instance.state is not InstanceState.QUEUED:
        return Applied("ignored", event.instance_id)
    ripple = Ripple(draft)
    begin_queued(ripple)
    ripple.run()
    return answered(draft)
