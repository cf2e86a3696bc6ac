"""The process and what it serves: health, engines, executors, statistics, events."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ....engine.errors import DatabaseUnavailable
from ....engine.outputs import iso
from ....repositories import migrate
from ....services.monitoring import HealthReport
from ....services.namespaces import Namespaces
from ..gate import GATE, NAMESPACES, NEED, PUBLIC, Gate
from ..models import system as models
from ..routing import Called, Page, Size, needs, router_of

__all__ = ["router"]

router: Final = router_of("system")
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"model": models.Ready, "description": "It cannot do its work now."}
}


@router.get("/live", openapi_extra={NEED: PUBLIC}, response_model=models.Live)
def get_live() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/ready", openapi_extra={NEED: PUBLIC}, response_model=models.Ready, responses=_NOT_READY)
async def get_ready(request: Request) -> Response:
    """Say whether the process can do its work: its databases answer, its loops come round. 503 when not.

    Who calls with a key is told of its namespace's database and of each loop.
    """
    namespaces: Namespaces = request.scope[NAMESPACES]
    reports = await run_in_threadpool(lambda: {name: _report(namespaces, name) for name in namespaces.names})
    well = all(report is not None and report.ready for report in reports.values())
    found: dict[str, Any] = {"status": "ok" if well else "not ready"}
    report = reports.get(await _namespace(request))
    if report is not None:
        found |= {"reachable": report.reachable, "loops": report.loops, "stuck": list(report.stuck)}
    return JSONResponse(found, 200 if well else 503)


@router.get("/version", openapi_extra={NEED: PUBLIC}, response_model=models.Version)
def get_version() -> dict[str, str]:
    """Give the release and the schema that it needs."""
    return {"version": version("strataflow"), "schema": migrate.HEAD}


@router.get("/health", openapi_extra=needs("read:engines"), response_model=models.Health)
def get_health(caller: Called) -> dict[str, Any]:
    """Give the whole report: database, schema, each loop, connections, engines, open alerts."""
    return caller.services.monitoring.health().as_json()


@router.get("/openapi.json", openapi_extra={NEED: PUBLIC}, include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Give this interface as an OpenAPI document."""
    found: dict[str, Any] = request.app.openapi()
    return found


@router.get("/engines", openapi_extra=needs("read:engines"))
def list_engines(caller: Called) -> Page[models.Engine]:
    """List processes that write to this namespace, the live ones and those that ended lately."""
    return Page(items=[models.Engine(**asdict(each)) for each in caller.services.monitoring.engines()])


@router.get("/executors", openapi_extra=needs("read:executors"))
def list_executors(
    caller: Called,
    *,
    health: Annotated[bool, Query(description="Ask those of this process how they are.")] = False,
) -> Page[models.Executor]:
    """List what this process and live engines can run, with the schema of its configuration where it is known."""
    found = caller.services.monitoring.executors(health=health)
    return Page(items=[models.Executor(**asdict(each)) for each in found])


@router.get("/events", openapi_extra=needs("read:events"), response_model=models.Events)
def list_events(
    caller: Called,
    size: Size = 100,
    after: Annotated[int, Query(ge=0, description="The last event seen; 0 for all that is kept.")] = 0,
    name: Annotated[list[str] | None, Query(description="Patterns, such as task.*")] = None,
    instance: Annotated[str | None, Query(description="Only of this run.")] = None,
) -> dict[str, Any]:
    """List what happened, in order. `next` is always there: ask again with it for what comes.

    `lost` is not 0 when events behind `after`, up to that number, were deleted before they could be read.
    """
    page = caller.services.feed.read(after, names=name or (), instance_id=instance, limit=size)
    items = [{**event.as_dict(), "at": iso(event.at)} for event in page.events]
    return {"items": items, "next": str(page.cursor), "more": page.more, "lost": page.lost}


def _report(namespaces: Namespaces, name: str) -> HealthReport | None:
    return namespaces.services(name).monitoring.readiness() if namespaces.serves(name) else None


async def _namespace(request: Request) -> str:
    """The namespace of the caller's key; empty without one, and when nobody can tell."""
    if "authorization" not in request.headers:
        return ""
    gate: Gate = request.scope[GATE]
    try:
        return (await gate.recognise(request)).namespace
    except DatabaseUnavailable:
        return ""
