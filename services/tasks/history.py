"""The course of a task's progress, read from the log lines in which the engine keeps it (`engine/course.py`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .values import ProgressNote

if TYPE_CHECKING:
    from ...repositories.readmodels import LogEntry

__all__ = ["note_of"]


def note_of(line: LogEntry) -> ProgressNote:
    """One line of the history."""
    fraction, message = json.loads(line.message)
    return ProgressNote(float(fraction), message, line.attempt, line.at)
