"""What runs and tasks leave behind them: transitions, log lines, events."""

from __future__ import annotations

import strawberry

from ....engine.feed import Event as FeedEvent
from ....repositories.readmodels import HistoryRow, LogEntry
from ..declare import needs
from ..pages import Connection, page
from ..scalars import BigInt, Instant, Json, at

__all__ = ["Event", "LogLine", "Transition", "event_page", "log_page", "transition_page"]


@needs("read:instances")
@strawberry.type
class Transition:
    """A run's or a task's step from one state to the next."""

    seq: BigInt = strawberry.field(description="Its place in the run's history.")
    at: Instant | None
    path: str | None = strawberry.field(description="The task; null for the run itself.")
    attempt: int
    from_: str | None = strawberry.field(name="from", description="The state before; null at the beginning.")
    to: str
    reason: str
    engine: strawberry.ID | None

    @classmethod
    def of(cls, row: HistoryRow) -> Transition:
        """Make one of a row."""
        return cls(
            seq=BigInt(row.seq),
            at=at(row.at),
            path=row.path,
            attempt=row.attempt,
            from_=row.from_state,
            to=row.to_state,
            reason=row.reason,
            engine=None if row.engine is None else strawberry.ID(row.engine),
        )


@needs("read:logs")
@strawberry.type
class LogLine:
    """A line that a task has logged."""

    seq: BigInt
    at: Instant | None
    path: str
    attempt: int
    level: str
    message: str

    @classmethod
    def of(cls, row: LogEntry) -> LogLine:
        """Make one of a row."""
        return cls(
            seq=BigInt(row.seq),
            at=at(row.at),
            path=row.path,
            attempt=row.attempt,
            level=row.level,
            message=row.message,
        )


@needs("read:events")
@strawberry.type
class Event:
    """One thing that happened."""

    seq: BigInt = strawberry.field(description="Its place in the feed.")
    name: str = strawberry.field(description="Such as instance.completed or task.progress.")
    at: Instant | None
    instance_id: strawberry.ID | None
    definition: str | None
    queue: str | None
    path: str | None
    attempt: int
    from_state: str | None
    state: str | None
    reason: str
    engine: strawberry.ID | None
    data: Json | None

    @classmethod
    def of(cls, event: FeedEvent) -> Event:
        """Make one of the feed's."""
        return cls(
            seq=BigInt(event.seq),
            name=event.name,
            at=at(event.at),
            instance_id=None if event.instance_id is None else strawberry.ID(event.instance_id),
            definition=event.definition,
            queue=event.queue,
            path=event.path,
            attempt=event.attempt,
            from_state=event.from_state,
            state=event.state,
            reason=event.reason,
            engine=None if event.engine is None else strawberry.ID(event.engine),
            data=None if event.data is None else Json(event.data),
        )


def transition_page(rows: list[HistoryRow], first: int) -> Connection[Transition]:
    """Transitions as a page."""
    return page(rows, first, Transition.of, lambda row: (row.seq,))


def log_page(rows: list[LogEntry], first: int) -> Connection[LogLine]:
    """Log lines as a page."""
    return page(rows, first, LogLine.of, lambda row: (row.seq,))


def event_page(rows: list[FeedEvent], first: int) -> Connection[Event]:
    """Events as a page."""
    return page(rows, first, Event.of, lambda event: (event.seq,))
