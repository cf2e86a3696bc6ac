"""The course of an attempt's progress: which reports are remembered, as log lines of a level of their own.

A line is written when the fraction moved by a hundredth or the message changed, so that what can be seen outside and
what stands in the history differ by no more than that. Who reports very often is remembered twice a second.
"""

from __future__ import annotations

import json
import time
from typing import Final

from ..repositories.feed import PROGRESS_LEVEL

__all__ = ["PROGRESS_LEVEL", "Course"]

_STEP: Final = 0.01
#: So many changes are all remembered, later ones at most every half second, and of one attempt no more than _MOST.
_FIRST: Final = 200
_PAUSE_S: Final = 0.5
#: Of the first attempt, of attempt n an nth: a task that is tried for ever must not fill the database.
_MOST: Final = 2_000
_LEAST: Final = 4
_LONGEST_MESSAGE: Final = 500


class Course:
    """What one attempt has said of its progress so far. One thread at a time."""

    def __init__(self, attempt: int) -> None:
        self._last: tuple[float, str | None] | None = None
        self._most = max(_LEAST, _MOST // max(1, attempt))
        self._count = 0
        self._at = 0.0

    def line(self, fraction: float, message: str | None) -> str | None:
        """The line by which a report is remembered; None when it is not."""
        last = self._last
        arrives = fraction == 1.0 and (last is None or last[0] != 1.0)
        if not arrives and last is not None and message == last[1] and abs(fraction - last[0]) < _STEP:
            return None
        self._last = (fraction, message)
        at = time.monotonic()
        often = self._count >= min(_FIRST, self._most // 2) and at - self._at < _PAUSE_S
        if self._count >= self._most or (often and not arrives):
            return None
        self._count, self._at = self._count + 1, at
        return json.dumps([fraction, None if message is None else message[:_LONGEST_MESSAGE]])
