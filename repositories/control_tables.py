"""Tables of what people set, and of what starts by itself: queues, limits, schedules with their firings, triggers.

Part of the schema like `tables.py`; none of them belongs to an instance. `limits` alone is on the claim path: one row
per counter, locked in the transaction that claims.
"""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, String, Table, Text

from .columns import FILLFACTOR, ID, Base, big, col, key_col, metadata, partial

__all__ = ["FIRINGS", "LIMITS", "QUEUES", "SCHEDULES", "SETTINGS", "TRIGGERS"]


class Queue(Base, table=True):
    """What somebody has set for a queue; a queue needs no row."""

    __tablename__: Any = "queues"
    name: str = key_col(Text())
    state: str = col(String(16), default="active")
    max_size: int | None = col(Integer(), null=True)
    reason: str | None = col(Text(), null=True)
    updated_at: int = big()

    __table_args__: Any = (
        CheckConstraint("state IN ('active', 'paused')", name="queues_state"),
        CheckConstraint("max_size IS NULL OR max_size >= 0", name="queues_max_size"),
    )


class Limit(Base, table=True):
    """One counter of running tasks, locked by every transaction that changes it (`records.LimitRow`)."""

    __tablename__: Any = "limits"
    name: str = key_col(Text())
    concurrency: int | None = col(Integer(), null=True)
    rate_count: int | None = col(Integer(), null=True)
    rate_period: int | None = big(null=True)
    burst: int | None = col(Integer(), null=True)
    explicit: int = col(Integer(), default="0")
    used: int = col(Integer(), default="0")
    waiting: int = col(Integer(), default="0")
    full_at: int = col(BigInteger(), default="0")
    updated_at: int = col(BigInteger(), default="0")

    __table_args__: Any = (
        partial("limits_explicit", "name", where="explicit = 1"),
        CheckConstraint("used >= 0 AND waiting >= 0", name="limits_counters"),
        CheckConstraint("concurrency IS NULL OR concurrency >= 0", name="limits_concurrency"),
        CheckConstraint("(rate_count IS NULL) = (rate_period IS NULL)", name="limits_rate"),
        FILLFACTOR,
    )


class Schedule(Base, table=True):
    """What starts a definition at given times; `next_at` is the firing to come."""

    __tablename__: Any = "schedules"
    id: str = key_col(ID)
    name: str = col(Text())
    definition: str = col(Text())
    version: int | None = col(Integer(), null=True)
    #: `api`, or `definition`: then it follows the active version's own `schedule`.
    origin: str = col(String(16), default="api")
    state: str = col(String(16), default="active")
    cron: str | None = col(Text(), null=True)
    every: int | None = big(null=True)
    at: int | None = big(null=True)
    timezone: str = col(Text(), default="UTC")
    overlap: str = col(String(16), default="allow")
    misfire: str = col(String(16), default="latest")
    catch_up: int = col(Integer(), default="100")
    jitter: int = col(BigInteger(), default="0")
    cooldown: int = col(BigInteger(), default="0")
    start_at: int | None = big(null=True)
    end_at: int | None = big(null=True)
    #: JSON; templates read `instance.scheduled_for`.
    inputs: str | None = col(Text(), null=True)
    queue: str | None = col(Text(), null=True)
    priority: int | None = col(Integer(), null=True)
    #: Everything before it has been decided: fired, skipped or missed.
    fired_until: int = big()
    #: The firing to come; null when there is none, or while it is paused.
    next_at: int | None = big(null=True)
    runs: int = col(Integer(), default="0")
    skips: int = col(Integer(), default="0")
    problem: str | None = col(Text(), null=True)
    created_at: int = big()
    updated_at: int = big()

    __table_args__: Any = (
        Index("schedules_name", "name", unique=True),
        partial("schedules_next", "next_at", where="next_at IS NOT NULL"),
        CheckConstraint("state IN ('active', 'paused', 'ended')", name="schedules_state"),
        CheckConstraint("origin IN ('api', 'definition')", name="schedules_origin"),
        CheckConstraint("overlap IN ('allow', 'skip', 'queue', 'cancel')", name="schedules_overlap"),
        CheckConstraint("misfire IN ('skip', 'latest', 'all')", name="schedules_misfire"),
    )


class Firing(Base, table=True):
    """What became of one instant of one schedule; its key is why no instant fires twice."""

    __tablename__: Any = "firings"
    schedule_id: str = key_col(ID)
    at: int = key_col(BigInteger())
    #: `timer`, `manual`, `backfill`.
    kind: str = col(String(16), default="timer")
    #: `started`, `skipped`, `missed`.
    outcome: str = col(String(16))
    instance_id: str | None = col(ID, null=True)
    fired_at: int = big()
    reason: str | None = col(Text(), null=True)

    __table_args__: Any = (
        CheckConstraint("outcome IN ('started', 'skipped', 'missed')", name="firings_outcome"),
        CheckConstraint("(outcome = 'started') = (instance_id IS NOT NULL)", name="firings_instance"),
    )


class Trigger(Base, table=True):
    """What starts a definition when an event of a matching name is emitted."""

    __tablename__: Any = "triggers"
    id: str = key_col(ID)
    name: str = col(Text())
    #: Glob over event names: `order.*`.
    pattern: str = col(Text())
    #: Expression that reads `event`; null takes every event of the name.
    match: str | None = col(Text(), null=True)
    definition: str = col(Text())
    version: int | None = col(Integer(), null=True)
    inputs: str | None = col(Text(), null=True)
    state: str = col(String(16), default="active")
    queue: str | None = col(Text(), null=True)
    priority: int | None = col(Integer(), null=True)
    runs: int = col(Integer(), default="0")
    problem: str | None = col(Text(), null=True)
    created_at: int = big()
    updated_at: int = big()

    __table_args__: Any = (
        Index("triggers_name", "name", unique=True),
        CheckConstraint("state IN ('active', 'paused')", name="triggers_state"),
    )


#: Numbers that processes compare with what they know: `control` grows with every change of queues and set limits.
SETTINGS: Final = Table(
    "settings",
    metadata,
    Column("name", Text(), primary_key=True),
    Column("value", BigInteger(), nullable=False, server_default="0"),
)
QUEUES: Final = cast("Table", vars(Queue)["__table__"])
LIMITS: Final = cast("Table", vars(Limit)["__table__"])
SCHEDULES: Final = cast("Table", vars(Schedule)["__table__"])
FIRINGS: Final = cast("Table", vars(Firing)["__table__"])
TRIGGERS: Final = cast("Table", vars(Trigger)["__table__"])
