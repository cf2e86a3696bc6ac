"""How a WebSocket is refused before its handshake: with an answer, where the server can give one."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["deny"]

#: How long the connection's end is waited for, and how often it is told of: once by the answer, once by the socket.
_END_S: Final = 0.5
_TOLD: Final = 2


async def deny(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Refuse a handshake with this answer, or close it where there can be none."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    await response(scope, receive, send)
    # uvicorn takes an application that returns before the connection is gone for one that forgot its handshake, and
    # logs an error for each: whoever has no key could fill the log
    try:
        async with asyncio.timeout(_END_S):
            ends = 0
            while ends < _TOLD:
                ends += (await receive())["type"] == "websocket.disconnect"
    except TimeoutError:
        return
