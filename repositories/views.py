"""Read models for API, CLI, services and recovery: this module gives out all of them.

Instances and tasks stand here, what else belongs to an instance in `recordviews.py`, engines, queues and held tasks in
`workviews.py`.

Every function takes an open connection (`Database.read`) and gives records, never rows of SQLAlchemy. Pages are bounded
and go by key, so that page 1,000 costs what page 1 costs. Nothing here locks, waits or decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, and_, func, select

from .batch import task_of
from .filters import InstanceFilter
from .readmodels import (
    MAX_PAGE,
    InstanceSummary,
    InstanceView,
    PrefixAmbiguous,
    PrefixUnknown,
    beyond,
    chunks,
    page_size,
    uuid_range,
    uuid_text,
)
from .records import TERMINAL_TASK_STATES, InstanceState, TaskRow, TaskState
from .recordviews import blob, blobs, checkpoint, history, logs, progress, progress_lines, vars  # noqa: A004 - the table's name
from .tables import INSTANCES, KEYS, TASKS
from .workviews import (
    asked_to_stop,
    dead_candidates,
    engine,
    engines,
    interrupted,
    next_wake,
    now,
    queue_depths,
    queues_ready,
    ready_tasks,
    running_of,
    unclaimable,
    unfinished_count,
)

__all__ = [
    "InstanceFilter",
    "all_tasks",
    "asked_to_stop",
    "blob",
    "blobs",
    "checkpoint",
    "counts",
    "dead_candidates",
    "engine",
    "engines",
    "find_instance",
    "find_instances",
    "history",
    "instance",
    "instance_by_key",
    "instances",
    "interrupted",
    "items",
    "key_holder",
    "logs",
    "next_wake",
    "now",
    "progress",
    "progress_lines",
    "queue_depths",
    "queues_ready",
    "ready_tasks",
    "running_of",
    "state_of",
    "task",
    "task_values",
    "tasks",
    "unclaimable",
    "unfinished_count",
    "unfinished_tasks",
    "vars",
]

_ROOT: Final = TASKS.alias("root")
_WITH_ROOT: Final = INSTANCES.outerjoin(
    _ROOT, and_(_ROOT.c.instance_id == INSTANCES.c.id, _ROOT.c.path == "")
)
_SUMMARY: Final = [
    _ROOT.c.error if f.name == "error" else INSTANCES.c[f.name] for f in fields(InstanceSummary)
]
_PAYLOADS: Final = [INSTANCES.c.inputs, INSTANCES.c.inputs_ref, _ROOT.c.output, _ROOT.c.output_ref]


def instance(connection: Connection, instance_id: str) -> InstanceView | None:
    """Give one run with its payloads."""
    known = uuid_text(instance_id)
    if known is None:
        return None
    return _full(connection.execute(_view().where(INSTANCES.c.id == known)).mappings().first())


def instance_by_key(connection: Connection, name: str, key: str) -> InstanceView | None:
    """Give the run that was started under this key of this definition name."""
    owner = (
        select(KEYS.c.instance_id)
        .where(KEYS.c.name == name, KEYS.c.kind == "start", KEYS.c.key == key)
        .scalar_subquery()
    )
    return _full(connection.execute(_view().where(INSTANCES.c.id == owner)).mappings().first())


def find_instances(connection: Connection, prefix: str, limit: int = 10) -> list[InstanceSummary]:
    """Give the runs whose id begins like this, newest first."""
    ends = uuid_range(prefix)
    if ends is None:
        return []
    matching = _summaries().where(INSTANCES.c.id.between(*ends)).order_by(INSTANCES.c.id.desc())
    return [_summary(row) for row in connection.execute(matching.limit(page_size(limit))).mappings()]


def find_instance(connection: Connection, prefix: str) -> InstanceSummary:
    """Give the one run whose id begins like this.

    Raises:
        PrefixUnknown: there is none.
        PrefixAmbiguous: there are several.
    """
    found = find_instances(connection, prefix, 3)
    if not found:
        raise PrefixUnknown(prefix)
    if len(found) > 1:
        raise PrefixAmbiguous(prefix, [each.id for each in found])
    return found[0]


def instances(
    connection: Connection,
    *,
    state: InstanceState | None = None,
    name: str | None = None,
    limit: int = 100,
    before: tuple[int, str] | None = None,
    where: InstanceFilter | None = None,
    oldest_first: bool = False,
) -> list[InstanceSummary]:
    """Give a page of runs, newest first unless told; `before` is the `cursor` of the last one seen."""
    order = (INSTANCES.c.created_at, INSTANCES.c.id)
    ways = order if oldest_first else [column.desc() for column in order]
    page = _summaries().order_by(*ways).limit(page_size(limit))
    if state is not None:
        page = page.where(INSTANCES.c.state == state)
    if name is not None:
        page = page.where(INSTANCES.c.name == name)
    if where is not None:
        page = page.where(*where.conditions())
    if before is not None:
        page = page.where(beyond(order, before, descending=not oldest_first))
    return [_summary(row) for row in connection.execute(page).mappings()]


def tasks(
    connection: Connection,
    instance_id: str,
    *,
    state: TaskState | None = None,
    scope: str | None = None,
    under: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> list[TaskRow]:
    """Give a page of an instance's tasks in path order; `after` is the last path seen.

    `scope` owns them itself; `under` is a task around them, at any depth.
    """
    page = _tasks_of(instance_id).order_by(TASKS.c.path).limit(page_size(limit))
    if state is not None:
        page = page.where(TASKS.c.state == state)
    if scope is not None:
        page = page.where(TASKS.c.scope == scope)
    if under is not None:
        beyond = func.substr(TASKS.c.path, len(under) + 1, 1)
        page = page.where(TASKS.c.path > under, TASKS.c.path < under + "]", beyond.in_([".", "[", "#", "!"]))
    if after is not None:
        page = page.where(TASKS.c.path > after)
    return [task_of(row) for row in connection.execute(page)]


def all_tasks(connection: Connection, instance_id: str) -> Iterator[TaskRow]:
    """Give every task of an instance in path order, read in pages."""
    after: str | None = None
    while True:
        page = tasks(connection, instance_id, limit=MAX_PAGE, after=after)
        yield from page
        if len(page) < MAX_PAGE:
            return
        after = page[-1].path


def task(connection: Connection, instance_id: str, path: str) -> TaskRow | None:
    """Give one task."""
    row = connection.execute(_tasks_of(instance_id).where(TASKS.c.path == path)).first()
    return None if row is None else task_of(row)


def task_values(connection: Connection, instance_id: str, paths: Iterable[str]) -> dict[str, TaskRow]:
    """Give the tasks with these paths that exist, by path."""
    found: dict[str, TaskRow] = {}
    for part in chunks(paths):
        for row in connection.execute(_tasks_of(instance_id).where(TASKS.c.path.in_(part))):
            found[row.path] = task_of(row)
    return found


def items(
    connection: Connection, instance_id: str, map_path: str, start: int, stop: int
) -> list[TaskRow | None]:
    """Give items `start` to `stop - 1` of a map in order, None for one that has no row (yet)."""
    paths = [f"{map_path}[{index}]" for index in range(start, stop)]
    found = task_values(connection, instance_id, paths)
    return [found.get(path) for path in paths]


def counts(connection: Connection, instance_id: str) -> dict[TaskState, int]:
    """Count an instance's tasks by state, the root and other scopes included; states without tasks are absent."""
    each = select(TASKS.c.state, func.count()).where(TASKS.c.instance_id == uuid_text(instance_id))
    return {TaskState(state): number for state, number in connection.execute(each.group_by(TASKS.c.state))}


def _summaries() -> Select[Any]:
    return select(*_SUMMARY).select_from(_WITH_ROOT)


def _view() -> Select[Any]:
    return select(*_SUMMARY, *_PAYLOADS).select_from(_WITH_ROOT)


def _tasks_of(instance_id: str) -> Select[Any]:
    return select(*TASKS.columns).where(TASKS.c.instance_id == uuid_text(instance_id))


def _summary(row: RowMapping) -> InstanceSummary:
    return InstanceSummary(**_parsed(row))


def _full(row: RowMapping | None) -> InstanceView | None:
    return None if row is None else InstanceView(**_parsed(row))


def _parsed(row: RowMapping) -> dict[str, Any]:
    labels: dict[str, str] = json.loads(row["labels"]) if row["labels"] else {}
    return {**row, "state": InstanceState(row["state"]), "labels": labels}


def state_of(connection: Connection, instance_id: str) -> InstanceState | None:
    """Give the state of one run, and nothing else of it."""
    found = connection.scalar(select(INSTANCES.c.state).where(INSTANCES.c.id == uuid_text(instance_id)))
    return None if found is None else InstanceState(found)


def unfinished_tasks(connection: Connection, instance_id: str, limit: int) -> list[TaskRow]:
    """Give tasks of an instance that have not ended, scopes included, in path order."""
    page = _tasks_of(instance_id).where(TASKS.c.state.not_in([state.value for state in TERMINAL_TASK_STATES]))
    return [task_of(row) for row in connection.execute(page.order_by(TASKS.c.path).limit(page_size(limit)))]


def key_holder(connection: Connection, name: str, kind: str, key: str) -> str | None:
    """Give the instance that holds a start key or a mutex of a definition name."""
    return connection.execute(
        select(KEYS.c.instance_id).where(KEYS.c.name == name, KEYS.c.kind == kind, KEYS.c.key == key)
    ).scalar()
