"""One run with everything that belongs to it, out of one database and into another.

Rows travel as they are, by column name; the definition travels with them and is found again by its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from .database import Database
from .definitions import store
from .errors import RepositoryError
from .readmodels import uuid_text
from .records import TERMINAL_INSTANCE_STATES
from .retention import OWNED
from .tables import DEFINITIONS, INSTANCES, KEYS, MESSAGES, metadata

__all__ = ["TransferRefused", "export_rows", "import_rows"]

_PAGE: Final = 1_000
#: Messages are on their way to somebody; keys are claimed anew.
_TRAVELS: Final = [table for table in OWNED if table not in {MESSAGES, KEYS}]
Record = tuple[str, dict[str, Any]]


class TransferRefused(RepositoryError):
    """The run cannot be taken out, or in; the message says why."""


def export_rows(connection: Connection, instance_id: str) -> Iterator[Record]:
    """Give (table, row) for the definition, the run and everything it owns. Raises TransferRefused."""
    known = uuid_text(instance_id)
    run = connection.execute(select(*INSTANCES.columns).where(INSTANCES.c.id == known)).mappings().first()
    if run is None:
        raise TransferRefused(f"there is no instance {instance_id}")
    if run["state"] not in {state.value for state in TERMINAL_INSTANCE_STATES}:
        raise TransferRefused(
            f"instance {instance_id} is {run['state']}: only a run that has ended can be exported"
        )
    definition = select(*DEFINITIONS.columns).where(DEFINITIONS.c.id == run["definition_id"])
    yield "definitions", dict(connection.execute(definition).mappings().one())
    yield "instances", dict(run)
    for table in _TRAVELS:
        order = list(table.primary_key.columns)
        rows = select(*table.columns).where(table.c.instance_id == known).order_by(*order)
        for row in connection.execution_options(yield_per=_PAGE).execute(rows).mappings():
            yield table.name, dict(row)


def import_rows(database: Database, records: Iterable[Record]) -> str:
    """Write a run in one transaction; gives its id. Raises TransferRefused when it is there, or this is no export."""
    stream = iter(records)
    definition, run = _expected(stream, "definitions"), _expected(stream, "instances")
    with database.write() as connection:
        if connection.execute(select(INSTANCES.c.id).where(INSTANCES.c.id == run["id"])).first() is not None:
            raise TransferRefused(f"instance {run['id']} is in this database already")
        stored = store(
            connection,
            id=definition["id"],
            name=definition["name"],
            hash=definition["hash"],
            body=definition["body"],
            now=definition["created_at"],
        )
        connection.execute(insert(INSTANCES), {**run, "definition_id": stored.id, "version": stored.version})
        _write(connection, stream, run["id"])
    return str(run["id"])


def _expected(stream: Iterator[Record], table: str) -> dict[str, Any]:
    name, row = next(stream, ("", dict[str, Any]()))
    if name != table:
        raise TransferRefused(f"this is no export of a run: a row of {table!r} is missing")
    return row


def _write(connection: Connection, stream: Iterator[Record], instance_id: str) -> None:
    """Numbers of journal and log lines stay: they follow the order within a run, which is all they promise."""
    tables = {table.name for table in _TRAVELS}
    page: list[Mapping[str, Any]] = []
    current = ""
    for name, row in stream:
        if name not in tables or row.get("instance_id") != instance_id:
            raise TransferRefused(f"a row of {name!r} does not belong to this run")
        if name != current or len(page) >= _PAGE:
            _insert(connection, current, page)
            page, current = [], name
        page.append(row)
    _insert(connection, current, page)


def _insert(connection: Connection, name: str, rows: list[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(metadata.tables[name]), rows)
