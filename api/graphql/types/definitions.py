"""Definitions: names, and the versions of each."""

from __future__ import annotations

from uuid import UUID

import strawberry

from ....repositories.definitions import StoredDefinition
from ..context import Info
from ..declare import needs, weighs
from ..enums import DefinitionState, GraphForm, InstanceState
from ..pages import DEFAULT, After, Connection, First, after, page, size
from ..scalars import Instant, Json, at
from .instances import Instance, instance_page

__all__ = ["Definition", "DefinitionVersion"]


@needs("read:definitions")
@strawberry.type
class DefinitionVersion:
    """One immutable version of a definition."""

    row: strawberry.Private[StoredDefinition]
    name: str
    version: int
    state: DefinitionState
    hash: str = strawberry.field(description="SHA-256 of its canonical text.")
    created_at: Instant | None

    @classmethod
    def of(cls, row: StoredDefinition) -> DefinitionVersion:
        """Make one of a row."""
        return cls(
            row=row,
            name=row.name,
            version=row.version,
            state=row.state,
            hash=row.hash,
            created_at=at(row.created_at),
        )

    @strawberry.field(description="`NAME@VERSION`, as a start takes it.")
    def id(self) -> strawberry.ID:
        """Give an id that no other version has."""
        return strawberry.ID(f"{self.name}@{self.version}")

    @strawberry.field(description="All versions together.")
    def definition(self) -> Definition:
        """Give the definition that it is a version of."""
        return Definition(name=self.name)

    @strawberry.field(description="The definition itself.", metadata=weighs(10))
    async def document(self, info: Info) -> Json:
        """Give its document."""
        found = await info.context.load(info.context.relations.documents, self.row.id)
        return Json(found)

    @strawberry.field(description="A drawing of it.", metadata=weighs(50))
    async def graph(self, info: Info, form: GraphForm = GraphForm.MERMAID) -> str:
        """Draw it."""
        from ....services.graphs import draw

        catalog = info.context.services.catalog
        return await info.context.run(lambda: draw(catalog.plan(self.row.id), form.value))

    @strawberry.field(description="Runs of this version, newest first unless told.")
    async def instances(
        self,
        info: Info,
        first: First = DEFAULT,
        after_: After = None,
        states: list[InstanceState] | None = None,
        oldest_first: bool = False,  # noqa: FBT001, FBT002 - an argument of the schema
    ) -> Connection[Instance]:
        """Give its runs."""
        read, key = info.context.relations.runs, (self.name, self.version)
        wanted = frozenset(states or ())
        rows = await info.context.load(read, key, size(first), after(after_, int, UUID), wanted, oldest_first)
        return instance_page(rows, first)


@needs("read:definitions")
@strawberry.type
class Definition:
    """A name and its versions."""

    name: str

    @strawberry.field(description="What a start by name takes; null when no version is active.")
    async def active(self, info: Info) -> DefinitionVersion | None:
        """Give the active version."""
        found = await info.context.load(info.context.relations.chosen, self.name, True)
        return None if found is None else DefinitionVersion.of(found)

    @strawberry.field(description="The newest version, whatever its state.")
    async def latest(self, info: Info) -> DefinitionVersion | None:
        """Give the newest version."""
        found = await info.context.load(info.context.relations.chosen, self.name, False)
        return None if found is None else DefinitionVersion.of(found)

    @strawberry.field(description="Its versions, the newest first.")
    async def versions(
        self, info: Info, first: First = DEFAULT, after_: After = None
    ) -> Connection[DefinitionVersion]:
        """Give its versions."""
        seen = after(after_, int)
        read = info.context.relations.versions
        rows = await info.context.load(read, self.name, size(first), seen[0] if seen else None)
        return page(rows, first, DefinitionVersion.of, lambda row: (row.version,))

    @strawberry.field(description="Runs of all its versions, newest first unless told.")
    async def instances(
        self,
        info: Info,
        first: First = DEFAULT,
        after_: After = None,
        states: list[InstanceState] | None = None,
        oldest_first: bool = False,  # noqa: FBT001, FBT002 - an argument of the schema
    ) -> Connection[Instance]:
        """Give its runs."""
        read, key = info.context.relations.runs, (self.name, None)
        wanted = frozenset(states or ())
        rows = await info.context.load(read, key, size(first), after(after_, int, UUID), wanted, oldest_first)
        return instance_page(rows, first)
