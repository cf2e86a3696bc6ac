"""What one ended task sets off inside its instance: successors, skips, scopes, joins, the instance's end. Pure.

Two queues keep the order right: every *decision* (a task became terminal: tell its scope) is handled before any
*leaving* (a task came to rest: its scope has one open row less), so that a scope never ends while a successor of its
last task is still to be reached.
"""

from __future__ import annotations

import json
from collections import deque

from ..repositories.records import (
    TERMINAL_TASK_STATES,
    InstanceState,
    TaskRow,
    TaskState,
)
from .draft import SWEEP_LIMIT, Draft
from .parallel import ParallelExecutor
from .plan import PlanNode, ScopePlan, address_of
from .rows import LEAVES, error_text, map_of, new_task
from .states import InstanceEvent, TaskEvent

__all__ = ["Ripple"]

_FAILED = frozenset({TaskState.FAILED, TaskState.EXPIRED, TaskState.CANCELLED})


class Ripple:
    """The consequences of one event, on one draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.plan = draft.plan
        self.parallel = ParallelExecutor(self)
        self._decided: deque[tuple[str, bool]] = deque()
        self._leaving: deque[str] = deque()
        self._skipped = 0

    def ended(self, row: TaskRow, *, counted: bool = True) -> None:
        """A row became terminal. `counted`: its scope counts it as open."""
        self._decided.append((row.path, counted))

    def run(self) -> None:
        """Follow every consequence until nothing is left to follow."""
        while self._decided or self._leaving:
            if self._decided:
                path, counted = self._decided.popleft()
                row = self.draft.known(path)
                self._tell_scope(row)
                if counted and row.open == 0:
                    self._leaving.append(path)
            else:
                self._leave(self.draft.known(self._leaving.popleft()))

    # --- a task ended

    def _tell_scope(self, row: TaskRow) -> None:
        if row.scope is None:
            return
        scope = self.draft.known(row.scope)
        node = map_of(self.plan, scope)
        if node is not None:
            self.parallel.item_ended(scope, node, row)
        elif not self.is_closed(scope):
            self._node_ended(scope, row)

    def _node_ended(self, scope: TaskRow, row: TaskRow) -> None:
        scope_plan = self.plan.scopes[address_of(scope.path)]
        node = self.plan.nodes[address_of(row.path)]
        if row.state in _FAILED and not node.failure_handled:
            self._fail_scope(scope, node, row)
            return
        for name in node.successors:
            self._reach(scope, scope_plan, name, node.name, row.state)

    def _fail_scope(self, scope: TaskRow, node: PlanNode, row: TaskRow) -> None:
        """DSL rule 23: nothing new starts, running tasks end, the rest is cancelled, then the scope fails."""
        scope = self.draft.edit(scope.path, counters=True)
        if scope.cursor is not None:
            self.end_sweep(scope)
        scope.closed = "failed"
        cause = row.error or error_text(
            "cancelled", "the task was cancelled", node=node.name, path=row.path, attempt=row.attempt
        )
        scope.error = cause if scope.scope is None else self._wrapped(scope, cause)
        self.sweep(scope)

    def _wrapped(self, scope: TaskRow, cause: str) -> str:
        inner = json.loads(cause)
        return error_text(
            inner["code"],
            inner["message"],
            node=_label(scope.path),
            path=scope.path,
            attempt=scope.attempt,
            cause=cause,
        )

    def is_closed(self, scope: TaskRow) -> bool:
        """True when the scope, or one around it whose rows are not all swept yet, starts nothing new.

        A map that keeps its rest is closed for its verdict only: its items go on as long as the scope around it does.
        """
        row: TaskRow | None = scope
        while row is not None:
            if row.closed is None:
                if not self.draft.instance.sweeps:
                    return False  # every open scope below a closed one has been closed by its sweep
            elif not self._keeps_rest(row):
                return True
            row = self.draft.known(row.scope) if row.scope is not None else None
        return False

    def _keeps_rest(self, scope: TaskRow) -> bool:
        node = map_of(self.plan, scope)
        return node is not None and node.join.rest == "keep"

    # --- successors

    def _reach(self, scope: TaskRow, scope_plan: ScopePlan, name: str, by: str, state: TaskState) -> None:
        """Tell node `name` that its dependency `by` ended in `state` (DSL rule 8)."""
        node = scope_plan.nodes[name]
        path = f"{scope.path}.{name}" if scope.path else name
        row = self.draft.row(path) if len(node.deps) > 1 or self.draft.instance.gen else None
        if row is not None and (row.state is not TaskState.PENDING or row.remaining == 0):
            return  # decided already, or about to be skipped by the rest of a long cascade
        if not _holds(node, by, state):
            self.skip(scope, node, path, row, f"{by} is {state}")
            return
        remaining = (len(node.deps) if row is None else row.remaining) - 1
        if remaining == 0:
            self.activate(scope, node, path, row)
        elif row is None:
            self.wait_for(scope, node, path, remaining, f"{by} is {state}")
        else:
            self.draft.edit(path).remaining = remaining

    def wait_for(self, scope: TaskRow, node: PlanNode, path: str, remaining: int, reason: str) -> None:
        """Make the row of a node that still waits for `remaining` dependencies."""
        fresh = self._fresh(scope, node, path)
        fresh.remaining = remaining
        self.count_open(scope.path)
        self.draft.born(fresh, TaskEvent.AWAIT, reason)

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

    def activate(self, scope: TaskRow, node: PlanNode, path: str, row: TaskRow | None) -> None:
        """All dependencies hold: enter a group, or make the task claimable."""
        if row is None:
            self.count_open(scope.path)
            row = self._fresh(scope, node, path)
            is_new = True
        else:
            is_new = False
        if node.kind == "do" and node.when is None:
            self._apply(row, TaskEvent.ENTER, "entered", is_new=is_new, scope_row=True)
            self.enter(self.draft.known(path))
        else:
            self.ready(row, "dependencies met" if node.deps else "scope entered", is_new=is_new)

    def ready(self, row: TaskRow, reason: str, *, is_new: bool = False) -> None:
        """Make a row claimable, or claim it at once when this engine may execute it now."""
        if not is_new:
            row = self.draft.edit(row.path)
        row.remaining = 0
        if self.draft.instance.state is InstanceState.PAUSED:
            self._apply(row, TaskEvent.HOLD, "paused", is_new=is_new, scope_row=self._is_scope(row))
        elif self._may_claim(row):
            self.claim(row, reason, is_new=is_new)
        else:
            self._apply(row, TaskEvent.READY, reason, is_new=is_new, scope_row=self._is_scope(row))

    def claim(self, row: TaskRow, reason: str, *, is_new: bool = False) -> None:
        """Take a row for this engine; an executor's task begins a new attempt and uses a slot."""
        draft = self.draft
        if not is_new:
            row = draft.edit(row.path)
        if row.executor is not None:
            row.attempt += 1
            draft.slots -= 1
        row.started_at = row.started_at if row.executor is None and row.started_at else draft.now
        self._apply(row, TaskEvent.CLAIM, reason, is_new=is_new, scope_row=self._is_scope(row))
        draft.claimed.append(draft.known(row.path))
        if draft.instance.state is InstanceState.PENDING:
            draft.move_instance(InstanceEvent.RUN, "first task claimed")

    def _may_claim(self, row: TaskRow) -> bool:
        terms = self.draft.terms
        if not terms.executes:
            return False
        if row.executor is None:
            return True
        if self.draft.slots <= 0 or row.executor not in terms.executors or row.crashes >= 2:
            return False
        if terms.queues is not None and row.queue not in terms.queues:
            return False
        return terms.floor is None or row.priority >= terms.floor

    def _apply(self, row: TaskRow, event: TaskEvent, reason: str, *, is_new: bool, scope_row: bool) -> None:
        if is_new:
            self.draft.born(row, event, reason, scope_row=scope_row)
        else:
            self.draft.move(row, event, reason)
            if scope_row:
                self.draft.edit(row.path, counters=True)

    def _is_scope(self, row: TaskRow) -> bool:
        address = address_of(row.path)
        node = self.plan.nodes.get(address)
        return node is None or node.kind in {"map", "do", "wait"}

    def _fresh(self, scope: TaskRow, node: PlanNode, path: str) -> TaskRow:
        return new_task(scope.instance_id, path, scope.path, gen=self.draft.instance.gen, node=node)

    def count_open(self, scope_path: str) -> None:
        """One more row of the scope has not come to rest."""
        self.draft.edit(scope_path, counters=True).open += 1

    # --- scopes

    def enter(self, row: TaskRow) -> None:
        """Start the nodes of a scope that have no dependencies."""
        scope_plan = self.plan.scopes[address_of(row.path)]
        self.draft.edit(row.path, counters=True).total = len(scope_plan.nodes)
        for name in scope_plan.roots:
            path = f"{row.path}.{name}" if row.path else name
            self.activate(row, scope_plan.nodes[name], path, None)

    def _leave(self, row: TaskRow) -> None:
        """A row and everything below it is at rest."""
        if row.cursor is not None:
            self.end_sweep(row)
        if row.scope is None:
            self._end_instance(row)
            return
        scope = self.draft.edit(row.scope, counters=True)
        scope.open -= 1
        node = map_of(self.plan, scope)
        if node is not None:
            self.parallel.item_left(scope, node)
        if scope.open == 0:
            if scope.cursor is not None:
                self.end_sweep(scope)
            self._scope_empty(scope)

    def _scope_empty(self, scope: TaskRow) -> None:
        if scope.state in TERMINAL_TASK_STATES:
            self._leaving.append(scope.path)
        elif scope.state is not TaskState.WAITING:
            return  # its output is being evaluated
        elif scope.closed == "failed":
            self.ended(self.draft.move(scope, TaskEvent.FAIL, "a task failed"))
        elif scope.closed == "expired":
            self.ended(self.draft.move(scope, TaskEvent.FAIL, "deadline"))
        elif scope.closed == "cancelled":
            self.ended(self.draft.move(scope, TaskEvent.CANCEL, "cancelled"))
        elif map_of(self.plan, scope) is None:
            self._complete_scope(scope)

    def _complete_scope(self, scope: TaskRow) -> None:
        """Every node completed or was skipped: the output is evaluated, or stays to be read from the last nodes."""
        address = address_of(scope.path)
        node = self.plan.nodes.get(address)
        if self.plan.scopes[address].output is not None or (node is not None and node.output is not None):
            self.ready(self.draft.edit(scope.path, counters=True), "output")
        else:
            self.draft.edit(scope.path, counters=True).output_ref = LEAVES
            self.ended(self.draft.move(scope, TaskEvent.SUCCEED, "all nodes ended"))

    def _end_instance(self, root: TaskRow) -> None:
        draft = self.draft
        if draft.instance.state is InstanceState.PENDING:
            draft.move_instance(InstanceEvent.RUN, "nothing to claim")
        if draft.instance.state is InstanceState.CANCELLING:
            draft.move_instance(InstanceEvent.STOP, "nothing runs any more")
        elif root.state is TaskState.COMPLETED:
            draft.move_instance(InstanceEvent.COMPLETE, "all nodes ended")
        else:
            draft.move_instance(InstanceEvent.FAIL, "a node failed")

    # --- stopping

    def sweep(self, scope: TaskRow) -> None:
        """Stop what is unfinished below a closed scope, SWEEP_LIMIT rows a transaction; the row is the cursor."""
        draft = self.draft
        scope = draft.edit(scope.path, counters=True)
        hard = scope.closed in {"cancelled", "expired"} or map_of(self.plan, scope) is not None
        going_on = scope.cursor is not None
        rows, last = draft.descendants(scope.path, scope.cursor or scope.path)
        scope.cursor = last
        scope.wake_at = draft.now if last else None
        if last and not going_on:
            draft.instance.sweeps += 1
        elif going_on and not last:
            draft.instance.sweeps -= 1
        for row in rows:
            self._stop(row, hard=hard)

    def end_sweep(self, scope: TaskRow) -> None:
        """Nothing is left for a scope's sweep, or another one takes it over."""
        scope = self.draft.edit(scope.path, counters=True)
        scope.cursor = scope.wake_at = None
        if scope.closed:  # the steps of a resume are not counted
            self.draft.instance.sweeps -= 1

    def _stop(self, row: TaskRow, *, hard: bool) -> None:
        if row.state is TaskState.RUNNING:
            if (hard or row.executor is None) and row.closed is None:
                whole = self._is_scope(row) or self.draft.is_new(
                    row.path
                )  # a new leaf is inserted without `closed`
                self.draft.edit(row.path, counters=whole).closed = "cancelled"
                self.draft.stopped.append((row.path, row.attempt))
        elif row.open > 0 and row.state is TaskState.WAITING:
            row = self.draft.edit(row.path, counters=True)
            row.closed = row.closed or "cancelled"
        else:
            self.ended(self.draft.move(row, TaskEvent.CANCEL, "scope closed"))


def _holds(node: PlanNode, by: str, state: TaskState) -> bool:
    for edge in node.deps:
        if edge.node == by:
            return state in edge.on
    raise LookupError(f"{node.address} does not depend on {by}")


def _label(path: str) -> str:
    return path.rsplit(".", 1)[-1]
