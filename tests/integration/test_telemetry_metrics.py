"""Metrics: each changes as the table says, on both databases, and none has a series per run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from strataflow.engine.events import TaskEnded
from strataflow.engine.instruments import METRICS, NAMESPACE, QueueFacts
from strataflow.engine.outcomes import Succeeded
from strataflow.engine.probe import Probe
from strataflow.engine.telemetry import MetricsCollector
from strataflow.engine.workflow_engine import WorkflowEngine
from strataflow.repositories import engines
from strataflow.repositories.errors import ConnectionLost
from tests.integration.kit import Flow, until

Doc = dict[str, Any]
#: Recorded by the API; tests/rest has them.
HTTP = {name for name in METRICS if name.startswith("http.")}


class Meters:
    """What was recorded."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def collector(self, **fields: Any) -> MetricsCollector:
        return MetricsCollector(provider=self.provider, **fields)

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found.setdefault(metric.name, []).extend(metric.data.data_points)
        return found

    def value(self, name: str, **attributes: str) -> float:
        """The sum of the points that have these attributes; of a histogram, how many values it has."""
        wanted = {f"strataflow.{key.replace('_', '.')}": value for key, value in attributes.items()}
        found = [p for p in self.points().get(name, []) if wanted.items() <= dict(p.attributes).items()]
        return sum(point.value if hasattr(point, "value") else point.count for point in found)


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters()
    yield made
    made.provider.shutdown()


def opened(flow: Flow, metrics: MetricsCollector, **fields: Any) -> WorkflowEngine:
    engine = WorkflowEngine(flow.url, registry=flow.registry, config=flow.config(**fields), metrics=metrics)
    flow._engines.append(engine)
    return engine.start()


@pytest.mark.row("X-40")
def test_runs_tasks_retries_and_batches(flow: Flow, meters: Meters) -> None:
    opened(flow, meters.collector())
    again = {"max": 3, "delay": "10ms"}
    failing = {"run": "core.fail", "with": {"code": "no", "message": "no", "attempts": 2}, "retry": again}
    flow.run({"a": {"run": "core.noop"}, "b": failing})
    flow.run({"x": {"run": "core.fail", "with": {"code": "no", "message": "no"}}})
    flow.shut()
    value = meters.value
    assert value("strataflow.workflow.started", definition_name="flow") == 2
    assert value("strataflow.workflow.ended", definition_name="flow", state="completed") == 1
    assert value("strataflow.workflow.ended", definition_name="flow", state="failed") == 1
    assert value("strataflow.workflow.duration") == 2
    assert value("strataflow.task.claimed", executor="core.noop", queue="default") == 1
    assert value("strataflow.task.claimed", executor="core.fail") == 4
    assert value("strataflow.task.retried", executor="core.fail") == 2
    assert value("strataflow.task.ended", executor="core.fail", state="completed") == 1
    assert value("strataflow.task.ended", executor="core.fail", state="failed") == 1
    assert value("strataflow.task.duration") == 3
    assert value("strataflow.batch.events") == value("strataflow.batch.duration") > 0


def test_an_engine_that_dies_leaves_attempts_that_another_one_counts(flow: Flow, meters: Meters) -> None:
    opened(flow, meters.collector(), lease=flow.config().lease)
    instance_id = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}}})
    until(lambda: flow.state(instance_id, "a") == "running")
    flow.crash()
    opened(flow, meters.collector())
    until(lambda: meters.value("strataflow.task.lost", executor="t.gate") == 1)


def test_what_a_running_engine_uses(flow: Flow, meters: Meters) -> None:
    engine = opened(flow, meters.collector(queues=True), slots=1, threads=3)
    first = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}}})
    until(lambda: flow.state(first, "a") == "running")
    second = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}}})
    value = meters.value
    assert value("strataflow.slot.used") == value("strataflow.slot.limit") == 1
    assert value("strataflow.thread.limit") == 3
    assert value("strataflow.thread.used") == value("strataflow.thread.abandoned") == 0
    assert value("strataflow.connection.limit", pool="read") == 4
    assert value("strataflow.connection.used", pool="read") >= 0
    assert value("strataflow.writer.backlog") >= 0
    assert value("strataflow.span.dropped") == 0
    ages = {dict(p.attributes)["strataflow.loop"]: p.value for p in meters.points()["strataflow.loop.age"]}
    assert {"heartbeat", "scheduler", "recovery", "schedules", "watermarks"} <= set(ages)
    assert all(0 <= age < 60 for age in ages.values())
    assert value("strataflow.queue.depth", queue="default") == 1
    assert value("strataflow.queue.age", queue="default") > 0
    assert value("strataflow.queue.blocked", queue="default") == 0
    assert value("strataflow.engine.alive") == 1
    assert value("strataflow.feed.lag") >= 0
    flow.cancel(second)
    engine.stop()
    assert "strataflow.slot.used" not in meters.points()


def test_an_engine_that_is_declared_dead_and_writes_that_come_too_late(flow: Flow, meters: Meters) -> None:
    engine = opened(flow, meters.collector())
    instance_id = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}}})
    until(lambda: flow.state(instance_id, "a") == "running")
    late = TaskEnded(instance_id, "a", 7, engine.parts.engine_id, Succeeded())
    assert engine.state_manager.apply_now(late, 20).status == "stale"
    assert meters.value("strataflow.write.rejected") == 1
    assert engines.mark_dead(flow.database, engine.parts.engine_id)
    engine.scheduler.wake()
    until(lambda: meters.value("strataflow.lease.lost") >= 1)
    flow.probe.gate("g").set()
    assert flow.wait(instance_id).state == "completed"


def test_a_collector_that_raises_harms_nothing(flow: Flow, meters: Meters) -> None:
    class Broken(MetricsCollector):
        def record_system_metrics(self, **fields: Any) -> None:
            raise RuntimeError("no")

    opened(flow, Broken(provider=meters.provider))
    assert flow.run({"a": {"run": "core.noop"}}).state == "completed"


def test_a_database_that_is_away_is_left_out_and_not_asked_again_at_once(
    flow: Flow, meters: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def away(_: Probe) -> QueueFacts:
        asked.append(1)
        raise ConnectionLost("away")

    monkeypatch.setattr(Probe, "_look", away)
    opened(flow, meters.collector(queues=True))
    points = meters.points()
    assert "strataflow.queue.depth" not in points
    assert points["strataflow.slot.limit"]
    assert asked == [1]


def test_attributes_are_those_of_the_table_and_a_namespace_is_one(flow: Flow, meters: Meters) -> None:
    opened(flow, meters.collector(queues=True, namespace="team-a"))
    again = {"max": 1, "delay": "1ms"}
    flow.run({"a": {"run": "t.fail", "with": {"times": 1}, "retry": again}})
    points = meters.points()
    for name, found in points.items():
        for point in found:
            attributes = dict(point.attributes)
            assert attributes.pop(NAMESPACE) == "team-a"
            assert set(attributes) == set(METRICS[name].attributes)
    rare = {"strataflow.task.lost", "strataflow.lease.lost", "strataflow.write.rejected"}
    assert set(METRICS) - HTTP - rare == set(points)
