"""`status`, `list`, `tasks`, `history`: what one may ask about instances. They read and change nothing."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .commands import Adder
from .door import reading
from .errors import UsageProblem
from .filters import Created, Labels, Name, State, filter_of
from .options import DB_DEFAULT, Db, Id, Json, make_options, seconds_of
from .output import (
    brief,
    clean,
    console,
    emit_json,
    emit_list,
    local_time,
    note,
    print_table,
    short,
    state_text,
    took,
)

if TYPE_CHECKING:
    from ...repositories.readmodels import HistoryRow, InstanceSummary
    from ...services.task_view import TaskView

__all__ = ["add_to"]

#: Rows of a table when nobody says how many; JSON has all.
_ROWS: Final = 100

Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help=f"At most so many; a table has {_ROWS}, JSON all."),
]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(status, "status 01a1fb96")
    add(list_, "list --state failed --limit 10", name="list")
    add(tasks, "tasks 01a1fb96 --state failed --json")
    add(history, "history 01a1fb96 --json")


def status(id_: Id, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Show one instance: state, nodes, result or error."""
    from .progress import draw

    with reading(make_options(db)) as services:
        executions = services.executions
        instance_id = executions.resolve(id_)
        found = executions.status(instance_id)
        snapshot = executions.live(instance_id).read()
    if json:
        emit_json(found.as_json())
        return
    out = console()
    out.print(draw(snapshot))
    for label, value in (("inputs", found.inputs), ("output", found.output)):
        if value not in (None, {}):
            out.print(f"{label}  {brief(value)}")
    error = found.error
    if error:
        place = f" at {error['path']}" if error.get("path") else ""
        out.print(f"error   {error.get('code')}{place}: {brief(error.get('message'))}")
    if found.reason:
        out.print(f"reason  {brief(found.reason)}")


def list_(
    *,
    state: State = None,
    name: Name = None,
    labels: Labels = None,
    created_before: Created = None,
    limit: Limit = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """List instances, newest first."""
    where = filter_of(state, name, labels, older=seconds_of(created_before, "--older"))
    with reading(make_options(db)) as services:
        found = services.executions.instances(where=where, limit=limit if limit or json else _ROWS)
        if json:
            emit_list(_summary(each) for each in found)
        else:
            print_table(["ID", "STATE", "STARTED", "TOOK", "NAME"], map(_list_row, found), right=["TOOK"])


def _state(text: str | None, states: Any) -> Any:
    if text is None:
        return None
    try:
        return states(text)
    except ValueError as exc:
        raise UsageProblem(f"--state: there is no state {text!r}; take one of {', '.join(states)}.") from exc


def _summary(each: InstanceSummary) -> dict[str, Any]:
    from ...engine.outputs import iso
    from ...engine.payload import decode

    return {
        "id": each.id,
        "name": each.name,
        "version": each.version,
        "state": each.state.value,
        "error": decode(each.error) if each.error else None,
        "created_at": iso(each.created_at),
        "started_at": iso(each.started_at),
        "ended_at": iso(each.ended_at),
    }


def _list_row(each: InstanceSummary) -> list[Any]:
    return [
        short(each.id),
        state_text(each.state),
        local_time(each.created_at),
        took(each.created_at, each.ended_at),
        f"{each.name} v{each.version}",
    ]


def tasks(
    id_: Id,
    *,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only these.")] = None,
    under: Annotated[
        str | None, typer.Option("--under", metavar="PATH", help="Only inside this task: `settle`.")
    ] = None,
    after: Annotated[
        str, typer.Option("--after", metavar="PATH", help="Only behind this path: the next page.")
    ] = "",
    limit: Limit = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """List the nodes and map items of an instance.

    With --json every row has `input`, the node's `with` as its last attempt saw it. An item of a map with `key` can be
    named by it: --under 'settle["ACME"]'.
    """
    from ...repositories.records import TaskState

    wanted = _state(state, TaskState)
    with reading(make_options(db)) as services:
        instance_id = services.executions.resolve(id_)
        found = services.executions.tasks(instance_id, state=wanted, under=under, after=after, whole=json)
        if json:
            emit_list(task.as_json() for task in islice(found, limit))
            return
        shown = list(islice(found, limit or _ROWS))
        more = next(found, None) is not None
    print_table(
        ["PATH", "STATE", "ATT", "TOOK", "EXECUTOR", "OUTPUT"], map(_task_row, shown), right=["ATT", "TOOK"]
    )
    if more:
        note(f"There are more than {len(shown)}; --limit N shows more, --json all.")


def _task_row(task: TaskView) -> list[Any]:
    error = task.error if task.state != "completed" else None
    said = f"{error.get('code')}: {error.get('message')}" if error else task.output
    return [
        task.path,
        state_text(task.state),
        str(task.attempt) if task.attempt else "",
        took(task.started_at, task.ended_at),
        task.executor or "",
        brief(said),
    ]


def history(id_: Id, *, limit: Limit = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Show every change of state, oldest first."""
    with reading(make_options(db)) as services:
        found = services.executions.history(services.executions.resolve(id_))
        if json:
            emit_list(map(_transition, islice(found, limit)))
        else:
            columns = ["AT", "PATH", "ATT", "FROM", "TO", "REASON"]
            print_table(columns, map(_history_row, islice(found, limit)), right=["ATT"])


def _transition(row: HistoryRow) -> dict[str, Any]:
    from ...engine.outputs import iso

    return {
        "seq": row.seq,
        "at": iso(row.at),
        "path": row.path,
        "attempt": row.attempt,
        "from": row.from_state,
        "to": row.to_state,
        "reason": row.reason,
        "engine": row.engine,
    }


def _history_row(row: HistoryRow) -> list[Any]:
    path = "(instance)" if row.path is None else row.path or "(root)"
    return [
        local_time(row.at).partition(" ")[2],
        path,
        str(row.attempt) if row.attempt else "",
        row.from_state or "",
        state_text(row.to_state),
        clean(row.reason),
    ]
