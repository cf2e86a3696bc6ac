"""Tasks across runs, and one task with everything that is known of it; for APIs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..engine.addresses import resolve_path
from ..engine.errors import Conflict, NotFound
from ..engine.outputs import iso
from ..engine.payload import decode
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.records import TERMINAL_TASK_STATES
from ..repositories.recordviews import progress_of
from ..repositories.taskviews import ListedTask, TaskFilter, attempts, listed_tasks
from .operations import Operations
from .queue_purge import is_alone
from .task_view import TaskView, TaskViews, node_name

if TYPE_CHECKING:
    from ..engine.catalog import Catalog
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.database import Database
    from ..repositories.readmodels import InstanceView

__all__ = ["ListedTask", "TaskDetail", "TaskFilter", "TaskPages", "task_json"]


def task_json(each: ListedTask) -> dict[str, Any]:
    """A task of a list, without what went in and came out."""
    row = each.row
    return {
        "instance": row.instance_id,
        "definition": each.name,
        "version": each.version,
        "instance_state": each.instance_state.value,
        "path": row.path,
        "node": node_name(row.path),
        "state": row.state.value,
        "attempt": row.attempt,
        "executor": row.executor,
        "queue": row.queue or None,
        "priority": row.priority,
        "ready_at": iso(row.ready_at),
        "wake_at": iso(row.wake_at),
        "blocked_on": row.blocked_on,
        "engine": row.engine,
        "started_at": iso(row.started_at),
        "ended_at": iso(row.ended_at),
        "error": decode(row.error) if row.error else None,
    }


@dataclass(slots=True, frozen=True)
class TaskDetail:
    """One task and its course."""

    instance_id: str
    definition: str
    version: int
    task: TaskView
    priority: int
    #: Failed attempts that count against `retry.max`, and those whose engine died.
    failures: int
    crashes: int
    engine: str | None
    attempts: tuple[dict[str, Any], ...]
    #: 0 to 1 with what was said of it; None when nothing was reported.
    progress: dict[str, Any] | None
    #: What it saved for its next attempt; None when nothing was.
    checkpoint: dict[str, Any] | None

    @property
    def ended(self) -> bool:
        """Has it come to its end, however?"""
        return self.task.state in TERMINAL_TASK_STATES

    def as_json(self) -> dict[str, Any]:
        """As the API gives it."""
        return {
            "instance": self.instance_id,
            "definition": self.definition,
            "version": self.version,
            **self.task.as_json(),
            "priority": self.priority,
            "failures": self.failures,
            "crashes": self.crashes,
            "engine": self.engine,
            "attempts": list(self.attempts),
            "progress": self.progress,
            "checkpoint": self.checkpoint,
        }


class TaskPages:
    """The tasks of one database. Without an engine it only reads."""

    def __init__(self, database: Database, catalog: Catalog, engine: WorkflowEngine | None = None) -> None:
        self._database = database
        self._catalog = catalog
        self._engine = engine

    def page(
        self, where: TaskFilter, *, limit: int = 100, after: tuple[int, str, str] | None = None
    ) -> tuple[list[ListedTask], tuple[int, str, str] | None]:
        """A page of tasks that fit, those of the newest run first, and the `after` of the next; None at the end.

        Of very many runs without such a task a page may be short, or empty, though there is a next one.
        """
        with engine_errors(), self._database.read() as connection:
            return listed_tasks(connection, where, limit=limit, after=after)

    def get(self, instance_id: str, path: str) -> TaskDetail:
        """One task; `path` may name an item by its key. Raises NotFound."""
        run, place = self._run(instance_id), resolve_path(self._database, instance_id, path)
        with engine_errors(), self._database.read() as connection:
            row = views.task(connection, run.id, place)
        if row is None or not place:
            raise _unknown(run.id, path)
        view = TaskViews(self._database, self._catalog).one(run, row)
        with engine_errors(), self._database.read() as connection:
            course = attempts(connection, run.id, place)
            told = progress_of(connection, run.id, place)
            saved = views.checkpoint(connection, run.id, place)
        return TaskDetail(
            instance_id=run.id,
            definition=run.name,
            version=run.version,
            task=view,
            priority=row.priority,
            failures=row.failures,
            crashes=row.crashes,
            engine=row.engine,
            attempts=tuple(
                {**asdict(each), "started_at": iso(each.started_at), "ended_at": iso(each.ended_at)}
                for each in course
            ),
            progress=None
            if told is None
            else {
                "attempt": told.attempt,
                "at": iso(told.at),
                "fraction": told.fraction,
                "message": told.message,
            },
            checkpoint=None
            if saved is None
            else {"attempt": saved.attempt, "at": iso(saved.at), "value": decode(saved.value)},
        )

    def has_ended(self, instance_id: str, path: str) -> bool:
        """Has the task come to its end? Raises NotFound."""
        place = resolve_path(self._database, instance_id, path)
        with engine_errors(), self._database.read() as connection:
            row = views.task(connection, instance_id, place)
        if row is None:
            raise _unknown(instance_id, path)
        return row.state in TERMINAL_TASK_STATES

    def cancel(self, instance_id: str, path: str, reason: str, grace_s: float | None = None) -> str:
        """Cancel a task by cancelling its run, queued or running. Raises NotFound, and Conflict when the run has more.

        Taking one task out of a larger run is a decision about the run: its other tasks may wait for it.
        """
        run, engine = self._run(instance_id), self._engine
        if not self._is_there(run.id, resolve_path(self._database, run.id, path)):
            raise _unknown(run.id, path)
        if not is_alone(self._catalog, run.definition_id):
            raise Conflict(
                f"{path} is one of several tasks of instance {run.id}.",
                hint="Cancel the whole instance; a task that fails is retried by `retry`.",
            )
        if engine is None:
            raise Conflict("this process has no engine.")
        return Operations(engine).cancel(run.id, reason, grace_s)

    def _is_there(self, instance_id: str, path: str) -> bool:
        with engine_errors(), self._database.read() as connection:
            return bool(path) and views.task(connection, instance_id, path) is not None

    def _run(self, instance_id: str) -> InstanceView:
        with engine_errors(), self._database.read() as connection:
            found = views.instance(connection, instance_id)
        if found is None:
            raise NotFound(
                f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
            )
        return found


def _unknown(instance_id: str, path: str) -> NotFound:
    return NotFound(
        f"instance {instance_id} has no task {path!r}, or it has not been reached yet.",
        hint="`strataflow tasks` lists what there is.",
    )
