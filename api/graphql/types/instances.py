"""Runs, and everything that belongs to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from ....engine.payload import decode
from ....repositories.readmodels import InstanceSummary
from ....services.explain_model import Explanation as Explained
from ....services.explain_model import Reason
from ....services.relations import Values
from ..context import Info
from ..declare import needs, part, weighs
from ..enums import InstanceState, LogLevel, TaskState
from ..pages import DEFAULT, After, Connection, First, after, page, size
from ..scalars import Instant, Json, at
from .records import Event, LogLine, Transition, event_page, log_page, transition_page
from .tasks import Task, task_page

if TYPE_CHECKING:
    from .definitions import DefinitionVersion

__all__ = ["Explanation", "Instance", "instance_page"]

Version = Annotated["DefinitionVersion", strawberry.lazy("strataflow.api.graphql.types.definitions")]


@part
@strawberry.type
class WaitReason:
    """One thing that is waited for."""

    kind: str
    path: str = strawberry.field(description="The task it holds up; empty for the whole run.")
    text: str
    until: Instant | None = strawberry.field(description="When it ends by itself, where that is known.")
    details: Json

    @classmethod
    def of(cls, reason: Reason) -> WaitReason:
        """Make one of the explainer's."""
        until = None if reason.until is None else Instant(reason.until)
        return cls(
            kind=reason.kind, path=reason.path, text=reason.text, until=until, details=Json(reason.details)
        )


@needs("read:instances")
@strawberry.type
class Explanation:
    """Why a run, or a task, is where it is."""

    state: str
    sentence: str
    reasons: list[WaitReason]
    more: bool = strawberry.field(description="There were more unfinished tasks than were looked at.")

    @classmethod
    def of(cls, found: Explained) -> Explanation:
        """Make one of the explainer's."""
        reasons = [WaitReason.of(each) for each in found.reasons]
        return cls(state=found.state, sentence=found.sentence, reasons=reasons, more=found.more)


@needs("read:instances")
@strawberry.type
class Instance:
    """A run of a definition."""

    row: strawberry.Private[InstanceSummary]
    id: strawberry.ID
    name: str = strawberry.field(description="Name of its definition.")
    version: int
    state: InstanceState
    key: str | None
    mutex: str | None
    reason: str | None = strawberry.field(
        description="Why it is paused, cancelled or ended, if somebody said."
    )
    labels: Json
    created_at: Instant | None
    started_at: Instant | None
    ended_at: Instant | None
    start_at: Instant | None
    expires_at: Instant | None
    parent_id: strawberry.ID | None
    parent_path: str | None = strawberry.field(description="The task of the parent that started it.")

    @classmethod
    def of(cls, row: InstanceSummary) -> Instance:
        """Make one of a row."""
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            name=row.name,
            version=row.version,
            state=row.state,
            key=row.key,
            mutex=row.mutex,
            reason=row.reason,
            labels=Json(row.labels),
            created_at=at(row.created_at),
            started_at=at(row.started_at),
            ended_at=at(row.ended_at),
            start_at=at(row.start_at),
            expires_at=at(row.expires_at),
            parent_id=None if row.parent_id is None else strawberry.ID(row.parent_id),
            parent_path=row.parent_path,
        )

    @strawberry.field(description="What it was started with.", metadata=weighs(2))
    async def inputs(self, info: Info) -> Json | None:
        """Give its inputs."""
        values = await self._values(info)
        return None if values is None or values.input is None else Json(values.input)

    @strawberry.field(description="Its result; null until it has completed.", metadata=weighs(5))
    async def output(self, info: Info) -> Json | None:
        """Give its output."""
        values = await self._values(info)
        return None if values is None or values.output is None else Json(values.output)

    @strawberry.field(description="Why it failed.")
    def error(self) -> Json | None:
        """Give its error object."""
        return Json(decode(self.row.error)) if self.row.error else None

    @strawberry.field(description="The version of the definition that it goes by.")
    async def definition(self, info: Info) -> Version | None:
        """Give its definition."""
        from .definitions import DefinitionVersion

        found = await info.context.load(info.context.relations.definitions, self.row.definition_id)
        return None if found is None else DefinitionVersion.of(found)

    @strawberry.field(description="The run that started it.")
    async def parent(self, info: Info) -> Instance | None:
        """Give its parent."""
        if self.row.parent_id is None:
            return None
        found = await info.context.load(info.context.relations.instances, self.row.parent_id)
        return None if found is None else Instance.of(found)

    @strawberry.field(description="Runs that it has started, oldest first.")
    async def children(
        self, info: Info, first: First = DEFAULT, after_: After = None
    ) -> Connection[Instance]:
        """Give its children."""
        read = info.context.relations.children
        rows = await info.context.load(read, self.row.id, size(first), after(after_, int, UUID))
        return instance_page(rows, first)

    @strawberry.field(description="Its tasks, in path order.")
    async def tasks(
        self, info: Info, first: First = DEFAULT, after_: After = None, state: TaskState | None = None
    ) -> Connection[Task]:
        """Give its tasks."""
        seen = after(after_, str)
        read = info.context.relations.task_pages
        rows = await info.context.load(read, self.row.id, size(first), seen[0] if seen else "", state)
        return task_page(rows, first)

    @strawberry.field(description="One of its tasks.")
    async def task(self, info: Info, path: str) -> Task | None:
        """Give one of its tasks."""
        found = await info.context.load(info.context.relations.tasks, (self.row.id, path))
        return None if found is None else Task.of(found)

    @strawberry.field(description="Every transition of it and of its tasks, oldest first.")
    async def history(
        self, info: Info, first: First = DEFAULT, after_: After = None
    ) -> Connection[Transition]:
        """Give its history."""
        seen = after(after_, int)
        read = info.context.relations.history
        rows = await info.context.load(read, self.row.id, size(first), seen[0] if seen else 0)
        return transition_page(rows, first)

    @strawberry.field(description="What its tasks have logged, oldest first.")
    async def logs(
        self, info: Info, first: First = DEFAULT, after_: After = None, level: LogLevel | None = None
    ) -> Connection[LogLine]:
        """Give its log lines of at least this level."""
        seen = after(after_, int)
        read = info.context.relations.logs
        least = None if level is None else level.value
        rows = await info.context.load(read, self.row.id, size(first), seen[0] if seen else 0, least)
        return log_page(rows, first)

    @strawberry.field(description="What happened to it, oldest first, with the progress that its tasks told.")
    async def events(self, info: Info, first: First = DEFAULT, after_: After = None) -> Connection[Event]:
        """Give its events."""
        seen = after(after_, int)
        read = info.context.relations.events
        rows = await info.context.load(read, self.row.id, size(first), seen[0] if seen else 0)
        return event_page(rows, first)

    @strawberry.field(description="Why it, or one of its tasks, is not running.", metadata=weighs(25))
    async def explain(self, info: Info, path: str | None = None) -> Explanation | None:
        """Explain it."""
        explainer = info.context.services.explainer
        return Explanation.of(await info.context.run(lambda: explainer.explain(self.row.id, path)))

    async def _values(self, info: Info) -> Values | None:
        return await info.context.load(info.context.relations.instance_values, self.row.id)


def instance_page(rows: list[InstanceSummary], first: int) -> Connection[Instance]:
    """Runs as a page."""
    return page(rows, first, Instance.of, lambda row: row.cursor)
