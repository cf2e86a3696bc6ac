"""`worker`: executes what is in the database, in one process or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ...services.checks import many
from .commands import Adder
from .errors import INTERRUPTED, OK, UsageProblem
from .loglines import show_log
from .options import DB_DEFAULT, Db, Imports, Json, make_options
from .output import emit_json, note
from .settings import Settings, with_settings
from .stopping import Stop, stop_signals

if TYPE_CHECKING:
    from ...services.container import Options
    from ...services.execution_service import ExecutionService

__all__ = ["add_to", "serve"]

_FIRST_LOOK_S: Final = 0.02
_LOOK_S: Final = 0.25


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(worker, "worker --engines 4 --queue billing --import tasks.py")


@with_settings("engine", "telemetry.port", "telemetry.host", "log")
def worker(
    *,
    drain: Annotated[bool, typer.Option("--drain", help="End when no unfinished instance is left.")] = False,
    engines: Annotated[int, typer.Option("--engines", min=1, max=256, metavar="N", help="Processes.")] = 1,
    imports: Imports = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
    settings: Settings,
) -> int:
    """Execute tasks until stopped.

    SIGTERM or Ctrl-C stops claiming, lets running tasks end within --grace, then gives them back unharmed; a second one
    ends at once. --drain waits for timers and retries too; it ends with 130 if it was stopped before. Any number of
    workers may share a database.
    """
    from ...services.telemetry import telemetry_of

    telemetry = telemetry_of({**settings, "telemetry.metrics": False}, "worker")
    if engines > 1 and telemetry.port is not None:
        raise UsageProblem(
            "--metrics-port is for one engine.", hint="Start workers one by one, each with a port of its own."
        )
    options = make_options(
        db, imports, settings, create=True, executes=True, watches=True, telemetry=telemetry
    )
    log = settings["log.format"], settings["log.level"]
    show_log(*log)
    if engines > 1:
        from .fleet import run_fleet

        drained = run_fleet(options, engines, drain=drain, log=log)
    else:
        with stop_signals() as stop:
            drained = serve(options, stop, drain=drain, say=note)
    if json:
        emit_json({"engines": engines, "drained": drained})
    return OK if drained or not drain else INTERRUPTED


def serve(options: Options, stop: Stop, *, drain: bool, say: Callable[[str], None]) -> bool:
    """Run one engine until asked to stop, or until nothing is left; True in the second case."""
    from ...services.container import running

    with running(options) as services:
        say(f"Worker {services.engine_id} works{' until nothing is left' if drain else ''}; Ctrl-C stops it.")
        _say_metrics(options, say)
        drained = _until_drained(services.executions, stop, say) if drain else bool(stop.wait()) and False
        if stop.is_set():
            say(f"Stopping; running tasks have {options.grace_s:g} s.")
    return drained


def _say_metrics(options: Options, say: Callable[[str], None]) -> None:
    from ...services.telemetry import configure_telemetry

    if options.telemetry is not None and (address := configure_telemetry(options.telemetry).address):
        say(f"Metrics for Prometheus: http://{address[0]}:{address[1]}/metrics")


def _until_drained(executions: ExecutionService, stop: Stop, say: Callable[[str], None]) -> bool:
    pause = _FIRST_LOOK_S
    while True:
        if executions.unfinished() == 0:
            if paused := executions.paused():
                say(f"Left as before: {many(paused, 'paused instance')}.")
            return True
        if stop.wait(pause):
            return False
        pause = min(_LOOK_S, pause * 1.3)
