"""Writing what people set: limits and queues. Every change raises the `control` number that transactions compare."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, delete, select, update

from .control_tables import LIMITS, QUEUES, SETTINGS
from .database import Database, clock, insert_into
from .limitviews import limit as _limit
from .limitviews import queue as _queue
from .records import LimitRow, QueueRow

__all__ = ["delete_idle_counters", "set_limit", "set_queue", "unset_limit", "unset_queue"]

_IDLE_BATCH: Final = 500


def set_limit(
    database: Database,
    name: str,
    *,
    concurrency: int | None = None,
    rate: tuple[int, int, int] | None = None,
) -> LimitRow:
    """Give a counter numbers of its own: they count from the next claim on. `rate` is (count, microseconds, burst).

    What runs already when a counter is first set is not counted; lowering a number stops nothing that runs.
    """
    count, period, burst = rate if rate is not None else (None, None, None)
    values: dict[str, Any] = {
        "concurrency": concurrency,
        "rate_count": count,
        "rate_period": period,
        "burst": burst,
        "explicit": 1,
    }
    longest = 0 if rate is None else rate[2] * (rate[1] // rate[0])
    with database.write() as connection:
        now = values["updated_at"] = connection.execute(select(clock(connection))).scalar_one()
        insert = insert_into(connection, LIMITS).values(name=name, **values)
        found_there = values | {"full_at": _at_most(now + longest)}
        connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=found_there))
        _changed(connection)
        found = _limit(connection, name)
    if found is None:
        raise LookupError(f"counter {name!r} is gone although it was just written")
    return found


def _at_most(instant: int) -> ColumnElement[int]:
    """What has begun counts, but a new rate makes nobody wait for what an old, slower one had used up."""
    return case((LIMITS.c.full_at > instant, instant), else_=LIMITS.c.full_at)


def unset_limit(database: Database, name: str) -> bool:
    """Take a person's numbers back: what definitions say counts again. False when there were none."""
    nothing: dict[str, Any] = {
        "concurrency": None,
        "rate_count": None,
        "rate_period": None,
        "burst": None,
        "explicit": 0,
    }
    with database.write() as connection:
        mine = (LIMITS.c.name == name) & (LIMITS.c.explicit == 1)
        now = connection.execute(select(clock(connection))).scalar_one()
        gone = connection.execute(
            update(LIMITS).where(mine).values(nothing | {"full_at": _at_most(now)})
        ).rowcount
        if gone:
            _changed(connection)
    return bool(gone)


def set_queue(
    database: Database,
    name: str,
    *,
    state: str | None = None,
    max_size: int | None = None,
    unbounded: bool = False,
    reason: str | None = None,
) -> QueueRow:
    """Pause or resume a queue, or bound it; what is not given stays as it is."""
    with database.write() as connection:
        old = _queue(connection, name) or QueueRow(name)
        bound = None if unbounded else old.max_size if max_size is None else max_size
        values: dict[str, Any] = {
            "state": state or old.state,
            "max_size": bound,
            "reason": reason if state is not None else old.reason,
            "updated_at": connection.execute(select(clock(connection))).scalar_one(),
        }
        insert = insert_into(connection, QUEUES).values(name=name, **values)
        connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))
        _changed(connection)
    return QueueRow(name, **values)


def unset_queue(database: Database, name: str) -> bool:
    """Forget what was set for a queue: it is active and unbounded."""
    with database.write() as connection:
        gone = connection.execute(delete(QUEUES).where(QUEUES.c.name == name)).rowcount
        if gone:
            _changed(connection)
    return bool(gone)


def _changed(connection: Connection) -> None:
    insert = insert_into(connection, SETTINGS).values(name="control", value=1)
    connection.execute(
        insert.on_conflict_do_update(index_elements=["name"], set_={"value": SETTINGS.c.value + 1})
    )


def delete_idle_counters(database: Database, idle_since: int) -> int:
    """Delete counters that nobody set and that nobody has used since an instant; one in use now is skipped."""
    idle = (
        (LIMITS.c.explicit == 0)
        & (LIMITS.c.used == 0)
        & (LIMITS.c.waiting == 0)
        & (LIMITS.c.updated_at < idle_since)
        & (LIMITS.c.full_at < idle_since)
    )
    with database.write() as connection:
        found = select(LIMITS.c.name).where(idle).order_by(LIMITS.c.name).limit(_IDLE_BATCH)
        names = list(connection.execute(found.with_for_update(skip_locked=True)).scalars())
        if names:
            connection.execute(delete(LIMITS).where(LIMITS.c.name.in_(names)))
    return len(names)
