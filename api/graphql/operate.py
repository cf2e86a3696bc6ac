"""What may be done to a run that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, cast

import strawberry

from ...engine.errors import EngineStopped, RequestError
from ...services.operations import Operations
from .context import Info
from .declare import part, states
from .scalars import Json, duration_s
from .types.instances import Instance

__all__ = ["Operated", "Operating", "Started", "do", "object_of", "place_of"]

_LONGEST_REASON: Final = 2000
_LONGEST_NAME: Final = 200
_OPERATE: Final = states("operate:instances", 10)
Id = Annotated[strawberry.ID, strawberry.argument(name="id", description="The run.")]
Reason = Annotated[str | None, strawberry.argument(description="Why; kept with the run.")]
Tasks = Annotated[
    list[str] | None, strawberry.argument(description="Only these tasks and what follows from them.")
]


@part
@strawberry.type
class Started:
    """A new run; it is durable."""

    id: strawberry.ID

    @strawberry.field(description="The run as it stands now.")
    async def instance(self, info: Info) -> Instance | None:
        """Give the run."""
        return await _instance(info, str(self.id))


@part
@strawberry.type
class Operated:
    """What became of an operation on a run."""

    id: strawberry.ID
    status: str = strawberry.field(description="`accepted`, or `ignored` when there was nothing to do.")

    @strawberry.field(description="The run as it stands now.")
    async def instance(self, info: Info) -> Instance | None:
        """Give the run."""
        return await _instance(info, str(self.id))


@strawberry.type
class Operating:
    """Mutations of one run."""

    @strawberry.mutation(description="Ask a run to stop.", metadata=_OPERATE)
    async def cancel_instance(
        self,
        info: Info,
        run: Id,
        reason: Reason = None,
        grace: Annotated[
            str | None, strawberry.argument(description="Give up what still runs after this time: `30s`.")
        ] = None,
    ) -> Operated | None:
        """Cancel."""
        why, seconds = _why(info, reason, "cancelled"), duration_s(grace, "/grace")
        return await _done(info, run, lambda operations: operations.cancel(str(run), why, seconds))

    @strawberry.mutation(description="End a run at once.", metadata=_OPERATE)
    async def terminate_instance(self, info: Info, run: Id, reason: Reason = None) -> Operated | None:
        """Terminate."""
        why = _why(info, reason, "terminated")
        return await _done(info, run, lambda operations: operations.terminate(str(run), why))

    @strawberry.mutation(description="Take nothing new of a run.", metadata=_OPERATE)
    async def pause_instance(self, info: Info, run: Id, reason: Reason = None) -> Operated | None:
        """Pause."""
        why = _why(info, reason, "paused")
        return await _done(info, run, lambda operations: operations.pause(str(run), why))

    @strawberry.mutation(description="Let a paused run go on.", metadata=_OPERATE)
    async def resume_instance(self, info: Info, run: Id, reason: Reason = None) -> Operated | None:
        """Resume."""
        why = _why(info, reason, "resumed")
        return await _done(info, run, lambda operations: operations.resume(str(run), why))

    @strawberry.mutation(description="Try again what failed, or some tasks.", metadata=_OPERATE)
    async def retry_instance(
        self, info: Info, run: Id, tasks: Tasks = None, reason: Reason = None
    ) -> Operated | None:
        """Retry."""
        why = _why(info, reason, "retried")
        return await _done(info, run, lambda operations: operations.retry(str(run), why, *(tasks or ())))

    @strawberry.mutation(
        description="Undo what followed some tasks, then decide it again.", metadata=_OPERATE
    )
    async def rollback_instance(
        self, info: Info, run: Id, tasks: Tasks = None, reason: Reason = None
    ) -> Operated | None:
        """Roll back."""
        why = _why(info, reason, "rolled back")
        return await _done(info, run, lambda operations: operations.rollback(str(run), why, *(tasks or ())))

    @strawberry.mutation(
        description="Send a named message to a run; kept until a wait takes it.", metadata=_OPERATE
    )
    async def signal_instance(
        self,
        info: Info,
        run: Id,
        name: str,
        data: Json | None = None,
        signal_id: Annotated[
            str | None, strawberry.argument(description="The same id again changes nothing.")
        ] = None,
    ) -> Operated | None:
        """Signal."""
        if not 1 <= len(name) <= _LONGEST_NAME:
            raise RequestError(f"a signal's name has 1 to {_LONGEST_NAME} characters.", pointer="/name")
        return await _done(info, run, lambda operations: operations.signal(str(run), name, data, signal_id))

    @strawberry.mutation(
        description="Let a run go on under another version of its definition.", metadata=_OPERATE
    )
    async def migrate_instance(
        self,
        info: Info,
        run: Id,
        to: Annotated[str, strawberry.argument(description="`name@4`.")],
        accept_loss: bool = False,  # noqa: FBT001, FBT002 - an argument of the schema
    ) -> Operated | None:
        """Migrate."""
        return await _done(
            info, run, lambda operations: operations.migrate(str(run), to, accept_loss=accept_loss)
        )


async def do(info: Info, work: Callable[[Operations], str]) -> str:
    """Do something with the engine of this process. Raises what the engine raises."""
    engine = info.context.services.engine
    if engine is None:
        raise EngineStopped("this process has no engine.")
    return await info.context.run(lambda: work(Operations(engine)))


def object_of(value: object, pointer: str) -> dict[str, Any] | None:
    """A JSON object, or nothing. Raises RequestError with where it stands."""
    if value is not None and not isinstance(value, dict):
        raise RequestError("this is an object.", pointer=pointer)
    return cast("dict[str, Any] | None", value)


def place_of(info: Info) -> str:
    """Where in the document something is made: the same when the request is repeated."""
    return "/".join(str(each) for each in info.path.as_list())


async def _done(info: Info, run: strawberry.ID, work: Callable[[Operations], str]) -> Operated:
    return Operated(id=run, status=await do(info, work))


async def _instance(info: Info, instance_id: str) -> Instance | None:
    """How it stands now: read anew for each mutation."""
    relations = info.context.relations
    (found,) = await info.context.run(lambda: relations.instances([instance_id]))
    return None if found is None else Instance.of(found)


def _why(info: Info, reason: str | None, what: str) -> str:
    if reason is not None and len(reason) > _LONGEST_REASON:
        raise RequestError(f"a reason has at most {_LONGEST_REASON} characters.", pointer="/reason")
    who = info.context.principal.who
    return f"{reason} ({who})" if reason else f"{what} by {who}"
