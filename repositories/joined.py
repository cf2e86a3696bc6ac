"""Our transaction inside one that is open already: what it begins and commits is somebody else's block.

For a task's own SQL that commits together with its completion. The engine's receipt is not written here: it belongs to
the writer's batches.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection as SqlalchemyConnection

from .dialect import PostgresConnection, SqliteConnection
from .url import DatabaseUrl

__all__ = ["joined"]


class _JoinedPostgres(PostgresConnection):
    """Statements of a batch on an open psycopg transaction."""

    def begin(self) -> None:
        """It has begun."""

    def commit(self) -> None:
        """Whoever began it commits."""

    def rollback(self) -> None:
        """Whoever began it rolls back."""

    def fence(self, engine_id: str, batch: int, ttl: int) -> Any:
        return self.run("receipt", {"me": engine_id})


class _JoinedSqlite(SqliteConnection):
    """Statements of a batch on an open sqlite3 transaction."""

    def begin(self) -> None:
        """It has begun."""

    def commit(self) -> None:
        """Whoever began it commits."""

    def rollback(self) -> None:
        """Whoever began it rolls back."""

    def fence(self, engine_id: str, batch: int, ttl: int) -> Any:
        return self.run("receipt", {"me": engine_id})


def joined(connection: SqlalchemyConnection, url: DatabaseUrl) -> PostgresConnection | SqliteConnection:
    """The open transaction of `Database.write()`, seen through the statements of a batch."""
    raw: Any = connection.connection.driver_connection
    return _JoinedSqlite(url, raw) if url.dialect == "sqlite" else _JoinedPostgres(url, raw)
