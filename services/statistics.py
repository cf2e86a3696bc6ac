"""How much was done, how fast, and by whom: per queue and in all, counted from the rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..engine.outputs import iso
from ..engine.translate import engine_errors
from ..repositories import statistics, views
from ..repositories.statistics import EngineLoad, QueueFigures

if TYPE_CHECKING:
    from ..repositories.database import Database

__all__ = ["EngineLoad", "QueueFigures", "Statistics", "StatisticsService"]


@dataclass(slots=True, frozen=True)
class Statistics:
    """Everything at one moment."""

    #: Since when tasks count (ISO 8601); None: from the beginning, as far as rows are kept.
    since: str | None
    #: All queues together, then each.
    total: QueueFigures
    queues: tuple[QueueFigures, ...]
    #: Runs by state, of those made since then.
    runs: dict[str, int]
    engines: tuple[EngineLoad, ...]
    #: False when there were more runs than were looked at: then the newest were.
    whole: bool

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        return {
            "since": self.since,
            "total": _figures(self.total),
            "queues": [_figures(each) for each in self.queues],
            "runs": self.runs,
            "engines": [_load(each) for each in self.engines],
            "whole": self.whole,
        }


class StatisticsService:
    """The statistics of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, *, queue: str | None = None, window_s: float | None = None) -> Statistics:
        """Count the tasks that have begun since the last `reset`, and within the last `window_s` seconds if given."""
        with engine_errors(), self._database.read() as connection:
            now = views.now(connection)
            since = statistics.counted_since(connection)
            if window_s is not None:
                since = max(since, now - int(window_s * 1_000_000))
            found = statistics.figures(connection, now, since, queue)
            runs = statistics.runs_by_state(connection, since)
            engines = statistics.engine_loads(connection)
        total = next(each for each in found if each.queue == "*")
        whole = sum(runs.values()) < statistics.MOST_RUNS and total.started < statistics.MOST_TASKS
        return Statistics(
            since=iso(since) if since else None,
            total=total,
            queues=tuple(each for each in found if each is not total),
            runs=runs,
            engines=tuple(engines),
            whole=whole,
        )

    def engines(self) -> tuple[EngineLoad, ...]:
        """Engines that are alive, and how many of their slots are in use."""
        with engine_errors(), self._database.read() as connection:
            return tuple(statistics.engine_loads(connection))

    def reset(self) -> str:
        """Count from now on; gives the instant. Tasks that began before count no more; nothing is deleted."""
        with engine_errors():
            return str(iso(statistics.restart(self._database)))


def _figures(each: QueueFigures) -> dict[str, Any]:
    return asdict(each)


def _load(each: EngineLoad) -> dict[str, Any]:
    instants = {"started_at": iso(each.started_at), "lease_until": iso(each.lease_until)}
    return asdict(each) | instants
