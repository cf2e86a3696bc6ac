"""What one may do to instances that exist: signal, pause, retry, roll back, fork, migrate, and more in bulk.

All of it works while no engine runs: it is written down, and takes effect when one starts.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import running
from .errors import FAILED, OK, UsageProblem
from .filters import Created, Labels, Name, State, filter_of
from .options import DB_DEFAULT, Db, Id, Inputs, Json, inputs_of, make_options, seconds_of
from .output import brief, emit_json, emit_list, note, print_table, say, short, show_warnings
from .usage import by_whom

if TYPE_CHECKING:
    from ...services.ports import Operates, UseCases

__all__ = ["add_to"]

Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Kept with the instance and its history.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TASK]...", help="Where to begin: paths as `tasks` shows them."),
]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(signal, """signal 01a1fb96 review --data '{"approve": true}'""")
    add(pause, "pause 01a1fb96")
    add(resume, "resume 01a1fb96")
    add(terminate, "terminate 01a1fb96 --reason 'wrong inputs'")
    add(retry, "retry 01a1fb96 'settle[3]'")
    add(rollback, "rollback 01a1fb96 charge")
    add(fork, "fork 01a1fb96 report --set day=2026-11-21")
    add(rerun, "rerun 01a1fb96")
    add(migrate, "migrate 01a1fb96 billing.nightly@4 --plan")
    add(bulk, "bulk cancel --name billing.nightly --state running --label team=core")


@contextmanager
def _operating(db: str) -> Generator[tuple[UseCases, Operates]]:
    show_warnings()
    with running(make_options(db)) as services:
        yield services, services.operations


def _one(db: str, id_: str, act: Callable[[Operates, str], str], *, json: bool) -> None:
    """Do something to one instance and say in which state it is then."""
    with _operating(db) as (services, operations):
        instance_id = services.executions.resolve(id_)
        answer = act(operations, instance_id)
        status = services.executions.status(instance_id)
    if json:
        emit_json(status.as_json())
    else:
        already = " already" if answer == "ignored" else ""
        say(f"{short(instance_id)} is {status.state}{already}.")


def signal(
    id_: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the signal.")],
    *,
    data: Annotated[str, typer.Option("--data", metavar="JSON", help="What the wait gets.")] = "null",
    signal_id: Annotated[
        str | None, typer.Option("--id", metavar="TEXT", help="The same id again changes nothing.")
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Send a named message to an instance.

    A wait for it takes it, now or later; it is kept until then.
    """
    try:
        payload = jsonlib.loads(data)
    except ValueError as exc:
        raise UsageProblem(f"--data is not JSON: {exc}.", hint="Text is written '\"like this\"'.") from exc
    with _operating(db) as (services, operations):
        instance_id = services.executions.resolve(id_)
        answer = operations.signal(instance_id, name, payload, signal_id)
    if json:
        emit_json({"id": instance_id, "signal": name, "status": answer})
    else:
        say(f"{short(instance_id)} got {name!r}{' before' if answer == 'existing' else ''}.")


def pause(id_: Id, *, reason: Reason = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Take nothing new of an instance; what runs goes on to its end."""
    _one(db, id_, lambda ops, one: ops.pause(one, reason or by_whom(None, "paused")), json=json)


def resume(id_: Id, *, reason: Reason = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Let a paused instance go on."""
    _one(db, id_, lambda ops, one: ops.resume(one, reason or by_whom(None, "resumed")), json=json)


def terminate(id_: Id, *, reason: Reason = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """End an instance at once.

    Running tasks are given up; no handler and no `finally` runs. `cancel` is the gentle way.
    """
    _one(db, id_, lambda ops, one: ops.terminate(one, reason or by_whom(None, "terminated")), json=json)


def retry(
    id_: Id, tasks: Tasks = None, *, reason: Reason = None, db: Db = DB_DEFAULT, json: Json = False
) -> None:
    """Try again what failed in an ended instance, or some tasks and all that follows from them.

    What completed is kept: of a map, only the failed items run again.
    """
    _one(db, id_, lambda ops, one: ops.retry(one, reason or "retried", *tasks or ()), json=json)


def rollback(
    id_: Id, tasks: Tasks = None, *, reason: Reason = None, db: Db = DB_DEFAULT, json: Json = False
) -> None:
    """Take an ended instance back to before some tasks.

    What followed them is undone first, where it has an `undo`; its variables are forgotten; then it runs again. The
    history keeps everything.
    """
    _one(db, id_, lambda ops, one: ops.rollback(one, reason or "rolled back", *tasks or ()), json=json)


def fork(
    id_: Id,
    nodes: Annotated[
        list[str], typer.Argument(metavar="NODE...", help="Nodes that run anew, with what follows.")
    ],
    *,
    text: Inputs = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="One input, changed; the others stay."),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="NODE=JSON", help="Another output of a node that is kept."),
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Start a new instance from a point of another one.

    It takes over what the other did before these nodes, with its outputs.
    """
    given = dict(_output(pair) for pair in outputs or ())
    with _operating(db) as (services, operations):
        instance_id = services.executions.resolve(id_)
        old: dict[str, Any] = services.executions.status(instance_id).inputs or {}
        inputs: Any = None if text is None and not sets else {**old, **inputs_of(text, sets)}
        made = operations.fork(instance_id, *nodes, inputs=inputs, outputs=given)
    _say_made(made, json=json)


def _output(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    try:
        value = jsonlib.loads(text)
    except ValueError as exc:
        raise UsageProblem(
            f"--output {pair!r} gives no JSON.", hint="Write --output fetch='[1, 2]'."
        ) from exc
    if not equals or not name:
        raise UsageProblem(f"--output {pair!r} names no node.")
    return name, value


def _say_made(instance_id: str, *, json: bool) -> None:
    if json:
        emit_json({"id": instance_id})
    else:
        say(instance_id)


def rerun(id_: Id, *, text: Inputs = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Start the same again as a new instance, with the same inputs or others."""
    with _operating(db) as (services, operations):
        instance_id = services.executions.resolve(id_)
        made = operations.rerun(instance_id, None if text is None else inputs_of(text, None))
    _say_made(made, json=json)


def migrate(
    id_: Id,
    to: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="The version to go on with.")],
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would meet.")] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on although finished work has no place there.")
    ] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> int:
    """Let a live instance go on under another version of its definition.

    With --plan nothing changes: it says what is safe, what would be lost, and what makes it impossible (exit code 1).
    """
    with _operating(db) as (services, operations):
        instance_id = services.executions.resolve(id_)
        found = operations.migration(instance_id, to)
        if not plan:
            operations.migrate(instance_id, to, accept_loss=accept_loss)
    if json:
        emit_json(
            {
                "id": instance_id,
                "to": to,
                "verdict": found.verdict,
                "migrated": not plan,
                "safe": found.safe,
                "lost": found.lost,
                "impossible": [{"path": path, "reason": why} for path, why in found.impossible],
            }
        )
    else:
        say(f"{short(instance_id)} to {to}: {found.verdict}{'' if plan else ', migrated'}.")
        for path, why in found.impossible:
            note(f"  {path or 'the instance'}: {why}")
        for path in found.lost:
            note(f"  {path}: its output could no longer be read")
    return FAILED if plan and found.impossible else OK


def bulk(
    operation: Annotated[
        str, typer.Argument(metavar="OPERATION", help="cancel, terminate, pause, resume or retry.")
    ],
    *,
    state: State = None,
    name: Name = None,
    labels: Labels = None,
    created_before: Created = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every instance; needed when no other option chooses.")
    ] = False,
    reason: Reason = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> int:
    """Do the same to every instance that matches.

    Every option that is given must match. An instance that refuses does not stop the others; then the exit code is 1.
    """
    from ...repositories.filters import InstanceFilter
    from ...services.operations import BULK

    if operation not in BULK:
        raise UsageProblem(f"there is no bulk operation {operation!r}; take one of {', '.join(BULK)}.")
    where = filter_of(state, name, labels, older=seconds_of(created_before, "--older"))
    if everything == (where != InstanceFilter()):
        raise UsageProblem(
            "--all and a choice contradict each other." if everything else "nothing says which instances.",
            hint="Choose by --state, --name, --label or --older, or write --all for every instance.",
        )
    with _operating(db) as (_, operations):
        answers = list(operations.bulk(operation, where, reason or f"bulk {operation}"))
    refused = [each for each in answers if each.status == "refused"]
    if json:
        emit_list(
            {"id": each.instance_id, "status": each.status, "problem": each.problem} for each in answers
        )
    else:
        print_table(
            ["ID", "STATUS", "PROBLEM"],
            ([short(each.instance_id), each.status, brief(each.problem or "")] for each in answers),
        )
    return FAILED if refused else OK
