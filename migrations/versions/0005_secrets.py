"""Sealed values of the secrets store.

Frozen: written out, equal to `repositories/secret_tables.py` at the time of its release.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAME: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "secrets",
        _column("name", NAME),
        _column("sealed", sa.Text()),
        _column("key_id", sa.Text()),
        _column("version", sa.Integer()),
        _column("created_at", sa.BigInteger()),
        _column("updated_at", sa.BigInteger()),
        _column("created_by", sa.Text()),
        _column("updated_by", sa.Text()),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Drop it, with all that is in it."""
    op.drop_table("secrets")


def _column(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)
