"""A stream as server-sent events: a response that goes on until the reader leaves or the stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..rest.gate import Caller
from ..rest.problems import Refused, problem_response
from .forms import Lines
from .pump import Ending, Pump
from .reader import Reader, Taken
from .streams import Streams

__all__ = ["MEDIA_TYPE", "EventStream", "require_stream"]

MEDIA_TYPE: Final = "text/event-stream"
#: Milliseconds after which a reader reconnects by itself.
_RETRY_MS: Final = 1_000
#: How long the last words may take; a reader that takes nothing does not hear them.
_LAST_WORDS_S: Final = 1.0


def require_stream(accept: str) -> None:
    """Only who asks for a stream gets one: any other client would read an answer without an end. Raises Refused."""
    if MEDIA_TYPE not in accept.lower():
        hint = f"Send `Accept: {MEDIA_TYPE}`, or open a WebSocket."
        raise Refused(406, "not_acceptable", "this is a stream, and has no end.", hint=hint)


class EventStream(Response):
    """Pumps a reader into the response."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        streams: Streams,
        caller: Caller,
        reader: Reader,
        opened: Taken,
        still: Callable[[], Awaitable[object]],
    ) -> None:
        self.status_code = 200
        self.background = None
        self._streams = streams
        self._caller = caller
        self._reader = reader
        self._opened = opened
        self._still = still
        self._form = Lines()
        self.init_headers({"X-Accel-Buffering": "no"})  # a proxy that gathers would hold events back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until one side is done."""

        async def put(text: str) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        pump = Pump(self._streams, self._reader, self._form, opened=self._opened, send=put, still=self._still)
        try:
            with self._streams.entered(self._caller):
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await put(f"retry: {_RETRY_MS}\n\n")
                ending = await _until_gone(pump, receive)
        except Refused as refused:  # the last place was taken while this one was being made
            await problem_response(HTTPConnection(scope), refused)(scope, receive, send)
            return
        finally:
            self._reader.close()
        if ending is None:
            return
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                if ending is not Ending.DONE:
                    await put(self._form.notice("error", {"code": ending.label, "detail": ending.detail}))
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return


async def _until_gone(pump: Pump, receive: Receive) -> Ending | None:
    """Run the pump; None when the reader has left."""
    pumping = asyncio.create_task(pump.run())
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return pumping.result() if pumping.done() else None
    finally:
        for task in (pumping, leaving):
            task.cancel()
        await asyncio.gather(pumping, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
