"""What one may do to runs: one by one, and in bulk."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import Field
from starlette.responses import JSONResponse

from ....repositories.filters import InstanceFilter
from ....repositories.records import InstanceState
from ....services.operations import Operations
from ..problems import Refused
from ..routing import Body, Called, Size, instant_of, needs, router_of, seconds_of

__all__ = ["router"]

router: Final = router_of("instances")
Id = Annotated[str, Path(alias="id", description="An instance's id.")]
Operation = Literal["cancel", "terminate", "pause", "resume", "retry"]


class Why(Body):
    """Why something is done; kept with the run."""

    reason: str | None = Field(default=None, max_length=2000)


class Cancel(Why):
    """How a run is stopped."""

    grace: str | None = Field(default=None, description="Give up what still runs after this time.")


class Again(Why):
    """What is done again."""

    tasks: list[str] = Field(default_factory=list, description="Tasks and what follows from them.")


class Fork(Body):
    """From where a new run begins."""

    tasks: list[str] = Field(min_length=1)
    inputs: Any = None
    outputs: dict[str, Any] | None = None


class Rerun(Body):
    """What the new run is given; nothing: the same as before."""

    inputs: Any = None


class Signal(Body):
    """A named message."""

    name: str = Field(min_length=1, max_length=200)
    data: Any = None
    id: str | None = Field(default=None, description="The same id again changes nothing.")


class Migration(Body):
    """The version that a run goes on under."""

    to: str = Field(examples=["hello@4"])
    accept_loss: bool = False


class Bulk(Why):
    """Which runs something is done to: all that is given must hold, and something must be given."""

    states: list[InstanceState] = Field(default_factory=list[InstanceState])
    name: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    created_before: datetime | None = None


# before the routes of one run, whose id could be anything
@router.post("/instances/bulk/{operation}", openapi_extra=needs("operate:instances"))
def bulk(
    operation: Literal["cancel", "terminate", "pause", "resume", "retry"],
    body: Bulk,
    caller: Called,
    size: Size = 100,
) -> dict[str, Any]:
    """Do something to all runs that match, at most `limit` of them; ask again while `more` is true."""
    where = InstanceFilter(
        states=frozenset(body.states),
        name=body.name,
        labels=body.labels,
        created_before=instant_of(body.created_before),
    )
    if where == InstanceFilter():
        raise Refused(422, "request", "a bulk operation names which runs it means.")
    found = _operations(caller).bulk(operation, where, _why(caller, body, operation))
    answers = list(islice(found, size + 1))
    items = [
        {"id": each.instance_id, "status": each.status, "problem": each.problem} for each in answers[:size]
    ]
    return {"items": items, "more": len(answers) > size}


@router.post("/instances/{id}/cancel", openapi_extra=needs("operate:instances"))
def cancel(instance_id: Id, body: Cancel, caller: Called) -> dict[str, Any]:
    """Ask a run to stop."""
    grace = seconds_of(body.grace, "/body/grace") if body.grace is not None else None
    return _done(
        caller, instance_id, _operations(caller).cancel(instance_id, _why(caller, body, "cancelled"), grace)
    )


@router.post("/instances/{id}/terminate", openapi_extra=needs("operate:instances"))
def terminate(instance_id: Id, body: Why, caller: Called) -> dict[str, Any]:
    """End a run at once."""
    return _done(
        caller, instance_id, _operations(caller).terminate(instance_id, _why(caller, body, "terminated"))
    )


@router.post("/instances/{id}/pause", openapi_extra=needs("operate:instances"))
def pause(instance_id: Id, body: Why, caller: Called) -> dict[str, Any]:
    """Take nothing new of a run."""
    return _done(caller, instance_id, _operations(caller).pause(instance_id, _why(caller, body, "paused")))


@router.post("/instances/{id}/resume", openapi_extra=needs("operate:instances"))
def resume(instance_id: Id, body: Why, caller: Called) -> dict[str, Any]:
    """Let a paused run go on."""
    return _done(caller, instance_id, _operations(caller).resume(instance_id, _why(caller, body, "resumed")))


@router.post("/instances/{id}/retry", openapi_extra=needs("operate:instances"))
def retry(instance_id: Id, body: Again, caller: Called) -> dict[str, Any]:
    """Try again what failed, or some tasks and what follows from them."""
    return _done(
        caller,
        instance_id,
        _operations(caller).retry(instance_id, _why(caller, body, "retried"), *body.tasks),
    )


@router.post("/instances/{id}/rollback", openapi_extra=needs("operate:instances"))
def rollback(instance_id: Id, body: Again, caller: Called) -> dict[str, Any]:
    """Undo what followed some tasks, then decide it again."""
    why = _why(caller, body, "rolled back")
    return _done(caller, instance_id, _operations(caller).rollback(instance_id, why, *body.tasks))


@router.post("/instances/{id}/signals", openapi_extra=needs("operate:instances"))
def signal(instance_id: Id, body: Signal, caller: Called) -> dict[str, Any]:
    """Send a named message to a run; kept until a wait takes it."""
    answer = _operations(caller).signal(instance_id, body.name, body.data, body.id)
    return {"id": instance_id, "signal": body.name, "status": answer}


@router.post("/instances/{id}/migrate", openapi_extra=needs("operate:instances"))
def migrate(instance_id: Id, body: Migration, caller: Called) -> dict[str, Any]:
    """Let a run go on under another version of its definition."""
    answer = _operations(caller).migrate(instance_id, body.to, accept_loss=body.accept_loss)
    return _done(caller, instance_id, answer)


@router.post("/instances/{id}/fork", status_code=201, openapi_extra=needs("start:instances"))
def fork(instance_id: Id, body: Fork, caller: Called) -> JSONResponse:
    """Start a new run from a point of this one."""
    made = _operations(caller).fork(
        instance_id, *body.tasks, inputs=body.inputs, outputs=body.outputs, new_id=caller.new_id
    )
    return _made(caller, made)


@router.post("/instances/{id}/rerun", status_code=201, openapi_extra=needs("start:instances"))
def rerun(instance_id: Id, body: Rerun, caller: Called) -> JSONResponse:
    """Start the same again as a new run."""
    return _made(caller, _operations(caller).rerun(instance_id, body.inputs, caller.new_id))


def _operations(caller: Called) -> Operations:
    if caller.services.engine is None:
        raise Refused(503, "stopped", "this process has no engine.")
    return Operations(caller.services.engine)


def _why(caller: Called, body: Why, what: str) -> str:
    who = caller.principal.who
    return f"{body.reason} ({who})" if body.reason else f"{what} by {who}"


def _done(caller: Called, instance_id: str, answer: str) -> dict[str, Any]:
    found = caller.services.executions.status(instance_id)
    return {"status": answer, "instance": found.as_json()}


def _made(caller: Called, instance_id: str) -> JSONResponse:
    found = caller.services.executions.status(instance_id)
    return JSONResponse(found.as_json(), 201, {"Location": f"instances/{instance_id}"})
