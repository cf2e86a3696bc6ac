"""Results of tasks as a port: what may be asked of them, over the database, and in memory for tests of your own.

`SqlResults` is what the task system uses: it reads what the engine wrote and keeps nothing itself. `MemoryResults` has
the same answers without a database; somebody has to tell it what happened, so it is for tests and for nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from ..engine.errors import Conflict, NotFound, TaskFailed, TaskFailure, WaitTimeout
from ..engine.translate import engine_errors
from ..repositories import task_reports
from ..repositories.readmodels import uuid_text
from .tasks.async_result import GOES_ON
from .tasks.definitions import result_in
from .tasks.reading import TaskReader, Watch, unknown_task
from .tasks.states import EXPIRED_CODE, TaskState
from .tasks.values import Progress
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..engine.workflow_engine import WorkflowEngine

__all__ = ["MemoryResults", "ResultStore", "SqlResults"]


class ResultStore(Protocol):
    """What may be asked of results; every method with an id raises NotFound for one that nothing has."""

    def state(self, task_id: str) -> TaskState:
        """Where the task stands."""
        ...

    def result(self, task_id: str) -> Any:
        """What its handler returned. Raises TaskFailed when it ended otherwise, Conflict when it has not ended."""
        ...

    def error(self, task_id: str) -> TaskFailure | None:
        """Why it failed, or why its last attempt did; None without a failure."""
        ...

    def progress(self, task_id: str) -> Progress:
        """How far it is."""
        ...

    def wait_for_result(self, task_id: str, timeout: float | None = None) -> Any:
        """Block until it has ended, then as `result`. Raises WaitTimeout after so many seconds."""
        ...

    def exists(self, task_id: str) -> bool:
        """Is there such a task?"""
        ...

    def remove(self, task_id: str) -> bool:
        """Forget a task that has ended; False when there is none. Raises Conflict when it has not ended."""
        ...

    def size(self) -> int:
        """How many tasks there are, ended or not."""
        ...

    def cleanup_expired(self, max_age: float) -> int:
        """Forget tasks that ended more than so many seconds ago; gives how many."""
        ...


class SqlResults:
    """Results as they stand in the database of an engine; the engine may be another one at every call."""

    def __init__(self, engine: Callable[[], WorkflowEngine], watch: Watch | None = None) -> None:
        """`watch` tells when a task has ended; those who wait long share it instead of asking one by one."""
        self._engine = engine
        self._reader: Final = TaskReader(engine)
        self._watch = watch

    @classmethod
    def of(cls, engine: WorkflowEngine) -> Self:
        """Over an engine, or a client, that is running."""
        return cls(lambda: engine)

    def state(self, task_id: str) -> TaskState:
        """Where it stands."""
        return self._reader.state(task_id)

    def result(self, task_id: str) -> Any:
        """What it gave."""
        state = self.state(task_id)
        if not state.is_terminal:
            raise Conflict(f"task {task_id} is {state}: it has no result yet.", hint="Wait for it.")
        return self._ended(task_id, state)

    def error(self, task_id: str) -> TaskFailure | None:
        """Why it failed."""
        return self._reader.failure(task_id)

    def progress(self, task_id: str) -> Progress:
        """How far it is."""
        return self._reader.progress(task_id)

    def wait_for_result(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait for it."""
        if uuid_text(task_id) is None:
            raise unknown_task(task_id)
        try:
            ended = self._reader.wait(task_id, timeout, self._watch)
        except NotFound:
            raise unknown_task(task_id) from None
        if ended is not None and ended.completed:
            return ended.result
        state = self.state(task_id)
        if not state.is_terminal:
            raise WaitTimeout(f"task {task_id} is still {state} after {timeout} s.", hint=GOES_ON)
        return self._ended(task_id, state)

    def _ended(self, task_id: str, state: TaskState) -> Any:
        if state is TaskState.SUCCEEDED:
            status = self._reader.status(task_id)
            return result_in(status.name, status.output)
        raise TaskFailed(task_id, state, self.error(task_id))

    def exists(self, task_id: str) -> bool:
        """Is it there?"""
        with engine_errors(), self._engine().database.read() as connection:
            return bool(task_reports.states_of(connection, [task_id]))

    def remove(self, task_id: str) -> bool:
        """Forget it."""
        try:
            Upkeep(self._engine().database).delete(task_id)
        except NotFound:
            return False
        return True

    def size(self) -> int:
        """How many there are."""
        return self._reader.count()

    def cleanup_expired(self, max_age: float) -> int:
        """Forget old ones."""
        return self._reader.delete_ended(max_age)


@dataclass(slots=True, frozen=True)
class _Kept:
    state: TaskState = TaskState.QUEUED
    result: Any = None
    error: TaskFailure | None = None
    progress: Progress = field(default_factory=Progress)
    ended_at: float | None = None


class MemoryResults:
    """Results in memory, for tests: `put` says what happened."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._changed = threading.Condition()

    def put(
        self,
        task_id: str,
        state: TaskState | str,
        *,
        result: Any = None,
        error: TaskFailure | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Say where a task stands now, and what came of it."""
        with self._changed:
            now = TaskState(state)
            far = progress or self._kept.get(task_id, _Kept()).progress
            if now is TaskState.SUCCEEDED:
                far = Progress(1.0, far.message)
            if now is TaskState.EXPIRED and error is None:
                error = TaskFailure(EXPIRED_CODE, "it did not begin before it expired")
            ended_at = self._clock() if now.is_terminal else None
            self._kept[task_id] = _Kept(now, result, error, far, ended_at)
            self._changed.notify_all()

    def state(self, task_id: str) -> TaskState:
        """Where it stands."""
        return self._of(task_id).state

    def result(self, task_id: str) -> Any:
        """What it gave."""
        kept = self._of(task_id)
        if not kept.state.is_terminal:
            raise Conflict(f"task {task_id} is {kept.state}: it has no result yet.", hint="Wait for it.")
        if kept.state is not TaskState.SUCCEEDED:
            raise TaskFailed(task_id, kept.state, kept.error)
        return kept.result

    def error(self, task_id: str) -> TaskFailure | None:
        """Why it failed."""
        return self._of(task_id).error

    def progress(self, task_id: str) -> Progress:
        """How far it is."""
        return self._of(task_id).progress

    def wait_for_result(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait for it."""
        self._of(task_id)
        with self._changed:
            ended = self._changed.wait_for(lambda: self._of(task_id).state.is_terminal, timeout)
        if not ended:
            raise WaitTimeout(f"task {task_id} is still {self.state(task_id)} after {timeout} s.")
        return self.result(task_id)

    def exists(self, task_id: str) -> bool:
        """Is it there?"""
        return task_id in self._kept

    def remove(self, task_id: str) -> bool:
        """Forget it."""
        with self._changed:
            kept = self._kept.get(task_id)
            if kept is not None and not kept.state.is_terminal:
                raise Conflict(f"task {task_id} is {kept.state}.", hint="Cancel it first.")
            return self._kept.pop(task_id, None) is not None

    def size(self) -> int:
        """How many there are."""
        return len(self._kept)

    def cleanup_expired(self, max_age: float) -> int:
        """Forget old ones."""
        before = self._clock() - max_age
        with self._changed:
            old = [
                key
                for key, kept in self._kept.items()
                if kept.ended_at is not None and kept.ended_at < before
            ]
            for key in old:
                del self._kept[key]
        return len(old)

    def _of(self, task_id: str) -> _Kept:
        kept = self._kept.get(task_id)
        if kept is None:
            raise NotFound(f"there is no task {task_id}.")
        return kept
