"""The process and what it serves: health, engines, executors, statistics, events."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import Query, Request
from starlette.responses import JSONResponse

from ....engine.outputs import iso
from ....engine.translate import engine_errors
from ....repositories import migrate, views
from ....services.namespaces import Namespaces
from ..gate import NAMESPACES, NEED, PUBLIC
from ..routing import Called, Page, Size, needs, router_of

__all__ = ["router"]

router: Final = router_of("system")
#: A loop that has not come round for so long is not well.
_STUCK_S: Final = 60.0


@router.get("/live", openapi_extra={NEED: PUBLIC})
def live() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/ready", openapi_extra={NEED: PUBLIC})
def ready(request: Request) -> JSONResponse:
    """Say whether the process can do its work: its databases answer, its loops come round. 503 when not."""
    namespaces: Namespaces = request.scope[NAMESPACES]
    well = all(_is_well(namespaces, name) for name in namespaces.names)
    return JSONResponse({"status": "ok" if well else "not ready"}, 200 if well else 503)


@router.get("/version", openapi_extra={NEED: PUBLIC})
def versions() -> dict[str, str]:
    """Give the release and the schema that it needs."""
    return {"version": version("strataflow"), "schema": migrate.HEAD}


@router.get("/openapi.json", openapi_extra={NEED: PUBLIC}, include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Give this interface as an OpenAPI document."""
    found: dict[str, Any] = request.app.openapi()
    return found


@router.get("/engines", openapi_extra=needs("read:engines"))
def engines(caller: Called) -> Page:
    """List processes that write to this namespace, the live ones and those that ended lately."""
    with engine_errors(), caller.services.database.read() as connection:
        found = views.engines(connection)
    return Page(items=[_engine(each) for each in found])


@router.get("/executors", openapi_extra=needs("read:executors"))
def executors(caller: Called) -> Page:
    """List what this process and live engines can run, with the schema of its configuration where it is known."""
    with engine_errors(), caller.services.database.read() as connection:
        alive = views.engines(connection, alive_only=True)
    known = {each.name: each for each in caller.services.registry.list_executors()}
    registry = caller.services.registry
    names = sorted(known.keys() | {name for engine in alive for name in engine.executors})
    return Page(
        items=[
            {
                "name": name,
                "description": known[name].description if name in known else None,
                "config_schema": registry.config_schema(name) if name in known else None,
                "engines": sum(1 for engine in alive if name in engine.executors),
            }
            for name in names
        ]
    )


@router.get("/statistics", openapi_extra=needs("read:statistics"))
def statistics(caller: Called, queue: str | None = None) -> dict[str, Any]:
    """Count what tasks came to, per queue and in all."""
    return caller.services.statistics.read(queue=queue).as_json()


@router.get("/events", openapi_extra=needs("read:events"))
def events(
    caller: Called,
    size: Size = 100,
    after: Annotated[int, Query(ge=0, description="The last event seen; 0 for all that is kept.")] = 0,
    name: Annotated[list[str] | None, Query(description="Patterns, such as task.*")] = None,
    instance: Annotated[str | None, Query(description="Only of this run.")] = None,
) -> dict[str, Any]:
    """List what happened, in order. `next` is always there: ask again with it for what comes."""
    page = caller.services.feed.read(after, names=name or (), instance_id=instance, limit=size)
    items = [{**event.as_dict(), "at": iso(event.at)} for event in page.events]
    return {"items": items, "next": str(page.cursor), "more": page.more}


def _engine(each: Any) -> dict[str, Any]:
    return {
        **asdict(each),
        "lease_until": iso(each.lease_until),
        "started_at": iso(each.started_at),
        "ended_at": iso(each.ended_at),
    }


def _is_well(namespaces: Namespaces, name: str) -> bool:
    if not namespaces.serves(name):
        return False
    services = namespaces.services(name)
    with engine_errors(), services.database.read() as connection:
        views.now(connection)
    engine = services.engine
    return engine is None or all(age < _STUCK_S for age in engine.parts.loop_ages().values())
