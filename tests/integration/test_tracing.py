"""Traces: who is whose child, across executors, runs, engines and kills; and that nothing is done when it is off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from strataflow.engine.tracing import Tracing, trace_id_of
from strataflow.executors.base import TaskContext
from strataflow.executors.domain import ExecutorDomain
from tests.integration.kit import Flow

Doc = dict[str, Any]


class Traces:
    """What was sent, by name."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(self.provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        found = self.named(name)
        assert len(found) == 1, (name, [span.name for span in self.spans])
        return found[0]


@pytest.fixture
def traces() -> Iterator[Traces]:
    made = Traces()
    yield made
    made.provider.shutdown()


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.context is not None
    assert parent.context is not None
    return (
        span.parent is not None
        and span.parent.span_id == parent.context.span_id
        and span.context.trace_id == parent.context.trace_id
    )


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def own_domain(traces: Traces) -> ExecutorDomain:
    """Executors that open spans of their own."""
    domain = ExecutorDomain("own")
    tracer = traces.provider.get_tracer("user")

    @domain.executor("coroutine")
    async def coroutine(ctx: TaskContext, config: Any) -> Any:
        with tracer.start_as_current_span("inside a coroutine"):
            return config

    @domain.executor("thread")
    def thread(ctx: TaskContext, config: Any) -> Any:
        with tracer.start_as_current_span(f"inside {threading.current_thread().name.rpartition('-')[0]}"):
            return config

    return domain


def test_run_task_attempt_and_the_executors_own_spans(flow: Flow, traces: Traces) -> None:
    flow.registry.register_executor_domain(own_domain(traces))
    flow.open(tracing=traces.tracing)
    status = flow.run({"a": {"run": "own.coroutine"}, "b": {"run": "own.thread", "needs": ["a"]}})
    flow.shut()
    run = traces.one("workflow flow")
    assert run.context is not None
    assert run.parent is None
    assert run.context.trace_id == trace_id_of(status.id)
    for name, executor, inner in [
        ("a", "own.coroutine", "inside a coroutine"),
        ("b", "own.thread", "inside strataflow-worker"),
    ]:
        task, attempt = traces.one(f"task {name}"), traces.one(f"attempt {executor}")
        assert is_child(task, run)
        assert is_child(attempt, task)
        assert is_child(traces.one(inner), attempt)
        assert about(attempt)["strataflow.outcome"] == "succeeded"
        assert about(task)["strataflow.state"] == "completed"
    assert run.start_time is not None
    assert run.end_time is not None
    assert all(run.start_time <= (s.start_time or 0) for s in traces.spans if s.name.startswith("task"))
    assert trace.get_current_span().get_span_context().is_valid is False
