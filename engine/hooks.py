"""Hooks of an engine: called around every attempt of an executor that it runs, each exactly once per attempt.

They see what happened and change nothing: what a hook raises is logged. A process that is killed calls none of them
any more; what must not be lost belongs into the definition (`on_error`, `finally`).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..executors.base import TaskContext
from ..executors.invoke import HOOK_TIMEOUT_S, UserCall, call_bounded
from ..executors.threads import WorkerThreads

__all__ = ["RunHooks", "hooked"]

log: Final = logging.getLogger("strataflow.hooks")


class RunHooks:
    """Subclass it and give it to the engine's config; methods may be plain functions (in a thread) or coroutines."""

    def before_task_run(self, ctx: TaskContext) -> Any:
        """An attempt is about to begin."""

    def after_task_success(self, ctx: TaskContext, result: Any) -> Any:
        """The executor returned."""

    def after_task_failure(self, ctx: TaskContext, error: BaseException) -> Any:
        """The executor raised, timed out or was stopped."""

    def after_task_run(self, ctx: TaskContext) -> Any:
        """The attempt is over, however it ended."""


async def hooked(
    hooks: RunHooks, ctx: TaskContext, pool: WorkerThreads, call: Coroutine[Any, Any, Any]
) -> Any:
    """Await an attempt between its hooks."""
    try:
        await _tell(hooks.before_task_run, pool, ctx)
    except BaseException:
        call.close()
        raise
    try:
        result = await call
    except BaseException as exc:
        await _tell(hooks.after_task_failure, pool, ctx, exc)
        raise
    else:
        await _tell(hooks.after_task_success, pool, ctx, result)
        return result
    finally:
        await _tell(hooks.after_task_run, pool, ctx)


async def _tell(hook: Callable[..., Any], pool: WorkerThreads, *args: Any) -> None:
    try:
        await call_bounded(UserCall(hook, args, inspect.iscoroutinefunction(hook)), pool, HOOK_TIMEOUT_S)
    except Exception:
        name = getattr(hook, "__name__", "hook")
        log.exception("a hook failed", extra={"action": "hook_failed", "hook": name})
