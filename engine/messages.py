"""Messages between instances as events: written with the sender's change, applied by a transaction of the target.

Whoever wrote one submits it at once; every engine also looks for those that nobody applied, because the process that
wrote them may be gone. Applying one twice does nothing twice.
"""

from __future__ import annotations

import json
from typing import Any

from ..repositories.records import MessageRow
from .errors import EngineError
from .events import CancelInstance, ChildEnded, Event, StartInstance, TerminateInstance, WakeInstance
from .outcomes import Payload
from .payload import encode, split

__all__ = ["event_of", "start_message"]


def event_of(message: MessageRow) -> Event:
    """The event that a message asks for. Raises EngineError for a kind that this version does not know."""
    body: dict[str, Any] = json.loads(message.body)
    target, source = message.instance_id, message.source
    match message.kind:
        case "start":
            return _start(message, body)
        case "ended":
            return ChildEnded(
                target,
                body["path"],
                source.split(":")[1],
                body["state"],
                _payload(body["output"]),
                body["error"],
                source,
            )
        case "cancel":
            return CancelInstance(target, body["reason"], None, source)
        case "terminate":
            return TerminateInstance(target, body["reason"], source)
        case "wake":
            return WakeInstance(target, source)
        case other:
            raise EngineError(f"message {source!r} is of the unknown kind {other!r}.")


def _start(message: MessageRow, body: dict[str, Any]) -> StartInstance:
    return StartInstance(
        message.instance_id,
        body["definition_id"],
        _payload(body["inputs"]),
        body.get("key"),
        body.get("mutex"),
        body.get("on_duplicate", "return_existing"),
        tuple((name, value) for name, value in body.get("labels", {}).items()),
        queue=body.get("queue"),
        priority=body.get("priority"),
        scheduled_for=body.get("scheduled_for"),
        parent_id=None if body["detach"] else body["parent"],
        parent_path=None if body["detach"] else body["path"],
        depth=body["depth"],
        message=message.source,
    )


def start_message(event: StartInstance, source: str, now: int) -> MessageRow:
    """The message that asks for a start; applying it twice starts once."""
    head = {
        "definition_id": event.definition_id,
        "path": event.parent_path,
        "depth": event.depth,
        "parent": event.parent_id,
        "detach": event.parent_id is None,
        "key": event.key,
        "mutex": event.mutex,
        "on_duplicate": event.on_duplicate,
        "labels": dict(event.labels),
        "queue": event.queue,
        "priority": event.priority,
        "scheduled_for": event.scheduled_for,
    }
    body = f'{json.dumps(head)[:-1]},"inputs":{event.inputs.text or "null"}}}'
    return MessageRow(event.instance_id, source, "start", body, now)


def _payload(value: Any) -> Payload:
    text = encode(value)
    inline, ref = split(text)
    return Payload(inline if ref is None else text, ref)
