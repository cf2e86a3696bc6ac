"""Read models of limits and queues: what people have set, what is in use, who waits. Plain reads, never locks."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select

from .control_tables import LIMITS, QUEUES
from .records import LimitRow, QueueRow

__all__ = ["counters_with_room", "limit", "limits", "paused_queues", "queue", "queues"]

_MANY = 1_000


def counters_with_room(connection: Connection) -> set[str]:
    """Counters on which tasks wait although something is free, as far as the counters' own numbers tell."""
    free = or_(LIMITS.c.explicit == 0, LIMITS.c.concurrency.is_(None), LIMITS.c.used < LIMITS.c.concurrency)
    found = select(LIMITS.c.name).where(LIMITS.c.waiting > 0, free).limit(_MANY)
    return set(connection.execute(found).scalars())


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
