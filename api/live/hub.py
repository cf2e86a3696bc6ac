"""One reader of the feed for all streams of a namespace: it looks for news, keeps the newest in memory, rings.

Every stream has a cursor of its own. At the end of the feed it takes from the hub's memory; one that lags reads the
database by its own cursor, and those that lag at the same place share what was read. So a hundred readers cost about
as much as one, and a slow one holds nobody up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from ...engine.feed import EventFeed, EventPage
from ...engine.loops import Loop
from ...engine.wakeup import Ears
from .tail import Sent, Stretch, Tail

__all__ = ["Bell", "Hub"]

#: Pauses of the one that looks: between two looks however much is said, and when nobody says anything.
_SHORTEST_S: Final = 0.02
_LONGEST_S: Final = 0.1
#: How long it goes on without a reader: the next one often comes soon.
_LINGER_S: Final = 5.0
_ASLEEP_S: Final = 3600.0
_PAGE: Final = 500


class Bell:
    """Rings for one stream, on the stream's event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Say that there is something; on its loop."""
        self._rung.set()

    def mute(self) -> None:
        """Forget what was said: whoever listens looks now."""
        self._rung.clear()

    async def heard(self, timeout_s: float) -> None:
        """Return when it rings, at the latest after so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return


class Hub:
    """Begins to look when the first stream joins; `stop` ends it. Safe in threads."""

    def __init__(
        self,
        name: str,
        feed: EventFeed,
        *,
        ears: Callable[[Callable[[], None]], Ears],
        ending: Callable[[], bool],
        pool: Executor,
    ) -> None:
        self._feed = feed
        self._is_ending = ending
        self._make_ears = ears
        self._pool = pool
        self._lock = threading.Lock()
        self._bells: set[Bell] = set()
        self._tail: Tail | None = None
        self._ears: Ears | None = None
        self._pause = _SHORTEST_S
        self._looked = self._left = 0.0
        self._loop = Loop(f"live-{name}", self._come_round, _ASLEEP_S)
        self._reading: dict[tuple[int, int], asyncio.Future[Stretch]] = {}

    # --- for streams

    def join(self, bell: Bell) -> None:
        """Ring this bell when there is news."""
        with self._lock:
            self._bells.add(bell)
        self._loop.start()
        self._loop.wake()

    def leave(self, bell: Bell) -> None:
        """Ring it no more."""
        with self._lock:
            self._bells.discard(bell)
            self._left = time.monotonic()

    def ring(self) -> None:
        """Ring every bell now."""
        with self._lock:
            loops = {bell.loop for bell in self._bells}
        for loop in loops:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._ring_on, loop)

    async def end(self) -> int:
        """Where the feed stands now. Raises DatabaseUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._feed.cursor)

    async def behind(self, cursor: int) -> Stretch:
        """What comes behind a cursor: from memory, else from the database. Raises DatabaseUnavailable."""
        tail = self._tail
        found = tail.behind(cursor, _PAGE) if tail is not None else None
        if found is not None:
            return found
        loop = asyncio.get_running_loop()
        key = (id(loop), cursor)
        reading = self._reading.get(key)
        if reading is None:
            reading = loop.run_in_executor(self._pool, self._read, cursor)
            self._reading[key] = reading
            reading.add_done_callback(lambda done: self._read_by(key, done))
        return await asyncio.shield(reading)

    def stop(self) -> None:
        """End the thread, and what listens."""
        self._loop.stop()
        self._deafen()

    def _ring_on(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            bells = [bell for bell in self._bells if bell.loop is loop]
        for bell in bells:
            bell.ring()

    def _read(self, cursor: int) -> Stretch:
        page = self._feed.read(cursor, limit=_PAGE)
        return Stretch([Sent(event) for event in page.events], page.cursor, page.more, page.lost)

    def _read_by(self, key: tuple[int, int], done: asyncio.Future[Stretch]) -> None:
        self._reading.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever waits is told; when nobody does any more, nobody needs to be

    # --- on the hub's thread

    def _come_round(self) -> float:
        if not self._bells:
            return self._rest()
        if self._is_ending():
            self.ring()
            return _LONGEST_S
        if self._ears is None:
            self._ears = self._make_ears(self._loop.wake)
            self._ears.start()
        early = self._looked + _SHORTEST_S - time.monotonic()
        if early > 0:  # much is said: one look answers all of it
            time.sleep(early)
        self._looked = time.monotonic()
        tail = self._tail
        if tail is None:
            end = self._feed.cursor()
            tail = self._tail = Tail(end, end)
            self.ring()
        page = self._feed.read(tail.end, limit=_PAGE)
        if page.cursor > tail.end:
            self._tail = self._grown(tail, page)
            self.ring()
            self._pause = _SHORTEST_S
        else:
            self._pause = min(_LONGEST_S, self._pause * 2)
        return 0.0 if page.more else self._pause

    @staticmethod
    def _grown(tail: Tail, page: EventPage) -> Tail:
        if page.lost:  # the memory has a hole: who stands before it asks the database, and is told
            return Tail(page.cursor, page.cursor)
        return tail.plus([Sent(event) for event in page.events], page.cursor)

    def _rest(self) -> float:
        left = self._left + _LINGER_S - time.monotonic()
        if left > 0:
            return left
        self._deafen()
        self._tail = None
        return _ASLEEP_S

    def _deafen(self) -> None:
        ears, self._ears = self._ears, None
        if ears is not None:
            ears.stop()
