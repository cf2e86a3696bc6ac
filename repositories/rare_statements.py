"""Statements of a write transaction that only some instances need: signals, waits, children, what goes with a prefix.

A prefix stands for a row and everything below it: its path, and its path followed by one of `. [ # !`. Paths are in
byte order, so each of those is a range of the primary key.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, insert, literal_column, or_, select, text
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .records import TERMINAL_TASK_STATES
from .tables import BLOBS, CHECKPOINTS, INSTANCES, PROGRESS, SIGNALS, TASKS, VARS

__all__ = ["below", "rare_statements"]

_BELOW: Final = ".[#!"
_TERMINAL: Final = text(
    "tasks.state IN ({})".format(", ".join(f"'{state}'" for state in sorted(TERMINAL_TASK_STATES)))
)


def below(
    path: ColumnElement[Any], prefix: ColumnElement[Any], *, itself: bool = True
) -> ColumnElement[bool]:
    """Does `path` stand at or below `prefix`?"""
    ranges = [
        and_(path >= prefix.concat(_text(mark)), path < prefix.concat(_text(chr(ord(mark) + 1))))
        for mark in _BELOW
    ]
    return or_(path == prefix, *ranges) if itself else or_(*ranges)


def _text(value: str) -> ColumnElement[Any]:
    return literal_column(f"'{value}'", TASKS.c.path.type)


def _prefix(name: str = "prefix") -> ColumnElement[Any]:
    return bindparam(name, type_=TASKS.c.path.type)


def _reads() -> dict[str, Any]:
    return {
        "signals_get": select(*SIGNALS.columns)
        .where(
            SIGNALS.c.instance_id == bindparam("id"),
            SIGNALS.c.name == bindparam("name"),
            SIGNALS.c.consumed_by.is_(None),
        )
        .order_by(SIGNALS.c.seq)
        .limit(bindparam("limit")),
        "signal_get": select(SIGNALS.c.seq).where(
            SIGNALS.c.instance_id == bindparam("id"), SIGNALS.c.id == bindparam("signal")
        ),
        "awaiting_get": select(*TASKS.columns).where(
            TASKS.c.instance_id == bindparam("id"), TASKS.c.awaits == bindparam("awaits")
        ),
        "children_get": select(*TASKS.columns)
        .where(
            TASKS.c.instance_id == bindparam("id"),
            TASKS.c.path > bindparam("after"),
            TASKS.c.path < bindparam("high"),
            TASKS.c.scope == bindparam("scope"),
            _TERMINAL,
        )
        .order_by(TASKS.c.path)
        .limit(bindparam("limit")),
        "queued_get": select(INSTANCES.c.id)
        .where(
            INSTANCES.c.name == bindparam("name"),
            INSTANCES.c.mutex == bindparam("mutex"),
            text("instances.state = 'queued'"),
        )
        .order_by(INSTANCES.c.id)
        .limit(bindparam("limit")),
        "blob_get": select(BLOBS.c.body).where(
            BLOBS.c.instance_id == bindparam("id"), BLOBS.c.key == bindparam("key")
        ),
    }


def _deletes() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table in (TASKS, CHECKPOINTS, PROGRESS):
        found[f"prune_{table.name}"] = delete(table).where(
            table.c.instance_id == bindparam("id"), below(table.c.path, _prefix())
        )
    found["prune_blobs"] = delete(BLOBS).where(
        BLOBS.c.instance_id == bindparam("id"),
        or_(*(_pages(kind) for kind in ("items:", "keys:"))),
    )
    found["prune_vars"] = delete(VARS).where(
        VARS.c.instance_id == bindparam("id"), below(VARS.c.scope, _prefix())
    )
    found["unset_vars"] = delete(VARS).where(
        VARS.c.instance_id == bindparam("id"),
        or_(below(VARS.c.scope, _prefix()), below(VARS.c.writer, _prefix())),
    )
    return found


def _pages(kind: str) -> ColumnElement[bool]:
    """Pages of lists at or below a prefix: their keys go on with a colon where the path ends."""
    start = _text(kind).concat(_prefix())
    itself = and_(BLOBS.c.key >= start.concat(_text(":")), BLOBS.c.key < start.concat(_text(";")))
    return or_(itself, below(BLOBS.c.key, start, itself=False))


def _copies(dialect: str) -> dict[str, Any]:
    """What a fork takes over from its source, below a node that ended there."""
    fresh = {"instance_id": bindparam("target", type_=TASKS.c.instance_id.type), "gen": text("0")}

    def columns(table: Any, own: dict[str, Any]) -> tuple[list[str], list[Any]]:
        names = [c.name for c in table.columns]
        return names, [own.get(name, table.c[name]) for name in names]

    names, picked = columns(TASKS, fresh)
    tasks = insert(TASKS).from_select(
        names,
        select(*picked).where(
            TASKS.c.instance_id == bindparam("source"),
            below(TASKS.c.path, _prefix(), itself=False),
            _TERMINAL,
        ),
    )
    names, picked = columns(VARS, fresh)
    found = select(*picked).where(
        VARS.c.instance_id == bindparam("source"),
        or_(below(VARS.c.scope, _prefix()), below(VARS.c.writer, _prefix())),
    )
    new: Any = pg_insert if dialect == "postgresql" else sqlite_insert
    variables = new(VARS).from_select(names, found).on_conflict_do_nothing()
    names, picked = columns(BLOBS, {"instance_id": fresh["instance_id"]})
    bodies = select(*picked).where(BLOBS.c.instance_id == bindparam("source"))
    blobs = new(BLOBS).from_select(names, bodies).on_conflict_do_nothing()
    return {"copy_tasks": tasks, "copy_vars": variables, "copy_blobs": blobs}


def rare_statements(dialect: str) -> dict[str, Any]:
    """By name, for one dialect."""
    return _reads() | _deletes() | _copies(dialect)
