"""`run`, `start`, `wait`, `cancel`: the commands that make instances move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import FAILED, INTERRUPTED, OK
from .options import DB_DEFAULT, Db, File, Id, Imports, Json, Key, inputs_of, make_options, seconds_of
from .output import emit_json, note, short
from .stopping import Stop, stop_signals

if TYPE_CHECKING:
    from ...engine.status import WorkflowStatus
    from ...services.execution_service import ExecutionService

__all__ = ["add_to"]

Input = Annotated[str | None, typer.Option("--input", metavar="JSON|@FILE", help="Inputs as a JSON object.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="One input; JSON if it is JSON, else text. Dots go inwards."
    ),
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="Wait no longer, e.g. 90s or 1h.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(run)
    app.command()(start)
    app.command()(wait)
    app.command()(cancel)


def run(
    file: File,
    text: Input = None,
    sets: Sets = None,
    imports: Imports = None,
    key: Key = None,
    timeout: Timeout = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> int:
    """Run a definition to its end and print its result."""
    from ...services.container import running

    inputs, limit = inputs_of(text, sets), seconds_of(timeout, "--timeout")
    with stop_signals("Stopping …") as stop, running(make_options(db, imports, executes=True)) as services:
        executions = services.executions
        instance_id = executions.start(file, inputs, key=key)
        ended = _until_ended(executions, instance_id, stop, limit)
        status = executions.status(instance_id)
    return _report(status, json=json, ended=ended)


def start(
    definition: str,
    text: Input = None,
    sets: Sets = None,
    imports: Imports = None,
    key: Key = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Start an instance and return at once; a worker executes it."""
    from ...services.container import running

    inputs = inputs_of(text, sets)
    path = Path(definition)
    source: Any = path if path.is_file() or path.suffix in {".json", ".yaml", ".yml"} else definition
    with running(make_options(db, imports)) as services:
        instance_id = services.executions.start(source, inputs, key=key)
        status = services.executions.status(instance_id)
    if json:
        emit_json(status.as_json())
    else:
        print(instance_id)


def wait(id: Id, timeout: Timeout = None, db: Db = DB_DEFAULT, json: Json = False) -> int:
    """Wait until an instance has ended."""
    from ...services.container import running

    limit = seconds_of(timeout, "--timeout")
    with stop_signals("") as stop, running(make_options(db)) as services:
        executions = services.executions
        instance_id = executions.resolve(id)
        ended = _until_ended(executions, instance_id, stop, limit)
        status = executions.status(instance_id)
    return _report(status, json=json, ended=ended)


def cancel(id: Id, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Cancel an instance."""
    from ...services.container import running

    with running(make_options(db)) as services:
        instance_id = services.executions.resolve(id)
        services.executions.cancel(instance_id)
        status = services.executions.status(instance_id)
    if json:
        emit_json(status.as_json())
    else:
        note(f"{short(instance_id)} is {status.state}.")


def _until_ended(executions: ExecutionService, instance_id: str, stop: Stop, limit: float | None) -> bool:
    import time

    deadline = None if limit is None else time.monotonic() + limit
    while not stop.is_set():
        if executions.wait(instance_id, 0.1):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
    return False


def _report(status: WorkflowStatus, *, json: bool, ended: bool) -> int:
    if json:
        emit_json(status.as_json())
    elif status.error:
        note(f"{status.state}: {status.error['message']}")
    elif ended:
        emit_json(status.output)
    if not ended and not status.ended:
        note("Interrupted; it can go on: strataflow worker --drain")
        return INTERRUPTED
    return OK if status.state == "completed" else FAILED
