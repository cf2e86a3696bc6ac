"""Measures requests, and shows everything that is measured to Prometheus. Put in only where telemetry is on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .gate import NAMESPACES, Caller
from .routing import Called, needs, router_of

if TYPE_CHECKING:
    from ...engine.http_telemetry import HttpTelemetry
    from ...services.namespaces import Namespaces
    from ...services.telemetry import Telemetry

__all__ = ["TELEMETRY", "Measured", "router", "watch"]

#: What the application carries for the route below.
TELEMETRY: Final = "strataflow.telemetry"
_PREFIX: Final = "/api/v1"
router: Final = router_of("system")


def watch(app: FastAPI, telemetry: Telemetry) -> None:
    """Measure an application's requests; give it `GET /metrics` if there is something to show."""
    if telemetry.scrape is not None:
        app.include_router(router)
    if telemetry.http is not None:
        app.add_middleware(Measured, telemetry=telemetry, http=telemetry.http)


class Measured:
    """Stands in front of everything, walls included: what is refused there counts too."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, http: HttpTelemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure a request from its first line to the last byte of its answer."""
        scope[TELEMETRY] = self._telemetry
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what breaks off without an answer

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        request = self._http.begun(scope["method"], Headers(scope=scope), scope["path"])
        try:
            await self._app(scope, receive, noted)
        finally:
            self._http.ended(
                request,
                route=_route_of(scope),
                status=status,
                seconds=time.perf_counter() - began,
                namespace=_namespace_of(scope),
            )


def _route_of(scope: Scope) -> str | None:
    """The template of the path: paths themselves are as many as there are runs."""
    template: str | None = getattr(scope.get("route"), "path", None)
    if template is None or template.startswith(_PREFIX):
        return template
    path: str = scope["path"]
    own = path.removeprefix(scope.get("root_path", ""))
    inside = own.startswith(f"{_PREFIX}/")  # a route knows its own router's part alone
    return f"{_PREFIX}{template}" if inside else template


def _namespace_of(scope: Scope) -> str | None:
    """Whose request it is, where the process serves several."""
    caller: Caller | None = scope.get("strataflow.caller")
    namespaces: Namespaces | None = scope.get(NAMESPACES)
    several = namespaces is not None and len(namespaces.names) > 1
    return caller.principal.namespace if caller is not None and several else None


@router.get("/metrics", openapi_extra=needs("read:statistics"), response_class=Response)
def metrics(request: Request, caller: Called) -> Response:
    """Give the caller's namespace's metrics, and the process's, in the text format of Prometheus."""
    telemetry: Telemetry = request.scope[TELEMETRY]
    namespaces: Namespaces = request.scope[NAMESPACES]
    several = len(namespaces.names) > 1
    scrape = telemetry.scrape
    if scrape is None:  # the route is not there then
        return Response(status_code=404)
    body, kind = scrape(caller.principal.namespace if several else None)
    return Response(body, media_type=kind)
