"""Task systems for tests: quick ones, closed and judged at the end; and processes that are killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from strataflow import EngineConfig, Lease, TaskContext, TaskSystem
from strataflow.repositories import views
from strataflow.repositories.filters import InstanceFilter
from strataflow.repositories.readmodels import HistoryRow
from tests.checker import check
from tests.integration.kit import until, until_async

WAIT_S = 20.0
ROOT = Path(__file__).resolve().parents[2]


def quick(**fields: Any) -> EngineConfig:
    """Give settings for tests, which have no time to wait."""
    given: dict[str, Any] = {
        "poll_s": 0.05,
        "notify": False,
        "recovery_s": 0.1,
        "grace_s": 2.0,
        "tune_gc": False,
        "lease": Lease(ttl_s=5.0, margin_s=1.0),
    }
    return EngineConfig(**given | fields)


class Bench:
    """Task systems on one database, and gates for handlers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.calls: list[Any] = []
        self._systems: list[TaskSystem] = []

    def system(self, *, handlers: bool = True, **options: Any) -> TaskSystem:
        """Make a system that is not started, with the handlers below."""
        made = TaskSystem(self.url, config=quick(), **options)
        self._systems.append(made)
        if handlers:
            self.equip(made)
        return made

    def equip(self, system: TaskSystem) -> None:
        for name in ("echo", "square", "hold", "hold_async", "fail", "sleep"):
            system.register(name, getattr(self, "_" + name))

    def called(self, call: Any) -> None:
        with self.lock:
            self.calls.append(call)

    def _echo(self, ctx: TaskContext, payload: Any) -> Any:
        self.called(payload)
        return payload

    def _square(self, payload: int) -> int:
        self.called(payload)
        return payload * payload

    def _hold(self, ctx: TaskContext, payload: Any) -> str:
        """Hold a worker until the gate opens, or somebody cancels."""
        self.called(("hold", payload))
        end = time.monotonic() + WAIT_S
        while not self.gate.wait(0.005) and time.monotonic() < end:
            if ctx.cancelled:
                self.called(("cancelled", payload))
                return "cancelled"
        return "held"

    async def _hold_async(self, ctx: TaskContext, payload: Any) -> str:
        self.called(("hold", payload))
        try:
            await until_async(self.gate.is_set)
        except asyncio.CancelledError:
            self.called(("cancelled", payload))
            raise
        return "held"

    def _fail(self, ctx: TaskContext, payload: Any) -> int:
        """Fail the first `payload` attempts, all where it is None."""
        self.called(("fail", ctx.attempt, time.monotonic()))
        if payload is None or ctx.attempt <= payload:
            raise ValueError(f"attempt {ctx.attempt} is broken")
        return ctx.attempt

    def _sleep(self, payload: float) -> float:
        time.sleep(payload)
        return payload

    def history(self, system: TaskSystem, task_id: str) -> list[HistoryRow]:
        with system.engine.database.read() as connection:
            return views.history(connection, task_id, 10_000)

    def close(self) -> None:
        self.gate.set()
        for system in self._systems:
            system.stop()

    def judge(self) -> list[Any]:
        """Check the invariants of everything that stands in the database."""
        with TaskSystem(self.url, config=quick()) as system, system.engine.database.read() as connection:
            ids = [each.id for each in views.instances(connection, limit=10_000, where=InstanceFilter())]
        return list(check(self.url, ids))


@contextmanager
def benched(url: str) -> Iterator[Bench]:
    """Give a bench; afterwards everything is stopped and the invariants are checked."""
    made = Bench(url)
    try:
        yield made
    finally:
        made.close()
    assert made.judge() == []


class Process:
    """A process of its own with a task system; see `task_child.py`."""

    def __init__(self, url: str, folder: Path, **spec: Any) -> None:
        self.effects = folder / "effects"
        given = json.dumps({"url": url, "effects": str(self.effects), **spec})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.task_child", given],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> Any:
        """Wait for what it says next."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        assert text, f"the child ended with {self._process.wait(10)}"
        return json.loads(text)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(self._process.pid, signal.SIGKILL)
        self.join()

    def join(self) -> None:
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def lines(self) -> list[str]:
        """What its handlers wrote."""
        return self.effects.read_text().split() if self.effects.exists() else []

    def await_line(self, text: str) -> None:
        until(lambda: text in self.lines(), WAIT_S)
