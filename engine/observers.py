"""Who is told of what was committed: metrics, and the spans of what ended. None of them can harm the writer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from .batching import BatchReport

__all__ = ["BatchObserver", "Observers"]

log: Final = logging.getLogger("strataflow.observers")


class BatchObserver(Protocol):
    """Told after the commit, on the writer's thread: it returns quickly."""

    def record_batch(self, report: BatchReport, *, held: int) -> None:
        """One transaction is durable; `held` executor slots are in use."""
        ...

    def record_fenced(self) -> None:
        """The database says that this engine is dead."""
        ...


class Observers:
    """Those of one engine. What one of them raises is logged; the batch counts all the same."""

    def __init__(self, *observers: BatchObserver) -> None:
        self._observers = observers

    def record_batch(self, report: BatchReport, *, held: int) -> None:
        """Tell all of them."""
        for observer in self._observers:
            _safely(partial(observer.record_batch, report, held=held))

    def record_fenced(self) -> None:
        """Tell all of them."""
        for observer in self._observers:
            _safely(observer.record_fenced)


def _safely(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception:
        log.exception("an observer of batches failed", extra={"action": "observer_failed"})
