"""Background loops: one shape for all. A loop that dies on one exception is an outage, so none does."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Loop"]

log: Final = logging.getLogger("strataflow.loops")
_MAX_BACKOFF_S: Final = 10.0


class Loop:
    """Calls `run_once` every `interval_s` seconds, or sooner when woken, on a thread of its own.

    `run_once` may return the seconds until the next call. An exception is logged, counted and followed by a jittered
    backoff. `start` and `stop` are idempotent.
    """

    def __init__(self, name: str, run_once: Callable[[], float | None], interval_s: float) -> None:
        self.name = name
        self._run_once = run_once
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0
        #: When the loop last came round without an error, by `time.monotonic()`.
        self.last_progress = time.monotonic()

    def start(self) -> None:
        """Begin; idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name=f"strataflow-{self.name}", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Come round now."""
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the round that runs; idempotent."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                pause = self._run_once()
                self._failures = 0
                self.last_progress = time.monotonic()
            except Exception:
                self._failures += 1
                pause = random.uniform(0.5, 1.0) * min(_MAX_BACKOFF_S, 0.1 * 2.0 ** min(self._failures, 10))
                level = logging.WARNING if self._failures < 3 else logging.ERROR
                log.log(level, "loop %s failed", self.name, exc_info=True, extra={"action": "loop_failed"})
            self._wake.wait(self._interval_s if pause is None else pause)
