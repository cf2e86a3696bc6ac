"""Every class and method name of the layered seed exists, and the engine itself goes through it."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

import strataflow.engine
from strataflow import EngineConfig, ExecutorDomain, TaskContext, WorkflowEngine
from strataflow.engine.parallel import ParallelExecutor
from strataflow.engine.recovery import RecoveryManager
from strataflow.engine.scheduler import TaskScheduler
from strataflow.engine.state_manager import StateManager
from strataflow.engine.telemetry import MetricsCollector
from strataflow.executors.builtin import default_registry
from strataflow.executors.registry import ExecutorRegistry
from strataflow.repositories.gateways import (
    InstanceRepository,
    LogRepository,
    TaskRepository,
    WorkflowRepository,
)
from strataflow.repositories.records import InstanceState, TaskRow

NAMES: dict[type, str] = {
    WorkflowEngine: "start_workflow resume_workflow pause_workflow cancel_workflow get_workflow_status",
    TaskScheduler: "schedule_task execute_task retry_task get_pending_tasks",
    ExecutorRegistry: "register_executor get_executor list_executors unregister_executor",
    StateManager: "update_workflow_state update_task_state get_state_history rollback_state",
    RecoveryManager: "scan_interrupted_workflows recover_workflow rebuild_context",
    ParallelExecutor: "generate_parallel_tasks execute_parallel",
    MetricsCollector: "record_workflow_metrics record_task_metrics record_system_metrics",
}
#: Called by users and services, so nothing inside the engine needs to call them.
OUTERMOST = frozenset(
    "start_workflow resume_workflow pause_workflow cancel_workflow get_workflow_status get_state_history "
    "rollback_state update_task_state rebuild_context register_executor unregister_executor".split()
)


@pytest.mark.row("X-45")
def test_every_name_of_the_seed_exists() -> None:
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in NAMES.items()
        for name in names.split()
        if not callable(getattr(owner, name, None))
    ]
    assert missing == []
    assert all(
        inspect.isclass(repository)
        for repository in (WorkflowRepository, InstanceRepository, TaskRepository, LogRepository)
    )


@pytest.mark.row("X-45")
def test_the_engine_itself_calls_them() -> None:
    folder = Path(inspect.getfile(strataflow.engine)).parent
    called = {
        node.func.attr
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    inner = {name for names in NAMES.values() for name in names.split()} - OUTERMOST
    assert inner - called == set()


class Counting(MetricsCollector):
    """Keeps what was recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def record_workflow_metrics(self, instance: Any) -> None:
        self.seen.append(instance.state.value)
        super().record_workflow_metrics(instance)

    def record_task_metrics(self, task: TaskRow) -> None:
        self.seen.append(f"{task.executor} {task.state.value}")
        super().record_task_metrics(task)


async def _life(url: str) -> None:
    domain = ExecutorDomain("seed")
    broken = {"yes": True}

    @domain.executor("flaky")
    def flaky(ctx: TaskContext, config: object) -> int:
        if broken["yes"]:
            raise RuntimeError("not yet")
        return ctx.attempt

    registry = default_registry(entry_points=False)
    registry.register_executor_domain(domain)
    metrics = Counting()
    definition = {
        "dsl": "1",
        "name": "seed.names",
        "nodes": {
            "a": {"run": "core.noop", "with": {"n": 3}},
            "b": {"run": "seed.flaky", "needs": ["a"]},
            "c": {"run": "core.noop", "with": {"got": "{{ nodes.b.output }}", "n": "{{ nodes.a.output.n }}"}},
        },
    }
    async with WorkflowEngine(url, registry=registry, metrics=metrics, config=EngineConfig()) as engine:
        instance = await engine.start_workflow(definition)
        assert (await engine.wait(instance, 10)).state is InstanceState.FAILED
        broken["yes"] = False
        await engine.retry_workflow(instance)
        status = await engine.wait(instance, 10)
        assert status.output == {"c": {"got": 2, "n": 3}}
        await engine.state_manager.rollback_state(instance, "b")
        assert (await engine.wait(instance, 10)).output == {"c": {"got": 3, "n": 3}}
        context = engine.recovery.rebuild_context(instance)
        assert context["nodes"]["b"]["output"] == 3
        assert engine.get_pending_tasks() == []
    assert metrics.seen.count("failed") == 1
    assert "seed.flaky failed" in metrics.seen


@pytest.mark.row("X-45")
def test_an_instance_goes_through_them(db_url: str) -> None:
    """Failing, trying again, and going back keep attempt numbers rising and outputs right."""
    asyncio.run(_life(db_url))
