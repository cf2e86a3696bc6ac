"""Requests to the API as OpenTelemetry has them: a server's span, and how many, how long, with which answer.

`api/rest/metrics.py` calls it; it knows no web framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from .instruments import ERROR, METHOD, NAMESPACE, ROUTE, STATUS
from .telemetry import InstrumentMaker

if TYPE_CHECKING:
    from .tracing import Tracing

__all__ = ["HttpTelemetry", "ServedRequest"]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})


class ServedRequest:
    """One request, from its first line to the end of its answer."""

    def __init__(self, method: str, span: Span | None, token: Token[Context] | None) -> None:
        self.method = method
        self.span = span
        self.token = token


class HttpTelemetry:
    """For the process as a whole."""

    def __init__(self, provider: metrics.MeterProvider | None, tracing: Tracing | None) -> None:
        make = InstrumentMaker(provider if provider is not None else metrics.get_meter_provider())
        self._seconds = make.histogram("http.server.request.duration")
        self._active = make.up_down_counter("http.server.active_requests")
        self._tracer = tracing.tracer if tracing is not None else None

    def begun(self, method: str, headers: Mapping[str, str], path: str) -> ServedRequest:
        """A request came; its span is current from now on, inside the trace that its headers name."""
        known = method if method in _METHODS else "_OTHER"
        self._active.add(1, {METHOD: known})
        if self._tracer is None:
            return ServedRequest(known, None, None)
        around = propagate.extract(headers, Context())
        attributes = {METHOD: known, "url.path": path}
        span = self._tracer.start_span(known, around, SpanKind.SERVER, attributes)
        token = otel_context.attach(trace.set_span_in_context(span, around))
        return ServedRequest(known, span, token)

    def ended(
        self,
        request: ServedRequest,
        *,
        route: str | None,
        status: int,
        seconds: float,
        namespace: str | None = None,
    ) -> None:
        """It was answered; `route` is the template of its path, None where nothing is."""
        self._active.add(-1, {METHOD: request.method})
        attributes: dict[str, str | int] = {METHOD: request.method, STATUS: status}
        if route is not None:
            attributes[ROUTE] = route
        if status >= 500:
            attributes[ERROR] = str(status)
        span = request.span
        if span is not None:
            span.update_name(f"{request.method} {route}" if route is not None else request.method)
            span.set_attributes(attributes)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            span.end()
        if request.token is not None:
            otel_context.detach(request.token)
        if namespace is not None:
            attributes[NAMESPACE] = namespace
        self._seconds.record(seconds, attributes)
