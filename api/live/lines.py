"""The log lines of one run as a stream: they are not in the feed, so each such stream looks for its own."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Executor
from typing import Any, Final

from ...engine.feed import EventFeed
from ...engine.outputs import iso
from ...repositories.readmodels import LogEntry
from ...repositories.records import TERMINAL_INSTANCE_STATES
from ...services.container import Services
from .reader import Taken
from .tail import Item

__all__ = ["LineReader"]

#: Pauses between two looks: after news, and at most.
_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 1.0
_PAGE: Final = 500


class LineReader:
    """Reads lines until the run has ended and all of them were given."""

    def __init__(
        self,
        services: Services,
        pool: Executor,
        instance_id: str,
        after: int,
        *,
        path: str | None = None,
        level: str | None = None,
    ) -> None:
        self._services = services
        self._feed: EventFeed = services.feed
        self._pool = pool
        self._instance_id = instance_id
        self._cursor = after
        self._path, self._level = path, level
        self._pause = _SHORTEST_S

    @property
    def cursor(self) -> int:
        """Where it stands."""
        return self._cursor

    async def open(self) -> Taken:
        """Nothing has to be told before the first line. Raises NotFound."""
        executions = self._services.executions
        await asyncio.get_running_loop().run_in_executor(self._pool, executions.known, self._instance_id)
        return Taken()

    async def take(self) -> Taken:
        """What there is now."""
        taken, self._cursor = await asyncio.get_running_loop().run_in_executor(self._pool, self._read)
        self._pause = _SHORTEST_S if taken.items else min(_LONGEST_S, self._pause * 2)
        return taken

    async def wait(self, timeout_s: float) -> None:
        """A breath."""
        await asyncio.sleep(min(timeout_s, self._pause))

    def close(self) -> None:
        """Nothing is held."""

    def _read(self) -> tuple[Taken, int]:
        page = self._feed.lines(
            self._instance_id, self._cursor, path=self._path, level=self._level, limit=_PAGE
        )
        end: dict[str, Any] | None = None
        if not page.more and (page.state is None or page.state in TERMINAL_INSTANCE_STATES):
            end = {"cursor": page.cursor, "state": None if page.state is None else page.state.value}
        return Taken([_item(line) for line in page.lines], more=page.more, end=end), page.cursor


def _item(line: LogEntry) -> Item:
    found = {
        "seq": line.seq,
        "at": iso(line.at),
        "path": line.path,
        "attempt": line.attempt,
        "level": line.level,
        "message": line.message,
    }
    return Item(line.seq, json.dumps(found, separators=(",", ":")))
