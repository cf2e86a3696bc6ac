"""Triggers: which definition an event starts; and emitting events."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..engine.errors import Conflict, NotFound, RequestError
from ..engine.membership import new_id
from ..engine.outputs import iso
from ..engine.payload import decode, encode
from ..engine.translate import engine_errors
from ..engine.triggers import Emitted, Emitter, check_inputs, check_texts
from ..repositories import schedule_store
from ..repositories.schedule_rows import TriggerRow
from .queues import checked_queue
from .references import checked_reference

if TYPE_CHECKING:
    from ..engine.batching import Pending
    from ..engine.catalog import Catalog
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.database import Database

__all__ = ["TriggerService", "TriggerSpec", "trigger_json"]

#: Looks at what is about to be changed, locked; what it raises is raised, and nothing is changed.
Check = Callable[[TriggerRow], None]
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HIGHEST: Final = 1_000_000
_LONGEST: Final = 512


@dataclass(slots=True, frozen=True)
class TriggerSpec:
    """What somebody asks for: events whose name matches `pattern` (`*` and `?`), and for which `match` holds."""

    name: str
    #: Glob: `order.*`.
    pattern: str
    #: `name` for the active version, or `name@3`.
    definition: str
    #: `{{ event.payload.amount > 100 }}`; None takes every event of the name.
    match: str | None = None
    #: May hold templates that read `event`; None gives no inputs.
    inputs: Any = None
    queue: str | None = None
    priority: int | None = None


def trigger_json(row: TriggerRow) -> dict[str, Any]:
    """A trigger as the command line and APIs give it: everything that `create` takes, and how it stands."""
    version = "" if row.version is None else f"@{row.version}"
    return {
        "name": row.name,
        "pattern": row.pattern,
        "definition": f"{row.definition}{version}",
        "state": row.state,
        "match": None if row.match is None else decode(row.match),
        "inputs": None if row.inputs is None else decode(row.inputs),
        "queue": row.queue,
        "priority": row.priority,
        "runs": row.runs,
        "problem": row.problem,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    }


class TriggerService:
    """Use cases of triggers on one database; emitting needs no engine in this process."""

    def __init__(self, database: Database, catalog: Catalog, engine: WorkflowEngine | None = None) -> None:
        self._database = database
        self._catalog = catalog
        submit = engine.parts.writer.submit if engine is not None else _left_to_engines
        self._emitter = Emitter(database, catalog, submit)

    def list(self) -> list[TriggerRow]:
        """Every trigger, by name."""
        with engine_errors(), self._database.read() as connection:
            return schedule_store.triggers(connection)

    def get(self, name: str) -> TriggerRow:
        """One trigger. Raises NotFound."""
        with engine_errors(), self._database.read() as connection:
            return _given(schedule_store.trigger(connection, name), name)

    def create(self, spec: TriggerSpec) -> TriggerRow:
        """Save a trigger. Raises RequestError, NotFound, InputError, and Conflict for a taken name."""
        self._check(spec)
        with engine_errors(), self._database.write() as connection:
            row = _row(spec, schedule_store.now_of(connection))
            added = schedule_store.add_trigger(connection, row)
        if not added:
            raise Conflict(
                f"there is a trigger {spec.name!r} already.", hint="Remove it first, or take another name."
            )
        return row

    def update(self, spec: TriggerSpec, check: Check | None = None) -> TriggerRow:
        """Replace a trigger of this name; it stays paused if it was. Raises as `create` does, and NotFound."""
        self._check(spec)
        with engine_errors(), self._database.write() as connection:
            old = _given(schedule_store.lock_trigger(connection, spec.name), spec.name)
            _pass(old, check)
            new = _row(spec, schedule_store.now_of(connection))
            names = ("pattern", "match", "definition", "version", "inputs", "queue", "priority", "updated_at")
            values = {name: getattr(new, name) for name in names}
            schedule_store.change_trigger(connection, old.id, **values, problem=None)
            return _given(schedule_store.trigger(connection, spec.name), spec.name)

    def _check(self, spec: TriggerSpec) -> None:
        if not _NAME.fullmatch(spec.name):
            raise RequestError(
                f"{spec.name!r} is no trigger name.",
                pointer="/name",
                hint="Use letters, digits, '_', '.' and '-', at most 128.",
            )
        if not spec.pattern or len(spec.pattern) > _LONGEST or not spec.pattern.isprintable():
            raise RequestError(
                f"a trigger needs a pattern of event names, of at most {_LONGEST} characters.",
                pointer="/pattern",
                hint="Write 'order.*'.",
            )
        check_texts(spec.match, spec.inputs)
        if spec.queue is not None:
            checked_queue(spec.queue)
        if spec.priority is not None and not -_HIGHEST <= spec.priority <= _HIGHEST:
            raise RequestError(
                f"a priority is a whole number from {-_HIGHEST} to {_HIGHEST}, not {spec.priority}.",
                pointer="/priority",
            )
        with engine_errors():
            check_inputs(self._catalog.find(checked_reference(spec.definition)).inputs, spec.inputs)

    def remove(self, name: str, check: Check | None = None) -> None:
        """Delete a trigger; runs that it started stay. Raises NotFound."""
        with engine_errors(), self._database.write() as connection:
            _pass(_given(schedule_store.lock_trigger(connection, name), name), check)
            schedule_store.remove_trigger(connection, name)

    def pause(self, name: str, check: Check | None = None) -> TriggerRow:
        """Let events pass until it is resumed. Raises NotFound."""
        return self._switch(name, "paused", check)

    def resume(self, name: str, check: Check | None = None) -> TriggerRow:
        """Take events again. Raises NotFound."""
        return self._switch(name, "active", check)

    def _switch(self, name: str, state: str, check: Check | None) -> TriggerRow:
        with engine_errors(), self._database.write() as connection:
            row = _given(schedule_store.lock_trigger(connection, name), name)
            _pass(row, check)
            now = schedule_store.now_of(connection)
            schedule_store.change_trigger(connection, row.id, state=state, updated_at=now)
            return _given(schedule_store.trigger(connection, name), name)

    def emit(self, name: str, payload: Any = None, *, event_id: str | None = None) -> list[Emitted]:
        """Start what an event starts; the same id again starts nothing again. Raises PayloadError, RequestError."""
        for what, text in (("name", name), ("id", event_id)):
            if text is not None and (not text.strip() or len(text) > _LONGEST or not text.isprintable()):
                raise RequestError(
                    f"an event's {what} is printable text of 1 to {_LONGEST} characters, not {text[:80]!r}.",
                    pointer=f"/{what}",
                    hint="Write a name like order.paid."
                    if what == "name"
                    else "Leave it out to get a fresh one.",
                )
        with engine_errors():
            return self._emitter.emit(name, payload, event_id=event_id)


def _row(spec: TriggerSpec, now: int) -> TriggerRow:
    name, _, version = spec.definition.partition("@")
    return TriggerRow(
        id=new_id(),
        name=spec.name,
        pattern=spec.pattern,
        match=None if spec.match is None else encode(spec.match),
        definition=name,
        version=int(version) if version else None,
        inputs=None if spec.inputs is None else encode(spec.inputs),
        state="active",
        queue=spec.queue,
        priority=spec.priority,
        runs=0,
        problem=None,
        created_at=now,
        updated_at=now,
    )


def _pass(row: TriggerRow, check: Check | None) -> None:
    if check is not None:
        check(row)


def _given(row: TriggerRow | None, name: str) -> TriggerRow:
    if row is None:
        raise _unknown(name)
    return row


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no trigger {name!r}.", hint="`strataflow triggers list` shows what there is.")


def _left_to_engines(_: Pending) -> None:
    """Nobody here applies the message: an engine finds it."""
