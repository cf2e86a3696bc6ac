"""Flows: a node that runs another definition as an instance of its own. Pure; called by `attempts` and `decide`.

Parent and child never share a transaction: the parent leaves a message to start, the child one when it has ended.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ..executors.base import TaskError
from ..repositories.records import TaskRow, TaskState
from .events import Applied, ChildEnded
from .outcomes import Started
from .retry import retry_delay
from .rows import error_text, memo_of, node_of, remember
from .states import TaskEvent

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["MAX_DEPTH", "child_ended", "child_started"]

#: Runs above a run.
MAX_DEPTH: Final = 32


def child_started(ripple: Ripple, row: TaskRow, outcome: Started) -> None:
    """Leave the message that starts the child; wait for its end, unless it is detached."""
    draft, instance = ripple.draft, ripple.draft.instance
    row = draft.edit(row.path, counters=True)
    if ripple.is_stopped(row):
        ripple.ended(draft.move(row, TaskEvent.CANCEL, "scope closed"))
        return
    if instance.depth >= MAX_DEPTH:
        message = f"{outcome.name!r} would be the {MAX_DEPTH + 1}th run inside another"
        _failed(ripple, row, TaskError("flow", message, retryable=False), None)
        return
    attempt = row.attempt + 1
    remember(row, child=outcome.child_id)
    text = outcome.inputs.text
    head: dict[str, Any] = {
        "definition_id": outcome.definition_id,
        "path": row.path,
        "depth": instance.depth + 1,
        "parent": instance.id,
        "detach": outcome.detach,
        "queue": instance.queue,
        "priority": instance.priority,
    }
    if outcome.labels:
        head["labels"] = dict(outcome.labels)
    source = f"start:{instance.id}/{row.path}#{attempt}"
    body = f'{json.dumps(head)[:-1]},"inputs":{text or "null"}}}'
    ripple.tell(outcome.child_id, source, "start", body)
    draft.move(row, TaskEvent.ENTER, f"started {outcome.name}@{outcome.version}")
    row.attempt = attempt  # a flow's attempts are its children
    if outcome.detach:
        row.output, row.output_ref = json.dumps({"instance": outcome.child_id}), None
        _completed(ripple, row)


def child_ended(ripple: Ripple, event: ChildEnded) -> Applied:
    """The child's end is the flow's: its output, its error as cause, or a retry with a new child."""
    draft = ripple.draft
    row = draft.row(event.path)
    if row is None or row.state is not TaskState.WAITING or memo_of(row).get("child") != event.child_id:
        return Applied("ignored", event.instance_id)
    row = draft.edit(row.path, counters=True)
    if event.state == "completed":
        row.output, row.output_ref = draft.store(event.output)
        row.closed = None
        _completed(ripple, row)
    elif row.closed in {"cancelled", "terminated"}:
        ripple.ended(draft.move(row, TaskEvent.CANCEL, f"its run is {event.state}"))
    elif row.closed is None:
        node = node_of(ripple.plan, row)
        message = f"the run {event.child_id} of {node.flow.name if node and node.flow else row.path!r} {event.state}"
        _failed(ripple, row, TaskError("flow", message, codes=_codes(event.error)), event.error)
    return Applied("accepted", event.instance_id)


def _codes(error: str | None) -> tuple[str, ...]:
    return (json.loads(error)["code"],) if error else ()


def _completed(ripple: Ripple, row: TaskRow) -> None:
    node = node_of(ripple.plan, row)
    if node is not None and node.output is not None and ripple.is_stopped(row):
        ripple.ended(
            ripple.draft.move(row, TaskEvent.CANCEL, "scope closed")
        )  # nobody evaluates here any more
    elif node is not None and node.output is not None:
        ripple.evaluate(row, "output", "its run completed")
    else:
        ripple.ended(ripple.draft.move(row, TaskEvent.SUCCEED, "its run completed"))


def _failed(ripple: Ripple, row: TaskRow, error: TaskError, cause: str | None) -> None:
    draft, node = ripple.draft, node_of(ripple.plan, row)
    row.failures += 1
    row.error = error_text(
        error.code,
        error.message,
        node=node.name if node else "",
        path=row.path,
        attempt=row.attempt,
        cause=cause,
    )
    delay = None
    if node is not None and not ripple.is_stopped(row):
        delay = retry_delay(node.retry, error, row.failures, f"{row.instance_id}/{row.path}")
    if delay is None:
        remember(row, codes=list(error.codes) or None)
        ripple.failures.fail(row, error.code)
        return
    remember(row, child=None)
    draft.move(row, TaskEvent.RETRY, f"retry {row.failures}: {error.code}").wake_at = draft.now + delay
