"""The kinds of rules there are: what each looks for, what it takes, and the rule that is shipped of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from ...engine.durations import parse_duration
from ...engine.errors import Problem
from ...engine.problems import suggestion

__all__ = ["HARMLESS", "KINDS", "Field", "Kind", "checked_settings", "seconds_of"]

_YEAR_S: Final = 366 * 86_400.0
_TEXT: Final = 512
_ITEMS: Final = 50


@dataclass(slots=True, frozen=True)
class Field:
    """One thing that a rule may be told."""

    name: str
    type: Literal["duration", "integer", "number", "pattern", "list"]
    default: Any
    about: str
    low: float = 0
    high: float = _YEAR_S


@dataclass(slots=True, frozen=True)
class Kind:
    """One thing that can be looked for."""

    name: str
    about: str
    severity: str
    fields: tuple[Field, ...]
    #: Each process looks for itself, instead of one for all.
    own: bool = False


#: Reasons of `explain` for which a run may wait as long as it likes: somebody or something is expected to come.
HARMLESS: Final = ("backoff", "child", "paused", "running", "signal", "start_at", "timer")


def _pattern(what: str) -> Field:
    return Field("pattern", "pattern", "*", f"Names of {what}, with `*` and `?`.")


def _clear(default: str = "1m") -> Field:
    return Field("clear_after", "duration", default, "Resolved when the cause has been gone for so long.")


def _hold(default: str = "0s") -> Field:
    return Field("hold", "duration", default, "Raised when it has been so for so long.")


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind(
            "run_failed",
            "Runs of a definition failed.",
            "warning",
            (
                _pattern("definitions"),
                Field("window", "duration", "10m", "Resolved when none has failed for so long.", 1, 86_400),
                _clear("0s"),
            ),
        ),
        Kind(
            "failure_rate",
            "Of the runs of a definition that ended, too many failed.",
            "critical",
            (
                _pattern("definitions"),
                Field("window", "duration", "15m", "Runs that ended within it count.", 1, 86_400),
                Field("share", "number", 0.5, "Raised from this share on.", 0.001, 1),
                Field("minimum", "integer", 10, "Fewer runs say nothing.", 1, 5_000),
                _clear(),
            ),
        ),
        Kind(
            "slow_run",
            "A run takes much longer than runs of its definition did.",
            "warning",
            (
                _pattern("definitions"),
                Field("factor", "number", 3.0, "Times what 95 of 100 runs did not exceed.", 1, 1_000),
                Field("history", "integer", 100, "The newest completed runs that are compared.", 1, 500),
                Field("minimum", "integer", 10, "Fewer completed runs say nothing.", 1, 500),
                Field("at_least", "duration", "1m", "Shorter runs are never slow."),
                _clear("0s"),
            ),
        ),
        Kind(
            "stuck_run",
            "Nothing of a run has changed for long, and nothing is expected to change it.",
            "warning",
            (
                _pattern("definitions"),
                Field("after", "duration", "1h", "So long."),
                Field("ignore", "list", list(HARMLESS), "Reasons of `explain` that are as they should be."),
                _clear("0s"),
            ),
        ),
        Kind(
            "queue_age",
            "A task has been ready for long, and nobody takes it.",
            "warning",
            (_pattern("queues"), Field("age", "duration", "10m", "So long."), _clear()),
        ),
        Kind(
            "queue_depth",
            "Many tasks of a queue are ready.",
            "warning",
            (_pattern("queues"), Field("depth", "integer", 5_000, "So many.", 1, 10_000), _clear()),
        ),
        Kind(
            "connection_pool",
            "All database connections of a process are in use.",
            "warning",
            (Field("share", "number", 1.0, "Of a pool's connections.", 0.1, 1), _hold("30s"), _clear()),
            own=True,
        ),
        Kind(
            "disk_space",
            "There is little room where the SQLite file is.",
            "critical",
            (Field("free_mb", "integer", 1_000, "Megabytes that must be free.", 1, 10**9), _clear()),
        ),
        Kind(
            "db_connections",
            "The Postgres server has few connections left.",
            "critical",
            (Field("share", "number", 0.85, "Of `max_connections`.", 0.01, 1), _clear()),
        ),
        Kind(
            "long_transaction",
            "A transaction is open for long: it holds back the event feed, and vacuum.",
            "warning",
            (Field("age", "duration", "5m", "So long."), _clear()),
        ),
        Kind(
            "unhealthy_executor",
            "An executor's `health_check` says that it is not well.",
            "warning",
            (
                _pattern("executors"),
                Field("every", "duration", "1m", "How often it is asked."),
                Field("timeout", "duration", "5s", "No answer for so long is bad, too.", 0.01, 60),
                _clear("2m"),
            ),
            own=True,
        ),
        Kind(
            "engine_offline",
            "An engine ended without signing off.",
            "warning",
            (
                Field("window", "duration", "15m", "Resolved so long after its end.", 1, 86_400),
                Field("overdue", "duration", "30s", "A lease that is over for so long counts as an end."),
                _clear("0s"),
            ),
        ),
        Kind(
            "no_engine",
            "There is work, and no engine to do it.",
            "critical",
            (_hold("30s"), _clear("30s")),
        ),
        Kind(
            "stuck_loop",
            "A loop of a process does not come round.",
            "critical",
            (Field("age", "duration", "1m", "For so long."), _clear("30s")),
            own=True,
        ),
    )
}


def seconds_of(settings: Mapping[str, Any], name: str) -> float:
    """The seconds of a duration among checked settings."""
    return parse_duration(settings[name]) / 1_000_000


def checked_settings(kind: Kind, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """All settings of a kind, with defaults for what was not given; and what is wrong with what was."""
    known = {each.name: each for each in kind.fields}
    found: dict[str, Any] = {each.name: each.default for each in kind.fields}
    problems: list[Problem] = []
    for name, value in given.items():
        shown = name[:80].encode("utf-8", "replace").decode()
        pointer = "/settings/" + shown.replace("~", "~0").replace("/", "~1")
        if name not in known:
            hint = suggestion(shown, known)
            problems.append(Problem(pointer, "unknown_setting", f"{kind.name} takes no {shown!r}", hint))
            continue
        try:
            found[name] = _value(known[name], value)
        except ValueError as exc:
            problems.append(Problem(pointer, "wrong_value", f"{name}: {exc}", None))
    return found, problems


def _value(field: Field, value: Any) -> Any:
    match field.type:
        case "duration":
            _within(field, parse_duration(value) / 1_000_000, " s")
        case "integer":
            if type(value) is not int:
                raise ValueError("a whole number is wanted")
            _within(field, value)
        case "number":
            if type(value) not in {int, float} or not math.isfinite(float(value) if abs(value) < 1e18 else 0):
                raise ValueError("a number is wanted")
            _within(field, value)
        case "pattern":
            _check_text(value)
        case "list":
            if not isinstance(value, list) or len(cast("list[Any]", value)) > _ITEMS:
                raise ValueError(f"a list of at most {_ITEMS} texts is wanted")
            for each in cast("list[Any]", value):
                _check_text(each)
    return cast("Any", value)


def _check_text(value: Any) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= _TEXT or not value.isprintable():
        raise ValueError(f"printable text of 1 to {_TEXT} characters is wanted")


def _within(field: Field, value: float, unit: str = "") -> None:
    if not field.low <= value <= field.high:
        raise ValueError(f"must lie between {field.low:.12g} and {field.high:.12g}{unit}")
