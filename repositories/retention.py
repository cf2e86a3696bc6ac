"""Deleting runs that have ended, with everything that belongs to them, in bounded batches.

A live run is never deleted, nor one that a live run waits for. What a run owns stands in tables that lead with its id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, Table, delete, func, select, union_all
from sqlalchemy.orm import aliased

from .database import Database
from .feed import PROGRESS_LEVEL, note_deleted
from .readmodels import uuid_text
from .records import ACTIVE_INSTANCE_STATES, TERMINAL_INSTANCE_STATES, InstanceState
from .tables import FIRINGS, INSTANCES, JOURNAL, LOGS, metadata

__all__ = ["OWNED", "RETENTION_BATCH", "delete_ended", "delete_instance"]

#: Runs that one transaction deletes.
RETENTION_BATCH: Final = 200
#: A firing belongs to its schedule and outlives the run it started: it is why no instant fires twice.
_NOT_OWNED: Final = frozenset({FIRINGS})
#: Every table whose rows belong to a run, but for the run's own row.
OWNED: Final[tuple[Table, ...]] = tuple(
    table for table in metadata.sorted_tables if "instance_id" in table.columns and table not in _NOT_OWNED
)


def delete_ended(
    database: Database,
    *,
    states: Collection[InstanceState] = TERMINAL_INSTANCE_STATES,
    ended_before: int,
    name: str | None = None,
    limit: int = RETENTION_BATCH,
) -> int:
    """Delete runs in these terminal states that ended before an instant (microseconds), oldest first, at most `limit`.

    Gives how many were deleted; call it again until that is less than `limit`. A run whose parent is live is left.
    """
    wanted = [state.value for state in states if state in TERMINAL_INSTANCE_STATES]
    parent = aliased(INSTANCES)
    alive = [state.value for state in ACTIVE_INSTANCE_STATES]
    found = (
        select(INSTANCES.c.id)
        .outerjoin(parent, parent.c.id == INSTANCES.c.parent_id)
        .where(
            INSTANCES.c.state.in_(wanted),
            INSTANCES.c.ended_at < ended_before,
            parent.c.id.is_(None) | parent.c.state.not_in(alive),
        )
        .order_by(INSTANCES.c.created_at, INSTANCES.c.id)
        .limit(min(limit, RETENTION_BATCH))
    )
    if name is not None:
        found = found.where(INSTANCES.c.name == name)
    with database.write() as connection:
        ids = list(connection.scalars(found))
        return _delete(connection, ids)


def delete_instance(database: Database, instance_id: str) -> bool:
    """Delete one run that has ended; False when there is none, or it is live."""
    known = uuid_text(instance_id)
    if known is None:
        return False
    with database.write() as connection:
        return _delete(connection, [known]) == 1


def _delete(connection: Connection, ids: Sequence[str]) -> int:
    """Lock the runs first: one that was taken back meanwhile is live again, and stays."""
    if not ids:
        return 0
    ended = [state.value for state in TERMINAL_INSTANCE_STATES]
    locked = (
        select(INSTANCES.c.id)
        .where(INSTANCES.c.id.in_(ids), INSTANCES.c.state.in_(ended))
        .order_by(INSTANCES.c.id)
        .with_for_update()
    )
    gone = list(connection.scalars(locked))
    if not gone:
        return 0
    note_deleted(connection, _last_told(connection, gone))
    for table in OWNED:
        connection.execute(delete(table).where(table.c.instance_id.in_(gone)))
    connection.execute(delete(INSTANCES).where(INSTANCES.c.id.in_(gone)))
    return len(gone)


def _last_told(connection: Connection, ids: Sequence[str]) -> int:
    """The highest number that these runs have in the feed."""
    top = func.coalesce(func.max(JOURNAL.c.seq), 0), func.coalesce(func.max(LOGS.c.seq), 0)
    transitions = select(top[0]).where(JOURNAL.c.instance_id.in_(ids))
    reports = select(top[1]).where(LOGS.c.instance_id.in_(ids), LOGS.c.level == PROGRESS_LEVEL)
    return max(connection.scalars(union_all(transitions, reports)))
