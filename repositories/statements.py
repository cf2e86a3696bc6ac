"""Every statement of the hot path, built with SQLAlchemy Core and compiled once per dialect.

Batches travel as columns: on Postgres one array per column (`unnest`), on SQLite `executemany`. Statements that read
by key take `ids` and `paths` side by side. Nothing here knows a rule; the order of use is DESIGN section 3a.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnClause,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .control_tables import LIMITS
from .limit_statements import limit_statements
from .rare_statements import rare_statements
from .records import TERMINAL_TASK_STATES, EngineState
from .tables import (
    BLOBS,
    CHECKPOINTS,
    DEFINITIONS,
    ENGINES,
    INSTANCES,
    JOURNAL,
    JOURNAL_SEQUENCE,
    KEYS,
    LABELS,
    LOGS,
    MESSAGES,
    PROGRESS,
    SEQUENCES,
    SIGNALS,
    TASKS,
    VARS,
)

__all__ = ["Bulk", "bulk_statements", "rows_of", "single_statements", "texts"]

_NOT_TERMINAL: Final = "tasks.state NOT IN ({})".format(
    ", ".join(f"'{state}'" for state in sorted(TERMINAL_TASK_STATES))
)
_ALIVE: Final = text(f"engines.state = '{EngineState.ALIVE}'")


def _named(names: Iterable[str]) -> list[ColumnClause[Any]]:
    return [column(name) for name in names]


class Bulk:
    """A statement that writes many rows: `keys` find the row, `values` are written. `returning` is not supported."""

    def __init__(self, kind: str, table: Table, keys: Sequence[str], values: Sequence[str]) -> None:
        self.kind = kind
        self.table = table
        self.keys = tuple(keys)
        self.values = tuple(values)
        self.columns = (*self.keys, *self.values)

    def for_sqlite(self) -> Executable:
        """One row per execution, for `executemany`."""
        if self.kind == "update":
            where = and_(*(self.table.c[key] == bindparam("k_" + key) for key in self.keys))
            return update(self.table).where(where).values({v: bindparam(v) for v in self.values})
        if self.kind == "upsert":
            stmt = sqlite_insert(self.table).values({c: bindparam(c) for c in self.columns})
            changed = {v: stmt.excluded[v] for v in self.values}
            return stmt.on_conflict_do_update(index_elements=list(self.keys), set_=changed)
        if self.kind == "delete":
            return delete(self.table).where(
                *(self.table.c[key] == bindparam("k_" + key) for key in self.keys)
            )
        names = ("seq", *self.columns) if self.kind.startswith("numbered") else self.columns
        if self.kind.endswith("_new"):
            stmt = sqlite_insert(self.table).values({c: bindparam(c) for c in names})
            return stmt.on_conflict_do_nothing()
        return insert(self.table).values({c: bindparam(c) for c in names})

    def for_postgres(self) -> Executable:
        """All rows in one statement, one array per column."""
        rows = self._unnest()
        if self.kind == "update":
            where = and_(*(self.table.c[key] == rows.c[key] for key in self.keys))
            return update(self.table).where(where).values({v: rows.c[v] for v in self.values})
        if self.kind == "delete":
            return delete(self.table).where(*(self.table.c[key] == rows.c[key] for key in self.keys))
        picked: list[Any] = [rows.c[name] for name in self.columns]
        names = list(self.columns)
        if self.kind.startswith("numbered"):
            names, picked = ["seq", *names], [JOURNAL_SEQUENCE.next_value(), *picked]
        source = select(*picked)
        if self.kind == "upsert":
            stmt = pg_insert(self.table).from_select(names, source)
            changed = {v: stmt.excluded[v] for v in self.values}
            return stmt.on_conflict_do_update(index_elements=list(self.keys), set_=changed)
        if self.kind.endswith("_new"):
            return pg_insert(self.table).from_select(names, source).on_conflict_do_nothing()
        return insert(self.table).from_select(names, source)

    def _unnest(self) -> Any:
        arrays = [
            cast(bindparam(name, type_=Text()), ARRAY(array_type(self.table, name))) for name in self.columns
        ]
        return func.unnest(*arrays).table_valued(*_named(self.columns), name="u").render_derived()


def array_type(table: Table, name: str) -> Any:
    """Element type of the array that carries a column on Postgres."""
    kind = table.c[name].type
    if isinstance(kind, BigInteger | Integer | Float):
        return kind
    variant = kind.dialect_impl(_POSTGRES)
    return PG_UUID(as_uuid=False) if isinstance(variant, PG_UUID) else Text()


_POSTGRES: Final = postgresql.dialect()


_LEAF_NEW: Final = (
    "scope executor gen state attempt engine queue priority ready_at wake_at remaining started_at ended_at"
).split()
_SCOPE_NEW: Final = (
    "scope executor gen state attempt engine queue priority ready_at wake_at remaining "
    "open total next width done failed skipped closed output output_ref error started_at ended_at "
    "phase deadline_at awaits memo excused blocked_on blocked_at holds"
).split()
_LEAF_SET: Final = (
    "gen state attempt failures crashes engine ready_at wake_at remaining closed "
    "output output_ref error started_at ended_at"
).split()
_SCOPE_SET: Final = (
    "gen state attempt failures crashes engine ready_at wake_at remaining "
    "open total next width done failed skipped closed cursor output output_ref error started_at ended_at "
    "phase deadline_at awaits memo excused blocked_on blocked_at holds"
).split()
_VAR_KEY: Final = ("instance_id", "scope", "name", "writer")
_INSTANCE_SET: Final = "definition_id version state gen sweeps reason started_at ended_at vars_rev".split()
_TASK_KEY: Final = ("instance_id", "path")
_SIGNAL: Final = "instance_id id name value value_ref at consumed_by".split()


def bulk_statements() -> dict[str, Bulk]:
    """The writes of step 6, by name."""
    journal = ["instance_id", "path", "gen", "attempt", "from_state", "to_state", "reason", "at", "engine"]
    instance_new = [c.name for c in INSTANCES.columns if c.name not in {"id", "sweeps", "reason"}]
    return {
        "leaf_new": Bulk("insert", TASKS, _TASK_KEY, _LEAF_NEW),
        "scope_new": Bulk("insert", TASKS, _TASK_KEY, _SCOPE_NEW),
        "leaf_set": Bulk("update", TASKS, _TASK_KEY, _LEAF_SET),
        "scope_set": Bulk("update", TASKS, _TASK_KEY, _SCOPE_SET),
        "task_moved": Bulk("update", TASKS, _TASK_KEY, ["priority", "ready_at"]),
        "instance_new": Bulk("insert", INSTANCES, ["id"], instance_new),
        "instance_set": Bulk("update", INSTANCES, ["id"], _INSTANCE_SET),
        "journal": Bulk("numbered", JOURNAL, [], journal),
        "key_new": Bulk("insert_new", KEYS, ["name", "kind", "key"], ["instance_id"]),
        "key_end": Bulk("delete", KEYS, ["name", "kind", "key", "instance_id"], []),
        "signal_new": Bulk("numbered_new", SIGNALS, [], _SIGNAL),
        "signal_taken": Bulk("update", SIGNALS, ["instance_id", "id"], ["consumed_by"]),
        "message_new": Bulk("insert_new", MESSAGES, ["instance_id", "source"], ["kind", "body", "at"]),
        "message_end": Bulk("delete", MESSAGES, ["instance_id", "source"], []),
        "label_new": Bulk("insert_new", LABELS, ["instance_id", "name"], ["value"]),
        "limit_new": Bulk("insert_new", LIMITS, ["name"], ["updated_at"]),
        "limit_set": Bulk("update", LIMITS, ["name"], ["used", "waiting", "full_at", "updated_at"]),
        "blob_new": Bulk("insert_new", BLOBS, ["instance_id", "key"], ["body"]),
        "var_set": Bulk("upsert", VARS, _VAR_KEY, ["rev", "gen", "value", "value_ref"]),
        "checkpoint_set": Bulk("upsert", CHECKPOINTS, _TASK_KEY, ["attempt", "at", "value"]),
        "progress_set": Bulk("upsert", PROGRESS, _TASK_KEY, ["attempt", "at", "fraction", "message"]),
        "log_new": Bulk("numbered", LOGS, [], ["instance_id", "path", "attempt", "at", "level", "message"]),
    }


def _uuids(name: str) -> Any:
    return cast(bindparam(name, type_=Text()), ARRAY(PG_UUID(as_uuid=False)))


def texts(name: str) -> Any:
    """A parameter that is an array of texts. Postgres."""
    return cast(bindparam(name, type_=Text()), ARRAY(Text()))


def rows_of(**arrays: Any) -> Any:
    """Arrays side by side as rows. Postgres."""
    names = list(arrays)
    return func.unnest(*arrays.values()).table_valued(*_named(names), name="k").render_derived()


def _peek(*, limit: str) -> Any:
    """Keys at the head of an index, all queues of this engine, without locks. Postgres."""
    wanted = rows_of(queue=texts("queues"))
    head = (
        select(TASKS.c.instance_id, TASKS.c.path, TASKS.c.priority, TASKS.c.ready_at)
        .where(
            TASKS.c.queue == wanted.c.queue,
            TASKS.c.ready_at.is_not(None),
            or_(TASKS.c.executor.is_(None), TASKS.c.executor == func.any(texts("executors"))),
        )
        .order_by(TASKS.c.priority.desc(), TASKS.c.ready_at)
        .limit(bindparam(limit))
        .lateral("head")
    )
    return (
        select(head.c.instance_id, head.c.path)
        .select_from(wanted.join(head, true()))
        .order_by(head.c.priority.desc(), head.c.ready_at)
        .limit(bindparam("total"))
        .cte("peek")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _due(*, limit: str) -> Any:
    return (
        select(TASKS.c.instance_id, TASKS.c.path)
        .where(TASKS.c.wake_at.is_not(None), TASKS.c.wake_at <= literal_column(PG_CLOCK))
        .order_by(TASKS.c.wake_at)
        .limit(bindparam(limit))
        .cte("peek")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


PG_CLOCK: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_PG_SETTINGS: Final = ", ".join(
    f"set_config('{name}', '{value}', true)"
    for name, value in {
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_seqscan": "off",
        # a bitmap has no order: the peek would fetch and sort every ready row to give the first few
        "enable_bitmapscan": "off",
        "jit": "off",
        # A plan for the arrays at hand would be made anew for every execution, and cost more than running it.
        "plan_cache_mode": "force_generic_plan",
        "lock_timeout": "1000",
        "statement_timeout": "10000",
        "idle_in_transaction_session_timeout": "10000",
    }.items()
)


def _settings() -> list[ColumnElement[Any]]:
    """Setting them is a side effect of reading the fence's answer."""
    return [literal_column(_PG_SETTINGS)]


def _postgres_reads() -> dict[str, Any]:
    keys = rows_of(id=_uuids("ids"), path=texts("paths"))
    ready, due = _peek(limit="peek"), _due(limit="peek")
    instances = select(*INSTANCES.columns)
    tasks = select(*TASKS.columns)

    def lock(peek: Any) -> Any:
        return (
            instances.where(INSTANCES.c.id.in_(select(peek.c.instance_id)))
            .order_by(INSTANCES.c.id)
            .with_for_update(key_share=True, skip_locked=True)
        )

    def read(peek: Any) -> Any:
        return tasks.select_from(
            peek.join(TASKS, and_(TASKS.c.instance_id == peek.c.instance_id, TASKS.c.path == peek.c.path))
        ).order_by(TASKS.c.priority.desc(), TASKS.c.ready_at)

    return {
        "clock": text(f"SELECT {PG_CLOCK}"),
        "fence": update(ENGINES)
        .where(ENGINES.c.id == bindparam("me"), _ALIVE)
        .values(batch=bindparam("n"), lease_until=literal_column(PG_CLOCK) + bindparam("ttl"))
        .returning(ENGINES.c.lease_until, *_settings()),
        "lock_instances": instances.where(INSTANCES.c.id == func.any(_uuids("ids")))
        .order_by(INSTANCES.c.id)
        .with_for_update(key_share=True),
        "read_tasks": tasks.select_from(
            keys.join(TASKS, and_(TASKS.c.instance_id == keys.c.id, TASKS.c.path == keys.c.path))
        ),
        "ready_lock": lock(ready),
        "ready_read": read(ready),
        "due_lock": lock(due),
        "due_read": read(due),
    }


def single_statements(dialect: str) -> dict[str, Any]:
    """Statements with one parameter set, by name."""
    common: dict[str, Any] = {
        "open_under": select(*TASKS.columns)
        .where(
            TASKS.c.instance_id == bindparam("id"),
            TASKS.c.path > bindparam("low"),
            TASKS.c.path < bindparam("high"),
            text(_NOT_TERMINAL),
        )
        .order_by(TASKS.c.path)
        .limit(bindparam("limit")),
        "key_get": select(KEYS.c.instance_id).where(
            KEYS.c.name == bindparam("name"), KEYS.c.kind == bindparam("kind"), KEYS.c.key == bindparam("key")
        ),
        **rare_statements(dialect),
        **limit_statements(dialect),
        "definition_get": select(*DEFINITIONS.columns).where(DEFINITIONS.c.id == bindparam("id")),
        "receipt": select(ENGINES.c.batch, ENGINES.c.state).where(ENGINES.c.id == bindparam("me")),
        "next_wake": select(func.min(TASKS.c.wake_at)).where(TASKS.c.wake_at.is_not(None)),
    }
    if dialect == "postgresql":
        return common | _postgres_reads()
    return common | _sqlite_reads()


def _sqlite_reads() -> dict[str, Any]:
    by_key = and_(TASKS.c.instance_id == bindparam("id"), TASKS.c.path == bindparam("path"))
    return {
        "fence": update(ENGINES)
        .where(ENGINES.c.id == bindparam("me"), _ALIVE)
        .values(batch=bindparam("n"), lease_until=bindparam("until"))
        .returning(ENGINES.c.lease_until),
        "get_instance": select(*INSTANCES.columns).where(INSTANCES.c.id == bindparam("id")),
        "get_task": select(*TASKS.columns).where(by_key),
        "ready_read": select(*TASKS.columns)
        .where(
            TASKS.c.queue == bindparam("queue"),
            TASKS.c.ready_at.is_not(None),
            or_(
                TASKS.c.executor.is_(None),
                TASKS.c.executor.in_(text("SELECT value FROM json_each(:executors)")),
            ),
        )
        .order_by(TASKS.c.priority.desc(), TASKS.c.ready_at)
        .limit(bindparam("peek")),
        "due_read": select(*TASKS.columns)
        .where(TASKS.c.wake_at.is_not(None), TASKS.c.wake_at <= bindparam("now"))
        .order_by(TASKS.c.wake_at)
        .limit(bindparam("peek")),
        "number": sqlite_insert(SEQUENCES)
        .values(name=bindparam("name"), value=bindparam("count"))
        .on_conflict_do_update(
            index_elements=["name"], set_={"value": SEQUENCES.c.value + bindparam("count")}
        )
        .returning(SEQUENCES.c.value),
    }
