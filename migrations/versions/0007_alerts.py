"""Alert rules, alerts that were raised, and who watches; runs that ended, by how and when.

Frozen: written out, equal to `repositories/alert_tables.py` at the time of its release.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID: Final = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
NAME: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
OPEN: Final = "state IN ('acknowledged', 'raised')"
ENDED: Final = "path IS NULL AND to_state IN ('cancelled', 'completed', 'expired', 'failed')"


def upgrade() -> None:
    """Make the tables, and the index of ends."""
    op.create_table(
        "alert_rules",
        _column("name", NAME),
        _column("kind", sa.Text()),
        _column("enabled", sa.Integer()),
        _column("severity", sa.Text()),
        _column("settings", sa.Text()),
        _column("updated_at", sa.BigInteger()),
        _column("updated_by", sa.Text()),
        sa.PrimaryKeyConstraint("name"),
        sa.CheckConstraint("enabled IN (0, 1)", name="alert_rules_enabled"),
        sa.CheckConstraint("severity IN ('critical', 'info', 'warning')", name="alert_rules_severity"),
    )
    op.create_table(
        "alerts",
        _column("id", ID),
        _column("rule", NAME),
        _column("kind", sa.Text()),
        _column("subject", NAME),
        _column("severity", sa.Text()),
        _column("state", sa.Text()),
        _column("message", sa.Text()),
        _column("details", sa.Text()),
        _column("count", sa.BigInteger()),
        sa.Column("counted", sa.BigInteger(), server_default="0", nullable=False),
        _column("owner", ID, null=True),
        _column("first_at", sa.BigInteger()),
        _column("last_at", sa.BigInteger()),
        _column("clear_at", sa.BigInteger(), null=True),
        _column("acknowledged_at", sa.BigInteger(), null=True),
        _column("acknowledged_by", sa.Text(), null=True),
        _column("resolved_at", sa.BigInteger(), null=True),
        _column("resolved_by", sa.Text(), null=True),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("state IN ('acknowledged', 'raised', 'resolved')", name="alerts_state"),
        sa.CheckConstraint("severity IN ('critical', 'info', 'warning')", name="alerts_severity"),
        sa.CheckConstraint("(state = 'resolved') = (resolved_at IS NOT NULL)", name="alerts_resolved_at"),
    )
    _partial("alerts_one_open", "alerts", ["rule", "subject"], OPEN, unique=True)
    op.create_index("alerts_subject", "alerts", ["rule", "subject", "id"])
    _partial("alerts_open", "alerts", ["id"], OPEN)
    _partial("alerts_resolved", "alerts", ["resolved_at"], "resolved_at IS NOT NULL")
    op.create_table(
        "duties",
        _column("name", sa.Text()),
        _column("holder", ID),
        _column("until", sa.BigInteger()),
        _column("done_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name"),
    )
    _partial("journal_ends", "journal", ["to_state", "at"], ENDED)


def downgrade() -> None:
    """Drop them, with all that is in them."""
    op.drop_index("journal_ends", "journal")
    for table in ("duties", "alerts", "alert_rules"):
        op.drop_table(table)


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    rule = sa.text(where)
    op.create_index(name, table, columns, unique=unique, postgresql_where=rule, sqlite_where=rule)


def _column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)
