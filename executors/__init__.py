"""What a package needs to bring executors and a process to run them; each name is loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .base import ExecutionContext, TaskContext, TaskError
    from .builtin import builtin_domains, default_registry
    from .domain import ExecutorDomain
    from .entry import ExecutorEntry
    from .errors import AttemptCancelled, ExecutorError, NonRetryable
    from .registry import ExecutorRegistry

__all__ = [
    "AttemptCancelled",
    "ExecutionContext",
    "ExecutorDomain",
    "ExecutorEntry",
    "ExecutorError",
    "ExecutorRegistry",
    "NonRetryable",
    "TaskContext",
    "TaskError",
    "builtin_domains",
    "default_registry",
]

_HOMES: Final = {
    "AttemptCancelled": "errors",
    "ExecutionContext": "base",
    "ExecutorDomain": "domain",
    "ExecutorEntry": "entry",
    "ExecutorError": "errors",
    "ExecutorRegistry": "registry",
    "NonRetryable": "errors",
    "TaskContext": "base",
    "TaskError": "base",
    "builtin_domains": "builtin",
    "default_registry": "builtin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
