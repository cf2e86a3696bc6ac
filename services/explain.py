"""Why is it not running? The answer as data and as one sentence, from what is stored.

Every unfinished task that holds its instance up gives a reason: a dependency, a timer, a signal, a condition, a child,
backoff, a limit, a paused queue, a missing executor, a dead engine. Containers give none of their own: what is inside
them does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..engine.addresses import resolve_path
from ..engine.errors import NotFound
from ..engine.outputs import iso
from ..engine.plan import Plan, PlanNode, address_of
from ..engine.rows import VARS, memo_of
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    InstanceState,
    TaskRow,
    TaskState,
)
from .explain_limits import Pace, Said, read_pace

if TYPE_CHECKING:
    from ..engine.catalog import Catalog
    from ..repositories.database import Database
    from ..repositories.readmodels import EngineView, InstanceView

__all__ = ["Explainer", "Explanation", "Reason"]

#: Unfinished tasks that one explanation looks at.
_LOOK: Final = 500
#: Reasons whose sentence says most, first.
_ORDER: Final = (
    "ended",
    "paused",
    "mutex",
    "start_at",
    "cancelling",
    "queue_paused",
    "pool",
    "no_executor",
    "dead_engine",
    "no_engine",
    "limit",
    "running",
    "signal",
    "child",
    "condition",
    "timer",
    "backoff",
    "slot",
    "dependencies",
)


@dataclass(slots=True, frozen=True)
class Reason:
    """One thing that is waited for."""

    kind: str
    #: The task it holds up; '' for the whole instance.
    path: str
    text: str
    #: Instant (ISO 8601) at which it ends by itself, where that is known.
    until: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True, frozen=True)
class Explanation:
    """Why an instance, or a task, is where it is."""

    instance_id: str
    state: str
    sentence: str
    reasons: tuple[Reason, ...]
    #: True when there were more unfinished tasks than were looked at.
    more: bool = False

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        return {
            "id": self.instance_id,
            "state": self.state,
            "sentence": self.sentence,
            "reasons": [asdict(reason) for reason in self.reasons],
            "more": self.more,
        }


class Explainer:
    """Explains instances of one database."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog

    def explain(self, instance_id: str, path: str | None = None) -> Explanation:
        """Why it is not running, or why the task at `path` is not. Raises NotFound."""
        with engine_errors(), self._database.read() as connection:
            view = views.instance(connection, instance_id)
            if view is None:
                raise NotFound(
                    f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
                )
            rows = views.unfinished_tasks(connection, view.id, _LOOK + 1)
            engines = views.engines(connection)
            now = views.now(connection)
            holder = _holder(connection, view)
            path = resolve_path(self._database, view.id, path) if path is not None else None
            wanted = views.task(connection, view.id, path) if path is not None else None
            plan = self._catalog.plan(view.definition_id)
            if path is not None and wanted is None and address_of(path) not in plan.nodes:
                raise NotFound(
                    f"there is no task {path!r} in this instance.", hint="`strataflow tasks` lists them."
                )
            children = _children(connection, rows)
            pace = read_pace(connection, [wanted, *rows] if wanted is not None else rows)
        look = _Look(view, plan, {row.path: row for row in rows}, engines, now, holder, children, pace)
        reasons = tuple(look.task(path, wanted) if path is not None else look.instance())
        state = wanted.state.value if wanted is not None else view.state.value
        ordered = tuple(sorted(reasons, key=lambda reason: _ORDER.index(reason.kind)))
        return Explanation(view.id, state, _sentence(view, path, ordered), ordered, len(rows) > _LOOK)


def _holder(connection: Any, view: InstanceView) -> str | None:
    if view.state is not InstanceState.QUEUED or view.mutex is None:
        return None
    return views.key_holder(connection, view.name, "mutex", view.mutex)


def _children(connection: Any, rows: list[TaskRow]) -> dict[str, str]:
    """States of the runs that flow tasks wait for, by instance."""
    found: dict[str, str] = {}
    for row in rows:
        child = memo_of(row).get("child") if row.memo else None
        if child is not None:
            state = views.state_of(connection, child)
            found[child] = state.value if state is not None else "not started yet"
    return found


@dataclass(slots=True)
class _Look:
    """What was read, at one moment."""

    view: InstanceView
    plan: Plan
    rows: dict[str, TaskRow]
    engines: list[EngineView]
    now: int
    holder: str | None
    children: dict[str, str]
    pace: Pace

    def instance(self) -> Iterator[Reason]:
        """Reasons of the whole instance."""
        whole = self._whole()
        if whole is not None:
            yield whole
        if self.view.state in TERMINAL_INSTANCE_STATES or self.view.state is InstanceState.QUEUED:
            return
        for row in self.rows.values():
            reason = self._reason(row)
            if reason is not None:
                yield reason

    def _whole(self) -> Reason | None:
        view = self.view
        if view.state in TERMINAL_INSTANCE_STATES:
            return Reason("ended", "", f"it has ended {view.state}")
        if view.state is InstanceState.PAUSED:
            return Reason("paused", "", f"it is paused ({view.reason or 'no reason given'})")
        if view.state is InstanceState.CANCELLING:
            return Reason("cancelling", "", f"it is being cancelled ({view.reason or 'no reason given'})")
        if view.state is not InstanceState.QUEUED:
            return None
        if view.start_at is not None and view.start_at > self.now:
            return Reason("start_at", "", f"it starts at {iso(view.start_at)}", iso(view.start_at))
        text = f"mutex {view.mutex!r} is held by instance {self.holder or 'nobody: it is about to begin'}"
        return Reason("mutex", "", text, details={"mutex": view.mutex, "holder": self.holder})

    def task(self, path: str, row: TaskRow | None) -> Iterator[Reason]:
        """Reasons of one task and of what is inside it."""
        whole = self._whole()
        if whole is not None:
            yield whole
        if row is None:
            yield self._unreached(path)
        elif row.state in TERMINAL_TASK_STATES:
            yield Reason("ended", path, f"{path} has ended {row.state}")
        else:
            inside = [each for each in self.rows.values() if each.path == path or each.path.startswith(path)]
            for each in inside or [row]:
                reason = self._reason(each)
                if reason is not None:
                    yield reason

    def _unreached(self, path: str) -> Reason:
        node = self.plan.nodes[address_of(path)]
        names = _names(node)
        return Reason("dependencies", path, f"{path} waits for {_listed(names)}", details={"nodes": names})

    def _reason(self, row: TaskRow) -> Reason | None:  # noqa: PLR0911 - one case a state
        node = self.plan.nodes.get(address_of(row.path))
        match row.state:
            case TaskState.PENDING:
                return self._pending(row, node)
            case TaskState.QUEUED:
                return _said(row, self.pace.paused(row)) or self._queued(row)
            case TaskState.BLOCKED:
                return _said(row, self.pace.paused(row) or self.pace.refused(self.plan, row))
            case TaskState.RUNNING:
                return self._running(row)
            case TaskState.RETRYING:
                code = json.loads(row.error)["code"] if row.error else "an error"
                text = f"{row.path} is tried again at {iso(row.wake_at)} after {code} (attempt {row.attempt})"
                return Reason(
                    "backoff", row.path, text, iso(row.wake_at), {"code": code, "attempt": row.attempt}
                )
            case TaskState.PAUSED:
                return Reason("paused", row.path, f"{row.path} is parked: its instance is paused")
            case TaskState.WAITING:
                return self._waiting(row, node)
            case _:
                return None

    def _pending(self, row: TaskRow, node: PlanNode | None) -> Reason | None:
        if node is None:
            return None
        prefix = row.path[: len(row.path) - len(node.name)]
        names = [
            name for name in _names(node) if prefix + name in self.rows or self._never_began(prefix + name)
        ]
        return Reason(
            "dependencies", row.path, f"{row.path} waits for {_listed(names)}", details={"nodes": names}
        )

    def _never_began(self, path: str) -> bool:
        return path not in self.rows

    def _queued(self, row: TaskRow) -> Reason:
        alive = [each for each in self.engines if each.state == "alive" and each.role == "engine"]
        since = iso(row.ready_at)
        if row.executor is not None and alive and not any(row.executor in each.executors for each in alive):
            text = (
                f"no live engine has the executor {row.executor} that {row.path} needs (ready since {since})"
            )
            return Reason("no_executor", row.path, text, details={"executor": row.executor, "since": since})
        if not alive:
            return Reason(
                "no_engine", row.path, f"no engine runs on this database ({row.path} is ready since {since})"
            )
        text = (
            f"{row.path} is ready since {since} and waits for a free slot in queue {row.queue or 'control'}"
        )
        return Reason("slot", row.path, text, details={"queue": row.queue, "since": since})

    def _running(self, row: TaskRow) -> Reason:
        engine = next((each for each in self.engines if each.id == row.engine), None)
        if engine is None or engine.state != "alive" or engine.lease_until < self.now:
            until = iso(engine.lease_until) if engine is not None else None
            text = f"{row.path} was running on engine {row.engine}, which is gone; it is taken over soon"
            return Reason("dead_engine", row.path, text, until, {"engine": row.engine})
        where = f"{engine.host}, process {engine.pid}"
        text = f"{row.path} is running since {iso(row.started_at)} (attempt {row.attempt}) on {where}"
        return Reason("running", row.path, text, details={"engine": engine.id, "attempt": row.attempt})

    def _waiting(self, row: TaskRow, node: PlanNode | None) -> Reason | None:  # noqa: PLR0911 - one case a kind of wait
        until = iso(row.wake_at)
        if node is None or row.closed is not None:
            return None
        if node.kind == "flow":
            child = memo_of(row).get("child")
            state = self.children.get(child or "", "unknown")
            return Reason(
                "child",
                row.path,
                f"{row.path} waits for its run {child}, which is {state}",
                until,
                {"child": child},
            )
        if node.kind == "loop" and row.open == 0:
            return Reason("timer", row.path, f"{row.path} begins its next turn at {until}", until)
        if node.kind != "wait":
            return None
        if row.awaits == VARS:
            return Reason("condition", row.path, f"{row.path} waits until its condition holds", until)
        if row.awaits is not None:
            limit = f", at most until {until}" if until else ""
            text = f"{row.path} waits for the signal {row.awaits!r}{limit}"
            return Reason("signal", row.path, text, until, {"signal": row.awaits})
        return Reason("timer", row.path, f"{row.path} waits until {until}", until)


def _said(row: TaskRow, said: Said | None) -> Reason | None:
    return None if said is None else Reason(said.kind, row.path, said.text, said.until, said.details)


def _names(node: PlanNode) -> list[str]:
    edges = [*node.deps, *(edge for group in node.groups for edge in group.edges)]
    return list(dict.fromkeys(edge.node for edge in edges))


def _listed(names: list[str]) -> str:
    if not names:
        return "what is around it to begin"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(view: InstanceView, path: str | None, reasons: tuple[Reason, ...]) -> str:
    what = f"{view.name} {view.id}" if path is None else path
    if not reasons:
        return f"{what} is {view.state}: nothing holds it up."
    first = reasons[0].text
    if not reasons[0].path:
        first = first[0].upper() + first[1:]
    more = len(reasons) - 1
    rest = f", and {more} more {'reason' if more == 1 else 'reasons'}" if more else ""
    return f"{first}{rest}."
