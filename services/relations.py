"""What belongs to many things at once: a page for each of them, read together.

The methods take a list of owners and give an answer for each, in the same order, so that whoever puts relations
together (the GraphQL interface) asks once for a whole list. Nothing here is cached.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.errors import ExpressionError
from ..engine.feed import Event
from ..engine.outputs import OutputReader
from ..engine.payload import decode
from ..engine.translate import engine_errors
from ..repositories import relations
from ..repositories.filters import InstanceFilter
from ..repositories.records import InstanceState, TaskRow, TaskState
from .inputs_view import InputsView

if TYPE_CHECKING:
    from ..engine.catalog import Catalog
    from ..repositories.database import Database
    from ..repositories.definitions import StoredDefinition
    from ..repositories.readmodels import HistoryRow, InstanceSummary, LogEntry
    from ..repositories.schedule_rows import FiringRow

__all__ = ["Relations", "Values"]

Key = TypeVar("Key")
Row = TypeVar("Row")


@dataclass(slots=True, frozen=True)
class Values:
    """What a run or a task got, what it gave, and why it gave nothing."""

    input: Any
    output: Any
    error: Any


class Relations:
    """Reads on one database; `between` is called before each statement's turn and may raise to give up."""

    def __init__(
        self, database: Database, catalog: Catalog, between: Callable[[], None] = lambda: None
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._between = between
        self._outputs = OutputReader(database)

    # --- definitions

    def names(self, *, after: str | None, limit: int) -> list[str]:
        """Names that have a version, in order."""
        return self._read(lambda connection: relations.definition_names(connection, after=after, limit=limit))

    def definitions(self, ids: Sequence[str]) -> list[StoredDefinition | None]:
        """The versions with these ids."""
        found = self._read(lambda connection: relations.definitions_of(connection, ids))
        return [found.get(each) for each in ids]

    def versions(self, names: Sequence[str], limit: int, below: int | None) -> list[list[StoredDefinition]]:
        """Versions of each of these names, the newest first."""
        return self._read(
            lambda connection: relations.definition_pages(connection, names, limit=limit, below=below)
        )

    def chosen(self, names: Sequence[str], active: bool) -> list[StoredDefinition | None]:  # noqa: FBT001 - a batch's
        """The active version of each of these names, or the newest."""
        found = self._read(lambda connection: relations.named_versions(connection, names, active=active))
        return [found.get(each) for each in names]

    def documents(self, ids: Sequence[str]) -> list[Any]:
        """The documents of the versions with these ids; none where there is no such version."""
        found = self._read(lambda connection: relations.bodies_of(connection, ids))
        return [json.loads(found[each]) if each in found else None for each in ids]

    # --- runs

    def instances(self, ids: Sequence[str]) -> list[InstanceSummary | None]:
        """The runs with these ids."""
        found = self._read(lambda connection: relations.instances_of(connection, ids))
        return [found.get(each) for each in ids]

    def instance_pages(
        self,
        wheres: Sequence[InstanceFilter],
        limit: int,
        after: tuple[int, str] | None,
        oldest_first: bool,  # noqa: FBT001 - a batch's argument
    ) -> list[list[InstanceSummary]]:
        """Runs that each of these filters takes."""
        return self._read(
            lambda connection: relations.instance_pages(
                connection, wheres, limit=limit, after=after, oldest_first=oldest_first
            )
        )

    def runs(
        self,
        keys: Sequence[tuple[str, int | None]],
        limit: int,
        after: tuple[int, str] | None,
        states: frozenset[InstanceState],
        oldest_first: bool,  # noqa: FBT001 - a batch's argument
    ) -> list[list[InstanceSummary]]:
        """Runs of each of these definitions: of one version, or of all."""
        wheres = [InstanceFilter(name=name, version=version, states=states) for name, version in keys]
        return self.instance_pages(wheres, limit, after, oldest_first)

    def children(
        self, ids: Sequence[str], limit: int, after: tuple[int, str] | None
    ) -> list[list[InstanceSummary]]:
        """Runs that each of these runs has started, oldest first."""
        wheres = [InstanceFilter(parent_id=each) for each in ids]
        return self.instance_pages(wheres, limit, after, True)

    def instance_values(self, ids: Sequence[str]) -> list[Values | None]:
        """Inputs and results of these runs. An output that is put together from rows takes statements of its own."""
        views = self._read(lambda connection: relations.views_of(connection, ids))
        roots = self._read(lambda connection: relations.root_tasks(connection, list(views)))
        refs = [(view.id, view.inputs_ref) for view in views.values() if view.inputs_ref]
        texts = self._read(lambda connection: relations.blobs_of(connection, refs)) if refs else {}
        given = self._outputs_of([*roots.values()], {each.id: each.definition_id for each in views.values()})
        found: list[Values | None] = []
        for instance_id in ids:
            view = views.get(instance_id)
            if view is None:
                found.append(None)
                continue
            text = texts.get((view.id, view.inputs_ref)) if view.inputs_ref else view.inputs
            output, refused = given.get((view.id, ""), (None, None))
            error = refused or (decode(view.error) if view.error else None)
            found.append(Values(decode(text) if text is not None else None, output, error))
        return found

    # --- tasks

    def task_pages(
        self, ids: Sequence[str], limit: int, after: str, state: TaskState | None
    ) -> list[list[TaskRow]]:
        """Tasks of each of these runs in path order."""
        return self._read(
            lambda connection: relations.task_pages(connection, ids, limit=limit, after=after, state=state)
        )

    def tasks(self, keys: Sequence[tuple[str, str]]) -> list[TaskRow | None]:
        """The tasks with these runs and paths."""
        found = self._read(lambda connection: relations.tasks_of(connection, keys))
        return [found.get(each) for each in keys]

    def task_inputs(self, keys: Sequence[tuple[str, str]]) -> list[Any]:
        """What the last attempts of these tasks got: some statements for each run that they are of."""
        rows = self._rows(keys)
        owners = self._read(
            lambda connection: relations.views_of(connection, {row.instance_id for row in rows})
        )
        found: dict[tuple[str, str], Any] = {}
        for owner in owners.values():
            self._between()
            own = [row for row in rows if row.instance_id == owner.id]
            with engine_errors():
                got = InputsView(self._database, self._catalog.plan(owner.definition_id), owner).of(own)
            found.update({(owner.id, path): value for path, value in got.items()})
        return [found.get(each) for each in keys]

    def task_outputs(self, keys: Sequence[tuple[str, str]]) -> list[Values]:
        """What these tasks gave, or why they gave nothing."""
        rows = self._rows(keys)
        owners = self._read(
            lambda connection: relations.instances_of(connection, {row.instance_id for row in rows})
        )
        given = self._outputs_of(rows, {each.id: each.definition_id for each in owners.values()})
        by_key = {(row.instance_id, row.path): row for row in rows}
        found: list[Values] = []
        for key in keys:
            row = by_key.get(key)
            output, refused = given.get(key, (None, None))
            found.append(Values(None, output, refused or (decode(row.error) if row and row.error else None)))
        return found

    def _rows(self, keys: Sequence[tuple[str, str]]) -> list[TaskRow]:
        return list(self._read(lambda connection: relations.tasks_of(connection, keys)).values())

    def _outputs_of(
        self, rows: Sequence[TaskRow], definitions: dict[str, str]
    ) -> dict[tuple[str, str], tuple[Any, Any]]:
        """Output and error of the completed ones; large values of all of them are read at once."""
        done = [row for row in rows if row.state is TaskState.COMPLETED and row.instance_id in definitions]
        refs = [
            (row.instance_id, row.output_ref)
            for row in done
            if row.output_ref and not row.output_ref.startswith("@")
        ]
        texts = self._read(lambda connection: relations.blobs_of(connection, refs)) if refs else {}
        found: dict[tuple[str, str], tuple[Any, Any]] = {}
        for row in done:
            text = texts.get((row.instance_id, row.output_ref or ""))
            key = (row.instance_id, row.path)
            if text is not None:
                found[key] = decode(text), None
            elif row.output_ref is None:
                found[key] = (decode(row.output) if row.output is not None else None), None
            else:
                found[key] = self._composed(row, definitions[row.instance_id])
        return found

    def _composed(self, row: TaskRow, definition_id: str) -> tuple[Any, Any]:
        self._between()
        with engine_errors():
            plan = self._catalog.plan(definition_id)
            with self._database.read() as connection:
                try:
                    return self._outputs.read(connection, plan, row), None
                except ExpressionError as exc:
                    return None, {"code": exc.reason, "message": exc.message}

    # --- what they keep

    def history(self, ids: Sequence[str], limit: int, after: int) -> list[list[HistoryRow]]:
        """Transitions of each of these runs, oldest first."""
        return self._read(
            lambda connection: relations.history_pages(connection, ids, limit=limit, after=after)
        )

    def logs(self, ids: Sequence[str], limit: int, after: int, level: str | None) -> list[list[LogEntry]]:
        """Log lines of each of these runs, oldest first."""
        return self._read(
            lambda connection: relations.log_pages(connection, ids, limit=limit, after=after, level=level)
        )

    def task_history(self, keys: Sequence[tuple[str, str]], limit: int, after: int) -> list[list[HistoryRow]]:
        """Transitions of each of these tasks, oldest first."""
        return self._read(
            lambda connection: relations.task_history_pages(connection, keys, limit=limit, after=after)
        )

    def task_logs(
        self, keys: Sequence[tuple[str, str]], limit: int, after: int, level: str | None
    ) -> list[list[LogEntry]]:
        """Log lines of each of these tasks, oldest first."""
        return self._read(
            lambda connection: relations.task_log_pages(
                connection, keys, limit=limit, after=after, level=level
            )
        )

    def events(self, ids: Sequence[str], limit: int, after: int) -> list[list[Event]]:
        """Events of each of these runs, in order. Of one run nothing can appear behind a later number."""
        owners = self._read(lambda connection: relations.instances_of(connection, ids))
        moves = self._read(
            lambda connection: relations.history_pages(connection, ids, limit=limit, after=after, root=False)
        )
        said = self._read(
            lambda connection: relations.log_pages(connection, ids, limit=limit, after=after, progress=True)
        )
        found: list[list[Event]] = []
        for instance_id, some, lines in zip(ids, moves, said, strict=True):
            name = owners[instance_id].name if instance_id in owners else None
            first = (_moved(row, name) for row in some)
            both = merge(first, (_progressed(line, name) for line in lines), key=lambda event: event.seq)
            found.append(list(both)[:limit])
        return found

    def firings(self, schedule_ids: Sequence[str], limit: int, before: int | None) -> list[list[FiringRow]]:
        """What became of the instants of each of these schedules, newest first."""
        return self._read(
            lambda connection: relations.firing_pages(connection, schedule_ids, limit=limit, before=before)
        )

    def _read(self, look: Callable[[Any], Row]) -> Row:
        self._between()
        with engine_errors(), self._database.read() as connection:
            return look(connection)


def _moved(row: HistoryRow, name: str | None) -> Event:
    kind = "instance" if row.path is None else "task"
    return Event(
        row.seq,
        f"{kind}.{row.to_state}",
        row.at,
        row.instance_id,
        name,
        path=row.path,
        attempt=row.attempt,
        from_state=row.from_state,
        state=row.to_state,
        reason=row.reason,
        engine=row.engine,
    )


def _progressed(line: LogEntry, name: str | None) -> Event:
    fraction, message = decode(line.message)
    data = {"fraction": fraction, "message": message}
    return Event(
        line.seq,
        "task.progress",
        line.at,
        line.instance_id,
        name,
        path=line.path,
        attempt=line.attempt,
        state="running",
        data=data,
    )
