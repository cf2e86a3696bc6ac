"""Telemetry as its users switch it on: variables, flags, and what comes out at the other end."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from strataflow.engine.errors import RequestError
from strataflow.services import telemetry
from strataflow.services.telemetry import Telemetry, TelemetryOptions, configure_telemetry
from tests.support.cli import Cli

EXECUTORS = """
import logging
from strataflow import ExecutorDomain

own = ExecutorDomain("own")


@own.executor("talk")
def talk(ctx, config):
    ctx.log("said by the context")
    logging.getLogger("strataflow.own").warning("said by the log")
    return 1
"""


class Collector:
    """Receives OTLP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: set[str] = set()
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for resource in traces.resource_spans:
                self.services |= {
                    a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
                }
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            metrics = ExportMetricsServiceRequest.FromString(body)
            for resource in metrics.resource_metrics:
                self.metrics |= {metric.name for scope in resource.scope_metrics for metric in scope.metrics}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def cli(migrated_sqlite_url: str, tmp_path: Path) -> Iterator[Cli]:
    made = Cli(migrated_sqlite_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process one that has configured nothing yet."""
    monkeypatch.setattr(telemetry, "_made", [])
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def test_a_worker_sends_traces_and_metrics_and_writes_what_is_said(
    cli: Cli, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    cli.file("talking.py", EXECUTORS)
    flow = cli.flow({"a": {"run": "own.talk"}}, name="talk")
    cli("start", flow, "--import", cli.folder / "talking.py")
    options = ("--log-format", "json", "--log-level", "info", "--log-attempts", "--metrics-port", "0")
    worker = cli.spawn("worker", "--drain", "--import", "talking.py", *options)
    _, err = worker.communicate(timeout=50)
    assert worker.returncode == 0, err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    said = {line["message"]: line for line in lines}
    attempt = next(span for span in collector.spans if span.name == "attempt own.talk")
    for message in ("said by the context", "said by the log"):
        assert (said[message]["path"], said[message]["attempt"]) == ("a", 1)
        assert said[message]["trace_id"] == attempt.trace_id.hex()
    assert {"workflow talk", "task a"} <= {span.name for span in collector.spans}
    assert "strataflow.workflow.ended" in collector.metrics
    assert collector.services == {"strataflow"}
    assert "Metrics for Prometheus: http://127.0.0.1:" in err


def test_a_worker_shows_its_metrics_to_prometheus(cli: Cli) -> None:
    worker = cli.spawn("worker", "--metrics-port", "0")
    assert worker.stderr is not None
    line = next(line for line in worker.stderr if "Prometheus" in line)
    text = httpx.get(line.rpartition(" ")[2].strip(), timeout=20).text
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert "strataflow_slot_limit 100.0" in text
    assert 'strataflow_queue_depth{strataflow_queue="default"} 0.0' in text
    assert "strataflow_engine_alive 1.0" in text


@pytest.mark.usefixtures("unset")
def test_nothing_is_on_unless_somebody_asks() -> None:
    assert configure_telemetry(TelemetryOptions()) == Telemetry()


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "'zipkin' is not known"),
        ("OTEL_METRICS_EXPORTER", "statsd", "'statsd' is not known"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "'grpc' is not spoken"),
    ],
)
def test_what_cannot_be_had_is_said(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=says):
        configure_telemetry(TelemetryOptions())


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize("name", ["OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"])
def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(name, "true" if name == "OTEL_SDK_DISABLED" else "none")
    assert configure_telemetry(TelemetryOptions()) == Telemetry()


def test_serve_shows_requests_and_its_engine_to_prometheus(cli: Cli) -> None:
    server = cli.spawn("serve", "--metrics", "--insecure", "--port", "0")
    assert server.stderr is not None
    line = next(line for line in server.stderr if line.startswith("Serving"))
    address = line.split()[1].removesuffix("/api/v1;")
    assert httpx.get(f"{address}/api/v1/engines", timeout=20).status_code == 200
    text = httpx.get(f"{address}/metrics", timeout=20).text
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    assert 'http_route="/api/v1/engines"' in text
    assert "strataflow_slot_limit 100.0" in text
    assert 'strataflow_role="api"' in text
