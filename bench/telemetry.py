"""What telemetry costs: many runs of a ten-step chain in one process, with nothing on, and with each of its parts.

    python -m bench.telemetry --mode off --instances 1000 --db sqlite:///bench.db

Run it in pairs, and compare the CPU time of whole processes. Spans go to a processor that batches and throws away, so
that what is measured is the making of them.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from strataflow import EngineConfig, WorkflowEngine
from strataflow.repositories.migrate import upgrade

MODES = ("off", "log", "metrics", "unsampled", "traces", "all")
STEPS = 10


def chain() -> dict[str, Any]:
    nodes: dict[str, Any] = {"s0": {"run": "core.noop", "with": 0}}
    for step in range(1, STEPS):
        nodes[f"s{step}"] = {"run": "core.noop", "with": f"{{{{ nodes.s{step - 1}.output }}}}"}
    return {"dsl": "1", "name": "chain", "nodes": nodes}


def parts(mode: str) -> tuple[dict[str, Any], Any]:
    """Give fields of the engine's configuration, and its collector."""
    fields: dict[str, Any] = {}
    if mode in {"log", "all"}:
        fields["log_attempts"] = True
    if mode in {"traces", "unsampled", "all"}:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

        from strataflow.engine.tracing import Tracing

        class Nowhere(SpanExporter):
            def export(self, spans: Any) -> SpanExportResult:
                return SpanExportResult.SUCCESS

        provider = TracerProvider(sampler=TraceIdRatioBased(0.0 if mode == "unsampled" else 1.0))
        provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=100_000))
        fields["tracing"] = Tracing(provider)
    metrics = None
    if mode in {"metrics", "all"}:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        from strataflow.engine.telemetry import MetricsCollector

        metrics = MetricsCollector(provider=MeterProvider([InMemoryMetricReader()]))
    return fields, metrics


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.telemetry", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mode", choices=MODES, default="off")
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--db", required=True)
    options = parser.parse_args()
    upgrade(options.db)
    fields, metrics = parts(options.mode)
    config = EngineConfig(notify=False, **fields)
    with WorkflowEngine(options.db, config=config, metrics=metrics) as engine:
        registered = engine.register(chain())
        began, cpu = time.perf_counter(), time.process_time()
        for future in [engine.submit_start(registered) for _ in range(options.instances)]:
            future.result()
        engine.drain()
        took, used = time.perf_counter() - began, time.process_time() - cpu
    steps = options.instances * STEPS
    print(f"{options.mode}: {steps / took:,.0f} steps/s, {used / steps * 1e6:.1f} us of CPU a step")


if __name__ == "__main__":
    main()
