"""Handlers of tasks as executors of the engine: under which name, and in which wrapping.

A handler is a function of (ctx, payload), (payload), (ctx) or nothing, sync or async, or an object or class with
`execute` and, if it wants, `on_retry`, `on_success`, `on_failure` and `cleanup`. As an executor it receives what the
run's inputs hold: the payload, and the instant after which it must not be called any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from ...executors.base import TaskContext, TaskError
from ...executors.errors import InvalidExecutor, NonRetryable
from .states import EXPIRED_CODE

__all__ = ["DOMAIN", "Expired", "executor_of", "slug_of", "wrapped"]

#: Domain of the executors, and beginning of the definitions' names.
DOMAIN: Final = "task"
_PLAIN: Final = re.compile(r"[a-z][a-z0-9_]{0,49}")
_HASHED: Final = re.compile(r".*_x[0-9a-f]{12}")
_HOOKS: Final = ("on_retry", "on_success", "on_failure", "cleanup")
#: What the parameter for the context is called where it is the only one, or the second may be left out.
_CONTEXT_NAMES: Final = frozenset({"ctx", "context"})
Call = Callable[..., Any]
LastError = Callable[[TaskContext], TaskError | None]


class Expired(NonRetryable):
    """Raised instead of calling a handler whose task should have begun earlier."""

    code = EXPIRED_CODE


def slug_of(name: str) -> str:
    """The part of executor and definition names that stands for a task's name; different names, different slugs."""
    if _PLAIN.fullmatch(name) and not _HASHED.fullmatch(name):
        return name
    readable = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40]
    if not readable[:1].isalpha():
        readable = f"t_{readable}".rstrip("_")
    return f"{readable}_x{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def executor_of(name: str) -> str:
    """Name of the executor that calls the handler of this task name."""
    return f"{DOMAIN}.{slug_of(name)}"


def wrapped(
    name: str, handler: object, told: Callable[[], None], last_error: LastError | None = None
) -> object:
    """The executor of a handler; `told` is called when an attempt is over. Raises InvalidExecutor.

    `last_error` reads why the attempt before this one failed, for `on_retry`.
    """
    target = _instance(name, handler)
    call = getattr(target, "execute", target)
    if not callable(call):
        raise InvalidExecutor(
            f"the handler of {name!r} is a {type(handler).__name__}: it is no function and has no execute"
        )
    execute = _executing(name, call, told)
    hooks = {hook: method for hook in _HOOKS if callable(method := getattr(target, hook, None))}
    if not hooks:
        return execute
    made = _Wrapped()
    made.execute = execute
    if "on_failure" in hooks:
        hooks["on_failure"] = _failing(hooks["on_failure"])
    if "on_retry" in hooks and last_error is not None:
        hooks["on_retry"] = _retrying(hooks["on_retry"], last_error)
    for hook, method in hooks.items():
        setattr(made, hook, method)
    return made


class _Wrapped:
    """An executor with optional methods."""

    execute: Call


def _instance(name: str, handler: object) -> Any:
    if not isinstance(handler, type):
        return handler
    if not callable(getattr(cast("Any", handler), "execute", None)):
        raise InvalidExecutor(
            f"the class {handler.__name__} cannot handle {name!r}: it has no method execute"
        )
    try:
        return handler()
    except Exception as exc:
        raise InvalidExecutor(
            f"{handler.__name__} cannot be created without arguments for {name!r} ({type(exc).__name__}: {exc}); "
            "register an instance instead"
        ) from exc


def _executing(name: str, call: Call, told: Callable[[], None]) -> Call:
    takes = _takes(name, call)
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise InvalidExecutor(f"the handler of {name!r} is a generator; a handler returns one JSON value")
    if inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None)):  # noqa: B004 - the method itself is looked at

        async def run_async(ctx: TaskContext, given: Any) -> Any:
            try:
                return await call(*_arguments(name, ctx, given, takes))
            finally:
                told()

        return run_async

    def run(ctx: TaskContext, given: Any) -> Any:
        try:
            return call(*_arguments(name, ctx, given, takes))
        finally:
            told()

    return run


def _arguments(name: str, ctx: TaskContext, given: Any, takes: slice) -> tuple[Any, ...]:
    """What the handler is called with; raises Expired when it is too late for that."""
    values = cast("Mapping[str, Any]", given) if isinstance(given, dict) else dict[str, Any]()
    expires_at = values.get("expires_at")
    if expires_at is not None and ctx.attempt == 1 and time.time() * 1_000_000 >= expires_at:
        raise Expired(f"task {name!r} did not begin before it expired")
    return (ctx, values.get("payload"))[takes]


#: What a handler takes of (ctx, payload).
_BOTH: Final = slice(0, 2)
_CONTEXT: Final = slice(0, 1)
_PAYLOAD: Final = slice(1, 2)
_NOTHING: Final = slice(0, 0)


def _takes(name: str, call: Call) -> slice:
    """What it is called with, by its signature; further parameters have defaults and are left alone."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return _PAYLOAD  # a built-in callable that does not tell
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return _BOTH
    places = [each for each in parameters if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    required = sum(each.default is each.empty for each in places)
    keywords = [
        each.name for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    ]
    if required > 2 or keywords:
        wanted = keywords[0] if keywords else places[2].name
        raise InvalidExecutor(
            f"the handler of {name!r} is called with (ctx, payload); it also wants {wanted!r}"
        )
    contextual = bool(places) and places[0].name in _CONTEXT_NAMES
    if required == 2 or (contextual and len(places) >= 2):
        return _BOTH
    if contextual:
        return _CONTEXT
    return _PAYLOAD if places else _NOTHING


def _failing(method: Call) -> Call:
    """`on_failure`, not called for a task that expired: its handler was not called either."""
    if inspect.iscoroutinefunction(method):

        async def tell_async(ctx: TaskContext, error: TaskError) -> None:
            if error.code != EXPIRED_CODE:
                await method(ctx, error)

        return tell_async

    def tell(ctx: TaskContext, error: TaskError) -> None:
        if error.code != EXPIRED_CODE:
            method(ctx, error)

    return tell


def _retrying(method: Call, last_error: LastError) -> Call:
    """`on_retry`, with the error of the attempt before; None when that ended with its engine."""
    if inspect.iscoroutinefunction(method):

        async def tell_async(ctx: TaskContext, error: TaskError | None) -> None:
            await method(ctx, error or await asyncio.to_thread(last_error, ctx))

        return tell_async

    def tell(ctx: TaskContext, error: TaskError | None) -> None:
        method(ctx, error or last_error(ctx))

    return tell
