"""Queues of a server: what stands in them, their settings, the order in which they are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...repositories.records import ACTIVE_INSTANCE_STATES
from ..operations import BulkAnswer
from ..queue_purge import Purged
from ..queues import Entry, Moved, QueueView
from .client import Remote, at
from .operations import in_bulk
from .records import revive

__all__ = ["RemoteQueues"]

_SHOWN: Final = 100
_PLAIN: Final[dict[str, Any]] = {"state": "active", "reason": None, "max_size": None, "mark": None}


class RemoteQueues:
    """As `QueueService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    # --- looking

    def list(self) -> list[QueueView]:
        """Every queue that has a setting or a task, and `default`, by name."""
        return [revive(QueueView, each) for each in self._remote.pages("/queues")]

    def get(self, name: str) -> QueueView:
        """One queue; one that nobody ever used is empty."""
        return revive(QueueView, self._remote.get(at("queues", name)))

    def entries(self, name: str, *, state: str = "ready", limit: int = _SHOWN) -> list[Entry]:
        """What stands in a queue, ready entries in the order in which they are taken."""
        path = at("queues", name, "entries")
        return [_entry(each) for each in self._remote.pages(path, {"state": state}, limit=limit)]

    def pending(self, name: str | None = None, limit: int = _SHOWN) -> list[Entry]:
        """Ready tasks in the order in which they would be claimed, of one queue or of all."""
        if name is not None:
            return self.entries(name, limit=limit)
        return [_entry(each) for each in self._remote.pages("/pending", limit=limit)]

    # --- settings

    def pause(self, name: str, reason: str | None = None) -> QueueView:
        """Take nothing of it; what runs goes on."""
        return revive(QueueView, self._remote.send("POST", at("queues", name, "pause"), {"reason": reason}))

    def resume(self, name: str) -> QueueView:
        """Let it be taken again."""
        return revive(QueueView, self._remote.send("POST", at("queues", name, "resume")))

    def set_max_size(self, name: str, max_size: int | None) -> QueueView:
        """Refuse starts that would make it longer; None takes the bound away."""
        return self._set(name, max_size=max_size)

    def set_mark(self, name: str, mark: int | None) -> QueueView:
        """So many tasks are too many."""
        return self._set(name, mark=mark)

    def unset(self, name: str) -> bool:
        """Forget what was set; False when nothing was."""
        tag, found = self._settings(name)
        self._remote.send("DELETE", at("queues", name, "settings"), match=tag)
        return found != _PLAIN

    def _set(self, name: str, **settings: Any) -> QueueView:
        tag, found = self._settings(name)
        self._remote.send("PUT", at("queues", name, "settings"), {**found, **settings}, match=tag)
        return self.get(name)

    def _settings(self, name: str) -> tuple[str, dict[str, Any]]:
        return self._remote.changed(at("queues", name, "settings"), {}, None)

    # --- order

    def move(self, name: str, entry: str, position: int = 0) -> Moved:
        """Give an entry another place. Raises NotFound, Conflict."""
        body = {"entry": entry, "position": position}
        return revive(Moved, self._remote.send("POST", at("queues", name, "move"), body))

    def reorder(self, name: str, entries: Sequence[str]) -> Moved:
        """Put entries at the front, in this order."""
        body = {"entries": [*entries]}
        return revive(Moved, self._remote.send("POST", at("queues", name, "reorder"), body))

    def purge(self, name: str, *, include_delayed: bool = False, reason: str | None = None) -> Purged:
        """Cancel every run that is nothing but a task in this queue."""
        body = {"include_delayed": include_delayed, "reason": reason}
        return revive(Purged, self._remote.send("POST", at("queues", name, "purge"), body))

    def remove(self, name: str, entry: str, reason: str | None = None) -> str:
        """Take an entry out: its run is cancelled. Raises NotFound, Conflict."""
        body = {"entry": entry, "reason": reason}
        return str(self._remote.send("POST", at("queues", name, "remove"), body)["id"])

    def cancel_tag(self, tag: str, reason: str = "cancelled by its tag") -> Iterator[BulkAnswer]:
        """Cancel every live run with this tag."""
        states = sorted(state.value for state in ACTIVE_INSTANCE_STATES)
        body = {"tags": [tag], "states": states, "reason": reason}
        return in_bulk(self._remote, "cancel", body)


def _entry(found: dict[str, Any]) -> Entry:
    return revive(Entry, found, instance_id=found["instance"], definition_id="", queue=found["queue"] or "")
