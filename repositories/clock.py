"""SQLite's clock: this machine's, and what a test has skipped of it."""

from __future__ import annotations

import time

__all__ = ["now_us", "skip"]

_skipped = [0]


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000 + _skipped[0]


def skip(us: int) -> None:
    """Let time jump ahead in this process, for tests that wait for days; less than 0 gives time back.

    Postgres has a clock of its own.
    """
    _skipped[0] += us
