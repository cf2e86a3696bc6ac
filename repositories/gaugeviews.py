"""Read models for gauges: what stands in queues and which engines live, at a cost that has a bound."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from .control_tables import LIMITS
from .feed import horizon
from .records import EngineRole, EngineState
from .tables import ENGINES, TASKS
from .workviews import queues_ready

__all__ = ["QueueGauge", "engines_alive", "feed_lag", "queue_gauges"]


@dataclass(frozen=True, slots=True)
class QueueGauge:
    """One queue; `ready` and `oldest_ready_at` are of the tasks that were counted."""

    queue: str
    ready: int
    oldest_ready_at: int | None
    #: Tasks that the queue's own limit holds back.
    blocked: int


def queue_gauges(connection: Connection, *, most: int, queues: int) -> list[QueueGauge]:
    """Count each queue's ready tasks up to `most`, of the first `queues` queues that have some, by name."""
    held = select(LIMITS.c.name, LIMITS.c.waiting).where(LIMITS.c.name.startswith("queue:", autoescape=True))
    blocked: dict[str, int] = {
        name.partition(":")[2]: waiting
        for name, waiting in connection.execute(held.where(LIMITS.c.waiting > 0).limit(queues))
    }
    found: list[QueueGauge] = []
    for queue in sorted({*queues_ready(connection), *blocked})[:queues]:
        ready = select(TASKS.c.ready_at).where(TASKS.c.queue == queue, TASKS.c.ready_at.is_not(None))
        each = ready.limit(most).subquery()
        count, oldest = connection.execute(select(func.count(), func.min(each.c.ready_at))).one()
        found.append(QueueGauge(queue, count, oldest, blocked.get(queue, 0)))
    return found


def engines_alive(connection: Connection, now: int) -> int:
    """Count engines that execute and whose lease is good."""
    alive = (ENGINES.c.state == EngineState.ALIVE, ENGINES.c.role == EngineRole.ENGINE)
    counted = select(func.count()).where(*alive, ENGINES.c.lease_until >= now)
    found: int = connection.execute(counted).scalar_one()
    return found


def feed_lag(connection: Connection) -> int:
    """How many transactions a reader of the feed may have to wait for."""
    now = horizon(connection)
    return max(0, now.begun - now.ended)
