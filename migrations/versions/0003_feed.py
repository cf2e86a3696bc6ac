"""The feed: notices, and indexes that give journal and progress in the order of their numbers.

Frozen: written out, equal to `repositories/feed_tables.py` and `tables.py` at the time of its release.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PROGRESS: Final = sa.text("level = 'progress'")


def upgrade() -> None:
    """Make the table and the indexes."""
    op.create_table(
        "notices",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("journal_order", "journal", ["seq"])
    op.create_index("logs_progress", "logs", ["seq"], postgresql_where=_PROGRESS, sqlite_where=_PROGRESS)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("logs_progress", table_name="logs")
    op.drop_index("journal_order", table_name="journal")
    op.drop_table("notices")
