"""What runs are carried by: queues, limits, engines, executors; and how much was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from ....repositories.queueviews import QueueEntry as Entry
from ....repositories.readmodels import EngineView
from ....repositories.statistics import EngineLoad as Load
from ....repositories.statistics import QueueFigures as Figures
from ....services.limits import LimitView
from ....services.queues import QueueView
from ....services.statistics import Statistics as Counted
from ..context import Info
from ..declare import needs, part, weighs
from ..enums import EntryState
from ..pages import DEFAULT, First, size
from ..scalars import BigInt, Instant, Json, at

if TYPE_CHECKING:
    from .instances import Instance

__all__ = ["Engine", "Executor", "Limit", "Queue", "Statistics"]


@needs("read:limits")
@strawberry.type
class Limit:
    """A counter: what it counts, how much of it is taken, and how much may be."""

    name: str = strawberry.field(description="Such as queue:mail, executor:http.request, pool:gpu.")
    used: int
    waiting: int
    concurrency: int | None
    rate: str | None = strawberry.field(description="Such as 50/s.")
    burst: int | None
    set_by: str | None = strawberry.field(description="`explicit`: a person; `definition`: a definition.")

    @classmethod
    def of(cls, view: LimitView) -> Limit:
        """Make one of a view."""
        return cls(
            name=view.name,
            used=view.used,
            waiting=view.waiting,
            concurrency=view.concurrency,
            rate=view.rate,
            burst=view.burst,
            set_by=view.set_by,
        )


@needs("read:queues")
@strawberry.type
class QueueEntry:
    """A task that stands in a queue, runs out of it, or will stand in it."""

    instance_id: strawberry.ID
    path: str = strawberry.field(description="Empty for a start that waits for its time.")
    name: str = strawberry.field(description="Name of the definition.")
    executor: str | None
    state: str
    priority: int
    at: Instant | None = strawberry.field(
        description="Since when it is ready, blocked or running; until when it is delayed."
    )
    blocked_on: str | None = strawberry.field(description="The counter that it waits for.")

    @classmethod
    def of(cls, entry: Entry) -> QueueEntry:
        """Make one of a row."""
        return cls(
            instance_id=strawberry.ID(entry.instance_id),
            path=entry.path,
            name=entry.name,
            executor=entry.executor,
            state=entry.state,
            priority=entry.priority,
            at=at(entry.at),
            blocked_on=entry.blocked_on,
        )

    @strawberry.field(description="The run that it is of.")
    async def instance(
        self, info: Info
    ) -> Annotated[Instance, strawberry.lazy("strataflow.api.graphql.types.instances")] | None:
        """Give its run."""
        from .instances import Instance

        found = await info.context.load(info.context.relations.instances, str(self.instance_id))
        return None if found is None else Instance.of(found)


@needs("read:queues")
@strawberry.type
class Queue:
    """A queue at this moment."""

    view: strawberry.Private[QueueView]
    name: str
    state: str
    reason: str | None = strawberry.field(description="Why it is paused.")
    ready: int
    running: int
    blocked: int
    delayed: int
    oldest_at: Instant | None = strawberry.field(description="Since when the oldest ready task waits.")
    oldest_s: float | None
    max_size: BigInt | None
    mark: BigInt | None = strawberry.field(description="So many tasks are too many.")
    above_since: Instant | None

    @classmethod
    def of(cls, view: QueueView) -> Queue:
        """Make one of a view."""
        return cls(
            view=view,
            name=view.name,
            state=view.state,
            reason=view.reason,
            ready=view.ready,
            running=view.running,
            blocked=view.blocked,
            delayed=view.delayed,
            oldest_at=None if view.oldest_at is None else Instant(view.oldest_at),
            oldest_s=view.oldest_s,
            max_size=None if view.max_size is None else BigInt(view.max_size),
            mark=None if view.mark is None else BigInt(view.mark),
            above_since=None if view.above_since is None else Instant(view.above_since),
        )

    @strawberry.field(description="The counter `queue:NAME`, where there is one.")
    def limit(self) -> Limit | None:
        """Give its counter."""
        return None if self.view.limit is None else Limit.of(self.view.limit)

    @strawberry.field(
        description="Its first tasks, ready ones in the order in which they are taken.", metadata=weighs(5)
    )
    async def entries(
        self, info: Info, first: First = DEFAULT, state: EntryState = EntryState.READY
    ) -> list[QueueEntry]:
        """Give its entries."""
        most, queues = size(first) - 1, info.context.services.queues
        rows = await info.context.run(lambda: queues.entries(self.name, state=state.value, limit=most))
        return [QueueEntry.of(row) for row in rows]


@needs("read:engines")
@strawberry.type
class Engine:
    """A process that executes tasks or writes."""

    id: strawberry.ID
    role: str
    state: str
    host: str
    pid: int
    slots: int
    executors: list[str]
    release: str
    started_at: Instant | None
    lease_until: Instant | None
    ended_at: Instant | None

    @classmethod
    def of(cls, view: EngineView) -> Engine:
        """Make one of a view."""
        return cls(
            id=strawberry.ID(view.id),
            role=view.role.value,
            state=view.state.value,
            host=view.host,
            pid=view.pid,
            slots=view.slots,
            executors=list(view.executors),
            release=view.release,
            started_at=at(view.started_at),
            lease_until=at(view.lease_until),
            ended_at=at(view.ended_at),
        )


@needs("read:executors")
@strawberry.type
class Executor:
    """What a node's `run` may name."""

    name: str
    description: str | None
    config_schema: Json | None = strawberry.field(description="JSON Schema of `with`, where it is known.")
    engines: int = strawberry.field(description="Engines that are alive and have it.")


@part
@strawberry.type
class QueueFigures:
    """What the tasks of a queue came to."""

    queue: str = strawberry.field(description="`*`: all queues together.")
    started: int
    attempts: int
    running: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    retried: int
    timed_out: int
    mean_s: float | None
    p95_s: float | None
    last_5: int = strawberry.field(name="last5", description="Ended within the last 5 minutes.")
    last_15: int = strawberry.field(name="last15", description="Ended within the last 15 minutes.")
    last_60: int = strawberry.field(name="last60", description="Ended within the last 60 minutes.")

    @classmethod
    def of(cls, found: Figures) -> QueueFigures:
        """Make one of the figures."""
        return cls(**{name: getattr(found, name) for name in Figures.__slots__})


@part
@strawberry.type
class EngineLoad:
    """How much of an engine is in use."""

    id: strawberry.ID
    host: str
    pid: int
    slots: int
    used: int

    @classmethod
    def of(cls, load: Load) -> EngineLoad:
        """Make one of a load."""
        return cls(id=strawberry.ID(load.id), host=load.host, pid=load.pid, slots=load.slots, used=load.used)


@part
@strawberry.type
class StateCount:
    """How many runs are in a state."""

    state: str
    count: int


@needs("read:statistics")
@strawberry.type
class Statistics:
    """How much was done, how fast, and by whom."""

    since: Instant | None = strawberry.field(description="Null: from the beginning, as far as rows are kept.")
    total: QueueFigures
    queues: list[QueueFigures]
    runs: list[StateCount]
    engines: list[EngineLoad]
    whole: bool = strawberry.field(description="False: only the newest runs were looked at.")

    @classmethod
    def of(cls, found: Counted) -> Statistics:
        """Make one of what was counted."""
        return cls(
            since=None if found.since is None else Instant(found.since),
            total=QueueFigures.of(found.total),
            queues=[QueueFigures.of(each) for each in found.queues],
            runs=[StateCount(state=state, count=count) for state, count in sorted(found.runs.items())],
            engines=[EngineLoad.of(each) for each in found.engines],
            whole=found.whole,
        )
