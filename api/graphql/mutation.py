"""What may be done: definitions stored and activated, runs started and operated."""

from __future__ import annotations

from typing import Annotated, Final

import strawberry

from ...engine.errors import NotFound, RequestError
from ...engine.starts import StartOptions
from ...repositories.definitions import StoredDefinition
from ...services.access.scopes import Need
from ...services.adhoc import definition_of
from .context import Info
from .declare import part, states
from .enums import Duplicate
from .operate import Operating, Started, do, object_of, place_of
from .query import Label
from .scalars import Instant, Json, moment
from .types.definitions import DefinitionVersion

__all__ = ["Mutation"]

_DEFINE: Final = Need("define", "definitions")


@strawberry.input(description="What to start, and how. Exactly one of `definition` and `document`.")
class StartInput:
    """What to start, and how. Exactly one of `definition` and `document`."""

    definition: str | None = strawberry.field(default=None, description="`name` or `name@3`.")
    document: Json | None = strawberry.field(
        default=None, description="A definition that nobody has registered; it needs define:definitions too."
    )
    inputs: Json | None = None
    key: str | None = strawberry.field(default=None, description="The same key again is the same run.")
    mutex: str | None = strawberry.field(
        default=None, description="At most one live run of this definition and mutex."
    )
    on_duplicate: Duplicate | None = None
    labels: list[Label] | None = None
    start_at: Instant | None = None
    expires_at: Instant | None = None
    queue: str | None = None
    priority: int | None = None


@part
@strawberry.type
class Defined:
    """A version that was stored, or has another state now."""

    row: strawberry.Private[StoredDefinition]
    name: str
    version: int
    state: str

    @classmethod
    def of(cls, row: StoredDefinition) -> Defined:
        """Make one of a row."""
        return cls(row=row, name=row.name, version=row.version, state=row.state.value)

    @strawberry.field(description="The version.")
    def definition_version(self) -> DefinitionVersion:
        """Give the version."""
        return DefinitionVersion.of(self.row)


@part
@strawberry.type
class Mutation(Operating):
    """Everything that may be done; each is durable when it has answered."""

    # --- definitions

    @strawberry.mutation(
        description="Store a definition as a new version. The same content again is the version that it is.",
        metadata=states("define:definitions", 10),
    )
    async def register_definition(
        self,
        info: Info,
        document: Json,
        activate: bool = False,  # noqa: FBT001, FBT002 - an argument of the schema
    ) -> Defined | None:
        """Register."""
        services, given = info.context.services, object_of(document, "/document")

        def work() -> StoredDefinition:
            made = services.catalog.register(definition_of(given), activate=activate)
            found = services.workflows.version(made.name, made.version)
            if found is None:
                raise NotFound(f"{made.name}@{made.version} was removed meanwhile.", hint="Store it again.")
            return found

        return Defined.of(await info.context.run(work))

    @strawberry.mutation(
        description="Make a version the one that a start by name takes.",
        metadata=states("define:definitions", 10),
    )
    async def activate_definition(self, info: Info, name: str, version: int) -> Defined | None:
        """Activate."""
        workflows = info.context.services.workflows
        return Defined.of(await info.context.run(lambda: workflows.activate(f"{name}@{version}")))

    @strawberry.mutation(
        description="Let a version start only by its number.", metadata=states("define:definitions", 10)
    )
    async def deprecate_definition(self, info: Info, name: str, version: int) -> Defined | None:
        """Deprecate."""
        workflows = info.context.services.workflows
        return Defined.of(await info.context.run(lambda: workflows.retire(f"{name}@{version}", "deprecated")))

    @strawberry.mutation(
        description="Let a version start no more.", metadata=states("define:definitions", 10)
    )
    async def archive_definition(self, info: Info, name: str, version: int) -> Defined | None:
        """Archive."""
        workflows = info.context.services.workflows
        return Defined.of(await info.context.run(lambda: workflows.retire(f"{name}@{version}", "archived")))

    # --- new runs

    @strawberry.mutation(description="Start a run.", metadata=states("start:instances", 10))
    async def start_instance(
        self,
        info: Info,
        input: StartInput,  # noqa: A002 - the schema's name
    ) -> Started | None:
        """Start."""
        made = await info.context.run(lambda: _start(info, input))
        return Started(id=strawberry.ID(made))

    @strawberry.mutation(
        description="Start a new run from a point of another one.", metadata=states("start:instances", 10)
    )
    async def fork_instance(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002 - the schema's name
        tasks: list[str],
        inputs: Json | None = None,
        outputs: Annotated[
            Json | None, strawberry.argument(description="Other outputs of tasks, by path.")
        ] = None,
    ) -> Started | None:
        """Fork."""
        if not tasks:
            raise RequestError("a fork begins at some task.", pointer="/tasks")
        given = object_of(outputs, "/outputs")
        new_id = info.context.made_id(place_of(info))
        made = await do(
            info,
            lambda operations: operations.fork(str(id), *tasks, inputs=inputs, outputs=given, new_id=new_id),
        )
        return Started(id=strawberry.ID(made))

    @strawberry.mutation(
        description="Start the same again as a new run.", metadata=states("start:instances", 10)
    )
    async def rerun_instance(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002 - the schema's name
        inputs: Annotated[
            Json | None, strawberry.argument(description="Nothing: the same as before.")
        ] = None,
    ) -> Started | None:
        """Run again."""
        new_id = info.context.made_id(place_of(info))
        made = await do(info, lambda operations: operations.rerun(str(id), inputs, new_id))
        return Started(id=strawberry.ID(made))


def _start(info: Info, wanted: StartInput) -> str:
    services = info.context.services
    if (wanted.definition is None) == (wanted.document is None):
        raise RequestError("a start names a definition, or has a document.", pointer="/input/definition")
    if wanted.document is not None:  # what it says runs: it takes what storing it takes
        info.context.caller.require(_DEFINE)
    options = StartOptions(
        key=wanted.key,
        mutex=wanted.mutex,
        on_duplicate=None if wanted.on_duplicate is None else wanted.on_duplicate.value,
        labels={each.name: each.value for each in wanted.labels or ()},
        start_at=moment(wanted.start_at),
        expires_at=moment(wanted.expires_at),
        queue=wanted.queue,
        priority=wanted.priority,
        id=info.context.made_id(place_of(info)),
    )
    source = (
        services.workflows.find(wanted.definition)
        if wanted.definition is not None
        else definition_of(object_of(wanted.document, "/input/document"))
    )
    return services.executions.start(source, wanted.inputs, options=options)
