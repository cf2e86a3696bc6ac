"""The API measures itself, belongs to its callers' traces, and shows everything to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from strataflow.engine import exporting
from strataflow.engine.exporting import Exported
from strataflow.engine.tracing import Tracing
from strataflow.services import telemetry as service
from strataflow.services.telemetry import Telemetry, TelemetryOptions
from tests.integration.kit import until
from tests.rest.conftest import HELLO, Serve

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Watched:
    """Telemetry of a process that nobody else sees."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        registry, reader = exporting._prometheus()
        self.meters = MeterProvider([reader])
        exported = Exported(Tracing(self.traces), self.meters, registry)
        self.telemetry = Telemetry(
            tracing=exported.tracing,
            collector=exported.collector,
            http=exported.http,
            scrape=exported.scrape,
        )

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    made = Watched()
    monkeypatch.setattr(service, "_made", [made.telemetry])
    yield made
    made.meters.shutdown()
    made.traces.shutdown()


def samples(text: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def value(found: dict[str, list[Any]], name: str, **labels: str) -> float:
    return sum(each.value for each in found.get(name, []) if labels.items() <= each.labels.items())


def test_a_run_started_inside_a_trace_belongs_to_it(serve: Serve, watched: Watched) -> None:
    with serve(options={"telemetry": TelemetryOptions()}, telemetry=watched.telemetry) as api:
        token = api.token()
        api("POST", "/definitions", token=token, status=201, json={"definition": HELLO})
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        body = {"definition": "hello@1"}
        made = api("POST", "/instances", token=token, headers=headers, json=body).json()
        api("GET", f"/instances/{made['id']}?wait=10s", token=token)
        until(lambda: "workflow hello" in watched.spans())
    spans = watched.spans()
    server, run = spans["POST /api/v1/instances"], spans["workflow hello"]
    assert server.context is not None
    assert run.context is not None
    assert server.parent is not None
    assert run.parent is not None
    assert f"{server.context.trace_id:032x}" == f"{run.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == SPAN
    assert server.kind is trace.SpanKind.SERVER
    assert run.parent.span_id == server.context.span_id


def test_prometheus_reads_requests_and_runs(serve: Serve, watched: Watched) -> None:
    with serve(options={"telemetry": TelemetryOptions()}, telemetry=watched.telemetry) as api:
        token = api.token()
        api("POST", "/definitions", token=token, status=201, json={"definition": HELLO})
        made = api("POST", "/instances", token=token, json={"definition": "hello@1"}).json()
        api("GET", f"/instances/{made['id']}?wait=10s", token=token)
        api("GET", "/instances/not-there", token=token, status=404)
        scraper = {"Authorization": f"Bearer {api.token('read:statistics')}"}
        answer = api.client.get("/metrics", headers=scraper)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        found = samples(answer.text)
        route = "/api/v1/instances/{id}"
        name = "http_server_request_duration_seconds_count"
        assert value(found, name, http_route=route, http_response_status_code="200") == 1
        assert value(found, name, http_route=route, http_response_status_code="404") == 1
        assert value(found, "http_server_active_requests", http_request_method="GET") == 1
        assert value(found, "strataflow_workflow_ended_total", strataflow_definition_name="hello") == 1
        assert value(found, "strataflow_queue_depth", strataflow_queue="default") == 0
        assert value(found, "strataflow_engine_alive") == 1
        assert made["id"] not in answer.text
        assert api.client.get("/metrics").status_code == 401
        other = {"Authorization": f"Bearer {api.token('read:instances')}"}
        assert api.client.get("/metrics", headers=other).status_code == 403


def test_each_namespace_sees_its_own_and_the_processs(serve: Serve, watched: Watched) -> None:
    names = ("one", "two")
    with serve(
        namespaces=names, options={"telemetry": TelemetryOptions()}, telemetry=watched.telemetry
    ) as api:
        for name in names:
            token = api.token(namespace=name)
            document = replace_name(HELLO, f"of_{name}")
            api("POST", "/definitions", token=token, status=201, json={"definition": document})
            made = api("POST", "/instances", token=token, json={"definition": f"of_{name}@1"}).json()
            api("GET", f"/instances/{made['id']}?wait=10s", token=token)
        for name, other in (names, names[::-1]):
            headers = {"Authorization": f"Bearer {api.token(namespace=name)}"}
            text = api.client.get("/metrics", headers=headers).text
            ended = value(
                samples(text),
                "strataflow_workflow_ended_total",
                strataflow_definition_name=f"of_{name}",
                strataflow_namespace=name,
            )
            assert ended == 1
            assert f'"{other}"' not in text
            assert f"of_{other}" not in text
            assert "process_cpu_seconds_total" in text


def replace_name(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {**document, "name": name}


def test_without_telemetry_there_is_nothing(serve: Serve) -> None:
    with serve() as api:
        headers = {"Authorization": f"Bearer {api.token()}"}
        assert api.client.get("/metrics", headers=headers).status_code == 404
