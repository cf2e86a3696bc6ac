"""Tasks as people look at them: where, in which state, what went in, what came out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ..engine.addresses import resolve_path
from ..engine.catalog import Catalog
from ..engine.errors import ExpressionError, NotFound
from ..engine.outputs import OutputReader, iso
from ..engine.payload import decode
from ..engine.plan import Plan
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.database import Database
from ..repositories.readmodels import InstanceView
from ..repositories.records import TaskRow, TaskState
from .inputs_view import InputsView

__all__ = ["TaskView", "TaskViews", "node_name"]

_PAGE: Final = 200
_FEW: Final = 20
_INDEX: Final = re.compile(r"\[\d+\]\Z")


@dataclass(slots=True, frozen=True)
class TaskView:
    """One task: a node made real, or one item of a map."""

    path: str
    node: str
    state: TaskState
    attempt: int
    executor: str | None
    queue: str
    started_at: str | None
    ended_at: str | None
    input: Any
    output: Any
    error: Any

    def as_json(self) -> dict[str, Any]:
        """The object of `strataflow tasks --json`."""
        return {
            "path": self.path,
            "node": self.node,
            "state": self.state.value,
            "attempt": self.attempt,
            "executor": self.executor,
            "queue": self.queue or None,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "input": self.input,
            "output": self.output,
            "error": self.error,
        }


def node_name(path: str) -> str:
    """The name in the definition: `settle[3].charge` gives `charge`, `settle[3]` gives `settle`."""
    return _INDEX.sub("", path).rpartition(".")[2]


def _is_small(row: TaskRow) -> bool:
    """Whether the output is one value of its own, or few."""
    return row.output_ref is None or (row.total is not None and row.total <= _FEW)


class TaskViews:
    """Reads tasks page by page; nothing of an earlier page is kept."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog
        self._outputs = OutputReader(database)

    def of(
        self,
        instance_id: str,
        *,
        state: TaskState | None = None,
        under: str | None = None,
        after: str = "",
        whole: bool = True,
        at_once: int | None = None,
    ) -> Iterator[TaskView]:
        """Nodes and items in path order, behind `after`; the root, which is the instance itself, is left out.

        `under` takes only what is inside this task. Raises NotFound.
        Not `whole` is for a quick look: without inputs, and without outputs that are put together from many rows.
        """
        with self._database.read() as connection:
            instance = views.instance(connection, instance_id)
        if instance is None:
            raise NotFound(
                f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
            )
        plan = self._catalog.plan(instance.definition_id)
        inputs = InputsView(self._database, plan, instance)
        inside = resolve_path(self._database, instance_id, under) if under is not None else None
        size = min(_PAGE, at_once or _PAGE)
        while True:
            with self._database.read() as connection:
                rows = views.tasks(
                    connection, instance_id, state=state, under=inside, limit=size, after=after
                )
            got = inputs.of(rows) if whole else {}
            with self._database.read() as connection:
                page = [
                    self._view(connection, plan, row, got.get(row.path), output=whole or _is_small(row))
                    for row in rows
                ]
            yield from page
            if len(rows) < size:
                return
            after = rows[-1].path

    def one(self, instance: InstanceView, row: TaskRow) -> TaskView:
        """One task of a run, with what it got and what it gave."""
        with engine_errors():
            plan = self._catalog.plan(instance.definition_id)
            got = InputsView(self._database, plan, instance).of([row])
            with self._database.read() as connection:
                return self._view(connection, plan, row, got.get(row.path), output=True)

    def _view(self, connection: Any, plan: Plan, row: TaskRow, got: Any, *, output: bool) -> TaskView:
        error = decode(row.error) if row.error else None
        given: Any = None
        if output and row.state is TaskState.COMPLETED:
            try:
                given = self._outputs.read(connection, plan, row)
            except ExpressionError as exc:
                error = {"code": exc.reason, "message": exc.message}
        return TaskView(
            path=row.path,
            node=node_name(row.path),
            state=row.state,
            attempt=row.attempt,
            executor=row.executor,
            queue=row.queue,
            started_at=iso(row.started_at),
            ended_at=iso(row.ended_at),
            input=got,
            output=given,
            error=error,
        )
