"""What was read for one explanation, at one moment, and what follows from it for one task that has a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..engine.outputs import iso
from ..engine.plan import COMPLETED_ONLY, Edge, NeedGroup, PlanNode
from ..engine.rows import memo_of
from ..repositories import explainviews, views
from ..repositories.records import TERMINAL_TASK_STATES, InstanceState, TaskRow
from .explain_model import START_WORKER, Reason, listed

if TYPE_CHECKING:
    from ..engine.plan import Plan
    from ..repositories.readmodels import InstanceView
    from .explain_fleet import Fleet
    from .explain_limits import Pace

__all__ = ["Facts", "names_of"]

#: Names that the data of a reason lists.
_LISTED: Final = 100


@dataclass(slots=True)
class Facts:
    """What was read of an instance; more is read where a reason needs it."""

    connection: Any
    view: InstanceView
    plan: Plan
    #: Unfinished tasks, as many as are looked at.
    rows: dict[str, TaskRow]
    fleet: Fleet
    now: int
    pace: Pace
    _ends: dict[str, tuple[str, str | None] | None] = field(
        default_factory=dict[str, "tuple[str, str | None] | None"]
    )

    @property
    def is_paused(self) -> bool:
        """Is the instance paused?"""
        return self.view.state is InstanceState.PAUSED

    # --- dependencies

    def waits_for_nodes(self, path: str, node: PlanNode) -> Reason:
        """The reason of a node that its dependencies hold up: only those that have not come yet."""
        prefix = path[: len(path) - len(node.name)]
        texts, names = self._awaited(node, prefix)
        text = f"{path} waits for {listed(texts) if texts else 'what is around it to begin'}"
        details: dict[str, Any] = {"nodes": names[:_LISTED]}
        if len(names) > _LISTED:
            details["count"] = len(names)
        return Reason("dependencies", path, text, details=details)

    def awaited_paths(self, path: str, node: PlanNode) -> list[str]:
        """Paths of the dependencies that have not come yet."""
        prefix = path[: len(path) - len(node.name)]
        return [prefix + name for name in self._awaited(node, prefix)[1]]

    def _awaited(self, node: PlanNode, prefix: str) -> tuple[list[str], list[str]]:
        self._read_ends(prefix + name for name in names_of(node))
        texts = [_edge_text(edge) for edge in node.deps if self._end(prefix, edge) is None]
        names = [edge.node for edge in node.deps if self._end(prefix, edge) is None]
        for group in node.groups:
            open_ = [edge for edge in group.edges if self._end(prefix, edge) is None]
            if open_ and not (group.kind == "any" and self._fired(prefix, group)):
                each = listed([_edge_text(edge) for edge in open_], "or" if group.kind == "any" else "and")
                texts.append(each if group.kind == "any" else f"the end of {each}")
                names += [edge.node for edge in open_]
        return texts, list(dict.fromkeys(names))

    def _fired(self, prefix: str, group: NeedGroup) -> bool:
        ends = [(edge, self._end(prefix, edge)) for edge in group.edges]
        return any(
            end is not None and (end[0] in edge.on or (end[1] == "continued" and "completed" in edge.on))
            for edge, end in ends
        )

    def _end(self, prefix: str, edge: Edge) -> tuple[str, str | None] | None:
        return self._ends.get(prefix + edge.node)

    def _read_ends(self, paths: Any) -> None:
        missing = [path for path in paths if path not in self._ends and path not in self.rows]
        found = explainviews.ends_of(self.connection, self.view.id, missing)
        self._ends |= {path: found.get(path) for path in missing}

    # --- reading more

    def row(self, path: str) -> TaskRow | None:
        """One task, unfinished or not."""
        return self.rows.get(path) or views.task(self.connection, self.view.id, path)

    def below(self, path: str, limit: int) -> list[TaskRow]:
        """A task and what is unfinished below it."""
        return explainviews.unfinished_under(self.connection, self.view.id, path, limit)

    def child_state(self, child: str | None) -> str | None:
        """State of the run that a flow waits for; None while it has not begun."""
        state = views.state_of(self.connection, child) if child is not None else None
        return None if state is None else state.value

    def unmatched(self, name: str) -> int:
        """Signals of a name that were sent and that no wait has taken."""
        return explainviews.parked_signals(self.connection, self.view.id, name)

    def why_ended(self, path: str) -> str | None:
        """The reason that the history gives for the last step of a task."""
        last = explainviews.last_transition(self.connection, self.view.id, path)
        return last.reason if last is not None else None

    # --- timers

    def timer(self, row: TaskRow, kind: str, text: str, details: dict[str, Any] | None = None) -> Reason:
        """A reason that ends by itself at the row's instant; when that has passed, why nothing came of it."""
        at = iso(row.wake_at)
        if row.wake_at is None or row.wake_at > self.now:
            return Reason(kind, row.path, text, at, details or {})
        if self.is_paused:
            return Reason("paused", row.path, f"{row.path} was due at {at}; its instance is paused")
        if not self.fleet.alive:
            said = f"{row.path} was due at {at}, and no engine runs on this database; {START_WORKER}"
            return Reason("no_engine", row.path, said, details=details or {})
        said = f"{row.path} is due since {at}: an engine looks at it at any moment"
        return Reason("due", row.path, said, details=details or {})

    def timeout_of(self, row: TaskRow) -> str | None:
        """Until when a wait waits at most."""
        return iso(memo_of(row).get("timeout_at"))


def names_of(node: PlanNode) -> list[str]:
    """Every node that a node depends on."""
    edges = [*node.deps, *(edge for group in node.groups for edge in group.edges)]
    return list(dict.fromkeys(edge.node for edge in edges))


def _edge_text(edge: Edge) -> str:
    if edge.on == COMPLETED_ONLY or edge.on >= {state.value for state in TERMINAL_TASK_STATES}:
        return edge.node
    return f"{edge.node} (to end {listed(sorted(edge.on), 'or')})"
