"""Brings a database to the schema of this release, and refuses one that does not fit.

Entry of every process before its first statement: `require_current` costs one tiny query when all is well and loads
alembic only to change something. A whole upgrade is one transaction under one lock, so any number of processes may call
it at once: the first does the work, the others find it done. Versions stand in `migrations/versions`.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Literal, cast

import psycopg
from sqlalchemy import Column, Connection, MetaData, String, Table, create_engine, func, inspect, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.schema import CreateSchema

from .database import UnusableDatabase, explained
from .dialect import SqliteConnection, postgres_session, sqlite_session
from .errors import ConnectionLost, Retryable, SchemaMismatch
from .tables import metadata
from .url import DatabaseUrl

__all__ = [
    "HEAD",
    "REVISIONS",
    "VERSION_TABLE",
    "SchemaStatus",
    "check",
    "downgrade",
    "require_current",
    "upgrade",
]

#: Every revision that this release knows, oldest first. A constant, so that looking needs no alembic; a test holds it
#: equal to the files in `migrations/versions`.
REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
HEAD: Final = REVISIONS[-1]
#: Not alembic's default: the application whose database this is may use alembic too.
VERSION_TABLE: Final = "strataflow_version"

#: A waiting ACCESS EXCLUSIVE lock stops everybody behind it: give up after this long and come again.
LOCK_TIMEOUT_MS: Final = 3000
LOCK_ATTEMPTS: Final = 20
#: First half of the advisory lock's key; the second is the schema.
_LOCK_CLASS: Final = 0x5F10
#: Alembic keeps the environment it runs in a module variable.
_ALEMBIC: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Where a database's schema stands against this release."""

    #: The revision found; None without a schema.
    current: str | None
    #: The revision this release works with.
    head: str
    state: Literal["current", "missing", "older", "newer"]


def check(url: str) -> SchemaStatus:
    """Compare the schema with this release; changes nothing, makes no file.

    Raises:
        RepositoryError: the database cannot be opened; the message says why.
    """
    return _status(DatabaseUrl.parse(url))


def require_current(url: DatabaseUrl) -> None:
    """Return when the schema fits this release. A SQLite file is made or upgraded on the way; a Postgres never is.

    Raises:
        SchemaMismatch: the schema is newer than this release, or (on Postgres) missing or older.
        RepositoryError: the database cannot be opened; the message says why.
    """
    status = _status(url)
    if status.state == "current":
        return
    if status.state != "newer" and url.dialect == "sqlite":
        _upgrade_sqlite(url)
        return
    raise _mismatch(url, status)


def upgrade(url: str) -> None:
    """Bring the schema to this release's revision, making SQLite file or Postgres schema if absent. Idempotent.

    Raises:
        SchemaMismatch: the schema is newer than this release, or its table names are taken by somebody else.
        Retryable: another process held a lock for a minute.
        RepositoryError: the database cannot be opened or changed; the message says why.
    """
    parsed = DatabaseUrl.parse(url)
    status = _status(parsed)
    if status.state == "newer":
        raise _mismatch(parsed, status)
    if status.state != "current":
        (_upgrade_sqlite if parsed.dialect == "sqlite" else _upgrade_postgres)(parsed)


def downgrade(url: str, revision: str = "base") -> None:
    """Take back every version after `revision`; `base` drops all tables with what is in them."""
    parsed = DatabaseUrl.parse(url)
    with _locked(parsed) as connection:
        _alembic(connection, parsed.schema, "downgrade", revision)


def _mismatch(url: DatabaseUrl, status: SchemaStatus) -> SchemaMismatch:
    if status.state == "newer":
        return SchemaMismatch(
            f"{url.label} has schema {status.current}, newer than {status.head}, which this release of strataflow "
            "works with; upgrade strataflow"
        )
    found = "no strataflow schema" if status.current is None else f"schema {status.current}"
    return SchemaMismatch(
        f"{url.label} has {found}, this release needs {status.head}; run `strataflow db upgrade --db {url.label}`"
    )


def _status(url: DatabaseUrl) -> SchemaStatus:
    with explained(url):
        current = _sqlite_revision(url) if url.dialect == "sqlite" else _postgres_revision(url)
    if current is None:
        return SchemaStatus(None, HEAD, "missing")
    if current == HEAD:
        return SchemaStatus(current, HEAD, "current")
    return SchemaStatus(current, HEAD, "older" if current in REVISIONS else "newer")


def _read_revision(schema: str | None) -> str:
    table = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32)), schema=schema)
    return str(select(table.c.version_num).compile(dialect=postgresql.dialect()))


def _sqlite_revision(url: DatabaseUrl) -> str | None:
    path = cast("Any", url.path)
    if not path.parent.is_dir():
        raise UnusableDatabase(f"the folder {path.parent} does not exist; create it, or name another file")
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=20.0)) as raw:
        try:
            row = raw.execute(_read_revision(None)).fetchone()
        except sqlite3.OperationalError as exc:
            if (
                exc.sqlite_errorcode == sqlite3.SQLITE_ERROR
            ):  # what SQLite says of a table that does not exist
                return None
            raise
    return row[0] if row else None


def _postgres_revision(url: DatabaseUrl) -> str | None:
    with postgres_session(url) as raw:
        try:
            row = raw.execute(cast("Any", _read_revision(url.schema))).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    return row[0] if row else None


def _upgrade_sqlite(url: DatabaseUrl) -> None:
    with _locked(url) as connection:
        _require_free_names(url, connection)
        _alembic(connection, None, "upgrade", "head")


def _upgrade_postgres(url: DatabaseUrl) -> None:
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with _locked(url) as connection:
                _require_free_names(url, connection)
                _alembic(connection, url.schema, "upgrade", "head")
        except ConnectionLost:
            raise
        except Retryable:
            if attempt == LOCK_ATTEMPTS:
                raise
            time.sleep(random.uniform(0.05, 0.5))
        else:
            return


def _locked(url: DatabaseUrl) -> AbstractContextManager[Connection]:
    return _locked_sqlite(url) if url.dialect == "sqlite" else _locked_postgres(url)


@contextmanager
def _locked_sqlite(url: DatabaseUrl) -> Generator[Connection]:
    """One write transaction on the file: whoever comes second waits here, then finds the work done."""
    with explained(url), closing(sqlite_session(url, timeout_s=0)) as raw:
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool)
        writer = SqliteConnection(url, raw)
        with engine.connect() as connection:  # the first connect rolls back, so it comes before BEGIN
            writer.begin()
            try:
                connection.exec_driver_sql("SELECT 1")  # alembic must see that a transaction is open
                yield connection
                writer.commit()
            finally:
                writer.rollback()


@contextmanager
def _locked_postgres(url: DatabaseUrl) -> Generator[Connection]:
    """One transaction behind an advisory lock of its own, gone with it; no session state outlives it."""

    def session() -> psycopg.Connection[Any]:
        raw = postgres_session(url, autocommit=False)
        raw.prepare_threshold = None
        return raw

    engine = create_engine(
        "postgresql+psycopg://", creator=session, poolclass=NullPool, isolation_level="READ COMMITTED"
    )
    with explained(url), engine.begin() as connection:
        connection.execute(select(func.set_config("lock_timeout", str(LOCK_TIMEOUT_MS), True)))
        name = func.hashtext(func.coalesce(url.schema, func.current_schema(), ""))
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK_CLASS, name)))
        if url.schema:
            if connection.scalar(select(func.to_regnamespace(url.schema))) is None:
                connection.execute(CreateSchema(url.schema))
            connection.execute(select(func.set_config("search_path", url.schema, True)))
        yield connection


def _require_free_names(url: DatabaseUrl, connection: Connection) -> None:
    present = set(inspect(connection).get_table_names(schema=url.schema))
    taken = sorted(present & set(metadata.tables))
    if taken and VERSION_TABLE not in present:
        raise SchemaMismatch(
            f"{url.label} already has tables that are not strataflow's ({', '.join(taken)}); name another "
            "SQLite file, or a Postgres schema of its own with ?schema=NAME"
        )


def _alembic(
    connection: Connection, schema: str | None, verb: Literal["upgrade", "downgrade"], to: str
) -> None:
    """Run alembic, which is loaded here because its import takes a second that almost no process needs."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    location = str(files("strataflow.migrations"))  # "package:folder" breaks under an editable install
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, schema=schema, version_table=VERSION_TABLE)
    with _ALEMBIC:
        getattr(command, verb)(config, to)
