"""Reading tasks: one by its id, pages by their state, counts. Everything comes from the database at every call."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...engine.errors import NotFound, TaskFailure
from ...engine.payload import decode
from ...engine.status import WorkflowStatus
from ...engine.translate import engine_errors
from ...repositories import task_reports, views
from ...repositories.records import (
    ACTIVE_INSTANCE_STATES,
    TERMINAL_INSTANCE_STATES,
    EngineRole,
    InstanceState,
)
from ...repositories.records import TaskState as NodeState
from ...repositories.retention import RETENTION_BATCH, delete_ended
from ...repositories.scopeviews import scope_counts
from ...repositories.task_reports import Counted, TaskFacts
from ..execution_service import ExecutionService
from .definitions import NODE, PREFIX, Described, TaskDefinitions, result_in
from .handlers import executor_of
from .states import EXPIRED_CODE, TaskState, state_of_task
from .values import Progress, QueueDepth, TaskStatistics, Workers

if TYPE_CHECKING:
    from ...engine.workflow_engine import WorkflowEngine

__all__ = ["TaskReader", "Watch", "unknown_task"]

#: How long a thread that waits asks for itself: what ends here within that time is told without delay.
_ALONE_S: Final = 0.25


class Watch(Protocol):
    """Calls back when a task has ended; see `Watcher.watch`."""

    def __call__(
        self,
        task_id: str,
        callback: Callable[[], None],
        dropped: Callable[[], None] | None = None,
        *,
        quick: bool = False,
    ) -> Callable[[], None]:
        """The answer takes the wish back."""
        ...


_TRACEBACK: Final = "Traceback "
_WAITING: Final = (
    NodeState.PENDING,
    NodeState.QUEUED,
    NodeState.BLOCKED,
    NodeState.PAUSED,
    NodeState.RETRYING,
)
_WORKING: Final = (NodeState.RUNNING, NodeState.WAITING)


@dataclass(slots=True, frozen=True)
class Finished:
    """A run that has ended."""

    completed: bool
    result: Any = None


class TaskReader:
    """Looks at tasks through whatever engine is running."""

    def __init__(
        self, engine: Callable[[], WorkflowEngine], definitions: TaskDefinitions | None = None
    ) -> None:
        self._engine = engine
        self._definitions = definitions or TaskDefinitions()

    # --- one task

    def facts(self, task_id: str) -> TaskFacts:
        """The run and its node. Raises NotFound."""
        with engine_errors(), self._engine().database.read() as connection:
            found = task_reports.facts(connection, task_id, NODE)
        if found is None or not found.name.startswith(PREFIX):
            raise unknown_task(task_id)
        return found

    def described(self, definition_id: str) -> Described:
        """What the definition of a task says."""
        return self._definitions.described(self._engine(), definition_id)

    def status(self, task_id: str) -> WorkflowStatus:
        """The run behind a task. Raises NotFound."""
        engine = self._engine()
        return ExecutionService(engine.database, engine.parts.catalog, engine).status(task_id)

    def outcome(self, task_id: str) -> Finished | None:
        """How the run has ended, and what its result is; None while it has not. Raises NotFound."""
        with engine_errors(), self._engine().database.read() as connection:
            found = task_reports.outcome(connection, task_id, NODE)
        if found is None:
            raise unknown_task(task_id)
        if found.state not in TERMINAL_INSTANCE_STATES:
            return None
        if found.state is not InstanceState.COMPLETED:
            return Finished(completed=False)
        if found.whole and found.name.startswith(PREFIX):
            return Finished(completed=True, result=None if found.output is None else decode(found.output))
        status = self.status(task_id)
        return Finished(completed=status.state == "completed", result=result_in(status.name, status.output))

    def wait(self, task_id: str, timeout: float | None, watch: Watch | None = None) -> Finished | None:
        """Block until the run has ended, in whatever process; None after so many seconds. Raises NotFound.

        With `watch` a thread asks for itself only at first, then it is told.
        """
        waiters = self._engine().parts.waiters
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _left(deadline)
            if watch is None or (left is not None and left <= _ALONE_S):
                ended = waiters.wait(task_id, left)
            else:
                ended = waiters.wait(task_id, _ALONE_S) or self._told(watch, task_id, deadline)
            finished = self.outcome(task_id)
            if finished is not None:
                return finished
            if not ended:
                return None
            waiters.forget(task_id)  # it was taken back since

    def _told(self, watch: Watch, task_id: str, deadline: float | None) -> bool:
        """Wait until somebody says that it has ended. Raises EngineStopped when nobody will."""
        waiters = self._engine().parts.waiters
        said, dropped = threading.Event(), threading.Event()

        def drop() -> None:
            dropped.set()
            said.set()

        unwatch = watch(task_id, said.set, drop, quick=True)
        try:
            ended = said.wait(_left(deadline))
        finally:
            unwatch()
        # the system stops: what still runs may end within its grace, and then tells this thread itself
        return waiters.wait(task_id, _left(deadline)) if dropped.is_set() else ended

    def state(self, task_id: str) -> TaskState:
        """Where it stands. Raises NotFound."""
        return self.state_of(self.facts(task_id))

    def state_of(self, found: TaskFacts) -> TaskState:
        """Where it stands, by what was read."""
        late = False
        if found.expires_at is not None and found.ended_at is None:
            with engine_errors(), self._engine().database.read() as connection:
                late = found.expires_at <= (found.started_at or views.now(connection))
        return state_of_task(found.state, found.node_state, expired=late or _has_expired(found))

    def failure(self, task_id: str) -> TaskFailure | None:
        """Why it failed, or its last attempt did."""
        return self.failure_of(self.facts(task_id))

    def failure_of(self, found: TaskFacts) -> TaskFailure | None:
        """The same, by what was read."""
        text = found.error or (found.node_error if found.ended_at is None else None)
        if text is None:
            if self.state_of(found) is TaskState.EXPIRED:
                return TaskFailure(EXPIRED_CODE, "it did not begin before it expired")
            return None
        outer = decode(text)
        error = _innermost(outer)
        code, path = str(error.get("code")), str(error.get("path") or "")
        message = str(error.get("message"))
        if code == "no_executor":
            message = self._no_handler(found, path)
        attempt = int(error.get("attempt") or 0)
        with engine_errors(), self._engine().database.read() as connection:
            trace = task_reports.last_error_line(connection, found.id, path, attempt, _TRACEBACK)
        step = None if path == NODE else _step(path, outer)
        return TaskFailure(code, message, trace, attempt, step, error.get("details"))

    def _no_handler(self, found: TaskFacts, path: str) -> str:
        described = self.described(found.definition_id)
        name = described.name if described.kind == "task" else path
        return f"no live worker has a handler named {name!r} (executor {executor_of(name)})"

    def progress(self, task_id: str) -> Progress:
        """How far it is; of a composition the share of its tasks that have ended."""
        found = self.facts(task_id)
        described = self.described(found.definition_id)
        if described.kind != "task":
            return self._progress_of_many(found, described)
        with engine_errors(), self._engine().database.read() as connection:
            rows = views.progress(connection, found.id, limit=1)
        done = found.state is InstanceState.COMPLETED
        if not rows or (rows[0].attempt != found.attempt and not done):
            return Progress(1.0 if done else 0.0)
        return Progress(1.0 if done else rows[0].fraction, rows[0].message)

    def _progress_of_many(self, found: TaskFacts, described: Described) -> Progress:
        with engine_errors(), self._engine().database.read() as connection:
            rows = views.task_values(connection, found.id, described.nodes)
            done = total = 0
            for name in described.nodes:
                row = rows.get(name)
                many = row.total or 1 if row is not None and name in {"each", "all"} else 1
                total += many
                if row is None:
                    continue
                if row.state is NodeState.COMPLETED:
                    done += many
                elif name in {"each", "all"}:
                    done += scope_counts(connection, found.id, name).get(NodeState.COMPLETED, 0)
        if found.state is InstanceState.COMPLETED:
            done = total
        return Progress(done / total if total else 0.0, f"{done} of {total}")

    # --- pages

    def page(
        self,
        states: frozenset[InstanceState],
        node_states: tuple[NodeState, ...] | None,
        limit: int,
        *,
        nodeless: bool = True,
        queue: str | None = None,
        newest_first: bool = False,
    ) -> list[TaskFacts]:
        """Tasks that stand so."""
        with engine_errors(), self._engine().database.read() as connection:
            return task_reports.page_of_facts(
                connection,
                prefix=PREFIX,
                node=NODE,
                states=states,
                node_states=node_states,
                nodeless=nodeless,
                queue=queue,
                newest_first=newest_first,
                limit=limit,
            )

    def waiting(self, limit: int, *, queue: str | None = None) -> list[TaskFacts]:
        """Tasks that have not begun, or wait for their next attempt; oldest first."""
        found = self.page(ACTIVE_INSTANCE_STATES, _WAITING, limit, nodeless=False, queue=queue)
        return [each for each in found if self.state_of(each) not in {TaskState.RUNNING, TaskState.EXPIRED}]

    def working(self, limit: int) -> list[TaskFacts]:
        """Tasks that run; oldest first."""
        begun = {InstanceState.RUNNING, InstanceState.CANCELLING, InstanceState.COMPENSATING}
        return self.page(frozenset(begun), _WORKING, limit)

    def broken(self, limit: int) -> list[TaskFacts]:
        """Tasks that failed; the newest first."""
        found = self.page(frozenset({InstanceState.FAILED}), None, limit, newest_first=True)
        return [each for each in found if not _has_expired(each)]

    # --- counts

    def statistics(self, since: int) -> TaskStatistics:
        """Counts of what was submitted since an instant (microseconds)."""
        with engine_errors(), self._engine().database.read() as connection:
            rows = task_reports.task_counts(
                connection, prefix=PREFIX, node=NODE, since=since, expired_code=EXPIRED_CODE
            )
            retried, timed_out = task_reports.attempts_that_ended(
                connection, prefix=PREFIX, since=since, code="timeout"
            )
        by_state = Counter(dict.fromkeys(TaskState, 0))
        for row in rows:
            by_state[_counted_state(row)] += row.count
        succeeded = by_state[TaskState.SUCCEEDED]
        spent = sum(row.duration for row in rows if row.state is InstanceState.COMPLETED)
        waiting = (TaskState.PENDING, TaskState.QUEUED, TaskState.RETRYING)
        return TaskStatistics(
            since=since,
            submitted=sum(by_state.values()),
            succeeded=succeeded,
            failed=by_state[TaskState.FAILED],
            cancelled=by_state[TaskState.CANCELLED],
            expired=by_state[TaskState.EXPIRED],
            running=by_state[TaskState.RUNNING],
            pending=sum(by_state[state] for state in waiting),
            delayed=sum(row.count for row in rows if row.delayed and not row.expired),
            retried=retried,
            timed_out=timed_out,
            mean_duration=spent / succeeded / 1_000_000 if succeeded else None,
            by_state=dict(by_state),
        )

    def queues(self) -> list[QueueDepth]:
        """How many tasks of live runs stand in each queue, by name."""
        wanted = (NodeState.QUEUED, NodeState.BLOCKED, NodeState.RUNNING, NodeState.RETRYING)
        with engine_errors(), self._engine().database.read() as connection:
            found = task_reports.depths(connection, prefix=PREFIX, node_states=wanted)
        return [
            QueueDepth(name, ready + blocked, running, retrying)
            for name, (ready, blocked, running, retrying) in sorted(found.items())
            if ready + blocked + running + retrying
        ]

    def workers(self) -> Workers:
        """Slots of all live processes."""
        with engine_errors(), self._engine().database.read() as connection:
            alive = views.engines(connection, alive_only=True)
            busy = task_reports.busy_slots(connection)
        executing = [each for each in alive if each.role is EngineRole.ENGINE]
        return Workers(sum(each.slots for each in executing), busy, len(executing))

    def count(self) -> int:
        """How many tasks are kept."""
        with engine_errors(), self._engine().database.read() as connection:
            return task_reports.count(connection, PREFIX)

    def delete_ended(self, max_age: float) -> int:
        """Delete tasks that ended more than so many seconds ago, in bounded transactions."""
        with engine_errors(), self._engine().database.read() as connection:
            before = views.now(connection) - round(max_age * 1_000_000)
            names = task_reports.names_with(connection, PREFIX)
        gone = 0
        for name in names:
            while True:
                with engine_errors():
                    deleted = delete_ended(
                        self._engine().database,
                        states=TERMINAL_INSTANCE_STATES,
                        ended_before=before,
                        name=name,
                    )
                gone += deleted
                if deleted < RETENTION_BATCH:
                    break
        return gone


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def unknown_task(task_id: str) -> NotFound:
    """The error of an id that no task has."""
    return NotFound(f"there is no task {task_id}.", hint="Ids come from `submit`, or from a listing.")


def _has_expired(found: TaskFacts) -> bool:
    return found.error is not None and found.error.startswith(f'{{"code":"{EXPIRED_CODE}"')


def _counted_state(row: Counted) -> TaskState:
    return state_of_task(row.state, row.node_state, expired=row.expired)


def _innermost(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """A map's error says that its join failed; its cause says why."""
    inner = error
    while isinstance(inner.get("cause"), dict):
        inner = inner["cause"]
    return inner


def _step(path: str, outer: Mapping[str, Any]) -> str | None:
    """`step2_load` for a chain, `each[3]` for tasks that are alike, `task2_fetch` for others."""
    return path.removeprefix("all.") or (outer.get("node") or None)
