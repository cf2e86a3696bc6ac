"""The gate of WebSocket routes: the same keys, scopes and audit as over HTTP, and the page that asks is looked at.

A WebSocket route cannot be made without saying what it needs, and `require_guards` refuses an application that has
another kind of it. What is refused is refused before the handshake, as a problem.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ...services.access.scopes import Need
from ..rest.denying import deny
from ..rest.gate import GATE, Caller, Gate
from ..rest.origins import check_origin
from ..rest.problems import response_of
from .streams import STREAMS, Streams

__all__ = ["PROTOCOL", "Admitted", "GuardedWebSocketRoute", "require_guards"]

#: The subprotocol that is spoken.
PROTOCOL: Final = "strataflow.v1"
_BEARER: Final = "bearer."


class Admitted:
    """A WebSocket that may be accepted, whose it is, and the way to ask again whether its key is good."""

    def __init__(
        self, websocket: WebSocket, caller: Caller, recheck: Callable[[], Awaitable[object]]
    ) -> None:
        self.websocket = websocket
        self.caller = caller
        self.recheck = recheck

    async def accept(self) -> None:
        """Shake hands; a client that named subprotocols is told which one was taken."""
        offered = self.websocket.scope.get("subprotocols", [])
        await self.websocket.accept(PROTOCOL if PROTOCOL in offered else None)


Handler = Callable[[Admitted], Awaitable[None]]


class GuardedWebSocketRoute(WebSocketRoute):
    """A WebSocket route that says what it needs, `verb:resource`; without that it cannot be made."""

    def __init__(self, path: str, handler: Handler, *, need: str) -> None:
        if not need:
            raise TypeError(f"the route {path} does not say what it needs")
        super().__init__(
            path, _Guard(handler, Need(*need.split(":"))), name=getattr(handler, "__name__", path)
        )


class _Guard:
    """The ASGI application behind such a route."""

    def __init__(self, handler: Handler, need: Need) -> None:
        self.handler = handler
        self.need = need

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        try:
            streams: Streams = scope[STREAMS]
            check_origin(websocket, streams.limits.origins)
            gate: Gate = scope[GATE]
            connection = _with_token(websocket)
            caller = await gate.admit(connection, self.need)
            admitted = Admitted(websocket, caller, lambda: gate.recognise(connection))
            await self.handler(admitted)
        except Exception as exc:
            if websocket.application_state.name != "CONNECTING":
                raise
            await deny(scope, receive, send, response_of(websocket, exc))


def require_guards(routes: Iterable[BaseRoute]) -> None:
    """Raises TypeError for a WebSocket route that does not say what it needs."""
    for route in routes:
        if isinstance(route, WebSocketRoute) and not isinstance(route.endpoint, _Guard):
            raise TypeError(f"the WebSocket route {route.path} does not say what it needs")


def _with_token(websocket: WebSocket) -> HTTPConnection:
    """The connection as the gate reads it: a browser can give its token as the subprotocol `bearer.TOKEN` alone."""
    offered: list[str] = websocket.scope.get("subprotocols", [])
    tokens = [text[len(_BEARER) :] for text in offered if text.startswith(_BEARER)]
    if not tokens or "authorization" in websocket.headers:
        return websocket
    header = (b"authorization", f"Bearer {tokens[0]}".encode("latin-1", "replace"))
    return HTTPConnection({**websocket.scope, "headers": [*websocket.scope["headers"], header]})
