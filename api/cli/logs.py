"""`logs`: what the tasks of an instance have said, also while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .commands import Adder
from .door import reading
from .errors import INTERRUPTED, OK, UsageProblem
from .options import DB_DEFAULT, Db, Id, Json, make_options, moment_of
from .output import clean, console, emit_list, local_time
from .stopping import stop_signals

if TYPE_CHECKING:
    from ...repositories.readmodels import LogEntry
    from ...services.ports import Executions

__all__ = ["add_to"]

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(logs, "logs 01a1fb96 --level warning --search refused --since 10m")


def logs(
    id_: Id,
    *,
    path: Annotated[str | None, typer.Option("--path", metavar="PATH", help="Only of this task.")] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="LEVEL", help=f"At least this: {', '.join(_LEVELS)}.")
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Only lines with this text, in any case.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Not older than this: 10m, or an instant of ISO 8601."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="Not newer than this; as --since.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many, the oldest first.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the instance has ended.")
    ] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> int:
    """Show what the tasks of an instance have logged; `--json > logs.json` is an export.

    A task can log so much: 10,000 lines and 4 MiB an attempt, less in further attempts; its last line says so then.
    """
    if level is not None and level not in _LEVELS:
        raise UsageProblem(f"--level: there is no level {level!r}; take one of {', '.join(_LEVELS)}.")
    wanted: dict[str, Any] = {"path": path, "level": level, "search": search}
    wanted |= {"since": moment_of(since, "--since"), "until": moment_of(until, "--until")}
    with stop_signals() as stop, reading(make_options(db)) as services:
        executions = services.executions
        instance_id = executions.resolve(id_)
        found = executions.logs(instance_id, **wanted)
        if follow:
            found = _following(executions, instance_id, stop.is_set, wanted)
        found = islice(found, limit)
        if json:
            emit_list(map(_log_json, found))
        else:
            _print_logs(found)
    return INTERRUPTED if stop.is_set() else OK


def _following(
    executions: Executions,
    instance_id: str,
    stopped: Callable[[], bool],
    wanted: dict[str, Any],
) -> Iterator[LogEntry]:
    after, ended = 0, False
    while not stopped():
        for entry in executions.logs(instance_id, **wanted, after=after):
            after = entry.seq
            yield entry
        if ended:
            return
        # Once it has ended there is one more look, for what was written with the end.
        ended = executions.wait(instance_id, 0.3)


def _log_json(entry: LogEntry) -> dict[str, Any]:
    from ...engine.outputs import iso

    return {
        "seq": entry.seq,
        "at": iso(entry.at),
        "path": entry.path,
        "attempt": entry.attempt,
        "level": entry.level,
        "message": entry.message,
    }


def _print_logs(entries: Iterable[LogEntry]) -> None:
    from rich.text import Text

    out = console()
    styles = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}
    for entry in entries:
        place = f"{entry.path} #{entry.attempt}" if entry.attempt > 1 else entry.path
        lines = [clean(line) for line in entry.message.splitlines()] or [""]
        head = Text.assemble(
            (local_time(entry.at).partition(" ")[2], "dim"),
            "  ",
            (f"{entry.level:7}", styles.get(entry.level, "")),
            "  ",
            (place, "bold"),
            f"  {lines[0]}",
        )
        out.print(head, soft_wrap=True)
        for line in lines[1:]:
            out.print(Text(f"    {line}"), soft_wrap=True)
