"""How a scope stops: which rows may still begin something, and the bounded sweeps that end the rest. Pure.

A closed scope starts nothing new (DSL rule 23). Three strengths: `failed` lets running attempts end; `cancelled`,
`expired` and a map's verdict ask them to stop; `terminated` gives them up at once. What runs beside a scope's nodes
(`!error`, `!undo`, `!finally`) is not stopped by the closing that made it necessary.
"""

from __future__ import annotations

from typing import Final

from ..repositories.batch import Changes
from ..repositories.records import MessageRow, TaskRow, TaskState
from .plan import PlanNode
from .rows import memo_of, node_of
from .starting import Starting
from .states import TaskEvent

__all__ = ["CLOSED", "Stopping", "aside"]

#: Values of `closed` that begin nothing new inside, and whose `cursor` is that of a sweep.
CLOSED: Final = frozenset({"failed", "expired", "cancelled", "terminated", "completed"})
_HARD: Final = frozenset({"cancelled", "expired", "terminated"})


def aside(row: TaskRow) -> str:
    """What runs beside its owner's own children: `error`, `timeout`, `undo`, `finally`; else an empty text."""
    at = len(row.scope or "")
    if row.scope is None or row.path[at : at + 1] != "!":
        return ""
    return row.path[at + 1 :].rstrip("0123456789")


def _outlives(row: TaskRow, owner: TaskRow) -> bool:
    """Does what a row keeps go on although its owner, a map, is decided? The verdict stops what has not ended."""
    return owner.closed == "completed" and row.state is TaskState.COMPLETED


def _child_of(scope: str, path: str) -> str:
    """Path of the row that `scope` owns and that `path` is, or stands in."""
    ends = (at for at in range(len(scope) + 1, len(path)) if path[at] in ".[#!")
    return path[: next(ends, len(path))]


class Stopping(Starting):
    """Stopping, on one draft."""

    def is_closed(self, scope: TaskRow) -> bool:
        """True when the scope, or one around it whose rows are not all swept yet, starts nothing new.

        A map that keeps its rest is closed for its verdict only: its items go on as long as the scope around it does.
        """
        if scope.closed in CLOSED and not self._keeps_rest(scope):
            return True
        if scope.closed is None and not self.draft.instance.sweeps:
            return False  # every open scope below a closed one has been closed by its sweep
        return self.is_stopped(scope)

    def is_stopped(self, row: TaskRow) -> bool:
        """True when a scope around this row starts nothing new."""
        while row.scope is not None:
            owner, beside = self.draft.known(row.scope), aside(row)
            if beside in {"undo", "finally"}:
                return owner.closed == "terminated"
            if beside:
                if owner.closed in _HARD:
                    return True
            elif owner.closed in CLOSED and not self._keeps_rest(owner) and not _outlives(row, owner):
                return True
            elif owner.closed is None and not self.draft.instance.sweeps:
                return False
            row = owner
        return False

    def _keeps_rest(self, scope: TaskRow) -> bool:
        node = node_of(self.plan, scope)
        keeps = node is not None and node.is_fan and node.join.rest == "keep"
        return keeps and scope.closed in {"completed", "failed"}

    def sweep(self, scope: TaskRow) -> None:
        """Stop what is unfinished below a closed scope, SWEEP_LIMIT rows a transaction; the row is the cursor."""
        draft = self.draft
        scope = draft.edit(scope.path, counters=True)
        node = node_of(self.plan, scope)
        hard = scope.closed in _HARD or (node is not None and node.is_fan)
        going_on = scope.cursor is not None
        rows, last = draft.descendants(scope.path, scope.cursor or scope.path)
        scope.cursor = last
        scope.wake_at = draft.now if last else None
        if last and not going_on:
            draft.instance.sweeps += 1
        elif going_on and not last:
            draft.instance.sweeps -= 1
        by_force = scope.closed == "terminated" or "forced" in memo_of(scope)
        for row in self._without_kept(scope, node, rows):
            if scope.closed != "terminated" and self._spared(scope, row):
                if row.state is TaskState.PAUSED:  # its instance was paused, and is cancelled now
                    self.ready(row, "resumed")
            elif by_force:
                self._give_up(row)
            else:
                self._stop(row, hard=hard)

    def _without_kept(self, scope: TaskRow, node: PlanNode | None, rows: list[TaskRow]) -> list[TaskRow]:
        """What an item keeps that completed before the verdict is no part of its map's rest."""
        bodies = [] if node is None or scope.closed != "completed" else [node.body, *node.bodies.values()]
        if not any(isinstance(b, PlanNode) and b.is_fan and b.join.rest == "keep" for b in bodies):
            return rows
        items = {row.path: _child_of(scope.path, row.path) for row in rows}
        found = self.draft.rows(dict.fromkeys(items.values()))
        return [r for r in rows if (item := found[items[r.path]]) is None or not _outlives(item, scope)]

    def _spared(self, scope: TaskRow, row: TaskRow) -> bool:
        """What runs because this scope ended, or is undone, is not stopped by its end; a cancel stops handlers."""
        below = row.path[len(scope.path) :]
        if "!undo" in below or (scope.scope is None and below.startswith("!finally")):
            return True
        return scope.closed not in _HARD and below.startswith("!")

    def end_sweep(self, scope: TaskRow) -> None:
        """Nothing is left for a scope's sweep, or another one takes it over."""
        scope = self.draft.edit(scope.path, counters=True)
        scope.cursor = scope.wake_at = None
        if scope.closed in CLOSED:  # the steps of a resume are not counted
            self.draft.instance.sweeps -= 1

    def _stop(self, row: TaskRow, *, hard: bool) -> None:
        if row.state is TaskState.RUNNING:
            if (hard or row.executor is None) and row.closed is None:
                # a new leaf is inserted without `closed`
                whole = self.is_wide(row) or self.draft.is_new(row.path)
                self.draft.edit(row.path, counters=whole).closed = "cancelled"
                self.draft.stopped.append((row.path, row.attempt))
        elif row.state is TaskState.WAITING and self._child_of(row) is not None:
            self._stop_child(row, "cancel")
        elif row.open > 0 and row.state is TaskState.WAITING:
            row = self.draft.edit(row.path, counters=True)
            row.closed = row.closed or "cancelled"
        else:
            self.ended(self.draft.move(row, TaskEvent.CANCEL, "scope closed"))

    def _give_up(self, row: TaskRow) -> None:
        """End a row at once, whatever it does; containers end when what is below them has."""
        if row.state is TaskState.RUNNING:
            self.draft.stopped.append((row.path, row.attempt))
        if self._child_of(row) is not None:
            self._stop_child(row, "terminate")
        if row.open > 0:
            row = self.draft.edit(row.path, counters=True)
            row.closed = "terminated"
            if row.state is not TaskState.WAITING:
                self.draft.move(row, TaskEvent.HANDLE, "terminated")
        else:
            self.ended(self.draft.move(row, TaskEvent.CANCEL, "terminated"))

    # --- between instances

    def _child_of(self, row: TaskRow) -> str | None:
        node = node_of(self.plan, row)
        if node is None or node.kind != "flow" or row.state is not TaskState.WAITING:
            return None
        return memo_of(row).get("child") if row.closed != "handling" else None

    def _stop_child(self, row: TaskRow, kind: str) -> None:
        """Cancel goes down: the flow ends when its child tells that it has."""
        if row.closed == "cancelled" and kind == "cancel":
            return
        child = self._child_of(row)
        self.draft.edit(row.path, counters=True).closed = "cancelled"
        if child is not None:
            self.tell(
                child, f"{kind}:{row.instance_id}/{row.path}", kind, '{"reason":"the run above was stopped"}'
            )

    def forsake(self, row: TaskRow) -> None:
        """A flow will not wait for its child any more: cancel goes down."""
        child = self._child_of(row)
        if child is not None:
            body = '{"reason":"the run above gave up waiting"}'
            self.tell(child, f"cancel:{row.instance_id}/{row.path}", "cancel", body)

    def tell(self, instance_id: str, source: str, kind: str, body: str) -> None:
        """Leave a message for another instance, to be applied by a transaction of its own."""
        changes: Changes = self.draft.changes
        changes.messages.append(MessageRow(instance_id, source, kind, body, self.draft.now))
