"""What people do to runs that other processes hold: from the request to its effect, as a third process sees it.

Two engines run in processes of their own; this one runs none and issues pause, resume, cancel, signal and retry, one
after the other. The effect is what the database shows: the state that the request asks for, which for a cancel means
that the executor was told and has ended. With `busy` the engines work through a fan-out meanwhile.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final

from strataflow import EngineConfig, WorkflowEngine
from strataflow.repositories import views
from strataflow.repositories.records import TaskState

from .workloads import Figure

__all__ = ["operations"]

_ENGINES: Final = 2
_DEADLINE_S: Final = 120.0
_LOOK_S: Final = 0.001
_SIGNAL: Final[dict[str, Any]] = {"wait": {"signal": "go"}}
_LAST: Final[dict[str, Any]] = {"run": "core.noop", "needs": ["a"]}
#: What each operation is done to.
_DOCUMENTS: Final[dict[str, dict[str, Any]]] = {
    "pause": {"a": _SIGNAL, "b": _LAST},
    "signal": {"a": _SIGNAL, "b": _LAST},
    "cancel": {"a": {"run": "core.sleep", "with": {"seconds": 3600}}},
    "retry": {"a": {"run": "core.fail", "with": {"code": "Once", "attempts": 1, "retryable": False}}},
}
#: State of the task `a` in which an instance is ready for its operation.
_READY: Final = {
    "pause": TaskState.WAITING,
    "signal": TaskState.WAITING,
    "cancel": TaskState.RUNNING,
    "retry": TaskState.FAILED,
}


def operations(url: str, count: int, *, busy: bool = False) -> list[Figure]:
    """Each operation `count` times; p99 in ms, with p50 and the longest."""
    with _engines(url), WorkflowEngine(url, config=EngineConfig(executes=False)) as client:
        ids = {name: _started(client, name, count) for name in _DOCUMENTS}
        for name, instances in ids.items():
            for each in instances:
                _until(lambda each=each, name=name: _task_state(client, each) is _READY[name])
        load = _load(client) if busy else None
        found = {
            "pause": _each(client, ids["pause"], "pause_workflow", "paused"),
            "signal": _each(client, ids["signal"], "signal_workflow", "completed", "go"),
            "cancel": _each(client, ids["cancel"], "cancel_workflow", "cancelled"),
            "retry": _each(client, ids["retry"], "retry_workflow", "completed"),
        }
        for each in ids["pause"]:
            asyncio.run(client.signal_workflow(each, "go"))
        found["resume"] = _each(client, ids["pause"], "resume_workflow", "completed")
        if load is not None:
            if client.status(load).state != "running":
                raise SystemExit("the load ended before the operations: make it larger")
            asyncio.run(client.terminate_workflow(load))
    return [_figure(name, times, busy=busy) for name, times in found.items()]


def _figure(name: str, times: list[float], *, busy: bool) -> Figure:
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]
    extra = {"p50_us": p50 * 1e6, "max_us": max(times) * 1e6, "count": len(times)}
    under = ", engines busy" if busy else ""
    return Figure(f"{name} from a third process{under}, request to effect, p99", p99 * 1e3, "ms", extra)


def _started(client: WorkflowEngine, name: str, count: int) -> list[str]:
    registered = client.register({"dsl": "1", "name": f"bench.{name}", "nodes": _DOCUMENTS[name]})
    return [future.result().instance_id for future in [client.submit_start(registered) for _ in range(count)]]


def _load(client: WorkflowEngine) -> str:
    """A fan-out that keeps both engines busy, far longer than the operations take."""
    document = {
        "dsl": "1",
        "name": "bench.load",
        "nodes": {
            "m": {"loop": {"times": 1_000_000}, "do": {"map": list(range(1_000)), "do": {"run": "core.noop"}}}
        },
    }
    instance_id = client.start_now(document)
    _until(lambda: client.status(instance_id).state == "running")
    return instance_id


def _each(
    client: WorkflowEngine, instances: Iterable[str], method: str, state: str, *args: Any
) -> list[float]:
    times: list[float] = []
    for each in instances:
        begun = time.perf_counter()
        asyncio.run(getattr(client, method)(each, *args))
        _until(lambda each=each: _state(client, each) == state)
        times.append(time.perf_counter() - begun)
    return times


def _state(client: WorkflowEngine, instance_id: str) -> str | None:
    with client.database.read() as connection:
        return views.state_of(connection, instance_id)


def _task_state(client: WorkflowEngine, instance_id: str) -> TaskState | None:
    with client.database.read() as connection:
        row = views.task(connection, instance_id, "a")
    return row.state if row is not None else None


def _until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + _DEADLINE_S
    while not met():
        if time.monotonic() > end:
            raise SystemExit("an operation had no effect in time")
        time.sleep(_LOOK_S)


@contextmanager
def _engines(url: str) -> Generator[None]:
    """Engines in processes of their own; each ends when its standard input is closed."""
    command = [sys.executable, "-m", "bench.operations", url]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(_ENGINES)
    ]
    try:
        for each in started:
            if each.stdout is None or not each.stdout.readline():
                raise SystemExit("an engine did not start")
        yield
    finally:
        for each in started:
            each.communicate(timeout=_DEADLINE_S)


def _serve(url: str) -> None:
    """One engine, until standard input is closed."""
    with WorkflowEngine(url, config=EngineConfig(slots=2_000, grace_s=0.5)):
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(sys.argv[1])
