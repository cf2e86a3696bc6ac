"""`logs`: what the tasks of an instance have said, also while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .commands import Adder
from .errors import INTERRUPTED, OK, UsageProblem
from .options import DB_DEFAULT, Db, Id, Json, make_options
from .output import clean, console, emit_list, local_time
from .stopping import stop_signals

if TYPE_CHECKING:
    from ...repositories.readmodels import LogEntry
    from ...services.execution_service import ExecutionService

__all__ = ["add_to"]

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(logs, "logs 01a1fb96 --level warning --follow")


def logs(
    id_: Id,
    *,
    path: Annotated[str | None, typer.Option("--path", metavar="PATH", help="Only of this task.")] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="LEVEL", help=f"At least this: {', '.join(_LEVELS)}.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the instance has ended.")
    ] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> int:
    """Show what the tasks of an instance have logged."""
    from ...services.container import reading

    if level is not None and level not in _LEVELS:
        raise UsageProblem(f"--level: there is no level {level!r}; take one of {', '.join(_LEVELS)}.")
    with stop_signals() as stop, reading(make_options(db)) as services:
        executions = services.executions
        instance_id = executions.resolve(id_)
        found = executions.logs(instance_id, path=path, level=level)
        if follow:
            found = _following(executions, instance_id, stop.is_set, path=path, level=level)
        if json:
            emit_list(map(_log_json, found))
        else:
            _print_logs(found)
    return INTERRUPTED if stop.is_set() else OK


def _following(
    executions: ExecutionService,
    instance_id: str,
    stopped: Callable[[], bool],
    *,
    path: str | None,
    level: str | None,
) -> Iterator[LogEntry]:
    after, ended = 0, False
    while not stopped():
        for entry in executions.logs(instance_id, path=path, level=level, after=after):
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


def _print_logs(entries: Iterator[LogEntry]) -> None:
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
