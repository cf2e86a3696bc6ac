"""Where spans and metrics go: OTLP, the console, Prometheus.

Sets the process's providers, so that executors' own spans and metrics go there too. Imported only where something of
it is switched on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from .errors import RequestError
from .http_telemetry import HttpTelemetry
from .instruments import NAMESPACE
from .membership import new_id
from .telemetry import MetricsCollector
from .tracing import Tracing

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

__all__ = ["Exported", "export"]

_OTLP_HINT: Final = "pip install 'strataflow[otlp]'"
_PROMETHEUS_HINT: Final = "pip install 'strataflow[prometheus]'"
#: A namespace's name as a label of Prometheus.
_LABEL: Final = NAMESPACE.replace(".", "_")


@dataclass(slots=True, frozen=True)
class Exported:
    """What is on."""

    tracing: Tracing | None
    meters: MeterProvider | None
    registry: CollectorRegistry | None
    http: HttpTelemetry | None = field(init=False)

    def __post_init__(self) -> None:
        on = self.tracing is not None or self.meters is not None
        object.__setattr__(self, "http", HttpTelemetry(self.meters, self.tracing) if on else None)

    @property
    def collector(self) -> Callable[[str | None], MetricsCollector] | None:
        """Makes the collector of one engine."""
        meters = self.meters
        if meters is None:
            return None
        return lambda namespace: MetricsCollector(namespace=namespace, provider=meters, queues=True)

    @property
    def scrape(self) -> Callable[[str | None], tuple[bytes, str]] | None:
        """Gives the text for Prometheus, and its media type."""
        registry = self.registry
        return None if registry is None else lambda namespace: _text(registry, namespace)

    def listen(self, host: str, port: int) -> tuple[str, int]:
        """Show the metrics to Prometheus at an address of their own; gives it. Raises RequestError."""
        from prometheus_client import start_http_server

        if self.registry is None:
            raise RequestError("metrics are switched off: there is nothing to show.")
        try:
            server, _ = start_http_server(port, host, self.registry)
        except OSError as exc:
            reason = exc.strerror or exc
            raise RequestError(
                f"{host}:{port} cannot be listened on: {reason}.", hint="--metrics-port 0 takes a free one."
            ) from exc
        return host, server.server_port


def export(*, role: str, traces: tuple[str, ...], metrics: tuple[str, ...], prometheus: bool) -> Exported:
    """Set up the process's providers with these exporters. Raises RequestError for what cannot be had.

    A provider of the SDK that somebody has set already, such as `opentelemetry-instrument`, is used as it is.
    """
    resource = _resource(role)
    tracing = None
    if traces:
        tracing = Tracing(_traces(resource, traces))
    meters, registry = None, None
    if metrics or prometheus:
        readers: list[MetricReader] = [
            PeriodicExportingMetricReader(_metric_exporter(name)) for name in metrics
        ]
        if prometheus:
            registry, reader = _prometheus()
            readers.append(reader)
        meters = MeterProvider(readers, resource)
        metrics_api.set_meter_provider(meters)
    return Exported(tracing, meters, registry)


def _traces(resource: Resource, names: tuple[str, ...]) -> TracerProvider:
    already = trace_api.get_tracer_provider()
    if isinstance(already, TracerProvider):
        return already
    provider = TracerProvider(resource=resource)
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_span_exporter(name)))
    trace_api.set_tracer_provider(provider)
    return provider


def _resource(role: str) -> Resource:
    """Who speaks. What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts more."""
    own = {
        "service.name": "strataflow",
        "service.version": version("strataflow"),
        "service.instance.id": new_id(),
        "strataflow.role": role,
    }
    named = Resource.create()
    said = {key for key, value in named.attributes.items() if not str(value).startswith("unknown_service")}
    return named.merge(Resource({key: value for key, value in own.items() if key not in said}))


def _span_exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter(out=sys.stderr)
    _check_otlp(name, "TRACES")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as exc:
        raise RequestError("traces cannot be sent: the exporter is not installed.", hint=_OTLP_HINT) from exc
    return OTLPSpanExporter()


def _metric_exporter(name: str) -> MetricExporter:
    if name == "console":
        return ConsoleMetricExporter(out=sys.stderr)
    _check_otlp(name, "METRICS")
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    except ImportError as exc:
        raise RequestError("metrics cannot be sent: the exporter is not installed.", hint=_OTLP_HINT) from exc
    return OTLPMetricExporter()


def _check_otlp(name: str, signal: str) -> None:
    if name != "otlp":
        raise RequestError(
            f"OTEL_{signal}_EXPORTER: {name!r} is not known.", hint="It may be otlp, console or none."
        )
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(variable, "").strip().lower()
        if protocol not in {"", "http/protobuf"}:
            raise RequestError(
                f"{variable}: {protocol!r} is not spoken.",
                hint="Use http/protobuf, at the collector's port 4318.",
            )


# --- Prometheus


def _prometheus() -> tuple[CollectorRegistry, MetricReader]:
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
    except ImportError as exc:
        raise RequestError(
            "metrics cannot be shown to Prometheus: its client is not installed.", hint=_PROMETHEUS_HINT
        ) from exc
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry, PrometheusMetricReader(scope_info_enabled=False, registry=registry)


def _text(registry: CollectorRegistry, namespace: str | None) -> tuple[bytes, str]:
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    shown: Any = registry if namespace is None else _OneNamespace(registry, namespace)
    return generate_latest(shown), CONTENT_TYPE_LATEST


class _OneNamespace:
    """What a registry has of one namespace, and of none."""

    def __init__(self, registry: CollectorRegistry, namespace: str) -> None:
        self._registry = registry
        self._namespace = namespace

    def collect(self) -> Iterator[Metric]:
        """Give the families with what is left of them."""
        for family in self._registry.collect():
            kept: Iterable[Sample] = [sample for sample in family.samples if self._is_shown(sample)]
            if kept or not family.samples:
                family.samples = list(kept)
                yield family

    def _is_shown(self, sample: Sample) -> bool:
        return sample.labels.get(_LABEL, self._namespace) == self._namespace
