"""Read models of limits and queues: what people have set, what is in use, who waits. Plain reads, never locks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, or_, select

from .control_tables import LIMITS, QUEUES
from .database import clock
from .records import LimitRow, QueueRow
from .tables import TASKS

__all__ = ["counters_with_room", "limit", "limits", "paused_queues", "queue", "queues"]

_MANY = 1_000
#: Before a counter's name where a task waits for a time of the counter's rate.
_RATE = "~"
#: A waiter that sleeps so much longer than the rate demands sleeps by an old rate (microseconds).
_TOO_LONG = 1_000_000


def counters_with_room(connection: Connection) -> set[str]:
    """Counters on which tasks wait although something is free, as far as the counters' own numbers tell.

    With `~` before it, a counter whose waiting tasks sleep by a rate that has been changed meanwhile.
    """
    free = or_(LIMITS.c.explicit == 0, LIMITS.c.concurrency.is_(None), LIMITS.c.used < LIMITS.c.concurrency)
    found = select(LIMITS.c.name).where(LIMITS.c.waiting > 0, free).limit(_MANY)
    return {*connection.execute(found).scalars(), *_overslept(connection)}


def _overslept(connection: Connection) -> list[str]:
    line = _RATE + LIMITS.c.name
    first = (
        select(TASKS.c.wake_at)
        .where(TASKS.c.blocked_on == line)
        .order_by(TASKS.c.priority.desc(), TASKS.c.blocked_at)
        .limit(1)
        .scalar_subquery()
    )
    rows = (
        select(
            LIMITS.c.name,
            *(LIMITS.c[name] for name in _PACE),
            first.label("wake_at"),
            clock(connection).label("now"),
        )
        .where(LIMITS.c.waiting > 0, LIMITS.c.full_at > 0)
        .limit(_MANY)
    )
    return [
        _RATE + row.name
        for row in connection.execute(rows)
        if row.wake_at is not None and _sleeps_too_long(row)
    ]


_PACE = ("name", "explicit", "rate_count", "rate_period", "burst", "full_at")


def _sleeps_too_long(row: Row[Any]) -> bool:
    if not row.explicit:  # a definition knows the rate: it is certain only when nothing of it is used up
        return row.full_at <= row.now < row.wake_at - _TOO_LONG
    if row.rate_count is None:
        return True
    interval = row.rate_period // row.rate_count
    free_at = max(row.now, row.full_at - (row.burst - 1) * interval)
    return row.wake_at > free_at + 2 * interval + _TOO_LONG


def paused_queues(connection: Connection) -> frozenset[str]:
    """Queues of which nothing is taken."""
    return frozenset(connection.execute(select(QUEUES.c.name).where(QUEUES.c.state == "paused")).scalars())


def limits(connection: Connection, *, set_only: bool = False, limit: int = _MANY) -> list[LimitRow]:
    """Counters by name: those that people have set, those in use."""
    rows = select(*LIMITS.columns).order_by(LIMITS.c.name).limit(limit)
    if set_only:
        rows = rows.where(LIMITS.c.explicit == 1)
    return [LimitRow(*row) for row in connection.execute(rows)]


def limit(connection: Connection, name: str) -> LimitRow | None:
    """One counter."""
    row = connection.execute(select(*LIMITS.columns).where(LIMITS.c.name == name)).first()
    return None if row is None else LimitRow(*row)


def queues(connection: Connection) -> list[QueueRow]:
    """Queues for which somebody has set something."""
    return [QueueRow(*row) for row in connection.execute(select(*QUEUES.columns).order_by(QUEUES.c.name))]


def queue(connection: Connection, name: str) -> QueueRow | None:
    """What somebody has set for a queue."""
    row = connection.execute(select(*QUEUES.columns).where(QUEUES.c.name == name)).first()
    return None if row is None else QueueRow(*row)
