"""SIGINT and SIGTERM: the first asks for an orderly end, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import INTERRUPTED

__all__ = ["Stop", "stop_signals"]


class Stop(threading.Event):
    """Set when the process was asked to end."""

    #: What asked for it.
    signal: signal.Signals | None = None


@contextmanager
def stop_signals(notice: str) -> Iterator[Stop]:
    """Catch the signals while the block runs; `notice` is printed at the first."""
    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        stop.signal = signal.Signals(number)
        stop.set()
        if notice:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{notice}\n".encode())

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
