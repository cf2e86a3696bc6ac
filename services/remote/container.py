"""The composition root of a client: the use cases of one server, in the shape of the local `Services`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .client import Remote, Target
from .executions import RemoteExecutions
from .operations import RemoteOperations
from .workflows import RemoteWorkflows

if TYPE_CHECKING:
    from .explaining import RemoteExplainer
    from .feed import RemoteFeed

__all__ = ["RemoteServices", "connected"]


@dataclass(frozen=True)
class RemoteServices:
    """The use cases on one server; the namespace is the token's."""

    remote: Remote

    @cached_property
    def executions(self) -> RemoteExecutions:
        """Runs: started, waited for, looked at."""
        return RemoteExecutions(self.remote)

    @cached_property
    def workflows(self) -> RemoteWorkflows:
        """Definitions."""
        return RemoteWorkflows(self.remote)

    @property
    def operations(self) -> RemoteOperations:
        """What one may do to runs."""
        return RemoteOperations(self.remote)

    @property
    def explainer(self) -> RemoteExplainer:
        """Why something is not running."""
        from .explaining import RemoteExplainer

        return RemoteExplainer(self.remote)

    @property
    def feed(self) -> RemoteFeed:
        """What happens, in order."""
        from .feed import RemoteFeed

        return RemoteFeed(self.remote)


@contextmanager
def connected(target: Target) -> Generator[RemoteServices]:
    """A server's use cases; nothing is sent before the first call. Raises RequestError for an address that is none."""
    remote = Remote(target)
    try:
        yield RemoteServices(remote)
    finally:
        remote.close()
