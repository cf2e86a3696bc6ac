"""One run with everything that belongs to it, out of one database and into another.

Rows travel as they are, by column name; the definition travels with them and is found again by its content. Only
`seq` is given anew: numbers of the target's own sequence, in the old order, so that what the run does there follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Connection, Table, insert, select
from sqlalchemy.exc import DataError, IntegrityError

from .database import Database, draw_numbers
from .definitions import store
from .errors import RepositoryError
from .readmodels import uuid_text
from .records import TERMINAL_INSTANCE_STATES, TERMINAL_TASK_STATES
from .retention import OWNED
from .rowcheck import row_problem
from .tables import DEFINITIONS, INSTANCES, KEYS, MESSAGES, TASKS

__all__ = ["DamagedExport", "Numbered", "Record", "TransferRefused", "export_rows", "import_rows"]

_PAGE: Final = 1_000
#: Messages are on their way to somebody; keys are claimed anew.
_TRAVELS: Final = {table.name: table for table in OWNED if table not in {MESSAGES, KEYS}}
_ENDED: Final = frozenset(state.value for state in TERMINAL_INSTANCE_STATES)
_AT_REST: Final = frozenset(state.value for state in TERMINAL_TASK_STATES)
Record = tuple[str, dict[str, Any]]


class Numbered(NamedTuple):
    """A row out of a file."""

    line: int
    table: str
    row: Any


class TransferRefused(RepositoryError):
    """The run cannot be taken out, or in; the message says why."""


class DamagedExport(RepositoryError):
    """This is no export of a run, or not all of it; the message says where."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")


def export_rows(connection: Connection, instance_id: str) -> Iterator[Record]:
    """Give (table, row) for the definition, the run and everything it owns. Raises TransferRefused."""
    known = uuid_text(instance_id)
    one = select(*INSTANCES.columns).where(INSTANCES.c.id == known)
    run = connection.execute(one).mappings().first()
    if run is None:
        raise TransferRefused(f"there is no instance {instance_id}")
    if run["state"] not in _ENDED:
        raise TransferRefused(
            f"instance {instance_id} is {run['state']}: only a run that has ended can be exported"
        )
    definition = select(*DEFINITIONS.columns).where(DEFINITIONS.c.id == run["definition_id"])
    yield "definitions", dict(connection.execute(definition).mappings().one())
    yield "instances", dict(run)
    for table in _TRAVELS.values():
        order = [table.c.seq] if "seq" in table.c else list(table.primary_key.columns)
        rows = select(*table.columns).where(table.c.instance_id == known).order_by(*order)
        for row in connection.execution_options(yield_per=_PAGE).execute(rows).mappings():
            yield table.name, dict(row)
    if connection.execute(one).mappings().first() != run:
        raise TransferRefused(f"instance {instance_id} was taken back or deleted while it was exported")


def import_rows(database: Database, records: Iterable[Numbered]) -> str:
    """Write a run in one transaction; gives its id.

    Raises:
        TransferRefused: the run is in this database already.
        DamagedExport: a row is none of its table, or does not belong to a run that has ended.
    """
    stream = iter(records)
    definition, run = _expected(stream, DEFINITIONS), _expected(stream, INSTANCES)
    head, own = definition.row, run.row
    if own["state"] not in _ENDED:
        raise DamagedExport(run.line, f"the run is {own['state']!r}: only one that has ended is imported")
    if (own["definition_id"], own["name"]) != (head["id"], head["name"]):
        raise DamagedExport(run.line, "the run belongs to another definition than the one before it")
    with database.write() as connection:
        if connection.execute(select(INSTANCES.c.id).where(INSTANCES.c.id == own["id"])).first() is not None:
            raise TransferRefused(f"instance {own['id']} is in this database already")
        names = ("id", "name", "hash", "body")
        stored = store(connection, **{name: head[name] for name in names}, now=head["created_at"])
        _insert(
            connection,
            INSTANCES,
            [run._replace(row={**own, "definition_id": stored.id, "version": stored.version})],
        )
        for table, page in _pages(stream, own["id"]):
            _insert(connection, table, page)
    return str(own["id"])


def _expected(stream: Iterator[Numbered], table: Table) -> Numbered:
    found = next(stream, Numbered(2, "", None))
    if found.table != table.name:
        raise DamagedExport(found.line, f"this is no export of a run: a row of {table.name!r} belongs here")
    _check(found, table)
    return found


def _check(found: Numbered, table: Table) -> None:
    if not isinstance(found.row, dict):
        raise DamagedExport(found.line, f"a row of {table.name!r} is no object")
    problem = row_problem(table, cast("dict[str, Any]", found.row))
    if problem is not None:
        raise DamagedExport(found.line, problem)


def _pages(stream: Iterator[Numbered], instance_id: str) -> Iterator[tuple[Table, list[Numbered]]]:
    """Checked rows, table by table."""
    page, left = list[Numbered](), set[str]()
    for found in stream:
        table = _TRAVELS.get(found.table)
        if table is None or found.table in left:
            raise DamagedExport(found.line, f"a row of {found.table!r} does not belong here")
        _check(found, table)
        _check_owned(found, table, instance_id)
        same = bool(page) and page[-1].table == found.table
        if same and "seq" in table.c:
            _check_order(page[-1], found)
        if page and (not same or len(page) >= _PAGE):
            yield _TRAVELS[page[-1].table], page
            left |= {page[-1].table} - {found.table}
            page = []
        page.append(found)
    if page:
        yield _TRAVELS[page[-1].table], page


def _check_owned(found: Numbered, table: Table, instance_id: str) -> None:
    row = found.row
    if row["instance_id"] != instance_id:
        raise DamagedExport(found.line, f"a row of {table.name!r} belongs to another run")
    if table is TASKS and (row["state"] not in _AT_REST or row["wake_at"] is not None):
        raise DamagedExport(found.line, f"task {row['path']!r} is {row['state']!r} in a run that has ended")


def _check_order(before: Numbered, found: Numbered) -> None:
    if found.row["seq"] == before.row["seq"]:
        raise DamagedExport(found.line, f"the row of line {before.line} is here again")
    if found.row["seq"] < before.row["seq"]:
        raise DamagedExport(found.line, f"a row of {found.table!r} is out of order")


def _insert(connection: Connection, table: Table, page: list[Numbered]) -> None:
    if "seq" in table.c:
        numbers = draw_numbers(connection, len(page))
        page = [
            found._replace(row={**found.row, "seq": number})
            for found, number in zip(page, numbers, strict=True)
        ]
    try:
        with connection.begin_nested():
            connection.execute(insert(table), [found.row for found in page])
    except (IntegrityError, DataError):
        _blame(connection, table, page)
        raise


def _blame(connection: Connection, table: Table, page: list[Numbered]) -> None:
    """Find the row of a page that the database refuses."""
    for found in page:
        same = [column == found.row[column.name] for column in table.primary_key.columns]
        try:
            twice = connection.execute(select(*table.primary_key.columns).where(*same)).first() is not None
            if not twice:
                connection.execute(insert(table), found.row)
        except (IntegrityError, DataError) as exc:
            told = " ".join(str(exc.orig).split())
            raise DamagedExport(
                found.line, f"the database refuses this row of {table.name!r}: {told}"
            ) from exc
        if twice:
            raise DamagedExport(found.line, f"this row of {table.name!r} is in the file twice")
