"""`AsyncResult`: what became of a task, or will; made from an id alone, in whatever process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...engine.errors import EngineError, EngineStopped, TaskFailed, TaskFailure, WaitTimeout
from .states import TaskState
from .values import Progress

if TYPE_CHECKING:
    from ..results import ResultStore

__all__ = ["GOES_ON", "AsyncResult", "TaskControl"]

GOES_ON: Final = "It goes on; ask again, or cancel it."


class TaskControl(Protocol):
    """What a result asks of the system that it belongs to."""

    def cancel(self, task_id: str, reason: str = "revoked") -> bool:
        """Ask a task to stop."""
        ...

    def children(self, task_id: str) -> list[AsyncResult]:
        """Tasks that this one started."""
        ...

    def watch(
        self,
        task_id: str,
        callback: Callable[[], None],
        dropped: Callable[[], None] | None = None,
        *,
        quick: bool = False,
    ) -> Callable[[], None]:
        """Call back once it has ended, or `dropped` when the system stops first; the answer takes the wish back."""
        ...


class AsyncResult:
    """A handle on one task. It keeps nothing but the id: every answer is read from the store."""

    __slots__ = ("_control", "_store", "id")

    def __init__(self, task_id: str, store: ResultStore, control: TaskControl | None = None) -> None:
        if not isinstance(task_id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not checked
            raise TypeError(f"the id of a task is text, not {task_id!r}")
        self.id: Final = task_id
        self._store = store
        self._control = control

    def __repr__(self) -> str:
        return f"AsyncResult({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # --- asking

    @property
    def state(self) -> TaskState:
        """Where the task stands. Raises NotFound."""
        return self._store.state(self.id)

    def ready(self) -> bool:
        """Has it ended, however?"""
        return self.state.is_terminal

    def successful(self) -> bool:
        """Did it succeed? False also while it has not ended."""
        return self.state is TaskState.SUCCEEDED

    def failed(self) -> bool:
        """Did it fail for good? False when it was cancelled or expired."""
        return self.state is TaskState.FAILED

    @property
    def progress(self) -> Progress:
        """How far it says it is."""
        return self._store.progress(self.id)

    @property
    def error(self) -> TaskFailure | None:
        """Why it failed; while it is tried again, why its last attempt did."""
        return self._store.error(self.id)

    # --- waiting

    def get(self, timeout: float | None = None) -> Any:
        """Wait, and give what the handler returned.

        Raises TaskFailed when it failed, was cancelled or expired, and WaitTimeout after so many seconds.
        """
        return self._store.wait_for_result(self.id, timeout)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, however; False after so many seconds."""
        try:
            self.get(timeout)
        except TaskFailed:
            return True
        except WaitTimeout:
            return False
        return True

    async def aget(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - the task outlives it
        """`get` for coroutines, on any event loop; no thread waits meanwhile."""
        control = self._control
        if control is None:
            return await asyncio.to_thread(self.get, timeout)
        loop = asyncio.get_running_loop()
        told: asyncio.Future[bool] = loop.create_future()
        unwatch = control.watch(
            self.id,
            lambda: _tell(loop, told, ended=True),
            lambda: _tell(loop, told, ended=False),
            quick=True,
        )
        try:
            ended = await asyncio.wait_for(told, timeout)
        except TimeoutError:
            return await asyncio.to_thread(self._late, timeout)
        finally:
            unwatch()
        if not ended:
            raise EngineStopped(f"the task system stopped while task {self.id} was waited for.")
        return await asyncio.to_thread(self.get, 0)

    def _late(self, timeout: float | None) -> Any:
        """It may have ended just now."""
        try:
            return self.get(0)
        except WaitTimeout:
            raise WaitTimeout(
                f"task {self.id} is still {self.state} after {timeout} s.", hint=GOES_ON
            ) from None

    def __await__(self) -> Generator[Any, None, Any]:
        return self.aget().__await__()

    # --- doing

    def then(
        self,
        on_success: Callable[[Any], object] | None = None,
        on_error: Callable[[EngineError], object] | None = None,
    ) -> AsyncResult:
        """Call one of these once when it has ended, also when it has already, on a thread of the system.

        `on_success` gets the result, `on_error` the TaskFailed. What they raise is logged. They live in this process.
        Raises TypeError for what cannot be called.
        """
        for callback in (on_success, on_error):
            if callback is not None and not callable(callback):
                raise TypeError(f"a callback is a function, not {callback!r}")

        def settle() -> None:
            try:
                value = self.get(0)
            except EngineError as exc:
                if on_error is not None:
                    on_error(exc)
                return
            if on_success is not None:
                on_success(value)

        self._required.watch(self.id, settle)
        return self

    def revoke(self, reason: str = "revoked") -> bool:
        """Cancel it; False when it had ended already. Raises NotFound."""
        return self._required.cancel(self.id, reason)

    @property
    def children(self) -> list[AsyncResult]:
        """Tasks that it started, oldest first."""
        return self._required.children(self.id)

    @property
    def _required(self) -> TaskControl:
        if self._control is None:
            raise EngineError("this result belongs to no task system: it can be asked, and no more.")
        return self._control


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Future[bool], *, ended: bool) -> None:
    def settle() -> None:
        if not told.done():
            told.set_result(ended)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
