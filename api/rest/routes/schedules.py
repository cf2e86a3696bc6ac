"""Schedules: what starts by itself. Shown before it is saved, changed, paused, fired by hand, filled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Path, Query
from starlette.responses import Response

from ....engine.outputs import iso
from ....repositories.schedule_rows import ScheduleRow
from ....services.schedules import ScheduleSpec, firing_json, schedule_json
from ..models import schedules as models
from ..models.common import PROBLEM_MODEL, ProblemAnswer, Why
from ..routing import (
    After,
    Called,
    IfMatch,
    Page,
    Size,
    cursor_of,
    json_answer,
    located,
    needs,
    page_of,
    place_of,
    require_match,
    router_of,
)
from .selecting import why_of

__all__ = ["router"]

router: Final = router_of("schedules")
Name = Annotated[str, Path(description="The schedule's name.", examples=["nightly"])]
Count = Annotated[int, Query(ge=1, le=100, description="How many.")]
_READ: Final[dict[str, Any]] = {
    "openapi_extra": needs("read:schedules"),
    "response_model": models.Schedule,
}
_WRITE: Final[dict[str, Any]] = {
    "openapi_extra": needs("schedule:schedules"),
    "response_model": models.Schedule,
}


# --- looking


@router.get("/schedules", openapi_extra=needs("read:schedules"))
def list_schedules(caller: Called, size: Size = 100, after: After = None) -> Page[models.Schedule]:
    """List schedules, by name."""
    place = place_of(after, str)
    found = caller.services.schedules.page(after=place[0] if place else "", limit=size + 1)
    return page_of(found, size, schedule_json, lambda each: cursor_of(each.name))


@router.post("/schedules/preview", openapi_extra=needs("read:schedules"), response_model=models.Upcoming)
def preview_schedule(body: models.NewSchedule, caller: Called, count: Count = 10) -> dict[str, Any]:
    """Say when a schedule would fire; nothing is saved."""
    with located():
        return _instants(caller.services.schedules.preview(_spec(body.name, body), count))


@router.get("/schedules/{name}", **_READ)
def get_schedule(name: Name, caller: Called) -> Response:
    """Give one schedule; its `ETag` is what a change sends as `If-Match`."""
    return json_answer(_shown(caller.services.schedules.get(name)))


@router.get(
    "/schedules/{name}/upcoming", openapi_extra=needs("read:schedules"), response_model=models.Upcoming
)
def list_upcoming(name: Name, caller: Called, count: Count = 10) -> dict[str, Any]:
    """Say when a schedule fires next; a paused one does when it is resumed by then."""
    return _instants(caller.services.schedules.preview(name, count))


@router.get("/schedules/{name}/history", openapi_extra=needs("read:schedules"))
def list_firings(name: Name, caller: Called, size: Size = 100, after: After = None) -> Page[models.Firing]:
    """List what became of a schedule's instants, the newest first."""
    place = place_of(after, int)
    before = place[0] if place else None
    found = caller.services.schedules.history(name, limit=size + 1, before=before)
    return page_of(found, size, firing_json, lambda each: cursor_of(each.at))


# --- changing


@router.post("/schedules", status_code=201, **_WRITE)
def create_schedule(body: models.NewSchedule, caller: Called) -> Response:
    """Save a schedule; it fires from now on. 409 for a name that is taken."""
    with located():
        made = caller.services.schedules.create(_spec(body.name, body))
    return json_answer(_shown(made), 201, {"Location": f"schedules/{made.name}"})


@router.put("/schedules/{name}", **_WRITE)
def replace_schedule(
    name: Name, body: models.ScheduleWish, caller: Called, if_match: IfMatch = None
) -> Response:
    """Replace what a schedule says; it stays paused if it is, and what has fired stays fired."""
    with located():
        changed = caller.services.schedules.update(_spec(name, body), _matching(if_match))
    return json_answer(_shown(changed))


@router.delete(
    "/schedules/{name}",
    status_code=204,
    openapi_extra=needs("schedule:schedules"),
    response_class=ProblemAnswer,
    responses=PROBLEM_MODEL,
)
def delete_schedule(name: Name, caller: Called, if_match: IfMatch = None) -> Response:
    """Delete a schedule with its history; runs that it started stay."""
    caller.services.schedules.remove(name, _matching(if_match))
    return Response(status_code=204)


@router.post("/schedules/{name}/pause", **_WRITE)
def pause_schedule(name: Name, body: Why, caller: Called, if_match: IfMatch = None) -> Response:
    """Fire nothing until it is resumed."""
    why = why_of(caller, body.reason, "paused")
    return json_answer(_shown(caller.services.schedules.pause(name, why, _matching(if_match))))


@router.post("/schedules/{name}/resume", **_WRITE)
def resume_schedule(name: Name, caller: Called, if_match: IfMatch = None) -> Response:
    """Fire again, from now on; a backfill fires what passed meanwhile."""
    return json_answer(_shown(caller.services.schedules.resume(name, _matching(if_match))))


# --- firing by hand


@router.post(
    "/schedules/{name}/trigger", openapi_extra=needs("start:schedules"), response_model=models.Firing
)
def trigger_schedule(name: Name, body: models.Fire, caller: Called) -> dict[str, Any]:
    """Fire now, under the schedule's overlap policy unless forced."""
    return firing_json(caller.services.schedules.trigger(name, force=body.force))


@router.post("/schedules/{name}/backfill", openapi_extra=needs("start:schedules"))
def backfill_schedule(name: Name, body: models.Backfill, caller: Called) -> Page[models.Firing]:
    """Fire the instants of a range that have not fired; gives the first 500 of them, and `history` all."""
    with located():
        found = caller.services.schedules.backfill(name, body.start, body.end)
    return Page(items=[models.Firing(**firing_json(each)) for each in found[:500]], next=None)


# --- small parts


def _spec(name: str, body: models.ScheduleWish) -> ScheduleSpec:
    values: dict[str, Any] = body.model_dump()
    values["name"] = name
    return ScheduleSpec(**values)


def _shown(row: ScheduleRow) -> models.Schedule:
    return models.Schedule(**schedule_json(row))


def _matching(if_match: str | None) -> Callable[[ScheduleRow], None]:
    """Compare under the lock of the change: nobody can come between."""
    return lambda row: require_match(if_match, lambda: _shown(row))


def _instants(found: list[int]) -> dict[str, Any]:
    return {"instants": [iso(each) for each in found]}
