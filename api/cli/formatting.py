"""`fmt`: definitions in one layout; `convert`: step lists as definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .commands import Adder
from .errors import FAILED, OK, UsageProblem
from .options import Json
from .output import emit_json, note, say

__all__ = ["add_to"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(fmt, "fmt flow.json --check")
    add(convert, "convert steps.yaml > flow.json")


def fmt(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Definitions, JSON or YAML.")],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if a file would change.")
    ] = False,
    json: Json = False,
) -> int:
    """Write definitions in one layout.

    Fields in a fixed order, nodes as they stand, short values on one line. The meaning stays; comments of a YAML file
    are lost.
    """
    from ...services.formatting import format_text

    changed: list[Path] = []
    for file in files:
        try:
            before = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageProblem(f"{file} cannot be read: {exc}.") from exc
        after = format_text(before, yaml=file.suffix in {".yaml", ".yml"}, label=str(file))
        if after != before:
            changed.append(file)
            if not check:
                file.write_text(after, encoding="utf-8")
    if json:
        emit_json({"changed": [str(file) for file in changed]})
    for file in changed:
        (note if json else say)(f"{file} {'would change' if check else 'is written'}")
    return FAILED if check and changed else OK


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ordered list of steps, JSON or YAML.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of the definition, instead of its title.")
    ] = None,
) -> None:
    """Write a list of steps in Aura's form as a definition.

    `steps` with `action`, `params`, `when`, `loop` and `on_error` become nodes; what cannot be said faithfully is
    refused with its place.
    """
    import json as jsonlib

    from ...services.adhoc import definition_of, read_spec
    from ...services.formatting import format_text

    document = definition_of(read_spec(file), name=name)
    say(format_text(jsonlib.dumps(document), yaml=False, label=str(file)).rstrip())
