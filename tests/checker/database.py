"""The rows of one database as they stand at one moment, read with plain SQL and nothing of the engine's."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, create_engine, text

from strataflow.engine.compiler import compile_definition
from strataflow.engine.plan import Plan, address_of

__all__ = ["Engine", "Journal", "Recorded", "Row", "Run", "address_of", "read_database"]

Row = dict[str, Any]
TERMINAL_TASKS = frozenset({"completed", "failed", "skipped", "cancelled", "expired"})
TERMINAL_INSTANCES = frozenset({"completed", "failed", "cancelled", "expired"})


@dataclass(slots=True, frozen=True)
class Journal:
    """One transition as it was recorded."""

    seq: int
    path: str | None
    gen: int
    attempt: int
    from_state: str | None
    to_state: str
    reason: str
    at: int
    engine: str | None


@dataclass(slots=True, frozen=True)
class Engine:
    """One life of one engine."""

    id: str
    state: str
    ended_at: int | None


@dataclass(slots=True)
class Run:
    """One instance with everything it owns."""

    row: Row
    plan: Plan
    tasks: dict[str, Row]
    journal: list[Journal]
    #: Items per map path, counted in the stored pages.
    items: dict[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.row["id"]

    @property
    def ended(self) -> bool:
        return self.row["state"] in TERMINAL_INSTANCES

    def absent(self, row: Row) -> bool:
        """Was the row made before a scope around it was taken back, and not made anew since?"""
        scope = None if row["scope"] is None else self.tasks.get(row["scope"])
        return scope is not None and (row["gen"] < scope["gen"] or self.absent(scope))

    def history(self) -> dict[str, list[Journal]]:
        """Task transitions by path, oldest first."""
        found: dict[str, list[Journal]] = defaultdict(list)
        for entry in self.journal:
            if entry.path is not None:
                found[entry.path].append(entry)
        return found

    def children(self) -> dict[str, list[Row]]:
        """Task rows by the path of the scope that owns them."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.tasks.values():
            if row["scope"] is not None:
                found[row["scope"]].append(row)
        return found


@dataclass(slots=True)
class Recorded:
    """Everything the checks look at."""

    runs: list[Run]
    engines: dict[str, Engine]
    #: Start keys: (definition name, key) → instance.
    keys: dict[tuple[str, str], str]
    #: Rows whose instance does not exist: (table, instance id).
    orphans: list[tuple[str, str]]
    #: Counters of limits by name.
    limits: dict[str, Row] = field(default_factory=dict)


def read_database(url: str) -> Recorded:
    """Read it all in one read-only transaction."""
    target = url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(target)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return _read(connection)
    finally:
        engine.dispose()


def _read(connection: Connection) -> Recorded:
    plans = {
        row["id"]: compile_definition(
            row["body"], registry=None, definition_id=row["id"], version=row["version"]
        )[1]
        for row in _rows(connection, "SELECT * FROM definitions")
    }
    tasks: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in _rows(connection, "SELECT * FROM tasks ORDER BY instance_id, path"):
        tasks[row["instance_id"]][row["path"]] = row
    journal: dict[str, list[Journal]] = defaultdict(list)
    columns = "seq, path, gen, attempt, from_state, to_state, reason, at, engine"
    for row in _rows(connection, f"SELECT instance_id, {columns} FROM journal ORDER BY instance_id, seq"):
        instance_id = row.pop("instance_id")
        journal[instance_id].append(Journal(**row))
    runs = [
        Run(row, plans[row["definition_id"]], tasks.pop(row["id"], {}), journal.pop(row["id"], []))
        for row in _rows(connection, "SELECT * FROM instances ORDER BY id")
    ]
    by_id = {run.id: run for run in runs}
    length = (
        "json_array_length(body::json)"  # not jsonb: that refuses \u0000, which items may hold
        if connection.dialect.name == "postgresql"
        else "json_array_length(body)"
    )
    pages = f"SELECT instance_id, key, {length} AS length FROM blobs WHERE key LIKE 'items:%'"
    for row in _rows(connection, pages):
        path = row["key"].removeprefix("items:").rsplit(":", 2)[0]
        if row["instance_id"] in by_id:
            items = by_id[row["instance_id"]].items
            items[path] = items.get(path, 0) + row["length"]
    engines = {
        row["id"]: Engine(row["id"], row["state"], row["ended_at"])
        for row in _rows(connection, "SELECT id, state, ended_at FROM engines")
    }
    keys = {(row["name"], row["key"]): row["instance_id"] for row in _rows(connection, "SELECT * FROM keys")}
    orphans = [("tasks", key) for key in tasks] + [("journal", key) for key in journal]
    limits = {row["name"]: row for row in _rows(connection, "SELECT * FROM limits")}
    return Recorded(runs, engines, keys, orphans, limits)


def _rows(connection: Connection, statement: str) -> list[Row]:
    found = connection.execute(text(statement)).mappings()
    return [
        {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in row.items()}
        for row in found
    ]
