"""Traces: who is whose child, across executors, runs, engines and kills; and that nothing is done when it is off."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import StatusCode

from strataflow.engine.instruments import SPANS
from strataflow.engine.starts import StartOptions
from strataflow.engine.tracing import TRACEPARENT, Tracing, trace_id_of
from strataflow.executors.base import TaskContext
from strataflow.executors.domain import ExecutorDomain
from strataflow.services.log_sink import as_json
from tests.integration.kit import Flow, until

Doc = dict[str, Any]


class Traces:
    """What was sent, by name."""

    def __init__(self, **fields: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**fields)
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


@pytest.mark.row("X-40")
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


def test_scopes_items_and_turns_stand_below_each_other(flow: Flow, traces: Traces) -> None:
    flow.open(tracing=traces.tracing)
    inner = {"nodes": {"x": {"run": "core.noop"}}}
    flow.run({"g": {"do": inner}, "m": {"map": "{{ [1, 2] }}", "do": inner}})
    flow.shut()
    run, group, items = traces.one("workflow flow"), traces.one("task g"), traces.named("task m[]")
    assert is_child(group, run)
    assert is_child(traces.one("task g.x"), group)
    assert is_child(traces.one("task m"), run)
    assert all(is_child(item, traces.one("task m")) for item in items)
    below = traces.named("task m[].x")
    assert [[is_child(task, item) for item in items].count(True) for task in below] == [1, 1]


def test_retries_and_failures(flow: Flow, traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_SECRET_KEY", "hunter22")
    flow.open(tracing=traces.tracing)
    failing = {"times": 1, "message": "it is {{ secrets.key }}"}
    again = {"max": 1, "delay": "5ms"}
    flow.run({"a": {"run": "t.fail", "with": failing, "retry": again}})
    flow.run({"b": {"run": "t.fail", "with": {"message": "no {{ secrets.key }}"}}}, name="broken")
    flow.shut()
    task = traces.one("task a")
    first, second = sorted(
        [span for span in traces.named("attempt t.fail") if about(span)["strataflow.task.path"] == "a"],
        key=lambda span: span.start_time or 0,
    )
    assert is_child(first, task)
    assert is_child(second, task)
    assert [event.name for event in task.events] == ["retry"]
    assert task.start_time is not None
    assert first.end_time is not None
    assert task.start_time < first.end_time
    assert task.status.status_code is StatusCode.UNSET
    assert first.status.status_code is StatusCode.ERROR
    assert first.events[-1].name == "exception"
    assert about(first)["error.type"] == "t.Broken"
    assert (about(first)["strataflow.outcome"], about(second)["strataflow.outcome"]) == (
        "failed",
        "succeeded",
    )
    assert traces.one("task b").status.status_code is StatusCode.ERROR
    broken = traces.one("workflow broken")
    assert broken.status.status_code is StatusCode.ERROR
    assert about(broken)["error.type"] == "t.Broken"
    told = "".join(span.to_json() for span in traces.spans)
    assert "hunter22" not in told
    assert "it is ***" in told


def test_children_belong_to_the_trace_of_the_task_that_started_them(flow: Flow, traces: Traces) -> None:
    domain = ExecutorDomain("own")

    @domain.executor("spawn")
    def spawn(ctx: TaskContext, config: Any) -> Any:
        return ctx.spawn("leaf")

    flow.registry.register_executor_domain(domain)
    engine = flow.open(tracing=traces.tracing)
    leaf = flow.document({"x": {"run": "core.noop"}}) | {"name": "leaf"}
    engine.register(leaf, activate=True)
    middle = flow.document({"call": {"flow": "leaf"}}) | {"name": "middle"}
    engine.register(middle, activate=True)
    status = flow.run({"call": {"flow": "middle"}, "own": {"run": "own.spawn"}})
    until(lambda: len(traces.named("workflow leaf")) == 2)
    flow.shut()
    run, child = traces.one("workflow flow"), traces.one("workflow middle")
    of_run, of_child = (
        next(span for span in traces.named("task call") if is_child(span, parent)) for parent in (run, child)
    )
    assert is_child(child, of_run)
    leaves = traces.named("workflow leaf")
    spawned = traces.one("attempt own.spawn")
    assert sorted((is_child(each, of_child), is_child(each, spawned)) for each in leaves) == [
        (False, True),
        (True, False),
    ]
    assert {span.context.trace_id for span in traces.spans if span.context} == {trace_id_of(status.id)}


def test_a_run_started_in_a_trace_belongs_to_it_on_another_engine_too(flow: Flow, traces: Traces) -> None:
    client = flow.open(tracing=traces.tracing, executes=False)
    tracer = traces.provider.get_tracer("caller")
    with tracer.start_as_current_span("caller"):
        instance_id = flow.start_with(StartOptions(labels={"own": "1"}), {"a": {"run": "core.noop"}})
    client.stop()
    other = Traces()
    flow._engines.clear()
    flow.open(tracing=other.tracing)
    status = flow.wait(instance_id)
    flow.shut()
    assert is_child(other.one("workflow flow"), traces.one("caller"))
    assert is_child(other.one("task a"), other.one("workflow flow"))
    with flow.database.read() as connection:
        labels = views_labels(connection, status.id)
    assert labels["own"] == "1"
    assert labels[TRACEPARENT].startswith("00-")


def views_labels(connection: Any, instance_id: str) -> dict[str, str]:
    from strataflow.repositories import views

    found = views.instance(connection, instance_id)
    assert found is not None
    return dict(found.labels)


def test_an_attempt_that_dies_with_its_engine_is_told_of_by_the_next_one(flow: Flow, traces: Traces) -> None:
    flow.open(tracing=traces.tracing)
    instance_id = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}}})
    until(lambda: flow.state(instance_id, "a") == "running")
    flow.crash()
    assert traces.named("attempt t.gate") == []
    other = Traces()
    flow.open(tracing=other.tracing)
    flow.probe.gate("g").set()
    flow.wait(instance_id)
    flow.shut()
    task, run = other.one("task a"), other.one("workflow flow")
    lost, done = sorted(other.named("attempt t.gate"), key=lambda span: span.start_time or 0)
    assert is_child(lost, task)
    assert is_child(done, task)
    assert is_child(task, run)
    assert (about(lost)["strataflow.outcome"], about(done)["strataflow.outcome"]) == ("lost", "succeeded")
    assert lost.status.status_code is StatusCode.ERROR
    assert lost.start_time == task.start_time
    assert [event.name for event in task.events] == ["given back"]


def test_what_the_parent_does_not_sample_is_not_sent(flow: Flow) -> None:
    unwanted = Traces(sampler=ParentBased(ALWAYS_OFF))
    flow.open(tracing=unwanted.tracing)
    flow.run({"a": {"run": "core.noop"}, "b": {"run": "t.later", "with": 1}})
    label = {TRACEPARENT: f"00-{1:032x}-{2:016x}-01"}
    sampled = flow.start_with(StartOptions(labels=label), {"a": {"run": "core.noop"}})
    flow.wait(sampled)
    flow.shut()
    names = sorted(span.name for span in unwanted.spans)
    assert names == ["attempt core.noop", "task a", "workflow flow"]
    assert {span.context.trace_id for span in unwanted.spans if span.context} == {1}


class Receiver:
    """An HTTP server that keeps the headers it is sent; `/away` leads to another host."""

    def __init__(self) -> None:
        seen: dict[str, dict[str, str]] = {}
        self.seen = seen
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen[self.path] = {name.lower(): text for name, text in self.headers.items()}
                port = receiver.port
                self.send_response(302 if self.path == "/away" else 200)
                if self.path == "/away":
                    self.send_header("Location", f"http://localhost:{port}/there")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_request_carries_the_trace_unless_it_is_told_not_to(
    flow: Flow, traces: Traces, receiver: Receiver
) -> None:
    flow.open(tracing=traces.tracing)
    flow.run(
        {
            "a": {"run": "http.request", "with": {"url": f"{receiver.url}/a"}},
            "b": {"run": "http.request", "with": {"url": f"{receiver.url}/b", "trace": False}},
            "c": {"run": "http.request", "with": {"url": f"{receiver.url}/away"}},
        }
    )
    flow.shut()
    attempt = next(
        span for span in traces.named("attempt http.request") if about(span)["strataflow.task.path"] == "a"
    )
    assert attempt.context is not None
    sent = receiver.seen["/a"]["traceparent"].split("-")
    assert sent[1:3] == [f"{attempt.context.trace_id:032x}", f"{attempt.context.span_id:016x}"]
    assert "traceparent" not in receiver.seen["/b"]
    assert "traceparent" in receiver.seen["/away"]
    assert "traceparent" not in receiver.seen["/there"]


OFF = """
import sys
from strataflow import WorkflowEngine
from strataflow.repositories.migrate import upgrade

upgrade(sys.argv[1])
with WorkflowEngine(sys.argv[1]) as engine:
    engine.run({"dsl": "1", "name": "flow", "nodes": {"a": {"run": "core.noop"}}})
found = [name for name in sys.modules if name.split(".")[0] in {"opentelemetry", "prometheus_client"}]
print([*found, *(n for n in sys.modules if n in {"strataflow.engine.tracing", "strataflow.engine.spans"})])
"""


def test_nothing_of_it_is_imported_where_it_is_off(sqlite_url: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OFF, sqlite_url], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"


def test_tracing_needs_a_provider_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    with pytest.raises(ValueError, match="needs a TracerProvider"):
        Tracing()


def test_log_records_of_executors_know_attempt_and_trace(
    flow: Flow, traces: Traces, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[dict[str, Any]] = []

    class Sink(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(as_json(record)))

    domain = ExecutorDomain("own")

    @domain.executor("talk")
    def talk(ctx: TaskContext, config: Any) -> None:
        ctx.log(f"the key is {config}")
        logging.getLogger("user").warning("deep inside: %s", config)

    flow.registry.register_executor_domain(domain)
    sink = Sink()
    logging.getLogger().addHandler(sink)
    try:
        with caplog.at_level(logging.INFO):
            flow.open(tracing=traces.tracing, log_attempts=True, secret=lambda _: "hunter22")
            status = flow.run({"a": {"run": "own.talk", "with": "{{ secrets.key }}"}})
            flow.shut()
    finally:
        logging.getLogger().removeHandler(sink)
    attempt = traces.one("attempt own.talk")
    assert attempt.context is not None
    said = {line["logger"]: line for line in lines if line["logger"] in {"user", "strataflow.task"}}
    assert said["strataflow.task"]["message"] == "the key is ***"
    assert said["user"]["message"] == "deep inside: ***"
    for line in said.values():
        assert (line["instance_id"], line["path"], line["attempt"]) == (status.id, "a", 1)
        assert (line["definition"], line["executor"]) == ("flow", "own.talk")
        assert line["trace_id"] == f"{attempt.context.trace_id:032x}"
        assert line["span_id"] == f"{attempt.context.span_id:016x}"


def test_spans_have_the_attributes_of_the_table_and_no_other(
    flow: Flow, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = flow.open(tracing=traces.tracing)
    engine.register(flow.document({"x": {"run": "t.fail", "with": {}}}) | {"name": "leaf"}, activate=True)
    call = {"flow": "leaf", "on_error": [{"output": 1}]}
    flow.run({"a": call, "b": {"run": "core.noop"}})
    until(lambda: traces.named("workflow leaf"))
    flow.shut()
    seen: dict[str, set[str]] = {}
    for span in traces.spans:
        kind = span.name.partition(" ")[0]
        seen.setdefault(kind, set()).update(about(span))
    table = {name.partition(" ")[0]: set(names) for name, names in SPANS.items()}
    assert {"workflow", "task", "attempt"} == set(seen)
    for kind, names in seen.items():
        assert names <= table[kind]
        assert table[kind] - names <= {"strataflow.generation"}


def test_what_a_task_commits_itself_is_told_of_too(flow: Flow, traces: Traces) -> None:
    domain = ExecutorDomain("own")

    @domain.executor("sql")
    def sql(ctx: TaskContext, config: Any) -> None:
        with ctx.transaction() as transaction:
            transaction.result(1)

    flow.registry.register_executor_domain(domain)
    flow.open(tracing=traces.tracing)
    flow.run({"a": {"run": "own.sql"}})
    flow.shut()
    assert is_child(traces.one("attempt own.sql"), traces.one("task a"))
    assert about(traces.one("attempt own.sql"))["strataflow.outcome"] == "succeeded"
    assert is_child(traces.one("task a"), traces.one("workflow flow"))


def test_a_tracer_that_fails_harms_nothing(flow: Flow, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Sampler):
        def should_sample(self, *args: Any, **fields: Any) -> SamplingResult:
            raise RuntimeError("no")

        def get_description(self) -> str:
            return "broken"

    flow.open(tracing=Traces(sampler=Broken()).tracing)
    flow.engine.register(flow.document({"x": {"run": "core.noop"}}) | {"name": "leaf"}, activate=True)
    assert flow.run({"a": {"run": "core.noop"}, "b": {"flow": "leaf"}}).state == "completed"
    flow.shut()
    assert {"span_failed", "spans_failed"} <= {getattr(each, "action", None) for each in caplog.records}
