"""The schema's single source: every table, constraint and index, for both dialects.

Declared with SQLModel so that reads may use it as a model; the hot path uses the Core tables below (`TASKS`, …).
Table models do not validate: what is written is checked at the edge and guarded here by CHECK constraints.
No foreign key points at a hot row (share locks on one parent turn into multixacts), and no index of `tasks` mentions
`engine` or `state` (either would make every completion a non-HOT update; DESIGN section 4).
"""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Sequence,
    String,
    Table,
    Text,
    text,
)
from sqlmodel import SQLModel

from .access_tables import API_KEYS, AUDIT, REQUESTS
from .alert_tables import ALERT_RULES, ALERTS, DUTIES
from .columns import FILLFACTOR, ID, PATH, Base, big, col, key_col, metadata, one_of, partial
from .control_tables import FIRINGS, LIMITS, QUEUES, SCHEDULES, SETTINGS, TRIGGERS
from .feed_tables import NOTICES
from .payload_tables import BLOBS, CHECKPOINTS, LOGS, PROGRESS, VARS, Checkpoint, LogLine, Progress
from .records import (
    ACTIVE_INSTANCE_STATES,
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    DefinitionState,
    EngineRole,
    EngineState,
    InstanceState,
    TaskState,
)
from .secret_tables import SECRETS
from .webhook_tables import DELIVERIES, WEBHOOKS

__all__ = [
    "ALERTS",
    "ALERT_RULES",
    "API_KEYS",
    "AUDIT",
    "BLOBS",
    "CHECKPOINTS",
    "DEFINITIONS",
    "DELIVERIES",
    "DUTIES",
    "ENGINES",
    "FIRINGS",
    "INSTANCES",
    "JOURNAL",
    "JOURNAL_SEQUENCE",
    "KEYS",
    "LABELS",
    "LIMITS",
    "LOGS",
    "MESSAGES",
    "NOTICES",
    "PROGRESS",
    "QUEUES",
    "REQUESTS",
    "SCHEDULES",
    "SECRETS",
    "SEQUENCES",
    "SETTINGS",
    "SIGNALS",
    "TASKS",
    "TRIGGERS",
    "VARS",
    "WEBHOOKS",
    "Checkpoint",
    "Definition",
    "Engine",
    "Instance",
    "Journal",
    "Label",
    "LogLine",
    "Message",
    "Progress",
    "Signal",
    "Task",
    "metadata",
]


class Definition(Base, table=True):
    """One immutable version of a definition: by name, version and content hash."""

    __tablename__: Any = "definitions"
    id: str = key_col(ID)
    name: str = col(Text())
    version: int = col(Integer())
    hash: str = col(String(64))
    body: str = col(Text())
    state: str = col(String(16), default="draft")
    created_at: int = big()

    __table_args__: Any = (
        Index("definitions_name_version", "name", "version", unique=True),
        Index("definitions_name_hash", "name", "hash", unique=True),
        Index(
            "definitions_active",
            "name",
            unique=True,
            postgresql_where=text("state = 'active'"),
            sqlite_where=text("state = 'active'"),
        ),
        CheckConstraint("version >= 1", name="definitions_version"),
        CheckConstraint(one_of("state", set(DefinitionState)), name="definitions_state"),
    )


class Instance(Base, table=True):
    """One run of a definition; the row that is locked for everything the run owns."""

    __tablename__: Any = "instances"
    id: str = key_col(ID)
    definition_id: str = col(ID)
    name: str = col(Text())
    version: int = col(Integer())
    state: str = col(String(16))
    key: str | None = col(Text(), null=True)
    gen: int = col(Integer(), default="0")
    sweeps: int = col(Integer(), default="0")
    inputs: str | None = col(Text(), null=True)
    inputs_ref: str | None = col(Text(), null=True)
    reason: str | None = col(Text(), null=True)
    created_at: int = big()
    started_at: int | None = big(null=True)
    ended_at: int | None = big(null=True)
    parent_id: str | None = col(ID, null=True)
    parent_path: str | None = col(PATH, null=True)
    depth: int = col(Integer(), default="0")
    mutex: str | None = col(Text(), null=True)
    labels: str | None = col(Text(), null=True)
    start_at: int | None = big(null=True)
    expires_at: int | None = big(null=True)
    vars_rev: int = col(Integer(), default="0")
    queue: str | None = col(Text(), null=True)
    priority: int | None = col(Integer(), null=True)
    scheduled_for: int | None = big(null=True)

    __table_args__: Any = (
        Index("instances_created", "created_at", "id"),
        Index("instances_name_created", "name", "created_at", "id"),
        partial("instances_parent", "parent_id", where="parent_id IS NOT NULL"),
        partial("instances_queued", "name", "mutex", "id", where="state = 'queued' AND mutex IS NOT NULL"),
        partial("instances_active", "id", where=one_of("state", ACTIVE_INSTANCE_STATES)),
        CheckConstraint(one_of("state", set(InstanceState)), name="instances_state"),
        CheckConstraint(
            f"({one_of('state', TERMINAL_INSTANCE_STATES)}) = (ended_at IS NOT NULL)", name="instances_ended"
        ),
        CheckConstraint("inputs IS NULL OR inputs_ref IS NULL", name="instances_inputs"),
        CheckConstraint("sweeps >= 0 AND gen >= 0", name="instances_counters"),
        FILLFACTOR,
    )


class Key(Base, table=True):
    """Start keys, unique per definition name for ever within retention; mutexes, held by one live instance."""

    __tablename__: Any = "keys"
    name: str = key_col(Text())
    kind: str = key_col(String(8))
    key: str = key_col(Text())
    instance_id: str = col(ID)


class Task(Base, table=True):
    """One node made real in one instance; a scope is a task row too (`repositories/records.py` explains each field)."""

    __tablename__: Any = "tasks"
    instance_id: str = key_col(ID)
    path: str = key_col(PATH)
    scope: str | None = col(PATH, null=True)
    executor: str | None = col(Text(), null=True)
    gen: int = col(Integer(), default="0")
    state: str = col(String(16))
    attempt: int = col(Integer(), default="0")
    failures: int = col(Integer(), default="0")
    crashes: int = col(Integer(), default="0")
    engine: str | None = col(ID, null=True)
    queue: str = col(Text(), default="default")
    priority: int = col(Integer(), default="0")
    ready_at: int | None = big(null=True)
    wake_at: int | None = big(null=True)
    remaining: int = col(Integer(), default="0")
    open: int = col(Integer(), default="0")
    total: int | None = col(Integer(), null=True)
    next: int = col(Integer(), default="0")
    width: int | None = col(Integer(), null=True)
    done: int = col(Integer(), default="0")
    failed: int = col(Integer(), default="0")
    skipped: int = col(Integer(), default="0")
    closed: str | None = col(String(16), null=True)
    cursor: str | None = col(Text(), null=True)
    output: str | None = col(Text(), null=True)
    output_ref: str | None = col(Text(), null=True)
    error: str | None = col(Text(), null=True)
    started_at: int | None = big(null=True)
    ended_at: int | None = big(null=True)
    phase: str | None = col(String(16), null=True)
    deadline_at: int | None = big(null=True)
    awaits: str | None = col(Text(), null=True)
    memo: str | None = col(Text(), null=True)
    excused: int = col(Integer(), default="0")
    blocked_on: str | None = col(Text(), null=True)
    blocked_at: int | None = big(null=True)
    holds: str | None = col(Text(), null=True)

    __table_args__: Any = (
        partial("tasks_awaits", "instance_id", "awaits", where="awaits IS NOT NULL"),
        CheckConstraint(one_of("state", set(TaskState)), name="tasks_state"),
        CheckConstraint("(state = 'running') = (engine IS NOT NULL)", name="tasks_engine"),
        CheckConstraint("(state = 'queued') = (ready_at IS NOT NULL)", name="tasks_ready"),
        CheckConstraint("state <> 'running' OR wake_at IS NULL OR closed IS NOT NULL", name="tasks_wake"),
        CheckConstraint(
            "(state = 'blocked') = (blocked_on IS NOT NULL AND blocked_at IS NOT NULL)", name="tasks_blocked"
        ),
        CheckConstraint("holds IS NULL OR state = 'running'", name="tasks_holds"),
        CheckConstraint("state <> 'retrying' OR wake_at IS NOT NULL", name="tasks_retry"),
        CheckConstraint("state <> 'pending' OR remaining > 0 OR wake_at IS NOT NULL", name="tasks_pending"),
        CheckConstraint(
            f"({one_of('state', TERMINAL_TASK_STATES)}) = (ended_at IS NOT NULL)", name="tasks_ended"
        ),
        CheckConstraint(
            "remaining >= 0 AND open >= 0 AND attempt >= 0 AND failures >= 0 AND crashes >= 0 AND next >= 0",
            name="tasks_counters",
        ),
        CheckConstraint("done >= 0 AND failed >= 0 AND skipped >= 0", name="tasks_items"),
        CheckConstraint("total IS NULL OR next <= total", name="tasks_next"),
        CheckConstraint("output IS NULL OR output_ref IS NULL", name="tasks_output"),
        CheckConstraint("state <> 'failed' OR error IS NOT NULL", name="tasks_error"),
        CheckConstraint("(scope IS NULL) = (path = '')", name="tasks_root"),
        FILLFACTOR,
    )


class Journal(Base, table=True):
    """Every transition, one row each, written in the transaction that made the change."""

    __tablename__: Any = "journal"
    instance_id: str = key_col(ID)
    seq: int = key_col(BigInteger())
    path: str | None = col(PATH, null=True)
    gen: int = col(Integer(), default="0")
    attempt: int = col(Integer(), default="0")
    from_state: str | None = col(String(16), null=True)
    to_state: str = col(String(16))
    reason: str = col(Text())
    at: int = big()
    engine: str | None = col(ID, null=True)

    __table_args__: Any = (
        Index("journal_order", "seq"),
        partial(
            "journal_ends",
            "to_state",
            "at",
            where=f"path IS NULL AND {one_of('to_state', TERMINAL_INSTANCE_STATES)}",
        ),
    )


class Engine(Base, table=True):
    """One process start that claims tasks or writes; its lease covers every task it holds."""

    __tablename__: Any = "engines"
    id: str = key_col(ID)
    role: str = col(String(16))
    state: str = col(String(16))
    batch: int = col(BigInteger(), default="0")
    lease_until: int = big()
    host: str = col(Text())
    pid: int = col(Integer())
    boot_id: str | None = col(Text(), null=True)
    lock_file: str | None = col(Text(), null=True)
    executors: str = col(Text(), default="[]")
    slots: int = col(Integer(), default="0")
    release: str = col(Text())
    started_at: int = big()
    ended_at: int | None = big(null=True)

    __table_args__: Any = (
        partial("engines_alive", "id", where="state = 'alive'"),
        CheckConstraint(one_of("state", set(EngineState)), name="engines_state"),
        CheckConstraint(one_of("role", set(EngineRole)), name="engines_role"),
        FILLFACTOR,
    )


class Signal(Base, table=True):
    """Named messages to an instance, parked until a wait takes them."""

    __tablename__: Any = "signals"
    instance_id: str = key_col(ID)
    id: str = key_col(Text())
    name: str = col(Text())
    value: str | None = col(Text(), null=True)
    value_ref: str | None = col(Text(), null=True)
    at: int = big()
    consumed_by: str | None = col(PATH, null=True)
    seq: int = big()

    __table_args__: Any = (
        partial("signals_parked", "instance_id", "name", "seq", where="consumed_by IS NULL"),
    )


class Message(Base, table=True):
    """What an instance tells another one; deleted by the transaction that applies it, so the table is nearly empty."""

    __tablename__: Any = "messages"
    instance_id: str = key_col(ID)
    source: str = key_col(Text())
    kind: str = col(String(16))
    body: str = col(Text())
    at: int = big()


class Label(Base, table=True):
    """Labels of instances, for filters."""

    __tablename__: Any = "labels"
    instance_id: str = key_col(ID)
    name: str = key_col(Text())
    value: str = col(Text())

    __table_args__: Any = (Index("labels_name_value", "name", "value", "instance_id"),)


def _table(model: type[SQLModel]) -> Table:
    return cast("Table", vars(model)["__table__"])


DEFINITIONS: Final = _table(Definition)
INSTANCES: Final = _table(Instance)
KEYS: Final = _table(Key)
TASKS: Final = _table(Task)
JOURNAL: Final = _table(Journal)
ENGINES: Final = _table(Engine)
SIGNALS: Final = _table(Signal)
MESSAGES: Final = _table(Message)
LABELS: Final = _table(Label)

#: Journal and log rows are numbered by one sequence, so that `seq` follows commit order within an instance.
JOURNAL_SEQUENCE: Final = Sequence("journal_seq", metadata=metadata)
#: SQLite has no sequences: this row-per-name table stands in, advanced under the write lock.
SEQUENCES: Final = Table(
    "sequences",
    metadata,
    Column("name", Text(), primary_key=True),
    Column("value", BigInteger(), nullable=False),
    info={"only": "sqlite"},
)

Index(
    "tasks_ready",
    TASKS.c.queue,
    TASKS.c.priority.desc(),
    TASKS.c.ready_at,
    postgresql_where=text("ready_at IS NOT NULL"),
    sqlite_where=text("ready_at IS NOT NULL"),
)
Index(
    "tasks_blocked",
    TASKS.c.blocked_on,
    TASKS.c.priority.desc(),
    TASKS.c.blocked_at,
    postgresql_where=text("blocked_on IS NOT NULL"),
    sqlite_where=text("blocked_on IS NOT NULL"),
)
Index(
    "tasks_wake",
    TASKS.c.wake_at,
    postgresql_where=text("wake_at IS NOT NULL"),
    sqlite_where=text("wake_at IS NOT NULL"),
)
