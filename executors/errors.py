"""The executors' errors, and how an exception becomes the stored error of an attempt (DSL rule 25).

ExecutorError               an attempt failed; raise it, a subclass, or any other exception
├── NonRetryable            … and trying again cannot help
│   └── ConfigRefused       the rendered config does not fit; engine code `config`
├── AttemptTimeout          the attempt took longer than it may; engine code `timeout`
├── AttemptCancelled        the executor stopped because it was asked to; engine code `cancelled`
└── RegistryError           a name or an executor is refused
    ├── DuplicateExecutor   the name is taken
    ├── InvalidExecutor     the object, its name or its schema cannot serve as an executor
    └── UnknownExecutor     nothing has this name; engine code `no_executor`
        └── ExecutorDisabled  it exists, but is switched off in this process
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, cast

from .base import Json, TaskError

__all__ = [
    "AttemptCancelled",
    "AttemptTimeout",
    "ConfigRefused",
    "DuplicateExecutor",
    "ExecutorDisabled",
    "ExecutorError",
    "InvalidExecutor",
    "NonRetryable",
    "RegistryError",
    "UnknownExecutor",
    "error_from_exception",
    "failure_of",
    "storable_text",
]

#: Bytes of UTF-8 kept of an error's message (its start) and of its traceback (its end).
MESSAGE_CAP: Final = 4096
TRACEBACK_CAP: Final = 8192
#: Bytes of JSON that `details` may take; larger details are dropped.
DETAILS_CAP: Final = 65_536
_CODE_CAP: Final = 200
_TRACEBACK_FRAMES: Final = 60
_ELLIPSIS: Final = "…".encode()


class ExecutorError(Exception):
    """Raised by an executor when its attempt failed.

    A subclass may set `retryable`, `code` or `details` as class attributes instead of passing them.
    """

    #: The engine code that stands instead of `<domain>.<Class>`; for the engine's own conditions only.
    engine_code: ClassVar[str | None] = None

    message: str = ""
    #: Replaces the class's name in the error code; with a dot in it, the whole code.
    code: str | None = None
    #: False: the engine does not try again, whatever the retry policy says.
    retryable: bool = True
    #: Any JSON value, stored with the error.
    details: Json = None

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retryable: bool | None = None,
        details: Json = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable
        if details is not None:
            self.details = details


class NonRetryable(ExecutorError):
    """Raised when trying again cannot help: the request is wrong, not the moment."""

    retryable = False


class ConfigRefused(NonRetryable):
    """Raised when a rendered config does not fit; `problems` are (JSON pointer, message) pairs."""

    engine_code = "config"

    def __init__(self, executor: str, problems: Sequence[tuple[str, str]]) -> None:
        self.executor = executor
        self.problems = tuple(problems)
        told = "; ".join(f"{pointer or '/'}: {message}" for pointer, message in self.problems)
        listed = [{"pointer": pointer, "message": message} for pointer, message in self.problems]
        super().__init__(f"the config does not fit {executor}: {told}", details=listed)


class AttemptTimeout(ExecutorError):
    """Raised when an attempt took longer than its timeout; whatever it still does is ignored."""

    engine_code = "timeout"

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"the attempt took longer than its timeout of {timeout_s:g} s")


class AttemptCancelled(ExecutorError):
    """Raised by an executor that stops because `ctx.cancelled` is true; its attempt counts as cancelled."""

    engine_code = "cancelled"


class RegistryError(ExecutorError):
    """Base of what the registry refuses."""

    retryable = False


class DuplicateExecutor(RegistryError):
    """Raised when a name is registered twice; nothing was registered."""


class InvalidExecutor(RegistryError):
    """Raised when an object, its name or its schema cannot serve as an executor."""


class UnknownExecutor(RegistryError):
    """Raised when no executor has the name."""

    engine_code = "no_executor"


class ExecutorDisabled(UnknownExecutor):
    """Raised when the executor exists but this process does not allow it."""


def failure_of(exc: BaseException) -> ExecutorError:
    """An ordinary failure for what must not travel on as it is, with the class's name as code.

    `StopIteration` cannot pass a coroutine, `SystemExit` and `KeyboardInterrupt` would end more than the
    attempt, and a `CancelledError` or `AttemptCancelled` that nobody asked for would pass for a cancellation.
    """
    name = type(exc).__name__
    failure = ExecutorError(_text_of(exc) or f"the executor raised {name}", code=name)
    failure.__cause__ = exc
    return failure


def error_from_exception(exc: BaseException, domain: str, *, mask: Callable[[str], str] = str) -> TaskError:
    """Describe `exc`, raised by an executor of `domain`, as a storable error; never raises.

    `mask` takes out of its texts what is not to be stored, before they are cut.
    """
    engine_code = getattr(exc, "engine_code", None) if isinstance(exc, ExecutorError) else None
    codes = (engine_code,) if engine_code else _codes(exc, domain, mask)
    own = exc if isinstance(exc, ExecutorError) else None
    return TaskError(
        code=codes[0],
        message=storable_text(mask(_text_of(exc)) or type(exc).__name__, MESSAGE_CAP),
        codes=codes,
        retryable=bool(own.retryable) if own else True,
        details=_masked(_json_or_none(own.details), mask) if own else None,
        traceback=None if engine_code else _traceback_of(exc, mask),
    )


def storable_text(text: str, cap: int, *, keep_end: bool = False) -> str:
    """At most `cap` bytes of `text`, with lone surrogates and NUL escaped: no database refuses the result."""
    near = text[-cap:] if keep_end else text[:cap]
    data = near.encode("utf-8", "backslashreplace").replace(b"\0", b"\\x00")
    if len(near) == len(text) and len(data) <= cap:
        return data.decode()
    room = cap - len(_ELLIPSIS)
    data = _ELLIPSIS + data[-room:] if keep_end else data[:room] + _ELLIPSIS
    return data.decode("utf-8", "ignore")


def _codes(exc: BaseException, domain: str, mask: Callable[[str], str]) -> tuple[str, ...]:
    kind = type(exc)
    names = [base.__name__ for base in kind.__mro__ if issubclass(base, BaseException) and base not in _ROOTS]
    explicit = exc.code if isinstance(exc, ExecutorError) else None
    if explicit:
        names.insert(0, storable_text(mask(str(explicit)), _CODE_CAP))
    names = names or [kind.__name__]
    codes = (name if "." in name else f"{domain}.{name}" for name in names)
    return tuple(dict.fromkeys(codes))


_ROOTS: Final = frozenset({Exception, BaseException, ExecutorError})


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:  # noqa: BLE001  # user code: its __str__
        return f"{type(exc).__name__} has no readable message: its __str__ raised {type(broken).__name__}"


def _json_or_none(value: Json) -> Json:
    """A copy of `value` if it is JSON within the cap; the attempt's failure must not fail on its details."""
    if value is None:
        return None
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        return json.loads(text) if len(text.encode()) <= DETAILS_CAP else None
    except (TypeError, ValueError, RecursionError):
        return None


def _masked(value: Json, mask: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(each, mask) for each in cast("list[Json]", value)]
    if isinstance(value, dict):
        return {mask(name): _masked(each, mask) for name, each in cast("dict[str, Json]", value).items()}
    return value


def _traceback_of(exc: BaseException, mask: Callable[[str], str]) -> str:
    users = frame = exc.__traceback__
    while frame:
        if frame.tb_next and frame.tb_frame.f_globals.get("__name__") in _OWN_FRAMES:
            users = frame.tb_next
        frame = frame.tb_next
    lines = traceback.format_exception(type(exc), exc, users, limit=-_TRACEBACK_FRAMES)
    return storable_text(mask("".join(lines)), TRACEBACK_CAP, keep_end=True)


_PACKAGE: Final = __name__.rpartition(".")[0]
#: What stands between the engine and user code; it and what called it say nothing to who reads the error.
_OWN_FRAMES: Final = frozenset({f"{_PACKAGE}.coroutines", f"{_PACKAGE}.invoke", f"{_PACKAGE}.threads"})
