"""What one may do to runs of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ...engine.repinning import MigrationPlan
from ...repositories.filters import InstanceFilter
from ..operations import BulkAnswer
from .client import PAGE, Remote, at
from .executions import filter_query
from .records import duration

__all__ = ["RemoteOperations", "in_bulk"]

#: What a filter is called in a body.
_NAMES: Final = {"state": "states"}


class RemoteOperations:
    """As `Operations`, through a server; each is durable when it returns."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def cancel(self, instance_id: str, reason: str, grace_s: float | None = None) -> str:
        """Ask it to stop; what still runs after the grace is given up."""
        grace = None if grace_s is None else duration(grace_s)
        return self._do(instance_id, "cancel", {"reason": reason, "grace": grace})

    def terminate(self, instance_id: str, reason: str) -> str:
        """End it at once."""
        return self._do(instance_id, "terminate", {"reason": reason})

    def pause(self, instance_id: str, reason: str) -> str:
        """Take nothing new of it."""
        return self._do(instance_id, "pause", {"reason": reason})

    def resume(self, instance_id: str, reason: str) -> str:
        """Let it go on."""
        return self._do(instance_id, "resume", {"reason": reason})

    def retry(self, instance_id: str, reason: str, *tasks: str) -> str:
        """Try again what failed, or these tasks and what follows from them."""
        return self._do(instance_id, "retry", {"reason": reason, "tasks": tasks})

    def rollback(self, instance_id: str, reason: str, *tasks: str) -> str:
        """Undo what followed these tasks, then decide it again."""
        return self._do(instance_id, "rollback", {"reason": reason, "tasks": tasks})

    def signal(self, instance_id: str, name: str, payload: Any, signal_id: str | None) -> str:
        """Send a named message to its waits."""
        body = {"name": name, "data": payload, "id": signal_id}
        return str(self._remote.send("POST", at("instances", instance_id, "signals"), body)["status"])

    def fork(
        self, instance_id: str, *nodes: str, inputs: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> str:
        """A new run from a point of this one; gives its id."""
        body = {"tasks": nodes, "inputs": inputs, "outputs": None if outputs is None else dict(outputs)}
        return str(self._remote.send("POST", at("instances", instance_id, "fork"), body)["id"])

    def rerun(self, instance_id: str, inputs: Any = None) -> str:
        """The same again as a new run; gives its id."""
        made = self._remote.send("POST", at("instances", instance_id, "rerun"), {"inputs": inputs})
        return str(made["id"])

    def migration(self, instance_id: str, to: str) -> MigrationPlan:
        """What moving it to another version would meet."""
        found = self._remote.get(at("instances", instance_id, "migration"), {"to": to})
        impossible = [(each["path"], each["reason"]) for each in found["impossible"]]
        return MigrationPlan(found["safe"], found["lost"], impossible)

    def migrate(self, instance_id: str, to: str, *, accept_loss: bool) -> str:
        """Let it go on under another version of its definition."""
        return self._do(instance_id, "migrate", {"to": to, "accept_loss": accept_loss})

    def bulk(self, operation: str, where: InstanceFilter, reason: str) -> Iterator[BulkAnswer]:
        """Do one of BULK to every run that matches, in calls of some hundred each."""
        chosen = {_NAMES.get(name, name): value for name, value in filter_query(where).items()}
        chosen = {name: value for name, value in chosen.items() if value not in (None, [])}
        chosen.pop("label", None)
        body = {
            **chosen,
            "labels": dict(where.labels),
            "reason": reason,
            "everything": where == InstanceFilter(),
        }
        return in_bulk(self._remote, operation, body)

    def _do(self, instance_id: str, what: str, body: dict[str, Any]) -> str:
        return str(self._remote.send("POST", at("instances", instance_id, what), body)["status"])


def in_bulk(remote: Remote, operation: str, body: dict[str, Any]) -> Iterator[BulkAnswer]:
    """Ask again while there is more; runs that are met again, because they stay as they are, are told once."""
    seen = set[str]()
    while True:
        found = remote.send("POST", at("instances", "bulk", operation), body, query={"limit": PAGE})
        answers = [each for each in found["items"] if each["id"] not in seen]
        yield from (BulkAnswer(each["id"], each["status"], each["problem"]) for each in answers)
        seen |= {each["id"] for each in answers}
        if not found["more"] or not answers:
            return
