"""Runs: start, list, look at. A run is an instance of a definition."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ....engine.outputs import iso
from ....engine.payload import decode
from ....engine.starts import StartOptions
from ....engine.status import WorkflowStatus
from ....repositories.filters import InstanceFilter
from ....repositories.readmodels import HistoryRow, InstanceSummary
from ....repositories.records import InstanceState
from ....services.access.scopes import Need, allows
from ....services.adhoc import definition_of
from ....services.live import Snapshot
from ..gate import Caller
from ..models import instances as models
from ..problems import Refused
from ..routing import (
    After,
    Called,
    Page,
    Seq,
    Size,
    cursor_of,
    instant_of,
    needs,
    page_of,
    place_of,
    router_of,
    seconds_of,
)
from ..spooling import LINES, spooled
from ..waiting import Wait, wait_for_instance
from .selecting import TAG, Label, Tag, labels_of, tags_of

__all__ = ["DEFINE", "router", "status_for"]

router: Final = router_of("instances")
Id = Annotated[str, Path(alias="id", description="An instance's id.")]
#: What a definition that nobody has stored needs, beside the leave to start it.
DEFINE: Final = Need("define", "definitions")
_READ: Final = Need("read", "instances")
#: What is in an export, beside the run itself.
_EXPORTED: Final = tuple(Need("read", resource) for resource in ("definitions", "tasks", "logs"))
#: What of a run is nobody's business who may only start or operate it.
_READ_ONLY: Final = ("inputs", "output", "error", "reason")


# --- starting


@router.post(
    "/instances", status_code=201, openapi_extra=needs("start:instances"), response_model=models.Instance
)
async def start_instance(body: models.Start, caller: Called, wait: Wait = None) -> JSONResponse:
    """Start a run; it is durable when this answers. An `Idempotency-Key`, or `key`, makes repeating safe.

    A definition itself, in the place of a name, needs the scope `define:definitions` too.
    """
    instance_id = await run_in_threadpool(_start, body, caller)
    if wait is not None:
        await wait_for_instance(caller, instance_id, wait)
    status = await run_in_threadpool(caller.services.executions.status, instance_id)
    return JSONResponse(status_for(caller, status), 201, {"Location": f"instances/{instance_id}"})


def _start(body: models.Start, caller: Called) -> str:
    services = caller.services
    begin = None if body.delay is None else seconds_of(body.delay, "/body/delay")
    end = None if body.expires_in is None else seconds_of(body.expires_in, "/body/expires_in")
    for name, both in (("delay", (begin, body.start_at)), ("expires_in", (end, body.expires_at))):
        if None not in both:
            raise Refused(422, "request", f"/body/{name}: give a time or an instant, not both.")
    options = StartOptions(
        key=body.key,
        mutex=body.mutex,
        on_duplicate=body.on_duplicate,
        labels=body.labels | {f"{TAG}{tag}": "1" for tag in body.tags},
        start_at=body.start_at if begin is None else begin,
        expires_at=body.expires_at if end is None else end,
        queue=body.queue,
        priority=body.priority,
        id=caller.new_id,
    )
    if isinstance(body.definition, str):
        source: Any = services.workflows.find(body.definition)
    else:  # what it says runs, and may read every secret: it takes what storing it takes
        caller.require(DEFINE)
        source = definition_of(body.definition)
    return services.executions.start(source, body.inputs, options=options)


# --- looking


@router.get("/instances", openapi_extra=needs("read:instances"))
def list_instances(
    caller: Called,
    *,
    size: Size = 100,
    state: Annotated[list[InstanceState] | None, Query(description="Only in these states.")] = None,
    name: Annotated[str | None, Query(description="Only of this definition.")] = None,
    version: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Only of this version of it.")
    ] = None,
    key: Annotated[str | None, Query(description="Only what was started under this key.")] = None,
    label: Label = None,
    tag: Tag = None,
    id_prefix: Annotated[
        str | None, Query(max_length=36, description="Only ids that begin so.", examples=["01a1fb96"])
    ] = None,
    parent: Annotated[str | None, Query(description="Only children of this run.")] = None,
    roots: Annotated[bool, Query(description="Only what no other run has started.")] = False,
    created_after: Annotated[datetime | None, Query(description="Made at this instant or later.")] = None,
    created_before: Annotated[datetime | None, Query(description="Made before this instant.")] = None,
    sort: Annotated[
        Literal["-created", "created"], Query(description="Newest or oldest first.")
    ] = "-created",
    after: After = None,
) -> Page[models.InstanceSummary]:
    """List runs, by when they were made."""
    where = InstanceFilter(
        states=frozenset(state or ()),
        name=name,
        version=version,
        key=key,
        labels=labels_of(label),
        label_names=tags_of(tag),
        id_prefix=id_prefix,
        parent_id=parent,
        roots=roots,
        created_after=instant_of(created_after),
        created_before=instant_of(created_before),
    )
    place = place_of(after, int, UUID)
    found = caller.services.executions.instances(
        where=where,
        after=(place[0], place[1]) if place else None,
        oldest_first=sort == "created",
        limit=size + 1,
    )
    return page_of(found, size, _summary, lambda each: cursor_of(*each.cursor))


@router.get("/instances/{id}", openapi_extra=needs("read:instances"), response_model=models.Instance)
async def get_instance(instance_id: Id, caller: Called, wait: Wait = None) -> dict[str, Any]:
    """Give a run with its inputs and its result."""
    executions = caller.services.executions
    found = await run_in_threadpool(executions.status, instance_id)
    if wait is not None and not found.ended:
        await wait_for_instance(caller, instance_id, wait)
        found = await run_in_threadpool(executions.status, instance_id)
    return _status_json(found)


@router.get("/instances/{id}/output", openapi_extra=needs("read:instances"))
async def get_instance_output(instance_id: Id, caller: Called, wait: Wait = None) -> Any:
    """Give a run's result alone. 409 while it has none."""
    executions = caller.services.executions
    found = await run_in_threadpool(executions.status, instance_id)
    if wait is not None and not found.ended:
        await wait_for_instance(caller, instance_id, wait)
        found = await run_in_threadpool(executions.status, instance_id)
    if found.state is not InstanceState.COMPLETED:
        raise Refused(
            409, "conflict", f"the run is {found.state}: it has no output.", hint="Read the run itself."
        )
    return found.output


@router.get("/instances/{id}/live", openapi_extra=needs("read:instances"), response_model=models.InstanceLive)
def get_instance_live(instance_id: Id, caller: Called) -> dict[str, Any]:
    """Give a run at a glance: its outermost nodes, how far they are. Made to be asked often."""
    return _live(caller.services.executions.live(_known(caller, instance_id)).read())


@router.get("/instances/{id}/history", openapi_extra=needs("read:instances"))
def list_instance_history(
    instance_id: Id, caller: Called, size: Size = 100, after: Seq = 0
) -> Page[models.Transition]:
    """List every transition of a run, in order."""
    found = caller.services.executions.history(_known(caller, instance_id), after=after)
    return page_of(found, size, _transition, lambda each: str(each.seq))


@router.get("/instances/{id}/explain", openapi_extra=needs("read:instances"), response_model=models.Explained)
def explain_instance(
    instance_id: Id, caller: Called, path: Annotated[str | None, Query(description="A task.")] = None
) -> dict[str, Any]:
    """Say why a run, or a task, is not running."""
    return caller.services.explainer.explain(instance_id, path).as_json()


@router.get(
    "/instances/{id}/export",
    openapi_extra=needs("read:instances"),
    response_class=Response,
    responses=LINES,
)
def export_instance(instance_id: Id, caller: Called) -> Response:
    """Give a run that has ended, with its whole history, as lines of JSON: what `POST /instances/import` takes.

    Definition, tasks and log lines are in it: it needs the scopes to read those too.
    """
    known = _known(caller, instance_id)
    for need in _EXPORTED:
        caller.require(need)
    return spooled(lambda out: caller.services.upkeep.export(known, out), f"{known}.jsonl")


# --- small parts


def status_for(caller: Caller, status: WorkflowStatus) -> dict[str, Any]:
    """A run as the answer to a write: without what only `read:instances` may see."""
    found = _status_json(status)
    if not allows(caller.principal.scopes, _READ):
        found |= dict.fromkeys(_READ_ONLY)
    return found


def _status_json(status: WorkflowStatus) -> dict[str, Any]:
    """A run as this interface gives it."""
    return {**status.as_json(), "key": status.key, "reason": status.reason}


def _known(caller: Called, instance_id: str) -> str:
    """The id as it is; what no instance has is a 404. Raises NotFound."""
    return caller.services.executions.known(instance_id)


def _summary(each: InstanceSummary) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "version": each.version,
        "state": each.state.value,
        "key": each.key,
        "reason": each.reason,
        "error": decode(each.error) if each.error else None,
        "parent_id": each.parent_id,
        "parent_path": each.parent_path,
        "mutex": each.mutex,
        "labels": each.labels,
        "start_at": iso(each.start_at),
        "expires_at": iso(each.expires_at),
        "created_at": iso(each.created_at),
        "started_at": iso(each.started_at),
        "ended_at": iso(each.ended_at),
    }


def _transition(each: HistoryRow) -> dict[str, Any]:
    return {
        "seq": each.seq,
        "at": iso(each.at),
        "path": each.path,
        "attempt": each.attempt,
        "from": each.from_state,
        "to": each.to_state,
        "reason": each.reason,
        "engine": each.engine,
    }


def _live(found: Snapshot) -> dict[str, Any]:
    nodes = [
        {**asdict(each), "started_at": iso(each.started_at), "ended_at": iso(each.ended_at)}
        for each in found.nodes
    ]
    return {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "state": found.state.value,
        "now": iso(found.now),
        "created_at": iso(found.created_at),
        "ended_at": iso(found.ended_at),
        "nodes": nodes,
        "counts": _counts(found),
    }


def _counts(found: Snapshot) -> dict[str, int]:
    counts: dict[str, int] = {}
    for state, count in found.counts.items():
        if count:
            name = "pending" if state is None else state.value
            counts[name] = counts.get(name, 0) + count
    return counts
