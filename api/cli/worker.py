"""`worker`: executes what is in the database, in one process or several."""

from __future__ import annotations

from typing import Annotated

import typer

from .errors import INTERRUPTED, OK
from .options import DB_DEFAULT, Db, Imports, make_options, seconds_of
from .output import note
from .stopping import Stop, stop_signals

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(worker)


def worker(
    drain: Annotated[bool, typer.Option("--drain", help="End when no unfinished instance is left.")] = False,
    slots: Annotated[int, typer.Option("--slots", min=1, help="Tasks at a time.")] = 100,
    queues: Annotated[
        list[str] | None, typer.Option("--queue", help="Serve this queue; may be repeated.")
    ] = None,
    grace: Annotated[
        str, typer.Option("--grace", help="How long running tasks may go on after a stop.")
    ] = "10s",
    imports: Imports = None,
    db: Db = DB_DEFAULT,
) -> int:
    """Execute tasks until stopped."""
    from ...services.container import running

    options = make_options(
        db,
        imports,
        executes=True,
        slots=slots,
        queues=tuple(queues or ()),
        grace_s=seconds_of(grace, "--grace") or 0.0,
    )
    with stop_signals("Stopping …") as stop, running(options) as services:
        note(f"Worker on {db}.")
        drained = _serve(services.executions.unfinished, stop, drain=drain)
    return OK if drained or not drain else INTERRUPTED


def _serve(unfinished: object, stop: Stop, *, drain: bool) -> bool:
    pause = 0.02
    while not stop.wait(pause if drain else 3600.0):
        if drain and callable(unfinished) and unfinished() == 0:
            return True
        pause = min(0.25, pause * 1.3)
    return False
