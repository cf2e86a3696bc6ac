"""What the integration tests share: executors that tests can see into, and engines that are stopped and judged."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from strataflow import (
    EngineConfig,
    ExecutorError,
    ExecutorRegistry,
    Lease,
    StartOptions,
    TaskContext,
    WorkflowEngine,
)
from strataflow.engine.status import WorkflowStatus
from strataflow.executors.builtin import default_registry
from strataflow.repositories import views
from strataflow.repositories.database import Database
from strataflow.repositories.readmodels import HistoryRow
from strataflow.repositories.records import TaskRow
from strataflow.repositories.url import DatabaseUrl

WAIT_S = 30.0
Doc = dict[str, Any]


class Broken(ExecutorError):
    """Raised by `t.fail`."""


class Probe:
    """Executors of the domain `t`, and what they saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: list[tuple[str, int, Any]] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.cancelled: list[str] = []
        self._gates: dict[str, threading.Event] = {}
        self._parties: Counter[str] = Counter()

    def gate(self, name: str) -> threading.Event:
        """Give the event that `t.gate` and `t.block` wait for."""
        with self.lock:
            return self._gates.setdefault(name, threading.Event())

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.calls]

    def attempts(self, path: str) -> list[int]:
        return [attempt for at, attempt, _ in self.calls if at == path]

    def register(self, registry: ExecutorRegistry) -> None:
        names = ("echo", "fail", "gate", "block", "meet", "measure", "give", "later")
        registry.register_executor_domain("t", {name: getattr(self, "_" + name) for name in names})

    def _seen(self, ctx: TaskContext, config: Any) -> None:
        with self.lock:
            self.calls.append((ctx.path, ctx.attempt, config))

    async def _echo(self, ctx: TaskContext, config: Any) -> Any:
        """Give the configuration back."""
        self._seen(ctx, config)
        return config

    async def _fail(self, ctx: TaskContext, config: Any) -> Any:
        """Fail the first `times` attempts, or all."""
        self._seen(ctx, config)
        if ctx.attempt <= config.get("times", 1_000_000):
            raise Broken(config.get("message", "broken"), retryable=config.get("retryable", True))
        return ctx.attempt

    async def _gate(self, ctx: TaskContext, config: Any) -> Any:
        """Wait on the loop for a gate."""
        self._seen(ctx, config)
        gate = self.gate(config["gate"])
        try:
            await until_async(gate.is_set)
        except asyncio.CancelledError:
            self.cancelled.append(ctx.path)
            raise
        return config.get("give")

    def _block(self, ctx: TaskContext, config: Any) -> Any:
        """Wait in a thread for a gate, or until cancelled."""
        self._seen(ctx, config)
        gate = self.gate(config["gate"])
        end = time.monotonic() + WAIT_S
        while not gate.wait(0.005) and time.monotonic() < end:
            if ctx.cancelled and config.get("polite", True):
                self.cancelled.append(ctx.path)
                return "stopped"
        return config.get("give")

    async def _meet(self, ctx: TaskContext, config: Any) -> Any:
        """Return only after as many attempts as `parties` are inside at the same time."""
        self._seen(ctx, config)
        name = config.get("at", "here")
        with self.lock:
            self._parties[name] += 1
        await until_async(lambda: self._parties[name] >= config["parties"])
        return "met"

    async def _measure(self, ctx: TaskContext, config: Any) -> Any:
        """Note how many attempts are inside at the same time, by name."""
        name = config.get("at", "here")
        with self.lock:
            self.calls.append((ctx.path, ctx.attempt, config))
            self.running[name] += 1
            self.most[name] = max(self.most[name], self.running[name])
        await asyncio.sleep(0.003)
        with self.lock:
            self.running[name] -= 1
        return config.get("give")

    #: What `t.give` returns, by name: values that no JSON text can hold in a definition.
    gives: dict[str, Callable[[], Any]] = {}  # noqa: RUF012 - tests set it on their own instance

    async def _give(self, ctx: TaskContext, config: Any) -> Any:
        return self.gives[config]()

    def _later(self, ctx: TaskContext, config: Any) -> Any:
        """Give the configuration from a thread."""
        self._seen(ctx, config)
        return config


async def until_async(met: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Wait on the loop until a condition holds."""
    end = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < end, "the condition does not hold in time"
        await asyncio.sleep(0.002)


def until(met: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Wait until a condition holds, and give what it gave."""
    end = time.monotonic() + timeout_s
    while not (found := met()):
        assert time.monotonic() < end, "the condition does not hold in time"
        time.sleep(0.005)
    return found


class Flow:
    """Engines on one database, and short ways to start, watch and read."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.probe = Probe()
        self.registry = default_registry(entry_points=False)
        self.probe.register(self.registry)
        self.database = Database(DatabaseUrl.parse(url))
        self.started: list[str] = []
        self._engines: list[WorkflowEngine] = []

    def config(self, **fields: Any) -> EngineConfig:
        given: Doc = {
            "poll_s": 0.05,
            "notify": False,  # stopping a listener takes up to a second; the tests that need it ask for it
            "recovery_s": 0.2,
            "grace_s": 2.0,
            "tune_gc": False,
            "lease": Lease(ttl_s=5.0, margin_s=1.0),
        }
        return EngineConfig(**given | fields)

    def open(self, **fields: Any) -> WorkflowEngine:
        """Start one more engine."""
        engine = WorkflowEngine(self.url, registry=self.registry, config=self.config(**fields))
        self._engines.append(engine)
        return engine.start()

    @property
    def engine(self) -> WorkflowEngine:
        """The first engine, started when it is first asked for."""
        return self._engines[0] if self._engines else self.open()

    def close(self) -> None:
        for engine in self._engines:
            engine.stop()

    def shut(self) -> None:
        """Stop all engines; the next use of `engine` starts a fresh one."""
        self.close()
        self._engines.clear()

    def crash(self) -> None:
        """End the first engine as a dead process would: nothing is reported, released or signed off."""
        engine = self._engines.pop(0)
        parts, engine._parts = engine.parts, None
        for loop in (*parts.background, parts.heartbeat._loop):
            loop.stop()
        parts.scheduler.stop_claiming()
        parts.scheduler.stop()
        parts.ears.stop()
        parts.scheduler.forget_held()
        parts.loop_thread.call(parts.dispatcher.drop_all)
        until(lambda: not parts.dispatcher.running)
        parts.writer.stop(5.0)
        parts.loop_thread.stop()
        parts.heartbeat.membership.close()
        parts.dispatcher.close()
        parts.pool.close()
        parts.announcer.stop()
        parts.waiters.stop()
        parts.database.close()

    # --- running

    def document(self, nodes: Doc, **top: Any) -> Doc:
        return {"dsl": "1", "name": "flow", "nodes": nodes, **top}

    def start(self, nodes: Doc, inputs: Any = None, **top: Any) -> str:
        if inputs is not None and "inputs" not in top:
            top["inputs"] = {"type": "object", "properties": {name: {} for name in inputs}}
        instance_id = self.engine.start_now(self.document(nodes, **top), inputs)
        self.started.append(instance_id)
        return instance_id

    def start_with(self, options: StartOptions, nodes: Doc, **top: Any) -> str:
        """Start with options."""
        instance_id = self.engine.start_now(self.document(nodes, **top), options=options)
        self.started.append(instance_id)
        return instance_id

    def wait(self, instance_id: str) -> WorkflowStatus:
        return self.engine.wait_now(instance_id, WAIT_S)

    def run(self, nodes: Doc, inputs: Any = None, **top: Any) -> WorkflowStatus:
        """Start, wait, and give the status."""
        return self.wait(self.start(nodes, inputs, **top))

    def cancel(self, instance_id: str) -> str:
        return asyncio.run(self.engine.cancel_workflow(instance_id)).status

    # --- reading

    def tasks(self, instance_id: str) -> dict[str, TaskRow]:
        with self.database.read() as connection:
            return {row.path: row for row in views.tasks(connection, instance_id, limit=10_000)}

    def states(self, instance_id: str) -> dict[str, str]:
        return {path: row.state.value for path, row in self.tasks(instance_id).items()}

    def state(self, instance_id: str, path: str) -> str | None:
        with self.database.read() as connection:
            row = views.task(connection, instance_id, path)
        return row.state.value if row else None

    def history(self, instance_id: str) -> list[HistoryRow]:
        with self.database.read() as connection:
            return views.history(connection, instance_id, 10_000)

    def moves(self, instance_id: str, path: str | None) -> list[str]:
        """Give the states a task (or, for None, the instance) went through."""
        return [row.to_state for row in self.history(instance_id) if row.path == path]
