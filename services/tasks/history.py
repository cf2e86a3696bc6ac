"""The course of a task's progress, kept as log lines of a level of their own beside the newest progress.

A line is written when the fraction moved by a hundredth or the message changed, and with the progress itself, so that
what can be seen outside and what stands in the history never differ by more than that. Who reports very often is
remembered twice a second: an attempt may log only so much, and the handler's own lines must find room.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, cast

from .values import ProgressNote

if TYPE_CHECKING:
    from ...executors.base import TaskContext
    from ...repositories.readmodels import LogEntry

__all__ = ["LEVEL", "note_of", "remembering"]

#: Level of the log lines; no list of levels has it, so that it is shown only to who asks for it.
LEVEL: Final = "progress"
_STEP: Final = 0.01
#: So many changes are all remembered, later ones at most every half second, and of one attempt no more than _MOST.
_FIRST: Final = 200
_PAUSE_S: Final = 0.5
#: A fifth of the lines that an attempt may log, which are fewer for later attempts.
_MOST: Final = 2_000
_LEAST: Final = 4
_LONGEST_MESSAGE: Final = 500


class _Remembering:
    """A context whose progress has a history; everything else is the context's own."""

    def __init__(self, ctx: TaskContext) -> None:
        self._ctx = ctx
        self._last: tuple[float, str | None] | None = None
        self._most = max(_LEAST, _MOST // max(1, ctx.attempt))
        self._count = 0
        self._at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    def progress(self, fraction: float, message: str | None = None) -> None:
        """As the context's, and remembered."""
        now = min(1.0, max(0.0, float(fraction)))
        last = self._last
        arrives = now == 1.0 and (last is None or last[0] != 1.0)
        if arrives or last is None or message != last[1] or abs(now - last[0]) >= _STEP:
            self._last = (now, message)
            self._remember(now, message, always=arrives)
        self._ctx.progress(now, message)

    def _remember(self, fraction: float, message: str | None, *, always: bool) -> None:
        at = time.monotonic()
        often = self._count >= min(_FIRST, self._most // 2) and at - self._at < _PAUSE_S
        if self._count >= self._most or (often and not always):
            return
        self._count, self._at = self._count + 1, at
        text = None if message is None else str(message)[:_LONGEST_MESSAGE]
        self._ctx.log(json.dumps([fraction, text]), LEVEL)


def remembering(ctx: TaskContext) -> TaskContext:
    """The context that a handler is given."""
    return cast("TaskContext", _Remembering(ctx))


def note_of(line: LogEntry) -> ProgressNote:
    """One line of the history."""
    fraction, message = json.loads(line.message)
    return ProgressNote(float(fraction), message, line.attempt, line.at)
