"""The engine behind a task system: one that executes while the system runs, else a client that only writes and reads.

A system that is not started, or was stopped, still accepts tasks and gives answers: what it needs then is opened when
it is first asked for, and closed by the next `stop`, or when the system is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ...engine.config import EngineConfig
from ...engine.wakeup import Ears
from ...engine.workflow_engine import WorkflowEngine

if TYPE_CHECKING:
    from ...executors.registry import ExecutorRegistry

__all__ = ["Process"]


class Process:
    """Opens and closes engines of one task system; safe in threads."""

    def __init__(self, url: str, registry: ExecutorRegistry, config: EngineConfig) -> None:
        self._url = url
        self._registry = registry
        self._config = config
        self._guard = threading.RLock()
        self._open: dict[str, WorkflowEngine] = {}

    @property
    def running(self) -> bool:
        """Does it execute?"""
        return "engine" in self._open

    def engine(self) -> WorkflowEngine:
        """The engine that executes, else the client."""
        found = self._open.get("engine") or self._open.get("client")
        if found is not None:
            return found
        with self._guard:
            return self._open.get("engine") or self._opened("client", executes=False)

    def start(self) -> None:
        """Begin to execute. A client stays open, for those who wait through it."""
        with self._guard:
            if "engine" not in self._open:
                self._opened("engine", executes=True)

    def listener(self, heard: Callable[[], None]) -> Ears:
        """What hears of commits of other processes, not started; a hint is only said to be one."""
        url, enabled = self.engine().url, self._config.notify
        return Ears(url, lambda _: heard(), enabled=enabled)

    def stop(self, grace_s: float | None) -> None:
        """Stop executing, and close everything."""
        with self._guard:
            engine, client = self._open.pop("engine", None), self._open.pop("client", None)
        try:
            if engine is not None:
                engine.stop(grace_s=grace_s)
        finally:
            if client is not None:
                client.stop()

    def _opened(self, role: str, *, executes: bool) -> WorkflowEngine:
        found = self._open.get(role)
        if found is None:
            config = replace(self._config, executes=executes)
            found = WorkflowEngine(self._url, registry=self._registry, config=config).start()
            self._open[role] = found
        return found
