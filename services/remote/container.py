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
    from ..checks import Check
    from .access import RemoteKeys, RemoteSecrets
    from .alerts import RemoteAlerts
    from .explaining import RemoteExplainer
    from .feed import RemoteFeed
    from .limits import RemoteLimits
    from .queues import RemoteQueues
    from .schedules import RemoteSchedules, RemoteTriggers
    from .upkeep import RemoteStatistics, RemoteUpkeep
    from .webhooks import RemoteWebhooks

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

    @property
    def queues(self) -> RemoteQueues:
        """Queues: what stands in them, their settings and order."""
        from .queues import RemoteQueues

        return RemoteQueues(self.remote)

    @property
    def limits(self) -> RemoteLimits:
        """Counters of limits, and the numbers that people set."""
        from .limits import RemoteLimits

        return RemoteLimits(self.remote)

    @property
    def schedules(self) -> RemoteSchedules:
        """What starts definitions at given times."""
        from .schedules import RemoteSchedules

        return RemoteSchedules(self.remote)

    @property
    def triggers(self) -> RemoteTriggers:
        """What starts definitions when an event comes."""
        from .schedules import RemoteTriggers

        return RemoteTriggers(self.remote)

    @property
    def secrets(self) -> RemoteSecrets:
        """Values that definitions read by name."""
        from .access import RemoteSecrets

        return RemoteSecrets(self.remote)

    @property
    def webhooks(self) -> RemoteWebhooks:
        """Who is told of events by HTTP."""
        from .webhooks import RemoteWebhooks

        return RemoteWebhooks(self.remote)

    @property
    def alerts(self) -> RemoteAlerts:
        """What somebody should look at, and the rules that say so."""
        from .alerts import RemoteAlerts

        return RemoteAlerts(self.remote)

    def keys(self, namespace: str | None = None) -> RemoteKeys:
        """API keys of the token's namespace. Raises RequestError when another one is named."""
        from .access import RemoteKeys

        return RemoteKeys(self.remote, namespace)

    @property
    def statistics(self) -> RemoteStatistics:
        """What tasks came to, how fast, and by whom."""
        from .upkeep import RemoteStatistics

        return RemoteStatistics(self.remote)

    @property
    def upkeep(self) -> RemoteUpkeep:
        """Runs as files, and deleting them."""
        from .upkeep import RemoteUpkeep

        return RemoteUpkeep(self.remote)

    def checks(self) -> list[Check]:
        """How the server stands."""
        from .upkeep import diagnosis

        return diagnosis(self.remote)


@contextmanager
def connected(target: Target) -> Generator[RemoteServices]:
    """A server's use cases; nothing is sent before the first call. Raises RequestError for an address that is none."""
    remote = Remote(target)
    try:
        yield RemoteServices(remote)
    finally:
        remote.close()
