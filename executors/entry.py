"""One registered executor: the user's function or object, looked at once, so that running it needs no look.

`make_entry` refuses at registration what could only fail at run time: no `execute`, a generator, a wrong
number of parameters, a broken schema. An entry is immutable and safe to share between threads and engines.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from .base import Json, TaskContext
from .config import ConfigCheck, Problems, has_expression, make_check
from .errors import ConfigRefused, ExecutorError, InvalidExecutor

__all__ = ["ExecutorEntry", "Hooks", "check_domain_name", "check_executor", "make_entry", "split_name"]

_PART: Final = re.compile(r"[a-z][a-z0-9_]*")
_LIFECYCLE: Final = ("on_retry", "on_success", "on_failure", "cleanup")

Call = Callable[[TaskContext, Any], Any]
Hook = Callable[..., Any]


@dataclass(slots=True, frozen=True)
class Hooks:
    """The optional methods around `execute`; `invoke` says when each is called."""

    on_retry: Hook | None = None
    on_success: Hook | None = None
    on_failure: Hook | None = None
    cleanup: Hook | None = None


@dataclass(slots=True, frozen=True, eq=False)
class ExecutorEntry:
    """What the registry knows of one executor."""

    #: `domain.name`
    name: str
    domain: str
    #: One line for people; empty if there is none.
    description: str
    #: The function, or the `execute` of the object.
    call: Call
    #: `call` returns a coroutine and runs on the event loop; otherwise it runs in a thread.
    is_async: bool
    #: A synchronous `call` that never blocks: it may be called on the event loop itself.
    inline: bool
    #: None without any, so that the common case costs one test.
    hooks: Hooks | None
    #: Looks at a config beyond its schema.
    validate_config: Hook | None
    health_check: Hook | None
    #: What was registered: a function or an instance.
    executor: object
    check: ConfigCheck

    @property
    def config_model(self) -> type[Any] | None:
        """The pydantic model of the config, if there is one."""
        return getattr(self.check, "model", None)

    @property
    def config_schema(self) -> Mapping[str, Any]:
        """The JSON Schema of the config; `{}` accepts everything."""
        return self.check.schema()

    def config_problems(self, config: Json) -> Problems:
        """What is certainly wrong with a `with` whose expressions are not evaluated; None counts as `{}`."""
        problems = self.check.problems(config)
        if problems or self.validate_config is None or has_expression(config):
            return problems
        try:
            self.prepare(config)
        except ConfigRefused as exc:
            return list(exc.problems)
        return []

    def prepare(self, config: Json) -> Any:
        """What `call` receives for a rendered config. Raises ConfigRefused, which names each wrong place."""
        prepared = self.check.prepare(config, self.name)
        if self.validate_config is None:
            return prepared
        try:
            verdict = self.validate_config(prepared)
        except (ValueError, ExecutorError) as exc:  # the ways to refuse by raising
            raise ConfigRefused(self.name, [("", str(exc) or type(exc).__name__)]) from exc
        except Exception as exc:
            told = f"validate_config itself failed: {type(exc).__name__}" + (f": {exc}" if str(exc) else "")
            raise ConfigRefused(self.name, [("", told)]) from exc
        if problems := _problems_of(verdict):
            raise ConfigRefused(self.name, [("", problem) for problem in problems])
        return prepared


def split_name(name: str) -> tuple[str, str]:
    """`domain.name` in its two parts. Raises InvalidExecutor."""
    parts = name.split(".")
    if len(parts) != 2 or not all(map(_PART.fullmatch, parts)):
        raise InvalidExecutor(
            f"{name!r} is no executor name; write 'domain.name', each of a-z, 0-9 and _ after a first letter"
        )
    return parts[0], parts[1]


def check_domain_name(name: str) -> str:
    """`name` itself if it may name a domain. Raises InvalidExecutor."""
    if not _PART.fullmatch(name):
        raise InvalidExecutor(f"{name!r} is no domain name; use a-z, 0-9 and _, starting with a letter")
    return name


def check_executor(name: str, executor: object) -> None:
    """Raise InvalidExecutor unless `executor` has `execute` or can be called."""
    if callable(getattr(executor, "execute", None)):
        return
    if isinstance(executor, type):
        raise InvalidExecutor(
            f"the class {executor.__name__} cannot be {name}: it has no method execute(ctx, config)"
        )
    if not callable(executor):
        raise InvalidExecutor(
            f"{name} cannot be a {type(executor).__name__}: it is no function and has no execute(ctx, config)"
        )


def make_entry(
    name: str,
    executor: object,
    *,
    config: object = None,
    description: str | None = None,
    inline: bool = False,
) -> ExecutorEntry:
    """Build the entry of a function, a class (instantiated here) or an object. Raises InvalidExecutor."""
    domain, _ = split_name(name)
    check_executor(name, executor)
    target = _instance(name, executor) if isinstance(executor, type) else executor
    call = cast("Call", getattr(target, "execute", target))
    is_async = _is_async(call)
    _check_call(name, call)
    hooks = _hooks(target)
    if inline and (is_async or hooks):
        raise InvalidExecutor(f"{name} cannot be inline: that is for plain functions that never wait")
    schema = getattr(target, "config_schema", None) if config is None else config
    return ExecutorEntry(
        name=name,
        domain=domain,
        description=_description(target, description),
        call=call,
        is_async=is_async,
        inline=inline,
        hooks=hooks,
        validate_config=_validator(name, target),
        health_check=_method(target, "health_check"),
        executor=target,
        check=make_check(name, schema),
    )


def _instance(name: str, kind: type[object]) -> object:
    try:
        return kind()
    except Exception as exc:
        raise InvalidExecutor(
            f"{kind.__name__} cannot be created without arguments for {name} ({type(exc).__name__}: {exc}); "
            "register an instance instead"
        ) from exc


def _is_async(call: object) -> bool:
    method = getattr(call, "__call__", None)  # noqa: B004 - the method itself is looked at, not whether there is one
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(method)


def _check_call(name: str, call: Call) -> None:
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise InvalidExecutor(f"{name} is a generator; an executor returns one JSON value")
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return  # some built-in callables do not tell
    try:
        signature.bind(None, None)
    except TypeError as exc:
        raise InvalidExecutor(
            f"{name} is called with (ctx, config), which {signature} does not take: {exc}"
        ) from None


def _hooks(target: object) -> Hooks | None:
    found = {name: _method(target, name) for name in _LIFECYCLE}
    return Hooks(**found) if any(found.values()) else None


def _method(target: object, name: str) -> Hook | None:
    method = getattr(target, name, None)
    return cast("Hook", method) if callable(method) else None


def _validator(name: str, target: object) -> Hook | None:
    method = _method(target, "validate_config")
    if method is not None and _is_async(method):
        raise InvalidExecutor(f"validate_config of {name} must not be async: definitions are checked at once")
    return method


def _description(target: object, given: str | None) -> str:
    text = given if given is not None else getattr(target, "description", None)
    if not isinstance(text, str):
        documented = target if inspect.isroutine(target) else type(target)
        # A callable object without `execute`, such as a partial, only has the text of its general class.
        text = documented.__doc__ if inspect.isroutine(target) or hasattr(documented, "execute") else None
    return (text or "").strip().partition("\n")[0]


def _problems_of(verdict: object) -> list[str]:
    """What `validate_config` answered: None or True accept; False, a text or a list of texts refuse."""
    if verdict is None or verdict is True:
        return []
    if verdict is False:
        return ["refused by validate_config"]
    if isinstance(verdict, str):
        return [verdict] if verdict else []
    if isinstance(verdict, Iterable):
        return [str(problem) for problem in cast("Iterable[object]", verdict)]
    return [f"validate_config must return None, a bool or texts, not {type(verdict).__name__}"]
