"""Runs of a server: start, wait, and everything one may ask about them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from ...engine.catalog import Registered
from ...engine.errors import NotFound
from ...engine.starts import StartOptions
from ...engine.status import WorkflowStatus
from ...repositories.filters import InstanceFilter
from ...repositories.readmodels import HistoryRow, InstanceSummary, LogEntry
from ...repositories.records import ACTIVE_INSTANCE_STATES, InstanceState, TaskState
from ..live import Snapshot
from ..task_view import TaskView
from .client import PAGE, Remote, at
from .documents import document_of
from .problems import Forbidden
from .records import duration, moment, revive

__all__ = ["RemoteExecutions", "RemoteLive", "filter_query"]

_WHOLE_ID: Final = 36
#: How long somebody who waits goes on asking a server that does not answer: it may be starting anew.
_PATIENCE_S: Final = 30.0
#: The longest wait in one call; whoever waits longer asks again.
_LONGEST_S: Final = 30.0
#: Values of tasks are large, so fewer stand on a page.
_TASKS: Final = 100
#: A quick look leaves out outputs that are put together from more rows than this.
_FEW: Final = 20


def filter_query(where: InstanceFilter | None) -> dict[str, Any]:
    """A filter as a query."""
    if where is None:
        return {}
    return {
        "state": sorted(state.value for state in where.states),
        "name": where.name,
        "version": where.version,
        "key": where.key,
        "label": [f"{name}={value}" for name, value in where.labels.items()],
        "created_after": None if where.created_after is None else moment(where.created_after),
        "created_before": None if where.created_before is None else moment(where.created_before),
    }


class RemoteExecutions:
    """As `ExecutionService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        #: Tags of the runs that are waited for: while nothing changes, nothing is sent.
        self._tags: dict[str, str] = {}

    # --- changing

    def start(
        self,
        definition: Path | Registered,
        inputs: Any = None,
        *,
        key: str | None = None,
        options: StartOptions | None = None,
    ) -> str:
        """Start a run and return its id; durable then. Raises DefinitionError, InputError, NotFound, Conflict."""
        chosen = options or StartOptions(key=key)
        source: Any = (
            document_of(definition)
            if isinstance(definition, Path)
            else f"{definition.name}@{definition.version}"
        )
        body = {"definition": source, "inputs": inputs, **_start_body(chosen)}
        made = self._remote.send("POST", "/instances", body)
        return str(made["id"])

    def cancel(
        self, instance_id: str, reason: str = "cancelled by its user", grace_s: float | None = None
    ) -> None:
        """Ask a run to stop. Raises NotFound, IllegalTransition."""
        grace = None if grace_s is None else duration(grace_s)
        self._remote.send("POST", at("instances", instance_id, "cancel"), {"reason": reason, "grace": grace})

    # --- waiting

    def wait(self, instance_id: str, timeout_s: float | None = None) -> bool:
        """Block until the run has ended; False after the timeout. Raises NotFound."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = _LONGEST_S if deadline is None else min(_LONGEST_S, deadline - time.monotonic())
            query = {"wait": duration(left)} if left > 0 else {}
            tag, found = self._remote.changed(
                at("instances", instance_id), query, self._tags.get(instance_id), patience_s=_PATIENCE_S
            )
            self._tags[instance_id] = tag
            if found is not None and revive(WorkflowStatus, found).ended:
                del self._tags[instance_id]
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    # --- asking

    def resolve(self, prefix: str) -> str:
        """The id of the one run whose id begins like this. Raises NotFound."""
        try:
            found = [each["id"] for each in self._listed({"id_prefix": prefix}, 3)]
        except Forbidden:
            if len(prefix) == _WHOLE_ID:  # who may operate one run need not be allowed to list them
                return prefix
            raise
        if not found:
            raise NotFound(
                f"no instance has an id that begins with {prefix!r}.",
                hint="`strataflow list` shows what there is.",
            )
        if len(found) > 1:
            many = ", ".join(sorted(found, reverse=True))
            raise NotFound(
                f"several instances have ids that begin with {prefix!r}: {many}, ….",
                hint="Write more of the id.",
            )
        return str(found[0])

    def status(self, instance_id: str) -> WorkflowStatus:
        """One run with its inputs and its result. Raises NotFound."""
        return revive(WorkflowStatus, self._remote.get(at("instances", instance_id), patience_s=_PATIENCE_S))

    def instances(
        self, *, limit: int | None = None, where: InstanceFilter | None = None
    ) -> Iterator[InstanceSummary]:
        """Runs, newest first, at most `limit`."""
        return map(_summary, self._listed(filter_query(where), limit))

    def _listed(self, query: dict[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
        return self._remote.pages("/instances", query, limit=limit)

    def tasks(
        self,
        instance_id: str,
        *,
        state: TaskState | None = None,
        under: str | None = None,
        after: str = "",
        whole: bool = True,
    ) -> Iterator[TaskView]:
        """The run's nodes and map items in path order, each with what it got and what it gave."""
        query = {"state": None if state is None else state.value, "under": under}
        path = at("instances", instance_id, "tasks")
        for each in self._remote.pages(path, query, after=after or None, size=_TASKS):
            found = revive(TaskView, each, queue=each["queue"] or "")
            yield found if whole else _quick(found, each)

    def history(self, instance_id: str, after: int = 0, *, page_size: int = PAGE) -> Iterator[HistoryRow]:
        """Every transition, oldest first, from behind number `after` on."""
        path = at("instances", instance_id, "history")
        for each in self._remote.pages(path, after=str(after), size=page_size):
            yield revive(
                HistoryRow,
                each,
                instance_id=instance_id,
                gen=0,
                from_state=each["from"],
                to_state=each["to"],
            )

    def logs(
        self,
        instance_id: str,
        *,
        path: str | None = None,
        level: str | None = None,
        search: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: int = 0,
        page_size: int = PAGE,
    ) -> Iterator[LogEntry]:
        """Log lines, oldest first, from behind number `after` on."""
        query = {
            "path": path,
            "level": level,
            "search": search or None,
            "since": None if since is None else moment(since),
            "until": None if until is None else moment(until),
        }
        where = at("instances", instance_id, "logs")
        for each in self._remote.pages(where, query, after=str(after), size=page_size):
            yield revive(LogEntry, each, instance_id=instance_id)

    def live(self, instance_id: str) -> RemoteLive:
        """A view to look at again and again while the run goes on."""
        return RemoteLive(self._remote, instance_id)

    def unfinished(self) -> int:
        """How many runs have not ended and would go on by themselves."""
        states = sorted(state.value for state in ACTIVE_INSTANCE_STATES - {InstanceState.PAUSED})
        return sum(1 for _ in self._listed({"state": states}, None))

    def workers(self) -> int:
        """How many engines the server's database has; 1 to those who may not know."""
        try:
            found = self._remote.get("/engines")["items"]
        except Forbidden:
            return 1
        return sum(1 for each in found if each["role"] == "engine" and each["state"] == "alive")

    def started_before(self, name: str, key: str) -> str | None:
        """The run that was started under this key of this definition name."""
        return next((each["id"] for each in self._listed({"name": name, "key": key}, 1)), None)


class RemoteLive:
    """As `LiveView`, through a server."""

    def __init__(self, remote: Remote, instance_id: str) -> None:
        self._remote = remote
        self._path = at("instances", instance_id, "live")

    def read(self) -> Snapshot:
        """The run now."""
        found = self._remote.get(self._path, patience_s=_PATIENCE_S)
        counts: dict[TaskState | None, int] = {
            None if name == "pending" else TaskState(name): count for name, count in found["counts"].items()
        }
        return revive(Snapshot, found, counts=counts)


def _start_body(options: StartOptions) -> dict[str, Any]:
    begin, end = options.start_at, options.expires_at
    return {
        "key": options.key,
        "mutex": options.mutex,
        "on_duplicate": options.on_duplicate,
        "labels": dict(options.labels),
        "queue": options.queue,
        "priority": options.priority,
        "delay": duration(begin) if isinstance(begin, int | float) else None,
        "expires_in": duration(end) if isinstance(end, int | float) else None,
        "start_at": None if begin is None or isinstance(begin, int | float) else begin.isoformat(),
        "expires_at": None if end is None or isinstance(end, int | float) else end.isoformat(),
    }


def _summary(found: dict[str, Any]) -> InstanceSummary:
    error = None if found["error"] is None else json.dumps(found["error"])
    return revive(InstanceSummary, found, error=error, definition_id="", gen=0, sweeps=0)


def _quick(found: TaskView, given: dict[str, Any]) -> TaskView:
    """What a quick look shows: no inputs, and no outputs of many parts."""
    output: Any = given["output"]
    large = (
        found.executor is None and isinstance(output, list | dict) and len(cast("list[Any]", output)) > _FEW
    )
    return revive(TaskView, given, queue=found.queue, input=None, output=None if large else output)
