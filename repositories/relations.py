"""Reads of many owners at once: a page for each of them, all in one statement.

Whoever shows a list with what belongs to each member of it asks here, so that a page costs as many statements as it
has kinds of relations and not as many as it has members. Every page is bounded and goes by key: a statement reads no
more rows than it gives, except where a task's own history or log lines are picked out of its run's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Final, TypeVar
from typing import cast as typed

from sqlalchemy import Column, Connection, Select, Table, and_, func, literal_column, or_, select, union_all

from .batch import task_of
from .control_tables import FIRINGS
from .definitions import StoredDefinition
from .feed import PROGRESS_LEVEL
from .filters import InstanceFilter
from .readmodels import (
    HistoryRow,
    InstanceSummary,
    InstanceView,
    LogEntry,
    beyond,
    chunks,
    columns_of,
    page_size,
    uuid_text,
)
from .records import DefinitionState, InstanceState, TaskRow, TaskState
from .recordviews import LEVELS
from .schedule_rows import FiringRow
from .tables import BLOBS, DEFINITIONS, INSTANCES, JOURNAL, LOGS, TASKS

__all__ = [
    "blobs_of",
    "bodies_of",
    "definition_names",
    "definition_pages",
    "definitions_of",
    "firing_pages",
    "history_pages",
    "instance_pages",
    "instances_of",
    "log_pages",
    "named_versions",
    "root_tasks",
    "task_history_pages",
    "task_log_pages",
    "task_pages",
    "tasks_of",
    "views_of",
]

#: Pages of one statement: a compound select of SQLite has at most 500 parts.
_PAGES_AT_ONCE: Final = 100
_HEAD: Final = [DEFINITIONS.c[field.name] for field in fields(StoredDefinition)]
_VERSION: Final = (DEFINITIONS.c.name, DEFINITIONS.c.version)
Row = TypeVar("Row")
_ROOT: Final = TASKS.alias("root")
_WITH_ROOT: Final = INSTANCES.outerjoin(
    _ROOT, and_(_ROOT.c.instance_id == INSTANCES.c.id, _ROOT.c.path == "")
)
_SUMMARY: Final = [field.name for field in fields(InstanceSummary)]
_FULL: Final = [field.name for field in fields(InstanceView)]
_OF_ROOT: Final = ("error", "output", "output_ref")


def _pages(
    connection: Connection, parts: Sequence[Select[Any]], record: Callable[[Sequence[Any]], Row]
) -> list[list[Row]]:
    """The rows of each of these selects, which have the same columns, and an order and a limit each."""
    found: list[list[Row]] = [[] for _ in parts]
    for start in range(0, len(parts), _PAGES_AT_ONCE):
        numbered: list[Select[Any]] = []
        for number, part in enumerate(parts[start : start + _PAGES_AT_ONCE], start):
            one = part.subquery()
            columns: list[Any] = [literal_column(str(number)).label("part"), *one.columns]
            numbered.append(typed("Select[Any]", select(*columns)))
        whole = union_all(*numbered) if len(numbered) > 1 else numbered[0]
        for row in connection.execute(whole):
            of: int = row[0]
            found[of].append(record(row[1:]))
    return found


# --- definitions


def definition_names(connection: Connection, *, after: str | None = None, limit: int = 100) -> list[str]:
    """Give a page of the names that have a version, in order."""
    page = select(DEFINITIONS.c.name).distinct().order_by(DEFINITIONS.c.name).limit(page_size(limit))
    if after is not None:
        page = page.where(DEFINITIONS.c.name > after)
    return list(connection.scalars(page))


def definitions_of(connection: Connection, ids: Iterable[str]) -> dict[str, StoredDefinition]:
    """Give the definitions with these ids, by id, without their texts."""
    found: dict[str, StoredDefinition] = {}
    for part in chunks(ids):
        for row in connection.execute(select(*_HEAD).where(DEFINITIONS.c.id.in_(part))):
            found[row.id] = _stored(row)
    return found


def bodies_of(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """Give the texts of the definitions with these ids, by id."""
    found: dict[str, str] = {}
    for part in chunks(ids):
        texts = select(DEFINITIONS.c.id, DEFINITIONS.c.body).where(DEFINITIONS.c.id.in_(part))
        found.update({row.id: row.body for row in connection.execute(texts)})
    return found


def definition_pages(
    connection: Connection, names: Sequence[str], *, limit: int, below: int | None = None
) -> list[list[StoredDefinition]]:
    """Give a page of the versions of each of these names, the newest first; `below` is the last version seen."""
    parts: list[Select[Any]] = []
    for name in names:
        page = select(*_HEAD).where(DEFINITIONS.c.name == name)
        if below is not None:
            page = page.where(DEFINITIONS.c.version < below)
        parts.append(page.order_by(DEFINITIONS.c.version.desc()).limit(page_size(limit)))
    return [_sorted(page, lambda each: -each.version) for page in _pages(connection, parts, _stored)]


def named_versions(
    connection: Connection, names: Sequence[str], *, active: bool
) -> dict[str, StoredDefinition]:
    """Give of each of these names the active version, or the newest that there is; names without one are absent."""
    parts: list[Select[Any]] = []
    for name in names:
        page = select(*_HEAD).where(DEFINITIONS.c.name == name)
        if active:
            page = page.where(DEFINITIONS.c.state == DefinitionState.ACTIVE.value)
        parts.append(page.order_by(DEFINITIONS.c.version.desc()).limit(1))
    return {each.name: each for page in _pages(connection, parts, _stored) for each in page}


def _stored(row: Sequence[Any]) -> StoredDefinition:
    head = StoredDefinition(*row)
    return replace(head, state=DefinitionState(head.state))


# --- instances


def instances_of(connection: Connection, ids: Iterable[str]) -> dict[str, InstanceSummary]:
    """Give the runs with these ids, by id; what is no id is nobody's."""
    found: dict[str, InstanceSummary] = {}
    for part in chunks(known for each in ids if (known := uuid_text(each)) is not None):
        for row in connection.execute(_runs(_SUMMARY).where(INSTANCES.c.id.in_(part))):
            found[row.id] = _summary(row)
    return found


def views_of(connection: Connection, ids: Iterable[str]) -> dict[str, InstanceView]:
    """Give the runs with these ids and their payloads, by id."""
    found: dict[str, InstanceView] = {}
    for part in chunks(ids):
        for row in connection.execute(_runs(_FULL).where(INSTANCES.c.id.in_(part))):
            found[row.id] = InstanceView(**_run(_FULL, row))
    return found


def instance_pages(
    connection: Connection,
    wheres: Sequence[InstanceFilter],
    *,
    limit: int,
    after: tuple[int, str] | None = None,
    oldest_first: bool = False,
) -> list[list[InstanceSummary]]:
    """Give a page of the runs that each of these filters takes, newest first unless told."""
    order = (INSTANCES.c.created_at, INSTANCES.c.id)
    ways = order if oldest_first else [column.desc() for column in order]
    parts: list[Select[Any]] = []
    for where in wheres:
        page = _runs(_SUMMARY).where(*where.conditions())
        if after is not None:
            page = page.where(beyond(order, after, descending=not oldest_first))
        parts.append(page.order_by(*ways).limit(page_size(limit)))
    found = _pages(connection, parts, _summary)
    return [sorted(page, key=lambda each: each.cursor, reverse=not oldest_first) for page in found]


def _runs(names: Sequence[str]) -> Select[Any]:
    columns = [_ROOT.c[name] if name in _OF_ROOT else INSTANCES.c[name] for name in names]
    return select(*columns).select_from(_WITH_ROOT)


def _run(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    found = dict(zip(names, row, strict=True))
    labels: dict[str, str] = json.loads(found["labels"]) if found["labels"] else {}
    return {**found, "state": InstanceState(found["state"]), "labels": labels}


def _summary(row: Sequence[Any]) -> InstanceSummary:
    return InstanceSummary(**_run(_SUMMARY, row))


# --- tasks


def task_pages(
    connection: Connection,
    ids: Sequence[str],
    *,
    limit: int,
    after: str = "",
    state: TaskState | None = None,
) -> list[list[TaskRow]]:
    """Give a page of the tasks of each of these runs in path order; the root, which is the run itself, is left out."""
    parts: list[Select[Any]] = []
    for instance_id in ids:
        page = select(*TASKS.columns).where(TASKS.c.instance_id == instance_id, TASKS.c.path > after)
        if state is not None:
            page = page.where(TASKS.c.state == state)
        parts.append(page.order_by(TASKS.c.path).limit(page_size(limit)))
    return [_sorted(page, lambda each: each.path) for page in _pages(connection, parts, task_of)]


def tasks_of(connection: Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], TaskRow]:
    """Give the tasks with these runs and paths."""
    parts = [
        select(*TASKS.columns).where(TASKS.c.instance_id == known, TASKS.c.path == path)
        for instance_id, path in dict.fromkeys(keys)
        if (known := uuid_text(instance_id)) is not None
    ]
    return {(row.instance_id, row.path): row for page in _pages(connection, parts, task_of) for row in page}


def root_tasks(connection: Connection, ids: Iterable[str]) -> dict[str, TaskRow]:
    """Give the root tasks of these runs, by the run's id."""
    found: dict[str, TaskRow] = {}
    for part in chunks(ids):
        rows = select(*TASKS.columns).where(TASKS.c.path == "", TASKS.c.instance_id.in_(part))
        found.update({row.instance_id: task_of(row) for row in connection.execute(rows)})
    return found


def blobs_of(connection: Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Give the payloads of these runs with these names."""
    columns: list[Any] = [BLOBS.c.instance_id, BLOBS.c.key, BLOBS.c.body]
    parts: list[Any] = [
        select(*columns).where(BLOBS.c.instance_id == instance_id, BLOBS.c.key == key)
        for instance_id, key in dict.fromkeys(keys)
    ]
    return {(row[0], row[1]): row[2] for page in _pages(connection, parts, tuple) for row in page}


# --- what runs keep


def history_pages(
    connection: Connection, ids: Sequence[str], *, limit: int, after: int = 0, root: bool = True
) -> list[list[HistoryRow]]:
    """Give a page of the transitions of each of these runs, oldest first, with or without those of the root task."""
    wanted = [] if root else [or_(JOURNAL.c.path.is_(None), JOURNAL.c.path != "")]
    parts = [_kept(JOURNAL, HistoryRow, each, after).where(*wanted).limit(page_size(limit)) for each in ids]
    return [_sorted(page, _seq) for page in _pages(connection, parts, lambda row: HistoryRow(*row))]


def log_pages(
    connection: Connection,
    ids: Sequence[str],
    *,
    limit: int,
    after: int = 0,
    level: str | None = None,
    progress: bool = False,
) -> list[list[LogEntry]]:
    """Give a page of the log lines of each of these runs, oldest first; or of what their tasks said of progress."""
    wanted = [LOGS.c.level == PROGRESS_LEVEL] if progress else _levels(level)
    parts = [_kept(LOGS, LogEntry, each, after).where(*wanted).limit(page_size(limit)) for each in ids]
    return [_sorted(page, _seq) for page in _pages(connection, parts, lambda row: LogEntry(*row))]


def task_history_pages(
    connection: Connection, keys: Sequence[tuple[str, str]], *, limit: int, after: int = 0
) -> list[list[HistoryRow]]:
    """Give a page of the transitions of each of these tasks, oldest first."""
    parts = [
        _each_path(_kept(JOURNAL, HistoryRow, owner, after), JOURNAL, paths, limit)
        for owner, paths in _by_owner(keys)
    ]
    return _shared(keys, _pages(connection, parts, lambda row: HistoryRow(*row[:-1])))


def task_log_pages(
    connection: Connection,
    keys: Sequence[tuple[str, str]],
    *,
    limit: int,
    after: int = 0,
    level: str | None = None,
) -> list[list[LogEntry]]:
    """Give a page of the log lines of each of these tasks, oldest first."""
    parts = [
        _each_path(_kept(LOGS, LogEntry, owner, after).where(*_levels(level)), LOGS, paths, limit)
        for owner, paths in _by_owner(keys)
    ]
    return _shared(keys, _pages(connection, parts, lambda row: LogEntry(*row[:-1])))


def firing_pages(
    connection: Connection, schedule_ids: Sequence[str], *, limit: int, before: int | None = None
) -> list[list[FiringRow]]:
    """Give a page of what became of the instants of each of these schedules, newest first."""
    parts: list[Select[Any]] = []
    for schedule_id in schedule_ids:
        page = select(*FIRINGS.columns).where(FIRINGS.c.schedule_id == schedule_id)
        if before is not None:
            page = page.where(FIRINGS.c.at < before)
        parts.append(page.order_by(FIRINGS.c.at.desc()).limit(page_size(limit)))
    found = _pages(connection, parts, lambda row: FiringRow(*row))
    return [_sorted(page, lambda each: -each.at) for page in found]


# --- small parts


def _kept(table: Table, record: type[Any], instance_id: str, after: int) -> Select[Any]:
    """The rows of a run behind a number, in order."""
    seq: Column[int] = table.c.seq
    owned = select(*columns_of(table, record)).where(table.c.instance_id == instance_id, seq > after)
    return owned.order_by(seq)


def _levels(level: str | None) -> list[Any]:
    return [
        LOGS.c.level != PROGRESS_LEVEL if level is None else LOGS.c.level.in_(LEVELS[LEVELS.index(level) :])
    ]


def _by_owner(keys: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    owned: dict[str, list[str]] = {}
    for instance_id, path in dict.fromkeys(keys):
        owned.setdefault(instance_id, []).append(path)
    return list(owned.items())


def _each_path(kept: Select[Any], table: Table, paths: Collection[str], limit: int) -> Select[Any]:
    """The first rows of each of some paths of one run."""
    number = func.row_number().over(partition_by=table.c.path, order_by=table.c.seq).label("number")
    ranked = kept.order_by(None).add_columns(number).where(table.c.path.in_(paths)).subquery()
    return select(*ranked.columns).where(ranked.c.number <= page_size(limit))


def _shared(keys: Iterable[tuple[str, str]], pages: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """Rows of many tasks to the tasks that they are of."""
    found: dict[tuple[str, str], list[Any]] = {}
    for page in pages:
        for row in page:
            found.setdefault((row.instance_id, row.path), []).append(row)
    return [_sorted(found.get(key, []), _seq) for key in keys]


def _seq(row: Any) -> int:
    return row.seq


def _sorted(rows: list[Row], key: Callable[[Row], Any]) -> list[Row]:
    """In order: what a union gives has none that one could rely on."""
    return sorted(rows, key=key)
