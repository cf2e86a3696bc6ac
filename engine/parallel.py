"""ParallelExecutor: a map's items become tasks, lazily, and its join is judged (DSL rules 16 and 17). Pure.

The list is stored whole, in pages, with the transition that fixes its length; rows follow when they may run: at most
`concurrency` unfinished ones, or a window topped up at half. A join closes the map as soon as it is certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..repositories.records import BlobRow, TaskRow, TaskState
from .joins import verdict
from .outcomes import Expanded
from .plan import PlanNode, given
from .rows import ITEMS, error_text, items_key, new_task
from .states import TaskEvent

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["WINDOW", "ParallelExecutor"]

#: Rows of a map that may be unfinished at a time when the definition sets no `concurrency`.
WINDOW: Final = 1_000


class ParallelExecutor:
    """The map's part of a ripple."""

    def __init__(self, ripple: Ripple) -> None:
        self._ripple = ripple
        self._draft = ripple.draft

    def generate_parallel_tasks(self, row: TaskRow, node: PlanNode, outcome: Expanded) -> None:
        """The list is known: store it, then make the first rows (item count and list are committed before any runs)."""
        row = self._draft.edit(row.path, counters=True)
        row.total = outcome.total
        row.width = outcome.concurrency
        for number, page in enumerate(outcome.pages):
            self._draft.changes.blobs.append(
                BlobRow(row.instance_id, items_key(row.path, row.gen, number), page)
            )
        self._draft.move(row, TaskEvent.ENTER, f"{outcome.total} items")
        self._judge(row, node, None)
        if row.closed is None and row.state is TaskState.WAITING:
            self.execute_parallel(row, node)

    def item_ended(self, scope: TaskRow, node: PlanNode, item: TaskRow) -> None:
        """Count an item's end and judge the join; what ends after the verdict no longer counts for the output."""
        scope = self._draft.edit(scope.path, counters=True)
        if item.state is TaskState.COMPLETED:
            scope.done += 1
        elif item.state is TaskState.SKIPPED:
            scope.skipped += 1
        else:
            scope.failed += 1
        if scope.closed or scope.state is not TaskState.WAITING:
            self._draft.edit(item.path).closed = "late"
        elif not self._ripple.is_closed(scope):
            self._judge(scope, node, item)

    def item_left(self, scope: TaskRow, node: PlanNode) -> None:
        """An item came to rest and no longer counts as unfinished: there may be room for the next ones."""
        unmade = scope.next < (scope.total or 0)
        if unmade and self._keeps_starting(scope, node) and not self.is_closed_around(scope):
            self.execute_parallel(scope, node)

    def _keeps_starting(self, scope: TaskRow, node: PlanNode) -> bool:
        return scope.closed is None or (scope.closed == "completed" and node.join.rest == "keep")

    def is_closed_around(self, scope: TaskRow) -> bool:
        """True when a scope around this one starts nothing new."""
        return scope.scope is not None and self._ripple.is_closed(self._draft.known(scope.scope))

    def _judge(self, scope: TaskRow, node: PlanNode, item: TaskRow | None) -> None:
        """Close the map as soon as its join is certain; the rest is cancelled or kept (DSL rule 17)."""
        total = scope.total or 0
        found = verdict(node.join, total=total, good=scope.done + scope.skipped, bad=scope.failed)
        if found is None:
            return
        rest = scope.next < total or scope.open > (0 if item is None else 1)
        if found == "impossible":
            scope.closed = "failed"
            scope.error = self._join_error(scope, node, item)
            self._ripple.ended(self._draft.move(scope, TaskEvent.FAIL, "join"))
        else:
            scope.closed = "completed"
            if node.output is not None:
                self._ripple.ready(scope, "output")
            else:
                scope.output_ref = ITEMS
                self._ripple.ended(self._draft.move(scope, TaskEvent.SUCCEED, "join"))
        if rest and node.join.rest == "cancel":
            self._ripple.sweep(scope)

    def _join_error(self, scope: TaskRow, node: PlanNode, item: TaskRow | None) -> str:
        message = f"{scope.failed} of {scope.total} items failed, {scope.done + scope.skipped} completed"
        return error_text(
            "join",
            f"the join of {node.name or scope.path!r} cannot be met: {message}",
            node=node.name,
            path=scope.path,
            attempt=0,
            cause=item.error if item is not None else None,
        )

    def execute_parallel(self, scope: TaskRow, node: PlanNode) -> None:
        """Make rows for the next items: at most `concurrency` unfinished ones, or a window topped up at half."""
        total, limit = scope.total or 0, scope.width or WINDOW
        if scope.next >= total or (scope.width is None and scope.open > WINDOW // 2):
            return
        stop = min(total, scope.next + min(limit - scope.open, WINDOW))
        body = given(node.body, "body")
        for index in range(scope.next, stop):
            path = f"{scope.path}[{index}]"
            if isinstance(body, PlanNode):
                self._ripple.activate(scope, body, path, None)
            else:
                self._ripple.count_open(scope.path)
                row = new_task(scope.instance_id, path, scope.path, gen=self._draft.instance.gen)
                self._ripple.enter(self._draft.born(row, TaskEvent.ENTER, "item", scope_row=True))
        self._draft.edit(scope.path, counters=True).next = max(stop, scope.next)
