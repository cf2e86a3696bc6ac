"""How a row begins: reached by its dependencies, skipped, made ready, claimed, entered. Pure; a part of `ripple`.

A node is decided as soon as its edges all hold, or one can no longer hold (DSL rule 8). Edges that must all hold are
a counter on the row; `any` and `none` groups are judged from the rows of their members.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable

from ..repositories.records import TERMINAL_TASK_STATES, InstanceState, TaskRow, TaskState
from .draft import SWEEP_LIMIT, Draft
from .limits import RATE, counters_of, is_limited
from .plan import Body, Edge, PlanNode, ScopePlan, address_of
from .rows import memo_of, new_task, node_of, remember
from .states import InstanceEvent, TaskEvent

__all__ = ["Starting", "holds", "runs_executor"]


def holds(row: TaskRow, on: frozenset[str]) -> bool:
    """Does an ended row meet an edge? One that went on despite its failure counts as failed and as completed."""
    return row.state.value in on or (row.closed == "continued" and "completed" in on)


class Starting:
    """Beginnings, on one draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.plan = draft.plan
        self._decided: deque[tuple[str, bool]] = deque()
        self._skipped = 0

    def ended(self, row: TaskRow, *, counted: bool = True) -> None:
        """A row became terminal. `counted`: its scope counts it as open."""
        self._decided.append((row.path, counted))

    # --- reached

    def reach(self, scope: TaskRow, scope_plan: ScopePlan, name: str, by: TaskRow) -> None:
        """Tell node `name` that its dependency `by` ended."""
        node = scope_plan.nodes[name]
        path = f"{scope.path}.{name}" if scope.path else name
        alone = len(node.deps) == 1 and not node.groups
        row = self.draft.peek(path) if alone and not self.draft.instance.gen else self.draft.row(path)
        if row is not None and (row.state is not TaskState.PENDING or row.remaining == 0):
            return  # decided already, or about to be skipped by the rest of a long cascade
        if node.groups:
            self.judge(scope, node, path, row, by)
            return
        if not _edge_holds(node.deps, by):
            self.skip(scope, node, path, row, f"{_name(by)} is {by.state}")
            return
        remaining = (len(node.deps) if row is None else row.remaining) - 1
        if remaining == 0:
            self.activate(scope, node, path, row)
        elif row is None:
            self.wait_for(scope, node, path, remaining, f"{_name(by)} is {by.state}")
        else:
            self.draft.edit(path).remaining = remaining

    def judge(
        self, scope: TaskRow, node: PlanNode, path: str, row: TaskRow | None, by: TaskRow | None
    ) -> None:
        """All edges and all groups must hold; the first that can no longer hold skips the node."""
        ends = self._ends(scope, node)
        broken = next((e.node for e in node.deps if (end := ends[e.node]) and not holds(end, e.on)), None)
        why = f"{_name(by)} is {by.state}" if by is not None else "dependencies judged anew"
        verdicts = [_group_verdict(group.kind, group.edges, ends) for group in node.groups]
        if broken is not None or "broken" in verdicts:
            self.skip(scope, node, path, row, why if broken is None else f"{broken} does not hold")
        elif all(ends[edge.node] for edge in node.deps) and "open" not in verdicts:
            fired = next((fired for kind, fired in _fired(node, ends, by) if kind == "any"), None)
            self.activate(scope, node, path, row, trigger=fired)
        elif row is None:
            self.wait_for(scope, node, path, 1, why)

    def _ends(self, scope: TaskRow, node: PlanNode) -> dict[str, TaskRow | None]:
        """Rows of every node that a node depends on, None where it has not ended."""
        names = dict.fromkeys(e.node for e in (*node.deps, *(e for g in node.groups for e in g.edges)))
        prefix = f"{scope.path}." if scope.path else ""
        rows = self.draft.rows([prefix + name for name in names])
        found = {name: rows[prefix + name] for name in names}
        return {
            name: row if row is not None and row.state in TERMINAL_TASK_STATES else None
            for name, row in found.items()
        }

    def wait_for(self, scope: TaskRow, node: PlanNode, path: str, remaining: int, reason: str) -> None:
        """Make the row of a node that still waits for `remaining` dependencies."""
        fresh = self._fresh(scope, node, path)
        fresh.remaining = remaining
        self.count_open(scope.path)
        self.draft.born(fresh, TaskEvent.AWAIT, reason, scope_row=self.is_wide(fresh))

    def skip(self, scope: TaskRow, node: PlanNode, path: str, row: TaskRow | None, reason: str) -> None:
        """Skip a node that can no longer run. A long cascade is cut: the rest goes on in the next transaction."""
        if row is None and self._skipped >= SWEEP_LIMIT:
            fresh = self._fresh(scope, node, path)
            self.count_open(scope.path)
            self.draft.born(fresh, TaskEvent.AWAIT, reason).wake_at = self.draft.now
            return
        self._skipped += 1
        if row is None:
            self.ended(self.draft.born(self._fresh(scope, node, path), TaskEvent.SKIP, reason), counted=False)
        else:
            self.ended(self.draft.move(row, TaskEvent.SKIP, reason))

    # --- begun

    def activate(
        self, scope: TaskRow, node: PlanNode, path: str, row: TaskRow | None, *, trigger: str | None = None
    ) -> None:
        """All dependencies hold: enter a group, or make the task claimable."""
        is_new = row is None
        if row is None:
            self.count_open(scope.path)
            row = self._fresh(scope, node, path)
        elif node.deadline is not None or trigger is not None:
            row = self.draft.edit(row.path, counters=True)
        if node.deadline is not None:
            row.deadline_at = self.draft.now + node.deadline
        if trigger is not None:
            remember(row, trigger=trigger)
        if node.kind == "do" and node.when is None:
            self.apply(row, TaskEvent.ENTER, "entered", is_new=is_new)
            self.enter(self.draft.known(path))
        else:
            self.ready(row, "dependencies met" if node.deps else "scope entered", is_new=is_new)

    def spawn(self, owner: TaskRow, body: Body, path: str, reason: str) -> None:
        """Begin an item, turn, branch, case or handler below the row that owns it."""
        if isinstance(body, PlanNode):
            self.activate(owner, body, path, None)
            return
        self.count_open(owner.path)
        row = new_task(owner.instance_id, path, owner.path, gen=self.draft.instance.gen)
        self.enter(self.draft.born(row, TaskEvent.ENTER, reason, scope_row=True))

    def enter(self, row: TaskRow) -> None:
        """Start the nodes of a scope that have no dependencies."""
        scope_plan = self.plan.scopes[address_of(row.path)]
        self.draft.edit(row.path, counters=True).total = len(scope_plan.nodes)
        for name in scope_plan.roots:
            path = f"{row.path}.{name}" if row.path else name
            self.activate(row, scope_plan.nodes[name], path, None)

    def ready(self, row: TaskRow, reason: str, *, is_new: bool = False) -> None:
        """Make a row claimable, or claim it at once when this engine may execute it now."""
        if not is_new:
            row = self.draft.edit(row.path)
        row.remaining = 0
        if self.plan.limited and self._names_to_evaluate(row):
            row = row if is_new else self.draft.edit(row.path, counters=True)
            row.phase = "limits"
        if self.draft.instance.state is InstanceState.PAUSED:
            self.apply(row, TaskEvent.HOLD, "paused", is_new=is_new)
        elif self._may_claim(row):
            self.claim(row, reason, is_new=is_new)
        else:
            self.apply(row, TaskEvent.READY, reason, is_new=is_new)

    def _names_to_evaluate(self, row: TaskRow) -> bool:
        """Must it be evaluated first which counters the task uses? Once: they are kept with the row."""
        if row.executor is None or row.phase is not None:
            return False
        node = node_of(self.plan, row)
        rule = node.limits if node is not None else None
        return rule is not None and rule.is_evaluated and "limits" not in memo_of(row)

    def evaluate(self, row: TaskRow, phase: str, reason: str) -> None:
        """Make a row claimable for a `phase` of its own: an output, a condition, a handler's value."""
        row = self.draft.edit(row.path, counters=True)
        if row.state is not TaskState.WAITING:
            self.draft.move(row, TaskEvent.HANDLE, reason)
        row.phase = phase
        self.ready(row, reason)

    def admit(self, row: TaskRow) -> bool:
        """Take a ready, or blocked, executor's task if its limits let it begin; else it is blocked."""
        draft = self.draft
        if not is_limited(self.plan, row, draft.terms.control):
            self.claim(row, "claimed")
            return True
        wants = counters_of(self.plan, node_of(self.plan, row), row, draft.terms.control)
        refusal = draft.limits.take(wants, draft.now, waited=row.blocked_at is not None)
        if refusal is None:
            held = [[want.name, want.weight] for want in wants]
            self.claim(row, "claimed", holds=json.dumps(held, separators=(",", ":")) if held else None)
            return True
        if row.state is TaskState.QUEUED:
            draft.block(row, refusal)
        elif refusal.name != (row.blocked_on or "").removeprefix(RATE) or refusal.until is not None:
            draft.stay_blocked(row, refusal)
        return False

    def claim(self, row: TaskRow, reason: str, *, is_new: bool = False, holds: str | None = None) -> None:
        """Take a row for this engine; an executor's task begins a new attempt and uses a slot."""
        draft = self.draft
        if not is_new:
            row = draft.edit(row.path, counters=holds is not None or row.blocked_at is not None)
        if runs_executor(row):
            row.attempt += 1
            draft.slots -= 1
            row.started_at = draft.now
        elif row.executor is None:
            row.started_at = row.started_at or draft.now
        self.apply(row, TaskEvent.CLAIM, reason, is_new=is_new)
        row.holds, row.blocked_at = holds, None
        draft.claimed.append(draft.known(row.path))
        if draft.instance.state is InstanceState.PENDING:
            draft.move_instance(InstanceEvent.RUN, "first task claimed")

    def _may_claim(self, row: TaskRow) -> bool:
        terms = self.draft.terms
        if not terms.executes:
            return False
        if not runs_executor(row):
            return True
        if self.draft.slots <= 0 or row.executor not in terms.executors or row.crashes >= 2:
            return False
        if terms.queues is not None and row.queue not in terms.queues:
            return False
        if row.queue in terms.control.paused or is_limited(self.plan, row, terms.control):
            return False  # what has limits is taken from the ready index, in its turn
        return terms.floor is None or row.priority >= terms.floor

    # --- rows

    def apply(self, row: TaskRow, event: TaskEvent, reason: str, *, is_new: bool) -> None:
        """Insert a row with its first transition, or move it."""
        wide = self.is_wide(row)
        if is_new:
            self.draft.born(row, event, reason, scope_row=wide)
        else:
            self.draft.move(row, event, reason)
            if wide:
                self.draft.edit(row.path, counters=True)

    def is_wide(self, row: TaskRow) -> bool:
        """Must all columns be written? Plain `run` and `set` rows do without those of scopes."""
        if row.deadline_at is not None or row.memo is not None or row.phase is not None:
            return True
        node = node_of(self.plan, row)
        return node is None or node.kind not in {"run", "set"}

    def _fresh(self, scope: TaskRow, node: PlanNode, path: str) -> TaskRow:
        instance = self.draft.instance
        row = new_task(scope.instance_id, path, scope.path, gen=instance.gen, node=node)
        if node.queue is None and node.executor is not None and instance.queue is not None:
            row.queue = instance.queue
        if node.priority is None and instance.priority is not None:
            row.priority = instance.priority
        return row

    def count_open(self, scope_path: str) -> None:
        """One more row of the scope has not come to rest."""
        self.draft.edit(scope_path, counters=True).open += 1


def runs_executor(row: TaskRow) -> bool:
    """Does a claim of this row run its executor? Else it only evaluates."""
    return row.executor is not None and row.phase is None


def _edge_holds(deps: Iterable[Edge], by: TaskRow) -> bool:
    name = _name(by)
    for edge in deps:
        if edge.node == name:
            return holds(by, edge.on)
    raise LookupError(f"nothing here depends on {by.path!r}")


def _name(row: TaskRow) -> str:
    return row.path.rsplit(".", 1)[-1]


def _group_verdict(kind: str, edges: tuple[Edge, ...], ends: dict[str, TaskRow | None]) -> str:
    met = [end is not None and holds(end, edge.on) for edge in edges for end in (ends[edge.node],)]
    ended = all(ends[edge.node] is not None for edge in edges)
    if kind == "any":
        return "met" if any(met) else "broken" if ended else "open"
    return "broken" if any(met) else "met" if ended else "open"


def _fired(
    node: PlanNode, ends: dict[str, TaskRow | None], by: TaskRow | None
) -> Iterable[tuple[str, str | None]]:
    """Path of the member that makes each group hold: the one that just ended, else the first in document order."""
    for group in node.groups:
        met = [end for e in group.edges if (end := ends[e.node]) is not None and holds(end, e.on)]
        fired = next((end for end in met if by is not None and end.path == by.path), met[0] if met else None)
        yield group.kind, fired.path if fired is not None else None
