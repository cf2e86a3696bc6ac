"""Queues: what stands in them, their settings, the order in which they are taken."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from ....services.queues import Entry, QueueView, entry_json
from ..models import queues as models
from ..models.common import Why
from ..routing import (
    After,
    Called,
    IfMatch,
    Page,
    Size,
    cursor_of,
    json_answer,
    needs,
    page_of,
    place_of,
    require_match,
    router_of,
)
from .selecting import why_of

__all__ = ["router"]

router: Final = router_of("queues")
Name = Annotated[str, Path(description="The queue's name.", examples=["mail"])]
_MOVED: Final[dict[str, Any]] = {"openapi_extra": needs("operate:queues"), "response_model": models.Moved}


# --- looking


@router.get("/queues", openapi_extra=needs("read:queues"))
def list_queues(caller: Called, size: Size = 100, after: After = None) -> Page[models.Queue]:
    """List queues that have a setting or a task, and `default`, by name."""
    place = place_of(after, str)
    found = [each for each in caller.services.queues.list() if place is None or each.name > place[0]]
    return page_of(found, size, lambda each: each.as_json(), lambda each: cursor_of(each.name))


@router.get("/queues/{name}", openapi_extra=needs("read:queues"), response_model=models.Queue)
def get_queue(name: Name, caller: Called) -> dict[str, Any]:
    """Give one queue; one that nobody ever used is empty."""
    return caller.services.queues.get(name).as_json()


@router.get("/queues/{name}/entries", openapi_extra=needs("read:queues"))
def list_queue_entries(
    name: Name,
    caller: Called,
    *,
    state: Annotated[
        Literal["ready", "blocked", "running", "delayed"], Query(description="Which entries.")
    ] = "ready",
    size: Size = 100,
    after: After = None,
) -> Page[models.Entry]:
    """List what stands in a queue: what is ready in the order in which it is taken."""
    found = caller.services.queues.entries(name, state=state, limit=size + 1, after=_place(after))
    return _page(found, size)


@router.get("/queues/{name}/statistics", openapi_extra=needs("read:statistics"))
def get_queue_statistics(name: Name, caller: Called) -> models.QueueStatistics:
    """Say what the tasks of a queue came to: how many, how long they took, how many ended lately."""
    caller.services.queues.get(name)  # says that this is no name
    found = caller.services.statistics.read(queue=name).as_json()
    figures = next((each for each in found["queues"] if each["queue"] == name), None)
    return models.QueueStatistics(since=found["since"], figures=figures, whole=found["whole"])


@router.get("/pending", openapi_extra=needs("read:queues"))
def list_pending(caller: Called, size: Size = 100, after: After = None) -> Page[models.Entry]:
    """List ready tasks of all queues, in the order in which they would be taken."""
    return _page(caller.services.queues.pending(limit=size + 1, after=_place(after)), size)


@router.get("/active", openapi_extra=needs("read:queues"))
def list_active(caller: Called, size: Size = 100, after: After = None) -> Page[models.Entry]:
    """List tasks that run now, of all queues."""
    return _page(caller.services.queues.active(size + 1, after=_place(after)), size)


@router.get("/delayed", openapi_extra=needs("read:queues"))
def list_delayed(caller: Called, size: Size = 100, after: After = None) -> Page[models.Entry]:
    """List tasks that are tried again later, and starts that wait for their time; what comes first first."""
    return _page(caller.services.queues.delayed(None, size + 1, after=_place(after)), size)


# --- settings


@router.get(
    "/queues/{name}/settings", openapi_extra=needs("read:queues"), response_model=models.QueueSettings
)
def get_queue_settings(name: Name, caller: Called) -> Response:
    """Give what is set for a queue; its `ETag` is what a change sends as `If-Match`."""
    return json_answer(_settings(caller.services.queues.get(name)))


@router.put(
    "/queues/{name}/settings", openapi_extra=needs("operate:queues"), response_model=models.QueueSettings
)
def put_queue_settings(
    name: Name, body: models.SettingsWish, caller: Called, if_match: IfMatch = None
) -> Response:
    """Set all of a queue's settings at once: paused or not, bound, mark."""
    queues = caller.services.queues
    require_match(if_match, lambda: _settings(queues.get(name)))
    queues.set_max_size(name, body.max_size)
    queues.set_mark(name, body.mark)
    if body.state == "paused":
        why = why_of(caller, body.reason, "paused")
        found = queues.get(name)
        if found.state != "paused" or (body.reason and found.reason != body.reason):
            queues.pause(name, why)
    else:
        queues.resume(name)
    return json_answer(_settings(queues.get(name)))


@router.delete(
    "/queues/{name}/settings", openapi_extra=needs("operate:queues"), response_model=models.QueueSettings
)
def delete_queue_settings(name: Name, caller: Called, if_match: IfMatch = None) -> Response:
    """Forget what was set for a queue: it is active, without a bound and a mark."""
    queues = caller.services.queues
    require_match(if_match, lambda: _settings(queues.get(name)))
    queues.unset(name)
    return json_answer(_settings(queues.get(name)))


@router.post("/queues/{name}/pause", openapi_extra=needs("operate:queues"), response_model=models.Queue)
def pause_queue(name: Name, body: Why, caller: Called) -> dict[str, Any]:
    """Take nothing of a queue; what runs goes on, starts are accepted and wait."""
    return caller.services.queues.pause(name, why_of(caller, body.reason, "paused")).as_json()


@router.post("/queues/{name}/resume", openapi_extra=needs("operate:queues"), response_model=models.Queue)
def resume_queue(name: Name, caller: Called) -> dict[str, Any]:
    """Let a queue be taken again."""
    return caller.services.queues.resume(name).as_json()


# --- order


@router.post("/queues/{name}/move", **_MOVED)
def move_queue_entry(name: Name, body: models.Move, caller: Called) -> dict[str, Any]:
    """Give an entry another place, the front if none is said."""
    return asdict(caller.services.queues.move(name, body.entry, body.position))


@router.post("/queues/{name}/reorder", **_MOVED)
def reorder_queue(name: Name, body: models.Reorder, caller: Called) -> dict[str, Any]:
    """Put entries at the front, in this order; the others follow as they stood."""
    return asdict(caller.services.queues.reorder(name, body.entries))


@router.post("/queues/{name}/remove", openapi_extra=needs("operate:queues"), response_model=models.Removed)
def remove_queue_entry(name: Name, body: models.Removal, caller: Called) -> dict[str, Any]:
    """Take an entry out: its run is cancelled. 409 for a run that has other tasks."""
    why = why_of(caller, body.reason, f"removed from queue {name}")
    return {"id": caller.services.queues.remove(name, body.entry, why)}


@router.post("/queues/{name}/purge", openapi_extra=needs("operate:queues"), response_model=models.Purged)
def purge_queue(name: Name, body: models.Purge, caller: Called) -> dict[str, Any]:
    """Cancel every run that is nothing but a task in this queue; tasks of larger runs stay and are counted."""
    why = why_of(caller, body.reason, f"queue {name} purged")
    return asdict(caller.services.queues.purge(name, include_delayed=body.include_delayed, reason=why))


# --- small parts


def _place(after: str | None) -> tuple[int, int, str, str] | None:
    place = place_of(after, int, int, UUID, str)
    return None if place is None else (place[0], place[1], place[2], place[3])


def _page(found: list[Entry], size: int) -> Page[Any]:
    return page_of(found, size, _entry, lambda each: cursor_of(*each.cursor))


def _entry(each: Entry) -> dict[str, Any]:
    listed = entry_json(each) | {"queue": each.queue or None}
    return {name: value for name, value in listed.items() if name != "position"}


def _settings(found: QueueView) -> models.QueueSettings:
    return models.QueueSettings(
        state=found.state, reason=found.reason, max_size=found.max_size, mark=found.mark
    )
