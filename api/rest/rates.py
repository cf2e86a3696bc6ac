"""How many requests a caller may make: a bucket for each, filled evenly, in this process's memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from .problems import Refused

__all__ = ["Rates"]

_CALLERS: Final = 10_000


class Rates:
    """`per_second` requests in the long run, `burst` at once; 0 is no limit."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = per_second, burst, clock
        self._lock = threading.Lock()
        #: Caller → (tokens, when); those heard of least lately go first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, caller: str) -> None:
        """Take one. Raises Refused (429) when there is none."""
        if self._rate <= 0:
            return
        with self._lock:
            now = self._clock()
            left, since = self._buckets.pop(caller, (float(self._burst), now))
            left = min(float(self._burst), left + (now - since) * self._rate)
            short = left < 1.0
            self._buckets[caller] = (left if short else left - 1.0, now)
            if len(self._buckets) > _CALLERS:
                self._buckets.popitem(last=False)
        if short:
            wait = max(1, round((1.0 - left) / self._rate))
            detail = f"this caller may make {self._rate:g} requests a second."
            raise Refused(429, "too_many_requests", detail, headers={"Retry-After": str(wait)})
