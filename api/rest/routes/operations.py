"""What one may do to runs: one by one, in bulk, and to those that have ended."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query, Request
from starlette.responses import JSONResponse, Response

from ....repositories.filters import InstanceFilter
from ....repositories.records import InstanceState
from ..models import instances as models
from ..models.common import PROBLEM_MODEL, Deleted, ProblemAnswer, Why
from ..problems import Refused
from ..routing import Called, Size, instant_of, needs, router_of, seconds_of
from .instances import DEFINE, status_for
from .selecting import before_of, tags_of, why_of

__all__ = ["router"]

router: Final = router_of("instances")
Id = Annotated[str, Path(alias="id", description="An instance's id.")]
Operation = Literal["cancel", "terminate", "pause", "resume", "retry"]
Named = Annotated[Operation, Path(description="What is done to each of them.")]
#: Transactions of one call that deletes.
_BATCHES: Final = 20
_DONE: Final[dict[str, Any]] = {
    "openapi_extra": needs("operate:instances"),
    "response_model": models.Done,
}


# before the routes of one run, whose id could be anything
@router.post(
    "/instances/bulk/{operation}",
    openapi_extra=needs("operate:instances"),
    response_model=models.BulkResult,
)
def bulk_operate(operation: Named, body: models.Bulk, caller: Called, size: Size = 100) -> dict[str, Any]:
    """Do something to all runs that match, at most `limit` of them; ask again while `more` is true."""
    found = caller.services.operations.bulk(
        operation, _meant(body), why_of(caller, body.reason, f"bulk {operation}")
    )
    answers = list(islice(found, size + 1))
    items = [
        {"id": each.instance_id, "status": each.status, "problem": each.problem} for each in answers[:size]
    ]
    return {"items": items, "more": len(answers) > size}


def _meant(body: models.Bulk) -> InstanceFilter:
    before = instant_of(body.created_before)
    if body.older is not None:
        age = before_of(body.older, "/body/older")
        before = age if before is None else min(age, before)
    where = InstanceFilter(
        states=frozenset(body.states),
        name=body.name,
        labels=body.labels,
        label_names=tags_of(body.tags),
        created_before=before,
    )
    if body.everything == (where != InstanceFilter()):
        hint = "Choose by states, name, labels, tags or age, or say `everything`."
        raise Refused(422, "request", "a bulk operation names which runs it means.", hint=hint)
    return where


@router.post("/instances/{id}/cancel", **_DONE)
def cancel_instance(instance_id: Id, body: models.Cancel, caller: Called) -> dict[str, Any]:
    """Ask a run to stop."""
    grace = seconds_of(body.grace, "/body/grace") if body.grace is not None else None
    why = why_of(caller, body.reason, "cancelled")
    return _done(caller, instance_id, caller.services.operations.cancel(instance_id, why, grace))


@router.post("/instances/{id}/terminate", **_DONE)
def terminate_instance(instance_id: Id, body: Why, caller: Called) -> dict[str, Any]:
    """End a run at once."""
    why = why_of(caller, body.reason, "terminated")
    return _done(caller, instance_id, caller.services.operations.terminate(instance_id, why))


@router.post("/instances/{id}/pause", **_DONE)
def pause_instance(instance_id: Id, body: Why, caller: Called) -> dict[str, Any]:
    """Take nothing new of a run."""
    why = why_of(caller, body.reason, "paused")
    return _done(caller, instance_id, caller.services.operations.pause(instance_id, why))


@router.post("/instances/{id}/resume", **_DONE)
def resume_instance(instance_id: Id, body: Why, caller: Called) -> dict[str, Any]:
    """Let a paused run go on."""
    why = why_of(caller, body.reason, "resumed")
    return _done(caller, instance_id, caller.services.operations.resume(instance_id, why))


@router.post("/instances/{id}/retry", **_DONE)
def retry_instance(instance_id: Id, body: models.Again, caller: Called) -> dict[str, Any]:
    """Try again what failed, or some tasks and what follows from them."""
    why = why_of(caller, body.reason, "retried")
    return _done(caller, instance_id, caller.services.operations.retry(instance_id, why, *body.tasks))


@router.post("/instances/{id}/rollback", **_DONE)
def rollback_instance(instance_id: Id, body: models.Again, caller: Called) -> dict[str, Any]:
    """Undo what followed some tasks, then decide it again."""
    why = why_of(caller, body.reason, "rolled back")
    return _done(caller, instance_id, caller.services.operations.rollback(instance_id, why, *body.tasks))


@router.post(
    "/instances/{id}/signals", openapi_extra=needs("operate:instances"), response_model=models.SignalSent
)
def signal_instance(instance_id: Id, body: models.Signal, caller: Called) -> dict[str, Any]:
    """Send a named message to a run; kept until a wait takes it."""
    signal_id = body.id or caller.new_id
    answer = caller.services.operations.signal(instance_id, body.name, body.data, signal_id)
    return {"id": instance_id, "signal": body.name, "status": answer}


@router.get(
    "/instances/{id}/migration",
    openapi_extra=needs("read:instances"),
    response_model=models.MigrationPlan,
)
def plan_migration(
    instance_id: Id,
    caller: Called,
    to: Annotated[str, Query(description="Name and version.", examples=["hello@4"])],
) -> dict[str, Any]:
    """Say what moving a run to another version of its definition would meet; nothing is changed."""
    found = caller.services.operations.migration(instance_id, to)
    return {
        "id": instance_id,
        "to": to,
        "verdict": found.verdict,
        "safe": found.safe,
        "lost": found.lost,
        "impossible": [{"path": path, "reason": why} for path, why in found.impossible],
    }


@router.post("/instances/{id}/migrate", **_DONE)
def migrate_instance(instance_id: Id, body: models.Migration, caller: Called) -> dict[str, Any]:
    """Let a run go on under another version of its definition."""
    answer = caller.services.operations.migrate(instance_id, body.to, accept_loss=body.accept_loss)
    return _done(caller, instance_id, answer)


@router.post(
    "/instances/{id}/fork",
    status_code=201,
    openapi_extra=needs("start:instances"),
    response_model=models.Instance,
)
def fork_instance(instance_id: Id, body: models.Fork, caller: Called) -> JSONResponse:
    """Start a new run from a point of this one."""
    made = caller.services.operations.fork(
        instance_id, *body.tasks, inputs=body.inputs, outputs=body.outputs, new_id=caller.new_id
    )
    return _made(caller, made)


@router.post(
    "/instances/{id}/rerun",
    status_code=201,
    openapi_extra=needs("start:instances"),
    response_model=models.Instance,
)
def rerun_instance(instance_id: Id, body: models.Rerun, caller: Called) -> JSONResponse:
    """Start the same again as a new run."""
    return _made(caller, caller.services.operations.rerun(instance_id, body.inputs, caller.new_id))


# --- runs that have ended


@router.delete(
    "/instances/{id}",
    status_code=204,
    openapi_extra=needs("admin:instances"),
    response_class=ProblemAnswer,
    responses=PROBLEM_MODEL,
)
def delete_instance(instance_id: Id, caller: Called) -> Response:
    """Delete a run that has ended, with all that belongs to it."""
    caller.services.upkeep.delete(instance_id)
    return Response(status_code=204)


@router.delete("/instances", openapi_extra=needs("admin:instances"), response_model=Deleted)
def purge_instances(
    caller: Called,
    older: Annotated[str, Query(description="Ended longer ago than this.", examples=["90d"])],
    state: Annotated[list[InstanceState] | None, Query(description="Only in these states.")] = None,
    name: Annotated[str | None, Query(description="Only of this definition.")] = None,
) -> dict[str, Any]:
    """Delete runs that ended long ago, some thousands in one call; ask again while `more` is true."""
    age = seconds_of(older, "/query/older")
    batches = caller.services.upkeep.purge(age, states=state or (), name=name)
    done = list(islice(batches, _BATCHES))
    return {"deleted": sum(done), "more": len(done) == _BATCHES}


@router.post(
    "/instances/import",
    status_code=201,
    openapi_extra={
        **needs("admin:instances"),
        "requestBody": {
            "required": True,
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        },
    },
    response_model=models.Instance,
)
async def import_instance(request: Request, caller: Called) -> JSONResponse:
    """Put in a run that `GET /instances/{id}/export` gave, to be looked at, retried or forked here.

    Its definition comes with it: it needs the scope `define:definitions` too.
    """
    from starlette.concurrency import run_in_threadpool

    caller.require(DEFINE)
    lines = (await request.body()).decode("utf-8", "replace").splitlines(keepends=True)
    services = caller.services
    made = await run_in_threadpool(services.upkeep.load, lines, registry=services.registry)
    return await run_in_threadpool(_made, caller, made)


def _done(caller: Called, instance_id: str, answer: str) -> dict[str, Any]:
    return {"status": answer, "instance": status_for(caller, caller.services.executions.status(instance_id))}


def _made(caller: Called, instance_id: str) -> JSONResponse:
    found = caller.services.executions.status(instance_id)
    return JSONResponse(status_for(caller, found), 201, {"Location": f"instances/{instance_id}"})
