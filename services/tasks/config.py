"""What may be said about a task: `TaskConfig`, the options of `submit`, and `Task`, which carries both with a name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from ...engine.errors import EngineError

__all__ = [
    "PRIORITIES",
    "Execution",
    "Task",
    "TaskConfig",
    "as_task",
    "as_tasks",
    "configured",
    "listed",
    "priority_number",
    "queue_name",
]

PRIORITIES: Final[Mapping[str, int]] = {"lowest": 1, "low": 3, "normal": 5, "high": 7, "highest": 9}
_HIGHEST: Final = 1_000_000
#: Other words for the same options.
_WORDS: Final = {"retries": "max_retries", "expires_in": "expires", "run_at": "eta"}
_CENTURY_S: Final = 100 * 365 * 86_400.0
_QUEUE: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_ERROR: Final = re.compile(r"[A-Za-z0-9_.*]+")
_LONGEST_KEY: Final = 512
#: As many labels as a run may have.
_MOST_TAGS: Final = 50


@dataclass(slots=True, frozen=True)
class Execution:
    """The part of a config that says how a handler is called; it belongs to the stored definition."""

    timeout: float | None
    max_retries: int
    retry_delay: float
    backoff: float
    max_delay: float
    jitter: float
    never: tuple[str, ...]
    heartbeat: float | None


@dataclass(slots=True, frozen=True, kw_only=True)
class TaskConfig:
    """Options of a task; times in seconds. Raises ValueError naming the option that is out of bounds."""

    #: Longest attempt; None is no limit.
    timeout: float | None = 300.0
    #: Longest silence of an attempt: between two `ctx.heartbeat`, or other signs of life; None is no limit.
    heartbeat: float | None = None
    #: Attempts after the first: 3 means up to 4 attempts.
    max_retries: int = 3
    #: Pause before the first retry.
    retry_delay: float = 1.0
    #: Each pause is this many times the one before.
    backoff: float = 2.0
    #: No pause is longer.
    max_delay: float = 3600.0
    #: Share of a pause, 0 to 1, that chance may add or take.
    jitter: float = 0.0
    #: Errors that are never retried: names or classes of exceptions, or whole codes such as `timeout`.
    never: tuple[str, ...] = ()
    #: 1 to 9 by name or number, or any whole number; higher begins first.
    priority: int = PRIORITIES["normal"]
    #: Begin no sooner than this instant.
    eta: datetime | None = None
    #: … or than so many seconds after it was submitted.
    delay: float | None = None
    #: When it has not begun by then, it never does: an instant, or seconds after it was submitted.
    expires: datetime | float | None = None
    queue: str = "default"
    #: Words to find and cancel tasks by.
    tags: tuple[str, ...] = ()
    #: The same key again is the same task.
    key: str | None = None

    def __post_init__(self) -> None:
        _set(self, "priority", priority_number(self.priority))
        _set(self, "never", tuple(_error_name(each) for each in _many("never", self.never)))
        _set(self, "tags", tuple(dict.fromkeys(_tag(each) for each in _many("tags", self.tags))))
        for name in ("eta", "expires"):
            value = getattr(self, name)
            if isinstance(value, datetime) and value.tzinfo is None:
                _set(self, name, value.replace(tzinfo=UTC))
        _check(self)

    @property
    def execution(self) -> Execution:
        """What of it belongs to the definition."""
        return Execution(*(getattr(self, each.name) for each in fields(Execution)))

    @property
    def engine_priority(self) -> int:
        """The priority as the engine counts it: `normal` is its 0."""
        return self.priority - PRIORITIES["normal"]

    def instants(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """When it may begin, and when it may no more, for a task that is submitted now."""
        start = self.eta if self.delay is None else now + timedelta(seconds=self.delay)
        expires = self.expires
        if expires is not None and not isinstance(expires, datetime):
            expires = now + timedelta(seconds=expires)
        return start, expires


@dataclass(slots=True, frozen=True)
class Task:
    """A task that can be submitted, put into a batch, or be a step of a composition."""

    name: str
    payload: Any = None
    config: TaskConfig = field(default_factory=TaskConfig)

    def __post_init__(self) -> None:
        name = cast("Any", self.name)
        if not isinstance(name, str) or not name.strip() or "\x00" in name or len(name) > 200:
            built = "; call its build()" if callable(getattr(name, "build", None)) else ""
            raise ValueError(f"a task's name is text of 1 to 200 characters, not {name!r}{built}")


def configured(base: TaskConfig, options: Mapping[str, Any]) -> TaskConfig:
    """A config with these options instead. Raises TypeError for an unknown one, ValueError for a bad value."""
    if not options:
        return base
    known = {each.name for each in fields(TaskConfig)}
    named = {_WORDS.get(name, name): value for name, value in options.items()}
    unknown = sorted(set(named) - known)
    if unknown:
        raise TypeError(f"{unknown[0]!r} is no option of a task; there are {', '.join(sorted(known))}")
    if len(named) < len(options):
        raise TypeError("an option is given twice, under two names")
    return replace(base, **named)


def as_task(value: Any, base: TaskConfig) -> Task:
    """A task from a `Task`, a name, or a pair of name and payload. Raises TypeError, ValueError."""
    if isinstance(value, Task):
        return value
    if isinstance(value, str):
        return Task(value, None, base)
    if isinstance(value, tuple):
        parts = cast("tuple[Any, ...]", value)
        if len(parts) == 2:
            return Task(parts[0], parts[1], base)
        if len(parts) == 3 and isinstance(parts[2], Mapping):
            return Task(parts[0], parts[1], configured(base, cast("Mapping[str, Any]", parts[2])))
    raise TypeError(f"a task is a Task, a name, (name, payload) or (name, payload, options), not {value!r}")


def as_tasks(given: Iterable[Any], base: TaskConfig) -> list[Task]:
    """Tasks from a list of what `as_task` takes. Raises TypeError, ValueError."""
    return [as_task(each, base) for each in listed(given)]


def listed(given: Iterable[Any]) -> Iterable[Any]:
    """A list as it is. Raises TypeError for a name alone, which would be taken apart letter by letter."""
    if isinstance(given, str | Mapping | Task) or not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not checked
        raise TypeError(f"tasks are given as a list, not {given!r}")
    return given


def priority_number(value: Any) -> int:
    """1 to 9 for a name, a whole number as it is. Raises ValueError."""
    if isinstance(value, str):
        if value in PRIORITIES:
            return PRIORITIES[value]
        raise ValueError(f"priority is one of {', '.join(PRIORITIES)} or a whole number, not {value!r}")
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _HIGHEST // 2:
        raise ValueError(f"priority is one of {', '.join(PRIORITIES)} or a whole number, not {value!r}")
    return value


def _check(config: TaskConfig) -> None:
    bounds: dict[str, tuple[float, float]] = {
        "timeout": (0.001, _CENTURY_S),
        "heartbeat": (0.001, _CENTURY_S),
        "max_retries": (0, 1_000_000),
        "retry_delay": (0.0, _CENTURY_S),
        "backoff": (1.0, 1000.0),
        "max_delay": (0.0, _CENTURY_S),
        "jitter": (0.0, 1.0),
        "delay": (0.0, _CENTURY_S),
        "expires": (0.0, _CENTURY_S),
    }
    for name, (low, high) in bounds.items():
        value: Any = getattr(config, name)
        if value is None and name in {"timeout", "heartbeat", "delay", "expires"}:
            continue
        if name == "expires" and isinstance(value, datetime):
            continue
        if not low <= _number(name, value) <= high:
            raise ValueError(f"{name} must lie between {low:g} and {high:g}, not {value!r}")
    if config.eta is not None and config.delay is not None:
        raise ValueError("a task has an eta or a delay, not both")
    kinds: dict[str, Any] = {"max_retries": int, "eta": datetime | None, "queue": str, "key": str | None}
    for name, kind in kinds.items():
        value = getattr(config, name)
        if not isinstance(value, kind):
            raise ValueError(f"{name} cannot be {value!r}")  # noqa: TRY004 - one error for every option
    queue_name(config.queue)
    if config.key is not None and not (0 < len(config.key) <= _LONGEST_KEY and "\x00" not in config.key):
        raise ValueError(f"a key is text of 1 to {_LONGEST_KEY} characters, not {config.key[:80]!r}")
    if len(config.tags) > _MOST_TAGS:
        raise ValueError(f"a task has at most {_MOST_TAGS} tags, not {len(config.tags)}")


def queue_name(value: Any) -> str:
    """A queue's name as it is. Raises ValueError."""
    if not isinstance(value, str) or not _QUEUE.fullmatch(value):
        raise ValueError(f"a queue's name is 1 to 63 letters, digits, '_', '.' and '-', not {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is a number of seconds or a count, not {value!r}")
    return value


def _many(name: str, value: Any) -> Iterable[Any]:
    """One name alone would be taken apart letter by letter."""
    if isinstance(value, str | type):
        return (value,)
    if not isinstance(value, Iterable):
        raise ValueError(f"{name} is a list of names, not {value!r}")  # noqa: TRY004 - one error for every option
    return cast("Iterable[Any]", value)


def _error_name(value: Any) -> str:
    if isinstance(value, type) and issubclass(value, BaseException):
        return value.__name__
    if isinstance(value, str) and _ERROR.fullmatch(value):
        return value
    raise ValueError(f"'never' names exceptions or error codes, not {value!r}")


def _tag(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\x00" in value or len(value) > 200:
        raise ValueError(f"a tag is text of 1 to 200 characters, not {value!r}")
    return value


def _set(config: TaskConfig, name: str, value: Any) -> None:
    object.__setattr__(config, name, value)


def refused(exc: Exception) -> EngineError:
    """A bad option as an error of the engine's family, for what reports errors as values."""
    if isinstance(exc, EngineError):
        return exc
    return EngineError(f"the task is refused: {exc}")
