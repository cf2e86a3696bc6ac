"""Schedules and triggers: made, shown before they are saved, paused, fired by hand, filled back; events emitted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..engine.errors import Conflict, NotFound, RequestError
from ..engine.expressions import parse_template
from ..engine.firing import jitter_of, trigger_of
from ..engine.membership import new_id
from ..engine.outputs import iso
from ..engine.payload import decode, encode
from ..engine.schedules import Scheduler
from ..engine.translate import engine_errors
from ..repositories import schedule_store, views
from ..repositories.schedule_rows import FiringRow, ScheduleRow
from .queues import checked_queue
from .references import checked_reference

if TYPE_CHECKING:
    from ..engine.batching import Pending
    from ..engine.catalog import Catalog
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.database import Database

__all__ = ["MISFIRES", "OVERLAPS", "ScheduleSpec", "SchedulerService", "firing_json", "schedule_json"]

#: Looks at what is about to be changed, locked; what it raises is raised, and nothing is changed.
Check = Callable[[ScheduleRow], None]

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_MANY: Final = 10_000
OVERLAPS: Final = ("allow", "skip", "queue", "cancel")
MISFIRES: Final = ("skip", "latest", "all")
_CENTURY_S: Final = 100 * 366 * 86_400
#: The end of the year 9999: what comes later cannot be written.
_LAST: Final = 253_402_300_799_000_000
_HIGHEST: Final = 1_000_000


@dataclass(slots=True, frozen=True)
class ScheduleSpec:
    """What somebody asks for. Exactly one of `cron`, `every_s` and `at`; times without a zone are UTC."""

    name: str
    #: `name` for the active version, or `name@3`.
    definition: str
    cron: str | None = None
    every_s: float | None = None
    at: datetime | None = None
    timezone: str = "UTC"
    overlap: str = "allow"
    misfire: str = "latest"
    catch_up: int = 100
    jitter_s: float = 0.0
    #: An instant so soon after the last start is skipped.
    cooldown_s: float = 0.0
    start_at: datetime | None = None
    end_at: datetime | None = None
    #: May hold templates that read `instance.scheduled_for`.
    inputs: Any = None
    queue: str | None = None
    priority: int | None = None


def schedule_json(row: ScheduleRow) -> dict[str, Any]:
    """A schedule as the command line and APIs give it: everything that `create` takes, and how it stands."""
    version = "" if row.version is None else f"@{row.version}"
    return {
        "name": row.name,
        "definition": f"{row.definition}{version}",
        "state": row.state,
        "cron": row.cron,
        "every_s": None if row.every is None else row.every / 1_000_000,
        "at": iso(row.at),
        "timezone": row.timezone,
        "overlap": row.overlap,
        "misfire": row.misfire,
        "catch_up": row.catch_up,
        "jitter_s": row.jitter / 1_000_000,
        "cooldown_s": row.cooldown / 1_000_000,
        "start_at": iso(row.start_at),
        "end_at": iso(row.end_at),
        "inputs": None if row.inputs is None else decode(row.inputs),
        "queue": row.queue,
        "priority": row.priority,
        "next_at": iso(row.next_at),
        "runs": row.runs,
        "skips": row.skips,
        "problem": row.problem,
        "origin": row.origin,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    }


def firing_json(row: FiringRow) -> dict[str, Any]:
    """What became of one instant, as APIs give it."""
    return {
        "at": iso(row.at),
        "kind": row.kind,
        "outcome": row.outcome,
        "instance": row.instance_id,
        "fired_at": iso(row.fired_at),
        "reason": row.reason,
    }


class SchedulerService:
    """Use cases of schedules on one database; those that start something need no engine in this process."""

    def __init__(self, database: Database, catalog: Catalog, engine: WorkflowEngine | None = None) -> None:
        self._database = database
        self._catalog = catalog
        submit = engine.parts.writer.submit if engine is not None else _left_to_engines
        self._scheduler = Scheduler(database, catalog, submit)

    # --- looking

    def list(self) -> list[ScheduleRow]:
        """Every schedule, by name."""
        found: list[ScheduleRow] = []
        while True:
            after = found[-1].name if found else ""
            with engine_errors(), self._database.read() as connection:
                page = schedule_store.schedules(connection, after=after)
            found += page
            if not page:
                return found

    def page(self, *, after: str = "", limit: int = 100) -> list[ScheduleRow]:
        """A page of schedules by name; `after` is the last one seen."""
        with engine_errors(), self._database.read() as connection:
            return schedule_store.schedules(connection, after=after, limit=limit)

    def get(self, name: str) -> ScheduleRow:
        """One schedule. Raises NotFound."""
        with engine_errors(), self._database.read() as connection:
            return _given(schedule_store.schedule(connection, name), name)

    def history(self, name: str, *, limit: int = 100, before: int | None = None) -> list[FiringRow]:
        """What became of its instants, newest first. Raises NotFound."""
        row = self.get(name)
        with engine_errors(), self._database.read() as connection:
            return schedule_store.firings(connection, row.id, limit=limit, before=before)

    def preview(self, spec: ScheduleSpec | str, count: int = 10, *, after: int | None = None) -> list[int]:
        """The next firings, in microseconds, of a schedule or of one that is not saved yet. Raises as `create` does."""
        row = self.get(spec) if isinstance(spec, str) else self._checked(spec)
        with engine_errors(), self._database.read() as connection:
            now = views.now(connection)
        found = trigger_of(row).upcoming(now if after is None else after, count)
        return [instant for instant in found if instant <= _LAST]

    # --- making

    def create(self, spec: ScheduleSpec) -> ScheduleRow:
        """Save a schedule; it fires from now on. Raises InvalidSchedule, NotFound, and Conflict for a taken name."""
        row = self._checked(spec)
        with engine_errors(), self._database.write() as connection:
            now = schedule_store.now_of(connection)
            row = _starting(replace(row, created_at=now, updated_at=now), now)
            if not schedule_store.add_schedule(connection, row):
                raise Conflict(
                    f"there is a schedule {row.name!r} already.",
                    hint=f"`strataflow schedules update {row.name}` changes it.",
                )
        return row

    def update(self, spec: ScheduleSpec, check: Check | None = None) -> ScheduleRow:
        """Replace a schedule of this name; what has fired stays fired. Raises NotFound, InvalidSchedule, Conflict."""
        wanted = self._checked(spec)
        with engine_errors(), self._database.write() as connection:
            old = _given(schedule_store.lock_schedule(connection, spec.name), spec.name)
            _pass(old, check)
            if old.origin == "definition":
                raise Conflict(
                    f"schedule {spec.name!r} belongs to its definition.",
                    hint="Change `schedule` in the definition and activate the new version.",
                )
            now = schedule_store.now_of(connection)
            kept = {"id": old.id, "runs": old.runs, "skips": old.skips, "created_at": old.created_at}
            row = _starting(replace(wanted, **kept, updated_at=now), now)
            if old.state == "paused":
                row = replace(row, state="paused", next_at=None)
            values = {name: getattr(row, name) for name in row.__slots__ if name not in {"id", "name"}}
            schedule_store.change_schedule(connection, old.id, **values)
        return row

    def remove(self, name: str, check: Check | None = None) -> None:
        """Delete a schedule and its history; runs that it started stay. Raises NotFound, Conflict."""
        with engine_errors(), self._database.write() as connection:
            row = _given(schedule_store.lock_schedule(connection, name), name)
            _pass(row, check)
            if row.origin == "definition":
                raise Conflict(
                    f"schedule {name!r} belongs to its definition.",
                    hint="Activate a version without `schedule`, or pause it.",
                )
            schedule_store.remove_schedule(connection, name)

    def pause(self, name: str, reason: str | None = None, check: Check | None = None) -> ScheduleRow:
        """Fire nothing until it is resumed. Raises NotFound."""
        return self._switch(name, "paused", reason, check)

    def resume(self, name: str, check: Check | None = None) -> ScheduleRow:
        """Fire again, from now on: what its times passed meanwhile is left to `backfill`. Raises NotFound."""
        return self._switch(name, "active", None, check)

    def _switch(self, name: str, state: str, reason: str | None, check: Check | None) -> ScheduleRow:
        with engine_errors(), self._database.write() as connection:
            row = _given(schedule_store.lock_schedule(connection, name), name)
            _pass(row, check)
            now = schedule_store.now_of(connection)
            if row.state == state:
                return row
            changed = replace(row, state=state, problem=reason, updated_at=now)
            changed = replace(changed, next_at=None) if state == "paused" else _starting(changed, now)
            names = ("state", "problem", "updated_at", "next_at", "fired_until")
            values = {each: getattr(changed, each) for each in names}
            schedule_store.change_schedule(connection, row.id, **values)
        return changed

    # --- firing by hand

    def trigger(self, name: str, *, force: bool = False) -> FiringRow:
        """Fire now, under the schedule's overlap policy unless forced. Raises NotFound."""
        with engine_errors():
            found = self._scheduler.trigger(name, force=force)
        if found is None:
            raise _unknown(name)
        return found

    def backfill(self, name: str, start: datetime, end: datetime) -> list[FiringRow]:
        """Fire the instants of a range (both ends included) that have not fired. Raises NotFound, RequestError."""
        row = self.get(name)
        first, last = _micros(start), _micros(end)
        with engine_errors(), self._database.read() as connection:
            now = views.now(connection)
        if first > last:
            raise RequestError(
                "the range ends before it begins.", pointer="/end", hint="Give the earlier instant first."
            )
        if last > now:
            raise RequestError(
                f"the range ends in the future, at {iso(last)}.",
                pointer="/end",
                hint="Give instants that have passed; what is to come fires by itself, and `trigger` fires now.",
            )
        instants = trigger_of(replace(row, start_at=None, end_at=None)).between(first - 1, last, _MANY + 1)
        if len(instants) > _MANY:
            raise RequestError(
                f"{name!r} would fire more than {_MANY:,} times in that range.",
                pointer="/start",
                hint="Give a shorter range.",
            )
        found: list[FiringRow] = []
        for at in range(0, len(instants), 100):  # in small transactions: other engines go on meanwhile
            with engine_errors():
                found += self._scheduler.backfill(name, instants[at : at + 100]) or []
        return found

    # --- checking

    def _checked(self, spec: ScheduleSpec) -> ScheduleRow:
        if not _NAME.fullmatch(spec.name):
            raise RequestError(
                f"{spec.name!r} is no schedule name.",
                pointer="/name",
                hint="Use letters, digits, '_', '.' and '-', at most 128.",
            )
        for what, given, least in (
            ("every", spec.every_s, 1.0),
            ("jitter", spec.jitter_s, 0.0),
            ("cooldown", spec.cooldown_s, 0.0),
        ):
            if given is not None and not (math.isfinite(given) and least <= given <= _CENTURY_S):
                raise RequestError(
                    f"{what} is {least:g} s or more, and at most a hundred years, not {given:g} s.",
                    pointer=f"/{what}_s",
                    hint="Give another duration.",
                )
        if not 1 <= spec.catch_up <= _MANY:
            raise RequestError(
                f"catch_up is a whole number from 1 to {_MANY}, not {spec.catch_up}.",
                pointer="/catch_up",
                hint="With misfire `skip` nothing that was missed starts.",
            )
        for what, value, known in (("overlap", spec.overlap, OVERLAPS), ("misfire", spec.misfire, MISFIRES)):
            if value not in known:
                raise RequestError(
                    f"{what} {value!r} is unknown.",
                    pointer=f"/{what}",
                    hint=f"It is one of {', '.join(known)}.",
                )
        if spec.queue is not None:
            checked_queue(spec.queue)
        if spec.priority is not None and not -_HIGHEST <= spec.priority <= _HIGHEST:
            raise RequestError(
                f"a priority is a whole number from {-_HIGHEST} to {_HIGHEST}, not {spec.priority}.",
                pointer="/priority",
            )
        with engine_errors():
            self._catalog.find(checked_reference(spec.definition))
            row = self._row(spec, 0)
            with self._database.read() as connection:
                now = views.now(connection)
            self._scheduler.trial(row, trigger_of(row).next_after(now) or now)
        return row

    def _row(self, spec: ScheduleSpec, now: int) -> ScheduleRow:
        if spec.inputs is not None:
            _check_template(spec.inputs)
        name, _, version = spec.definition.partition("@")
        row = ScheduleRow(
            id=new_id(),
            name=spec.name,
            definition=name,
            version=int(version) if version else None,
            origin="api",
            state="active",
            cron=spec.cron,
            every=None if spec.every_s is None else round(spec.every_s * 1_000_000),
            at=None if spec.at is None else _micros(spec.at),
            timezone=spec.timezone,
            overlap=spec.overlap,
            misfire=spec.misfire,
            catch_up=spec.catch_up,
            jitter=round(spec.jitter_s * 1_000_000),
            cooldown=round(spec.cooldown_s * 1_000_000),
            start_at=None if spec.start_at is None else _micros(spec.start_at),
            end_at=None if spec.end_at is None else _micros(spec.end_at),
            inputs=None if spec.inputs is None else encode(spec.inputs),
            queue=spec.queue,
            priority=spec.priority,
            fired_until=now,
            next_at=None,
            runs=0,
            skips=0,
            problem=None,
            created_at=now,
            updated_at=now,
        )
        trigger_of(row)  # says what is wrong
        return row


def _check_template(inputs: Any) -> None:
    hint = "Their expressions may read '{{ instance.scheduled_for }}', and nothing else."
    template, problems = parse_template(inputs)
    if template is None:
        raise RequestError(f"the inputs cannot be read: {problems[0].message}.", pointer="/inputs", hint=hint)
    for ref in template.refs:
        if ref.root != "instance" or ref.parts[:1] != ("scheduled_for",):
            read = ".".join(map(str, (ref.root, *ref.parts[:1])))
            raise RequestError(
                f"the inputs read {read}, which a schedule does not know.", pointer="/inputs", hint=hint
            )


def _starting(row: ScheduleRow, now: int) -> ScheduleRow:
    following = trigger_of(row).next_after(now)
    if following is None:
        raise RequestError(
            f"schedule {row.name!r} would never fire: its times are over.",
            hint="Give a time that is to come.",
        )
    return replace(row, state="active", fired_until=now, next_at=following + jitter_of(row, following))


def _pass(row: ScheduleRow, check: Check | None) -> None:
    if check is not None:
        check(row)


def _given(row: ScheduleRow | None, name: str) -> ScheduleRow:
    if row is None:
        raise _unknown(name)
    return row


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no schedule {name!r}.", hint="`strataflow schedules` shows what there is.")


def _micros(at: datetime) -> int:
    from datetime import UTC

    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1_000_000)


def _left_to_engines(_: Pending) -> None:
    """Nobody here applies the message: an engine finds it."""
