"""How an instance ends: its final state, what it held, and who is told. Pure; called by `ripple`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..repositories.records import InstanceState, TaskRow, TaskState
from .states import InstanceEvent

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["end_instance", "release"]


def end_instance(ripple: Ripple, root: TaskRow) -> None:
    """The root is at rest: the instance takes its final state, frees its mutex and tells the flow above it."""
    draft = ripple.draft
    if draft.instance.state is InstanceState.PENDING:
        draft.move_instance(InstanceEvent.RUN, "nothing to claim")
    if draft.instance.state is InstanceState.CANCELLING:
        draft.move_instance(InstanceEvent.STOP, "nothing runs any more")
    elif root.state is TaskState.COMPLETED:
        draft.move_instance(InstanceEvent.COMPLETE, "all nodes ended")
    elif root.state is TaskState.CANCELLED:
        draft.move_instance(InstanceEvent.CANCEL, "everything was cancelled")
        draft.move_instance(InstanceEvent.STOP, "nothing runs any more")
    else:
        draft.move_instance(InstanceEvent.FAIL, "a node failed")
    release(ripple)
    _tell_parent(ripple, root)


def release(ripple: Ripple) -> None:
    """Free the mutex of an instance that holds it, and wake the oldest start that waits for it."""
    draft, instance = ripple.draft, ripple.draft.instance
    if instance.mutex is None:
        return
    waiting = draft.ask(("queued", instance.name, instance.mutex))
    draft.changes.released.append((instance.name, "mutex", instance.mutex, instance.id))
    if waiting is not None:
        ripple.tell(waiting, f"wake:{instance.id}:{instance.gen}", "wake", "{}")


def _tell_parent(ripple: Ripple, root: TaskRow) -> None:
    draft, instance = ripple.draft, ripple.draft.instance
    if instance.parent_id is None:
        return
    text = root.output
    if root.output_ref is not None:
        stored = (b.body for b in draft.changes.blobs if b.key == root.output_ref)
        text = next(stored, None) or draft.ask(("blob", root.output_ref))
    body = json.dumps({"path": instance.parent_path, "state": instance.state.value, "error": root.error})
    ripple.tell(
        instance.parent_id,
        f"ended:{instance.id}:{instance.gen}",
        "ended",
        f'{body[:-1]},"output":{text or "null"}}}',
    )
