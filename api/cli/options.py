"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from ...services.container import DEFAULT_URL
from .errors import UsageProblem

if TYPE_CHECKING:
    from ...services.container import Options

__all__ = [
    "Db",
    "File",
    "Id",
    "Imports",
    "Json",
    "Key",
    "inputs_of",
    "make_options",
    "seconds_of",
]

Db = Annotated[
    str,
    typer.Option(
        "--db",
        envvar="STRATAFLOW_DB",
        metavar="URL",
        help="Database: sqlite:///file.db or postgresql://user@host/name.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        envvar="STRATAFLOW_IMPORT",
        metavar="MODULE",
        help="Module or .py file with executors of your own; may be repeated.",
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of an instance, or the beginning of one.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="Definition, JSON or YAML.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="TEXT", help="Start once per key: a second start gives the first instance."
    ),
]

DB_DEFAULT: Final = DEFAULT_URL


def make_options(db: str, imports: list[str] | None = None, **more: Any) -> Options:
    """The container's options from those of a command."""
    from ...services.container import Options

    return Options(url=db, imports=tuple(imports or ()), **more)


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
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageProblem(f"--input: {label} cannot be read: {_reason(exc)}.") from exc
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise UsageProblem(
            f"{label} is not JSON: {exc}.", hint="""Write --input '{"name": "value"}'."""
        ) from exc
    if not isinstance(value, dict):
        raise UsageProblem(f"{label} must be a JSON object, not {type(value).__name__}.")
    return cast("dict[str, Any]", value)


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)


def _set(inputs: dict[str, Any], pair: str) -> None:
    name, equals, text = pair.partition("=")
    parts = name.split(".")
    if not equals or not all(parts):
        raise UsageProblem(
            f"--set {pair!r} is no assignment.", hint="Write --set name=value, or --set a.b=value."
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    at = inputs
    for part in parts[:-1]:
        inner = at.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageProblem(f"--set {pair!r}: {part!r} is set already and is no object.")
        at = cast("dict[str, Any]", inner)
    at[parts[-1]] = value


def seconds_of(text: str | None, option: str) -> float | None:
    """A duration as seconds: `90s`, `1h30m`, `PT5M`. Raises UsageProblem."""
    if text is None:
        return None
    from ...engine.durations import parse_duration

    try:
        return parse_duration(text) / 1_000_000
    except ValueError as exc:
        raise UsageProblem(f"{option}: {exc}") from exc
