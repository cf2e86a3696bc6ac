"""The domain `python`: calls a function by its name, in a thread; an async one on the loop.

The function must be importable where the engine runs. It runs with all rights of the process: a definition
from elsewhere must not reach this executor (the registry's `allow`).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import reduce
from typing import Any, Final, cast

from pydantic import Field

from .base import Json, TaskContext
from .domain import ExecutorDomain
from .errors import NonRetryable
from .fields import BuiltinConfig

__all__ = ["python"]

python: Final = ExecutorDomain("python")

_NAME: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


class CallConfig(BuiltinConfig):
    #: `module:name`; the name may have dots.
    function: str = Field(pattern=_NAME)
    args: dict[str, Any] = Field(default_factory=dict[str, Any])


class FunctionNotFound(NonRetryable):
    """Raised when `function` cannot be imported, or is nothing that can be called."""


class BadArguments(NonRetryable):
    """Raised when `args` do not fit the function's parameters; it was not called."""


@python.executor("call", config=CallConfig)
def call(_ctx: TaskContext, config: CallConfig) -> Json:
    """Call `module:name` with `args` as keyword arguments; return what it returns."""
    function = _resolve(config.function)
    try:
        inspect.signature(function).bind(**config.args)
    except TypeError as exc:
        raise BadArguments(f"{config.function}: {exc}") from None
    except ValueError:
        pass  # a built-in that does not tell its parameters: the call will say what is wrong
    return function(**config.args)


def _resolve(text: str) -> Callable[..., Any]:
    module_name, _, name = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise FunctionNotFound(
            f"cannot import {text!r}: no module named {exc.name!r} where this engine runs; install it there, "
            "or name its file with --import"
        ) from exc
    except Exception as exc:
        raise FunctionNotFound(f"importing {module_name!r} raised {type(exc).__name__}: {exc}") from exc
    try:
        found: object = reduce(getattr, name.split("."), module)
    except AttributeError:
        raise FunctionNotFound(f"the module {module_name!r} has no {name!r}") from None
    if not callable(found):
        raise FunctionNotFound(f"{text!r} is a {type(found).__name__}, which cannot be called")
    return cast("Callable[..., Any]", found)
