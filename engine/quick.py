"""One call for scripts and notebooks: run a definition on a database and return its output."""

from __future__ import annotations

from typing import Any

from ..executors.registry import ExecutorRegistry
from .catalog import DefinitionSource
from .workflow_engine import DEFAULT_URL, WorkflowEngine

__all__ = ["run"]


def run(
    definition: DefinitionSource,
    inputs: Any = None,
    *,
    db: str = DEFAULT_URL,
    key: str | None = None,
    registry: ExecutorRegistry | None = None,
    timeout: float | None = None,
) -> Any:
    """Open an engine, run one instance to its end, close the engine, return the output.

    Raises WorkflowFailed when it ended otherwise, WaitTimeout after `timeout` seconds (the instance stays resumable).
    """
    with WorkflowEngine(db, registry=registry) as engine:
        return engine.run(definition, inputs, key=key, timeout=timeout)
