"""Facts that rules of alerts look at: each is read by an index, and never more of it than its caller says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    cast,
    column,
    extract,
    func,
    literal_column,
    select,
    table,
    union_all,
)

from .control_tables import QUEUES
from .database import clock
from .readmodels import ACTIVE, chunks, page_size
from .records import TERMINAL_INSTANCE_STATES, EngineRole, EngineState, InstanceState
from .tables import ENGINES, INSTANCES, JOURNAL, TASKS

__all__ = [
    "ActiveRun",
    "EndedRun",
    "LostEngine",
    "ServerLoad",
    "active_runs",
    "durations",
    "ended_runs",
    "engines_that_execute",
    "has_work",
    "lost_engines",
    "paused_queues",
    "runs_of",
    "server_load",
]

#: The rule of the index `journal_ends`, written out: with parameters neither database would use it.
_ENDS: Final = JOURNAL.c.path.is_(None) & JOURNAL.c.to_state.in_(
    [literal_column(f"'{state}'") for state in sorted(TERMINAL_INSTANCE_STATES)]
)
_US: Final = 1_000_000
#: Runs of a definition that a look at its history passes, at most, for each that it gives.
_PASSED: Final = 5


@dataclass(slots=True, frozen=True)
class EndedRun:
    """An end of a run."""

    seq: int
    at: int
    instance_id: str
    name: str
    reason: str


@dataclass(slots=True, frozen=True)
class ActiveRun:
    """A run that has not ended."""

    id: str
    name: str
    state: str
    created_at: int
    started_at: int | None
    #: When anything of it changed last.
    moved_at: int | None


@dataclass(slots=True, frozen=True)
class LostEngine:
    """An engine that ended without signing off, or does not renew its lease."""

    id: str
    host: str
    pid: int
    release: str
    #: When it was declared dead; None where nobody has done so.
    ended_at: int | None
    lease_until: int


@dataclass(slots=True, frozen=True)
class ServerLoad:
    """A Postgres server as this role sees it; what it may not see is None."""

    connections: int
    most: int
    #: Age of the oldest transaction of this database, in seconds, and whose it is.
    oldest_s: float | None
    oldest_pid: int | None
    oldest_application: str | None


# --- runs


def ended_runs(connection: Connection, state: InstanceState, since: int, limit: int) -> list[EndedRun]:
    """Ends in one state from an instant on, the newest first."""
    newest = (
        select(JOURNAL.c.seq, JOURNAL.c.at, JOURNAL.c.instance_id, JOURNAL.c.reason)
        .where(_ENDS, JOURNAL.c.to_state == state.value, JOURNAL.c.at >= since)
        .order_by(JOURNAL.c.at.desc())
        .limit(page_size(limit))
        .subquery("newest")
    )
    page = (
        select(newest.c.seq, newest.c.at, newest.c.instance_id, INSTANCES.c.name, newest.c.reason)
        .select_from(newest.join(INSTANCES, INSTANCES.c.id == newest.c.instance_id))
        .order_by(newest.c.at.desc())
    )
    return [EndedRun(*row) for row in connection.execute(page)]


def active_runs(connection: Connection, after: str | None, limit: int) -> list[ActiveRun]:
    """A page of runs that have not ended, the oldest first; `after` is the last id seen."""
    page = _active().order_by(INSTANCES.c.id).limit(page_size(limit))
    if after is not None:
        page = page.where(INSTANCES.c.id > after)
    return [ActiveRun(*row) for row in connection.execute(page)]


def runs_of(connection: Connection, ids: Collection[str]) -> list[ActiveRun]:
    """Those of these runs that have not ended."""
    found: list[ActiveRun] = []
    for part in chunks(ids):
        page = _active().where(INSTANCES.c.id.in_(part))
        found += [ActiveRun(*row) for row in connection.execute(page)]
    return found


def _active() -> Any:
    moved = (
        select(JOURNAL.c.at)
        .where(JOURNAL.c.instance_id == INSTANCES.c.id)
        .order_by(JOURNAL.c.instance_id.desc(), JOURNAL.c.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    own = INSTANCES.c
    return select(own.id, own.name, own.state, own.created_at, own.started_at, moved).where(ACTIVE)


def durations(connection: Connection, name: str, limit: int) -> list[int]:
    """How long the newest completed runs of a definition took (microseconds), among its newest runs."""
    own = INSTANCES.c
    newest = (
        select(own.state, own.started_at, own.ended_at)
        .where(own.name == name)
        .order_by(own.created_at.desc(), own.id.desc())
        .limit(page_size(limit * _PASSED))
        .subquery("newest")
    )
    took = select(newest.c.ended_at - newest.c.started_at).where(
        newest.c.state == InstanceState.COMPLETED.value, newest.c.started_at.is_not(None)
    )
    return [int(value) for value in connection.scalars(took.limit(page_size(limit)))]


# --- queues and engines


def paused_queues(connection: Connection, names: Collection[str]) -> set[str]:
    """Those of these queues that are paused."""
    page = select(QUEUES.c.name).where(QUEUES.c.name.in_(sorted(names)), QUEUES.c.state == "paused")
    return set(connection.scalars(page))


def has_work(connection: Connection) -> bool:
    """Is there a task to take, or one whose time has come?"""
    ready = select(TASKS.c.path).where(TASKS.c.ready_at.is_not(None)).limit(1)
    due = (
        select(TASKS.c.path).where(TASKS.c.wake_at.is_not(None), TASKS.c.wake_at < clock(connection)).limit(1)
    )
    return any(connection.execute(page).first() is not None for page in (ready, due))


def _executing(state: EngineState) -> Any:
    return (ENGINES.c.state == literal_column(f"'{state}'")) & (ENGINES.c.role == EngineRole.ENGINE.value)


def engines_that_execute(connection: Connection, overdue: int) -> int:
    """Count engines that execute, and whose lease was not over before an instant."""
    alive = _executing(EngineState.ALIVE) & (ENGINES.c.lease_until >= overdue)
    found: int = connection.execute(select(func.count()).where(alive)).scalar_one()
    return found


def lost_engines(connection: Connection, since: int, overdue: int, limit: int) -> list[LostEngine]:
    """Engines declared dead from an instant on, among those that started last; and those whose lease is overdue."""
    own = ENGINES.c
    columns = (own.id, own.host, own.pid, own.release, own.ended_at, own.lease_until)
    newest = select(*columns, own.state, own.role).order_by(own.id.desc()).limit(page_size(limit)).subquery()
    dead = select(*[newest.c[each.name] for each in columns]).where(
        newest.c.state == EngineState.DEAD.value,
        newest.c.role == EngineRole.ENGINE.value,
        newest.c.ended_at >= since,
    )
    late = select(*columns).where(_executing(EngineState.ALIVE), own.lease_until < overdue)
    # in one statement: an engine that is declared dead between two would be in neither
    both = union_all(dead, late).subquery()
    return [LostEngine(*row) for row in connection.execute(select(both).limit(page_size(limit)))]


# --- the server


def server_load(connection: Connection) -> ServerLoad:
    """How near a Postgres server is to its limits."""
    names = ("pid", "datname", "xact_start", "application_name", "backend_type")
    columns: list[Any] = [column(name) for name in names]
    activity = table("pg_stat_activity", *columns)
    settings = table("pg_settings", *[column("name", Text()), column("setting", Text())])
    setting = select(cast(settings.c.setting, BigInteger())).where(settings.c.name == "max_connections")
    count = select(func.count()).select_from(activity).where(activity.c.backend_type == "client backend")
    connections, most = connection.execute(select(count.scalar_subquery(), setting.scalar_subquery())).one()
    begun = cast(extract("epoch", activity.c.xact_start) * _US, BigInteger())
    oldest = (
        select(begun, activity.c.pid, activity.c.application_name)
        .where(activity.c.xact_start.is_not(None), activity.c.datname == func.current_database())
        .where(activity.c.pid != func.pg_backend_pid())
        .order_by(activity.c.xact_start)
        .limit(1)
    )
    row = connection.execute(oldest).first()
    if row is None:
        return ServerLoad(int(connections), int(most), None, None, None)
    now: int = connection.execute(select(clock(connection))).scalar_one()
    return ServerLoad(int(connections), int(most), max(0.0, (now - row[0]) / _US), row[1], row[2])
