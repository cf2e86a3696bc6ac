"""Runs user code: the only place that does, for every kind of executor.

Async executors run as coroutines on the loop, synchronous ones in `WorkerThreads`. However user code ends,
`invoke` returns its result or raises an ordinary exception; only a real cancellation leaves as
`CancelledError`. A timeout or a cancellation sets `ctx.cancelled` and ends the attempt at once for a thread,
which is left behind; a coroutine is cancelled and gets some seconds to clean up after itself, because a retry
must not overlap what can still be stopped.

Order of the optional methods: `on_retry` (attempts after the first) → `execute` → `on_success` or
`on_failure` → `cleanup`. None of them can change the outcome: their errors are logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from .base import Json, TaskContext, TaskError
from .coroutines import await_bounded
from .entry import ExecutorEntry, Hook, Hooks
from .errors import AttemptCancelled, AttemptTimeout, error_from_exception, failure_of
from .threads import WorkerThreads

__all__ = ["HOOK_TIMEOUT_S", "UserCall", "call_bounded", "invoke", "invoke_inline"]

log = logging.getLogger(__name__)

#: Seconds for each optional method.
HOOK_TIMEOUT_S: Final = 10.0


async def invoke(
    entry: ExecutorEntry,
    ctx: TaskContext,
    config: Json,
    *,
    pool: WorkerThreads,
    timeout_s: float | None = None,
    previous_error: TaskError | None = None,
) -> Json:
    """Run one attempt with its rendered config and return what the executor returned, unchecked.

    Cancel the awaiting task to end the attempt. A coroutine that returns although it was cancelled has done
    its work: its result is returned. `previous_error` is handed to `on_retry`.

    Raises:
        ConfigRefused: the config does not fit; user code was not entered.
        AttemptTimeout: `timeout_s` seconds have passed; waiting for a thread counts.
        AttemptCancelled: the executor saw `ctx.cancelled` and stopped by itself.
        Exception: what the executor raised.
    """
    prepared = entry.prepare(config)
    if entry.hooks is not None:
        hooked = _Hooked(entry, entry.hooks, ctx, pool)
        return await hooked.run(prepared, timeout_s, previous_error)
    if entry.inline:
        return _call_inline(entry, ctx, prepared)
    user = UserCall(entry.call, (ctx, prepared), entry.is_async, ctx.request_cancel)
    return await _execute(ctx, user, pool, timeout_s)


def invoke_inline(entry: ExecutorEntry, ctx: TaskContext, config: Json) -> Json:
    """`invoke` for an `inline` entry, without a coroutine: for engines that call it on their own loop."""
    return _call_inline(entry, ctx, entry.prepare(config))


def _call_inline(entry: ExecutorEntry, ctx: TaskContext, prepared: Any) -> Json:
    try:
        return entry.call(ctx, prepared)
    except (StopIteration, SystemExit, asyncio.CancelledError, AttemptCancelled) as exc:
        raise failure_of(exc) from exc
    except KeyboardInterrupt as exc:
        if threading.current_thread() is threading.main_thread():
            raise
        raise failure_of(exc) from exc


@dataclass(slots=True)
class UserCall:
    """One call of user code, and who is told when it is ended early."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    is_async: bool
    #: Called just before the call is stopped or left behind.
    stop: Callable[[], None] | None = None
    #: Run by the thread of a call left behind, when it has returned at last.
    late: Callable[[], None] | None = None
    #: True once that thread will run `late`.
    late_taken: bool = False


async def call_bounded(user: UserCall, pool: WorkerThreads, timeout_s: float | None) -> Any:
    """Make the call on the loop or in a thread, for at most `timeout_s` seconds. Raises AttemptTimeout."""
    if timeout_s is not None and timeout_s <= 0:
        raise AttemptTimeout(timeout_s)
    if user.is_async:
        return await await_bounded(user.call(*user.args), timeout_s=timeout_s, stop=user.stop)
    return await _in_thread(user, pool, timeout_s)


async def _execute(ctx: TaskContext, user: UserCall, pool: WorkerThreads, timeout_s: float | None) -> Json:
    try:
        return await call_bounded(user, pool, timeout_s)
    except (AttemptTimeout, asyncio.CancelledError):
        ctx.request_cancel()
        raise
    except AttemptCancelled as exc:
        if ctx.cancelled:
            raise
        raise failure_of(exc) from exc


async def _in_thread(user: UserCall, pool: WorkerThreads, timeout_s: float | None) -> Any:
    job = pool.submit(user.call, *user.args, late=user.late)
    loop = job.loop
    ends_at = timer = None
    if timeout_s is not None:
        ends_at = loop.time() + timeout_s
        timer = loop.call_at(ends_at, _expire, job.future, timeout_s)
    try:
        result = await job.future
    except (asyncio.CancelledError, AttemptTimeout):
        if user.stop is not None:
            user.stop()
        user.late_taken = pool.abandon(job) and user.late is not None
        raise
    finally:
        if timer is not None:
            timer.cancel()
    if not inspect.isawaitable(result):
        return result
    left_s = None if ends_at is None else ends_at - loop.time()
    return await await_bounded(result, timeout_s=timeout_s, left_s=left_s, stop=user.stop)


def _expire(future: asyncio.Future[Any], timeout_s: float) -> None:
    if not future.done():
        future.set_exception(AttemptTimeout(timeout_s))


@dataclass(slots=True, frozen=True)
class _Hooked:
    """One attempt of an executor with optional methods."""

    entry: ExecutorEntry
    hooks: Hooks
    ctx: TaskContext
    pool: WorkerThreads

    async def run(self, prepared: Any, timeout_s: float | None, previous: TaskError | None) -> Json:
        entry, hooks, ctx = self.entry, self.hooks, self.ctx
        user = UserCall(entry.call, (ctx, prepared), entry.is_async, ctx.request_cancel)
        if hooks.cleanup is not None and not inspect.iscoroutinefunction(hooks.cleanup):
            user.late = partial(hooks.cleanup, ctx)
        try:
            if ctx.attempt > 1:
                await self.tell(hooks.on_retry, previous)
            result = await _execute(ctx, user, self.pool, timeout_s)
        except AttemptCancelled:
            raise
        except Exception as exc:
            await self.tell(hooks.on_failure, error_from_exception(exc, entry.domain))
            raise
        else:
            await self.tell(hooks.on_success, result)
            return result
        finally:
            if not user.late_taken:
                await self.tell(hooks.cleanup)

    async def tell(self, hook: Hook | None, *args: Any) -> None:
        if hook is None:
            return
        user = UserCall(hook, (self.ctx, *args), inspect.iscoroutinefunction(hook))
        try:
            await call_bounded(user, self.pool, HOOK_TIMEOUT_S)
        except Exception:
            name = getattr(hook, "__name__", "hook")
            log.exception(
                "an executor's optional method failed",
                extra={"action": "hook_failed", "executor": self.entry.name, "hook": name},
            )
