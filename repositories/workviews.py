"""Read models of engines, queues and held tasks: what recovery, scheduling and monitoring look at.

No index of `tasks` knows engines or states (DESIGN section 4), so held tasks are found through the active instances and
then by primary key. `views.py` gives these functions out together with its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, exists, func, or_, select, tuple_

from .batch import task_of
from .control_tables import LIMITS, QUEUES
from .database import clock
from .readmodels import (
    ACTIVE,
    EngineView,
    HeldTask,
    QueueDepth,
    UnclaimableTask,
    beyond,
    page_size,
    uuid_text,
)
from .records import EngineRole, EngineState, InstanceState, TaskRow, TaskState
from .tables import ENGINES, INSTANCES, MESSAGES, TASKS

__all__ = [
    "asked_to_stop",
    "dead_candidates",
    "engine",
    "engines",
    "interrupted",
    "next_wake",
    "now",
    "queue_depths",
    "queues_ready",
    "running_of",
    "unclaimable",
    "unfinished_count",
]

#: Pairs of one statement: far below the 32,766 parameters that SQLite takes.
_KEYS_AT_ONCE: Final = 500
#: Counters with waiting tasks that one look takes in.
_COUNTERS: Final = 1_000


def now(connection: Connection) -> int:
    """Read the database's clock, in microseconds."""
    return connection.execute(select(clock(connection))).scalar_one()


def engines(connection: Connection, *, alive_only: bool = False, limit: int = 1000) -> list[EngineView]:
    """Give the engines, those that started last first."""
    page = (
        select(*ENGINES.columns).order_by(ENGINES.c.started_at.desc(), ENGINES.c.id).limit(page_size(limit))
    )
    if alive_only:
        page = page.where(ENGINES.c.state == EngineState.ALIVE)
    return [_engine(row) for row in connection.execute(page).mappings()]


def engine(connection: Connection, engine_id: str) -> EngineView | None:
    """Give one engine."""
    row = (
        connection.execute(select(*ENGINES.columns).where(ENGINES.c.id == uuid_text(engine_id)))
        .mappings()
        .first()
    )
    return None if row is None else _engine(row)


def dead_candidates(connection: Connection, me: str) -> list[EngineView]:
    """Give every other engine that counts as alive, the one whose lease ends first first."""
    others = select(*ENGINES.columns).where(ENGINES.c.state == EngineState.ALIVE, ENGINES.c.id != me)
    return [_engine(row) for row in connection.execute(others.order_by(ENGINES.c.lease_until)).mappings()]


def interrupted(
    connection: Connection, limit: int = 1000, after: tuple[str, str] | None = None
) -> list[HeldTask]:
    """Give a page of the running tasks whose engine is not alive, or not there; `after` is the last `cursor` seen."""
    holder = exists().where(ENGINES.c.id == TASKS.c.engine, ENGINES.c.state == EngineState.ALIVE)
    return _held(connection, ~holder, limit, after)


def running_of(
    connection: Connection, engine_id: str, limit: int = 1000, after: tuple[str, str] | None = None
) -> list[HeldTask]:
    """Give a page of the tasks that an engine holds, by the database; `after` is the last `cursor` seen."""
    return _held(connection, TASKS.c.engine == uuid_text(engine_id), limit, after)


def asked_to_stop(connection: Connection, held: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Of these attempts (instance, path, attempt), give those that somebody wants stopped, or has given up already.

    One that has ended in another state has reported so itself: its executor may still have something to do.
    """
    asked_of = and_(TASKS.c.state == TaskState.RUNNING, TASKS.c.closed == "cancelled")
    wanted = or_(asked_of, TASKS.c.state == TaskState.CANCELLED)
    found = set[tuple[str, str, int]]()
    for start in range(0, len(held), _KEYS_AT_ONCE):
        keys = [(instance_id, path) for instance_id, path, _ in held[start : start + _KEYS_AT_ONCE]]
        asked = select(TASKS.c.instance_id, TASKS.c.path, TASKS.c.attempt).where(
            tuple_(TASKS.c.instance_id, TASKS.c.path).in_(keys), wanted
        )
        found |= {(row[0], row[1], row[2]) for row in connection.execute(asked)}
    return [key for key in held if key in found]


def _held(
    connection: Connection, which: ColumnElement[bool], limit: int, after: tuple[str, str] | None
) -> list[HeldTask]:
    active = select(INSTANCES.c.id).where(ACTIVE)
    page = (
        select(TASKS.c.instance_id, TASKS.c.path, TASKS.c.attempt, TASKS.c.engine, TASKS.c.started_at)
        .where(TASKS.c.state == TaskState.RUNNING, which)
        .order_by(TASKS.c.instance_id, TASKS.c.path)
        .limit(page_size(limit))
    )
    if after is not None:
        # the first condition starts the walk over the instances, the second that within the first of them
        active = active.where(INSTANCES.c.id >= after[0])
        page = page.where(beyond((TASKS.c.instance_id, TASKS.c.path), after))
    page = page.where(TASKS.c.instance_id.in_(active.scalar_subquery()))
    return [HeldTask(*row) for row in connection.execute(page)]


def unfinished_count(connection: Connection) -> int:
    """Count the instances that have not ended and would go on by themselves: paused ones are left out.

    Starts that were asked for (by a schedule, an event, a flow) and have not begun are counted, too.
    """
    going = (
        select(func.count()).select_from(INSTANCES).where(ACTIVE, INSTANCES.c.state != InstanceState.PAUSED)
    )
    asked = select(func.count()).select_from(MESSAGES).where(MESSAGES.c.kind == "start")
    return connection.execute(select(going.scalar_subquery() + asked.scalar_subquery())).scalar_one()


def unclaimable(
    connection: Connection, known_executors: Collection[str], before: int, limit: int = 100
) -> list[UnclaimableTask]:
    """Give tasks that were ready before this instant and whose executor is none of these, oldest first."""
    columns = TASKS.c
    page = (
        select(columns.instance_id, columns.path, columns.executor, columns.queue, columns.ready_at)
        .where(columns.ready_at.is_not(None), columns.ready_at < before, columns.executor.is_not(None))
        .where(columns.executor.not_in(sorted(known_executors)))
        .order_by(columns.ready_at, columns.instance_id, columns.path)
        .limit(page_size(limit))
    )
    return [UnclaimableTask(*row) for row in connection.execute(page)]


def queue_depths(connection: Connection) -> list[QueueDepth]:
    """Count the ready tasks of every queue that has some, by queue."""
    each = (
        select(TASKS.c.queue, func.count(), func.min(TASKS.c.ready_at))
        .where(TASKS.c.ready_at.is_not(None))
        .group_by(TASKS.c.queue)
        .order_by(TASKS.c.queue)
    )
    return [QueueDepth(*row) for row in connection.execute(each)]


def queues_ready(connection: Connection) -> list[str]:
    """Name the queues that have tasks to take, by one look into an index for each queue or counter, not for each task.

    A queue whose tasks are all blocked has none that are ready: it is named by the task that comes next on its counter.
    """
    ready = select(TASKS.c.queue).where(TASKS.c.ready_at.is_not(None)).order_by(TASKS.c.queue).limit(1)
    found = select(ready.scalar_subquery().label("queue")).cte("found", recursive=True)
    following = ready.where(TASKS.c.queue > found.c.queue).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.queue.is_not(None)))
    waiting = select(LIMITS.c.name).where(LIMITS.c.waiting > 0).limit(_COUNTERS).subquery("waiting")
    next_in_line = (
        select(TASKS.c.queue)
        .where(
            TASKS.c.blocked_on == waiting.c.name,
            TASKS.c.queue.not_in(select(QUEUES.c.name).where(QUEUES.c.state == "paused").scalar_subquery()),
        )
        .order_by(TASKS.c.priority.desc(), TASKS.c.blocked_at)
        .limit(1)
        .correlate(waiting)
        .scalar_subquery()
    )
    blocked = select(next_in_line.label("queue")).select_from(waiting).subquery("blocked")
    page = select(found.c.queue).where(found.c.queue.is_not(None))
    page = page.union(select(blocked.c.queue).where(blocked.c.queue.is_not(None)))
    return sorted(connection.scalars(page))


def next_wake(connection: Connection) -> int | None:
    """Give the earliest instant at which an engine must look at a task."""
    return connection.scalar(select(func.min(TASKS.c.wake_at)).where(TASKS.c.wake_at.is_not(None)))


def _engine(row: RowMapping) -> EngineView:
    parsed: dict[str, Any] = {
        "role": EngineRole(row["role"]),
        "state": EngineState(row["state"]),
        "executors": tuple(json.loads(row["executors"])),
    }
    return EngineView(**{**row, **parsed})


def ready_tasks(connection: Connection, limit: int = 100) -> list[TaskRow]:
    """Give ready tasks in the order in which they would be claimed, over all queues."""
    page = (
        select(*TASKS.columns)
        .where(TASKS.c.ready_at.is_not(None))
        .order_by(TASKS.c.priority.desc(), TASKS.c.ready_at, TASKS.c.path)
        .limit(page_size(limit))
    )
    return [task_of(row) for row in connection.execute(page)]
