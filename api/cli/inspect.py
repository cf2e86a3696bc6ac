"""`status`, `list`, `tasks`, `history`, `logs`: what one may ask about instances. They read and change nothing."""

from __future__ import annotations

from typing import Any

import typer

from .options import DB_DEFAULT, Db, Id, Json, make_options
from .output import emit_json, emit_list, print_table, short

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(status)
    app.command("list")(list_)
    app.command()(tasks)
    app.command()(history)


def status(id: Id, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Show one instance."""
    from ...services.container import reading

    with reading(make_options(db)) as services:
        found = services.executions.status(services.executions.resolve(id))
    emit_json(found.as_json())


def list_(db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List instances, newest first."""
    from ...services.container import reading

    with reading(make_options(db)) as services:
        found = services.executions.instances()
        if json:
            emit_list(_summary(each) for each in found)
        else:
            print_table(["ID", "NAME", "STATE"], ([short(s.id), s.name, s.state] for s in found))


def _summary(each: Any) -> dict[str, Any]:
    import json as codec

    from ...engine.outputs import iso

    return {
        "id": each.id,
        "name": each.name,
        "version": each.version,
        "state": each.state.value,
        "error": codec.loads(each.error) if each.error else None,
        "created_at": iso(each.created_at),
        "started_at": iso(each.started_at),
        "ended_at": iso(each.ended_at),
    }


def tasks(id: Id, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List an instance's nodes and map items."""
    from ...services.container import reading

    with reading(make_options(db)) as services:
        found = services.executions.tasks(services.executions.resolve(id))
        if json:
            emit_list(task.as_json() for task in found)
        else:
            print_table(["PATH", "STATE", "ATTEMPT"], ([t.path, t.state, str(t.attempt)] for t in found))


def history(id: Id, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Show every transition of an instance, oldest first."""
    from ...engine.outputs import iso
    from ...services.container import reading

    with reading(make_options(db)) as services:
        found = services.executions.history(services.executions.resolve(id))
        rows = (
            {
                "seq": row.seq,
                "at": iso(row.at),
                "path": row.path,
                "attempt": row.attempt,
                "from": row.from_state,
                "to": row.to_state,
                "reason": row.reason,
                "engine": row.engine,
            }
            for row in found
        )
        if json:
            emit_list(rows)
        else:
            print_table(
                ["AT", "PATH", "TO", "REASON"],
                ([str(r["at"]), str(r["path"]), r["to"], r["reason"]] for r in rows),
            )
