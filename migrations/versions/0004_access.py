"""API keys, the audit log, and answers kept for repeated requests.

Frozen: written out, equal to `repositories/access_tables.py` at the time of its release.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID: Final = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "api_keys",
        _column("id", ID),
        _column("name", sa.Text()),
        _column("hash", sa.Text()),
        _column("scopes", sa.Text()),
        _column("created_at", sa.BigInteger()),
        _column("expires_at", sa.BigInteger(), null=True),
        _column("revoked_at", sa.BigInteger(), null=True),
        _column("successor", ID, null=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        _column("at", sa.BigInteger()),
        _column("key_id", ID, null=True),
        _column("who", sa.Text()),
        _column("action", sa.Text()),
        _column("target", sa.Text()),
        _column("outcome", sa.Text()),
        _column("status", sa.Integer()),
        _column("request_id", sa.Text()),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("audit_at", "audit", ["at"])
    op.create_table(
        "requests",
        _column("key_id", sa.Text()),
        _column("idempotency_key", sa.Text()),
        _column("fingerprint", sa.Text()),
        _column("made", ID),
        _column("status", sa.Integer(), null=True),
        _column("headers", sa.Text(), null=True),
        _column("body", sa.Text(), null=True),
        _column("at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key_id", "idempotency_key"),
    )
    op.create_index("requests_at", "requests", ["at"])


def downgrade() -> None:
    """Drop them, with all that is in them."""
    for table in ("requests", "audit", "api_keys"):
        op.drop_table(table)


def _column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)
