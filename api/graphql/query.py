"""Where reading begins."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

import strawberry

from ...engine.errors import NotFound, RequestError
from ...engine.feed import unknown_pattern
from ...repositories.filters import InstanceFilter
from ...services import fleet
from .context import Info
from .declare import part, weighs
from .enums import InstanceState
from .limits import MAX_ROOT_PAGE
from .pages import DEFAULT, After, Connection, FirstOfAll, after, cursor_of, page, size, whole_page
from .scalars import Instant, Json, micros
from .types.definitions import Definition, DefinitionVersion
from .types.fleet import Engine, Executor, Limit, Queue, Statistics
from .types.instances import Instance, instance_page
from .types.records import Event, event_page
from .types.schedules import Schedule, Trigger
from .types.tasks import Task

__all__ = ["Label", "Query"]

_CENTURY_S: Final = 100 * 366 * 86_400.0
_HIGHEST: Final = 2**31 - 2


@strawberry.input(description="A label of a run.")
class Label:
    """A label of a run."""

    name: str
    value: str


@strawberry.input(description="Which runs: everything that is given must hold.")
class InstanceWhere:
    """Which runs: everything that is given must hold."""

    states: list[InstanceState] | None = None
    name: str | None = None
    version: int | None = None
    key: str | None = None
    labels: list[Label] | None = None
    parent_id: strawberry.ID | None = None
    created_after: Instant | None = None
    created_before: Instant | None = None

    def filter(self) -> InstanceFilter:
        """Give it as the services take it."""
        return InstanceFilter(
            states=frozenset(self.states or ()),
            name=self.name,
            version=self.version,
            key=self.key,
            labels={each.name: each.value for each in self.labels or ()},
            parent_id=None if self.parent_id is None else str(self.parent_id),
            created_after=micros(self.created_after),
            created_before=micros(self.created_before),
        )


EventNames = Annotated[
    list[str] | None, strawberry.argument(description="Patterns, such as task.*; one must fit.")
]


@part
@strawberry.type
class EventPage:
    """A page of the feed. Ask again with its cursor for what comes."""

    nodes: list[Event]
    cursor: str = strawberry.field(description="Always there; it also passes what the filter left out.")
    more: bool = strawberry.field(description="There is more already.")


@part
@strawberry.type
class Query:
    """Everything that may be read."""

    # --- definitions and runs

    @strawberry.field(description="Definitions by name.")
    async def definitions(
        self, info: Info, first: FirstOfAll = DEFAULT, after_: After = None
    ) -> Connection[Definition]:
        """List definitions."""
        limit, seen = size(first, MAX_ROOT_PAGE), after(after_, str)
        relations = info.context.relations
        names = await info.context.run(lambda: relations.names(after=seen[0] if seen else None, limit=limit))
        return page(names, first, lambda name: Definition(name=name), lambda name: (name,))

    @strawberry.field(description="One definition; null when it has no version.")
    async def definition(self, info: Info, name: str) -> Definition | None:
        """Give a definition."""
        found = await info.context.load(info.context.relations.chosen, name, False)
        return None if found is None else Definition(name=name)

    @strawberry.field(description="One version of a definition.")
    async def definition_version(self, info: Info, name: str, version: int) -> DefinitionVersion | None:
        """Give a version."""
        read = info.context.relations.versions
        rows = await info.context.load(read, name, 1, min(version, _HIGHEST) + 1)
        return DefinitionVersion.of(rows[0]) if rows and rows[0].version == version else None

    @strawberry.field(description="Runs, newest first unless told.")
    async def instances(
        self,
        info: Info,
        first: FirstOfAll = DEFAULT,
        after_: After = None,
        where: InstanceWhere | None = None,
        oldest_first: bool = False,  # noqa: FBT001, FBT002 - an argument of the schema
    ) -> Connection[Instance]:
        """List runs."""
        limit, seen = size(first, MAX_ROOT_PAGE), after(after_, int, UUID)
        wanted = where.filter() if where is not None else InstanceFilter()
        read = info.context.relations.instance_pages
        cursor = None if seen is None else (seen[0], seen[1])
        (rows,) = await info.context.run(lambda: read([wanted], limit, cursor, oldest_first))
        return instance_page(rows, first)

    @strawberry.field(description="One run.")
    async def instance(self, info: Info, id: strawberry.ID) -> Instance | None:  # noqa: A002 - the schema's name
        """Give a run."""
        found = await info.context.load(info.context.relations.instances, str(id))
        return None if found is None else Instance.of(found)

    @strawberry.field(description="One task of a run.")
    async def task(self, info: Info, instance_id: strawberry.ID, path: str) -> Task | None:
        """Give a task."""
        found = await info.context.load(info.context.relations.tasks, (str(instance_id), path))
        return None if found is None or not path else Task.of(found)

    @strawberry.field(description="What happened, in order, from behind a cursor on.", metadata=weighs(5))
    async def events(
        self,
        info: Info,
        first: FirstOfAll = DEFAULT,
        after_: After = None,
        names: EventNames = None,
        instance_id: strawberry.ID | None = None,
    ) -> EventPage:
        """Read the feed."""
        most, seen = size(first, MAX_ROOT_PAGE) - 1, after(after_, int)
        for number, pattern in enumerate(names or ()):
            problem = unknown_pattern(pattern)
            if problem is not None:
                raise RequestError(problem, pointer=f"/names/{number}")
        feed, of = info.context.services.feed, None if instance_id is None else str(instance_id)
        begin = seen[0] if seen else 0
        found = await info.context.run(
            lambda: feed.read(begin, names=names or (), instance_id=of, limit=most)
        )
        nodes = [edge.node for edge in event_page(list(found.events), most).edges]
        return EventPage(nodes=nodes, cursor=cursor_of(found.cursor), more=found.more)

    # --- what carries them

    @strawberry.field(description="Queues that have a setting or a task, by name.", metadata=weighs(5))
    async def queues(
        self, info: Info, first: FirstOfAll = DEFAULT, after_: After = None
    ) -> Connection[Queue]:
        """List queues."""
        found = await info.context.run(info.context.services.queues.list)
        return whole_page(found, first, after_, Queue.of, lambda view: view.name)

    @strawberry.field(description="One queue; one that nobody ever used is empty.", metadata=weighs(5))
    async def queue(self, info: Info, name: str) -> Queue:
        """Give a queue."""
        queues = info.context.services.queues
        return Queue.of(await info.context.run(lambda: queues.get(name)))

    @strawberry.field(description="Counters that are set, in use, or were until lately.", metadata=weighs(5))
    async def limits(
        self, info: Info, first: FirstOfAll = DEFAULT, after_: After = None, kind: str | None = None
    ) -> Connection[Limit]:
        """List counters."""
        most, seen, limits = size(first, MAX_ROOT_PAGE), after(after_, str), info.context.services.limits
        last = seen[0] if seen else ""
        rows = await info.context.run(lambda: limits.list(kind=kind, after=last, limit=most))
        return page(rows, first, Limit.of, lambda view: (view.name,))

    @strawberry.field(description="One counter; null when nobody has set it and nothing uses it.")
    async def limit(self, info: Info, name: str) -> Limit | None:
        """Give a counter."""
        limits = info.context.services.limits
        found = await info.context.run(lambda: limits.get(name))
        return None if found is None else Limit.of(found)

    @strawberry.field(description="Processes that execute tasks or write, and those that ended lately.")
    async def engines(
        self,
        info: Info,
        first: FirstOfAll = DEFAULT,
        after_: After = None,
        alive: bool = False,  # noqa: FBT001, FBT002 - an argument of the schema
    ) -> Connection[Engine]:
        """List engines."""
        database = info.context.services.database
        found = await info.context.run(lambda: fleet.engines(database, alive_only=alive))
        return whole_page(found, first, after_, Engine.of, lambda view: view.id)

    @strawberry.field(description="What this process and live engines can run, by name.", metadata=weighs(5))
    async def executors(
        self, info: Info, first: FirstOfAll = DEFAULT, after_: After = None
    ) -> Connection[Executor]:
        """List executors."""
        services = info.context.services
        found = await info.context.run(lambda: fleet.executors(services.database, services.registry))
        return whole_page(found, first, after_, _executor, lambda view: view.name)

    @strawberry.field(description="Count what tasks came to, per queue and in all.", metadata=weighs(100))
    async def statistics(
        self, info: Info, queue: str | None = None, window_s: float | None = None
    ) -> Statistics:
        """Count."""
        statistics = info.context.services.statistics
        if window_s is not None and not 0 < window_s < _CENTURY_S:
            raise RequestError("a window is longer than 0 s, and shorter than a century.", pointer="/windowS")
        return Statistics.of(await info.context.run(lambda: statistics.read(queue=queue, window_s=window_s)))

    # --- what starts them

    @strawberry.field(description="Schedules by name.", metadata=weighs(5))
    async def schedules(
        self, info: Info, first: FirstOfAll = DEFAULT, after_: After = None
    ) -> Connection[Schedule]:
        """List schedules."""
        found = await info.context.run(info.context.services.schedules.list)
        return whole_page(found, first, after_, Schedule.of, lambda row: row.name)

    @strawberry.field(description="One schedule; null when there is none.")
    async def schedule(self, info: Info, name: str) -> Schedule | None:
        """Give a schedule."""
        schedules = info.context.services.schedules
        try:
            return Schedule.of(await info.context.run(lambda: schedules.get(name)))
        except NotFound:
            return None

    @strawberry.field(description="Triggers by name.", metadata=weighs(5))
    async def triggers(
        self, info: Info, first: FirstOfAll = DEFAULT, after_: After = None
    ) -> Connection[Trigger]:
        """List triggers."""
        found = await info.context.run(info.context.services.triggers.list)
        return whole_page(found, first, after_, Trigger.of, lambda row: row.name)


def _executor(view: fleet.ExecutorView) -> Executor:
    schema = None if view.config_schema is None else Json(view.config_schema)
    return Executor(name=view.name, description=view.description, config_schema=schema, engines=view.engines)
