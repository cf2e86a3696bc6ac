"""Committed values by key, for evaluating expressions and assembling outputs: bounded sets, one query each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, select, tuple_

from .batch import task_of
from .records import MessageRow, SignalRow, TaskRow
from .tables import BLOBS, CHECKPOINTS, INSTANCES, MESSAGES, SIGNALS, TASKS, VARS

__all__ = [
    "pending_messages",
    "read_blobs",
    "read_checkpoint",
    "read_inputs",
    "read_signals",
    "read_tasks",
    "read_vars",
]

Key = tuple[str, str]
#: Keys per statement: far below the bind limits of both databases.
_CHUNK = 500


def _by_instance(keys: Iterable[Key]) -> Iterator[tuple[str, list[str]]]:
    """Keys in bounded groups of one instance: a list of row values would be compared one by one, not looked up."""
    groups: dict[str, list[str]] = {}
    for instance_id, name in keys:
        groups.setdefault(instance_id, []).append(name)
    for instance_id, names in groups.items():
        for start in range(0, len(names), _CHUNK):
            yield instance_id, names[start : start + _CHUNK]


def read_tasks(connection: Connection, keys: Iterable[Key]) -> dict[Key, TaskRow]:
    """Task rows by `(instance, path)`; absent ones are missing."""
    found: dict[Key, TaskRow] = {}
    for instance_id, paths in _by_instance(keys):
        query = select(*TASKS.columns).where(TASKS.c.instance_id == instance_id, TASKS.c.path.in_(paths))
        for row in connection.execute(query):
            task = task_of(row)
            found[task.instance_id, task.path] = task
    return found


def read_blobs(connection: Connection, keys: Iterable[Key]) -> dict[Key, str]:
    """Bodies by `(instance, key)`."""
    found: dict[Key, str] = {}
    for instance_id, names in _by_instance(keys):
        query = select(BLOBS.c.key, BLOBS.c.body).where(
            BLOBS.c.instance_id == instance_id, BLOBS.c.key.in_(names)
        )
        found |= {(instance_id, row[0]): row[1] for row in connection.execute(query)}
    return found


def read_vars(
    connection: Connection, keys: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], tuple[str | None, str | None]]:
    """Variables by `(instance, scope, name)` as (text, ref): of each, what was written last."""
    listed = list(keys)
    found: dict[tuple[str, str, str], tuple[str | None, str | None]] = {}
    for start in range(0, len(listed), _CHUNK):
        key = (VARS.c.instance_id, VARS.c.scope, VARS.c.name)
        wanted = tuple_(*key).in_(listed[start : start + _CHUNK])
        query = select(*key, VARS.c.value, VARS.c.value_ref).where(wanted).order_by(VARS.c.rev)
        found |= {(r[0], r[1], r[2]): (r[3], r[4]) for r in connection.execute(query)}
    return found


def read_signals(connection: Connection, instance_id: str, name: str, limit: int = 1_000) -> list[SignalRow]:
    """Parked signals of a name in the order of their arrival."""
    query = select(*SIGNALS.columns).where(
        SIGNALS.c.instance_id == instance_id, SIGNALS.c.name == name, SIGNALS.c.consumed_by.is_(None)
    )
    return [SignalRow(*row) for row in connection.execute(query.order_by(SIGNALS.c.seq).limit(limit))]


def pending_messages(connection: Connection, limit: int) -> list[MessageRow]:
    """Messages between instances that nobody has applied, oldest first."""
    query = select(*MESSAGES.columns).order_by(MESSAGES.c.at).limit(limit)
    return [MessageRow(*row) for row in connection.execute(query)]


def read_inputs(connection: Connection, instance_id: str) -> tuple[str | None, str | None] | None:
    """Inputs of an instance as (text, ref); None when there is no such instance."""
    query = select(INSTANCES.c.inputs, INSTANCES.c.inputs_ref).where(INSTANCES.c.id == instance_id)
    row = connection.execute(query).first()
    return None if row is None else (row[0], row[1])


def read_checkpoint(connection: Connection, instance_id: str, path: str) -> str | None:
    """The last checkpoint of a task as JSON text."""
    query = select(CHECKPOINTS.c.value).where(
        CHECKPOINTS.c.instance_id == instance_id, CHECKPOINTS.c.path == path
    )
    return connection.execute(query).scalar()
