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
    Float,
    Index,
    Integer,
    Sequence,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import TEXT as PG_TEXT
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

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

__all__ = [
    "BLOBS",
    "CHECKPOINTS",
    "DEFINITIONS",
    "ENGINES",
    "INSTANCES",
    "JOURNAL",
    "JOURNAL_SEQUENCE",
    "KEYS",
    "LABELS",
    "LOGS",
    "MESSAGES",
    "PROGRESS",
    "SEQUENCES",
    "SIGNALS",
    "TASKS",
    "VARS",
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


class _Base(SQLModel, registry=registry()):
    """Our own registry: an application's SQLModel tables may have the same names as ours."""


metadata: Final = _Base.metadata

#: UUIDv7 text; native on Postgres (16 bytes).
ID: Final[TypeEngine[str]] = String(36).with_variant(PG_UUID(as_uuid=False), "postgresql")
#: Byte order on both dialects, so that ranges of paths mean the same everywhere.
PATH: Final[TypeEngine[str]] = Text().with_variant(PG_TEXT(collation="C"), "postgresql")
#: Row versions of a task fit on the page that holds them: updates stay HOT.
FILLFACTOR: Final[dict[str, Any]] = {"postgresql_with": {"fillfactor": 50}}


def _in(column: str, values: object) -> str:
    listed = ", ".join(f"'{value}'" for value in sorted(cast("set[str]", values)))
    return f"{column} IN ({listed})"


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


def _key(kind: TypeEngine[Any]) -> Any:
    return Field(sa_column=Column(kind, primary_key=True, nullable=False))


def _col(kind: TypeEngine[Any], *, null: bool = False, default: str | None = None) -> Any:
    return Field(sa_column=Column(kind, nullable=null, server_default=default))


def _big(*, null: bool = False) -> Any:
    return _col(BigInteger(), null=null)


class Definition(_Base, table=True):
    """One immutable version of a definition: by name, version and content hash."""

    __tablename__: Any = "definitions"
    id: str = _key(ID)
    name: str = _col(Text())
    version: int = _col(Integer())
    hash: str = _col(String(64))
    body: str = _col(Text())
    state: str = _col(String(16), default="draft")
    created_at: int = _big()

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
        CheckConstraint(_in("state", set(DefinitionState)), name="definitions_state"),
    )


class Instance(_Base, table=True):
    """One run of a definition; the row that is locked for everything the run owns."""

    __tablename__: Any = "instances"
    id: str = _key(ID)
    definition_id: str = _col(ID)
    name: str = _col(Text())
    version: int = _col(Integer())
    state: str = _col(String(16))
    key: str | None = _col(Text(), null=True)
    gen: int = _col(Integer(), default="0")
    sweeps: int = _col(Integer(), default="0")
    inputs: str | None = _col(Text(), null=True)
    inputs_ref: str | None = _col(Text(), null=True)
    reason: str | None = _col(Text(), null=True)
    created_at: int = _big()
    started_at: int | None = _big(null=True)
    ended_at: int | None = _big(null=True)
    parent_id: str | None = _col(ID, null=True)
    parent_path: str | None = _col(PATH, null=True)
    depth: int = _col(Integer(), default="0")
    mutex: str | None = _col(Text(), null=True)
    labels: str | None = _col(Text(), null=True)
    start_at: int | None = _big(null=True)
    expires_at: int | None = _big(null=True)
    vars_rev: int = _col(Integer(), default="0")

    __table_args__: Any = (
        Index("instances_created", "created_at", "id"),
        Index("instances_name_created", "name", "created_at", "id"),
        _partial("instances_parent", "parent_id", where="parent_id IS NOT NULL"),
        _partial("instances_queued", "name", "mutex", "id", where="state = 'queued' AND mutex IS NOT NULL"),
        _partial("instances_active", "id", where=_in("state", ACTIVE_INSTANCE_STATES)),
        CheckConstraint(_in("state", set(InstanceState)), name="instances_state"),
        CheckConstraint(
            f"({_in('state', TERMINAL_INSTANCE_STATES)}) = (ended_at IS NOT NULL)", name="instances_ended"
        ),
        CheckConstraint("inputs IS NULL OR inputs_ref IS NULL", name="instances_inputs"),
        CheckConstraint("sweeps >= 0 AND gen >= 0", name="instances_counters"),
        FILLFACTOR,
    )


class Key(_Base, table=True):
    """Start keys, unique per definition name for ever within retention; mutexes, held by one live instance."""

    __tablename__: Any = "keys"
    name: str = _key(Text())
    kind: str = _key(String(8))
    key: str = _key(Text())
    instance_id: str = _col(ID)


class Task(_Base, table=True):
    """One node made real in one instance; a scope is a task row too (`repositories/records.py` explains each field)."""

    __tablename__: Any = "tasks"
    instance_id: str = _key(ID)
    path: str = _key(PATH)
    scope: str | None = _col(PATH, null=True)
    executor: str | None = _col(Text(), null=True)
    gen: int = _col(Integer(), default="0")
    state: str = _col(String(16))
    attempt: int = _col(Integer(), default="0")
    failures: int = _col(Integer(), default="0")
    crashes: int = _col(Integer(), default="0")
    engine: str | None = _col(ID, null=True)
    queue: str = _col(Text(), default="default")
    priority: int = _col(Integer(), default="0")
    ready_at: int | None = _big(null=True)
    wake_at: int | None = _big(null=True)
    remaining: int = _col(Integer(), default="0")
    open: int = _col(Integer(), default="0")
    total: int | None = _col(Integer(), null=True)
    next: int = _col(Integer(), default="0")
    width: int | None = _col(Integer(), null=True)
    done: int = _col(Integer(), default="0")
    failed: int = _col(Integer(), default="0")
    skipped: int = _col(Integer(), default="0")
    closed: str | None = _col(String(16), null=True)
    cursor: str | None = _col(Text(), null=True)
    output: str | None = _col(Text(), null=True)
    output_ref: str | None = _col(Text(), null=True)
    error: str | None = _col(Text(), null=True)
    started_at: int | None = _big(null=True)
    ended_at: int | None = _big(null=True)
    phase: str | None = _col(String(16), null=True)
    deadline_at: int | None = _big(null=True)
    awaits: str | None = _col(Text(), null=True)
    memo: str | None = _col(Text(), null=True)
    excused: int = _col(Integer(), default="0")

    __table_args__: Any = (
        _partial("tasks_awaits", "instance_id", "awaits", where="awaits IS NOT NULL"),
        CheckConstraint(_in("state", set(TaskState)), name="tasks_state"),
        CheckConstraint("(state = 'running') = (engine IS NOT NULL)", name="tasks_engine"),
        CheckConstraint("(state = 'queued') = (ready_at IS NOT NULL)", name="tasks_ready"),
        CheckConstraint("state <> 'running' OR wake_at IS NULL OR closed IS NOT NULL", name="tasks_wake"),
        CheckConstraint("state <> 'retrying' OR wake_at IS NOT NULL", name="tasks_retry"),
        CheckConstraint("state <> 'pending' OR remaining > 0 OR wake_at IS NOT NULL", name="tasks_pending"),
        CheckConstraint(
            f"({_in('state', TERMINAL_TASK_STATES)}) = (ended_at IS NOT NULL)", name="tasks_ended"
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


class Journal(_Base, table=True):
    """Every transition, one row each, written in the transaction that made the change."""

    __tablename__: Any = "journal"
    instance_id: str = _key(ID)
    seq: int = _key(BigInteger())
    path: str | None = _col(PATH, null=True)
    gen: int = _col(Integer(), default="0")
    attempt: int = _col(Integer(), default="0")
    from_state: str | None = _col(String(16), null=True)
    to_state: str = _col(String(16))
    reason: str = _col(Text())
    at: int = _big()
    engine: str | None = _col(ID, null=True)


class Engine(_Base, table=True):
    """One process start that claims tasks or writes; its lease covers every task it holds."""

    __tablename__: Any = "engines"
    id: str = _key(ID)
    role: str = _col(String(16))
    state: str = _col(String(16))
    batch: int = _col(BigInteger(), default="0")
    lease_until: int = _big()
    host: str = _col(Text())
    pid: int = _col(Integer())
    boot_id: str | None = _col(Text(), null=True)
    lock_file: str | None = _col(Text(), null=True)
    executors: str = _col(Text(), default="[]")
    slots: int = _col(Integer(), default="0")
    release: str = _col(Text())
    started_at: int = _big()
    ended_at: int | None = _big(null=True)

    __table_args__: Any = (
        _partial("engines_alive", "id", where="state = 'alive'"),
        CheckConstraint(_in("state", set(EngineState)), name="engines_state"),
        CheckConstraint(_in("role", set(EngineRole)), name="engines_role"),
        FILLFACTOR,
    )


class Blob(_Base, table=True):
    """Payloads kept apart: large values by SHA-256, pages of a map's items by `items:<path>:<gen>:<page>`."""

    __tablename__: Any = "blobs"
    instance_id: str = _key(ID)
    key: str = _key(PATH)
    body: str = _col(Text())


class Var(_Base, table=True):
    """Committed values of the variables that `set` nodes wrote, by scope."""

    __tablename__: Any = "vars"
    instance_id: str = _key(ID)
    scope: str = _key(PATH)
    name: str = _key(Text())
    writer: str = _key(PATH)
    rev: int = _col(Integer(), default="0")
    gen: int = _col(Integer(), default="0")
    value: str | None = _col(Text(), null=True)
    value_ref: str | None = _col(Text(), null=True)


class Signal(_Base, table=True):
    """Named messages to an instance, parked until a wait takes them."""

    __tablename__: Any = "signals"
    instance_id: str = _key(ID)
    id: str = _key(Text())
    name: str = _col(Text())
    value: str | None = _col(Text(), null=True)
    value_ref: str | None = _col(Text(), null=True)
    at: int = _big()
    consumed_by: str | None = _col(PATH, null=True)
    seq: int = _big()

    __table_args__: Any = (
        _partial("signals_parked", "instance_id", "name", "seq", where="consumed_by IS NULL"),
    )


class Message(_Base, table=True):
    """What an instance tells another one; deleted by the transaction that applies it, so the table is nearly empty."""

    __tablename__: Any = "messages"
    instance_id: str = _key(ID)
    source: str = _key(Text())
    kind: str = _col(String(16))
    body: str = _col(Text())
    at: int = _big()


class Label(_Base, table=True):
    """Labels of instances, for filters."""

    __tablename__: Any = "labels"
    instance_id: str = _key(ID)
    name: str = _key(Text())
    value: str = _col(Text())

    __table_args__: Any = (Index("labels_name_value", "name", "value", "instance_id"),)


class Checkpoint(_Base, table=True):
    """The last checkpoint of a task, kept across its attempts."""

    __tablename__: Any = "checkpoints"
    instance_id: str = _key(ID)
    path: str = _key(PATH)
    attempt: int = _col(Integer())
    at: int = _big()
    value: str = _col(Text())


class Progress(_Base, table=True):
    """The last progress an executor reported."""

    __tablename__: Any = "progress"
    instance_id: str = _key(ID)
    path: str = _key(PATH)
    attempt: int = _col(Integer())
    at: int = _big()
    fraction: float = _col(Float())
    message: str | None = _col(Text(), null=True)


class LogLine(_Base, table=True):
    """Log lines of attempts, readable while they run."""

    __tablename__: Any = "logs"
    instance_id: str = _key(ID)
    seq: int = _key(BigInteger())
    path: str = _col(PATH)
    attempt: int = _col(Integer())
    at: int = _big()
    level: str = _col(String(8))
    message: str = _col(Text())


def _table(model: type[SQLModel]) -> Table:
    return cast("Table", vars(model)["__table__"])


DEFINITIONS: Final = _table(Definition)
INSTANCES: Final = _table(Instance)
KEYS: Final = _table(Key)
TASKS: Final = _table(Task)
JOURNAL: Final = _table(Journal)
ENGINES: Final = _table(Engine)
BLOBS: Final = _table(Blob)
VARS: Final = _table(Var)
SIGNALS: Final = _table(Signal)
MESSAGES: Final = _table(Message)
LABELS: Final = _table(Label)
CHECKPOINTS: Final = _table(Checkpoint)
PROGRESS: Final = _table(Progress)
LOGS: Final = _table(LogLine)

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
    "tasks_wake",
    TASKS.c.wake_at,
    postgresql_where=text("wake_at IS NOT NULL"),
    sqlite_where=text("wake_at IS NOT NULL"),
)
