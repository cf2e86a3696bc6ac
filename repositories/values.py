"""Committed values by key, for evaluating expressions and assembling outputs: bounded sets, one query each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection, select, tuple_

from .batch import task_of
from .records import TaskRow
from .tables import BLOBS, CHECKPOINTS, INSTANCES, TASKS, VARS

__all__ = ["read_blobs", "read_checkpoint", "read_inputs", "read_tasks", "read_vars"]

Key = tuple[str, str]
#: Keys per statement: far below the bind limits of both databases.
_CHUNK = 500


def _chunks(keys: Iterable[Key]) -> Iterator[Sequence[Key]]:
    listed = list(keys)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]


def read_tasks(connection: Connection, keys: Iterable[Key]) -> dict[Key, TaskRow]:
    """Task rows by `(instance, path)`; absent ones are missing."""
    found: dict[Key, TaskRow] = {}
    for chunk in _chunks(keys):
        query = select(*TASKS.columns).where(tuple_(TASKS.c.instance_id, TASKS.c.path).in_(chunk))
        for row in connection.execute(query):
            task = task_of(row)
            found[task.instance_id, task.path] = task
    return found


def read_blobs(connection: Connection, keys: Iterable[Key]) -> dict[Key, str]:
    """Bodies by `(instance, key)`."""
    found: dict[Key, str] = {}
    for chunk in _chunks(keys):
        query = select(BLOBS.c.instance_id, BLOBS.c.key, BLOBS.c.body).where(
            tuple_(BLOBS.c.instance_id, BLOBS.c.key).in_(chunk)
        )
        found |= {(row[0], row[1]): row[2] for row in connection.execute(query)}
    return found


def read_vars(
    connection: Connection, keys: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], tuple[str | None, str | None]]:
    """Variables by `(instance, scope, name)` as (text, ref)."""
    listed = list(keys)
    found: dict[tuple[str, str, str], tuple[str | None, str | None]] = {}
    for start in range(0, len(listed), _CHUNK):
        query = select(VARS.c.instance_id, VARS.c.scope, VARS.c.name, VARS.c.value, VARS.c.value_ref).where(
            tuple_(VARS.c.instance_id, VARS.c.scope, VARS.c.name).in_(listed[start : start + _CHUNK])
        )
        found |= {(r[0], r[1], r[2]): (r[3], r[4]) for r in connection.execute(query)}
    return found


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
