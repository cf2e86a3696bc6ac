"""The built-in domains, and the registry a process starts with."""

from __future__ import annotations

from .core import core
from .domain import ExecutorDomain
from .http import http
from .python import python
from .registry import ExecutorRegistry
from .shell import shell

__all__ = ["builtin_domains", "default_registry"]


def builtin_domains() -> tuple[ExecutorDomain, ...]:
    """The domains that come with the engine."""
    return (core, http, python, shell)


def default_registry(*, allow_local_code: bool = True, entry_points: bool = True) -> ExecutorRegistry:
    """A registry with the built-in domains and, if `entry_points`, every installed plugin.

    Without `allow_local_code`, `shell` and `python.call` are known but switched off: for processes that take
    definitions from elsewhere. Plugins that fail are listed in `problems`.
    """
    registry = ExecutorRegistry(allow={"shell": allow_local_code, "python.call": allow_local_code})
    for domain in builtin_domains():
        registry.register_executor_domain(domain)
    if entry_points:
        registry.load_entry_points()
    return registry
