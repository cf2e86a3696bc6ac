"""What is measured: the workloads of DESIGN section 10, each with everything on (expressions, journal, results)."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from strataflow import EngineConfig, WorkflowEngine

__all__ = ["Figure", "chains", "fan_out", "latencies", "singles"]

_INPUTS = {"type": "object", "properties": {"n": {"type": "integer"}}}
_NAMES = "abcdefghij"


@dataclass
class Figure:
    """One measured thing: `value` in `unit`, and what else was seen in the same run."""

    name: str
    value: float
    unit: str
    extra: dict[str, float] = field(default_factory=dict)


def _chain() -> dict[str, Any]:
    nodes: dict[str, Any] = {"a": {"run": "core.noop", "with": {"x": "{{ inputs.n }}"}}}
    for before, name in pairwise(_NAMES):
        nodes[name] = {"run": "core.noop", "with": {"x": f"{{{{ nodes.{before}.output.x }}}}"}}
    return {"dsl": "1", "name": "bench.chain", "inputs": _INPUTS, "nodes": nodes}


def _single() -> dict[str, Any]:
    node = {"run": "core.noop", "with": {"x": "{{ inputs.n }}"}}
    return {"dsl": "1", "name": "bench.single", "inputs": _INPUTS, "nodes": {"a": node}}


def _fan() -> dict[str, Any]:
    return {
        "dsl": "1",
        "name": "bench.fan",
        "inputs": {"type": "object", "properties": {"items": {"type": "array"}}},
        "nodes": {
            "m": {"map": "{{ inputs.items }}", "do": {"run": "core.noop", "with": {"i": "{{ item }}"}}}
        },
        "output": "{{ nodes.m.stats }}",
    }


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _many(engine: WorkflowEngine, definition: dict[str, Any], count: int) -> tuple[float, float]:
    """Start `count` instances at once and wait for all; wall seconds and this process's CPU seconds."""
    registered = engine.register(definition)
    engine.run(registered, {"n": 0})
    wall, cpu = time.perf_counter(), time.process_time()
    for future in [engine.submit_start(registered, {"n": n}) for n in range(count)]:
        future.result()
    if not engine.drain(600):
        raise SystemExit("the workload did not end")
    return time.perf_counter() - wall, time.process_time() - cpu


def chains(url: str, count: int, slots: int = 256) -> Figure:
    """Many 10-step chains side by side: durable steps per second."""
    with WorkflowEngine(url, config=EngineConfig(slots=slots)) as engine:
        wall, cpu = _many(engine, _chain(), count)
    steps = count * len(_NAMES)
    extra = {"cpu_us_per_step": cpu / steps * 1e6, "rss_mb": _rss_mb()}
    return Figure("10-step chains, many at once", steps / wall, "steps/s", extra)


def singles(url: str, count: int, slots: int = 256) -> Figure:
    """One-step instances, started and finished, per second."""
    with WorkflowEngine(url, config=EngineConfig(slots=slots)) as engine:
        wall, cpu = _many(engine, _single(), count)
    return Figure("1-step instances", count / wall, "instances/s", {"cpu_us_each": cpu / count * 1e6})


def fan_out(url: str, items: int, slots: int = 256) -> Figure:
    """One map over `items` no-op items and its join."""
    with WorkflowEngine(url, config=EngineConfig(slots=slots)) as engine:
        registered = engine.register(_fan())
        engine.run(registered, {"items": [1, 2, 3]})
        wall, cpu = time.perf_counter(), time.process_time()
        stats = engine.run(registered, {"items": list(range(items))})
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if stats["completed"] != items:
        raise SystemExit(f"the map did not complete: {stats}")
    extra = {"cpu_us_per_item": cpu / items * 1e6, "rss_mb": _rss_mb()}
    return Figure(f"fan-out {items:,} and join", items / wall, "items/s", extra)


def latencies(url: str, rounds: int) -> list[Figure]:
    """An idle engine: start to result of one step, and step to step inside one chain, medians."""
    with WorkflowEngine(url) as engine:
        one = _times(engine, _single(), rounds)
        ten = _times(engine, _chain(), rounds)
    step = (statistics.median(ten) - statistics.median(one)) / (len(_NAMES) - 1)
    return [
        Figure("lone instance, start to result, p50", statistics.median(one) * 1e3, "ms"),
        Figure("lone chain, step to step, p50", step * 1e3, "ms"),
    ]


def _times(engine: WorkflowEngine, definition: dict[str, Any], rounds: int) -> list[float]:
    registered = engine.register(definition)
    engine.run(registered, {"n": 0})
    times = []
    for n in range(rounds):
        begun = time.perf_counter()
        engine.run(registered, {"n": n})
        times.append(time.perf_counter() - begun)
    return times
