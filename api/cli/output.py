"""What commands print: JSON for programs on stdout, tables for people, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "brief",
    "clean",
    "console",
    "debugging",
    "emit_json",
    "emit_line",
    "emit_list",
    "local_time",
    "note",
    "print_table",
    "say",
    "short",
    "show_warnings",
    "state_text",
    "took",
]

#: Colours of states, of instances and tasks alike.
_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "expired": "red",
    "cancelled": "magenta",
    "cancelling": "magenta",
    "running": "cyan",
    "retrying": "yellow",
    "paused": "yellow",
    "skipped": "dim",
    "pending": "dim",
    "queued": "dim",
}
#: What a table without a terminal may be wide: nothing is cut for a program that reads it.
_WIDE: Final = 100_000
#: What a table's last column keeps at least on a narrow terminal, and any other column.
_LAST: Final = 16
_LEAST: Final = 8


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("STRATAFLOW_DEBUG", "") not in {"", "0"}


# --- for programs


def emit_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(_dumps(value, indent=2) + "\n")
    sys.stdout.flush()


def emit_list(values: Iterable[Any]) -> None:
    """One JSON array on stdout, an element a line, written while it is read: it may be longer than memory."""
    mark = "["
    for value in values:
        sys.stdout.write(f"{mark}\n{_dumps(value)}")
        mark = ","
    sys.stdout.write("[]\n" if mark == "[" else "\n]\n")
    sys.stdout.flush()


def emit_line(value: Any) -> None:
    """One JSON document on a line of its own, at once."""
    sys.stdout.write(_dumps(value) + "\n")
    sys.stdout.flush()


def _dumps(value: Any, indent: int | None = None) -> str:
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.dumps(value, ensure_ascii=plain, indent=indent)


# --- for people


def say(text: str) -> None:
    """A line on stdout: what was asked for."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line on stderr: what goes on beside it."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def clean(text: str) -> str:
    """A text of somebody else's for one line of a terminal: without control characters that could steer it."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text)


def brief(value: Any, width: int = 200) -> str:
    """A JSON value on one line, cut."""
    if value is None:
        return ""
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= width else text[: width - 1] + "…"


def short(instance_id: str) -> str:
    """As much of an id as tells instances apart; every command takes it."""
    return instance_id[:18]


def local_time(instant: str | int | None) -> str:
    """An instant, ISO 8601 or in microseconds, by the clock on the wall."""
    if instant is None:
        return ""
    found = (
        datetime.fromisoformat(instant)
        if isinstance(instant, str)
        else datetime.fromtimestamp(instant / 1_000_000, UTC)
    )
    return found.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def took(started_at: str | int | None, ended_at: str | int | None) -> str:
    """How long something took, for people; empty when it has not ended."""
    if started_at is None or ended_at is None:
        return ""
    if isinstance(started_at, str) or isinstance(ended_at, str):
        delta = datetime.fromisoformat(str(ended_at)) - datetime.fromisoformat(str(started_at))
        return _duration(delta.total_seconds())
    return _duration((ended_at - started_at) / 1_000_000)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def state_text(state: str) -> Text:
    """A state in its colour."""
    from rich.text import Text

    return Text(state, style=_STYLES.get(state, ""))


def console(*, stderr: bool = False) -> Console:
    """A console that cuts nothing when its output is read by a program."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, markup=False, width=None if stream.isatty() else _WIDE)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = ()
) -> None:
    """A table on stdout, one line a row. On a terminal it is cut to fit: the last column first, then the widest."""
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    natural = [max([len(name), *(row[at].cell_len for row in cells)]) for at, name in enumerate(columns)]
    if not sys.stdout.isatty():
        _print_plain(columns, cells, natural, right)
        return
    out = console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, width in zip(columns, _fitting(natural, out.width), strict=True):
        justify = "right" if name in right else "left"
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify=justify, width=width)
    for row in cells:
        table.add_row(*row)
    out.print(table)


def _print_plain(
    columns: Sequence[str], cells: Sequence[Sequence[Text]], widths: Sequence[int], right: Sequence[str]
) -> None:
    """The table for a program or a file: nothing cut, no blanks at the end of a line."""
    for row in [list(columns), *([cell.plain for cell in line] for line in cells)]:
        texts = [
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(columns, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(texts).rstrip() + "\n")
    sys.stdout.flush()


def _fitting(widths: list[int], room: int) -> list[int]:
    """Column widths that fit, with two blanks between columns."""
    fitting = list(widths)
    room -= 2 * len(widths)
    others = sum(fitting[:-1])
    fitting[-1] = min(fitting[-1], max(_LAST, room - others))
    while sum(fitting) > room and max(fitting[:-1]) > _LEAST:
        fitting[fitting.index(max(fitting[:-1]))] -= 1
    return fitting


def show_warnings() -> None:
    """Let the engine's own log reach stderr: warnings, as lines for people."""
    from .loglines import show_log

    show_log()
