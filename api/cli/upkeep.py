"""`export`, `import`, `delete`, `purge`: runs that have ended, as files and out of the database."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from .commands import Adder
from .door import reading
from .errors import UsageProblem
from .filters import Name, State, filter_of
from .options import DB_DEFAULT, Db, Id, Json, make_options, seconds_of
from .output import emit_json, note, say, short

__all__ = ["add_to"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(export, "export 01a1fb96 --to run.jsonl")
    add(import_, "import run.jsonl --db postgresql://me@db/flows", name="import")
    add(delete, "delete 01a1fb96")
    add(purge, "purge --older 90d --state completed")


def export(
    id_: Id,
    *,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Absent: standard output.")] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Write an ended instance with its whole history, as JSON lines."""
    with reading(make_options(db)) as services:
        instance_id, upkeep = services.executions.resolve(id_), services.upkeep
        if to is None:
            upkeep.export(instance_id, sys.stdout)
            return
        with _replacing(to) as out:
            rows = upkeep.export(instance_id, out)
    if json:
        emit_json({"id": instance_id, "file": str(to), "rows": rows})
    else:
        note(f"{short(instance_id)}: {rows} rows in {to}.")


@contextmanager
def _replacing(file: Path) -> Generator[TextIO]:
    """Open a file beside this one, which takes its place when the block ends well; else nothing has happened."""
    target = file.resolve()
    whole = target.is_file() or not target.exists()  # a pipe or a device cannot be replaced
    path = target.with_name(f".{target.name}.{os.getpid()}.part") if whole else target
    try:
        with path.open("w", encoding="utf-8") as out:
            yield out
            out.flush()
            if whole and target.exists():
                shutil.copymode(target, path)
            if whole:
                os.fsync(out.fileno())
        if whole:
            path.replace(target)
    except OSError as exc:
        raise UsageProblem(f"{file} cannot be written: {exc.strerror or exc}.") from exc
    finally:
        if whole:
            path.unlink(missing_ok=True)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote.")],
    *,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Put an exported instance into a database, to be looked at, retried or forked there."""
    try:
        source = file.open(encoding="utf-8")
    except OSError as exc:
        raise UsageProblem(f"{file} cannot be read: {exc.strerror or exc}.") from exc
    with source, reading(make_options(db, create=True)) as services:
        instance_id = services.upkeep.load(source)
    if json:
        emit_json({"id": instance_id})
    else:
        say(instance_id)


def delete(id_: Id, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Delete one ended instance with all that belongs to it."""
    with reading(make_options(db)) as services:
        instance_id = services.executions.resolve(id_)
        services.upkeep.delete(instance_id)
    if json:
        emit_json({"id": instance_id, "deleted": True})
    else:
        say(f"{short(instance_id)} is deleted.")


def purge(
    *,
    older: Annotated[
        str, typer.Option("--older", metavar="DURATION", help="Ended longer ago than this: 90d.")
    ],
    logs: Annotated[
        bool,
        typer.Option(
            "--logs", help="Delete log lines of this age instead, of live instances too; nothing else."
        ),
    ] = False,
    state: State = None,
    name: Name = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Delete ended instances by age, or with --logs nothing but log lines.

    In small transactions, oldest first; live instances, and children of live ones, stay.
    """
    where, age = filter_of(state, name, None), seconds_of(older, "--older") or 0.0
    with reading(make_options(db)) as services:
        purge_all = services.upkeep.purge_logs if logs else services.upkeep.purge
        deleted = sum(purge_all(age, states=where.states, name=where.name))
    if json:
        emit_json({"deleted": deleted})
    else:
        say(f"{deleted} deleted.")
