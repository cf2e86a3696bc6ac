"""StateManager: the one write path. `apply` returns after the commit; what it was given is then durable.

Every change of state of any workflow or task enters here as an event (`engine/events.py`), whoever asks for it: the
scheduler, recovery, the command line, an API. There is no second door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..repositories.database import Database
from ..repositories.gateways import LogRepository
from ..repositories.readmodels import HistoryRow, uuid_text
from .errors import EngineError, NotFound
from .events import (
    Applied,
    CancelInstance,
    Event,
    PauseInstance,
    ResumeInstance,
    RollbackInstance,
    TaskEnded,
)
from .outcomes import Outcome
from .transaction import Pending
from .writer import Writer

__all__ = ["InstanceWish", "StateManager"]

InstanceWish = CancelInstance | PauseInstance | ResumeInstance | RollbackInstance


class StateManager:
    """Submits events to the process's writer."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._logs = LogRepository(database)
        self._writer = writer

    def submit(self, event: Event) -> Future[Applied]:
        """Queue an event; the future holds what it came to, after the commit, or an EngineError. Raises NotFound."""
        if uuid_text(event.instance_id) is None:  # Postgres would refuse it, and the whole batch with it
            raise NotFound(
                f"{event.instance_id!r} is no id of an instance.", hint="`strataflow list` shows them."
            )
        future: Future[Applied] = Future()
        self._writer.submit(Pending(event, _resolve(future)))
        return future

    async def apply(self, event: Event) -> Applied:
        """Apply an event and return after the commit. Raises the EngineError it is refused with."""
        return await asyncio.wrap_future(self.submit(event))

    def apply_now(self, event: Event, timeout_s: float | None = None) -> Applied:
        """`apply` for synchronous callers."""
        return self.submit(event).result(timeout_s)

    async def update_workflow_state(self, instance_id: str, event: InstanceWish) -> Applied:
        """Change an instance's state by an event. Raises IllegalTransition when its state does not allow it."""
        if event.instance_id != instance_id:
            raise EngineError(f"the event is for instance {event.instance_id}, not {instance_id}.")
        return await self.apply(event)

    async def rollback_state(self, instance_id: str, *targets: str, reason: str = "rolled back") -> Applied:
        """Take an ended instance back to before `targets` (task paths), undoing what followed; without, what failed.

        Raises NotFound, Conflict (and says why), IllegalTransition while the instance has not ended.
        """
        return await self.update_workflow_state(
            instance_id, RollbackInstance(instance_id, reason, targets, compensate=True)
        )

    async def update_task_state(
        self, instance_id: str, path: str, outcome: Outcome, *, attempt: int, engine: str
    ) -> Applied:
        """Record an attempt's outcome; status `stale` when the attempt no longer holds the task."""
        return await self.apply(TaskEnded(instance_id, path, attempt, engine, outcome))

    def get_state_history(self, instance_id: str, *, limit: int = 1000, after: int = 0) -> list[HistoryRow]:
        """Transitions in the order in which they were committed; page on with the last row's `seq`."""
        return self._logs.history(instance_id, limit, after)


def _resolve(future: Future[Applied]) -> Callable[[Any], None]:
    def done(answer: Applied | EngineError) -> None:
        if future.set_running_or_notify_cancel():
            if isinstance(answer, Applied):
                future.set_result(answer)
            else:
                future.set_exception(answer)

    return done
