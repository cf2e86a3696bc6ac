"""What limits cost, and queue workloads: thousands of one-node tasks in named queues with priorities."""

from __future__ import annotations

import time
from typing import Any, Final

from strataflow import EngineConfig, StartOptions, WorkflowEngine
from strataflow.repositories import control_store

from .workloads import Figure

__all__ = ["limits", "queue"]

#: Counters that hold everybody's tasks and never refuse: what is measured is the counting.
_SETS: Final[dict[str, tuple[tuple[str, ...], dict[str, Any]]]] = {
    "no limit": ((), {}),
    "a queue's limit": (("queue:default",), {}),
    "queue, executor and all": (("queue:default", "executor:core.noop", "*"), {}),
    "a node's limit": ((), {"concurrency": 1_000_000}),
    "a node's limit by key": ((), {"concurrency": 1_000_000, "key": "{{ item % 100 }}"}),
    "a full queue of width 8": (("queue:default=8",), {}),
}


def _fan(limits: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"run": "core.noop", "with": {"i": "{{ item }}"}}
    if limits:
        body["limits"] = limits
    return {
        "dsl": "1",
        "name": "bench.limited",
        "inputs": {"type": "object", "properties": {"items": {"type": "array"}}},
        "nodes": {"m": {"map": "{{ inputs.items }}", "do": body}},
        "output": "{{ nodes.m.stats }}",
    }


def limits(url: str, items: int) -> list[Figure]:
    """The same fan-out under more and more limits."""
    found: list[Figure] = []
    for name, (counters, rule) in _SETS.items():
        with WorkflowEngine(url, config=EngineConfig(slots=256)) as engine:
            for counter in counters:
                counter_name, _, width = counter.partition("=")
                control_store.set_limit(engine.database, counter_name, concurrency=int(width or 1_000_000))
            registered = engine.register(_fan(rule))
            engine.run(registered, {"items": [1, 2, 3]})
            wall, cpu = time.perf_counter(), time.process_time()
            stats = engine.run(registered, {"items": list(range(items))})
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            for counter in counters:
                control_store.unset_limit(engine.database, counter.partition("=")[0])
        if stats["completed"] != items:
            raise SystemExit(f"the map did not complete: {stats}")
        extra = {"cpu_us_per_item": cpu / items * 1e6}
        found.append(Figure(f"fan-out {items:,}, {name}", items / wall, "items/s", extra))
    return found


def queue(url: str, count: int) -> Figure:
    """Tasks of one node each in four queues and three priorities: started first, then taken by an engine."""
    node = {"run": "core.noop", "with": {"x": "{{ inputs.n }}"}}
    inputs = {"type": "object", "properties": {"n": {"type": "integer"}}}
    document = {"dsl": "1", "name": "bench.task", "inputs": inputs, "nodes": {"a": node}}
    with WorkflowEngine(url, config=EngineConfig(executes=False)) as client:
        registered = client.register(document)
        wall = time.perf_counter()
        for future in [
            client.submit_start(registered, {"n": n}, options=StartOptions(queue=f"q{n % 4}", priority=n % 3))
            for n in range(count)
        ]:
            future.result()
        enqueued = time.perf_counter() - wall
    with WorkflowEngine(url, config=EngineConfig(slots=256)) as engine:
        wall = time.perf_counter()
        if not engine.drain(600):
            raise SystemExit("the workload did not end")
        wall = time.perf_counter() - wall
    extra = {"enqueued_per_s": count / enqueued}
    return Figure("tasks in 4 queues, 3 priorities", count / wall, "tasks/s", extra)
