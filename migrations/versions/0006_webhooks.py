"""Webhooks and what is still to be delivered to them.

Frozen: written out, equal to `repositories/webhook_tables.py` at the time of its release.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID: Final = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
NAME: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "webhooks",
        _column("id", ID),
        _column("name", NAME),
        _column("url", sa.Text()),
        _column("events", sa.Text()),
        _column("definition", sa.Text(), null=True),
        _column("state", sa.Text()),
        _column("problem", sa.Text(), null=True),
        _column("sealed", sa.Text()),
        _column("version", sa.Integer()),
        _column("old_sealed", sa.Text(), null=True),
        _column("old_until", sa.BigInteger(), null=True),
        _column("cursor", sa.BigInteger()),
        _column("failing_since", sa.BigInteger(), null=True),
        _column("created_at", sa.BigInteger()),
        _column("updated_at", sa.BigInteger()),
        _column("created_by", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("state IN ('disabled', 'enabled')", name="webhooks_state"),
    )
    op.create_index("webhooks_name", "webhooks", ["name"], unique=True)
    op.create_table(
        "deliveries",
        _column("id", ID),
        _column("webhook_id", ID),
        _column("seq", sa.BigInteger(), null=True),
        _column("event", sa.Text()),
        _column("body", sa.Text()),
        _column("state", sa.Text()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        _column("due_at", sa.BigInteger()),
        _column("claim", ID, null=True),
        _column("status", sa.Integer(), null=True),
        _column("error", sa.Text(), null=True),
        _column("created_at", sa.BigInteger()),
        _column("ended_at", sa.BigInteger(), null=True),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("state IN ('dead', 'delivered', 'pending')", name="deliveries_state"),
    )
    op.create_index("deliveries_event", "deliveries", ["webhook_id", "seq"], unique=True)
    op.create_index("deliveries_created", "deliveries", ["created_at"])
    op.create_index("deliveries_of", "deliveries", ["webhook_id", "id"])
    _partial("deliveries_due", ["webhook_id", "due_at"], "state = 'pending'")
    _partial("deliveries_dead", ["webhook_id", "id"], "state = 'dead'")


def downgrade() -> None:
    """Drop them, with all that is in them."""
    for table in ("deliveries", "webhooks"):
        op.drop_table(table)


def _partial(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "deliveries", columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def _column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)
