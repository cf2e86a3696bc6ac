"""A stream as a WebSocket: messages go out; a client may send `{"type": "ping"}` and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from ..rest.problems import Refused
from ..rest.rates import Rates
from .forms import Messages
from .guard import Admitted
from .pump import Ending, Pump
from .reader import Reader, Taken
from .settings import StreamLimits
from .streams import Streams

__all__ = ["pump_socket"]

log: Final = logging.getLogger("strataflow.live")
#: How long a close frame may wait behind what was not taken yet.
_LAST_WORDS_S: Final = 5.0
#: Without a cursor: it may overtake events that have been read and not sent.
_PONG: Final = '{"type":"pong"}'


async def pump_socket(
    admitted: Admitted, streams: Streams, reader: Reader, opened: Taken, *, kind: str
) -> None:
    """Shake hands, and stream until one side is done."""
    websocket = admitted.websocket
    try:
        await admitted.accept()
        try:
            with streams.entered(admitted.caller):
                ending = await _converse(admitted, streams, reader, opened, kind)
        except Refused as refused:
            ending = Ending.RESTART if refused.status == 503 else Ending.TOO_MANY
        if ending is not None:
            await _close(websocket, ending)
    except (WebSocketDisconnect, WebSocketDisconnected):
        return
    finally:
        reader.close()


async def _converse(
    admitted: Admitted, streams: Streams, reader: Reader, opened: Taken, kind: str
) -> Ending | None:
    """Give and listen; None when the client has left."""
    websocket = admitted.websocket
    form = Messages(kind)
    pump = Pump(streams, reader, form, opened=opened, send=websocket.send_text, still=admitted.recheck)
    pumping = asyncio.create_task(pump.run())
    listening = asyncio.create_task(_listen(websocket, streams.limits))
    tasks: set[asyncio.Task[Ending | None]] = {pumping, listening}  # pyright: ignore[reportAssignmentType] - a pump always gives one
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return _first(done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _first(done: set[asyncio.Task[Ending | None]]) -> Ending | None:
    task = done.pop()
    try:
        return task.result()
    except (WebSocketDisconnect, WebSocketDisconnected):
        return None
    except Exception:
        log.exception("a stream failed", extra={"action": "stream_failed"})
        return Ending.BROKEN


async def _listen(websocket: WebSocket, limits: StreamLimits) -> Ending | None:
    """Take what the client sends, until it leaves or says what it may not."""
    rates = Rates(limits.messages_per_s, max(1, round(2 * limits.messages_per_s)))
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        try:
            rates.spend("")
        except Refused:
            return Ending.BAD_MESSAGE
        wrong = _wrong_with(message, limits)
        if wrong is not None:
            return wrong
        try:
            async with asyncio.timeout(limits.stall_s):
                await websocket.send_text(_PONG)
        except TimeoutError:
            return Ending.SLOW


def _wrong_with(message: Message, limits: StreamLimits) -> Ending | None:
    text: str | None = message.get("text")
    if text is None:
        return Ending.NOT_TEXT
    if len(text) > limits.max_message:
        return Ending.TOO_LARGE
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return Ending.BAD_MESSAGE
    return None if found == {"type": "ping"} else Ending.BAD_MESSAGE


async def _close(websocket: WebSocket, ending: Ending) -> None:
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await websocket.close(ending.code, ending.label)
    except (TimeoutError, RuntimeError):  # it takes nothing, or has left meanwhile
        return
