"""Runs of a server as files, and deleting them; what its tasks came to; how it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, TextIO

from ...repositories.records import InstanceState
from ..checks import Check
from ..statistics import Statistics
from .client import Remote, at
from .records import duration, revive

__all__ = ["RemoteStatistics", "RemoteUpkeep", "diagnosis"]

#: Lines of an export that are no rows: its head and its end.
_FRAME = 2


class RemoteUpkeep:
    """As `Upkeep`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def export(self, instance_id: str, out: TextIO) -> int:
        """Write a run that has ended, as JSON lines; gives how many rows. Raises NotFound, Conflict."""
        count = 0
        with self._remote.lines(at("instances", instance_id, "export")) as lines:
            for line in lines:
                out.write(line)
                count += 1
        return count - _FRAME

    def load(self, source: Iterable[str]) -> str:
        """Send a run that `export` wrote; gives its id. Raises Conflict when it is there already."""
        return str(self._remote.send("POST", "/instances/import", lines=source)["id"])

    def delete(self, instance_id: str) -> None:
        """Delete one run that has ended. Raises NotFound, Conflict."""
        self._remote.send("DELETE", at("instances", instance_id))

    def purge(
        self, older_s: float, *, states: Collection[InstanceState] = (), name: str | None = None
    ) -> Iterator[int]:
        """Delete runs that ended longer ago than this; gives how many each call deleted."""
        return self._deleted("/instances", older_s, states, name)

    def purge_logs(
        self, older_s: float, *, states: Collection[InstanceState] = (), name: str | None = None
    ) -> Iterator[int]:
        """Delete log lines written longer ago than this; gives how many each call deleted."""
        return self._deleted("/logs", older_s, states, name)

    def _deleted(
        self, path: str, older_s: float, states: Collection[InstanceState], name: str | None
    ) -> Iterator[int]:
        query = {"older": duration(older_s), "state": sorted(each.value for each in states), "name": name}
        more = True
        while more:
            found = self._remote.send("DELETE", path, query=query)
            yield found["deleted"]
            more = found["more"]


class RemoteStatistics:
    """As `StatisticsService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def read(self, *, queue: str | None = None, window_s: float | None = None) -> Statistics:
        """Count the tasks that have begun since the last `reset`, and within the last `window_s` seconds if given."""
        window = None if window_s is None else duration(window_s)
        return revive(Statistics, self._remote.get("/statistics", {"queue": queue, "since": window}))

    def reset(self) -> str:
        """Count from now on; gives the instant."""
        return str(self._remote.send("POST", "/statistics/reset")["since"])


def diagnosis(remote: Remote) -> list[Check]:
    """How the server's process and its database stand."""
    found: list[dict[str, Any]] = remote.get("/doctor")["checks"]
    return [revive(Check, each, level=each["status"]) for each in found]
