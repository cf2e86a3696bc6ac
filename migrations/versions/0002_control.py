"""Queues, limits, schedules with their firings, triggers, and the numbers that processes compare.

Frozen: written out, equal to `repositories/control_tables.py` at the time of its release.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID: Final = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
FILLFACTOR: Final[dict[str, Any]] = {"postgresql_with": {"fillfactor": 50}}


def upgrade() -> None:
    """Make the tables of what people set and of what starts by itself."""
    _queues()
    _limits()
    _schedules()
    _firings()
    _triggers()
    op.create_table(
        "settings",
        _required("name", sa.Text()),
        _required("value", sa.BigInteger(), "0"),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Drop them, with all that is in them."""
    for table in ("settings", "triggers", "firings", "schedules", "limits", "queues"):
        op.drop_table(table)


def _required(name: str, kind: sa.types.TypeEngine[Any], default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, server_default=default)


def _optional(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _partial(name: str, table: str, columns: list[Any], where: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def _queues() -> None:
    op.create_table(
        "queues",
        _required("name", sa.Text()),
        _required("state", sa.String(16), "active"),
        _optional("max_size", sa.Integer()),
        _optional("reason", sa.Text()),
        _required("updated_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name"),
        sa.CheckConstraint("state IN ('active', 'paused')", name="queues_state"),
        sa.CheckConstraint("max_size IS NULL OR max_size >= 0", name="queues_max_size"),
    )


def _limits() -> None:
    op.create_table(
        "limits",
        _required("name", sa.Text()),
        _optional("concurrency", sa.Integer()),
        _optional("rate_count", sa.Integer()),
        _optional("rate_period", sa.BigInteger()),
        _optional("burst", sa.Integer()),
        _required("explicit", sa.Integer(), "0"),
        _required("used", sa.Integer(), "0"),
        _required("waiting", sa.Integer(), "0"),
        _required("full_at", sa.BigInteger(), "0"),
        _required("updated_at", sa.BigInteger(), "0"),
        sa.PrimaryKeyConstraint("name"),
        sa.CheckConstraint("used >= 0 AND waiting >= 0", name="limits_counters"),
        sa.CheckConstraint("concurrency IS NULL OR concurrency >= 0", name="limits_concurrency"),
        sa.CheckConstraint("(rate_count IS NULL) = (rate_period IS NULL)", name="limits_rate"),
        **FILLFACTOR,
    )
    _partial("limits_explicit", "limits", ["name"], "explicit = 1")


def _schedules() -> None:
    op.create_table(
        "schedules",
        _required("id", ID),
        _required("name", sa.Text()),
        _required("definition", sa.Text()),
        _optional("version", sa.Integer()),
        _required("origin", sa.String(16), "api"),
        _required("state", sa.String(16), "active"),
        _optional("cron", sa.Text()),
        _optional("every", sa.BigInteger()),
        _optional("at", sa.BigInteger()),
        _required("timezone", sa.Text(), "UTC"),
        _required("overlap", sa.String(16), "allow"),
        _required("misfire", sa.String(16), "latest"),
        _required("catch_up", sa.Integer(), "100"),
        _required("jitter", sa.BigInteger(), "0"),
        _required("cooldown", sa.BigInteger(), "0"),
        _optional("start_at", sa.BigInteger()),
        _optional("end_at", sa.BigInteger()),
        _optional("inputs", sa.Text()),
        _optional("queue", sa.Text()),
        _optional("priority", sa.Integer()),
        _required("fired_until", sa.BigInteger()),
        _optional("next_at", sa.BigInteger()),
        _required("runs", sa.Integer(), "0"),
        _required("skips", sa.Integer(), "0"),
        _optional("problem", sa.Text()),
        _required("created_at", sa.BigInteger()),
        _required("updated_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("state IN ('active', 'paused', 'ended')", name="schedules_state"),
        sa.CheckConstraint("origin IN ('api', 'definition')", name="schedules_origin"),
        sa.CheckConstraint("overlap IN ('allow', 'skip', 'queue', 'cancel')", name="schedules_overlap"),
        sa.CheckConstraint("misfire IN ('skip', 'latest', 'all')", name="schedules_misfire"),
    )
    op.create_index("schedules_name", "schedules", ["name"], unique=True)
    _partial("schedules_next", "schedules", ["next_at"], "next_at IS NOT NULL")


def _firings() -> None:
    op.create_table(
        "firings",
        _required("schedule_id", ID),
        _required("at", sa.BigInteger()),
        _required("kind", sa.String(16), "timer"),
        _required("outcome", sa.String(16)),
        _optional("instance_id", ID),
        _required("fired_at", sa.BigInteger()),
        _optional("reason", sa.Text()),
        sa.PrimaryKeyConstraint("schedule_id", "at"),
        sa.CheckConstraint("outcome IN ('started', 'skipped', 'missed')", name="firings_outcome"),
        sa.CheckConstraint("(outcome = 'started') = (instance_id IS NOT NULL)", name="firings_instance"),
    )


def _triggers() -> None:
    op.create_table(
        "triggers",
        _required("id", ID),
        _required("name", sa.Text()),
        _required("pattern", sa.Text()),
        _optional("match", sa.Text()),
        _required("definition", sa.Text()),
        _optional("version", sa.Integer()),
        _optional("inputs", sa.Text()),
        _required("state", sa.String(16), "active"),
        _optional("queue", sa.Text()),
        _optional("priority", sa.Integer()),
        _required("runs", sa.Integer(), "0"),
        _optional("problem", sa.Text()),
        _required("created_at", sa.BigInteger()),
        _required("updated_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("state IN ('active', 'paused')", name="triggers_state"),
    )
    op.create_index("triggers_name", "triggers", ["name"], unique=True)
