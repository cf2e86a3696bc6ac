"""Metrics by OpenTelemetry: recorded after the commit, from what the batch changed; off unless switched on.

`engine/instruments.py` has the table of all of them. An engine that is given no collector does nothing for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics

from ..repositories.records import InstanceRow, TaskRow, TaskState
from .events import Applied, LeaseExpired
from .gauges import Gauges, gauges_of
from .instruments import DEFINITION, EXECUTOR, METRICS, NAMESPACE, QUEUE, STATE
from .starting import runs_executor

if TYPE_CHECKING:
    from .batching import BatchReport
    from .probe import Probe

__all__ = ["InstrumentMaker", "MetricsCollector"]

_SECOND: Final = 1_000_000


class MetricsCollector:
    """Records what happened. Subclass it, and give it to the engine, to record elsewhere or more.

    Its methods are called on the writer's thread after each commit: they return quickly. What one raises is logged.
    One collector may serve several engines. `provider` is by default the process's.
    """

    def __init__(
        self,
        *,
        namespace: str | None = None,
        provider: metrics.MeterProvider | None = None,
        queues: bool = False,
    ) -> None:
        """With `queues` the database is read for the depth of queues whenever metrics are exported."""
        found = provider if provider is not None else metrics.get_meter_provider()
        #: What every metric says beside its own attributes.
        self.attributes: Final[Mapping[str, str]] = {} if namespace is None else {NAMESPACE: namespace}
        self._queues = queues
        self._gauges: Gauges = gauges_of(found)
        make = InstrumentMaker(found)
        self._started = make.counter("strataflow.workflow.started")
        self._workflows = make.counter("strataflow.workflow.ended")
        self._workflow_s = make.histogram("strataflow.workflow.duration")
        self._claimed = make.counter("strataflow.task.claimed")
        self._tasks = make.counter("strataflow.task.ended")
        self._task_s = make.histogram("strataflow.task.duration")
        self._retried = make.counter("strataflow.task.retried")
        self._lost = make.counter("strataflow.task.lost")
        self._fenced = make.counter("strataflow.lease.lost")
        self._rejected = make.counter("strataflow.write.rejected")
        self._events = make.histogram("strataflow.batch.events")
        self._batch_s = make.histogram("strataflow.batch.duration")

    # --- what the engine calls

    def attach(self, probe: Probe) -> None:
        """An engine runs: what it uses is read from `probe` whenever metrics are exported."""
        self._gauges.add(probe, self.attributes, queues=self._queues)

    def detach(self, probe: Probe) -> None:
        """It stops."""
        self._gauges.remove(probe)

    def record_batch(self, report: BatchReport, *, held: int) -> None:
        """Everything one committed batch did."""
        self.record_system_metrics(events=len(report.answers), held=held, seconds=report.seconds)
        if report.claimed:
            self.record_claims(task.row for task in report.claimed if runs_executor(task.row))
        lost = self._answers(report)
        retried, brought = list[TaskRow](), list[TaskRow]()
        for _, decision in report.decisions:
            if decision.instance is not None:
                self._record_run(decision.instance, report.now)
            changes = decision.changes
            moved = {step.path for step in changes.journal if step.to_state == TaskState.RETRYING}
            for row in (*changes.leaves, *changes.new_leaves, *changes.scopes, *changes.new_scopes):
                if row.executor is None:
                    continue
                if row.ended_at == report.now:
                    self.record_task_metrics(row)
                if row.path in moved:
                    retried.append(row)
                if lost and (row.instance_id, row.path) in lost:
                    brought.append(row)
        self._count(self._retried, retried)
        self._count(self._lost, brought)

    def _record_run(self, instance: InstanceRow, now: int) -> None:
        if instance.started_at == now:
            self.record_workflow_started(instance)
        if instance.ended_at == now:
            self.record_workflow_metrics(instance)

    def _answers(self, report: BatchReport) -> set[tuple[str, str]]:
        """Count writes that came too late; give the tasks that were brought back from dead engines."""
        stale, lost = 0, set[tuple[str, str]]()
        for pending, answer in report.answers:
            if not isinstance(answer, Applied):
                continue
            if answer.status == "stale":
                stale += 1
            elif isinstance(pending.event, LeaseExpired) and answer.status == "accepted":
                lost.add((pending.event.instance_id, pending.event.path))
        if stale:
            self._rejected.add(stale, self.attributes)
        return lost

    def record_fenced(self) -> None:
        """This engine was declared dead: what it held is others' now."""
        self._fenced.add(1, self.attributes)

    # --- what to override

    def record_workflow_started(self, instance: InstanceRow) -> None:
        """An instance began to run."""
        self._started.add(1, {**self.attributes, DEFINITION: instance.name})

    def record_workflow_metrics(self, instance: InstanceRow) -> None:
        """An instance ended."""
        attributes = {**self.attributes, DEFINITION: instance.name, STATE: instance.state.value}
        self._workflows.add(1, attributes)
        if instance.ended_at is not None:
            self._workflow_s.record((instance.ended_at - instance.created_at) / _SECOND, attributes)

    def record_task_metrics(self, task: TaskRow) -> None:
        """An executor's task ended; the duration is that of its last attempt."""
        attributes = {**self._of(task), STATE: task.state.value}
        self._tasks.add(1, attributes)
        if task.started_at is not None and task.ended_at is not None:
            self._task_s.record((task.ended_at - task.started_at) / _SECOND, attributes)

    def record_claims(self, tasks: Iterable[TaskRow]) -> None:
        """This engine took these tasks, each for an attempt of its executor."""
        self._count(self._claimed, tasks)

    def record_system_metrics(self, *, events: int, held: int, seconds: float = 0.0) -> None:
        """How much one transaction carried and how long it took; `held` executor slots are in use."""
        self._events.record(events, self.attributes)
        if seconds:
            self._batch_s.record(seconds, self.attributes)

    def _of(self, task: TaskRow) -> dict[str, str]:
        return {**self.attributes, EXECUTOR: task.executor or "", QUEUE: task.queue}

    def _count(self, counter: metrics.Counter, tasks: Iterable[TaskRow]) -> None:
        """Add to a counter once for each executor and queue."""
        for (executor, queue), count in Counter((task.executor or "", task.queue) for task in tasks).items():
            counter.add(count, {**self.attributes, EXECUTOR: executor, QUEUE: queue})


class InstrumentMaker:
    """Makes instruments as the table has them."""

    def __init__(self, provider: metrics.MeterProvider) -> None:
        self._meter = provider.get_meter("strataflow")

    def counter(self, name: str) -> metrics.Counter:
        """Make one."""
        metric = METRICS[name]
        return self._meter.create_counter(name, metric.unit, metric.description)

    def up_down_counter(self, name: str) -> metrics.UpDownCounter:
        """Make one."""
        metric = METRICS[name]
        return self._meter.create_up_down_counter(name, metric.unit, metric.description)

    def histogram(self, name: str) -> metrics.Histogram:
        """Make one."""
        metric = METRICS[name]
        return self._meter.create_histogram(
            name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )
