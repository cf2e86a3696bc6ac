"""Deleting log lines by age while their runs stay, in bounded batches.

No index of `logs` knows instants: runs are walked by when they were made, and of each run the lines are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import delete, func, select, tuple_

from .database import Database
from .feed import PROGRESS_LEVEL, note_deleted
from .readmodels import beyond, page_size
from .records import InstanceState
from .tables import INSTANCES, LOGS

__all__ = ["LINES_AT_ONCE", "RUNS_AT_ONCE", "delete_lines", "logged_runs"]

#: Log lines that one transaction deletes, and runs that it concerns.
LINES_AT_ONCE: Final = 5_000
RUNS_AT_ONCE: Final = 200
Cursor = tuple[int, str]


def logged_runs(
    database: Database,
    before: int,
    *,
    states: Collection[InstanceState] = (),
    name: str | None = None,
    after: Cursor | None = None,
) -> list[Cursor]:
    """Give a page of the runs made before an instant, oldest first: nothing older was logged by any other.

    As (created_at, id); `after` is the last one seen.
    """
    order = (INSTANCES.c.created_at, INSTANCES.c.id)
    page = select(*order).where(INSTANCES.c.created_at < before).order_by(*order)
    if states:
        page = page.where(INSTANCES.c.state.in_([state.value for state in states]))
    if name is not None:
        page = page.where(INSTANCES.c.name == name)
    if after is not None:
        page = page.where(beyond(order, after))
    with database.read() as connection:
        return [(row[0], row[1]) for row in connection.execute(page.limit(page_size(RUNS_AT_ONCE)))]


def delete_lines(database: Database, instance_ids: Collection[str], before: int) -> int:
    """Delete log lines of these runs that were written before an instant, at most LINES_AT_ONCE; gives how many.

    Lines that tasks write meanwhile are newer and are not touched, so nobody waits.
    """
    keys = (LOGS.c.instance_id, LOGS.c.seq)
    old = select(*keys).where(LOGS.c.instance_id.in_(instance_ids), LOGS.c.at < before).limit(LINES_AT_ONCE)
    with database.write() as connection:
        found = connection.execute(select(func.count()).select_from(old.subquery())).scalar_one()
        if found:
            told = select(func.max(LOGS.c.seq)).where(tuple_(*keys).in_(old), LOGS.c.level == PROGRESS_LEVEL)
            note_deleted(connection, connection.execute(told).scalar_one() or 0)
            connection.execute(delete(LOGS).where(tuple_(*keys).in_(old)))
    return found
