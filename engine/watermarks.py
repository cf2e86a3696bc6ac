"""Watermarks: tells when a queue holds too much, and when it is well again. A loop of every engine that executes."""

from __future__ import annotations

import logging
from typing import Final

from ..repositories import watermarks
from ..repositories.database import Database
from ..repositories.watermarks import Watermark

__all__ = ["Watermarks"]

log: Final = logging.getLogger("strataflow.watermarks")
#: A queue is well again at this share of its mark, in percent: one that hovers about it does not chatter.
_LOW: Final = 75


class Watermarks:
    """Looks at the queues that have a mark or a bound; each counts at most its mark."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run_once(self) -> float | None:
        """One look at each."""
        with self._database.read() as connection:
            marks = watermarks.watermarks(connection)
            depths = {mark.queue: watermarks.depth(connection, mark.queue, mark.high) for mark in marks}
        for mark in marks:
            self._judge(mark, depths[mark.queue])
        return None

    def _judge(self, mark: Watermark, depth: int) -> None:
        if mark.above_since is None and depth >= mark.high:
            if watermarks.cross(self._database, mark, depth, above=True):
                text = "queue %s holds %d tasks or more, its mark is %d"
                log.warning(text, mark.queue, depth, mark.high, extra={"action": "queue_high"})
        elif mark.above_since is not None and depth <= mark.high * _LOW // 100:
            watermarks.cross(self._database, mark, depth, above=False)
