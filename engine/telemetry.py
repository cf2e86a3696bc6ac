"""Metrics by OpenTelemetry: recorded after the commit, from what the batch changed; off unless switched on.

| metric | unit | attributes |
|---|---|---|
| strataflow.workflows | 1 | name, state |
| strataflow.workflow.duration | s | name, state |
| strataflow.tasks | 1 | executor, state |
| strataflow.task.duration | s | executor, state |
| strataflow.batch.events | 1 | - |
| strataflow.slots.held | 1 | - |

Never labelled by instance: a metric with a series per run would fold into an overflow series.
"""

from __future__ import annotations

from typing import Final

from opentelemetry import metrics

from ..repositories.records import TERMINAL_INSTANCE_STATES, TERMINAL_TASK_STATES, InstanceRow, TaskRow
from .transaction import BatchReport

__all__ = ["MetricsCollector"]

_SECOND: Final = 1_000_000


class MetricsCollector:
    """Records what happened. Subclass it, and give it to the engine, to record elsewhere or more."""

    def __init__(self) -> None:
        meter = metrics.get_meter("strataflow")
        self._workflows = meter.create_counter("strataflow.workflows", unit="1")
        self._workflow_s = meter.create_histogram("strataflow.workflow.duration", unit="s")
        self._tasks = meter.create_counter("strataflow.tasks", unit="1")
        self._task_s = meter.create_histogram("strataflow.task.duration", unit="s")
        self._events = meter.create_histogram("strataflow.batch.events", unit="1")
        self._held = meter.create_gauge("strataflow.slots.held", unit="1")

    def record_batch(self, report: BatchReport, *, held: int) -> None:
        """Everything one committed batch ended."""
        self.record_system_metrics(events=len(report.answers), held=held)
        for _, decision in report.decisions:
            instance, changes = decision.instance, decision.changes
            if instance is not None and instance.state in TERMINAL_INSTANCE_STATES:
                self.record_workflow_metrics(instance)
            for row in (*changes.leaves, *changes.new_leaves, *changes.scopes, *changes.new_scopes):
                if row.executor is not None and row.state in TERMINAL_TASK_STATES:
                    self.record_task_metrics(row)

    def record_workflow_metrics(self, instance: InstanceRow) -> None:
        """An instance ended."""
        attributes = {"name": instance.name, "state": instance.state.value}
        self._workflows.add(1, attributes)
        if instance.ended_at is not None:
            self._workflow_s.record((instance.ended_at - instance.created_at) / _SECOND, attributes)

    def record_task_metrics(self, task: TaskRow) -> None:
        """An executor's task ended; the duration is that of its last attempt."""
        attributes = {"executor": task.executor or "", "state": task.state.value}
        self._tasks.add(1, attributes)
        if task.started_at is not None and task.ended_at is not None:
            self._task_s.record((task.ended_at - task.started_at) / _SECOND, attributes)

    def record_system_metrics(self, *, events: int, held: int) -> None:
        """How much one transaction carried, and how many executor slots are in use."""
        self._events.record(events)
        self._held.set(held)
