"""Starts by event: whoever emits one starts every definition whose trigger matches its name and content.

An event with an id of its own counts once: what it started is found by that id, however often it is emitted. Starts
are messages of the transaction that looks at the triggers, as for schedules.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, cast

from ..repositories import schedule_store, views
from ..repositories.records import MessageRow
from ..repositories.schedule_rows import TriggerRow
from .batching import Pending
from .errors import EngineError, InputError, RequestError
from .expressions import has_expression, parse_template
from .inputs import InputSchema
from .membership import new_id
from .messages import event_of, start_message
from .outputs import iso
from .payload import encode
from .schedules import derived_id, rendered
from .starts import StartOptions, prepare_start

if TYPE_CHECKING:
    from ..repositories.database import Database, Session
    from .catalog import Catalog
    from .events import StartInstance

__all__ = ["Emitted", "Emitter", "check_inputs", "check_texts"]

log: Final = logging.getLogger("strataflow.triggers")
_MEMBERS: Final = ("name", "payload", "id", "at")


@dataclass(slots=True, frozen=True)
class Emitted:
    """What an event came to at one trigger: a run, one that it had started before, or a problem."""

    trigger: str
    #: `started`, `existing`, `unmatched`, `failed`.
    status: str
    instance_id: str | None = None
    problem: str | None = None


def check_texts(match: str | None, inputs: Any) -> None:
    """Refuse a condition or inputs that cannot be read, or that read anything but `event`. Raises RequestError."""
    for what, value in (("match", match), ("inputs", inputs)):
        if value is None:
            continue
        template, problems = parse_template(value)
        if template is None:
            raise RequestError(
                f"{what} cannot be read: {problems[0].message}.",
                hint="Write '{{ event.payload.amount > 100 }}'.",
            )
        strange = sorted({ref.root for ref in template.refs} - {"event"})
        if strange:
            raise RequestError(
                f"{what} reads {strange[0]!r}, which a trigger does not know.",
                hint="It knows `event` alone: event.name, event.payload, event.id, event.at.",
            )
        unknown = [ref.parts[0] for ref in template.refs if ref.parts and ref.parts[0] not in _MEMBERS]
        if unknown:
            raise RequestError(
                f"{what} reads event.{unknown[0]}, which an event does not have.",
                hint="It has event.name, event.payload, event.id and event.at.",
            )
        if what == "match" and not (template.refs and _is_expression(value)):
            raise RequestError(
                "match is no expression on the event.", hint="Write '{{ event.payload.amount > 100 }}'."
            )


def _is_expression(value: Any) -> bool:
    """Exactly one expression and nothing else: any other text would give text, which is no condition."""
    if not isinstance(value, str):
        return False
    text = value.strip()
    return text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1


def check_inputs(schema: Mapping[str, Any] | None, inputs: Any) -> None:
    """Refuse inputs with which no event could start the definition; of computed ones only the names are known yet."""
    checker = InputSchema(schema)
    if inputs is None or not has_expression(inputs):
        checker.prepare(inputs)
    elif isinstance(inputs, dict):
        names = cast("dict[str, Any]", inputs)
        problems = checker.check_names([name for name in names if not has_expression(name)])
        if problems:
            raise InputError(problems)


class Emitter:
    """Emits events to the triggers of one database."""

    def __init__(self, database: Database, catalog: Catalog, submit: Callable[[Pending], None]) -> None:
        self._database = database
        self._catalog = catalog
        self._submit = submit

    def emit(self, name: str, payload: Any = None, *, event_id: str | None = None) -> list[Emitted]:
        """Start what matches; the same `event_id` again starts nothing again. Raises PayloadError."""
        encode(payload)  # says what is no JSON
        messages: list[MessageRow] = []
        with self._database.write() as connection:
            now = schedule_store.now_of(connection)
            event = {"name": name, "payload": payload, "id": event_id or new_id(), "at": iso(now)}
            found = [
                self._offer(connection, trigger, event, now, messages)
                for trigger in schedule_store.triggers(connection, active=True)
                if fnmatchcase(name, trigger.pattern)
            ]
        for message in messages:
            self._submit(Pending(event_of(message)))
        return found

    def _offer(
        self,
        connection: Session,
        trigger: TriggerRow,
        event: dict[str, Any],
        now: int,
        messages: list[MessageRow],
    ) -> Emitted:
        try:
            if trigger.match is not None and not _matches(trigger.match, event):
                return Emitted(trigger.name, "unmatched")
            start = self._start_of(trigger, event)
        except EngineError as exc:
            log.info("trigger %s: %s", trigger.name, exc, extra={"action": "trigger_failed"})
            schedule_store.change_trigger(connection, trigger.id, problem=str(exc), updated_at=now)
            return Emitted(trigger.name, "failed", problem=str(exc))
        source = f"event:{trigger.id}:{event['id']}"
        known = schedule_store.is_asked_for(connection, start.instance_id, source)
        if known or views.state_of(connection, start.instance_id) is not None:
            return Emitted(trigger.name, "existing", start.instance_id)
        message = start_message(start, source, now)
        schedule_store.send(connection, message)
        schedule_store.change_trigger(connection, trigger.id, runs=1, problem=None, updated_at=now)
        messages.append(message)
        return Emitted(trigger.name, "started", start.instance_id)

    def _start_of(self, trigger: TriggerRow, event: dict[str, Any]) -> StartInstance:
        version = "" if trigger.version is None else f"@{trigger.version}"
        registered = self._catalog.find(f"{trigger.definition}{version}")
        inputs = rendered(trigger.inputs, {"event": event})
        labels = {"trigger": trigger.name}
        options = StartOptions(labels=labels, queue=trigger.queue, priority=trigger.priority)
        start = prepare_start(registered, self._catalog.plan(registered.id), inputs, options)
        return replace(start, instance_id=derived_id("trigger", trigger.id, event["id"]))


def _matches(match: str, event: dict[str, Any]) -> bool:
    template, problems = parse_template(json.loads(match))
    if template is None:
        raise EngineError(f"match cannot be read: {problems[0].message}")
    return template.render_bool({"event": event})
