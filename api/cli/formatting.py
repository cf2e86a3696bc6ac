"""`fmt`: definitions in one layout."""

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
