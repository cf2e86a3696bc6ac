"""ParallelExecutor: items and branches become tasks, lazily, and their join is judged (DSL rules 16 and 17). Pure.

The list is stored whole, in pages, with the transition that fixes its length; rows follow when they may run: at most
`concurrency` unfinished ones, or a window topped up at half. A join closes the map as soon as it is certain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ..repositories.records import BlobRow, TaskRow, TaskState
from .joins import verdict
from .outcomes import Expanded
from .plan import Body, PlanNode, given
from .rows import BRANCHES, ITEMS, error_text, items_key, keys_key, remember
from .states import TaskEvent

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["WINDOW", "ParallelExecutor", "child_paths", "stats_of"]

#: Rows of a map that may be unfinished at a time when the definition sets no `concurrency`.
WINDOW: Final = 1_000


def child_paths(row: TaskRow, node: PlanNode, indexes: Iterable[int]) -> list[str]:
    """Paths of a map's items, a parallel's branches or a loop's turns, by number."""
    if node.kind == "parallel":
        labels = list(node.bodies)
        return [f"{row.path}.{labels[index]}" for index in indexes]
    form = "{}#{}" if node.kind == "loop" else "{}[{}]"
    return [form.format(row.path, index) for index in indexes]


def stats_of(row: TaskRow) -> dict[str, int]:
    """`stats` of a map, a parallel or a loop: how its children ended (DSL rule 4)."""
    total = row.total if row.total is not None else row.next
    ended = {"completed": row.done, "failed": row.failed, "skipped": row.skipped}
    return {"total": total, **ended, "cancelled": max(0, total - sum(ended.values()))}


class ParallelExecutor:
    """The part of maps and parallels in a ripple."""

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
        for number, page in enumerate(outcome.keys):
            key = keys_key(row.path, row.gen, number)
            self._draft.changes.blobs.append(BlobRow(row.instance_id, key, page))
        self._draft.move(row, TaskEvent.ENTER, f"{outcome.total} items")
        self._judge(row, node, None)
        row = self._draft.known(row.path)
        if self._keeps_starting(row, node):
            self.execute_parallel(row, node)

    def item_ended(self, scope: TaskRow, node: PlanNode, item: TaskRow) -> None:
        """Count an item's end and judge the join; what ends after the verdict no longer counts for the output."""
        scope = self._draft.edit(scope.path, counters=True)
        if item.state is TaskState.COMPLETED:
            scope.done += 1
        elif item.state is TaskState.SKIPPED:
            scope.skipped += 1
        elif item.state is not TaskState.CANCELLED or not (scope.closed or self._ripple.is_closed(scope)):
            scope.failed += 1
            scope.excused += item.closed == "continued"
        if node.collect != "list" and item.output is not None:
            self._draft.edit(item.path).output = None
        if scope.closed or scope.state is not TaskState.WAITING:
            if scope.closed == "completed" and item.state is TaskState.COMPLETED:
                self._late(item)
        elif not self._ripple.is_closed(scope):
            self._judge(scope, node, item)

    def _late(self, item: TaskRow) -> None:
        """Mark what does not count for the output; `closed` stays where it says more than that the item ended."""
        if item.closed in {None, "cancelled"}:
            self._draft.edit(item.path, counters=self._ripple.is_wide(item)).closed = "late"
        else:
            remember(self._draft.edit(item.path, counters=True), late=True)

    def item_left(self, scope: TaskRow, node: PlanNode) -> None:
        """An item came to rest and no longer counts as unfinished: there may be room for the next ones."""
        if scope.memo is not None and scope.closed is None and self._ripple.redo(scope, node):
            return
        self.go_on(scope, node)

    def go_on(self, scope: TaskRow, node: PlanNode) -> None:
        """Make rows for the next items, where any are left and may run."""
        unmade = scope.next < (scope.total or 0)
        if unmade and self._keeps_starting(scope, node) and not self._ripple.is_stopped(scope):
            self.execute_parallel(scope, node)

    def judge_at_rest(self, scope: TaskRow, node: PlanNode) -> None:
        """A map that was opened again may have nothing to do but to end."""
        if scope.open == 0 and scope.closed is None and scope.state is TaskState.WAITING:
            self._judge(self._draft.edit(scope.path, counters=True), node, None)

    def _keeps_starting(self, scope: TaskRow, node: PlanNode) -> bool:
        return scope.closed is None or (scope.closed == "completed" and node.join.rest == "keep")

    def _judge(self, scope: TaskRow, node: PlanNode, item: TaskRow | None) -> None:
        """Close the map as soon as its join is certain; the rest is cancelled or kept (DSL rule 17)."""
        total = scope.total or 0
        good, bad = scope.done + scope.skipped + scope.excused, scope.failed - scope.excused
        found = verdict(node.join, total=total, good=good, bad=bad)
        if found is None:
            return
        rest = scope.next < total or scope.open > (0 if item is None else 1)
        if found == "impossible":
            self._impossible(scope, node, item)
        else:
            scope.closed = "completed"
            if node.collect == "stats":
                scope.output = json.dumps(stats_of(scope), separators=(",", ":"))
            listed = BRANCHES if node.kind == "parallel" else ITEMS
            self._ripple.complete(scope, node, listed if node.collect == "list" else None, "join")
        if rest and node.join.rest == "cancel":
            self._ripple.sweep(scope)

    def _impossible(self, scope: TaskRow, node: PlanNode, item: TaskRow | None) -> None:
        """Nobody waits for the rest, unless a handler follows: that one wants it to be at rest."""
        scope.closed = "failed"
        scope.error = self._join_error(scope, node, item)
        if not node.on_error:
            self._ripple.ended(self._draft.move(scope, TaskEvent.FAIL, "join"))
        elif scope.open == 0:
            self._ripple.failures.fail(scope, "join")

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
        bodies: list[Body] = list(node.bodies.values())
        for index, path in enumerate(child_paths(scope, node, range(scope.next, stop)), scope.next):
            body = bodies[index] if bodies else given(node.body, "body")
            self._ripple.spawn(scope, body, path, "branch" if bodies else "item")
        self._draft.edit(scope.path, counters=True).next = max(stop, scope.next)
