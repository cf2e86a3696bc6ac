"""The only place where the two databases differ: connecting, encoding batches, transactions.

Statements are compiled once per process and run on the driver's own cursor (psycopg or sqlite3). On Postgres several
statements travel in one pipeline (one round trip); SQLite runs them as they come. Both offer the same `Connection`,
so the transaction of DESIGN section 3a is written once.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import Any, Final, cast

import psycopg
from psycopg.types.string import TextLoader
from sqlalchemy import Executable, Float, Integer
from sqlalchemy.dialects import postgresql, sqlite

from .arrays import array_literal
from .clock import now_us
from .connection import Row
from .errors import ConnectionLost, RepositoryError
from .records import TASK_COLUMNS
from .statements import Bulk, array_type, bulk_statements, single_statements
from .translation import from_sqlite, is_busy, translated
from .url import DatabaseUrl

__all__ = ["PostgresConnection", "SqliteConnection", "connect", "postgres_session", "sqlite_session"]

#: How long a writer waits for SQLite's one write lock before the batch is tried again as a whole.
SQLITE_LOCK_WAIT_S: Final = 20.0


@cache
def _compiled_postgres() -> tuple[dict[str, str], dict[str, tuple[str, Bulk]]]:
    dialect = postgresql.dialect(paramstyle="pyformat")

    def compile_(statement: Executable) -> str:
        return str(cast("Any", statement).compile(dialect=dialect))

    singles = {name: compile_(s) for name, s in single_statements("postgresql").items()}
    bulks = {name: (compile_(b.for_postgres()), b) for name, b in bulk_statements().items()}
    return singles, bulks


@cache
def _compiled_sqlite() -> tuple[dict[str, _Positional], dict[str, _Positional]]:
    dialect = sqlite.dialect(paramstyle="qmark")

    def compile_(statement: Executable) -> _Positional:
        done = cast("Any", statement).compile(dialect=dialect)
        return _Positional(str(done), tuple(done.positiontup or ()))

    singles = {name: compile_(s) for name, s in single_statements("sqlite").items()}
    bulks = {name: compile_(b.for_sqlite()) for name, b in bulk_statements().items()}
    return singles, bulks


class _Positional:
    """A compiled SQLite statement: text, and the parameters' names in order."""

    __slots__ = ("names", "sql")

    def __init__(self, sql: str, names: tuple[str, ...]) -> None:
        self.sql = sql
        self.names = names

    def args(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple([params[name] for name in self.names])


# --- Postgres -------------------------------------------------------------------------------------------------------


def postgres_session(url: DatabaseUrl, *, autocommit: bool = True) -> psycopg.Connection[Row]:
    """A driver connection: ids as text, keep-alives on, nothing that relies on session state."""
    try:
        raw = psycopg.connect(
            url.dsn, autocommit=autocommit, connect_timeout=10, keepalives_idle=10, tcp_user_timeout=15_000
        )
    except psycopg.ProgrammingError as exc:  # the URL itself is wrong: trying again will not help
        raise RepositoryError(f"{url.label} is no usable address: {str(exc).strip()}") from exc
    except psycopg.Error as exc:
        raise ConnectionLost(str(exc).strip()) from exc
    raw.adapters.register_loader("uuid", TextLoader)
    return raw


class PostgresConnection:
    """The writer's connection on Postgres. Settings and search path are set anew in every transaction."""

    dialect = "postgresql"

    def __init__(self, url: DatabaseUrl, raw: psycopg.Connection[Row] | None = None) -> None:
        self._url = url
        self._raw = raw or postgres_session(url)
        self._singles, bulks = _compiled_postgres()
        self._bulks = {
            name: (sql, {c: _is_numeric(bulk, c) for c in bulk.columns})
            for name, (sql, bulk) in bulks.items()
        }
        self._begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

    def begin(self) -> None:
        self._execute(self._begin)
        if self._url.schema:
            self._execute("SELECT set_config('search_path', %(schema)s, true)", {"schema": self._url.schema})

    def commit(self) -> None:
        self._execute("COMMIT")

    def rollback(self) -> None:
        try:
            if (
                not self._raw.closed
                and self._raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE
            ):
                self._raw.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def pipeline(self) -> AbstractContextManager[Any]:
        return self._pipelined()

    @contextmanager
    def _pipelined(self) -> Generator[None]:
        with translated(), self._raw.pipeline():
            yield

    def run(self, name: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._execute(self._singles[name], params)

    def rows(self, handle: Any) -> list[Row]:
        with translated():
            return handle.fetchall()

    def many(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        sql, numeric = self._bulks[name]
        self._execute(
            sql, {c: array_literal(columns[c], numeric=is_number) for c, is_number in numeric.items()}
        )

    def fence(self, engine_id: str, batch: int, ttl: int) -> Any:
        return self.run("fence", {"me": engine_id, "n": batch, "ttl": ttl})

    def clock(self) -> Any:
        return self.run("clock")

    def lock_instances(self, ids: Sequence[str]) -> Any:
        return self.run("lock_instances", {"ids": array_literal(ids, numeric=False)})

    def read_tasks(self, ids: Sequence[str], paths: Sequence[str]) -> Any:
        arrays = {"ids": array_literal(ids, numeric=False), "paths": array_literal(paths, numeric=False)}
        return self.run("read_tasks", arrays)

    def peek_ready(
        self, queues: Sequence[str], executors: Sequence[str], limit: int, total: int
    ) -> tuple[Any, Any]:
        wanted = {
            "queues": array_literal(queues, numeric=False),
            "executors": array_literal(executors, numeric=False),
            "peek": limit,
            "total": total,
        }
        return self.run("ready_lock", wanted), self.run("ready_read", wanted)

    def peek_blocked(
        self, counters: Sequence[str], queues: Sequence[str], executors: Sequence[str], limit: int
    ) -> tuple[Any, Any]:
        lists = {"counters": counters, "queues": queues, "executors": executors}
        wanted = {name: array_literal(values, numeric=False) for name, values in lists.items()}
        return self.run("blocked_lock", {**wanted, "peek": limit}), self.run(
            "blocked_read", {**wanted, "peek": limit}
        )

    def lock_limits(self, names: Sequence[str]) -> Any:
        return self.run("limits_lock", {"names": array_literal(names, numeric=False)})

    def peek_due(self, limit: int) -> tuple[Any, Any]:
        return self.run("due_lock", {"peek": limit}), self.run("due_read", {"peek": limit})

    def _execute(self, sql: str, params: Mapping[str, Any] | None = None) -> Any:
        with translated():
            return self._raw.execute(cast("Any", sql), params)

    def without_prepared_statements(self) -> None:
        """A pooler between us and the server forgets them: send every statement as text from now on."""
        self._raw.prepare_threshold = None

    def close(self) -> None:
        self._raw.close()


def _is_numeric(bulk: Bulk, name: str) -> bool:
    return isinstance(array_type(bulk.table, name), Integer | Float)


# --- SQLite ---------------------------------------------------------------------------------------------------------

#: SQLAlchemy renders every LIMIT on SQLite with an OFFSET.
_NO_OFFSET: Final = {"param_1": 0}
_PRIORITY: Final = TASK_COLUMNS.index("priority")
_READY_AT: Final = TASK_COLUMNS.index("ready_at")


#: One writer per file and process takes turns here before it asks for the file's lock.
_GATES: Final[dict[str, threading.RLock]] = {}
_GATES_LOCK: Final = threading.Lock()


def _gate(url: DatabaseUrl) -> threading.RLock:
    with _GATES_LOCK:
        return _GATES.setdefault(str(url.path), threading.RLock())


def sqlite_session(url: DatabaseUrl, *, timeout_s: float = 5.0) -> sqlite3.Connection:
    """A driver connection: WAL, `synchronous=FULL`, manual transactions."""
    path = cast("Any", url.path)
    if not path.parent.is_dir():
        raise RepositoryError(f"the folder {path.parent} does not exist; create it, or name another file")
    try:
        raw = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        _set_pragmas(raw)
    except sqlite3.Error as exc:
        raise from_sqlite(exc) from exc
    return raw


def _set_pragmas(raw: sqlite3.Connection) -> None:
    deadline = time.monotonic() + SQLITE_LOCK_WAIT_S
    while True:  # switching to WAL ignores the busy handler
        try:
            raw.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.010))
    for pragma in (
        "synchronous=FULL",
        "journal_size_limit=67108864",
        "temp_store=MEMORY",
        "cache_size=-16384",
    ):
        raw.execute(f"PRAGMA {pragma}")


class SqliteConnection:
    """The writer's connection on SQLite: BEGIN IMMEDIATE with an own short, jittered retry."""

    dialect = "sqlite"

    def __init__(self, url: DatabaseUrl, raw: sqlite3.Connection | None = None) -> None:
        self._gate = _gate(url)
        self._held = False
        self._raw = raw or sqlite_session(url, timeout_s=0)
        self._singles, self._bulks = _compiled_sqlite()

    def begin(self) -> None:
        """Take the process's gate, then the file's write lock.

        SQLite's own busy handler backs off to 100 ms and is unfair; 1-5 ms jitter lets ten processes share one file.
        """
        self._gate.acquire()
        self._held = True
        try:
            self._begin_immediate()
        except BaseException:
            self._release()
            raise

    def _begin_immediate(self) -> None:
        deadline = time.monotonic() + SQLITE_LOCK_WAIT_S
        while True:
            try:
                self._raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.Error as exc:
                if not is_busy(exc) or time.monotonic() > deadline:
                    raise from_sqlite(exc) from exc
            time.sleep(random.uniform(0.001, 0.005))

    def commit(self) -> None:
        with translated():
            self._raw.execute("COMMIT")
        self._release()

    def rollback(self) -> None:
        try:
            if self._raw.in_transaction:  # a full or failing disk makes SQLite end it by itself
                self._raw.execute("ROLLBACK")
        except sqlite3.Error:
            self._raw.close()
        finally:
            self._release()

    def _release(self) -> None:
        if self._held:
            self._gate.release()
            self._held = False

    def pipeline(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def run(self, name: str, params: Mapping[str, Any] | None = None) -> Any:
        statement = self._singles[name]
        with translated():
            return self._raw.execute(statement.sql, statement.args(params or {}))

    def rows(self, handle: Any) -> list[Row]:
        if isinstance(handle, list):
            return cast("list[Row]", handle)
        with translated():
            return handle.fetchall()

    def many(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        statement = self._bulks[name]
        if "seq" in statement.names:
            columns = {**columns, "seq": self._numbers(len(columns["instance_id"]))}
        ordered = [columns[c.removeprefix("k_")] for c in statement.names]
        with translated():
            self._raw.executemany(statement.sql, zip(*ordered, strict=True))

    def _numbers(self, count: int) -> range:
        last = self.rows(self.run("number", {"name": "journal", "count": count}))[0][0]
        return range(last - count + 1, last + 1)

    def fence(self, engine_id: str, batch: int, ttl: int) -> Any:
        return self.run("fence", {"me": engine_id, "n": batch, "until": now_us() + ttl})

    def clock(self) -> Any:
        return [(now_us(),)]

    def lock_instances(self, ids: Sequence[str]) -> Any:
        return self._each("get_instance", [(i,) for i in sorted(set(ids))])

    def read_tasks(self, ids: Sequence[str], paths: Sequence[str]) -> Any:
        return self._each("get_task", zip(ids, paths, strict=True))

    def peek_ready(
        self, queues: Sequence[str], executors: Sequence[str], limit: int, total: int
    ) -> tuple[Any, Any]:
        names, found = json.dumps(list(executors)), list[Row]()
        for queue in queues:
            wanted = {"queue": queue, "executors": names, "peek": limit, **_NO_OFFSET}
            found += self.rows(self.run("ready_read", wanted))
        found.sort(key=lambda row: (-row[_PRIORITY], row[_READY_AT]))
        return self.lock_instances([row[0] for row in found[:total]]), found[:total]

    def peek_blocked(
        self, counters: Sequence[str], queues: Sequence[str], executors: Sequence[str], limit: int
    ) -> tuple[Any, Any]:
        names, served, found = json.dumps(list(executors)), json.dumps(list(queues)), list[Row]()
        for counter in counters:
            wanted = {"counter": counter, "queues": served, "executors": names, "peek": limit, **_NO_OFFSET}
            found += self.rows(self.run("blocked_read", wanted))
        return self.lock_instances([row[0] for row in found]), found

    def lock_limits(self, names: Sequence[str]) -> Any:
        return self._each("limit_get", [(name,) for name in names])

    def peek_due(self, limit: int) -> tuple[Any, Any]:
        found = self.rows(self.run("due_read", {"now": now_us(), "peek": limit, **_NO_OFFSET}))
        return self.lock_instances([row[0] for row in found]), found

    def _each(self, name: str, keys: Iterable[tuple[Any, ...]]) -> list[Row]:
        sql, execute, found = self._singles[name].sql, self._raw.execute, list[Row]()
        with translated():
            for key in keys:
                found += execute(sql, key).fetchall()
        return found

    def close(self) -> None:
        self._raw.close()
        with suppress(RuntimeError):  # not our thread's transaction: whoever opened it rolls back
            self._release()


def connect(url: DatabaseUrl) -> PostgresConnection | SqliteConnection:
    """The connection of one writer."""
    return SqliteConnection(url) if url.dialect == "sqlite" else PostgresConnection(url)
