"""The first schema: definitions, instances, tasks, journal, engines and what belongs to an instance.

Frozen: written out, equal to `repositories/tables.py` at the time of its release.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: UUIDv7 text; native on Postgres.
ID: Final = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
#: Byte order on both dialects.
PATH: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
FILLFACTOR: Final[dict[str, Any]] = {"postgresql_with": {"fillfactor": 50}}

ACTIVE: Final = "state IN ('cancelling', 'compensating', 'paused', 'pending', 'queued', 'running')"
INSTANCE_STATES: Final = (
    "state IN ('cancelled', 'cancelling', 'compensating', 'completed', 'expired', 'failed', 'paused', 'pending', "
    "'queued', 'running')"
)
INSTANCE_ENDED: Final = "(state IN ('cancelled', 'completed', 'expired', 'failed')) = (ended_at IS NOT NULL)"
TASK_STATES: Final = (
    "state IN ('blocked', 'cancelled', 'completed', 'expired', 'failed', 'paused', 'pending', 'queued', 'retrying', "
    "'running', 'skipped', 'waiting')"
)
TASK_ENDED: Final = (
    "(state IN ('cancelled', 'completed', 'expired', 'failed', 'skipped')) = (ended_at IS NOT NULL)"
)


def upgrade() -> None:
    """Make every table of the first release."""
    _definitions()
    _instances()
    _between()
    _tasks()
    _journal()
    _engines()
    _payloads()
    _reports()
    _numbers()


def downgrade() -> None:
    """Drop every table of the first release, with all that is in them."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(sa.schema.DropSequence(sa.Sequence("journal_seq")))
    else:
        op.drop_table("sequences")
    for table in (
        "logs",
        "progress",
        "checkpoints",
        "vars",
        "blobs",
        "engines",
        "journal",
        "tasks",
        "messages",
        "signals",
        "labels",
        "keys",
        "instances",
        "definitions",
    ):
        op.drop_table(table)


def _required(name: str, kind: sa.types.TypeEngine[Any], default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, server_default=default)


def _optional(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _partial(name: str, table: str, columns: list[Any], where: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def _definitions() -> None:
    op.create_table(
        "definitions",
        _required("id", ID),
        _required("name", sa.Text()),
        _required("version", sa.Integer()),
        _required("hash", sa.String(64)),
        _required("body", sa.Text()),
        _required("state", sa.String(16), "draft"),
        _required("created_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("version >= 1", name="definitions_version"),
        sa.CheckConstraint(
            "state IN ('active', 'archived', 'deprecated', 'draft')", name="definitions_state"
        ),
    )
    op.create_index(
        "definitions_active",
        "definitions",
        ["name"],
        unique=True,
        postgresql_where=sa.text("state = 'active'"),
        sqlite_where=sa.text("state = 'active'"),
    )
    op.create_index("definitions_name_version", "definitions", ["name", "version"], unique=True)
    op.create_index("definitions_name_hash", "definitions", ["name", "hash"], unique=True)


def _instances() -> None:
    op.create_table(
        "instances",
        _required("id", ID),
        _required("definition_id", ID),
        _required("name", sa.Text()),
        _required("version", sa.Integer()),
        _required("state", sa.String(16)),
        _optional("key", sa.Text()),
        _required("gen", sa.Integer(), "0"),
        _required("sweeps", sa.Integer(), "0"),
        _optional("inputs", sa.Text()),
        _optional("inputs_ref", sa.Text()),
        _optional("reason", sa.Text()),
        _required("created_at", sa.BigInteger()),
        _optional("started_at", sa.BigInteger()),
        _optional("ended_at", sa.BigInteger()),
        _optional("parent_id", ID),
        _optional("parent_path", PATH),
        _required("depth", sa.Integer(), "0"),
        _optional("mutex", sa.Text()),
        _optional("labels", sa.Text()),
        _optional("start_at", sa.BigInteger()),
        _optional("expires_at", sa.BigInteger()),
        _required("vars_rev", sa.Integer(), "0"),
        _optional("queue", sa.Text()),
        _optional("priority", sa.Integer()),
        _optional("scheduled_for", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint(INSTANCE_STATES, name="instances_state"),
        sa.CheckConstraint(INSTANCE_ENDED, name="instances_ended"),
        sa.CheckConstraint("inputs IS NULL OR inputs_ref IS NULL", name="instances_inputs"),
        sa.CheckConstraint("sweeps >= 0 AND gen >= 0", name="instances_counters"),
        **FILLFACTOR,
    )
    op.create_index("instances_created", "instances", ["created_at", "id"])
    op.create_index("instances_name_created", "instances", ["name", "created_at", "id"])
    _partial("instances_active", "instances", ["id"], ACTIVE)
    _partial("instances_parent", "instances", ["parent_id"], "parent_id IS NOT NULL")
    _partial(
        "instances_queued",
        "instances",
        ["name", "mutex", "id"],
        "state = 'queued' AND mutex IS NOT NULL",
    )
    _keys()


def _keys() -> None:
    op.create_table(
        "keys",
        _required("name", sa.Text()),
        _required("kind", sa.String(8)),
        _required("key", sa.Text()),
        _required("instance_id", ID),
        sa.PrimaryKeyConstraint("name", "kind", "key"),
    )
    op.create_table(
        "labels",
        _required("instance_id", ID),
        _required("name", sa.Text()),
        _required("value", sa.Text()),
        sa.PrimaryKeyConstraint("instance_id", "name"),
    )
    op.create_index("labels_name_value", "labels", ["name", "value", "instance_id"])


def _between() -> None:
    op.create_table(
        "signals",
        _required("instance_id", ID),
        _required("id", sa.Text()),
        _required("name", sa.Text()),
        _optional("value", sa.Text()),
        _optional("value_ref", sa.Text()),
        _required("at", sa.BigInteger()),
        _optional("consumed_by", PATH),
        _required("seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("instance_id", "id"),
    )
    _partial("signals_parked", "signals", ["instance_id", "name", "seq"], "consumed_by IS NULL")
    op.create_table(
        "messages",
        _required("instance_id", ID),
        _required("source", sa.Text()),
        _required("kind", sa.String(16)),
        _required("body", sa.Text()),
        _required("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("instance_id", "source"),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        _required("instance_id", ID),
        _required("path", PATH),
        _optional("scope", PATH),
        _optional("executor", sa.Text()),
        _required("gen", sa.Integer(), "0"),
        _required("state", sa.String(16)),
        _required("attempt", sa.Integer(), "0"),
        _required("failures", sa.Integer(), "0"),
        _required("crashes", sa.Integer(), "0"),
        _optional("engine", ID),
        _required("queue", sa.Text(), "default"),
        _required("priority", sa.Integer(), "0"),
        _optional("ready_at", sa.BigInteger()),
        _optional("wake_at", sa.BigInteger()),
        _required("remaining", sa.Integer(), "0"),
        _required("open", sa.Integer(), "0"),
        _optional("total", sa.Integer()),
        _required("next", sa.Integer(), "0"),
        _optional("width", sa.Integer()),
        _required("done", sa.Integer(), "0"),
        _required("failed", sa.Integer(), "0"),
        _required("skipped", sa.Integer(), "0"),
        _optional("closed", sa.String(16)),
        _optional("cursor", sa.Text()),
        _optional("output", sa.Text()),
        _optional("output_ref", sa.Text()),
        _optional("error", sa.Text()),
        _optional("started_at", sa.BigInteger()),
        _optional("ended_at", sa.BigInteger()),
        _optional("phase", sa.String(16)),
        _optional("deadline_at", sa.BigInteger()),
        _optional("awaits", sa.Text()),
        _optional("memo", sa.Text()),
        _required("excused", sa.Integer(), "0"),
        _optional("blocked_on", sa.Text()),
        _optional("blocked_at", sa.BigInteger()),
        _optional("holds", sa.Text()),
        sa.PrimaryKeyConstraint("instance_id", "path"),
        *_task_checks(),
        **FILLFACTOR,
    )
    ready: list[Any] = ["queue", sa.text("priority DESC"), "ready_at"]
    _partial("tasks_ready", "tasks", ready, "ready_at IS NOT NULL")
    blocked: list[Any] = ["blocked_on", sa.text("priority DESC"), "blocked_at"]
    _partial("tasks_blocked", "tasks", blocked, "blocked_on IS NOT NULL")
    _partial("tasks_wake", "tasks", ["wake_at"], "wake_at IS NOT NULL")
    _partial("tasks_awaits", "tasks", ["instance_id", "awaits"], "awaits IS NOT NULL")


def _task_checks() -> list[sa.CheckConstraint]:
    counters = (
        "remaining >= 0 AND open >= 0 AND attempt >= 0 AND failures >= 0 AND crashes >= 0 AND next >= 0"
    )
    checks = {
        "state": TASK_STATES,
        "engine": "(state = 'running') = (engine IS NOT NULL)",
        "ready": "(state = 'queued') = (ready_at IS NOT NULL)",
        "wake": "state <> 'running' OR wake_at IS NULL OR closed IS NOT NULL",
        "blocked": "(state = 'blocked') = (blocked_on IS NOT NULL AND blocked_at IS NOT NULL)",
        "holds": "holds IS NULL OR state = 'running'",
        "retry": "state <> 'retrying' OR wake_at IS NOT NULL",
        "pending": "state <> 'pending' OR remaining > 0 OR wake_at IS NOT NULL",
        "ended": TASK_ENDED,
        "counters": counters,
        "items": "done >= 0 AND failed >= 0 AND skipped >= 0",
        "next": "total IS NULL OR next <= total",
        "output": "output IS NULL OR output_ref IS NULL",
        "error": "state <> 'failed' OR error IS NOT NULL",
        "root": "(scope IS NULL) = (path = '')",
    }
    return [sa.CheckConstraint(rule, name=f"tasks_{name}") for name, rule in checks.items()]


def _journal() -> None:
    op.create_table(
        "journal",
        _required("instance_id", ID),
        _required("seq", sa.BigInteger()),
        _optional("path", PATH),
        _required("gen", sa.Integer(), "0"),
        _required("attempt", sa.Integer(), "0"),
        _optional("from_state", sa.String(16)),
        _required("to_state", sa.String(16)),
        _required("reason", sa.Text()),
        _required("at", sa.BigInteger()),
        _optional("engine", ID),
        sa.PrimaryKeyConstraint("instance_id", "seq"),
    )


def _engines() -> None:
    op.create_table(
        "engines",
        _required("id", ID),
        _required("role", sa.String(16)),
        _required("state", sa.String(16)),
        _required("batch", sa.BigInteger(), "0"),
        _required("lease_until", sa.BigInteger()),
        _required("host", sa.Text()),
        _required("pid", sa.Integer()),
        _optional("boot_id", sa.Text()),
        _optional("lock_file", sa.Text()),
        _required("executors", sa.Text(), "[]"),
        _required("slots", sa.Integer(), "0"),
        _required("release", sa.Text()),
        _required("started_at", sa.BigInteger()),
        _optional("ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("state IN ('alive', 'dead', 'stopped')", name="engines_state"),
        sa.CheckConstraint("role IN ('client', 'engine')", name="engines_role"),
        **FILLFACTOR,
    )
    _partial("engines_alive", "engines", ["id"], "state = 'alive'")


def _payloads() -> None:
    op.create_table(
        "blobs",
        _required("instance_id", ID),
        _required("key", PATH),
        _required("body", sa.Text()),
        sa.PrimaryKeyConstraint("instance_id", "key"),
    )
    op.create_table(
        "vars",
        _required("instance_id", ID),
        _required("scope", PATH),
        _required("name", sa.Text()),
        _required("writer", PATH),
        _required("rev", sa.Integer(), "0"),
        _required("gen", sa.Integer(), "0"),
        _optional("value", sa.Text()),
        _optional("value_ref", sa.Text()),
        sa.PrimaryKeyConstraint("instance_id", "scope", "name", "writer"),
    )
    op.create_table(
        "checkpoints",
        _required("instance_id", ID),
        _required("path", PATH),
        _required("attempt", sa.Integer()),
        _required("at", sa.BigInteger()),
        _required("value", sa.Text()),
        sa.PrimaryKeyConstraint("instance_id", "path"),
    )


def _reports() -> None:
    op.create_table(
        "progress",
        _required("instance_id", ID),
        _required("path", PATH),
        _required("attempt", sa.Integer()),
        _required("at", sa.BigInteger()),
        _required("fraction", sa.Float()),
        _optional("message", sa.Text()),
        sa.PrimaryKeyConstraint("instance_id", "path"),
    )
    op.create_table(
        "logs",
        _required("instance_id", ID),
        _required("seq", sa.BigInteger()),
        _required("path", PATH),
        _required("attempt", sa.Integer()),
        _required("at", sa.BigInteger()),
        _required("level", sa.String(8)),
        _required("message", sa.Text()),
        sa.PrimaryKeyConstraint("instance_id", "seq"),
    )


def _numbers() -> None:
    """One sequence numbers journal and log rows; SQLite has none, a table with a row per name stands in."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("journal_seq")))
        return
    op.create_table(
        "sequences",
        _required("name", sa.Text()),
        _required("value", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name"),
    )
