"""What a running engine says of itself to whoever measures it: read when it is asked for, never before."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from ..repositories import views
from ..repositories.errors import RepositoryError
from ..repositories.gaugeviews import engines_alive, feed_lag, queue_gauges
from .instruments import EngineFacts, QueueFacts

if TYPE_CHECKING:
    from .assembly import Parts

__all__ = ["Probe"]

#: How long an answer of the database is good: however often somebody asks, it is asked no more often.
FRESH_S: Final = 5.0
#: Tasks that are counted in each queue, and queues.
MOST: Final = 10_000
QUEUES: Final = 200


class Probe:
    """Of one engine. Thread-safe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._read = QueueFacts()
        self._failed: RepositoryError | None = None

    def engine(self) -> EngineFacts:
        """What it uses, now; the database is not asked."""
        parts = self._parts
        return EngineFacts(
            slots_used=parts.scheduler.held,
            slots=parts.config.slots if parts.config.executes else 0,
            threads_used=parts.pool.busy,
            threads=parts.pool.limit,
            threads_abandoned=parts.pool.abandoned,
            connections=parts.database.connections(),
            backlog=parts.writer.backlog,
            loop_ages=parts.loop_ages(),
            spans_dropped=parts.spans.dropped if parts.spans is not None else 0,
        )

    def queues(self) -> QueueFacts:
        """What stands in the database's queues, at most `FRESH_S` seconds ago.

        A queue that was reported once is reported as empty later. Raises RepositoryError; a database that is away is
        asked no more often either.
        """
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at >= FRESH_S:
                self._failed = None
                try:
                    self._read = self._look()
                except RepositoryError as exc:
                    self._failed = exc
                self._read_at = time.monotonic()
            if self._failed is not None:
                raise self._failed
            return self._read

    def _look(self) -> QueueFacts:
        with self._parts.database.read() as connection:
            now = views.now(connection)
            found = queue_gauges(connection, most=MOST, queues=QUEUES)
            alive, lag = engines_alive(connection, now), feed_lag(connection)
        queues: dict[str, tuple[int, float, int]] = {}
        for name in ["default", *self._read.queues][: 2 * QUEUES]:
            queues[name] = (0, 0.0, 0)
        for each in found:
            oldest = now if each.oldest_ready_at is None else each.oldest_ready_at
            queues[each.queue] = (each.ready, max(0, now - oldest) / 1_000_000, each.blocked)
        return QueueFacts(queues, alive, lag)
