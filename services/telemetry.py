"""Telemetry of a process: what `worker` and `serve` measure and trace, and where it goes.

Traces and metrics are sent by OTLP where the standard variables of OpenTelemetry ask for it, and shown to Prometheus
where a flag does. Nothing of OpenTelemetry's SDK is imported unless one of them is on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..engine.http_telemetry import HttpTelemetry
    from ..engine.telemetry import MetricsCollector
    from ..engine.tracing import Tracing

__all__ = ["Telemetry", "TelemetryOptions", "configure_telemetry", "telemetry_of"]

#: The variables that switch something on, for traces and for metrics.
_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SIGNALS: Final = ("TRACES", "METRICS")


@dataclass(slots=True, frozen=True, kw_only=True)
class TelemetryOptions:
    """What a process is asked to show of itself. Can be sent to another process."""

    #: `worker` or `api`: told as the resource's `strataflow.role`.
    role: str = "worker"
    #: Prepare what `Telemetry.scrape` shows.
    prometheus: bool = False
    #: Where a server of its own shows it to Prometheus; None: nowhere. 0 takes a free port.
    port: int | None = None
    host: str = "127.0.0.1"


@dataclass(slots=True, frozen=True)
class Telemetry:
    """What is on in this process."""

    tracing: Tracing | None = None
    #: Makes the collector of one engine; with the namespace's name where a process serves several.
    collector: Callable[[str | None], MetricsCollector] | None = None
    http: HttpTelemetry | None = None
    #: The text for Prometheus and its media type, of one namespace and of the process, or of all.
    scrape: Callable[[str | None], tuple[bytes, str]] | None = None
    #: The address of the server for Prometheus.
    address: tuple[str, int] | None = None


_guard: Final = threading.Lock()
_made: list[Telemetry] = []


def configure_telemetry(options: TelemetryOptions) -> Telemetry:
    """Switch on what the options and the environment ask for; once for a process, later calls give the same.

    Raises RequestError for what cannot be had: an extra that is not installed, a protocol that is not spoken.
    """
    with _guard:
        if not _made:
            _made.append(_configured(options))
        return _made[0]


def _configured(options: TelemetryOptions) -> Telemetry:
    asked = {signal: _asked(signal) for signal in _SIGNALS}
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Telemetry()
    if not any(asked.values()) and not options.prometheus and options.port is None:
        return Telemetry()
    from ..engine.exporting import export

    exported = export(
        role=options.role,
        traces=asked["TRACES"],
        metrics=asked["METRICS"],
        prometheus=options.prometheus or options.port is not None,
    )
    address = exported.listen(options.host, options.port) if options.port is not None else None
    return Telemetry(
        tracing=exported.tracing,
        collector=exported.collector,
        http=exported.http,
        scrape=exported.scrape,
        address=address,
    )


def _asked(signal: str) -> tuple[str, ...]:
    """The exporters that the environment asks for; OTLP where it names only the place."""
    text = os.environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    names = tuple(each.strip() for each in text.split(",") if each.strip())
    if names:
        return tuple(name for name in names if name not in {"none", "prometheus"})
    variables = (_ENDPOINT, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return ("otlp",) if any(os.environ.get(name, "").strip() for name in variables) else ()


def telemetry_of(settings: Mapping[str, Any], role: str) -> TelemetryOptions:
    """What the settings of a process ask for."""
    return TelemetryOptions(
        role=role,
        prometheus=settings["telemetry.metrics"],
        port=settings["telemetry.port"],
        host=settings["telemetry.host"],
    )
