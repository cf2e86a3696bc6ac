"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, cast

import typer

from ...repositories.url import DatabaseUrl
from ...services.container import DEFAULT_URL, Options
from .errors import UsageProblem
from .settings import Settings, engine_settings
from .target import server_label

__all__ = [
    "DB_DEFAULT",
    "Db",
    "Id",
    "Imports",
    "Inputs",
    "Json",
    "Key",
    "Sets",
    "Timeout",
    "again",
    "inputs_of",
    "make_options",
    "moment_of",
    "seconds_of",
]

DB_DEFAULT: Final = DEFAULT_URL

Db = Annotated[
    str,
    typer.Option(
        "--db",
        envvar="STRATAFLOW_DB",
        metavar="URL",
        help="sqlite:///file.db, sqlite:////absolute/file.db or postgresql://user@host/name.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        envvar="STRATAFLOW_IMPORT",
        metavar="MODULE",
        help="Module or .py file with executors of your own; may be repeated.",
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="An instance's id, or its beginning.")]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="TEXT", help="A second start with this key gives the first instance."),
]
Inputs = Annotated[
    str | None, typer.Option("--input", metavar="JSON|@FILE", help="The inputs as a JSON object.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="One input, on top of --input; a JSON value, else text. a.b=1 sets b inside a.",
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="Wait no longer than this: 90s, 5m, 1h30m."),
]


def make_options(
    db: str, imports: list[str] | None = None, settings: Settings | None = None, **more: Any
) -> Options:
    """The container's options from those of a command.

    A command without `settings` of its own gets those of environment and file, but for what is a service's: queues and
    grace. Raises UsageProblem for a URL that is none, and for a lease that is no longer than its margin.
    """
    try:
        DatabaseUrl.parse(db)
    except ValueError as exc:
        raise UsageProblem(f"--db: {exc}.") from exc
    fields = engine_settings(settings)
    if fields["lease_s"] <= fields["lease_margin_s"]:
        raise UsageProblem(
            "the lease must be longer than its margin.", hint="See --lease and --lease-margin."
        )
    if settings is None:
        del fields["queues"], fields["grace_s"]
    return Options(url=db, imports=tuple(imports or ()), **{**fields, **more})


def again(command: str, options: Options) -> str:
    """A command line for the same database or server, for people to copy; passwords stay out of it."""
    parts = ["strataflow", command]
    if label := server_label():
        return " ".join([*parts, label])
    if options.url != DEFAULT_URL:
        url = DatabaseUrl.parse(options.url)
        parts.append(f"--db {options.url if url.path is not None else url.label}")
    parts += [f"--import {module}" for module in options.imports]
    return " ".join(parts)


def inputs_of(text: str | None, pairs: list[str] | None) -> dict[str, Any]:
    """Inputs from `--input JSON|@file`, with every `--set a.b=value` on top. Raises UsageProblem."""
    inputs = _document(text) if text is not None else {}
    for pair in pairs or ():
        _set(inputs, pair)
    return inputs


def _document(text: str) -> dict[str, Any]:
    label = "--input"
    if text.startswith("@"):
        label = text[1:]
        try:
            text = Path(label).read_text(encoding="utf-8")
        except OSError as exc:
            raise UsageProblem(f"--input: {label} cannot be read: {exc.strerror or exc}.") from exc
        except UnicodeDecodeError as exc:
            raise UsageProblem(f"--input: {label} is not UTF-8: {exc.reason} at byte {exc.start}.") from exc
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as exc:
        raise UsageProblem(
            f"{label} is not JSON: {exc}.", hint="""Write --input '{"name": "value"}'."""
        ) from exc
    if not isinstance(value, dict):
        raise UsageProblem(f"{label} holds no JSON object.", hint="""Write --input '{"name": "value"}'.""")
    return cast("dict[str, Any]", value)


def _parse(text: str) -> Any:
    """JSON as the standard has it: Python's own reader takes NaN and Infinity too."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON value")


def _set(inputs: dict[str, Any], pair: str) -> None:
    name, equals, text = pair.partition("=")
    parts = name.split(".")
    if not equals or not all(parts):
        raise UsageProblem(
            f"--set {pair!r} assigns nothing.", hint="Write --set name=value, or --set a.b=value."
        )
    try:
        value = _parse(text)
    except (ValueError, RecursionError):
        value = text
    at = inputs
    for part in parts[:-1]:
        inner = at.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageProblem(f"--set {pair!r}: {part!r} has a value already that is no object.")
        at = cast("dict[str, Any]", inner)
    at[parts[-1]] = value


def seconds_of(text: str | None, option: str) -> float | None:
    """A duration in seconds: `90s`, `1h30m`, `PT5M`. Raises UsageProblem."""
    if text is None:
        return None
    from ...engine.durations import parse_duration

    try:
        return parse_duration(text) / 1_000_000
    except ValueError as exc:
        raise UsageProblem(f"{option}: {exc}.") from exc


def moment_of(text: str | None, option: str) -> int | None:
    """An instant in microseconds: ISO 8601, by this machine's zone where it names none, or so long ago: `10m`."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        pass
    try:
        return int((time.time() - (seconds_of(text, option) or 0.0)) * 1_000_000)
    except UsageProblem as exc:
        raise UsageProblem(
            f"{option}: {text!r} is no instant.",
            hint="Write 2026-11-20T08:00:00+01:00, or 10m for ten minutes ago.",
        ) from exc
