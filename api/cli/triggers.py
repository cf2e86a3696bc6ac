"""`triggers` and `emit`: definitions that start when an event comes."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import reading
from .errors import FAILED, UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options
from .output import brief, emit_json, emit_list, note, print_table, say, short
from .usage import usage_errors

if TYPE_CHECKING:
    from ...engine.triggers import Emitted
    from ...services.ports import Triggers

__all__ = ["add_to"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The trigger's name.")]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("triggers", "Definitions that start when an event comes.")
    group(list_, "triggers list", name="list")
    group(create, "triggers create big-orders 'order.*' billing --match '{{ event.payload.amount > 1000 }}'")
    group(pause, "triggers pause big-orders")
    group(resume, "triggers resume big-orders")
    group(remove, "triggers remove big-orders")
    add(emit, "emit order.paid --data '{\"id\": 7}' --id evt-7")


@contextmanager
def _service(db: str) -> Generator[Triggers]:
    with usage_errors(), reading(make_options(db)) as services:
        yield services.triggers


def _json(text: str | None, option: str) -> Any:
    try:
        return None if text is None else jsonlib.loads(text)
    except ValueError as exc:
        raise UsageProblem(f"{option} is not JSON: {exc}.", hint="Text is written '\"like this\"'.") from exc


def list_(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List the triggers."""
    from ...services.triggers import trigger_json

    with _service(db) as service:
        rows = [trigger_json(row) for row in service.list()]
    if json:
        emit_list(rows)
        return
    names = ("name", "pattern", "definition", "state", "runs", "problem")
    lines = [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    print_table([name.upper() for name in names], lines, right=["RUNS"])


def create(
    name: Name,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Event names: `order.*`.")],
    definition: Annotated[str, typer.Argument(metavar="DEFINITION", help="`name` or `name@3`.")],
    *,
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="EXPRESSION", help="Reads `event`: name, payload, id, at."),
    ] = None,
    inputs: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="Its texts may read '{{ event.payload }}'.")
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", metavar="QUEUE", help="For tasks that say none.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="N", help="Higher runs first.")
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Start a definition whenever an event of a matching name is emitted."""
    from ...services.triggers import TriggerSpec, trigger_json

    spec = TriggerSpec(name, pattern, definition, match, _json(inputs, "--input"), queue, priority)
    with _service(db) as service:
        row = service.create(spec)
    if json:
        emit_json(trigger_json(row))
    else:
        say(f"{name} starts {definition} at every event {pattern!r}.")


def pause(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Let events pass until it is resumed."""
    _switch(db, name, "pause", json=json)


def resume(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Take events again."""
    _switch(db, name, "resume", json=json)


def _switch(db: str, name: str, how: str, *, json: bool) -> None:
    from ...services.triggers import trigger_json

    with _service(db) as service:
        row = service.pause(name) if how == "pause" else service.resume(name)
    if json:
        emit_json(trigger_json(row))
    else:
        say(f"{name} is {row.state}.")


def remove(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Delete a trigger; runs that it started stay."""
    with _service(db) as service:
        service.remove(name)
    if json:
        emit_json({"name": name, "removed": True})
    else:
        say(f"{name} is removed.")


def emit(
    name: Annotated[str, typer.Argument(metavar="EVENT", help="Name of the event: order.paid.")],
    *,
    data: Annotated[
        str, typer.Option("--data", metavar="JSON", help="What triggers read as payload.")
    ] = "null",
    event_id: Annotated[
        str | None, typer.Option("--id", metavar="TEXT", help="The same id again starts nothing again.")
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Tell an event: every trigger that matches starts its definition.

    Ends with code 1 when a trigger could not start its definition; what others started has started.
    """
    with _service(db) as service:
        found = service.emit(name, _json(data, "--data"), event_id=event_id)
    if json:
        emit_list(
            {"trigger": e.trigger, "status": e.status, "instance": e.instance_id, "problem": e.problem}
            for e in found
        )
    else:
        _say_emitted(name, found)
    if any(each.status == "failed" for each in found):
        raise typer.Exit(FAILED)


def _say_emitted(name: str, found: list[Emitted]) -> None:
    for each in found:
        run = f" {short(each.instance_id)}" if each.instance_id else ""
        say(f"{each.trigger}: {each.status}{run}{f' ({brief(each.problem)})' if each.problem else ''}")
    if not found:
        note(f"No trigger takes {name!r}; `strataflow triggers list` shows what there is.")
