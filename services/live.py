"""A running instance at a glance: its top-level nodes, counters of maps, progress that tasks report.

Made to be asked several times a second: it reads the top-level rows by primary key, and none of them again once it has
ended. A fan-out of any width costs one row; of a definition with many nodes a few are read, and all are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..engine.catalog import Catalog
from ..engine.errors import NotFound
from ..engine.plan import PlanNode
from ..engine.rows import VARS
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.database import Database
from ..repositories.records import TERMINAL_TASK_STATES, InstanceState, TaskRow, TaskState
from ..repositories.scopeviews import scope_counts

__all__ = ["LiveView", "NodeProgress", "Snapshot"]

#: Rows of reported progress that one look takes in.
_REPORTS: Final = 200
#: Up to so many nodes are shown all; of more these few in each of these states, beside the count of every state.
_SMALL: Final = 200
_FEW: Final = 20
_TELLING: Final = (
    TaskState.FAILED,
    TaskState.RUNNING,
    TaskState.RETRYING,
    TaskState.WAITING,
    TaskState.QUEUED,
    TaskState.COMPLETED,
)


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
    #: Name of the signal it waits for.
    signal: str | None = None


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
    #: In an order that follows the dependencies; of a large definition only some.
    nodes: tuple[NodeProgress, ...]
    #: How many nodes there are in each state; None = not reached yet.
    counts: Mapping[TaskState | None, int]


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
            large = len(self._nodes) > _SMALL
            rows = self._some(connection) if large else self._all(connection)
            reports = self._reports(connection, rows)
            counts = (
                scope_counts(connection, self._id, "") if large else Counter(r.state for r in rows.values())
            )
        nodes = tuple(
            _progress(name, node, rows.get(name), reports.get(name))
            for name, node in self._nodes.items()
            if not large or name in rows
        )
        return Snapshot(
            view.id,
            view.name,
            view.version,
            view.state,
            now,
            view.created_at,
            view.ended_at,
            nodes,
            {**counts, None: len(self._nodes) - sum(counts.values())},
        )

    def _all(self, connection: Any) -> dict[str, TaskRow]:
        """Every node; those that have ended are not read again."""
        rows = views.task_values(
            connection, self._id, [name for name in self._nodes if name not in self._ended]
        )
        self._ended |= {path: row for path, row in rows.items() if row.state in TERMINAL_TASK_STATES}
        return rows | self._ended

    def _some(self, connection: Any) -> dict[str, TaskRow]:
        """Of many nodes a few in each state that one wants to see."""
        pages = (views.tasks(connection, self._id, state=state, scope="", limit=_FEW) for state in _TELLING)
        return {row.path: row for page in pages for row in page}

    def _reports(self, connection: Any, rows: dict[str, TaskRow]) -> dict[str, tuple[float, str | None]]:
        running = {path: row.attempt for path, row in rows.items() if _is_executed(row)}
        if not running:
            return {}
        return {
            report.path: (report.fraction, report.message)
            for report in views.progress(connection, self._id, limit=_REPORTS)
            if running.get(report.path) == report.attempt
        }


def _is_executed(row: TaskRow) -> bool:
    return row.state is TaskState.RUNNING and row.executor is not None


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
        signal=row.awaits if row.awaits != VARS else None,
    )
