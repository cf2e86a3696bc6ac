"""The application: `create_app` puts routes, gate and walls together around the namespaces it is given."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...services.namespaces import Namespaces
from ...services.telemetry import Telemetry
from ..graphql.limits import LIMITS, GraphQLLimits
from ..live.guard import require_guards
from ..live.settings import StreamLimits
from ..live.streams import STREAMS, Streams
from .gate import GATE, NAMESPACES, Gate
from .limits import Walls
from .metrics import watch
from .problems import response_of
from .rates import Rates
from .routes import ROUTERS, adhoc

__all__ = ["PREFIX", "ServerLimits", "create_app"]

PREFIX: Final = "/api/v1"
_ABOUT: Final = """Start, watch and operate durable workflows.

Every call needs an API key (`Authorization: Bearer TOKEN`) with the scope that its entry names under `x-scope`.
Errors are problem details (RFC 9457). Lists are pages: `limit` and `after`, and the answer's `next`. Writes take an
`Idempotency-Key`; reads give an `ETag`.
"""


@dataclass(slots=True, frozen=True)
class ServerLimits:
    """What one caller may ask of a server."""

    #: Bytes of a body.
    max_body: int = 4 * 1024 * 1024
    #: Levels of lists and objects in a body.
    max_depth: int = 64
    #: Seconds until a body has come as a whole.
    body_s: float = 60.0
    #: Requests per second of one key, and at once; 0 per second is no limit.
    rate: float = 200.0
    burst: int = 400
    #: Live streams: heartbeats, slow readers, how many.
    streams: StreamLimits = field(default_factory=StreamLimits)
    #: GraphQL documents: size, depth, cost, time.
    graphql: GraphQLLimits = field(default_factory=GraphQLLimits)


def create_app(
    namespaces: Namespaces,
    *,
    authenticate: bool = True,
    limits: ServerLimits | None = None,
    hosts: frozenset[str] = frozenset(),
    telemetry: Telemetry | None = None,
) -> FastAPI:
    """Make the application; unless they are open, it opens the namespaces when it starts, and closes them at its end.

    Without `authenticate` everybody may do everything: for one's own machine alone. `hosts` are the names that requests
    may be sent to; empty is any. `app.state.streams.stop()` lets live streams end before the server waits for them.
    """
    walls = limits if limits is not None else ServerLimits()
    streams = Streams(namespaces, walls.streams)
    app = FastAPI(
        title="Strataflow",
        version=version("strataflow"),
        description=_ABOUT,
        lifespan=lambda _: _life(namespaces, streams),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    gate = Gate(
        namespaces,
        authenticate=authenticate,
        rates=Rates(walls.rate, walls.burst),
        origins=walls.streams.origins,
    )
    app.state.streams = streams
    for router in ROUTERS:
        require_guards(router.routes)
        app.include_router(router, prefix=PREFIX)
    app.include_router(adhoc.root)
    app.add_exception_handler(HTTPException, _told)
    app.add_middleware(
        Walls,
        carried={GATE: gate, NAMESPACES: namespaces, STREAMS: streams, LIMITS: walls.graphql},
        max_body=walls.max_body,
        max_depth=walls.max_depth,
        body_s=walls.body_s,
        hosts=hosts,
    )
    if telemetry is not None:
        watch(app, telemetry)
    return app


@asynccontextmanager
async def _life(namespaces: Namespaces, streams: Streams) -> AsyncGenerator[None]:
    opens = not namespaces.is_open  # whoever opened them closes them
    if opens:
        await run_in_threadpool(namespaces.__enter__)
    streams.start()
    try:
        yield
    finally:
        await run_in_threadpool(streams.close)
        if opens:
            await run_in_threadpool(namespaces.__exit__, None, None, None)


async def _told(request: Request, exc: Exception) -> Response:
    return response_of(request, exc)
