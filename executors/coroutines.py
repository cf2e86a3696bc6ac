"""Awaits user code on the loop, and ends it in time.

Without a bound it runs in the caller's own task. With one it gets a task of its own, so that it can be left behind
if it goes on although it was cancelled; that costs a few microseconds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .errors import AttemptTimeout, failure_of

__all__ = ["GRACE_S", "await_bounded"]

log = logging.getLogger(__name__)

#: Seconds that cancelled code may take to end before it is left behind.
GRACE_S: Final = 10.0

#: Tasks that ignored their cancellation: the loop itself holds only weak references.
_left_behind: Final[set[asyncio.Task[Any]]] = set()


async def await_bounded(
    awaitable: Awaitable[Any],
    *,
    timeout_s: float | None = None,
    left_s: float | None = None,
    stop: Callable[[], None] | None = None,
) -> Any:
    """The result of user code; what would stop the loop or pass for a cancellation becomes a failure.

    `timeout_s` is the bound, and `left_s` what is left of it if it began earlier. `stop` is called just before the
    code is told to end. Code that ends by itself although the caller was cancelled gives its result.

    Raises:
        AttemptTimeout: the bound has passed; whatever the code did after that is dropped.
        CancelledError: the caller's task was cancelled.
    """
    if timeout_s is None:
        return await _guarded(awaitable)
    return await _in_own_task(awaitable, timeout_s, timeout_s if left_s is None else left_s, stop)


async def _guarded(awaitable: Awaitable[Any]) -> Any:
    """What would end more than the attempt becomes a failure.

    Only on the main thread a `KeyboardInterrupt` comes from the keyboard, and goes through. On any other the executor
    raised it, and it would end the loop with everything that runs there.
    """
    task = asyncio.current_task()
    # Not 0 for sure: up to Python 3.12 a TaskGroup that fails leaves one behind.
    before = task.cancelling() if task else 0
    try:
        return await awaitable
    except asyncio.CancelledError as exc:
        if task is None or task.cancelling() > before:
            raise
        raise failure_of(exc) from exc
    except SystemExit as exc:
        raise failure_of(exc) from exc
    except KeyboardInterrupt as exc:
        if threading.current_thread() is threading.main_thread():
            raise
        raise failure_of(exc) from exc


async def _in_own_task(
    awaitable: Awaitable[Any], timeout_s: float, left_s: float, stop: Callable[[], None] | None
) -> Any:
    loop = asyncio.get_running_loop()
    # Cheaper than `asyncio.wait`, and the end of the task is known one turn of the loop earlier.
    ended: asyncio.Future[None] = loop.create_future()
    task = loop.create_task(_telling(awaitable, ended))
    timer = loop.call_later(left_s, _tell, ended)
    try:
        await ended
    except asyncio.CancelledError:
        await _stop(task, stop)
        if task.done():
            return task.result()
        raise
    finally:
        timer.cancel()
    if not task.done():
        await _stop(task, stop)
        raise AttemptTimeout(timeout_s)
    if task.cancelled():
        raise failure_of(asyncio.CancelledError())
    return task.result()


async def _telling(awaitable: Awaitable[Any], ended: asyncio.Future[None]) -> Any:
    try:
        return await _guarded(awaitable)
    finally:
        _tell(ended)


def _tell(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _stop(task: asyncio.Task[Any], stop: Callable[[], None] | None) -> None:
    if stop is not None:
        stop()
    task.cancel()
    try:
        await asyncio.wait((task,), timeout=GRACE_S)
    finally:
        if task.done():
            _forget(task)
        else:
            log.warning("a coroutine ignores its cancellation", extra={"action": "coroutine_left_behind"})
            _left_behind.add(task)
            task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # marks it as seen: asyncio logs what nobody looks at
