"""Facts about a database that decide whether it can be relied on; what they mean is said in `services/doctor.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Text, column, delete, func, select, table

from .tables import PROGRESS

__all__ = ["PostgresFacts", "SqliteFacts", "postgres_facts", "probe_write", "sqlite_facts"]

_NOBODY: Final = "00000000-0000-0000-0000-000000000000"
_SETTINGS: Final = (
    "fsync",
    "full_page_writes",
    "max_connections",
    "server_version",
    "server_version_num",
    "synchronous_commit",
)


@dataclass(frozen=True, slots=True)
class SqliteFacts:
    """A SQLite file and the library that opens it."""

    version: str
    journal_mode: str


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """A Postgres server as this role sees it."""

    settings: dict[str, str]
    #: Connections of every database of the server.
    connections: int
    in_recovery: bool


def probe_write(connection: Connection) -> None:
    """Do what every write does, and change nothing: take the lock, need the privilege."""
    connection.execute(delete(PROGRESS).where(PROGRESS.c.instance_id == _NOBODY))


def sqlite_facts(connection: Connection) -> SqliteFacts:
    """Ask the library and the file."""
    version: Any = connection.execute(select(func.sqlite_version())).scalar_one()
    mode: Any = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    return SqliteFacts(str(version), str(mode))


def postgres_facts(connection: Connection) -> PostgresFacts:
    """Ask the server."""
    name, setting = column("name", Text()), column("setting", Text())
    wanted = select(name, setting).select_from(table("pg_settings", name, setting)).where(name.in_(_SETTINGS))
    settings = {row.name: row.setting for row in connection.execute(wanted)}
    activity = table("pg_stat_activity", column("pid"))
    connections: Any = connection.execute(select(func.count()).select_from(activity)).scalar_one()
    recovery: Any = connection.execute(select(func.pg_is_in_recovery())).scalar_one()
    return PostgresFacts(settings, int(connections), bool(recovery))
