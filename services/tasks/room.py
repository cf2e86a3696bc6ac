"""Waiting for room in a full queue: by pauses that grow, each with a share of chance, so that many do not come at once.

Who waits asks for nothing between two tries: a try is a start, which the queue's bound refuses again or takes.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from ...engine.errors import QueueFull

__all__ = ["checked_wait", "patiently", "tries"]

_FIRST_S: Final = 0.02
_LONGEST_S: Final = 1.0
_GROWTH: Final = 1.6
_CENTURY_S: Final = 100 * 365 * 86_400.0
R = TypeVar("R")


def checked_wait(seconds: Any) -> float:
    """How long somebody waits for room; None is not at all. Raises ValueError."""
    if seconds is None:
        return 0.0
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not math.isfinite(seconds) or not 0 <= seconds <= _CENTURY_S:
        raise ValueError(f"wait_for_room is a number of seconds, 0 or more, not {seconds!r}")
    return float(seconds)


def tries(
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> Iterator[bool]:
    """Once per try: is it the last one? Sleeps between two; the last try comes when the time is over."""
    deadline = clock() + seconds
    pause = _FIRST_S
    while (left := deadline - clock()) > 0:
        yield False
        sleep(min(pause * (0.5 + chance()), max(0.0, left)))
        pause = min(_LONGEST_S, pause * _GROWTH)
    yield True


def patiently(seconds: float, start: Callable[[], R]) -> R:
    """Start something as soon as its queue has room. Raises QueueFull when it has none for so many seconds."""
    for last in tries(seconds):
        try:
            return start()
        except QueueFull:
            if last:
                raise
    raise AssertionError("the last try gives or raises")
