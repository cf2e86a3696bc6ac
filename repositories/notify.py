"""Hints between processes: LISTEN/NOTIFY on Postgres, the file's change counter on SQLite. They may be lost."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from .dialect import postgres_session, sqlite_session
from .errors import ConnectionLost
from .translation import translated
from .url import DatabaseUrl

__all__ = ["ChangeWatch", "Notifier", "Subscription", "channel"]

_PREFIX: Final = "strataflow"


def channel(url: DatabaseUrl) -> str:
    """The channel of one namespace: a channel is per database, a namespace is a schema of it."""
    if not url.schema:
        return _PREFIX
    return f"{_PREFIX}_{hashlib.sha256(url.schema.encode()).hexdigest()[:12]}"


class _OneConnection:
    """A connection that one thread opens and another may close: none is opened, or stays open, behind a close."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._raw: psycopg.Connection[tuple[Any, ...]] | None = None
        self._closed = False

    def _opened(self) -> psycopg.Connection[tuple[Any, ...]]:
        raw = postgres_session(self._url)
        if self._closed:
            raw.close()
            raise ConnectionLost("this connection was closed for good")
        return raw

    def close(self) -> None:
        """Close the connection, for good."""
        self._closed = True
        if self._raw is not None:
            self._raw.close()


class Notifier(_OneConnection):
    """Sends hints on a connection of its own, opened when first needed."""

    def send(self, hints: Sequence[str]) -> None:
        """Send hints now; raises what the connection raises."""
        with translated():
            if self._raw is None or self._raw.closed:
                self._raw = self._opened()
            for hint in hints:
                self._raw.execute("SELECT pg_notify(%s, %s)", (channel(self._url), hint))


class Subscription(_OneConnection):
    """Receives hints; reconnects by itself. LISTEN is session state, so it needs a direct connection."""

    def wait(self, timeout_s: float) -> set[str]:
        """Hints that arrived within `timeout_s`, returned as soon as there is one; the first call says `ready`."""
        with translated():
            if self._raw is None or self._raw.closed:
                self._raw = self._opened()
                self._raw.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel(self._url))))
                return {"ready"}
            return {note.payload for note in self._raw.notifies(timeout=timeout_s, stop_after=1)}


class ChangeWatch:
    """Notices commits of other connections on the same SQLite file; one pragma, no transaction."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._raw: sqlite3.Connection | None = None
        self._version = -1

    def changed(self) -> bool:
        """Has another connection committed since the last call?"""
        with translated():
            if self._raw is None:
                self._raw = sqlite_session(self._url)
            version = int(self._raw.execute("PRAGMA data_version").fetchone()[0])
        different, self._version = version != self._version, version
        return different

    def close(self) -> None:
        """Close the connection."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None
