"""Our statements on somebody else's connection and transaction: psycopg, sqlite3, or SQLAlchemy around either.

Only inserts happen here. The caller commits or rolls back; nothing of ours survives a rollback.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TypeGuard

import psycopg
from sqlalchemy import Connection as SqlalchemyConnection
from sqlalchemy.orm import Session

from .batch import Batch, Changes
from .connection import Connection
from .dialect import PostgresConnection, SqliteConnection
from .errors import RepositoryError
from .notify import channel
from .translation import translated
from .url import DatabaseUrl

__all__ = ["ForeignConnection"]


class ForeignConnection:
    """A caller's open transaction, seen through our statements."""

    def __init__(self, connection: Connection, raw: Any, url: DatabaseUrl) -> None:
        self._db = connection
        self._raw = raw
        self._url = url
        self._batch = Batch(connection)

    @classmethod
    def of(cls, connection: Any, url: DatabaseUrl) -> Self:
        """Raises RepositoryError for a connection of another kind, or of another database than the engine's."""
        raw = _driver(connection)
        if _is_psycopg(raw) and url.dialect == "postgresql":
            return cls(_Caller(url, raw), raw, url)
        if isinstance(raw, sqlite3.Connection) and url.dialect == "sqlite":
            return cls(SqliteConnection(url, raw), raw, url)
        raise RepositoryError(
            f"a {type(connection).__name__} cannot carry a start on {url.label}; "
            "pass a synchronous psycopg, sqlite3 or SQLAlchemy connection to the same database"
        )

    def now(self) -> int:
        """The database's clock, in microseconds."""
        return int(self._db.rows(self._db.clock())[0][0])

    def claim_key(self, name: str, key: str, instance_id: str) -> str | None:
        """Insert the key if it is free; the id that owns it now, None when the owner cannot be seen."""
        self._begin()
        self._batch.insert_keys([(name, "start", key, instance_id)])
        owner = self._batch.key_owner(name, "start", key)
        return None if owner is None else str(owner)  # the caller's connection may read ids as UUID objects

    def write(self, changes: Changes) -> None:
        """Insert; on Postgres a hint for engines travels with the caller's commit."""
        self._begin()
        self._batch.write(changes, commit=False)
        if _is_psycopg(self._raw):
            with translated():
                self._raw.execute("SELECT pg_notify(%s, 'ready')", (channel(self._url),))

    def _begin(self) -> None:
        """Python's sqlite3 may be told not to open transactions by itself: nothing of ours may commit alone."""
        if isinstance(self._raw, sqlite3.Connection) and not self._raw.in_transaction:
            with translated():
                self._raw.execute("BEGIN IMMEDIATE")


class _Caller(PostgresConnection):
    """A caller's psycopg connection: no pipeline of ours, for the caller may be inside one."""

    def pipeline(self) -> AbstractContextManager[Any]:
        return nullcontext()


def _is_psycopg(raw: Any) -> TypeGuard[psycopg.Connection[Any]]:
    return isinstance(raw, psycopg.Connection)


def _driver(connection: Any) -> Any:
    if isinstance(connection, Session):
        connection = connection.connection()
    if isinstance(connection, SqlalchemyConnection):
        if not connection.in_transaction():
            # SQLAlchemy must know of the transaction, or its `commit` does nothing and the start is lost.
            connection.exec_driver_sql("SELECT 1")
        return connection.connection.driver_connection
    return connection
