"""From a file, the environment and flags to the value of every setting, and where it comes from. Pure.

Whatever is wrong is told all at once: its place, what it is, and the name that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..engine.durations import parse_duration
from ..engine.errors import Problem
from ..engine.problems import suggestion
from ..repositories.url import DatabaseUrl
from .configuration import NEVER, SETTINGS, Setting, Value

__all__ = [
    "FILE_VARIABLE",
    "Resolved",
    "SettingsFile",
    "cross_problems",
    "environment_problems",
    "read_file",
    "resolve",
]

#: Names a file that holds the database's URL: for secrets that come as files.
FILE_VARIABLE: Final = "STRATAFLOW_DB_FILE"
_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})


@dataclass(slots=True, frozen=True)
class Resolved:
    """A setting's value, and who said so."""

    setting: Setting
    value: Value
    #: `flag --slots`, `environment STRATAFLOW_SLOTS`, `file strataflow.toml`, `default`.
    source: str


@dataclass(slots=True, frozen=True)
class SettingsFile:
    """What a file says."""

    label: str
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    problems: tuple[Problem, ...] = ()


# --- a file


def read_file(text: str, label: str) -> SettingsFile:
    """Read a TOML text. Never raises for what is in it."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        return SettingsFile(label, {}, (Problem("", "not_toml", f"{label} is not TOML: {exc}"),))
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    for key, raw in _entries(document):
        setting = _KNOWN.get(key)
        at = f"{label}:{line_of(text, key)}"
        if setting is None:
            problems.append(_unknown(key, at))
            continue
        try:
            values[key] = _from_toml(setting, raw)
        except ValueError as exc:
            problems.append(Problem(_pointer(key), "wrong_value", f"{at}: {key}: {exc}", None))
    return SettingsFile(label, values, tuple(problems))


_KNOWN: Final = {setting.key: setting for setting in SETTINGS}
_SECTIONS: Final = {setting.section for setting in SETTINGS if setting.section}


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name in _SECTIONS and isinstance(value, dict):
            section = cast("dict[str, Any]", value)
            yield from ((f"{name}.{inner}", each) for inner, each in section.items())
        else:
            yield name, value


def _unknown(key: str, at: str) -> Problem:
    section, _, name = key.rpartition(".")
    inside = [each.name for each in SETTINGS if each.section == section] + (
        [] if section else sorted(_SECTIONS)
    )
    hint = suggestion(name, inside)
    if hint is None:  # the right name in another place
        hint = next((f"it is {each.key!r}" for each in SETTINGS if each.name == name), None)
    return Problem(_pointer(key), "unknown_setting", f"{at}: there is no setting {key!r}", hint)


def _pointer(key: str) -> str:
    return "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in key.split("."))


def line_of(text: str, key: str) -> int:
    """The line of a TOML text on which a key stands, as well as can be told without its parser; at least 1."""
    section, _, name = key.rpartition(".")
    here, header = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            here = found[1].replace(" ", "")
            if here in {section, key}:
                header = number
        elif found := re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line):
            full = f"{here}.{found[1]}" if here else found[1]
            if full == key or (full == section and name in line):
                return number
    return header


def _from_toml(setting: Setting, raw: Any) -> Value:
    """A value of the file. Raises ValueError that says what it must be."""
    kind = setting.kind
    if kind == "boolean":
        if not isinstance(raw, bool):
            raise ValueError("must be true or false")
        return raw
    if kind in {"integer", "number"}:
        if isinstance(raw, bool) or not isinstance(raw, int if kind == "integer" else int | float):
            raise ValueError("must be a whole number" if kind == "integer" else "must be a number")
        return checked(setting, float(raw) if kind == "number" else raw)
    if kind == "urls" and isinstance(raw, dict):
        raw = [f"{name}={url}" for name, url in cast("dict[str, Any]", raw).items()]
    if kind in {"list", "urls"}:
        found = cast("list[Any]", raw) if isinstance(raw, list) else None
        if found is None or not all(isinstance(each, str) and each for each in found):
            raise ValueError("must be a table of NAME = URL" if kind == "urls" else "must be a list of texts")
        return checked(setting, tuple(cast("list[str]", found)))
    if isinstance(raw, str):
        return checked(setting, raw)
    raise ValueError('must be a text, such as "10s"' if kind == "duration" else "must be a text")


# --- the environment


def _from_text(setting: Setting, text: str) -> Value:
    """A value of the environment or the command line. Raises ValueError that says what it must be."""
    kind = setting.kind
    if kind == "boolean":
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise ValueError("must be true or false")
        return word in _TRUE
    if kind in {"list", "urls"}:
        return checked(setting, tuple(text.split()))
    if kind in {"integer", "number"}:
        try:
            number = int(text) if kind == "integer" else float(text)
        except ValueError:
            raise ValueError("must be a whole number" if kind == "integer" else "must be a number") from None
        return checked(setting, number)
    return checked(setting, text)


def environment_problems(environment: Mapping[str, str]) -> list[tuple[Setting, Problem]]:
    """What is wrong with the variables of settings."""
    problems: list[tuple[Setting, Problem]] = []
    for setting in SETTINGS:
        if text := environment.get(setting.env):
            try:
                _from_text(setting, text)
            except ValueError as exc:
                problem = Problem(_pointer(setting.key), "wrong_value", f"{setting.env}: {exc}", None)
                problems.append((setting, problem))
    return problems


# --- both


def checked(setting: Setting, value: Value) -> Value:
    """A value of the right type. Raises ValueError that says what it must be."""
    if isinstance(value, tuple):
        for each in value if setting.kind == "urls" else ():
            _check_named_url(each)
    elif setting.kind == "url":
        DatabaseUrl.parse(str(value))
    elif setting.choices:
        if value not in setting.choices:
            raise ValueError(f"must be {' or '.join(setting.choices)}")
    elif setting.kind == "duration" and value is not None:
        if not (setting.never and value == NEVER):
            _within(setting, parse_duration(value) / 1_000_000)
    elif isinstance(value, int | float):
        _within(setting, value)
    return value


def _check_named_url(text: str) -> None:
    name, equals, url = text.partition("=")
    if not equals or not name:
        raise ValueError("must be NAME=URL")
    DatabaseUrl.parse(url)


def _within(setting: Setting, number: float) -> None:
    low, high = setting.low, setting.high
    if low is not None and high is not None and not low <= number <= high:
        unit = " s" if setting.kind == "duration" else ""
        raise ValueError(f"must lie between {low:.12g} and {high:.12g}{unit}")


def resolve(
    flags: Mapping[str, Value],
    environment: Mapping[str, str],
    file: SettingsFile | None = None,
    db_file: str | None = None,
    settings: Iterable[Setting] = SETTINGS,
) -> dict[str, Resolved]:
    """Settings by key. `flags` holds what stood on the command line; `db_file` what FILE_VARIABLE's file holds.

    Raises ValueError for a variable that `environment_problems` would name.
    """
    found: dict[str, Resolved] = {}
    for setting in settings:
        if setting.key in flags:
            value = checked(setting, flags[setting.key])
            found[setting.key] = Resolved(setting, value, f"flag {setting.flag}")
        elif text := environment.get(setting.env):
            found[setting.key] = Resolved(setting, _from_text(setting, text), f"environment {setting.env}")
        elif setting.key == "db" and db_file is not None:
            found["db"] = Resolved(setting, checked(setting, db_file), f"environment {FILE_VARIABLE}")
        elif file is not None and setting.key in file.values:
            found[setting.key] = Resolved(setting, file.values[setting.key], f"file {file.label}")
        else:
            found[setting.key] = Resolved(setting, setting.default, "default")
    return found


def cross_problems(values: Mapping[str, Resolved]) -> Iterable[Problem]:
    """What is wrong with settings that are well one by one."""
    from .configuration import seconds

    lease, margin = (seconds(str(values[key].value)) or 0 for key in ("engine.lease", "engine.lease_margin"))
    if lease <= margin:
        yield Problem(
            "/engine/lease", "wrong_value", "engine.lease must be longer than engine.lease_margin", ""
        )
    if (values["server.tls_cert"].value is None) != (values["server.tls_key"].value is None):
        yield Problem(
            "/server/tls_cert", "wrong_value", "server.tls_cert and server.tls_key go together", None
        )
