"""The course of a task's progress, kept as log lines of a level of their own beside the newest progress.

A line is written when the fraction moved by a hundredth or the message changed, and with the progress itself, so that
what can be seen outside and what stands in the history never differ by more than that.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from .values import ProgressNote

if TYPE_CHECKING:
    from ...executors.base import TaskContext
    from ...repositories.readmodels import LogEntry

__all__ = ["LEVEL", "note_of", "remembering"]

#: Level of the log lines; no list of levels has it, so that it is shown only to who asks for it.
LEVEL: Final = "progress"
_STEP: Final = 0.01


class _Remembering:
    """A context whose progress has a history; everything else is the context's own."""

    def __init__(self, ctx: TaskContext) -> None:
        self._ctx = ctx
        self._last: tuple[float, str | None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    def progress(self, fraction: float, message: str | None = None) -> None:
        """As the context's, and remembered."""
        now = min(1.0, max(0.0, float(fraction)))
        last = self._last
        if (
            last is None
            or message != last[1]
            or abs(now - last[0]) >= _STEP
            or (now == 1.0 and last[0] != 1.0)
        ):
            self._last = (now, message)
            self._ctx.log(json.dumps([now, message]), LEVEL)
        self._ctx.progress(now, message)


def remembering(ctx: TaskContext) -> TaskContext:
    """The context that a handler is given."""
    return cast("TaskContext", _Remembering(ctx))


def note_of(line: LogEntry) -> ProgressNote:
    """One line of the history."""
    fraction, message = json.loads(line.message)
    return ProgressNote(float(fraction), message, line.attempt, line.at)
