"""What starts runs by itself: schedules with what became of their instants, and triggers."""

from __future__ import annotations

import strawberry

from ....repositories.schedule_rows import FiringRow, ScheduleRow, TriggerRow
from ..context import Info
from ..declare import needs
from ..pages import DEFAULT, After, Connection, First, after, page, size
from ..scalars import Instant, at
from .definitions import Definition
from .instances import Instance

__all__ = ["Firing", "Schedule", "Trigger"]


@needs("read:schedules")
@strawberry.type
class Firing:
    """What became of one instant of a schedule."""

    row: strawberry.Private[FiringRow]
    at: Instant | None
    kind: str = strawberry.field(description="`timer`, `manual` or `backfill`.")
    outcome: str = strawberry.field(description="`started`, `skipped` or `missed`.")
    fired_at: Instant | None
    reason: str | None

    @classmethod
    def of(cls, row: FiringRow) -> Firing:
        """Make one of a row."""
        return cls(
            row=row,
            at=at(row.at),
            kind=row.kind,
            outcome=row.outcome,
            fired_at=at(row.fired_at),
            reason=row.reason,
        )

    @strawberry.field(description="The run that it started.")
    async def instance(self, info: Info) -> Instance | None:
        """Give the run."""
        if self.row.instance_id is None:
            return None
        found = await info.context.load(info.context.relations.instances, self.row.instance_id)
        return None if found is None else Instance.of(found)


@needs("read:schedules")
@strawberry.type
class Schedule:
    """What starts a definition at given times."""

    row: strawberry.Private[ScheduleRow]
    name: str
    version: int | None = strawberry.field(description="Null: the active one.")
    state: str
    cron: str | None
    every_s: float | None
    at: Instant | None
    timezone: str
    overlap: str
    misfire: str
    jitter_s: float
    cooldown_s: float
    next_at: Instant | None
    runs: int
    skips: int
    problem: str | None
    origin: str

    @classmethod
    def of(cls, row: ScheduleRow) -> Schedule:
        """Make one of a row."""
        return cls(
            row=row,
            name=row.name,
            version=row.version,
            state=row.state,
            cron=row.cron,
            every_s=None if row.every is None else row.every / 1_000_000,
            at=at(row.at),
            timezone=row.timezone,
            overlap=row.overlap,
            misfire=row.misfire,
            jitter_s=row.jitter / 1_000_000,
            cooldown_s=row.cooldown / 1_000_000,
            next_at=at(row.next_at),
            runs=row.runs,
            skips=row.skips,
            problem=row.problem,
            origin=row.origin,
        )

    @strawberry.field(description="What it starts.")
    def definition(self) -> Definition:
        """Give its definition."""
        return Definition(name=self.row.definition)

    @strawberry.field(description="What became of its instants, newest first.")
    async def firings(self, info: Info, first: First = DEFAULT, after_: After = None) -> Connection[Firing]:
        """Give its firings."""
        seen = after(after_, int)
        read = info.context.relations.firings
        rows = await info.context.load(read, self.row.id, size(first), seen[0] if seen else None)
        return page(rows, first, Firing.of, lambda row: (row.at,))


@needs("read:triggers")
@strawberry.type
class Trigger:
    """What starts a definition when an event of a matching name is emitted."""

    row: strawberry.Private[TriggerRow]
    name: str
    pattern: str
    version: int | None = strawberry.field(description="Null: the active one.")
    state: str
    runs: int
    problem: str | None

    @classmethod
    def of(cls, row: TriggerRow) -> Trigger:
        """Make one of a row."""
        return cls(
            row=row,
            name=row.name,
            pattern=row.pattern,
            version=row.version,
            state=row.state,
            runs=row.runs,
            problem=row.problem,
        )

    @strawberry.field(description="What it starts.")
    def definition(self) -> Definition:
        """Give its definition."""
        return Definition(name=self.row.definition)
