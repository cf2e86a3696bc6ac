"""The built-in domains, and the registry a process starts with."""

from __future__ import annotations

from .core import core
from .domain import ExecutorDomain
from .egress import Egress
from .http import http, http_domain
from .python import python
from .registry import ExecutorRegistry
from .shell import shell

__all__ = ["builtin_domains", "default_registry"]


def builtin_domains(egress: Egress | None = None) -> tuple[ExecutorDomain, ...]:
    """The domains that come with the engine; with `egress`, `http` asks it before it connects."""
    return (core, http if egress is None else http_domain(egress), python, shell)


def default_registry(
    *, allow_local_code: bool = True, entry_points: bool = True, egress: Egress | None = None
) -> ExecutorRegistry:
    """A registry with the built-in domains and, if `entry_points`, every installed plugin.

    Without `allow_local_code`, `shell` and `python.call` are known but switched off; with `egress`, `http.request` goes
    to public addresses and to what that allows: for processes that take definitions from elsewhere. Plugins that fail
    are listed in `problems`.
    """
    registry = ExecutorRegistry(allow={"shell": allow_local_code, "python.call": allow_local_code})
    for domain in builtin_domains(egress):
        registry.register_executor_domain(domain)
    if entry_points:
        registry.load_entry_points()
    return registry
