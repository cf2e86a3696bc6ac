"""What commands print: JSON for programs on stdout, tables for people, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["emit_json", "emit_list", "note", "print_table", "short"]


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(_dumps(value) + "\n")
    sys.stdout.flush()


def emit_list(values: Iterable[Any]) -> None:
    """One JSON array on stdout, written while it is read: it may be longer than memory."""
    mark = "["
    for value in values:
        sys.stdout.write(mark + "\n" + _dumps(value, indent=None))
        mark = ","
    sys.stdout.write("[]\n" if mark == "[" else "\n]\n")
    sys.stdout.flush()


def _dumps(value: Any, *, indent: int | None = 2) -> str:
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.dumps(value, ensure_ascii=plain, indent=indent)


def note(text: str) -> None:
    """One line for people, on stderr."""
    print(text, file=sys.stderr)


def short(instance_id: str) -> str:
    """As much of an id as tells instances apart."""
    return instance_id[:18]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(table)
