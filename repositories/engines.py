"""The engines' own rows: registering, heartbeat, death, and what they can execute.

Every function is one short transaction. Whether an engine lives is decided here by `state` alone and always inside the
UPDATE that acts on it: a row that is not `alive` never comes back to life, so an engine that lost its lease finds out
at its next heartbeat or batch. Instants are the database's; on SQLite, which has no clock of its own, this machine's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from .database import Database, clock
from .feed import delete_notices, write_notice
from .readmodels import ACTIVE
from .records import EngineRole, EngineState, TaskState
from .tables import ENGINES, INSTANCES, TASKS

__all__ = [
    "EngineRow",
    "advertise",
    "forget",
    "mark_dead",
    "mark_dead_if_expired",
    "register",
    "renew",
    "stop",
]

#: Rows that `forget` takes in one transaction.
FORGET_AT_ONCE: Final = 1000
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class EngineRow:
    """What a process says of itself when it registers."""

    #: Fresh for every process start, UUIDv7: a lease is never inherited.
    id: str
    role: EngineRole
    host: str
    pid: int
    #: The version of strataflow that runs.
    release: str
    #: Identifies the start of the machine: a process number means nothing beyond it.
    boot_id: str | None = None
    #: The file on which this process holds an OS lock while it lives.
    lock_file: str | None = None
    #: Names of the executors it can run.
    executors: tuple[str, ...] = ()
    #: How many tasks it runs at once.
    slots: int = 0


def register(database: Database, engine: EngineRow, ttl: int) -> None:
    """Insert an engine that is alive for `ttl` microseconds from now on.

    Raises:
        BadRow: the id was used before.
    """
    with database.write() as connection:
        now = clock(connection)
        row = insert(ENGINES).values(
            id=engine.id,
            role=engine.role,
            state=EngineState.ALIVE,
            lease_until=now + ttl,
            host=engine.host,
            pid=engine.pid,
            boot_id=engine.boot_id,
            lock_file=engine.lock_file,
            executors=_names(engine.executors),
            slots=engine.slots,
            release=engine.release,
            started_at=now,
        )
        connection.execute(row)
        if engine.role is EngineRole.ENGINE:
            write_notice(connection, "engine.started", engine.id, {"host": engine.host, "pid": engine.pid})


def renew(database: Database, engine_id: str, ttl: int) -> bool:
    """Extend the lease to `ttl` microseconds from now; False when the engine is not alive any more."""
    with database.write() as connection:
        return _change(connection, _alive(engine_id), lease_until=clock(connection) + ttl)


def mark_dead_if_expired(database: Database, engine_id: str) -> bool:
    """Declare an engine dead when its lease is over, and say whether this call did it.

    The lease is looked at once more under the row's lock. A row that is locked belongs to a batch or a heartbeat on its
    way: it is left alone, for the next round will see what became of it.
    """
    with database.write() as connection:
        over = ENGINES.c.lease_until < clock(connection)
        free = select(ENGINES.c.id).where(_alive(engine_id), over).with_for_update(skip_locked=True)
        which = ENGINES.c.id.in_(free.scalar_subquery()) & over
        return _end(connection, engine_id, which, EngineState.DEAD)


def mark_dead(database: Database, engine_id: str) -> bool:
    """Declare an engine dead whatever its lease says, and say whether this call did it.

    For a caller who holds the engine's OS file lock: the process is gone.
    """
    with database.write() as connection:
        return _end(connection, engine_id, _alive(engine_id), EngineState.DEAD)


def stop(database: Database, engine_id: str) -> bool:
    """Sign off an engine that has released all its tasks; False when it was declared dead before."""
    with database.write() as connection:
        return _end(connection, engine_id, _alive(engine_id), EngineState.STOPPED)


def advertise(database: Database, engine_id: str, executors: Sequence[str], slots: int) -> bool:
    """Say what an engine can execute from now on; False when it is not alive any more."""
    with database.write() as connection:
        return _change(connection, _alive(engine_id), executors=_names(executors), slots=slots)


def forget(database: Database, older_than: timedelta) -> int:
    """Delete engines that ended longer ago than this and that no running task names; give their number. And notices.

    At most `FORGET_AT_ONCE` a call. The running tasks are found through the active instances: no index of `tasks` knows
    engines.
    """
    held = (
        select(TASKS.c.engine)
        .join(INSTANCES, INSTANCES.c.id == TASKS.c.instance_id)
        .where(ACTIVE, TASKS.c.state == TaskState.RUNNING)
    )
    with database.write() as connection:
        now: int = connection.execute(select(clock(connection))).scalar_one()
        delete_notices(connection, now - older_than // _MICROSECOND)
        old = (
            select(ENGINES.c.id)
            .where(
                ENGINES.c.state != EngineState.ALIVE,
                ENGINES.c.ended_at < now - older_than // _MICROSECOND,
                ENGINES.c.id.not_in(held),
            )
            .order_by(ENGINES.c.id)
            .limit(FORGET_AT_ONCE)
        )
        return connection.execute(delete(ENGINES).where(ENGINES.c.id.in_(old.scalar_subquery()))).rowcount


def _names(executors: Sequence[str]) -> str:
    return json.dumps(sorted(set(executors)))


def _alive(engine_id: str) -> ColumnElement[bool]:
    return (ENGINES.c.id == engine_id) & (ENGINES.c.state == EngineState.ALIVE)


def _end(connection: Connection, engine_id: str, which: ColumnElement[bool], state: EngineState) -> bool:
    if not _change(connection, which, state=state, ended_at=clock(connection)):
        return False
    columns = ENGINES.c
    found = select(columns.role, columns.host, columns.pid).where(columns.id == engine_id)
    role, host, pid = connection.execute(found).one()
    if role == EngineRole.ENGINE:
        kind = "engine.offline" if state is EngineState.DEAD else "engine.stopped"
        write_notice(connection, kind, engine_id, {"host": host, "pid": pid})
    return True


def _change(connection: Connection, which: ColumnElement[bool], **values: Any) -> bool:
    return connection.execute(update(ENGINES).where(which).values(**values)).rowcount == 1
