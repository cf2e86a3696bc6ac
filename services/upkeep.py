"""Runs that have ended: taken out as a file, put into another database, deleted by age."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from ..engine.errors import Conflict, EngineError, NotFound
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.records import TERMINAL_INSTANCE_STATES, InstanceState
from ..repositories.retention import RETENTION_BATCH, delete_ended, delete_instance
from ..repositories.transfer import TransferRefused, export_rows, import_rows

if TYPE_CHECKING:
    from ..repositories.database import Database

__all__ = ["Upkeep"]

#: First line of an export: what it is, and how it is to be read.
_HEAD: Final = {"strataflow": "run", "form": 1}


class Upkeep:
    """Export, import and deletion on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def export(self, instance_id: str, out: TextIO) -> int:
        """Write a run that has ended, as JSON lines; gives how many rows. Raises NotFound, Conflict."""
        rows = 0
        with engine_errors(), self._database.read() as connection:
            try:
                for table, row in export_rows(connection, instance_id):
                    if not rows:
                        out.write(_line(_HEAD))
                    out.write(_line([table, row]))
                    rows += 1
            except TransferRefused as exc:
                raise Conflict(f"{exc}.", hint="Wait for its end, or cancel it.") from exc
        return rows

    def load(self, source: Iterable[str]) -> str:
        """Read a run that `export` wrote; gives its id. Raises Conflict when it is there already."""
        lines = iter(source)
        if _parsed(next(lines, "")) != _HEAD:
            raise EngineError("this is no export of a run.", hint="`strataflow export ID` writes one.")
        with engine_errors():
            try:
                return import_rows(self._database, _records(lines))
            except TransferRefused as exc:
                raise Conflict(f"{exc}.") from exc

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
            raise EngineError(f"a run that is {live[0]} has not ended, and is not deleted.")
        while True:
            with engine_errors():
                gone = delete_ended(self._database, states=wanted, ended_before=before, name=name)
            yield gone
            if gone < RETENTION_BATCH:
                return


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as exc:
        raise EngineError(f"a line of the export is not JSON: {exc}.") from exc


def _records(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in lines:
        record = _parsed(line)
        if not isinstance(record, list) or len(cast("list[Any]", record)) != 2:
            raise EngineError("a line of the export holds no row.")
        table, row = cast("list[Any]", record)
        yield str(table), cast("dict[str, Any]", row)
