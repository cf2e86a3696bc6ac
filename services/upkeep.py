"""Runs that have ended: taken out as a file, put into another database, deleted by age."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from ..engine.compiler import compile_definition
from ..engine.errors import Conflict, DefinitionError, NotFound, RequestError
from ..engine.parser import content_hash
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.records import TERMINAL_INSTANCE_STATES, InstanceState
from ..repositories.retention import RETENTION_BATCH, delete_ended, delete_instance
from ..repositories.transfer import DamagedExport, Numbered, TransferRefused, export_rows, import_rows
from .documents import check_document
from .log_retention import purge_logs

if TYPE_CHECKING:
    from ..executors.registry import ExecutorRegistry
    from ..repositories.database import Database

__all__ = ["Upkeep"]

#: First line of an export: what it is, and how it is to be read. The last one says how many rows of each kind it has.
_HEAD: Final = {"strataflow": "run", "form": 1}
_TRAILER: Final = "end"
_AGAIN: Final = "Nothing was written. Export the run again: `strataflow export ID --to FILE`."


class Upkeep:
    """Export, import and deletion on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def export(self, instance_id: str, out: TextIO) -> int:
        """Write a run that has ended, as JSON lines; gives how many rows. Raises NotFound, Conflict."""
        rows = Counter[str]()
        with engine_errors(), self._database.read() as connection:
            try:
                for table, row in export_rows(connection, instance_id):
                    if not rows:
                        out.write(_line(_HEAD))
                    out.write(_line([table, row]))
                    rows[table] += 1
            except TransferRefused as exc:
                raise Conflict(f"{exc}.", hint="Wait for its end, or cancel it.") from exc
        out.write(_line({_TRAILER: rows}))
        return rows.total()

    def load(self, source: Iterable[str], *, registry: ExecutorRegistry | None = None) -> str:
        """Read a run that `export` wrote; gives its id. Raises Conflict when it is there already.

        With `registry` its definition has to be one that this process would store: DefinitionError otherwise.
        """
        lines = iter(source)
        with engine_errors():
            try:
                if not _is_head(next(lines, "")):
                    raise RequestError(
                        "this is no export of a run.", hint="`strataflow export ID` writes one."
                    )
                return import_rows(self._database, _definition_first(_records(lines), registry))
            except TransferRefused as exc:
                raise Conflict(f"{exc}.") from exc
            except DamagedExport as exc:
                raise RequestError(f"{exc}.", hint=_AGAIN) from exc
            except UnicodeDecodeError as exc:
                raise RequestError("this is no export of a run: it is not UTF-8 text.", hint=_AGAIN) from exc

    def delete(self, instance_id: str) -> None:
        """Delete one run that has ended. Raises NotFound, Conflict."""
        with engine_errors():
            if delete_instance(self._database, instance_id):
                return
            with self._database.read() as connection:
                state = views.state_of(connection, instance_id)
        if state is None:
            raise NotFound(
                f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
            )
        raise Conflict(f"instance {instance_id} is {state}.", hint="Cancel or terminate it first.")

    def purge(
        self, older_s: float, *, states: Iterable[InstanceState] = (), name: str | None = None
    ) -> Iterator[int]:
        """Delete runs that ended longer ago than this, batch by batch; gives how many each batch deleted."""
        before = int((time.time() - older_s) * 1_000_000)
        wanted = frozenset(states) or TERMINAL_INSTANCE_STATES
        live = [state for state in wanted if state not in TERMINAL_INSTANCE_STATES]
        if live:
            raise RequestError(f"a run that is {live[0]} has not ended, and is not deleted.")
        while True:
            with engine_errors():
                gone = delete_ended(self._database, states=wanted, ended_before=before, name=name)
            yield gone
            if gone < RETENTION_BATCH:
                return

    def purge_logs(
        self, older_s: float, *, states: Collection[InstanceState] = (), name: str | None = None
    ) -> Iterator[int]:
        """Delete log lines written longer ago than this, of live runs too; gives how many each batch deleted."""
        return purge_logs(self._database, older_s, states=states, name=name)


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


def _is_head(line: str) -> bool:
    try:
        return json.loads(line) == _HEAD
    except (ValueError, RecursionError):
        return False


def _parsed(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise DamagedExport(number, f"this is not JSON: {exc}") from exc


def _records(lines: Iterable[str]) -> Iterator[Numbered]:
    """The rows between the first line and the last. Raises DamagedExport when the last is missing or disagrees."""
    found, number, ended = Counter[str](), 1, False
    for number, line in enumerate(lines, 2):
        if ended:
            raise DamagedExport(number, "something follows the end of the export")
        record = _parsed(number, line)
        if isinstance(record, dict) and _TRAILER in record:
            _compare(number, cast("dict[str, Any]", record)[_TRAILER], found)
            ended = True
            continue
        if not isinstance(record, list) or len(cast("list[Any]", record)) != 2:
            raise DamagedExport(number, "this is no row")
        table, row = cast("list[Any]", record)
        if not isinstance(table, str):
            raise DamagedExport(number, "this is no row: it names no table")
        found[table] += 1
        yield Numbered(number, table, row)
    if not ended:
        raise DamagedExport(number + 1, "the file ends before the export does; it was cut off")


def _compare(number: int, counts: Any, found: Counter[str]) -> None:
    if counts == dict(found):
        return
    told = cast("dict[str, Any]", counts) if isinstance(counts, dict) else {}
    names = sorted({*told, *found})
    differ = [
        f"{found[name]} of {told.get(name, 0)} {name}" for name in names if found[name] != told.get(name, 0)
    ]
    raise DamagedExport(number, f"rows are missing, or are too many: {', '.join(differ) or 'no counts'}")


def _definition_first(records: Iterator[Numbered], registry: ExecutorRegistry | None) -> Iterator[Numbered]:
    """Let the rows pass when the first is a definition that this release can read, and has the hash it says."""
    first = next(records, None)
    if first is not None:
        if first.table == "definitions" and isinstance(first.row, dict):
            _check_definition(first.line, cast("dict[str, Any]", first.row), registry)
        yield first
    yield from records


def _check_definition(line: int, row: dict[str, Any], registry: ExecutorRegistry | None) -> None:
    body = row.get("body")
    if not isinstance(body, str):
        return  # refused as a row
    try:
        if content_hash(body) != row.get("hash"):
            raise DamagedExport(line, "the definition is not the one that its hash names")
        definition, _, _ = compile_definition(body)
    except (DefinitionError, UnicodeEncodeError) as exc:
        told = exc.problems[0] if isinstance(exc, DefinitionError) else exc
        raise DamagedExport(line, f"the definition is not valid here: {told}") from exc
    if registry is not None:
        checked = check_document(body.encode(), registry)
        if not checked.valid:
            raise DefinitionError(checked.problems, name=checked.name)
    if definition.name != row.get("name"):
        raise DamagedExport(line, f"the definition's own name is {definition.name!r}")
