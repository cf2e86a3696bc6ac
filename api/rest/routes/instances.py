"""Runs: start, list, look at, operate. A run is an instance of a definition."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from pydantic import Field
from starlette.responses import JSONResponse

from ....engine.errors import WaitTimeout
from ....engine.outputs import iso
from ....engine.payload import decode
from ....engine.starts import StartOptions
from ....repositories.filters import InstanceFilter
from ....repositories.readmodels import HistoryRow, InstanceSummary, LogEntry
from ....repositories.records import InstanceState, TaskState
from ....services.adhoc import definition_of
from ..problems import Refused
from ..routing import Body, Called, Page, Size, instant_of, needs, page_of, router_of, seconds_of

__all__ = ["router"]

router: Final = router_of("instances")
Id = Annotated[str, Path(alias="id", description="An instance's id.")]
_MICROSECONDS: Final = 1_000_000
#: Nobody waits longer than this in one call.
_LONGEST_WAIT_S: Final = 60.0
_LOG_LEVELS = Literal["debug", "info", "warning", "error", "critical"]
Wait = Annotated[
    str | None, Query(description="Wait so long for its end before answering, at most 60s.", examples=["30s"])
]


class Start(Body):
    """What to start, and how."""

    definition: str | dict[str, Any] = Field(
        description="`name`, `name@3`, or a definition that nobody has registered.", examples=["hello"]
    )
    inputs: Any = None
    key: str | None = Field(default=None, description="The same key again is the same run.")
    mutex: str | None = Field(default=None, description="At most one live run of this definition and mutex.")
    on_duplicate: Literal["return_existing", "reject", "queue"] | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    start_at: datetime | None = None
    expires_at: datetime | None = None
    queue: str | None = None
    priority: int | None = None


# --- starting


@router.post("/instances", status_code=201, openapi_extra=needs("start:instances"))
async def start(body: Start, caller: Called, wait: Wait = None) -> JSONResponse:
    """Start a run; it is durable when this answers. An `Idempotency-Key`, or `key`, makes repeating safe."""
    from starlette.concurrency import run_in_threadpool

    instance_id = await run_in_threadpool(_start, body, caller)
    if wait is not None:
        await _wait(caller, instance_id, wait)
    status = await run_in_threadpool(caller.services.executions.status, instance_id)
    return JSONResponse(status.as_json(), 201, {"Location": f"instances/{instance_id}"})


def _start(body: Start, caller: Called) -> str:
    services = caller.services
    options = StartOptions(
        key=body.key,
        mutex=body.mutex,
        on_duplicate=body.on_duplicate,
        labels=body.labels,
        start_at=body.start_at,
        expires_at=body.expires_at,
        queue=body.queue,
        priority=body.priority,
        id=caller.new_id,
    )
    source = (
        services.workflows.find(body.definition)
        if isinstance(body.definition, str)
        else definition_of(body.definition)
    )
    return services.executions.start(source, body.inputs, options=options)


async def _wait(caller: Called, instance_id: str, text: str) -> None:
    seconds = seconds_of(text, "/query/wait")
    engine = caller.services.engine
    if engine is None:
        raise Refused(503, "stopped", "this process has no engine.")
    try:
        await engine.wait(instance_id, min(seconds, _LONGEST_WAIT_S))
    except WaitTimeout:
        return  # the answer says how it stands


# --- looking


@router.get("/instances", openapi_extra=needs("read:instances"))
def listed(
    caller: Called,
    *,
    size: Size = 100,
    state: Annotated[list[InstanceState] | None, Query(description="Only in these states.")] = None,
    name: Annotated[str | None, Query(description="Only of this definition.")] = None,
    version: Annotated[int | None, Query(ge=1)] = None,
    key: str | None = None,
    label: Annotated[list[str] | None, Query(description="NAME=VALUE", examples=[["team=a"]])] = None,
    parent: Annotated[str | None, Query(description="Only children of this run.")] = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    sort: Annotated[
        Literal["-created", "created"], Query(description="Newest or oldest first.")
    ] = "-created",
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Page:
    """List runs, by when they were made."""
    where = InstanceFilter(
        states=frozenset(state or ()),
        name=name,
        version=version,
        key=key,
        labels=_labels(label or []),
        parent_id=parent,
        created_after=instant_of(created_after),
        created_before=instant_of(created_before),
    )
    found = caller.services.executions.instances(
        where=where,
        after=_cursor(after) if after else None,
        oldest_first=sort == "created",
        page_size=size + 1,
    )
    return page_of(found, size, _summary, lambda each: f"{each.created_at}_{each.id}")


@router.get("/instances/{id}", openapi_extra=needs("read:instances"))
async def shown(instance_id: Id, caller: Called, wait: Wait = None) -> dict[str, Any]:
    """Give a run with its inputs and its result."""
    from starlette.concurrency import run_in_threadpool

    executions = caller.services.executions
    found = await run_in_threadpool(executions.status, instance_id)
    if wait is not None and not found.ended:
        await _wait(caller, instance_id, wait)
        found = await run_in_threadpool(executions.status, instance_id)
    return {**found.as_json(), "key": found.key, "reason": found.reason}


@router.get("/instances/{id}/output", openapi_extra=needs("read:instances"))
def output(instance_id: Id, caller: Called) -> Any:
    """Give a run's result alone. 409 while it has none."""
    found = caller.services.executions.status(instance_id)
    if found.state is not InstanceState.COMPLETED:
        raise Refused(
            409, "conflict", f"the run is {found.state}: it has no output.", hint="Read the run itself."
        )
    return found.output


@router.get("/instances/{id}/tasks", openapi_extra=needs("read:tasks"))
def tasks(
    instance_id: Id,
    caller: Called,
    *,
    size: Size = 100,
    state: TaskState | None = None,
    under: Annotated[str | None, Query(description="Only inside this task.")] = None,
    after: Annotated[str, Query(description="`next` of the page before.")] = "",
) -> Page:
    """List a run's tasks in path order, each with what it got and what it gave."""
    found = caller.services.executions.tasks(instance_id, state=state, under=under, after=after)
    return page_of(found, size, lambda each: each.as_json(), lambda each: each.path)


@router.get("/instances/{id}/history", openapi_extra=needs("read:instances"))
def history(
    instance_id: Id, caller: Called, size: Size = 100, after: Annotated[int, Query(ge=0)] = 0
) -> Page:
    """List every transition of a run, in order."""
    found = caller.services.executions.history(_known(caller, instance_id), after=after, page_size=size + 1)
    return page_of(found, size, _transition, lambda each: str(each.seq))


@router.get("/instances/{id}/logs", openapi_extra=needs("read:logs"))
def logs(
    instance_id: Id,
    caller: Called,
    *,
    size: Size = 100,
    path: str | None = None,
    level: _LOG_LEVELS | None = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
) -> Page:
    """List what a run's tasks have logged, in order."""
    executions = caller.services.executions
    found = executions.logs(
        _known(caller, instance_id), path=path, level=level, search=search, after=after, page_size=size + 1
    )
    return page_of(found, size, _line, lambda each: str(each.seq))


@router.get("/instances/{id}/explain", openapi_extra=needs("read:instances"))
def explain(
    instance_id: Id, caller: Called, path: Annotated[str | None, Query(description="A task.")] = None
) -> dict[str, Any]:
    """Say why a run, or a task, is not running."""
    return caller.services.explainer.explain(instance_id, path).as_json()


# --- small parts


def _known(caller: Called, instance_id: str) -> str:
    """The id as it is; what no instance has is a 404. Raises NotFound."""
    return caller.services.executions.status(instance_id).id


def _labels(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Refused(422, "request", f"/query/label: {text!r} is not NAME=VALUE.")
        found[name] = value
    return found


def _cursor(text: str) -> tuple[int, str]:
    at, _, instance_id = text.partition("_")
    if not at.isdecimal() or not instance_id:
        raise Refused(422, "cursor", "`after` is not the `next` of a page.")
    return int(at), instance_id


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


def _line(each: LogEntry) -> dict[str, Any]:
    return {
        "seq": each.seq,
        "at": iso(each.at),
        "path": each.path,
        "attempt": each.attempt,
        "level": each.level,
        "message": each.message,
    }
