"""A bounded pool of daemon threads for synchronous user code, whose stuck threads can be left behind.

Python cannot stop a thread. When an attempt ends before its function returns, the thread is *abandoned*: it
stops counting against the bound at once, so that another may take its place, and it exits when the function
returns; what it then returns is dropped. `concurrent.futures` offers neither this nor threads that let the
process exit.

Invariant, under the lock: `_free` = threads of the pool that run nothing, minus jobs in the queue.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Callable
from enum import Enum
from queue import SimpleQueue
from typing import Any

from .errors import ExecutorError, failure_of

__all__ = ["Job", "WorkerThreads"]

log = logging.getLogger(__name__)


class _State(Enum):
    WAITING = 0
    RUNNING = 1
    ENDED = 2
    ABANDONED = 3


class Job:
    """One call in the pool. Await `future` on the loop that submitted it."""

    __slots__ = ("args", "call", "context", "future", "late", "loop", "state")

    def __init__(
        self,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        late: Callable[[], None] | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.call = call
        self.args = args
        #: Runs in the job's thread if the job was abandoned, when its call has returned at last.
        self.late = late
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.context = contextvars.copy_context()
        self.state = _State.WAITING

    def run(self) -> tuple[Any, Exception | None]:
        """The call's result, or what it raised; nothing that user code raises leaves this method."""
        try:
            return self.context.run(self.call, *self.args), None
        except StopIteration as exc:  # a future cannot carry it
            return None, failure_of(exc)
        except Exception as exc:  # noqa: BLE001  # user code: the caller gets it
            return None, exc
        except BaseException as exc:  # noqa: BLE001  # SystemExit would end the thread and tell nobody
            return None, failure_of(exc)

    def deliver(self, result: Any, error: Exception | None) -> None:
        """Settle the future on its loop; dropped when the loop is gone."""
        try:
            self.loop.call_soon_threadsafe(_settle, self.future, result, error)
        except RuntimeError:
            log.info(
                "dropped the result of a call: its event loop is closed", extra={"action": "late_result"}
            )

    def drop(self, result: Any) -> None:
        """Give up a result that came too late, and run what waited for the function to return."""
        if inspect.iscoroutine(result):
            result.close()
        if self.late is not None:
            try:
                self.context.run(self.late)
            except Exception:
                log.exception("clean-up after an abandoned call failed", extra={"action": "late_cleanup"})


class WorkerThreads:
    """Runs synchronous calls in at most `limit` threads, started when needed and kept until `close`.

    Thread-safe. `abandoned` is the number of threads left behind that still run; nothing bounds it, watch it.
    """

    def __init__(self, limit: int = 32, *, name: str = "strataflow-worker") -> None:
        if limit < 1:
            raise ValueError("a pool needs at least one thread")
        self.limit = limit
        self.name = name
        self.abandoned = 0
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._size = 0
        self._free = 0
        self._started = 0
        self._closed = False

    @property
    def busy(self) -> int:
        """Threads of the pool that run a call now, abandoned ones not counted."""
        with self._lock:
            return self._size - max(0, self._free)

    def submit(self, call: Callable[..., Any], *args: Any, late: Callable[[], None] | None = None) -> Job:
        """Queue one call, in a copy of the caller's context variables; must be called on an event loop."""
        job = Job(call, args, late, asyncio.get_running_loop())
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._free -= 1
            try:
                self._grow()
            except RuntimeError as exc:
                self._free += 1
                raise ExecutorError("the system allows no further thread", code="NoThread") from exc
            self._queue.put(job)
        return job

    def abandon(self, job: Job) -> bool:
        """End a job for its caller now. True when its call was running: then its thread is left behind."""
        with self._lock:
            running = job.state is _State.RUNNING
            if job.state is not _State.ENDED:
                job.state = _State.ABANDONED
            if running:
                self._size -= 1
                self.abandoned += 1
                try:
                    self._grow()
                except RuntimeError:
                    log.warning("no thread to replace an abandoned one", extra={"action": "thread_refused"})
        job.future.cancel()
        return running

    def close(self) -> None:
        """Let every thread exit after the calls already queued; does not wait. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for _ in range(self._size):
                self._queue.put(None)

    def _grow(self) -> None:
        """Start a thread if a job would wait for one and the bound allows it. The caller holds the lock."""
        if self._free >= 0 or self._size >= self.limit:
            return
        thread = threading.Thread(target=self._serve, name=f"{self.name}-{self._started}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if self._size == 0:
                raise
            return  # the threads there are will come to it
        self._started += 1
        self._size += 1
        self._free += 1

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Run one job; False when this thread should exit. Own method: an idle thread holds no result."""
        job = self._queue.get()
        if job is None:
            return False
        with self._lock:
            if job.state is _State.ABANDONED:
                self._free += 1
                return True
            job.state = _State.RUNNING
        result, error = job.run()
        with self._lock:
            kept = job.state is _State.RUNNING
            if kept:
                job.state = _State.ENDED
                self._free += 1
            else:
                self.abandoned -= 1
        if kept:
            job.deliver(result, error)
        else:
            job.drop(result)
        return kept


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        if inspect.iscoroutine(result):
            result.close()
    elif error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
