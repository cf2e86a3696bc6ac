"""A running instance at a glance: its top-level nodes, counters of maps, progress that tasks report.

Made to be asked several times a second: it reads the top-level rows by primary key, and none of them again once it has
ended. A fan-out of any width costs one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..engine.catalog import Catalog
from ..engine.errors import NotFound
from ..engine.plan import PlanNode
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.database import Database
from ..repositories.records import TERMINAL_TASK_STATES, InstanceState, TaskRow, TaskState

__all__ = ["LiveView", "NodeProgress", "Snapshot"]

#: Rows of reported progress that one look takes in.
_REPORTS: Final = 200


@dataclass(slots=True, frozen=True)
class NodeProgress:
    """One top-level node."""

    name: str
    #: Verb: `run`, `map`, `set`, `wait`, `do`.
    kind: str
    #: Executor of a `run` node, or of a map's one-node body.
    executor: str | None
    #: None until the node is reached.
    state: TaskState | None = None
    attempt: int = 0
    #: Map: number of items; None until they are known.
    total: int | None = None
    done: int = 0
    failed: int = 0
    skipped: int = 0
    #: 0 to 1, as the attempt reports it; None when it does not.
    fraction: float | None = None
    message: str | None = None
    #: Microseconds since 1970.
    started_at: int | None = None
    ended_at: int | None = None


@dataclass(slots=True, frozen=True)
class Snapshot:
    """One instance as it stands now."""

    id: str
    name: str
    version: int
    state: InstanceState
    #: The database's clock, in microseconds.
    now: int
    created_at: int
    ended_at: int | None
    #: In an order that follows the dependencies.
    nodes: tuple[NodeProgress, ...]


class LiveView:
    """Looks at one instance again and again."""

    def __init__(self, database: Database, catalog: Catalog, instance_id: str) -> None:
        self._database = database
        self._id = instance_id
        with engine_errors(), database.read() as connection:
            view = views.instance(connection, instance_id)
        if view is None:
            raise NotFound(
                f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
            )
        self._nodes = catalog.plan(view.definition_id).root.nodes
        self._ended: dict[str, TaskRow] = {}

    def read(self) -> Snapshot:
        """The instance now."""
        with engine_errors(), self._database.read() as connection:
            # The instance before its nodes: when it has ended, so have they.
            view = views.find_instance(connection, self._id)
            now = views.now(connection)
            open_names = [name for name in self._nodes if name not in self._ended]
            rows = views.task_values(connection, self._id, open_names)
            reports = self._reports(connection, rows)
        self._ended |= {path: row for path, row in rows.items() if row.state in TERMINAL_TASK_STATES}
        found = rows | self._ended
        nodes = tuple(
            _progress(name, node, found.get(name), reports.get(name)) for name, node in self._nodes.items()
        )
        return Snapshot(
            view.id, view.name, view.version, view.state, now, view.created_at, view.ended_at, nodes
        )

    def _reports(self, connection: Any, rows: dict[str, TaskRow]) -> dict[str, tuple[float, str | None]]:
        running = {path for path, row in rows.items() if row.executor and row.state is TaskState.RUNNING}
        if not running:
            return {}
        return {
            report.path: (report.fraction, report.message)
            for report in views.progress(connection, self._id, limit=_REPORTS)
            if report.path in running and report.attempt == rows[report.path].attempt
        }


def _progress(
    name: str, node: PlanNode, row: TaskRow | None, report: tuple[float, str | None] | None
) -> NodeProgress:
    inner = node.body if isinstance(node.body, PlanNode) else None
    executor = node.executor or (inner.executor if inner is not None else None)
    if row is None:
        return NodeProgress(name, node.kind, executor)
    fraction, message = report or (None, None)
    return NodeProgress(
        name=name,
        kind=node.kind,
        executor=executor,
        state=row.state,
        attempt=row.attempt,
        total=row.total if node.kind == "map" else None,
        done=row.done,
        failed=row.failed,
        skipped=row.skipped,
        fraction=fraction,
        message=message,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
