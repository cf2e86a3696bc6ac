"""Driver errors become this layer's, by SQLSTATE or SQLite's error code and never by text."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import psycopg

from .errors import BadRow, ConnectionLost, RepositoryError, Retryable, Unwritable

__all__ = ["LostPrepared", "from_sqlite", "is_busy", "translated"]

_RETRYABLE_CLASSES: Final = ("40", "08")
_RETRYABLE_STATES: Final = frozenset({"57P01", "57P02", "57P03", "53300", "55P03", "25P03", "57014", "25P04"})
_UNWRITABLE_STATES: Final = frozenset({"53100", "25006", "53200"})
#: A pooler moved us to a server connection that does not know our prepared statement (or knows one by its name).
_LOST_PREPARED: Final = frozenset({"26000", "42P05"})


class LostPrepared(Retryable):
    """The server does not know our prepared statement: a transaction pooler stands between."""


@contextmanager
def translated() -> Generator[None]:
    """Driver errors become this layer's, by SQLSTATE and never by text."""
    try:
        yield
    except psycopg.Error as exc:
        raise _from_postgres(exc) from exc
    except sqlite3.Error as exc:
        raise from_sqlite(exc) from exc


def _from_postgres(exc: psycopg.Error) -> RepositoryError:
    state = exc.sqlstate or ""
    text = str(exc).strip() or type(exc).__name__
    if state in _LOST_PREPARED:
        return LostPrepared(text)
    if (
        state.startswith("08")
        or (not state and isinstance(exc, psycopg.OperationalError))
        or state == "57P01"
    ):
        return ConnectionLost(text)
    if state[:2] in _RETRYABLE_CLASSES or state in _RETRYABLE_STATES:
        return Retryable(f"{state}: {text}")
    if state in _UNWRITABLE_STATES:
        return Unwritable(text)
    return BadRow(f"{state}: {text}") if state[:2] in {"22", "23"} else RepositoryError(f"{state}: {text}")


def is_busy(exc: sqlite3.Error) -> bool:
    """Does another connection hold the lock?"""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def from_sqlite(exc: sqlite3.Error) -> RepositoryError:
    """What a sqlite3 error means to this layer."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if is_busy(exc):
        return Retryable(str(exc))
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}:
        return Unwritable(str(exc))
    bad = isinstance(exc, sqlite3.IntegrityError | sqlite3.DataError)
    return BadRow(str(exc)) if bad else RepositoryError(str(exc))
