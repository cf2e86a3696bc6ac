"""What every stream does: give what there is, beat, see that the key is still good, let a reader go that takes nothing.

A reader is never waited for with anything in hand: what it has not taken is read again, later, by its cursor.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Final

from ...engine.errors import EngineError
from ..rest.problems import Refused
from .forms import Form
from .reader import Reader, Taken
from .streams import Streams

__all__ = ["Ending", "Pump"]

log: Final = logging.getLogger("strataflow.live")
#: Pause after a read that failed: the database is away.
_AWAY_S: Final = 0.5


class Ending(Enum):
    """Why a stream ends: a WebSocket's close code, a name, and what is said of it."""

    DONE = 1000, "done", "nothing will come any more"
    RESTART = 1012, "restart", "this server stops; go on with your cursor at another one"
    NOT_TEXT = 1003, "not_text", "only text messages are understood"
    BAD_MESSAGE = 1008, "bad_message", 'the only message is {"type": "ping"}'
    TOO_LARGE = 1009, "too_large", "a message is too long"
    BROKEN = 1011, "internal", "this is a defect; the server's log has its details"
    SLOW = 4008, "slow", "nothing was taken for too long; go on with your cursor"
    TOO_MANY = 4029, "too_many_streams", "there are too many open streams"
    UNAUTHENTICATED = 4401, "unauthenticated", "the key is not good any more"

    @property
    def code(self) -> int:
        """The close code."""
        return self.value[0]

    @property
    def label(self) -> str:
        """Its name, for programs."""
        return self.value[1]

    @property
    def detail(self) -> str:
        """For people."""
        return self.value[2]


class _NotTakenError(Exception):
    """The reader took nothing for too long."""


class Pump:
    """Moves what a reader has to whoever takes it, until one of them is done."""

    def __init__(
        self,
        streams: Streams,
        reader: Reader,
        form: Form,
        *,
        opened: Taken,
        send: Callable[[str], Awaitable[None]],
        still: Callable[[], Awaitable[object]],
    ) -> None:
        self._streams = streams
        self._limits = streams.limits
        self._reader = reader
        self._form = form
        self._opened = opened
        self._send = send
        self._still = still

    async def run(self) -> Ending:
        """Give, and beat. Ends by itself when the server stops, the key is over, or nothing is taken."""
        try:
            return await self._run()
        except _NotTakenError:
            return Ending.SLOW
        finally:
            self._reader.close()

    async def _run(self) -> Ending:
        await self._tell("begin", {"cursor": self._reader.cursor})
        await self._give(self._opened)
        beat = time.monotonic() + self._limits.heartbeat_s
        while not self._streams.stopping:
            taken = await self._asked(self._reader.take)
            if taken is not None:
                await self._give(taken)
                if taken.end is not None:
                    await self._tell("end", taken.end)
                    return Ending.DONE
            if time.monotonic() >= beat:
                if not await self._may_go_on():
                    return Ending.UNAUTHENTICATED
                await self._put(self._form.heartbeat(self._reader.cursor))
                beat = time.monotonic() + self._limits.heartbeat_s
            if taken is not None and taken.more:
                await asyncio.sleep(0)
            else:
                await self._reader.wait(max(0.0, beat - time.monotonic()))
        return Ending.RESTART

    async def _give(self, taken: Taken) -> None:
        for kind, body in taken.notices:
            await self._tell(kind, body)
        for item in taken.items:
            await self._put(self._form.item(item))

    async def _tell(self, kind: str, body: Mapping[str, Any]) -> None:
        await self._put(self._form.notice(kind, body))

    async def _put(self, text: str) -> None:
        """Hand over a text; what the transport still holds of others is waited for. Raises _NotTakenError."""
        try:
            async with asyncio.timeout(self._limits.stall_s):
                await self._send(text)
        except TimeoutError as exc:
            raise _NotTakenError from exc

    async def _asked(self, ask: Callable[[], Awaitable[Taken]]) -> Taken | None:
        """Ask the reader; None when the database is away: the stream stays, and asks again."""
        try:
            return await ask()
        except EngineError as exc:
            log.warning("a stream cannot read: %s", exc, extra={"action": "stream_waits"})
            await asyncio.sleep(_AWAY_S)
            return None

    async def _may_go_on(self) -> bool:
        try:
            await self._still()
        except Refused:
            return False
        except EngineError:
            return True  # the database is away: nothing is read meanwhile, and the key is asked for again
        return True
