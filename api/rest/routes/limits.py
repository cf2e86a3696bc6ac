"""Limits: how many tasks run at a time, how fast they begin, and the numbers that people set."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from starlette.responses import Response

from ....services.limits import LimitView, checked_counter
from ..models import queues as models
from ..problems import Refused
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

__all__ = ["router"]

router: Final = router_of("limits")
Name = Annotated[
    str,
    Path(
        alias="name",
        description="`*`, `queue:…`, `executor:…`, `definition:…`, `node:…`, `group:…`, `pool:…`, `mutex:…`.",
        examples=["executor:http.request"],
    ),
]
Kind = Literal["queue", "executor", "definition", "node", "group", "pool", "mutex"]


@router.get("/limits", openapi_extra=needs("read:limits"))
def list_limits(
    caller: Called,
    kind: Annotated[Kind | None, Query(description="Only counters of this kind.")] = None,
    size: Size = 100,
    after: After = None,
) -> Page[models.Limit]:
    """List counters that people have set, or that tasks hold or wait for, by name."""
    place = place_of(after, str)
    found = caller.services.limits.list(kind=kind, after=place[0] if place else "", limit=size + 1)
    return page_of(found, size, lambda each: each.as_json(), lambda each: cursor_of(each.name))


@router.get(
    "/limits/{name:path}/numbers", openapi_extra=needs("read:limits"), response_model=models.LimitSettings
)
def get_limit_numbers(name: Name, caller: Called) -> Response:
    """Give what people have set for a counter; its `ETag` is what a change sends as `If-Match`."""
    return json_answer(_numbers(_limit(caller, name), name))


@router.get("/limits/{name:path}", openapi_extra=needs("read:limits"), response_model=models.Limit)
def get_limit(name: Name, caller: Called) -> dict[str, Any]:
    """Give one counter; one that nobody set and nothing uses holds nothing."""
    found = _limit(caller, name) or LimitView(name, 0, 0, None, None, None, None)
    return found.as_json()


@router.put(
    "/limits/{name:path}/numbers", openapi_extra=needs("operate:limits"), response_model=models.LimitSettings
)
def put_limit_numbers(
    name: Name, body: models.LimitNumbers, caller: Called, if_match: IfMatch = None
) -> Response:
    """Give a counter numbers: they count from the next task on, and override what definitions say."""
    require_match(if_match, lambda: _numbers(_limit(caller, name), name))
    found = caller.services.limits.set(name, **body.model_dump())
    return json_answer(_numbers(found, name))


@router.delete(
    "/limits/{name:path}/numbers", openapi_extra=needs("operate:limits"), response_model=models.LimitSettings
)
def delete_limit_numbers(name: Name, caller: Called, if_match: IfMatch = None) -> Response:
    """Take numbers back: what definitions say counts again. 404 when nobody has set any."""
    require_match(if_match, lambda: _numbers(_limit(caller, name), name))
    if not caller.services.limits.unset(name):
        raise Refused(404, "not_found", f"nobody has set numbers for {name!r}.")
    return json_answer(_numbers(None, name))


def _limit(caller: Called, name: str) -> LimitView | None:
    return caller.services.limits.get(checked_counter(name))


def _numbers(found: LimitView | None, name: str) -> models.LimitSettings:
    if found is None or found.set_by != "explicit":
        return models.LimitSettings(name=name, concurrency=None, rate=None, burst=None)
    return models.LimitSettings(name=name, concurrency=found.concurrency, rate=found.rate, burst=found.burst)
