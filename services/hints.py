"""Telling engines that something was changed outside of a batch: hints only, polling finds it anyway."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ..repositories.errors import RepositoryError
from ..repositories.notify import Notifier

if TYPE_CHECKING:
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.database import Database

__all__ = ["tell_engines"]

log: Final = logging.getLogger("strataflow.hints")
_READY: Final = "ready"


def tell_engines(database: Database, engine: WorkflowEngine | None) -> None:
    """Let idle engines look at once, this process's and, on Postgres, the others; SQLite's notice the commit."""
    if engine is not None:
        engine.parts.announcer.announce(_READY)
        engine.scheduler.heard(_READY)
        return
    if database.url.dialect != "postgresql":
        return
    notifier = Notifier(database.url)
    try:
        notifier.send([_READY])
    except RepositoryError:
        log.debug("a hint could not be sent", exc_info=True)
    finally:
        notifier.close()
