"""Tasks: nodes made real in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from ....repositories.records import TaskRow
from ....services.relations import Values
from ....services.task_view import node_name
from ..context import Info
from ..declare import needs, weighs
from ..enums import LogLevel, TaskState
from ..pages import DEFAULT, After, Connection, First, after, page, size
from ..scalars import Instant, Json, at
from .records import LogLine, Transition, log_page, transition_page

if TYPE_CHECKING:
    from .instances import Instance

__all__ = ["Task", "task_page"]


@needs("read:tasks")
@strawberry.type
class Task:
    """A node made real in a run, or one item of a map."""

    row: strawberry.Private[TaskRow]
    instance_id: strawberry.ID
    path: str
    node: str = strawberry.field(description="Its name in the definition.")
    state: TaskState
    attempt: int = strawberry.field(description="The last attempt, from 1; 0 before the first.")
    executor: str | None
    queue_name: str | None
    priority: int
    started_at: Instant | None
    ended_at: Instant | None

    @classmethod
    def of(cls, row: TaskRow) -> Task:
        """Make one of a row."""
        return cls(
            row=row,
            instance_id=strawberry.ID(row.instance_id),
            path=row.path,
            node=node_name(row.path),
            state=row.state,
            attempt=row.attempt,
            executor=row.executor,
            queue_name=row.queue or None,
            priority=row.priority,
            started_at=at(row.started_at),
            ended_at=at(row.ended_at),
        )

    @strawberry.field(description="`INSTANCE/PATH`: unique among all tasks.")
    def id(self) -> strawberry.ID:
        """Give an id that no other task has."""
        return strawberry.ID(f"{self.instance_id}/{self.path}")

    @strawberry.field(description="What its last attempt got.", metadata=weighs(5))
    async def input(self, info: Info) -> Json | None:
        """Evaluate its `with` again, from committed values."""
        found = await info.context.load(info.context.relations.task_inputs, self._key)
        return None if found is None else Json(found)

    @strawberry.field(description="What it gave; null until it has completed.", metadata=weighs(5))
    async def output(self, info: Info) -> Json | None:
        """Give its output as one value."""
        found = (await self._values(info)).output
        return None if found is None else Json(found)

    @strawberry.field(description="Why it, or its last attempt, failed.", metadata=weighs(5))
    async def error(self, info: Info) -> Json | None:
        """Give its error object."""
        found = (await self._values(info)).error
        return None if found is None else Json(found)

    @strawberry.field(description="The run that it is of.")
    async def instance(
        self, info: Info
    ) -> Annotated[Instance, strawberry.lazy("strataflow.api.graphql.types.instances")] | None:
        """Give its run."""
        from .instances import Instance

        found = await info.context.load(info.context.relations.instances, str(self.instance_id))
        return None if found is None else Instance.of(found)

    @strawberry.field(description="Its history.")
    async def transitions(
        self, info: Info, first: First = DEFAULT, after_: After = None
    ) -> Connection[Transition]:
        """Give its transitions, oldest first."""
        seen = after(after_, int)
        read = info.context.relations.task_history
        rows = await info.context.load(read, self._key, size(first), seen[0] if seen else 0)
        return transition_page(rows, first)

    @strawberry.field(description="What it has logged.")
    async def logs(
        self, info: Info, first: First = DEFAULT, after_: After = None, level: LogLevel | None = None
    ) -> Connection[LogLine]:
        """Give its log lines, oldest first, of at least this level."""
        seen = after(after_, int)
        read = info.context.relations.task_logs
        least = None if level is None else level.value
        rows = await info.context.load(read, self._key, size(first), seen[0] if seen else 0, least)
        return log_page(rows, first)

    @property
    def _key(self) -> tuple[str, str]:
        return self.row.instance_id, self.row.path

    async def _values(self, info: Info) -> Values:
        return await info.context.load(info.context.relations.task_outputs, self._key)


def task_page(rows: list[TaskRow], first: int) -> Connection[Task]:
    """Tasks as a page."""
    return page(rows, first, Task.of, lambda row: (row.path,))
