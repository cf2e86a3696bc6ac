"""Read models of what stands in queues and what holds counters: for people who operate them. Plain reads, never locks.

What is ready, blocked or in backoff is found by the index of its kind; what runs is found through the active
instances, for no index of `tasks` knows states (`workviews.py`). Every list is bounded and goes on by key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)

from .batch import task_of
from .control_tables import LIMITS
from .readmodels import ACTIVE, page_size
from .records import InstanceState, LimitRow, TaskRow, TaskState
from .tables import INSTANCES, LABELS, TASKS
from .workviews import queue_depths

__all__ = [
    "QueueCounts",
    "QueueEntry",
    "blocked_counts",
    "blocked_entries",
    "blocked_tasks",
    "counters",
    "delayed_entries",
    "delayed_starts",
    "holding_tasks",
    "label_values",
    "queue_counts",
    "ready_entries",
    "ready_of",
    "running_entries",
    "starts_by_time",
]

_RUNNING: Final = and_(
    TASKS.c.state == TaskState.RUNNING,
    TASKS.c.executor.is_not(None),
    TASKS.c.phase.is_(None),
    TASKS.c.instance_id.in_(select(INSTANCES.c.id).where(ACTIVE).scalar_subquery()),
)
_RETRYING: Final = and_(TASKS.c.wake_at.is_not(None), TASKS.c.state == TaskState.RETRYING)
_WAITS_TO_START: Final = and_(
    ACTIVE, INSTANCES.c.state == InstanceState.QUEUED, INSTANCES.c.start_at.is_not(None)
)
#: Queue of a start that names none; its first node may name another one.
_START_QUEUE: Final = func.coalesce(INSTANCES.c.queue, literal_column("'default'"))


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A task that stands in a queue, runs out of it, or will stand in it; a start that waits has the path ''."""

    instance_id: str
    definition_id: str
    #: Name of the definition.
    name: str
    path: str
    queue: str
    executor: str | None
    state: str
    priority: int
    #: Since when it is ready, blocked or running; until when it is delayed.
    at: int
    #: The counter that it waits for.
    blocked_on: str | None = None

    @property
    def cursor(self) -> tuple[int, int, str, str]:
        """What `after=` takes to go on behind this row."""
        return self.priority, self.at, self.instance_id, self.path


@dataclass(slots=True)
class QueueCounts:
    """How many tasks of a queue are where."""

    ready: int = 0
    oldest_ready_at: int | None = None
    running: int = 0
    blocked: int = 0
    #: Tasks in backoff, and starts that wait for their time.
    delayed: int = 0


def queue_counts(connection: Connection, now: int) -> dict[str, QueueCounts]:
    """Count per queue; queues of which nothing is anywhere are absent."""
    found: dict[str, QueueCounts] = {}
    for depth in queue_depths(connection):
        found[depth.queue] = QueueCounts(ready=depth.ready, oldest_ready_at=depth.oldest_ready_at)
    for queue, count in _per_queue(connection, _RUNNING):
        found.setdefault(queue, QueueCounts()).running = count
    for queue, count in _per_queue(connection, TASKS.c.blocked_on.is_not(None)):
        found.setdefault(queue, QueueCounts()).blocked = count
    for queue, count in _per_queue(connection, _RETRYING):
        found.setdefault(queue, QueueCounts()).delayed = count
    starts = select(_START_QUEUE, func.count()).where(_WAITS_TO_START, INSTANCES.c.start_at > now)
    for row in connection.execute(starts.group_by(_START_QUEUE)):
        found.setdefault(row[0], QueueCounts()).delayed += row[1]
    return found


def _per_queue(connection: Connection, which: ColumnElement[bool]) -> list[tuple[str, int]]:
    page = select(TASKS.c.queue, func.count()).where(which).group_by(TASKS.c.queue)
    return [(row[0], row[1]) for row in connection.execute(page)]


def _entries(at: Any, *which: ColumnElement[bool]) -> Select[Any]:
    tasks, instances = TASKS.c, INSTANCES.c
    columns: list[Any] = [tasks.instance_id, instances.definition_id, instances.name, tasks.path, tasks.queue]
    columns += [tasks.executor, tasks.state, tasks.priority, at, tasks.blocked_on]
    page: Any = select(*columns).select_from(TASKS.join(INSTANCES, instances.id == tasks.instance_id))
    return page.where(*which)


def _read(connection: Connection, page: Select[Any], limit: int) -> list[QueueEntry]:
    return [QueueEntry(*row) for row in connection.execute(page.limit(page_size(limit)))]


def ready_entries(
    connection: Connection,
    queue: str,
    *,
    limit: int = 100,
    after: tuple[int, int, str, str] | None = None,
) -> list[QueueEntry]:
    """Give a page of the ready tasks of a queue in the order in which they are claimed.

    Of tasks with the same priority and instant, which the databases may take in any order, ids decide here.
    """
    at = TASKS.c.ready_at
    page = _entries(at, TASKS.c.queue == queue, at.is_not(None))
    if after is not None:
        page = page.where(*_behind(at, after))
    return _read(connection, page.order_by(*_order(at)), limit)


def blocked_entries(
    connection: Connection,
    queue: str,
    *,
    limit: int = 100,
    after: tuple[int, int, str, str] | None = None,
) -> list[QueueEntry]:
    """Give a page of the tasks of a queue that a limit keeps from beginning, in the order in which they may begin."""
    at = TASKS.c.blocked_at
    page = _entries(at, TASKS.c.queue == queue, TASKS.c.blocked_on.is_not(None))
    if after is not None:
        page = page.where(*_behind(at, after))
    return _read(connection, page.order_by(*_order(at)), limit)


def _order(at: Any) -> list[Any]:
    return [TASKS.c.priority.desc(), at, TASKS.c.instance_id, TASKS.c.path]


def _behind(at: Any, after: tuple[int, int, str, str]) -> list[ColumnElement[bool]]:
    priority, instant, instance_id, path = after
    keys = (TASKS.c.instance_id, TASKS.c.path)
    same = and_(at == instant, tuple_(*keys) > tuple_(instance_id, path, types=[key.type for key in keys]))
    return [TASKS.c.priority <= priority, or_(TASKS.c.priority < priority, at > instant, same)]


def running_entries(
    connection: Connection,
    queue: str | None = None,
    limit: int = 100,
    after: tuple[int, int, str, str] | None = None,
) -> list[QueueEntry]:
    """Give a page of the tasks that run, of one queue or of all, by instance and path."""
    keys = (TASKS.c.instance_id, TASKS.c.path)
    page = _entries(func.coalesce(TASKS.c.started_at, literal_column("0")), _RUNNING)
    if queue is not None:
        page = page.where(TASKS.c.queue == queue)
    if after is not None:
        page = page.where(tuple_(*keys) > tuple_(*after[2:], types=[key.type for key in keys]))
    return _read(connection, page.order_by(*keys), limit)


def delayed_entries(
    connection: Connection,
    queue: str | None,
    *,
    limit: int = 100,
    after: tuple[int, int, str, str] | None = None,
) -> list[QueueEntry]:
    """Give a page of the tasks of a queue, or of all, that are tried again later, those that come first first."""
    keys = (TASKS.c.wake_at, TASKS.c.instance_id, TASKS.c.path)
    page = _entries(TASKS.c.wake_at, _RETRYING)
    if queue is not None:
        page = page.where(TASKS.c.queue == queue)
    if after is not None:
        page = page.where(tuple_(*keys) > tuple_(*after[1:], types=[key.type for key in keys]))
    return _read(connection, page.order_by(*keys), limit)


def delayed_starts(
    connection: Connection,
    now: int,
    *,
    queue: str | None = None,
    limit: int = 100,
    after: str = "",
) -> list[QueueEntry]:
    """Give starts that wait for their time, by id; `queue` is what the start said, or `default`."""
    page = _starts(now, queue)
    if after:
        page = page.where(INSTANCES.c.id > after)
    return _read_starts(connection, page.order_by(INSTANCES.c.id), limit)


def starts_by_time(
    connection: Connection,
    now: int,
    *,
    queue: str | None = None,
    limit: int = 100,
    after: tuple[int, int, str, str] | None = None,
) -> list[QueueEntry]:
    """Give a page of the same, those that come first first."""
    keys = (INSTANCES.c.start_at, INSTANCES.c.id)
    page = _starts(now, queue)
    if after is not None:  # a start has no path: at its own place it stands before every task
        beyond = tuple_(*keys) > tuple_(*after[1:3], types=[key.type for key in keys])
        page = page.where(beyond)
    return _read_starts(connection, page.order_by(*keys), limit)


def _starts(now: int, queue: str | None) -> Select[Any]:
    own = INSTANCES.c
    priority = func.coalesce(own.priority, literal_column("0"))
    columns: list[Any] = [
        own.id,
        own.definition_id,
        own.name,
        _START_QUEUE,
        own.state,
        priority,
        own.start_at,
    ]
    page: Any = select(*columns).where(_WAITS_TO_START, own.start_at > now)
    return page if queue is None else page.where(_START_QUEUE.in_([queue]))


def _read_starts(connection: Connection, page: Select[Any], limit: int) -> list[QueueEntry]:
    found: Sequence[Any] = connection.execute(page.limit(page_size(limit))).all()
    return [QueueEntry(row[0], row[1], row[2], "", row[3], None, row[4], row[5], row[6]) for row in found]


def ready_of(connection: Connection, instance_id: str, queue: str, limit: int = 2) -> list[QueueEntry]:
    """Give tasks of one instance that stand ready in a queue."""
    which = (TASKS.c.instance_id == instance_id, TASKS.c.queue == queue, TASKS.c.ready_at.is_not(None))
    return _read(connection, _entries(TASKS.c.ready_at, *which).order_by(TASKS.c.path), limit)


# --- counters


def counters(
    connection: Connection, *, after: str = "", limit: int = 100, kind: str | None = None
) -> list[LimitRow]:
    """Give a page of the counters by name; `kind` is what stands before the colon."""
    page = select(*LIMITS.columns).where(LIMITS.c.name > after).order_by(LIMITS.c.name)
    if kind is not None:
        page = page.where(LIMITS.c.name >= f"{kind}:", LIMITS.c.name < f"{kind};")
    return [LimitRow(*row) for row in connection.execute(page.limit(page_size(limit)))]


def holding_tasks(
    connection: Connection,
    counter: str | None = None,
    *,
    limit: int = 100,
    after: tuple[str, str] | None = None,
) -> list[tuple[str, TaskRow]]:
    """Give running tasks that hold a counter (or any), with the ids of their definitions, by instance and path."""
    active = select(INSTANCES.c.id).where(ACTIVE).scalar_subquery()
    page = _with_definition().where(
        TASKS.c.state == TaskState.RUNNING, TASKS.c.holds.is_not(None), TASKS.c.instance_id.in_(active)
    )
    if counter is not None:
        page = page.where(TASKS.c.holds.contains(f"[{json.dumps(counter)},", autoescape=True))
    keys = (TASKS.c.instance_id, TASKS.c.path)
    if after is not None:
        page = page.where(tuple_(*keys) > tuple_(*after, types=[key.type for key in keys]))
    return _tasks(connection, page.order_by(*keys), limit)


def blocked_tasks(connection: Connection, limit: int = 100) -> list[tuple[str, TaskRow]]:
    """Give blocked tasks with the ids of their definitions, by the counter that they wait for."""
    page = _with_definition().where(TASKS.c.blocked_on.is_not(None))
    order = (TASKS.c.blocked_on, TASKS.c.priority.desc(), TASKS.c.blocked_at)
    return _tasks(connection, page.order_by(*order), limit)


def blocked_counts(connection: Connection) -> dict[str, int]:
    """Count the blocked tasks by what they wait for."""
    what = TASKS.c.blocked_on
    page = select(what, func.count()).where(what.is_not(None)).group_by(what)
    return {row[0]: row[1] for row in connection.execute(page) if row[0] is not None}


def _with_definition() -> Select[Any]:
    joined = TASKS.join(INSTANCES, INSTANCES.c.id == TASKS.c.instance_id)
    return select(INSTANCES.c.definition_id, *TASKS.columns).select_from(joined)


def _tasks(connection: Connection, page: Select[Any], limit: int) -> list[tuple[str, TaskRow]]:
    rows: Sequence[Any] = connection.execute(page.limit(page_size(limit))).all()
    return [(row[0], task_of(row[1:])) for row in rows]


def label_values(connection: Connection, name: str, limit: int = 1_000) -> list[str]:
    """Give the values that a label has on any instance."""
    page = select(LABELS.c.value).where(LABELS.c.name == name).distinct().order_by(LABELS.c.value)
    return list(connection.scalars(page.limit(page_size(limit))))
