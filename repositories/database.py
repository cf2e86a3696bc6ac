"""SQLAlchemy connections for everything off the hot path: reads for API and CLI, short writes of their own.

The engine's batches never come here; they have a connection each in `dialect.py`. Nothing relies on session state: on
Postgres the search path and the timeouts are set anew in every transaction, so a pooler may sit between. A URL is never
logged or shown, only its `label`, for it may hold a password.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, cast

import psycopg
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    Table,
    create_engine,
    event,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from .clock import now_us
from .dialect import SqliteConnection, postgres_session, sqlite_session
from .errors import ConnectionLost, RepositoryError, Retryable
from .statements import PG_CLOCK, single_statements
from .tables import JOURNAL_SEQUENCE
from .translation import translated
from .url import DatabaseUrl

__all__ = ["Database", "Session", "UnusableDatabase", "clock", "draw_numbers", "explained", "insert_into"]

#: What `read` and `write` give: one transaction, that the views and stores of this layer take first.
Session = Connection

#: Connections of one process for reads, and for its short writes; what a server sees is their sum times processes.
READ_CONNECTIONS: Final = 4
#: How long whoever asks waits for a connection that others use.
POOL_WAIT_S: Final = 10
WRITE_CONNECTIONS: Final = 2
#: A server or a firewall between may drop what is older.
RECYCLE_S: Final = 1800
#: Reads go by key like the writer's statements, and are pinned like them: a planner without fresh statistics would
#: read the whole task table for what an index gives in order.
_PLAN: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "jit": "off",
}
_READ_SETTINGS: Final = _PLAN | {
    "transaction_read_only": "on",
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "60000",
}
_WRITE_SETTINGS: Final = _PLAN | {
    "lock_timeout": "1000",
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "10000",
}


class UnusableDatabase(RepositoryError):
    """The URL names something that cannot be opened as a database; the message says what to change."""


class Database:
    """The database behind one URL: `read()` for views, `write()` for one short transaction.

    Connects when first used; safe to share between threads; close it before a fork.
    """

    def __init__(self, url: str | DatabaseUrl) -> None:
        self.url: Final = DatabaseUrl.parse(url) if isinstance(url, str) else url
        make = _sqlite_engines if self.url.dialect == "sqlite" else _postgres_engines
        self._reads, self._writes = make(self.url)
        self._closed = False
        for engine in (self._reads, self._writes):
            event.listen(engine, "checkin", self._given_back)

    @contextmanager
    def read(self) -> Generator[Connection]:
        """Open a read-only transaction: all statements inside see one state on SQLite, each the newest on Postgres.

        Keep it short: an open reader lets SQLite's log grow.
        """
        with explained(self.url), self._reads.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """Open a write transaction that commits when the block ends and rolls back when it raises.

        On SQLite it takes its turn among the process's writers and then the file's lock, so do not nest it.

        Raises:
            Retryable: a lock or the server was not to be had in time; run the block again.
        """
        with explained(self.url), self._writes.connect() as connection:
            if self.url.dialect == "sqlite":
                yield from _immediate(self.url, connection)
            else:
                with connection.begin():
                    yield connection

    def connections(self) -> dict[str, tuple[int, int]]:
        """Connections in use, and at most, of the pools for reads and for writes."""
        pools = {"read": self._reads.pool, "write": self._writes.pool}
        return {
            name: (pool.checkedout(), pool.size())
            for name, pool in pools.items()
            if isinstance(pool, QueuePool)
        }

    def close(self) -> None:
        """Close every pooled connection; one in use closes when it is given back, and so does one opened later."""
        self._closed = True
        self._reads.dispose()
        self._writes.dispose()

    def _given_back(self, _: Any, record: ConnectionPoolEntry) -> None:
        if self._closed:
            record.invalidate()


def _immediate(url: DatabaseUrl, connection: Connection) -> Generator[Connection]:
    raw = cast("sqlite3.Connection", connection.connection.driver_connection)
    writer = SqliteConnection(url, raw)
    writer.begin()
    try:
        yield connection
        writer.commit()
    finally:
        writer.rollback()


def _postgres_engines(url: DatabaseUrl) -> tuple[Engine, Engine]:
    def session() -> psycopg.Connection[Any]:
        raw = postgres_session(url, autocommit=False)
        raw.prepare_threshold = None  # a transaction pooler forgets prepared statements
        return raw

    def engine(size: int, settings: dict[str, str]) -> Engine:
        made = create_engine(
            "postgresql+psycopg://",
            creator=session,
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_S,
            pool_use_lifo=True,
            isolation_level="READ COMMITTED",
        )
        wanted = settings | ({"search_path": url.schema} if url.schema else {})
        statement = select(*[func.set_config(name, value, True) for name, value in wanted.items()])

        def settle(connection: Connection) -> None:
            connection.execute(statement)

        event.listen(made, "begin", settle)
        return made

    return engine(READ_CONNECTIONS, _READ_SETTINGS), engine(WRITE_CONNECTIONS, _WRITE_SETTINGS)


def _sqlite_engines(url: DatabaseUrl) -> tuple[Engine, Engine]:
    def reading() -> sqlite3.Connection:
        raw = sqlite_session(url)
        raw.execute("PRAGMA query_only=ON")
        return raw

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    def writing() -> sqlite3.Connection:
        return sqlite_session(url, timeout_s=0)

    pooled: dict[str, Any] = {"poolclass": QueuePool, "max_overflow": 0, "pool_timeout": POOL_WAIT_S}
    reads = create_engine("sqlite://", creator=reading, pool_size=READ_CONNECTIONS, **pooled)
    event.listen(reads, "begin", begin)
    writes = create_engine("sqlite://", creator=writing, pool_size=1, **pooled)
    return reads, writes


def clock(connection: Connection) -> ColumnElement[int]:
    """Give the database's clock in microseconds, as an expression for one statement."""
    if connection.dialect.name == "postgresql":
        return literal_column(PG_CLOCK, BigInteger())
    return literal(now_us())  # SQLite runs in this process: its clock is ours


def draw_numbers(connection: Connection, count: int) -> Sequence[int]:
    """Draw ascending numbers from the sequence that journal, log lines and signals share."""
    if connection.dialect.name == "postgresql":
        # The transaction gets its id before the first number: readers of the feed rely on that order.
        drawn = select(func.pg_current_xact_id(), JOURNAL_SEQUENCE.next_value())
        return sorted(row[1] for row in connection.execute(drawn.select_from(func.generate_series(1, count))))
    last: int = connection.execute(_number(), {"name": "journal", "count": count}).scalar_one()
    return range(last - count + 1, last + 1)


@cache
def _number() -> Any:
    """SQLite's statement, picked once: to make all of its kind took 13 ms."""
    return single_statements("sqlite")["number"]


def insert_into(connection: Connection, table: Table) -> Any:
    """Start an insert that knows `on_conflict_do_nothing` on this connection's database."""
    makers: dict[str, Any] = {"postgresql": pg_insert, "sqlite": sqlite_insert}
    made: Insert = makers[connection.dialect.name](table)
    return made


@contextmanager
def explained(url: DatabaseUrl) -> Generator[None]:
    """Turn driver errors into this layer's; what keeps a database from opening becomes one sentence that names it."""
    try:
        with translated(), _unwrapped():
            yield
    except ConnectionLost as exc:
        raise ConnectionLost(f"cannot connect to {url.label}: {_on_one_line(exc)}") from exc
    except RepositoryError as exc:
        advice = _ADVICE.get(_code(exc.__cause__))
        if advice is None:
            raise
        raise UnusableDatabase(f"cannot use {url.label}: {advice} ({_on_one_line(exc)})") from exc


@contextmanager
def _unwrapped() -> Generator[None]:
    try:
        yield
    except PoolTimeout as exc:
        raise Retryable(
            f"no connection was free in {POOL_WAIT_S} s: this process asks for too much at once"
        ) from exc
    except DBAPIError as exc:
        if exc.orig is None:
            raise
        raise exc.orig from None


def _on_one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__


def _code(exc: BaseException | None) -> str:
    if isinstance(exc, psycopg.Error):
        return exc.sqlstate or ""
    number: int = getattr(exc, "sqlite_errorcode", 0)
    return f"sqlite{number & 0xFF}"


_ADVICE: Final = {
    f"sqlite{sqlite3.SQLITE_NOTADB}": "the file is not a SQLite database; name another file",
    f"sqlite{sqlite3.SQLITE_CANTOPEN}": "the file cannot be opened; check the path and its permissions",
    f"sqlite{sqlite3.SQLITE_PERM}": "this user may not open the file; change its permissions",
    f"sqlite{sqlite3.SQLITE_READONLY}": "this user may not write the file; change its permissions",
    f"sqlite{sqlite3.SQLITE_CORRUPT}": "the file is damaged; restore it from a backup",
    "42501": "the role lacks a privilege; grant it, or connect as the owner of the schema",
}
