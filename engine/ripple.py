"""What one ended task sets off inside its instance: successors, skips, scopes, joins, the instance's end. Pure.

Two queues keep the order right: every *decision* (a task became terminal: tell its scope) is handled before any
*leaving* (a task came to rest: its scope has one open row less), so that a scope never ends while a successor of its
last task is still to be reached.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

from ..repositories.records import TERMINAL_TASK_STATES, TaskRow, TaskState
from .ending import end_instance
from .plan import PlanNode, address_of
from .rows import LEAVES, error_text, memo_of, node_of, remember, wrapped_error
from .states import TaskEvent
from .stopping import Stopping, aside

if TYPE_CHECKING:
    from .choices import Choices
    from .draft import Draft
    from .failures import Failures
    from .parallel import ParallelExecutor
    from .turns import Turns
    from .undo import Undo

__all__ = ["Ripple"]

_FAILED = frozenset({TaskState.FAILED, TaskState.EXPIRED, TaskState.CANCELLED})
_PARTS = ("parallel", "turns", "choices", "failures", "undo")


class Ripple(Stopping):
    """The consequences of one event, on one draft."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._leaving: deque[str] = deque()
        self._resting: deque[str] = deque()

    # Made when first needed: most decisions need none, and each points back here (see `run`).

    @cached_property
    def parallel(self) -> ParallelExecutor:
        """Maps and parallels."""
        from .parallel import ParallelExecutor

        return ParallelExecutor(self)

    @cached_property
    def turns(self) -> Turns:
        """Loops."""
        from .turns import Turns

        return Turns(self)

    @cached_property
    def choices(self) -> Choices:
        """Switches."""
        from .choices import Choices

        return Choices(self)

    @cached_property
    def failures(self) -> Failures:
        """Handlers and `finally`."""
        from .failures import Failures

        return Failures(self)

    @cached_property
    def undo(self) -> Undo:
        """Compensation."""
        from .undo import Undo

        return Undo(self)

    def run(self) -> None:
        """Follow every consequence until nothing is left to follow."""
        self._follow()
        for (
            name
        ) in _PARTS:  # a circle would keep the whole decision alive until the collector finds it (ADR 7)
            self.__dict__.pop(name, None)

    def _follow(self) -> None:
        while self._decided or self._leaving or self._resting:
            if self._decided:
                path, counted = self._decided.popleft()
                row = self.draft.known(path)
                self._tell_owner(row)
                if counted and row.open == 0:
                    self._leaving.append(path)
            elif self._leaving:
                self._leave(self.draft.known(self._leaving.popleft()))
            else:
                scope = self.draft.known(self._resting.popleft())
                if scope.open == 0 and scope.state is TaskState.WAITING:
                    self._scope_empty(scope)

    def rest(self, path: str) -> None:
        """A row that counts as open has nothing open below it any more."""
        self._leaving.append(path)

    def reopen(self) -> None:
        """What stood in the way of going back has been undone."""
        from .reopening import reopen

        reopen(self)

    def redo(self, scope: TaskRow, node: PlanNode) -> bool:
        """Children that failed before the run was taken back have their turn before new ones; False without any."""
        from .reopening import redo_items

        return redo_items(self, scope, node)

    def rest_scope(self, scope: TaskRow) -> None:
        """A scope that was opened again may have nothing to do: look when all decisions have been followed."""
        self._resting.append(scope.path)

    # --- a task ended

    def _tell_owner(self, row: TaskRow) -> None:
        if row.scope is None:
            return
        owner = self.draft.known(row.scope)
        beside = aside(row)
        node = node_of(self.plan, owner)
        if beside == "undo":
            self.undo.ended(owner, row)
        elif beside:
            self.failures.handler_ended(owner, row, beside)
        elif node is not None and node.is_fan:
            self.parallel.item_ended(owner, node, row)
        elif node is not None and node.kind in {"loop", "switch"}:
            self._child_ended(owner, row)
        elif not self.is_closed(owner):
            self._node_ended(owner, row)

    def _child_ended(self, owner: TaskRow, row: TaskRow) -> None:
        """A turn or a case ended: its failure is the container's."""
        owner = self.draft.edit(owner.path, counters=True)
        if row.state is TaskState.COMPLETED:
            owner.done += 1
        elif row.state is TaskState.SKIPPED:
            owner.skipped += 1
        else:
            owner.failed += 1
        if row.state in _FAILED and row.closed != "continued" and owner.closed is None:
            self.close(owner, row)

    def _node_ended(self, scope: TaskRow, row: TaskRow) -> None:
        scope_plan = self.plan.scopes[address_of(scope.path)]
        node = self.plan.nodes[address_of(row.path)]
        if row.state in _FAILED and row.closed != "continued" and not node.failure_handled:
            if self.plan.on_failure == "stop" or row.state is not TaskState.FAILED:
                self.close(scope, row)
                return
            self._note_failure(scope, row)
        for name in node.successors:
            self.reach(scope, scope_plan, name, row)

    def _note_failure(self, scope: TaskRow, row: TaskRow) -> None:
        """`on_failure: finish`: the scope goes on, and fails when it is at rest."""
        scope = self.draft.edit(scope.path, counters=True)
        scope.failed += 1
        if scope.error is None:
            self._take_error(scope, row)

    def _take_error(self, scope: TaskRow, row: TaskRow) -> None:
        """A failure rises: what failed inside is the cause of its scope's error, and matches the same patterns."""
        cause, label = self._cause(row), scope.path.rsplit(".", 1)[-1]
        scope.error = (
            cause
            if scope.scope is None
            else wrapped_error(cause, node=label, path=scope.path, attempt=scope.attempt)
        )
        if row.memo is not None or scope.memo is not None:
            remember(scope, codes=memo_of(row).get("codes"))

    def _cause(self, row: TaskRow) -> str:
        node = node_of(self.plan, row)
        return row.error or error_text(
            "cancelled",
            "the task was cancelled",
            node=node.name if node else "",
            path=row.path,
            attempt=row.attempt,
        )

    def close(self, scope: TaskRow, failed: TaskRow) -> None:
        """Start nothing new in a scope and cancel what has not begun; it ends when it is at rest (DSL rule 23)."""
        scope = self.draft.edit(scope.path, counters=True)
        if scope.cursor is not None:
            self.end_sweep(scope)
        scope.closed = "failed"
        self._take_error(scope, failed)
        self.sweep(scope)
        if scope.open == 0 and scope.state is TaskState.WAITING:
            self._scope_empty(scope)

    # --- scopes

    def _leave(self, row: TaskRow) -> None:
        """A row and everything below it is at rest."""
        if row.cursor is not None:
            self.end_sweep(row)
        if row.scope is None:
            end_instance(self, row)
            return
        scope = self.draft.edit(row.scope, counters=True)
        scope.open -= 1
        node = node_of(self.plan, scope)
        if node is not None and node.is_fan and not aside(row):
            self.parallel.item_left(scope, node)
        if row.closed == "undone":
            self.undo.left(scope)
        if scope.open == 0:
            if scope.cursor is not None:
                self.end_sweep(scope)
            self._scope_empty(scope)

    def _scope_empty(self, scope: TaskRow) -> None:  # noqa: C901, PLR0912 - one case a reason to be empty
        node = node_of(self.plan, scope)
        if scope.state in TERMINAL_TASK_STATES:
            if scope.closed == "undo":
                self.undo.rested(scope)
            if scope.open == 0:
                self._leaving.append(scope.path)
        elif scope.state is not TaskState.WAITING:
            return  # its output is being evaluated
        elif scope.closed == "terminated":
            self.ended(self.draft.move(scope, TaskEvent.CANCEL, "terminated"))
        elif (end := memo_of(scope).get("end")) is not None:
            self.ended(self.draft.move(scope, TaskEvent(end), "finally ended"))
        elif memo_of(scope).get("walk"):
            self.undo.walked(scope)
        elif scope.closed in {"failed", "expired"}:
            self.failures.fail(scope, "a task failed" if scope.closed == "failed" else "deadline")
        elif scope.closed == "cancelled":
            self.failures.cancelled(scope)
        elif node is not None and node.kind == "loop":
            self.turns.turn_left(scope, node)
        elif node is not None and node.kind == "switch":
            self.choices.case_left(scope, node)
        elif (node is None or node.kind == "do") and scope.closed is None:
            if scope.failed:
                self.failures.fail(self.draft.edit(scope.path, counters=True), "a task failed")
            else:
                self._complete_scope(scope, node)

    def _complete_scope(self, scope: TaskRow, node: PlanNode | None) -> None:
        """Every node completed or was skipped: the output is evaluated, or stays to be read from the last nodes."""
        scope_plan = self.plan.scopes[address_of(scope.path)]
        if scope_plan.output is not None or (node is not None and node.output is not None):
            self.evaluate(scope, "output", "output")
        elif scope.scope is None and self.draft.instance.parent_id is not None:
            self.evaluate(scope, "output", "output")  # the flow above takes a value, not rows of another run
        else:
            self.draft.edit(scope.path, counters=True).output_ref = LEAVES
            self.finish(scope, TaskEvent.SUCCEED, "all nodes ended")

    def complete(self, row: TaskRow, node: PlanNode, output_ref: str | None, reason: str) -> None:
        """A container met its end: its output is evaluated, or stays to be read from below it."""
        row = self.draft.edit(row.path, counters=True)
        if node.output is not None:
            self.evaluate(row, "output", "output")
            return
        row.output_ref = output_ref
        self.finish(row, TaskEvent.SUCCEED, reason)

    def finish(self, row: TaskRow, event: TaskEvent, reason: str) -> None:
        """Move a row to its end; the definition's own end waits for `finally`."""
        if row.scope is None and self.plan.finally_ is not None and self.failures.run_finally(row, event):
            return
        self.ended(self.draft.move(row, event, reason))
