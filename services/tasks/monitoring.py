"""What may be asked of tasks and done to them: records, lists, cancelling, retrying, statistics. For `TaskSystem`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ...engine.errors import Conflict, IllegalTransition, NotFound
from ...engine.events import CancelInstance
from ...engine.outputs import iso
from ...engine.translate import engine_errors
from ...repositories import task_reports, views
from ...repositories.filters import InstanceFilter
from ...repositories.readmodels import LogEntry
from ...repositories.records import ACTIVE_INSTANCE_STATES
from .config import PRIORITIES, TaskConfig
from .definitions import result_in
from .history import note_of
from .reading import TaskReader
from .records import TaskRecord
from .states import TaskState
from .submitting import TAG
from .values import ProgressNote, QueueDepth, TaskStatistics, Workers

if TYPE_CHECKING:
    from ...engine.workflow_engine import WorkflowEngine
    from ...repositories.task_reports import TaskFacts
    from ..results import ResultStore
    from .definitions import TaskDefinitions

__all__ = ["Monitoring"]

_PAGE: Final = 500
#: As many as one view gives.
_ALL: Final = 10_000
#: Where the instant of `reset_statistics` is kept.
_SINCE: Final = "task_statistics_since"


class Monitoring:
    """Reads through whatever engine is running, and acts through it."""

    def __init__(
        self, current: Callable[[], WorkflowEngine], definitions: TaskDefinitions, results: ResultStore
    ) -> None:
        self._current = current
        self._reader = TaskReader(current, definitions)
        #: States, results, errors and progress, by id.
        self.results: Final = results

    # --- one task

    def get_task(self, task_id: str) -> TaskRecord:
        """Everything that is known of a task. Raises NotFound."""
        return self._record(self._reader.facts(task_id))

    def _record(self, found: TaskFacts) -> TaskRecord:
        described = self._reader.described(found.definition_id)
        status = self._reader.status(found.id)
        inputs: dict[str, Any] = status.inputs
        plain = described.kind == "task"
        execution = described.execution
        return TaskRecord(
            id=found.id,
            name=described.name,
            kind=described.kind,
            payload=inputs.get("payload") if plain else inputs,
            config=TaskConfig(
                timeout=execution.timeout,
                heartbeat=execution.heartbeat,
                max_retries=execution.max_retries,
                retry_delay=execution.retry_delay,
                backoff=execution.backoff,
                max_delay=execution.max_delay,
                jitter=execution.jitter,
                never=execution.never,
                priority=(found.priority or 0) + PRIORITIES["normal"],
                eta=_moment(found.start_at),
                expires=_moment(found.expires_at),
                queue=found.queue or "default",
                tags=tuple(name.removeprefix(TAG) for name in found.labels if name.startswith(TAG)),
                key=found.key,
            ),
            state=self._reader.state_of(found),
            attempts=found.attempt,
            created_at=iso(found.created_at),
            started_at=iso(found.started_at),
            ended_at=iso(found.ended_at),
            progress=self._reader.progress(found.id),
            result=result_in(found.name, status.output),
            error=self._reader.failure_of(found),
            parent_id=found.parent_id,
        )

    def logs(self, task_id: str, *, level: str | None = None) -> Iterator[LogEntry]:
        """What the handler logged through its context, oldest first; `level` is the least that is shown."""
        return self._pages_of(task_id, partial(views.logs, level=level))

    def progress_history(self, task_id: str) -> list[ProgressNote]:
        """What the task said of its progress, oldest first, all its attempts together."""
        return [note_of(line) for line in self._pages_of(task_id, views.progress_lines)]

    def _pages_of(self, task_id: str, view: Callable[..., list[LogEntry]]) -> Iterator[LogEntry]:
        self._reader.facts(task_id)
        after = 0
        while True:
            with engine_errors(), self._current().database.read() as connection:
                page = view(connection, task_id, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    def _children(self, task_id: str) -> list[str]:
        self._reader.facts(task_id)
        return list(reversed([each.id for each in self._pages(InstanceFilter(parent_id=task_id))]))

    # --- acting

    def cancel(self, task_id: str, reason: str = "cancelled by its user") -> bool:
        """Cancel a task: one that waits never begins, one that runs is told through its context.

        False when it had ended, or was cancelled, already. Raises NotFound.
        """
        self._reader.facts(task_id)
        engine = self._current()
        try:
            answer = engine.state_manager.apply_now(CancelInstance(task_id, reason))
        except IllegalTransition:
            return False
        engine.parts.waiters.poke()
        return answer.status == "accepted"

    def cancel_by_tag(self, tag: str, reason: str | None = None) -> list[str]:
        """Cancel everything with this tag that has not ended, delayed and running tasks too; gives their ids."""
        where = InstanceFilter(states=ACTIVE_INSTANCE_STATES, labels={f"{TAG}{tag}": "1"})
        found = [each.id for each in self._pages(where)]
        return self._cancel_all(found, reason or f"cancelled by its tag {tag!r}")

    def purge(self, queue: str, reason: str | None = None) -> list[str]:
        """Cancel every task of a queue that has not begun or waits for its next attempt; gives their ids."""
        gone: dict[str, None] = {}
        tried = set[str]()
        while True:  # page by page: those that are cancelled are not in the next one
            found = [each.id for each in self._reader.waiting(_ALL, queue=queue) if each.id not in tried]
            if not found:
                return list(gone)
            tried.update(found)
            gone |= dict.fromkeys(self._cancel_all(found, reason or f"its queue {queue!r} was purged"))

    def _cancel_all(self, ids: list[str], reason: str) -> list[str]:
        """Cancel many in few transactions; gives those that were, without those that had ended."""
        engine, done = self._current(), list[str]()
        for begin in range(0, len(ids), _PAGE):
            part = ids[begin : begin + _PAGE]
            asked = [(each, engine.state_manager.submit(CancelInstance(each, reason))) for each in part]
            for each, answer in asked:
                try:
                    with engine_errors():
                        accepted = answer.result().status == "accepted"
                except (IllegalTransition, NotFound):
                    continue
                if accepted:
                    done.append(each)
        engine.parts.waiters.poke()
        return done

    def retry(self, task_id: str, reason: str = "retried by its user") -> TaskRecord:
        """Try a task again that failed, was cancelled or expired, under the same id and with all its retries.

        Raises NotFound, and Conflict when it has not ended, or succeeded, or never began.
        """
        state = self._reader.state(task_id)
        if not state.is_terminal or state is TaskState.SUCCEEDED:
            raise Conflict(f"task {task_id} is {state}.", hint="Only what failed or was given up is retried.")
        engine = self._current()
        engine.scheduler.retry_task(task_id, reason=reason).result()
        engine.parts.waiters.forget(task_id)
        return self.get_task(task_id)

    # --- lists

    def tagged(self, tag: str, limit: int = 100) -> list[TaskRecord]:
        """Tasks with this tag, newest first."""
        where = InstanceFilter(labels={f"{TAG}{tag}": "1"})
        found: list[TaskRecord] = []
        for each in self._pages(where):
            if len(found) >= limit:
                break
            found.append(self.get_task(each.id))
        return found

    def pending(self, limit: int = 100) -> list[TaskRecord]:
        """Tasks that have not begun or wait for their next attempt, the oldest first."""
        return [self._record(each) for each in self._reader.waiting(limit)]

    def active(self, limit: int = 100) -> list[TaskRecord]:
        """Tasks that run, the oldest first."""
        return [self._record(each) for each in self._reader.working(limit)]

    def failed(self, limit: int = 100) -> list[TaskRecord]:
        """Tasks that failed, the newest first."""
        return [self._record(each) for each in self._reader.broken(limit)]

    def _pages(self, where: InstanceFilter) -> Iterator[Any]:
        before: tuple[int, str] | None = None
        while True:
            with engine_errors(), self._current().database.read() as connection:
                page = views.instances(connection, where=where, limit=_PAGE, before=before)
            yield from page
            if len(page) < _PAGE:
                return
            before = page[-1].cursor

    # --- counts

    def statistics(self, *, since: datetime | None = None) -> TaskStatistics:
        """Counts of the tasks submitted since an instant, else since the last reset, by what is in the database."""
        if since is not None:
            at = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
            return self._reader.statistics(int(at.timestamp() * 1_000_000))
        with engine_errors(), self._current().database.read() as connection:
            start = task_reports.setting(connection, _SINCE)
        return self._reader.statistics(start)

    def reset_statistics(self) -> datetime:
        """Count from now on, in every process; nothing is deleted."""
        with engine_errors():
            now = task_reports.mark_now(self._current().database, _SINCE)
        return datetime.fromtimestamp(now / 1_000_000, UTC)

    def queues(self) -> list[QueueDepth]:
        """Queues in which tasks are ready, run or wait for a retry."""
        return self._reader.queues()

    def workers(self) -> Workers:
        """Attempts that may run on all live processes of the database, and how many do."""
        return self._reader.workers()


def _moment(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at / 1_000_000, UTC)
