"""ASGI walls in front of everything: bodies that are too large or too deep, strange hosts; an id for each request."""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .denying import deny
from .gate import new_request_id
from .problems import Refused, problem_response

__all__ = ["Walls"]

#: What every answer carries: nothing of it is a page, and nobody may frame, sniff or keep it.
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
#: A text, or one that never ends: every byte is looked at once, whatever is sent.
_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z|\\\Z)', re.DOTALL)
#: Brackets as steps: 1 and, as a signed byte, -1. Everything else goes.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))


class Walls:
    """Reads a body before anything parses it; refuses with 413, and with 400 for a host that is not expected.

    A WebSocket has no body, but a host, and an id too.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        carried: Mapping[str, Any],
        max_body: int,
        max_depth: int,
        hosts: frozenset[str],
        body_s: float = 60.0,
    ) -> None:
        self._app = app
        self._carried = dict(carried)
        self._max_body, self._max_depth = max_body, max_depth
        self._hosts = hosts
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at a request, and hand it on."""
        scope.update(self._carried)
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id

        async def tagged(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check_host(Headers(scope=scope))
            found = (
                receive
                if scope["type"] == "websocket"
                else _replayed(await self._body(scope, receive), receive)
            )
        except Refused as refused:
            await _refuse(scope, receive, tagged, refused)
            return
        await self._app(scope, found, tagged)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "").rsplit(":", 1)[0].strip("[]").lower()
        if self._hosts and host not in self._hosts:
            detail = f"this server does not answer for the host {host!r}."
            raise Refused(400, "host", detail, hint="Name it with --allow-host.")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        request = Request(scope, receive)
        if "content-length" in request.headers and "transfer-encoding" in request.headers:
            raise Refused(400, "headers", "a body has one length.", headers={"Connection": "close"})
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body:
            raise self._too_large()
        found = bytearray()
        try:
            async with asyncio.timeout(self._body_s):
                async for chunk in request.stream():
                    found += chunk
                    if len(found) > self._max_body:
                        raise self._too_large()
        except TimeoutError:
            detail = f"a body comes within {self._body_s:g} seconds."
            raise Refused(408, "too_slow", detail, headers={"Connection": "close"}) from None
        if _depth(found) > self._max_depth:
            detail = f"a body may have {self._max_depth} levels of lists and objects."
            raise Refused(413, "too_deep", detail)
        return bytes(found)

    def _too_large(self) -> Refused:
        return Refused(413, "too_large", f"a body may have {self._max_body} bytes.")


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    """Answer with a problem."""
    response = problem_response(HTTPConnection(scope), refused)
    if scope["type"] == "websocket":
        await deny(scope, receive, send, response)
    else:
        await response(scope, receive, send)


def _depth(body: bytes | bytearray) -> int:
    """How deep the brackets outside of texts go: counted without parsing, so that nothing can recurse."""
    steps = _TEXTS.sub(b"", bytes(body)).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(array("b", steps)), default=0)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read already, then whatever comes (the caller's leaving)."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
