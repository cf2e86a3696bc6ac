"""`run`, `start`, `wait`, `cancel`: the commands that make instances move."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ...services.checks import many
from .commands import Adder
from .door import reading, running
from .errors import FAILED, INTERRUPTED, OK, UsageProblem
from .filters import labels_of
from .options import (
    DB_DEFAULT,
    Db,
    Id,
    Imports,
    Inputs,
    Json,
    Key,
    Sets,
    Timeout,
    again,
    inputs_of,
    make_options,
    seconds_of,
)
from .output import brief, emit_json, note, say, short, show_warnings, took
from .stopping import Stop, stop_signals
from .target import at_server
from .usage import by_whom, usage_errors

if TYPE_CHECKING:
    from ...engine.starts import StartOptions
    from ...engine.status import WorkflowStatus
    from ...services.container import Options
    from ...services.ports import Executions

__all__ = ["add_to"]

#: How long tasks may go on after Ctrl-C; they run again later, so nobody has to wait for them.
_GRACE_S: Final = 3.0
_NOBODY: Final = "No worker runs where the server is; it begins when one does."
_SUFFIXES: Final = (".json", ".yaml", ".yml")

Queue = Annotated[
    str | None, typer.Option("--queue", metavar="NAME", help="Queue of its tasks that name none.")
]
Priority = Annotated[
    int | None,
    typer.Option("--priority", metavar="N", help="Of its tasks that have none; higher runs first."),
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME", help="For `cancel --tag`; may be repeated.")
]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(run, "run flow.json --set day=2026-11-20")
    add(start, "start billing.nightly --set day=2026-11-20 --key 2026-11-20 --queue reports --priority 5")
    add(wait, "wait 01a1fb96 --timeout 10m")
    add(cancel, "cancel 01a1fb96")


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The definition, JSON or YAML.")],
    *,
    text: Inputs = None,
    sets: Sets = None,
    folder: Annotated[
        Path | None,
        typer.Option("--with", metavar="DIR", help="Register the definitions of this folder first."),
    ] = None,
    imports: Imports = None,
    key: Key = None,
    timeout: Timeout = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> int:
    """Run a definition to its end and print its result.

    Everything is kept in the database as it happens: after Ctrl-C, a crash or a power cut the next `run` or `worker` on
    the same database goes on where this one stopped. Exit code 0: completed; 1: failed or cancelled; 2: the definition
    or the inputs were refused; 130: interrupted.
    """
    inputs, limit_s = inputs_of(text, sets), seconds_of(timeout, "--timeout")
    options = make_options(db, imports, create=True, executes=True, grace_s=_GRACE_S)
    name = _check(options, file, inputs) if at_server() is None else _name(file)
    show_warnings()
    with stop_signals() as stop, running(options) as services:
        if folder is not None:
            services.workflows.register_folder(folder)
        instance_id = _start(services.executions, file, name, inputs, key)
        ended, status = _follow(
            services.executions, instance_id, stop, limit_s, runs_here=at_server() is None
        )
        # Before the engine stops: tasks of other instances may have their grace, this one's result need not wait.
        return _report(status, options, json=json, ended=ended)


def _check(options: Options, file: Path, inputs: dict[str, Any]) -> str:
    """Refuse what would be refused before a database is made or anything is resumed; the definition's name."""
    from ...engine.inputs import prepare_inputs
    from ...services.container import offline

    definition, _ = offline(options).require_valid(file)
    prepare_inputs(definition.inputs, inputs)
    return definition.name


def _name(file: Path) -> str:
    """A definition's name as the file has it; the server says what is wrong with the rest."""
    from ...services.remote.documents import document_of

    return str(document_of(file).get("name", file.stem))


def _start(executions: Executions, file: Path, name: str, inputs: dict[str, Any], key: str | None) -> str:
    waiting = executions.unfinished() if at_server() is None else 0
    if waiting:
        note(
            f"{many(waiting, 'unfinished instance')} of this database {'goes' if waiting == 1 else 'go'} on as well."
        )
    earlier = executions.started_before(name, key) if key is not None else None
    instance_id = executions.start(file, inputs, key=key)
    if earlier is not None:
        note(f"Key {key!r} was used before: this is its instance {short(instance_id)}.")
    if at_server() is not None and not executions.workers():
        note(_NOBODY)
    if not sys.stderr.isatty():
        note(f"{name} {instance_id} started.")
    return instance_id


def start(
    definition: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A file, or a name or name@3 that is stored.")
    ],
    *,
    text: Inputs = None,
    sets: Sets = None,
    imports: Imports = None,
    key: Key = None,
    mutex: Annotated[
        str | None, typer.Option("--mutex", metavar="TEXT", help="At most one live instance with this text.")
    ] = None,
    duplicate: Annotated[
        str | None,
        typer.Option("--on-duplicate", metavar="WHAT", help="return_existing, reject or queue."),
    ] = None,
    queue: Queue = None,
    priority: Priority = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="For lists and bulk; may be repeated."),
    ] = None,
    tags: Tags = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Begin no sooner than this: 10m.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="DURATION", help="Never begin when it has not by then: 1h."),
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Start an instance that a worker executes.

    Prints its id. It is durable when the command returns, and nothing of it has run. `start NAME` takes the active
    version, or the newest if none is active.
    """
    inputs, options = inputs_of(text, sets), make_options(db, imports, create=True)
    chosen = _start_options(key, mutex, duplicate, [*(labels or ()), *_tags(tags)], delay, expires)
    chosen = replace(chosen, queue=queue, priority=priority)
    path = Path(definition)
    is_file = path.suffix in _SUFFIXES or path.is_file()
    show_warnings()
    with usage_errors(), running(options) as services:
        workflows, executions = services.workflows, services.executions
        source = workflows.register(path) if is_file else workflows.find(definition)
        for warning in source.warnings:
            note(f"warning: {warning}")
        instance_id = executions.start(source, inputs, options=chosen)
        status = executions.status(instance_id)
        lonely = not status.ended and not executions.workers()
    if json:
        emit_json(status.as_json())
    else:
        say(instance_id)
    if lonely:
        note(_no_worker(options))


def _no_worker(options: Options) -> str:
    if at_server() is not None:
        return _NOBODY
    return f"No worker runs on this database; start one: {again('worker', options)}"


def _tags(tags: list[str] | None) -> list[str]:
    """Tags are labels of their own names."""
    return [f"tag:{tag}=1" for tag in tags or ()]


def _start_options(  # noqa: PLR0917 - one per option
    key: str | None,
    mutex: str | None,
    duplicate: str | None,
    labels: list[str] | None,
    delay: str | None,
    expires: str | None,
) -> StartOptions:
    from ...engine.starts import DUPLICATES, OnDuplicate, StartOptions

    known: dict[str, OnDuplicate] = {each: each for each in DUPLICATES}
    if duplicate is not None and duplicate not in known:
        raise UsageProblem(f"--on-duplicate: take one of {', '.join(known)}.")
    return StartOptions(
        key=key,
        mutex=mutex,
        on_duplicate=None if duplicate is None else known[duplicate],
        labels=labels_of(labels),
        start_at=seconds_of(delay, "--delay"),
        expires_at=seconds_of(expires, "--expires"),
    )


def wait(id_: Id, *, timeout: Timeout = None, db: Db = DB_DEFAULT, json: Json = False) -> int:
    """Wait until an instance has ended, and print its result.

    Exit codes are those of `run`; 1 also when the time is over.
    """
    limit_s, options = seconds_of(timeout, "--timeout"), make_options(db)
    with stop_signals() as stop, reading(options) as services:
        instance_id = services.executions.resolve(id_)
        ended, status = _follow(services.executions, instance_id, stop, limit_s, runs_here=False)
    if ended:
        return _report(status, options, json=json, ended=True)
    if json:
        emit_json(status.as_json())
    note(f"{short(status.id)} is still {status.state}.")
    return INTERRUPTED if stop.is_set() else FAILED


def cancel(
    id_: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="An instance's id, or its beginning.")
    ] = None,
    *,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="NAME", help="Instead of an ID: every instance with it.")
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Kept with the instance; else your name is."),
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="DURATION", help="Give up what still runs after this time: 30s."),
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Cancel an instance, or every instance with a tag.

    Nothing new starts in it, running tasks are asked to stop; it ends when they have, and `finally` has run.
    """
    if (id_ is None) == (tag is None):
        raise UsageProblem("name one instance, or --tag.")
    show_warnings()
    why = reason or by_whom(None, "cancelled")
    if id_ is None:
        _cancel_tag(db, tag or "", why, json=json)
        return
    with running(make_options(db)) as services:
        instance_id = services.executions.resolve(id_)
        services.executions.cancel(instance_id, why, seconds_of(grace, "--grace"))
        status = services.executions.status(instance_id)
    if json:
        emit_json(status.as_json())
    else:
        say(f"{short(instance_id)} is {status.state}.")


def _cancel_tag(db: str, tag: str, reason: str, *, json: bool) -> None:

    with running(make_options(db)) as services:
        answers = list(services.queues.cancel_tag(tag, reason))
    if json:
        emit_json(
            [{"id": each.instance_id, "status": each.status, "problem": each.problem} for each in answers]
        )
    else:
        say(f"{many(len(answers), 'instance')} with the tag {tag!r} cancelled.")


def _follow(
    executions: Executions, instance_id: str, stop: Stop, limit_s: float | None, *, runs_here: bool
) -> tuple[bool, WorkflowStatus]:
    from .progress import until_ended

    ended = until_ended(executions, instance_id, stop, limit_s)
    if stop.is_set() and runs_here:
        note(f"Stopping; running tasks have {_GRACE_S:.0f} s. Ctrl-C again ends at once.")
    return ended, executions.status(instance_id)


def _report(status: WorkflowStatus, options: Options, *, json: bool, ended: bool) -> int:
    if json:
        emit_json(status.as_json())
    if not ended:
        _say_unfinished(status, options)
        return INTERRUPTED
    time_taken = took(status.created_at, status.ended_at)
    if status.state != "completed":
        _report_failure(status, options, time_taken)
        return FAILED
    if not sys.stderr.isatty():
        note(f"{status.name} {short(status.id)} completed in {time_taken}.")
    if not json:
        emit_json(status.output)
    return OK


def _say_unfinished(status: WorkflowStatus, options: Options) -> None:
    what = f"{status.name} {short(status.id)} is not finished."
    if at_server() is not None:
        note(f"{what} It goes on at the server; this waits for it again:")
        note(f"  {again(f'wait {short(status.id)}', options)}")
        return
    note(f"{what} It goes on with the next run on this database, or with:")
    note(f"  {again('worker', options)} --drain")


def _report_failure(status: WorkflowStatus, options: Options, time_taken: str) -> None:
    note(f"{status.name} {short(status.id)} {status.state} after {time_taken}.")
    error = status.error
    while error:
        place = f" at {error['path']}" if error.get("path") else ""
        place += f", attempt {error['attempt']}" if error.get("attempt") else ""
        note(f"  {error.get('code')}{place}: {brief(error.get('message'), 500)}")
        error = error.get("cause")
    if status.state == "cancelled" and status.reason:
        note(f"  {brief(status.reason)}")
    note("What the tasks got, gave and said:")
    for command in ("tasks", "logs"):
        note(f"  {again(f'{command} {short(status.id)}', options)}")
