"""The spans of runs and tasks, sent when they have ended, by the process that has committed the end.

The writer's thread only notes what ended; a thread of its own makes spans of it, and looks up in the journal what
tasks went through that took more than one attempt, whichever engines had them. An attempt that died with its engine is
told of by the engine that brought its task back. A span is a hint like any event: those that wait when a process is
killed are not sent.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import Span

from ..executors.base import TaskError
from ..repositories.records import InstanceRow, InstanceState, TaskRow, TaskState
from ..repositories.traceviews import Step, steps
from .events import Applied, LeaseExpired
from .plan import address_of
from .tracing import (
    TraceRef,
    Tracing,
    attempt_span_id,
    record_error,
    root_attributes,
    task_attributes,
    task_span_id,
)

if TYPE_CHECKING:
    from ..repositories.database import Database
    from .batching import BatchReport

__all__ = ["SpanSender"]

log: Final = logging.getLogger("strataflow.spans")
#: Rows that wait to become spans; beyond it they are dropped, and counted.
_MOST: Final = 50_000
#: Transitions that are read for one instance and one page of its tasks.
_STEPS: Final = 5_000
_FAILED: Final = frozenset({"failed", "expired"})


@dataclass(slots=True, frozen=True)
class _Ended:
    """What one batch ended of one run."""

    instance: InstanceRow
    tasks: Sequence[TaskRow]
    #: Attempts that died with their engine, with the rows as they are now.
    lost: Sequence[tuple[LeaseExpired, TaskRow]]
    at: int
    #: Has the run itself ended?
    whole: bool
    #: Its outermost task, which has its error.
    root: TaskRow | None

    @property
    def size(self) -> int:
        """How many spans it will be."""
        return len(self.tasks) + len(self.lost) + self.whole


class SpanSender:
    """Implements `BatchObserver`."""

    def __init__(self, tracing: Tracing, database: Database) -> None:
        self._tracing = tracing
        self._database = database
        self._queue: deque[_Ended] = deque()
        self._waiting = 0
        self._signal = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        #: Spans that were not sent because too many waited.
        self.dropped = 0

    def start(self) -> None:
        """Begin; idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="strataflow-spans", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send what waits, then end."""
        with self._signal:
            self._stopping = True
            self._signal.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # --- on the writer's thread

    def record_batch(self, report: BatchReport, *, held: int) -> None:
        """Note what a committed batch ended."""
        lost = _lost(report)
        found: list[_Ended] = []
        for _, decision in report.decisions:
            instance = decision.instance
            if instance is None:
                continue
            changes = decision.changes
            rows = (*changes.leaves, *changes.new_leaves, *changes.scopes, *changes.new_scopes)
            tasks = [row for row in rows if row.ended_at == report.now and row.path]
            gone = [
                (event, row) for event in lost.get(instance.id, ()) for row in rows if row.path == event.path
            ]
            whole = instance.ended_at == report.now
            if tasks or gone or whole:
                found.append(_Ended(instance, tasks, gone, report.now, whole, decision.root))
        if found:
            self._put(found)

    def record_fenced(self) -> None:
        """What was lost is told of by those who take it over."""

    def _put(self, found: list[_Ended]) -> None:
        size = sum(each.size for each in found)
        with self._signal:
            if self._waiting + size > _MOST:
                if not self.dropped:
                    log.warning("spans are dropped: too many wait", extra={"action": "spans_dropped"})
                self.dropped += size
                return
            self._waiting += size
            self._queue.extend(found)
            self._signal.notify()

    # --- on its own thread

    def _loop(self) -> None:
        while (page := self._take()) is not None:
            try:
                self._send(page)
            except Exception:
                log.exception("spans were not sent", extra={"action": "spans_failed"})

    def _take(self) -> list[_Ended] | None:
        with self._signal:
            while not self._queue and not self._stopping:
                self._signal.wait()
            if not self._queue:
                return None
            page = list(self._queue)
            self._queue.clear()
            self._waiting = 0
        return page

    def _send(self, page: list[_Ended]) -> None:
        past = self._past(page)
        for ended in page:
            instance = ended.instance
            ref = self._tracing.trace_of(instance)
            if not ref.flags.sampled:
                continue
            for event, row in ended.lost:
                self._send_lost(ref, ended, event, row, past.get((instance.id, row.path), ()))
            for row in ended.tasks:
                self._send_task(ref, instance, row, past.get((instance.id, row.path), ()))
            if ended.whole:
                self._send_run(ref, instance, ended.root)

    def _past(self, page: list[_Ended]) -> Mapping[tuple[str, str], Sequence[Step]]:
        """What tasks went through that had more than one attempt, read once for each run."""
        wanted: dict[str, list[str]] = {}
        for ended in page:
            if not self._tracing.trace_of(ended.instance).flags.sampled:
                continue
            paths = [row.path for _, row in ended.lost]
            paths += [row.path for row in ended.tasks if row.attempt > 1]
            if paths:
                wanted.setdefault(ended.instance.id, []).extend(paths)
        found: dict[tuple[str, str], list[Step]] = {}
        if wanted:
            with self._database.read() as connection:
                for instance_id, paths in wanted.items():
                    for step in steps(connection, instance_id, paths, _STEPS):
                        found.setdefault((instance_id, step.path), []).append(step)
        return found

    def _send_run(self, ref: TraceRef, instance: InstanceRow, root: TaskRow | None) -> None:
        span = self._tracing.start_span(
            f"workflow {instance.name}",
            of=ref,
            parent_id=ref.parent_id,
            span_id=task_span_id(instance.id, ""),
            at_us=instance.created_at,
            attributes=root_attributes(instance),
        )
        if instance.started_at is not None:
            span.add_event("running", timestamp=instance.started_at * 1000)
        if instance.gen:
            span.set_attribute("strataflow.generation", instance.gen)
        if instance.parent_id is not None:
            span.set_attribute("strataflow.parent.id", instance.parent_id)
        span.set_attribute("strataflow.state", instance.state.value)
        if instance.state in {InstanceState.FAILED, InstanceState.EXPIRED}:
            _add_error(span, instance.state.value, root.error if root is not None else None)
        span.end((instance.ended_at or instance.created_at) * 1000)

    def _send_task(self, ref: TraceRef, instance: InstanceRow, row: TaskRow, past: Iterable[Step]) -> None:
        own = [step for step in past if step.gen == row.gen]
        begun = next((step.at for step in own if step.to_state == TaskState.RUNNING), row.started_at)
        ended_at = row.ended_at or 0
        span = self._tracing.start_span(
            f"task {address_of(row.path)}",
            of=ref,
            parent_id=task_span_id(instance.id, row.scope or ""),
            span_id=task_span_id(instance.id, row.path),
            at_us=ended_at if begun is None else begun,
            attributes=task_attributes(instance, row),
        )
        span.set_attribute("strataflow.state", row.state.value)
        span.set_attribute("strataflow.task.attempts", row.attempt)
        if row.gen:
            span.set_attribute("strataflow.generation", row.gen)
        _add_events(span, own)
        if row.state.value in _FAILED:
            _add_error(span, row.state.value, row.error)
        span.end(ended_at * 1000)

    def _send_lost(
        self, ref: TraceRef, ended: _Ended, event: LeaseExpired, row: TaskRow, past: Iterable[Step]
    ) -> None:
        """The attempt's span that its engine cannot send any more."""
        instance = ended.instance
        begun = [s.at for s in past if s.attempt == event.attempt and s.to_state == TaskState.RUNNING]
        span = self._tracing.start_span(
            f"attempt {row.executor}" if row.executor is not None else f"attempt {address_of(row.path)}",
            of=ref,
            parent_id=task_span_id(instance.id, row.path),
            span_id=attempt_span_id(instance.id, row.path, event.attempt),
            at_us=begun[-1] if begun else ended.at,
            attributes={
                **task_attributes(instance, row),
                "strataflow.task.attempt": event.attempt,
                "strataflow.engine.id": event.engine,
                "strataflow.outcome": "lost",
            },
        )
        record_error(span, TaskError("crashed", f"engine {event.engine} is gone"))
        span.end(ended.at * 1000)


def _lost(report: BatchReport) -> Mapping[str, list[LeaseExpired]]:
    """Attempts that this batch brought back from dead engines."""
    found: dict[str, list[LeaseExpired]] = {}
    for pending, answer in report.answers:
        event = pending.event
        if isinstance(event, LeaseExpired) and isinstance(answer, Applied) and answer.status == "accepted":
            found.setdefault(event.instance_id, []).append(event)
    return found


def _add_events(span: Span, past: Iterable[Step]) -> None:
    """Each time that it did not go straight on."""
    for step in past:
        if step.to_state == TaskState.RETRYING:
            name = "retry"
        elif step.from_state == TaskState.RUNNING and step.to_state == TaskState.QUEUED:
            name = "given back"
        else:
            continue
        about: dict[str, Any] = {"strataflow.task.attempt": step.attempt, "strataflow.reason": step.reason}
        span.add_event(name, about, step.at * 1000)


def _add_error(span: Span, state: str, error: str | None) -> None:
    """The stored error; its texts have no secrets any more."""
    stored: dict[str, Any] = json.loads(error) if error else {}
    record_error(span, TaskError(str(stored.get("code", state)), str(stored.get("message", state))))
