"""Strataflow: durable workflows on SQL. Everything a user imports is imported from here.

Names are loaded when they are first used, so that a package that only brings executors does not pay for the engine.
The layers are imported absolutely: in the tree this folder stands beside them, installed it is their parent (ADR 1).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strataflow.engine.builder import Scope, Workflow, expr
    from strataflow.engine.catalog import Registered
    from strataflow.engine.config import EngineConfig
    from strataflow.engine.errors import (
        Conflict,
        DatabaseUnavailable,
        DefinitionError,
        EngineError,
        EngineStopped,
        ExpressionError,
        IllegalTransition,
        InputError,
        NotFound,
        PayloadError,
        Problem,
        QueueFull,
        RequestError,
        SchemaError,
        StaleLease,
        TaskFailed,
        TaskFailure,
        WaitTimeout,
        WorkflowFailed,
    )
    from strataflow.engine.hooks import RunHooks
    from strataflow.engine.membership import Lease
    from strataflow.engine.quick import run
    from strataflow.engine.starts import StartOptions
    from strataflow.engine.status import WorkflowStatus
    from strataflow.engine.strategy import FairShare
    from strataflow.engine.workflow_engine import WorkflowEngine
    from strataflow.executors.base import ExecutionContext, TaskContext
    from strataflow.executors.domain import ExecutorDomain
    from strataflow.executors.errors import ExecutorError, NonRetryable
    from strataflow.executors.registry import ExecutorRegistry
    from strataflow.services.alerts.model import Alert
    from strataflow.services.monitoring import MonitoringService
    from strataflow.services.results import MemoryResults, ResultStore, SqlResults
    from strataflow.services.tasks.async_result import AsyncResult
    from strataflow.services.tasks.builder import task_builder
    from strataflow.services.tasks.config import Task, TaskConfig
    from strataflow.services.tasks.records import TaskRecord
    from strataflow.services.tasks.scheduling import ScheduleInfo, TaskSchedule
    from strataflow.services.tasks.states import TaskState
    from strataflow.services.tasks.system import TaskSystem
    from strataflow.services.tasks.values import Progress

__version__ = "0.1.0"

_HOME = {
    "Alert": "services.alerts.model",
    "AsyncResult": "services.tasks.async_result",
    "Conflict": "engine.errors",
    "DatabaseUnavailable": "engine.errors",
    "DefinitionError": "engine.errors",
    "EngineConfig": "engine.config",
    "EngineError": "engine.errors",
    "EngineStopped": "engine.errors",
    "ExecutionContext": "executors.base",
    "ExecutorDomain": "executors.domain",
    "ExecutorError": "executors.errors",
    "ExecutorRegistry": "executors.registry",
    "ExpressionError": "engine.errors",
    "IllegalTransition": "engine.errors",
    "InputError": "engine.errors",
    "Lease": "engine.membership",
    "MemoryResults": "services.results",
    "MonitoringService": "services.monitoring",
    "NonRetryable": "executors.errors",
    "NotFound": "engine.errors",
    "PayloadError": "engine.errors",
    "Problem": "engine.errors",
    "Progress": "services.tasks.values",
    "QueueFull": "engine.errors",
    "RequestError": "engine.errors",
    "Registered": "engine.catalog",
    "ResultStore": "services.results",
    "RunHooks": "engine.hooks",
    "SchemaError": "engine.errors",
    "Scope": "engine.builder",
    "SqlResults": "services.results",
    "StaleLease": "engine.errors",
    "FairShare": "engine.strategy",
    "StartOptions": "engine.starts",
    "Task": "services.tasks.config",
    "TaskConfig": "services.tasks.config",
    "TaskContext": "executors.base",
    "TaskFailed": "engine.errors",
    "TaskFailure": "engine.errors",
    "TaskRecord": "services.tasks.records",
    "ScheduleInfo": "services.tasks.scheduling",
    "TaskSchedule": "services.tasks.scheduling",
    "TaskState": "services.tasks.states",
    "TaskSystem": "services.tasks.system",
    "WaitTimeout": "engine.errors",
    "Workflow": "engine.builder",
    "WorkflowEngine": "engine.workflow_engine",
    "WorkflowFailed": "engine.errors",
    "WorkflowStatus": "engine.status",
    "expr": "engine.builder",
    "run": "engine.quick",
    "task_builder": "services.tasks.builder",
}

__all__ = [
    "Alert",
    "AsyncResult",
    "Conflict",
    "DatabaseUnavailable",
    "DefinitionError",
    "EngineConfig",
    "EngineError",
    "EngineStopped",
    "ExecutionContext",
    "ExecutorDomain",
    "ExecutorError",
    "ExecutorRegistry",
    "ExpressionError",
    "FairShare",
    "IllegalTransition",
    "InputError",
    "Lease",
    "MemoryResults",
    "MonitoringService",
    "NonRetryable",
    "NotFound",
    "PayloadError",
    "Problem",
    "Progress",
    "QueueFull",
    "Registered",
    "RequestError",
    "ResultStore",
    "RunHooks",
    "ScheduleInfo",
    "SchemaError",
    "Scope",
    "SqlResults",
    "StaleLease",
    "StartOptions",
    "Task",
    "TaskConfig",
    "TaskContext",
    "TaskFailed",
    "TaskFailure",
    "TaskRecord",
    "TaskSchedule",
    "TaskState",
    "TaskSystem",
    "WaitTimeout",
    "Workflow",
    "WorkflowEngine",
    "WorkflowFailed",
    "WorkflowStatus",
    "__version__",
    "expr",
    "run",
    "task_builder",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'strataflow' has no attribute {name!r}")
    value = getattr(import_module(f"strataflow.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
