"""Triggers: which definition an event starts; and emitting events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Path
from starlette.responses import Response

from ....repositories.schedule_rows import TriggerRow
from ....services.triggers import TriggerSpec, trigger_json
from ..models import schedules as models
from ..models.common import PROBLEM_MODEL, ProblemAnswer
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

__all__ = ["router"]

router: Final = router_of("triggers")
Name = Annotated[str, Path(description="The trigger's name.", examples=["big-orders"])]
_WRITE: Final[dict[str, Any]] = {
    "openapi_extra": needs("schedule:triggers"),
    "response_model": models.Trigger,
}


@router.get("/triggers", openapi_extra=needs("read:triggers"))
def list_triggers(caller: Called, size: Size = 100, after: After = None) -> Page[models.Trigger]:
    """List triggers, by name."""
    place = place_of(after, str)
    rows = sorted(caller.services.triggers.list(), key=lambda each: each.name)
    found = [each for each in rows if place is None or each.name > place[0]]
    return page_of(found, size, trigger_json, lambda each: cursor_of(each.name))


@router.get("/triggers/{name}", openapi_extra=needs("read:triggers"), response_model=models.Trigger)
def get_trigger(name: Name, caller: Called) -> Response:
    """Give one trigger; its `ETag` is what a change sends as `If-Match`."""
    return json_answer(_shown(caller.services.triggers.get(name)))


@router.post("/triggers", status_code=201, **_WRITE)
def create_trigger(body: models.NewTrigger, caller: Called) -> Response:
    """Start a definition whenever an event of a matching name is emitted. 409 for a name that is taken."""
    with located():
        made = caller.services.triggers.create(_spec(body.name, body))
    return json_answer(_shown(made), 201, {"Location": f"triggers/{made.name}"})


@router.put("/triggers/{name}", **_WRITE)
def replace_trigger(
    name: Name, body: models.TriggerWish, caller: Called, if_match: IfMatch = None
) -> Response:
    """Replace what a trigger says; it stays paused if it is."""
    with located():
        changed = caller.services.triggers.update(_spec(name, body), _matching(if_match))
    return json_answer(_shown(changed))


@router.delete(
    "/triggers/{name}",
    status_code=204,
    openapi_extra=needs("schedule:triggers"),
    response_class=ProblemAnswer,
    responses=PROBLEM_MODEL,
)
def delete_trigger(name: Name, caller: Called, if_match: IfMatch = None) -> Response:
    """Delete a trigger; runs that it started stay."""
    caller.services.triggers.remove(name, _matching(if_match))
    return Response(status_code=204)


@router.post("/triggers/{name}/pause", **_WRITE)
def pause_trigger(name: Name, caller: Called, if_match: IfMatch = None) -> Response:
    """Let events pass until it is resumed."""
    return json_answer(_shown(caller.services.triggers.pause(name, _matching(if_match))))


@router.post("/triggers/{name}/resume", **_WRITE)
def resume_trigger(name: Name, caller: Called, if_match: IfMatch = None) -> Response:
    """Take events again."""
    return json_answer(_shown(caller.services.triggers.resume(name, _matching(if_match))))


@router.post("/events", openapi_extra=needs("start:events"), response_model=models.Emitting)
def emit_event(body: models.Event, caller: Called) -> dict[str, Any]:
    """Tell an event: every trigger that matches starts its definition. The same id again starts nothing again."""
    with located(inputs="/body/payload"):
        found = caller.services.triggers.emit(body.name, body.payload, event_id=body.id or caller.new_id)
    items = [
        {
            "trigger": each.trigger,
            "status": each.status,
            "instance": each.instance_id,
            "problem": each.problem,
        }
        for each in found
    ]
    return {"items": items}


def _spec(name: str, body: models.TriggerWish) -> TriggerSpec:
    values: dict[str, Any] = body.model_dump()
    values["name"] = name
    return TriggerSpec(**values)


def _shown(row: TriggerRow) -> models.Trigger:
    return models.Trigger(**trigger_json(row))


def _matching(if_match: str | None) -> Callable[[TriggerRow], None]:
    """Compare under the lock of the change: nobody can come between."""
    return lambda row: require_match(if_match, lambda: _shown(row))
