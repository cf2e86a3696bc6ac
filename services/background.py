"""What a process that lives long does beside its engine: loops that `container.running` starts and stops with it."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..engine.errors import DatabaseUnavailable
from ..engine.loops import Loop
from ..engine.translate import engine_errors
from .alerts.watch import Watch

if TYPE_CHECKING:
    from ..engine.workflow_engine import WorkflowEngine
    from .alerts.model import AlertHook
    from .explain import Explainer

__all__ = ["watching"]

log: Final = logging.getLogger("strataflow.background")


@contextmanager
def watching(
    engine: WorkflowEngine, explainer: Explainer, *, every_s: float, hooks: Sequence[AlertHook] = ()
) -> Generator[Loop]:
    """Evaluate the rules of alerts every so many seconds, on a thread of its own, while the block lasts.

    The loop counts among those of the engine: health reports tell when it came round last.
    """
    with engine_errors():
        watch = Watch(engine, explainer, every_s=every_s, hooks=hooks)
    loop = Loop("alerts", watch.run_once, every_s)
    engine.parts.beside = (*engine.parts.beside, loop)
    loop.start()
    try:
        yield loop
    finally:
        loop.stop()
        engine.parts.beside = tuple(each for each in engine.parts.beside if each is not loop)
        try:
            with engine_errors():
                watch.close()
        except DatabaseUnavailable as exc:  # the duty is anybody's in a while
            log.warning(
                "who watches cannot be handed over: %s", exc, extra={"action": "watch_not_handed_over"}
            )
