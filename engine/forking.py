"""Forks: a new run that takes over what another one has already done. Pure; called by `decide`.

The rows of finished nodes are copied, with everything below them; what follows is decided in the new run.
"""

from __future__ import annotations

from ..repositories.records import InstanceState, TaskRow
from .beginning import answered, begin
from .draft import Draft
from .events import Applied, ForkInstance
from .ripple import Ripple
from .rows import new_task
from .states import TaskEvent

__all__ = ["fork"]


def fork(draft: Draft, event: ForkInstance) -> Applied:
    """Make the new instance as its source stood at the fork. The same id again starts nothing."""
    if draft.has_instance:
        return answered(draft, "existing")
    begin(draft, event, InstanceState.PENDING, f"forked from {event.source_id}")
    scope = draft.plan.root
    root = draft.born(new_task(event.instance_id, "", None, gen=0), TaskEvent.ENTER, "forked", scope_row=True)
    root.started_at = draft.now
    root.total = len(scope.nodes)
    root.deadline_at = None if draft.plan.deadline is None else draft.now + draft.plan.deadline
    kept = {row.path: _taken_over(draft, event, row) for row in event.kept}
    ripple = Ripple(draft)
    for name in scope.roots:
        if name not in kept:
            ripple.activate(root, scope.nodes[name], name, None)
    for name in scope.nodes:  # in the order in which they run: each tells what follows it
        if name in kept:
            ripple.ended(kept[name], counted=False)
    ripple.rest_scope(root)
    ripple.run()
    return answered(draft)


def _taken_over(draft: Draft, event: ForkInstance, row: TaskRow) -> TaskRow:
    """A finished row in the new run, with its own output or another one."""
    draft.changes.copies.append((event.source_id, event.instance_id, row.path))
    copy = row.copy()
    copy.instance_id, copy.gen, copy.open, copy.cursor, copy.wake_at = event.instance_id, 0, 0, None, None
    outputs = dict(event.outputs)
    if row.path in outputs:
        copy.output, copy.output_ref = draft.store(outputs[row.path])
        copy.error = None
    return draft.taken_over(copy, f"taken over from {event.source_id}", completed=row.path in outputs)
