"""Reading and writing schedules, their firings and triggers. A firing and the start it asks for are one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, update

from .control_tables import FIRINGS, SCHEDULES, TRIGGERS
from .database import clock, insert_into
from .records import ACTIVE_INSTANCE_STATES, MessageRow
from .schedule_rows import FiringRow, ScheduleRow, TriggerRow
from .tables import INSTANCES, MESSAGES

__all__ = [
    "add_firings",
    "add_schedule",
    "add_trigger",
    "change_schedule",
    "change_trigger",
    "due_schedules",
    "firing",
    "firings",
    "is_asked_for",
    "last_start",
    "live_runs",
    "lock_schedule",
    "lock_trigger",
    "next_firing",
    "now_of",
    "put_firing",
    "remove_schedule",
    "remove_trigger",
    "schedule",
    "schedules",
    "send",
    "trigger",
    "triggers",
]

#: Firings that are looked at to find runs that have not ended.
_LOOK_BACK: Final = 200
_PAGE: Final = 1_000


def now_of(connection: Connection) -> int:
    """The database's clock, in microseconds."""
    return connection.execute(select(clock(connection))).scalar_one()


# --- schedules


def due_schedules(connection: Connection, now: int, limit: int) -> list[ScheduleRow]:
    """Lock schedules whose next firing has come; those that another engine fires at this moment are left out."""
    due = (
        select(*SCHEDULES.columns)
        .where(SCHEDULES.c.next_at.is_not(None), SCHEDULES.c.next_at <= now)
        .order_by(SCHEDULES.c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [ScheduleRow(*row) for row in connection.execute(due)]


def next_firing(connection: Connection) -> int | None:
    """When the next firing of any schedule comes."""
    found = select(func.min(SCHEDULES.c.next_at)).where(SCHEDULES.c.next_at.is_not(None))
    return connection.execute(found).scalar()


def lock_schedule(connection: Connection, name: str) -> ScheduleRow | None:
    """Lock one schedule by its name."""
    row = connection.execute(
        select(*SCHEDULES.columns).where(SCHEDULES.c.name == name).with_for_update()
    ).first()
    return None if row is None else ScheduleRow(*row)


def schedule(connection: Connection, name: str) -> ScheduleRow | None:
    """One schedule by its name."""
    row = connection.execute(select(*SCHEDULES.columns).where(SCHEDULES.c.name == name)).first()
    return None if row is None else ScheduleRow(*row)


def schedules(connection: Connection, *, limit: int = _PAGE, after: str = "") -> list[ScheduleRow]:
    """A page of schedules by name."""
    page = select(*SCHEDULES.columns).where(SCHEDULES.c.name > after).order_by(SCHEDULES.c.name).limit(limit)
    return [ScheduleRow(*row) for row in connection.execute(page)]


def add_schedule(connection: Connection, row: ScheduleRow) -> bool:
    """Insert a schedule; False when the name is taken."""
    insert = insert_into(connection, SCHEDULES).values(**asdict(row)).on_conflict_do_nothing()
    return connection.execute(insert.returning(SCHEDULES.c.id)).first() is not None


def change_schedule(connection: Connection, schedule_id: str, **values: Any) -> None:
    """Write some columns of a schedule."""
    connection.execute(update(SCHEDULES).where(SCHEDULES.c.id == schedule_id).values(**values))


def remove_schedule(connection: Connection, name: str) -> bool:
    """Delete a schedule with its firings; the runs that it started stay. False when there is none."""
    found = lock_schedule(connection, name)
    if found is None:
        return False
    connection.execute(delete(FIRINGS).where(FIRINGS.c.schedule_id == found.id))
    connection.execute(delete(SCHEDULES).where(SCHEDULES.c.id == found.id))
    return True


# --- firings


def firing(connection: Connection, schedule_id: str, at: int) -> FiringRow | None:
    """What became of one instant."""
    row = connection.execute(
        select(*FIRINGS.columns).where(FIRINGS.c.schedule_id == schedule_id, FIRINGS.c.at == at)
    ).first()
    return None if row is None else FiringRow(*row)


def firings(
    connection: Connection, schedule_id: str, *, limit: int = 100, before: int | None = None
) -> list[FiringRow]:
    """A page of firings, newest first."""
    page = select(*FIRINGS.columns).where(FIRINGS.c.schedule_id == schedule_id)
    if before is not None:
        page = page.where(FIRINGS.c.at < before)
    return [FiringRow(*row) for row in connection.execute(page.order_by(FIRINGS.c.at.desc()).limit(limit))]


def add_firings(connection: Connection, rows: Iterable[FiringRow]) -> None:
    """Insert firings; one whose instant has fired already is left as it is."""
    for row in rows:
        insert = insert_into(connection, FIRINGS).values(**asdict(row))
        connection.execute(insert.on_conflict_do_nothing())


def last_start(connection: Connection, schedule_id: str) -> int | None:
    """The latest instant of a schedule that started something."""
    started = select(func.max(FIRINGS.c.at)).where(
        FIRINGS.c.schedule_id == schedule_id, FIRINGS.c.outcome == "started"
    )
    return connection.execute(started).scalar()


def put_firing(connection: Connection, row: FiringRow) -> None:
    """Write a firing; it takes the place of one of the same instant that started nothing."""
    values = asdict(row)
    insert = insert_into(connection, FIRINGS).values(**values)
    rest = {name: value for name, value in values.items() if name not in {"schedule_id", "at"}}
    connection.execute(insert.on_conflict_do_update(index_elements=["schedule_id", "at"], set_=rest))


def live_runs(connection: Connection, schedule_id: str) -> list[str]:
    """Runs of a schedule that have not ended, those whose start has not been applied yet included."""
    started = (
        select(FIRINGS.c.instance_id)
        .where(FIRINGS.c.schedule_id == schedule_id, FIRINGS.c.instance_id.is_not(None))
        .order_by(FIRINGS.c.at.desc())
        .limit(_LOOK_BACK)
    )
    ids: Sequence[str] = list(connection.execute(started).scalars())
    if not ids:
        return []
    active = [state.value for state in ACTIVE_INSTANCE_STATES]
    live = select(INSTANCES.c.id).where(INSTANCES.c.id.in_(ids), INSTANCES.c.state.in_(active))
    told = select(MESSAGES.c.instance_id).where(MESSAGES.c.instance_id.in_(ids), MESSAGES.c.kind == "start")
    return sorted({*connection.execute(live).scalars(), *connection.execute(told).scalars()})


def send(connection: Connection, message: MessageRow) -> None:
    """Leave a message for a run; the same source again is the same message."""
    insert = insert_into(connection, MESSAGES).values(**asdict(message))
    connection.execute(insert.on_conflict_do_nothing())


def is_asked_for(connection: Connection, instance_id: str, source: str) -> bool:
    """Does a message of this source wait for the run?"""
    found = select(MESSAGES.c.kind).where(MESSAGES.c.instance_id == instance_id, MESSAGES.c.source == source)
    return connection.execute(found).first() is not None


# --- triggers


def triggers(connection: Connection, *, active: bool = False) -> list[TriggerRow]:
    """Triggers by name."""
    found = select(*TRIGGERS.columns).order_by(TRIGGERS.c.name)
    if active:
        found = found.where(TRIGGERS.c.state == "active")
    return [TriggerRow(*row) for row in connection.execute(found)]


def trigger(connection: Connection, name: str) -> TriggerRow | None:
    """One trigger by its name."""
    row = connection.execute(select(*TRIGGERS.columns).where(TRIGGERS.c.name == name)).first()
    return None if row is None else TriggerRow(*row)


def lock_trigger(connection: Connection, name: str) -> TriggerRow | None:
    """Lock one trigger by its name."""
    page = select(*TRIGGERS.columns).where(TRIGGERS.c.name == name).with_for_update()
    row = connection.execute(page).first()
    return None if row is None else TriggerRow(*row)


def add_trigger(connection: Connection, row: TriggerRow) -> bool:
    """Insert a trigger; False when the name is taken."""
    insert = insert_into(connection, TRIGGERS).values(**asdict(row)).on_conflict_do_nothing()
    return connection.execute(insert.returning(TRIGGERS.c.id)).first() is not None


def change_trigger(connection: Connection, trigger_id: str, **values: Any) -> None:
    """Write some columns of a trigger; `runs` is added to what stands there."""
    if "runs" in values:
        values["runs"] = TRIGGERS.c.runs + values["runs"]
    connection.execute(update(TRIGGERS).where(TRIGGERS.c.id == trigger_id).values(**values))


def remove_trigger(connection: Connection, name: str) -> bool:
    """Delete a trigger; False when there is none."""
    return bool(connection.execute(delete(TRIGGERS).where(TRIGGERS.c.name == name)).rowcount)
