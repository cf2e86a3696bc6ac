"""SIGINT and SIGTERM: the first asks for an orderly end, the second ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from .errors import INTERRUPTED

__all__ = ["Stop", "stop_signals"]

_SHOW_CURSOR: Final = b"\x1b[?25h"


class Stop(threading.Event):
    """Set when this process was asked to end."""


def _nothing() -> None:
    return


@contextmanager
def stop_signals(
    *,
    first: Callable[[], None] = _nothing,
    at_once: Callable[[], None] = _nothing,
    interrupt: bool = True,
) -> Generator[Stop]:
    """Catch both signals while the block runs.

    `first` is called by the first signal, between two instructions of the main thread: it may set marks and take no
    lock. `at_once` is called before the process ends at the second one. Without `interrupt` SIGINT is ignored: a worker
    process of several hears Ctrl-C from the terminal too, but its parent decides.
    """
    stop = Stop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            first()
            return
        with contextlib.suppress(OSError):
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
        at_once()
        os._exit(INTERRUPTED)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, handle),
        signal.SIGINT: signal.signal(signal.SIGINT, handle if interrupt else signal.SIG_IGN),
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
