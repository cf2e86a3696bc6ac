"""What tasks came to, counted from the rows themselves: of the newest runs, in bounded statements.

Nothing is counted while tasks run, so nothing can drift: the numbers are those of the rows. `tasks` has no index by
time, so runs are walked by when they were made, newest first, up to a bound that the answer tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Connection, Float, and_, case, cast, func, or_, select

from .control_tables import SETTINGS
from .database import Database, clock, insert_into
from .readmodels import ACTIVE
from .records import EngineRole, EngineState, TaskState
from .tables import ENGINES, INSTANCES, JOURNAL, TASKS

__all__ = [
    "EngineLoad",
    "QueueFigures",
    "counted_since",
    "engine_loads",
    "figures",
    "restart",
    "runs_by_state",
]

#: Runs, and their tasks, that one answer looks at.
MOST_RUNS: Final = 10_000
MOST_TASKS: Final = 200_000
#: Throughput is given of the last so many minutes.
MINUTES: Final = (5, 15, 60)
_MINUTE: Final = 60_000_000
_SETTING: Final = "statistics"
_ENDED: Final = tuple(
    state.value for state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED)
)
#: Codes of attempts that were ended because of a time that was over.
_TIMES: Final = ("timeout", "heartbeat", "deadline")
_SHARE: Final = 0.95


@dataclass(slots=True)
class QueueFigures:
    """The executors' tasks of one queue: those that have begun."""

    queue: str
    #: Tasks that have begun, and attempts of them.
    started: int = 0
    attempts: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    #: How often one of them was put back to be tried again, and how many attempts a time limit ended.
    retried: int = 0
    timed_out: int = 0
    #: Of the last attempt of what has ended, in seconds.
    mean_s: float | None = None
    p95_s: float | None = None
    #: Ended within the last 5, 15 and 60 minutes.
    last_5: int = 0
    last_15: int = 0
    last_60: int = 0


@dataclass(slots=True, frozen=True)
class EngineLoad:
    """An engine that is alive, and how much of it is in use."""

    id: str
    host: str
    pid: int
    slots: int
    used: int
    started_at: int
    lease_until: int


def counted_since(connection: Connection) -> int:
    """Since when tasks count (microseconds); 0 when nobody has ever begun anew."""
    return connection.scalar(select(SETTINGS.c.value).where(SETTINGS.c.name == _SETTING)) or 0


def restart(database: Database) -> int:
    """Count from now on; gives that instant. Nothing is deleted."""
    with database.write() as connection:
        now: int = connection.execute(select(clock(connection))).scalar_one()
        insert = insert_into(connection, SETTINGS).values(name=_SETTING, value=now)
        connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"value": now}))
    return now


def figures(connection: Connection, now: int, since: int, queue: str | None = None) -> list[QueueFigures]:
    """Give the figures of every queue of which a task has begun since an instant; with all of them as queue '*'."""
    found: dict[str, QueueFigures] = {}
    tasks = _tasks(since, queue)
    _counts(connection, tasks, now, found)
    _percentiles(connection, tasks, found)
    _repeats(connection, tasks, since, found)
    return [found[name] for name in sorted(found)]


def _runs() -> Any:
    newest: Any = select(INSTANCES.c.id, INSTANCES.c.created_at).order_by(
        INSTANCES.c.created_at.desc(), INSTANCES.c.id.desc()
    )
    return newest.limit(MOST_RUNS).subquery("runs")


def _tasks(since: int, queue: str | None) -> CTE:
    """Begun tasks of executors, of the newest runs."""
    runs, own = _runs(), TASKS.c
    columns: list[Any] = [own.instance_id, own.path, own.queue, own.state, own.attempt, own.started_at]
    columns += [own.ended_at, or_(*(own.error.like(f'{{"code":"{code}",%') for code in _TIMES)).label("late")]
    joined = runs.join(TASKS, own.instance_id == runs.c.id)
    page = (
        select(*columns)
        .select_from(joined)
        .where(own.executor.is_not(None), own.attempt > 0, own.started_at >= since)
        .limit(MOST_TASKS)
    )
    if queue is not None:
        page = page.where(own.queue == queue)
    return page.cte("begun")


def _counts(connection: Connection, tasks: CTE, now: int, found: dict[str, QueueFigures]) -> None:
    own = tasks.c
    ended = own.state.in_(_ENDED)
    seconds = cast(own.ended_at - own.started_at, Float) / 1_000_000
    columns: list[Any] = [
        own.queue,
        func.count(),
        func.sum(own.attempt),
        _number(own.state == TaskState.RUNNING),
    ]
    columns += [_number(own.state == state) for state in _ENDED]
    columns += [_number(ended), func.sum(case((ended, seconds)))]
    columns += [_number(and_(ended, own.ended_at >= now - minutes * _MINUTE)) for minutes in MINUTES]
    everything = QueueFigures("*")
    total, seconds_in_all = 0, 0.0
    for row in connection.execute(select(*columns).group_by(own.queue)):
        name, numbers, (count, spent), recent = row[0], row[1:8], row[8:10], row[10:13]
        each = QueueFigures(name, *map(int, numbers))
        each.last_5, each.last_15, each.last_60 = map(int, recent)
        each.mean_s = float(spent) / int(count) if count else None
        total, seconds_in_all = total + int(count), seconds_in_all + float(spent or 0.0)
        found[name] = each
        _add(everything, each)
    everything.mean_s = seconds_in_all / total if total else None
    found["*"] = everything


def _number(which: ColumnElement[bool]) -> Any:
    return func.sum(case((which, 1), else_=0))


_SUMS: Final = (
    "started",
    "attempts",
    "running",
    *_ENDED,
    "last_5",
    "last_15",
    "last_60",
)


def _add(whole: QueueFigures, part: QueueFigures) -> None:
    for name in _SUMS:
        setattr(whole, name, getattr(whole, name) + getattr(part, name))


def _percentiles(connection: Connection, tasks: CTE, found: dict[str, QueueFigures]) -> None:
    """The smallest duration that 95 of 100 tasks did not exceed: per queue, and over all."""
    own = tasks.c
    spent = (own.ended_at - own.started_at).label("spent")
    for by in (own.queue, None):
        order: dict[str, Any] = {"order_by": spent} | ({} if by is None else {"partition_by": by})
        columns: list[Any] = [
            (own.queue if by is not None else func.min(own.queue).over()).label("queue"),
            spent,
            func.row_number().over(**order).label("place"),
            func.count().over(partition_by=by).label("size"),
        ]
        placed = select(*columns).where(own.state.in_(_ENDED)).subquery("placed")
        # the first place at or beyond the share: place - 1 < share * size <= place
        limit = cast(placed.c.size, Float) * _SHARE
        page = select(placed.c.queue, placed.c.spent).where(
            placed.c.place >= limit, placed.c.place - 1 < limit
        )
        for row in connection.execute(page):
            found[row[0] if by is not None else "*"].p95_s = int(row[1]) / 1_000_000


def _repeats(connection: Connection, tasks: CTE, since: int, found: dict[str, QueueFigures]) -> None:
    """What the journal knows of these tasks and their rows do not: how often, and why, an attempt was not the last."""
    own, entry = tasks.c, JOURNAL.c
    retried = entry.to_state == TaskState.RETRYING
    # where a handler takes over the journal names the handler, and the row keeps the error
    handled = and_(entry.reason == "handling the error", own.late)
    timed_out = and_(entry.from_state == TaskState.RUNNING, or_(handled, *map(_because, _TIMES)))
    joined = tasks.join(JOURNAL, and_(entry.instance_id == own.instance_id, entry.path == own.path))
    columns: list[Any] = [own.queue, _number(retried), _number(timed_out)]
    page = (
        select(*columns).select_from(joined).where(entry.at >= since, entry.attempt > 0).group_by(own.queue)
    )
    for row in connection.execute(page):
        for each in (found[row[0]], found["*"]):
            each.retried += int(row[1])
            each.timed_out += int(row[2])


def _because(code: str) -> ColumnElement[bool]:
    """The reason that `engine/attempts.py` writes with the end of an attempt."""
    return or_(JOURNAL.c.reason == code, JOURNAL.c.reason.like(f"retry % of %: {code}"))


def runs_by_state(connection: Connection, since: int) -> dict[str, int]:
    """Count the newest runs that were made since an instant, by state."""
    runs = _runs()
    joined = runs.join(INSTANCES, INSTANCES.c.id == runs.c.id)
    page = select(INSTANCES.c.state, func.count()).select_from(joined).where(runs.c.created_at >= since)
    return {row[0]: row[1] for row in connection.execute(page.group_by(INSTANCES.c.state))}


def engine_loads(connection: Connection) -> list[EngineLoad]:
    """Give the engines that are alive with what they execute now, those that started last first."""
    active = select(INSTANCES.c.id).where(ACTIVE).scalar_subquery()
    held = (
        select(TASKS.c.engine, func.count())
        .where(
            TASKS.c.state == TaskState.RUNNING,
            TASKS.c.executor.is_not(None),
            TASKS.c.phase.is_(None),
            TASKS.c.instance_id.in_(active),
        )
        .group_by(TASKS.c.engine)
    )
    used: dict[str, int] = {row[0]: row[1] for row in connection.execute(held)}
    own = ENGINES.c
    page = select(own.id, own.host, own.pid, own.slots, own.started_at, own.lease_until).where(
        own.state == EngineState.ALIVE, own.role == EngineRole.ENGINE
    )
    return [
        EngineLoad(row[0], row[1], row[2], row[3], used.get(row[0], 0), row[4], row[5])
        for row in connection.execute(page.order_by(own.started_at.desc(), own.id))
    ]
