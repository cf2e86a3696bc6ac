"""The routes of live streams: events as server-sent events and as a WebSocket on one path, log lines of a run."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from ...engine.errors import Problem
from ...engine.feed import unknown_pattern
from ..rest.gate import GATE, Caller, Gate
from ..rest.problems import Refused
from ..rest.routing import Called, needs, router_of
from .guard import Admitted, GuardedWebSocketRoute
from .lines import LineReader
from .reader import EventReader, Reader, Wanted
from .sockets import pump_socket
from .sse import MEDIA_TYPE, EventStream, require_stream
from .streams import STREAMS, Streams

__all__ = ["router"]

router: Final = router_of("events")
_NEED: Final = "read:events"
_HIGHEST: Final = 2**63 - 1
_MOST_PATTERNS: Final = 50
_LONGEST: Final = 200
_KNOWN: Final = frozenset({"after", "instance", "queue", "name"})
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A stream without an end.", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}
}
After = Annotated[
    str | None,
    Query(description="The cursor seen last; 0: all that is kept. Default: from now on.", examples=["104"]),
]


@router.get(
    "/events/stream",
    openapi_extra=needs(_NEED),
    status_code=200,
    response_class=EventStream,
    responses=_STREAM,
)
async def stream_events(
    request: Request,
    caller: Called,
    *,
    after: After = None,
    instance: Annotated[str | None, Query(description="Only of this run.")] = None,
    queue: Annotated[str | None, Query(description="Only of this queue and of runs in it.")] = None,
    name: Annotated[list[str] | None, Query(description="Only what fits, such as task.*; repeat it.")] = None,
) -> Response:
    """Follow what happens, as server-sent events (`Accept: text/event-stream`) or, on the same path, a WebSocket.

    Each event has its cursor as `id`. A reader that comes back with the last one, as `Last-Event-ID` or `after`, sees
    every committed event behind it, once and in order.
    """
    require_stream(request.headers.get("accept", ""))
    wanted = _wanted(instance, queue, name or [])
    place = _place(request.headers.get("last-event-id") or after)
    return await _stream(request, caller, lambda streams: _events(streams, caller, wanted, place))


@router.get(
    "/instances/{id}/logs/stream",
    openapi_extra=needs("read:logs"),
    status_code=200,
    response_class=EventStream,
    responses=_STREAM,
)
async def stream_logs(
    instance_id: Annotated[str, Path(alias="id", description="An instance's id.")],
    request: Request,
    caller: Called,
    *,
    after: Annotated[
        str | None, Query(description="The `id` seen last. Default: from the first line.")
    ] = None,
    path: Annotated[str | None, Query(description="Only of this task.")] = None,
    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None,
        Query(description="This level or a more severe one."),
    ] = None,
) -> Response:
    """Follow the log lines of a run as server-sent events, until it has ended and all were given (`event: end`)."""
    require_stream(request.headers.get("accept", ""))
    place = _place(request.headers.get("last-event-id") or after) or 0

    def reader(streams: Streams) -> Reader:
        return LineReader(caller.services, streams.pool, instance_id, place, path=path, level=level)

    return await _stream(request, caller, reader)


async def follow_events(admitted: Admitted) -> None:
    """Follow what happens over a WebSocket."""
    query: QueryParams = admitted.websocket.query_params
    unknown = sorted(set(query) - _KNOWN)
    if unknown:
        detail = f"there is no parameter {unknown[0][:_LONGEST]!r}."
        raise Refused(422, "request", detail, hint=f"There are {', '.join(sorted(_KNOWN))}.")
    wanted = _wanted(query.get("instance"), query.get("queue"), query.getlist("name"))
    place = _place(query.get("after"))
    streams: Streams = admitted.websocket.scope[STREAMS]
    reader = _events(streams, admitted.caller, wanted, place)
    try:
        opened = await reader.open()
    except BaseException:
        reader.close()
        raise
    await pump_socket(admitted, streams, reader, opened, kind="event")


router.routes.append(GuardedWebSocketRoute("/events/stream", follow_events, need=_NEED))


async def _stream(request: Request, caller: Caller, make: Callable[[Streams], Reader]) -> Response:
    """Begin a stream; whatever is wrong is told as a problem before it begins."""
    streams: Streams = request.scope[STREAMS]
    gate: Gate = request.scope[GATE]
    streams.check_room(caller)
    reader = make(streams)
    try:
        opened = await reader.open()
    except BaseException:
        reader.close()
        raise
    return EventStream(streams, caller, reader, opened, lambda: gate.recognise(request))


def _events(streams: Streams, caller: Caller, wanted: Wanted, after: int | None) -> EventReader:
    return EventReader(streams.hub(caller.principal.namespace), wanted, after)


def _wanted(instance: str | None, queue: str | None, names: list[str]) -> Wanted:
    """The filter. Raises Refused for one that nothing could fit."""
    problems: list[Problem] = []
    if len(names) > _MOST_PATTERNS:
        problems.append(Problem("/query/name", "too_many", f"at most {_MOST_PATTERNS} patterns", ""))
    for number, pattern in enumerate(names[:_MOST_PATTERNS]):
        wrong = unknown_pattern(pattern) if len(pattern) <= _LONGEST else "a pattern is too long."
        if wrong is not None:
            problems.append(Problem(f"/query/name/{number}", "unknown_name", wrong, ""))
    known = _id_of(instance)
    if instance is not None and known is None:
        problems.append(Problem("/query/instance", "wrong_value", "this is no id of a run", ""))
    if problems:
        raise Refused(422, "request", "nothing could fit this filter.", errors=problems)
    return Wanted(tuple(names), known, queue)


def _id_of(text: str | None) -> str | None:
    try:
        return None if text is None else str(uuid.UUID(text))
    except ValueError:
        return None


def _place(text: str | None) -> int | None:
    """A cursor. Raises Refused."""
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > _HIGHEST:
        raise Refused(
            422, "cursor", "`after` is no cursor of an event.", hint="It is a number; 0 is the begin."
        )
    return int(text)
