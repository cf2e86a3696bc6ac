"""Read models of the task system: runs of definitions with one node, beside that node's row; counts of many.

Knows no rule and no state of the task system: which names, which node and which states are meant is told by the caller.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, case, func, or_, select

from .database import Database, clock, insert_into
from .readmodels import ACTIVE, chunks, page_size, uuid_text
from .records import ACTIVE_INSTANCE_STATES, InstanceState, TaskState
from .tables import DEFINITIONS, INSTANCES, JOURNAL, LOGS, SETTINGS, TASKS

__all__ = [
    "Counted",
    "Outcome",
    "TaskFacts",
    "attempts_that_ended",
    "busy_slots",
    "count",
    "depths",
    "facts",
    "last_error_line",
    "mark_now",
    "names_with",
    "outcome",
    "page_of_facts",
    "setting",
    "states_of",
    "task_counts",
]

_NODE: Final = TASKS.alias("node")
_ROOT: Final = TASKS.alias("root")
_NOTHING: Final = ""


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One run with its node; what the node would say is None when there is no such node."""

    id: str
    definition_id: str
    name: str
    state: InstanceState
    key: str | None
    labels: dict[str, str]
    queue: str | None
    priority: int | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    start_at: int | None
    expires_at: int | None
    parent_id: str | None
    #: The run's error object as JSON text.
    error: str | None
    node_state: TaskState | None
    attempt: int
    #: The node's last error, also while it is tried again.
    node_error: str | None


@dataclass(frozen=True, slots=True)
class Counted:
    """How many runs stand alike, and how long they took together (microseconds, only those that have ended)."""

    state: InstanceState
    node_state: TaskState | None
    expired: bool
    delayed: bool
    count: int
    duration: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run stands, and what its node gave."""

    name: str
    state: InstanceState
    #: JSON text.
    output: str | None
    #: Has the node completed, and is `output` all of what it gave?
    whole: bool


def _joined(node: str) -> Any:
    return INSTANCES.outerjoin(
        _NODE, and_(_NODE.c.instance_id == INSTANCES.c.id, _NODE.c.path == node)
    ).outerjoin(_ROOT, and_(_ROOT.c.instance_id == INSTANCES.c.id, _ROOT.c.path == _NOTHING))


def _facts(node: str) -> Any:
    own = INSTANCES.c
    return select(
        own.id,
        own.definition_id,
        own.name,
        own.state,
        own.key,
        own.labels,
        own.queue,
        own.priority,
        own.created_at,
        own.started_at,
        own.ended_at,
        own.start_at,
        own.expires_at,
        own.parent_id,
        _ROOT.c.error.label("error"),
        _NODE.c.state.label("node_state"),
        func.coalesce(_NODE.c.attempt, 0).label("attempt"),
        _NODE.c.error.label("node_error"),
    ).select_from(_joined(node))


def facts(connection: Connection, instance_id: str, node: str) -> TaskFacts | None:
    """Give one run and its node with this path."""
    known = uuid_text(instance_id)
    row = connection.execute(_facts(node).where(INSTANCES.c.id == known)).mappings().first()
    return None if row is None else _parsed(dict(row))


def outcome(connection: Connection, instance_id: str, node: str) -> Outcome | None:
    """Give how one run stands, with what its node with this path gave; one read by primary keys."""
    columns = (
        INSTANCES.c.name,
        INSTANCES.c.state,
        _NODE.c.state.label("node"),
        _NODE.c.output,
        _NODE.c.output_ref,
    )
    of_node = and_(_NODE.c.instance_id == INSTANCES.c.id, _NODE.c.path == node)
    query = select(*columns).select_from(INSTANCES.outerjoin(_NODE, of_node))
    row = connection.execute(query.where(INSTANCES.c.id == uuid_text(instance_id))).first()
    if row is None:
        return None
    whole = row.node == TaskState.COMPLETED.value and row.output_ref is None
    return Outcome(row.name, InstanceState(row.state), row.output, whole)


def page_of_facts(
    connection: Connection,
    *,
    prefix: str,
    node: str,
    states: Collection[InstanceState],
    node_states: Collection[TaskState] | None = None,
    nodeless: bool = True,
    queue: str | None = None,
    newest_first: bool = False,
    limit: int = 100,
) -> list[TaskFacts]:
    """Give runs whose name begins so and that stand in one of these states, oldest first.

    `node_states` are those that the node of a run that has begun may have; `nodeless` gives runs without that node too.
    """
    own = INSTANCES.c
    order = (own.created_at.desc(), own.id.desc()) if newest_first else (own.created_at, own.id)
    page = _facts(node).where(_named(prefix), own.state.in_([state.value for state in states]))
    if set(states) <= ACTIVE_INSTANCE_STATES:
        page = page.where(ACTIVE)  # written out, for the index over live runs
    if queue is not None:
        page = page.where(own.queue == queue)
    if node_states is not None:
        found = _NODE.c.state.in_([state.value for state in node_states])
        unborn = own.state.in_([InstanceState.QUEUED.value, InstanceState.PENDING.value])
        page = page.where(or_(unborn, found, _NODE.c.state.is_(None)) if nodeless else or_(unborn, found))
    rows = connection.execute(page.order_by(*order).limit(page_size(limit))).mappings()
    return [_parsed(dict(row)) for row in rows]


def states_of(connection: Connection, ids: Iterable[str]) -> dict[str, InstanceState]:
    """Give the states of these runs, by id; one that does not exist is absent."""
    known = {text: each for each in ids if (text := uuid_text(each)) is not None}
    found: dict[str, InstanceState] = {}
    for part in chunks(known):
        rows = connection.execute(select(INSTANCES.c.id, INSTANCES.c.state).where(INSTANCES.c.id.in_(part)))
        found |= {known[str(row.id)]: InstanceState(row.state) for row in rows}
    return found


def task_counts(
    connection: Connection, *, prefix: str, node: str, since: int, expired_code: str
) -> list[Counted]:
    """Count runs whose name begins so and that were started since an instant, by how they stand.

    One that has not begun although its `expires_at` has passed, and one that failed with `expired_code`, is `expired`.
    """
    own = INSTANCES.c
    begins = f'{{"code":{json.dumps(expired_code)}'
    too_late = and_(own.expires_at.is_not(None), own.expires_at <= clock(connection))
    expired = case(
        (func.substr(_ROOT.c.error, 1, len(begins)) == begins, 1),
        (and_(own.started_at.is_(None), own.ended_at.is_(None), too_late), 1),
        else_=0,
    ).label("expired")
    waits = and_(own.state == InstanceState.QUEUED.value, own.start_at.is_not(None))
    delayed = case((waits, 1), else_=0).label("delayed")
    groups = (own.state, _NODE.c.state, expired, delayed)
    query = (
        select(*groups, func.count(), func.sum(own.ended_at - own.started_at))
        .select_from(_joined(node))
        .where(_named(prefix), own.created_at >= since)
        .group_by(*groups)
    )
    return [_counted(tuple(row)) for row in connection.execute(query)]


def count(connection: Connection, prefix: str) -> int:
    """Count the runs whose name begins so."""
    return connection.execute(select(func.count()).select_from(INSTANCES).where(_named(prefix))).scalar_one()


def _counted(row: Sequence[Any]) -> Counted:
    state, node_state, expired, delayed, count, duration = row
    node = TaskState(node_state) if node_state is not None else None
    return Counted(InstanceState(state), node, bool(expired), bool(delayed), count, int(duration or 0))


def attempts_that_ended(connection: Connection, *, prefix: str, since: int, code: str) -> tuple[int, int]:
    """Count, for runs whose name begins so, the retries, and the attempts that ended with this error code."""
    mine = select(INSTANCES.c.id).where(_named(prefix), INSTANCES.c.created_at >= since)
    own = JOURNAL.c
    retried = own.to_state == TaskState.RETRYING.value
    ended = or_(
        and_(retried, own.reason.like(f"retry % of %: {code}")),
        and_(own.to_state == TaskState.FAILED.value, own.reason == code),
    )
    query = select(
        func.sum(case((retried, 1), else_=0)),
        func.sum(case((ended, 1), else_=0)),
    ).where(own.instance_id.in_(mine), own.attempt > 0, own.path.is_not(None))
    row = connection.execute(query).one()
    return int(row[0] or 0), int(row[1] or 0)


def depths(connection: Connection, *, prefix: str, node_states: Sequence[TaskState]) -> dict[str, list[int]]:
    """Count the tasks of live runs, by queue: how many stand in each of these states, in that order."""
    live = select(INSTANCES.c.id).where(ACTIVE, _named(prefix))
    counts = [func.sum(case((TASKS.c.state == state.value, 1), else_=0)) for state in node_states]
    query = (
        select(TASKS.c.queue, *counts)
        .where(TASKS.c.instance_id.in_(live), TASKS.c.executor.is_not(None))
        .group_by(TASKS.c.queue)
    )
    return {row[0]: [int(count or 0) for count in row[1:]] for row in connection.execute(query)}


def busy_slots(connection: Connection) -> int:
    """Count the attempts of executors that run now, of all runs on all engines."""
    active = select(INSTANCES.c.id).where(ACTIVE)
    running = and_(
        TASKS.c.state == TaskState.RUNNING.value, TASKS.c.executor.is_not(None), TASKS.c.phase.is_(None)
    )
    query = select(func.count()).select_from(TASKS).where(running, TASKS.c.instance_id.in_(active))
    return connection.execute(query).scalar_one()


def last_error_line(
    connection: Connection, instance_id: str, path: str, attempt: int, begins: str
) -> str | None:
    """Give the last log line of level `error` of an attempt that begins so: its traceback."""
    query = (
        select(LOGS.c.message)
        .where(
            LOGS.c.instance_id == uuid_text(instance_id),
            LOGS.c.path == path,
            LOGS.c.attempt == attempt,
            LOGS.c.level == "error",
            func.substr(LOGS.c.message, 1, len(begins)) == begins,
        )
        .order_by(LOGS.c.seq.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def names_with(connection: Connection, prefix: str) -> list[str]:
    """Give the definition names that begin so."""
    own = DEFINITIONS.c.name
    return list(connection.scalars(select(own).where(_named(prefix, own)).distinct().order_by(own)))


def setting(connection: Connection, name: str) -> int:
    """Give a number that was set; 0 when it never was."""
    found = connection.execute(select(SETTINGS.c.value).where(SETTINGS.c.name == name)).scalar()
    return int(found or 0)


def mark_now(database: Database, name: str) -> int:
    """Set a number to the database's clock, in microseconds, and give it."""
    with database.write() as connection:
        now: int = connection.execute(select(clock(connection))).scalar_one()
        insert = insert_into(connection, SETTINGS).values(name=name, value=now)
        connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"value": now}))
    return now


def _named(prefix: str, column: Any = INSTANCES.c.name) -> Any:
    """Not LIKE, which has wildcards and ignores case on SQLite; not a range, which depends on the collation."""
    return func.substr(column, 1, len(prefix)) == prefix


def _parsed(row: dict[str, Any]) -> TaskFacts:
    labels: dict[str, str] = json.loads(row["labels"]) if row["labels"] else {}
    node = TaskState(row["node_state"]) if row["node_state"] is not None else None
    parsed: dict[str, Any] = {"state": InstanceState(row["state"]), "labels": labels, "node_state": node}
    return TaskFacts(**{**row, **parsed})
