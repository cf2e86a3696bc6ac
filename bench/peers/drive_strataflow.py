"""Strataflow in the same role: through `TaskSystem`, or as runs of a definition with one node on a plain engine."""

from __future__ import annotations

import threading
import time
from typing import Any

from bench.peers.report import Report, Request
from strataflow import EngineConfig, TaskSystem, WorkflowEngine
from strataflow.executors import default_registry
from strataflow.repositories.migrate import upgrade

_PACKAGES = ("strataflow", "psycopg", "uvloop")


class Seen:
    """How often the handler was called, and a flag for the last time."""

    def __init__(self) -> None:
        self.left = 0
        self.called = threading.Event()

    def expect(self, count: int) -> None:
        """Raise the flag after so many calls."""
        self.left = count
        self.called.clear()

    def count(self) -> None:
        """Note one call."""
        self.left -= 1
        if self.left == 0:
            self.called.set()


def _tasks(request: Request, seen: Seen) -> TaskSystem:
    async def noop(payload: Any) -> Any:
        seen.count()
        return payload

    def plain(payload: Any) -> Any:
        seen.count()
        return payload

    system = TaskSystem(request.url, concurrency=request.concurrency)
    system.register("noop", plain if request.way == "threads" else noop)
    return system


def tasks_throughput(report: Report, seen: Seen) -> None:
    request = report.request
    system = _tasks(request, seen)
    seen.expect(1)
    with system:
        system.submit("noop", {"n": 0}).get(60)
    with report.phase("submit"):
        for batch in request.batches():
            if not system.submit_batch([("noop", {"n": n}) for n in batch]).ok:
                raise SystemExit("a task was refused")
    seen.expect(request.count)
    with report.phase("run"):
        system.start()
        _until_ended(system.engine, seen)
    system.stop()


def tasks_latency(report: Report, seen: Seen) -> None:
    began, ended = [], []
    with _tasks(report.request, seen) as system:
        for _ in range(report.request.count + 1):
            seen.expect(1)
            begun = time.perf_counter()
            task = system.submit("noop", {"n": 1})
            seen.called.wait(60)
            began.append(time.perf_counter() - begun)
            task.get(60)
            ended.append(time.perf_counter() - begun)
    report.times("called", began[1:])
    report.times("done", ended[1:])


def _engine(request: Request, seen: Seen, *, executes: bool) -> WorkflowEngine:
    async def noop(_ctx: Any, config: Any) -> Any:
        seen.count()
        return config

    registry = default_registry(entry_points=False)
    registry.register_executor("bench.noop", noop)
    config = EngineConfig(slots=request.concurrency, executes=executes)
    return WorkflowEngine(request.url, registry=registry, config=config)


_ONE_NODE: dict[str, Any] = {
    "dsl": "1",
    "name": "bench.task",
    "inputs": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "nodes": {"work": {"run": "bench.noop", "with": {"n": "{{ inputs.n }}"}}},
}


def engine_throughput(report: Report, seen: Seen) -> None:
    request = report.request
    with _engine(request, seen, executes=True) as warm:
        seen.expect(1)
        warm.run(warm.register(_ONE_NODE), {"n": 0})
    with _engine(request, seen, executes=False) as client:
        registered = client.register(_ONE_NODE)
        with report.phase("submit"):
            for batch in request.batches():
                for future in [client.submit_start(registered, {"n": n}) for n in batch]:
                    future.result()
    seen.expect(request.count)
    with report.phase("run"):
        worker = _engine(request, seen, executes=True).start()
        _until_ended(worker, seen)
    worker.stop()


def _until_ended(engine: WorkflowEngine, seen: Seen) -> None:
    """The last call of the handler, and then the last commit."""
    if not seen.called.wait(600) or not engine.drain(60):
        raise SystemExit("the workload did not end")


def main() -> None:
    request, seen = Request.read(), Seen()
    report = Report(request, _PACKAGES)
    if request.url.startswith("postgres"):
        upgrade(request.url)
    if request.what == "latency":
        tasks_latency(report, seen)
    elif request.way == "engine":
        engine_throughput(report, seen)
    else:
        tasks_throughput(report, seen)
    report.send()


if __name__ == "__main__":
    main()
