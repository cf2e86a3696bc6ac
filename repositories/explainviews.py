"""Read models for explanations: what is unfinished below one task, how others ended, what engines are busy with.

Narrow and bounded: an explanation must stay quick beside millions of rows and large payloads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from .batch import task_of
from .readmodels import ACTIVE, HistoryRow, chunks, columns_of, page_size, uuid_text
from .records import TERMINAL_TASK_STATES, TaskRow, TaskState
from .tables import INSTANCES, JOURNAL, SIGNALS, TASKS

__all__ = ["busy_slots", "ends_of", "last_transition", "parked_signals", "unfinished_under"]


def unfinished_under(connection: Connection, instance_id: str, path: str, limit: int) -> list[TaskRow]:
    """Give a task and what is below it, as far as it has not ended, in path order; of '' everything."""
    page = select(*TASKS.columns).where(
        TASKS.c.instance_id == uuid_text(instance_id),
        TASKS.c.state.not_in([state.value for state in TERMINAL_TASK_STATES]),
    )
    if path:
        follows = func.substr(TASKS.c.path, len(path) + 1, 1).in_([".", "[", "#", "!"])
        below = and_(TASKS.c.path > path, TASKS.c.path < path + "]", follows)
        page = page.where(or_(TASKS.c.path == path, below))
    return [task_of(row) for row in connection.execute(_paged(page, limit))]


def _paged(page: Select[Any], limit: int) -> Select[Any]:
    return page.order_by(TASKS.c.path).limit(page_size(limit))


def ends_of(
    connection: Connection, instance_id: str, paths: Iterable[str]
) -> dict[str, tuple[str, str | None]]:
    """Give state and `closed` of those of these tasks that have ended, without their payloads."""
    known = uuid_text(instance_id)
    found: dict[str, tuple[str, str | None]] = {}
    for part in chunks(paths):
        page = select(TASKS.c.path, TASKS.c.state, TASKS.c.closed).where(
            TASKS.c.instance_id == known, TASKS.c.path.in_(part)
        )
        for path, state, closed in connection.execute(page):
            if TaskState(state) in TERMINAL_TASK_STATES:
                found[path] = (state, closed)
    return found


def last_transition(connection: Connection, instance_id: str, path: str | None) -> HistoryRow | None:
    """Give the newest transition of a task, or for None of the instance itself."""
    page = (
        select(*columns_of(JOURNAL, HistoryRow))
        .where(JOURNAL.c.instance_id == uuid_text(instance_id), JOURNAL.c.path == path)
        .order_by(JOURNAL.c.seq.desc())
        .limit(1)
    )
    row = connection.execute(page).first()
    return None if row is None else HistoryRow(*row)


def parked_signals(connection: Connection, instance_id: str, name: str) -> int:
    """Count the signals of a name that no wait has taken."""
    page = select(func.count()).where(
        SIGNALS.c.instance_id == uuid_text(instance_id),
        SIGNALS.c.name == name,
        SIGNALS.c.consumed_by.is_(None),
    )
    return connection.execute(page).scalar_one()


def busy_slots(connection: Connection, engine_ids: Collection[str]) -> dict[str, int]:
    """Count the attempts of executors that each of these engines runs; one that runs none is absent."""
    active = select(INSTANCES.c.id).where(ACTIVE).scalar_subquery()
    page = (
        select(TASKS.c.engine, func.count())
        .where(
            TASKS.c.instance_id.in_(active),
            TASKS.c.state == TaskState.RUNNING,
            TASKS.c.executor.is_not(None),
            TASKS.c.phase.is_(None),
            TASKS.c.engine.in_(list(engine_ids)),
        )
        .group_by(TASKS.c.engine)
    )
    return {row[0]: row[1] for row in connection.execute(page)}
