"""High-water marks of queues: which depth is too much, and which queues stand above theirs.

Both are kept in `settings`; crossing a mark writes its notice in the same transaction, so that of any number of
engines one tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, select

from .control_tables import LIMITS, QUEUES, SETTINGS
from .database import Database, clock, insert_into
from .feed import write_notice
from .tables import TASKS

__all__ = ["NO_MARK", "Watermark", "cross", "depth", "set_watermark", "unset_watermark", "watermarks"]

_HIGH: Final = "queue_high:"
_ABOVE: Final = "queue_above:"
#: Share of a bound that counts as high where nobody has set a mark, in percent.
_OF_BOUND: Final = 80
#: As a mark, more than any queue holds.
NO_MARK: Final = 2**31


@dataclass(slots=True, frozen=True)
class Watermark:
    """A queue that is watched."""

    queue: str
    #: So many tasks are too many.
    high: int
    #: Since when it has stood above, in microseconds; None below.
    above_since: int | None
    #: Has somebody set the mark? Else it follows from the queue's bound.
    explicit: bool


def watermarks(connection: Connection) -> list[Watermark]:
    """Every queue that has a mark, or a bound, or stood above a mark when it was last looked at; by name."""
    names = SETTINGS.c.name
    rows = select(names, SETTINGS.c.value).where(names.like("queue\\_%", escape="\\"))
    settings: dict[str, int] = {row[0]: row[1] for row in connection.execute(rows)}
    bounds = select(QUEUES.c.name, QUEUES.c.max_size).where(QUEUES.c.max_size.is_not(None))
    marks = {row[0]: (max(1, row[1] * _OF_BOUND // 100), False) for row in connection.execute(bounds)}
    marks |= {
        name.removeprefix(_HIGH): (value, True) for name, value in settings.items() if name.startswith(_HIGH)
    }
    above = {name.removeprefix(_ABOVE): at for name, at in settings.items() if name.startswith(_ABOVE)}
    found: list[Watermark] = []
    for queue in sorted(marks.keys() | above.keys()):
        high, explicit = marks.get(queue, (NO_MARK, False))  # its mark was taken back: well again
        found.append(Watermark(queue, high, above.get(queue), explicit))
    return found


def depth(connection: Connection, queue: str, limit: int) -> int:
    """How many tasks stand in a queue, ready or held back by its own limit; counted up to `limit`."""
    ready = select(TASKS.c.path).where(TASKS.c.queue == queue, TASKS.c.ready_at.is_not(None)).limit(limit)
    waiting = select(LIMITS.c.waiting).where(LIMITS.c.name == f"queue:{queue}")
    counted: int = connection.execute(select(func.count()).select_from(ready.subquery())).scalar_one()
    return counted + (connection.execute(waiting).scalar() or 0)


def set_watermark(database: Database, queue: str, high: int) -> None:
    """So many tasks are too many, from now on."""
    with database.write() as connection:
        insert = insert_into(connection, SETTINGS).values(name=_HIGH + queue, value=high)
        connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"value": high}))


def unset_watermark(database: Database, queue: str) -> bool:
    """Take a mark back. False when there was none."""
    with database.write() as connection:
        gone = delete(SETTINGS).where(SETTINGS.c.name == _HIGH + queue)
        return connection.execute(gone).rowcount == 1


def cross(database: Database, mark: Watermark, found: int, *, above: bool) -> bool:
    """Record that a queue has crossed its mark, and tell it; False when somebody else just has."""
    name = _ABOVE + mark.queue
    with database.write() as connection:
        if above:
            now = connection.execute(select(clock(connection))).scalar_one()
            insert = insert_into(connection, SETTINGS).values(name=name, value=now)
            made = insert.on_conflict_do_nothing(index_elements=["name"]).returning(SETTINGS.c.name)
            done = connection.execute(made).first() is not None
        else:
            done = connection.execute(delete(SETTINGS).where(SETTINGS.c.name == name)).rowcount == 1
        if done:
            kind = "queue.high" if above else "queue.normal"
            write_notice(connection, kind, mark.queue, {"depth": found, "high": mark.high})
    return done
