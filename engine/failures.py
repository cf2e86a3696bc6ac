"""What follows a failure: `on_error`, `on_timeout`, `finally` (DSL rules 22 and 23). Pure; called by `ripple`.

A row that fails for good goes through `Failures.fail`, whatever it is: an attempt, a wait, a container, the definition.
Order: undo (where the entry says so), then the entry's action. The row stays `waiting` meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..executors.base import TaskError
from ..repositories.records import TERMINAL_TASK_STATES, InstanceState, TaskRow, TaskState
from .plan import ErrorEntry, given
from .retry import matches
from .rows import error_text, memo_of, node_of, output_of, remember
from .states import InstanceEvent, TaskEvent

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["Failures"]


class Failures:
    """The failing part of a ripple."""

    def __init__(self, ripple: Ripple) -> None:
        self._ripple = ripple
        self._draft = ripple.draft
        self._plan = ripple.plan

    # --- failing

    def fail(self, row: TaskRow, reason: str) -> None:
        """A row fails for good with the error it carries: its handler runs, or it is failed."""
        found = self._entry(row, json.loads(row.error)["code"] if row.error else "")
        if found is None:
            self._ripple.finish(row, TaskEvent.FAIL, reason)
        elif found[1].undo and row.open > 0:
            self._come_to_rest(row, reason)
        else:
            self._begin(row, *found, reason)

    def _come_to_rest(self, row: TaskRow, reason: str) -> None:
        """What still runs inside a container cannot be undone: it ends first, then the container fails again."""
        row = self._draft.edit(row.path, counters=True)
        if row.state is not TaskState.WAITING:
            row = self._draft.edit(self._draft.move(row, TaskEvent.HANDLE, reason).path, counters=True)
        row.closed = "failed"
        self._ripple.sweep(row)

    def cancelled(self, scope: TaskRow) -> None:
        """A cancelled scope is at rest; the definition's `on_error` is asked where it names `cancelled`."""
        if scope.scope is None and scope.error is None:
            entries = [entry for entry in self._plan.on_error if "cancelled" in entry.on]
            if entries:
                scope = self._draft.edit("", counters=True)
                scope.error = error_text("cancelled", "the run was cancelled", node="", path="", attempt=0)
                self._begin(scope, self._plan.on_error.index(entries[0]), entries[0], "cancelled")
                return
        self._ripple.finish(self._draft.edit(scope.path, counters=True), TaskEvent.CANCEL, "cancelled")

    def _entry(self, row: TaskRow, code: str) -> tuple[int, ErrorEntry] | None:
        """The entry that handles the error; none where nothing new may start, or where a handler failed itself."""
        node, memo = node_of(self._plan, row), memo_of(row)
        if "handler" in memo or (row.scope is not None and self._ripple.is_stopped(row)):
            return None
        if row.scope is not None and node is None:
            return None  # an item, turn or branch with nodes: its container is told
        if (
            memo.get("timeout")
            and node is not None
            and node.wait is not None
            and node.wait.on_timeout is not None
        ):
            return 0, node.wait.on_timeout
        entries = self._plan.on_error if node is None else node.on_error
        error = TaskError(code, "", codes=tuple(memo.get("codes", ())))
        return next(((k, e) for k, e in enumerate(entries) if not e.on or matches(e.on, error)), None)

    def _begin(self, row: TaskRow, index: int, entry: ErrorEntry, reason: str) -> None:
        row = self._draft.edit(row.path, counters=True)
        remember(row, handler=index, was=row.closed if row.closed == "cancelled" else None)
        row.closed = "handling"
        if entry.undo:
            if row.state is not TaskState.WAITING:
                row = self._draft.edit(self._draft.move(row, TaskEvent.HANDLE, reason).path, counters=True)
            if self._ripple.undo.begin(row):
                self._compensating(row)
                return
        self._act(row, entry, reason)

    def _compensating(self, row: TaskRow) -> None:
        if row.scope is None and self._draft.instance.state is InstanceState.RUNNING:
            self._draft.move_instance(InstanceEvent.COMPENSATE, "undoing what it did")

    def undone(self, row: TaskRow) -> None:
        """Everything inside was undone: the entry's action follows. What could not be undone is never a success."""
        entry = self._chosen(row)
        if memo_of(row).get("compensation") and entry.action in {"output", "continue"}:
            self._end(row, "compensation failed")
        else:
            self._act(row, entry, "undone")

    def _chosen(self, row: TaskRow) -> ErrorEntry:
        node, memo = node_of(self._plan, row), memo_of(row)
        entries = self._plan.on_error if node is None else node.on_error
        index: int = memo["handler"]
        if memo.get("timeout") and node is not None and node.wait is not None:
            return given(node.wait.on_timeout, "on_timeout")
        return entries[index]

    def _act(self, row: TaskRow, entry: ErrorEntry, reason: str) -> None:
        ripple, draft = self._ripple, self._draft
        match entry.action:
            case "continue":
                row = draft.edit(row.path, counters=True)
                row.closed, row.output, row.output_ref = "continued", None, None
                ripple.finish(row, TaskEvent.FAIL, reason)
            case "none":
                self._end(row, reason)
            case "do":
                if row.state is not TaskState.WAITING:
                    row = draft.move(row, TaskEvent.HANDLE, "handling the error")
                draft.edit(row.path, counters=True)
                body = given(entry.body, "handler")
                ripple.spawn(draft.known(row.path), body, row.path + entry.suffix, "handling the error")
            case _:
                ripple.evaluate(row, "handler", "handling the error")

    def _end(self, row: TaskRow, reason: str) -> None:
        """The row ends as it would have without a handler."""
        cancelled = memo_of(row).get("was") == "cancelled"
        self._ripple.finish(row, TaskEvent.CANCEL if cancelled else TaskEvent.FAIL, reason)

    # --- handlers

    def handler_ended(self, owner: TaskRow, row: TaskRow, beside: str) -> None:
        """What a handler or `finally` came to decides how its owner ends."""
        if owner.state in TERMINAL_TASK_STATES:
            return
        owner = self._draft.edit(owner.path, counters=True)
        good = row.state in {TaskState.COMPLETED, TaskState.SKIPPED} or row.closed == "continued"
        if beside == "finally":
            if not good and owner.closed != "terminated":
                _replace_error(owner, self._failure(row), memo_of(row).get("codes", ()))
                if memo_of(owner).get("end") != TaskEvent.CANCEL:
                    remember(owner, end=TaskEvent.FAIL.value)
        elif owner.closed == "terminated":
            return  # it ends when nothing is left below it
        elif not good:
            self._handler_failed(owner, row)
        elif owner.scope is None:
            self._end(owner, "handled")  # a definition is completed by `output` only (rule 23)
        else:
            owner.closed = "handled"
            done = row.state is TaskState.COMPLETED
            owner.output, owner.output_ref = None, output_of(row.path[len(owner.path) :]) if done else None
            self._ripple.finish(owner, TaskEvent.SUCCEED, "handled")

    def _handler_failed(self, owner: TaskRow, row: TaskRow) -> None:
        if row.state is TaskState.CANCELLED:
            self._ripple.finish(owner, TaskEvent.CANCEL, "its handler was cancelled")
            return
        _replace_error(owner, self._failure(row), memo_of(row).get("codes", ()))
        self._end(owner, "its handler failed")

    def _failure(self, row: TaskRow) -> str:
        node = node_of(self._plan, row)
        return row.error or error_text(
            "cancelled",
            "it was cancelled",
            node=node.name if node else "",
            path=row.path,
            attempt=row.attempt,
        )

    def evaluated(self, row: TaskRow, failure: str | None, codes: Sequence[str] = ()) -> None:
        """Phase `handler` ended: `output` completed the row (no failure), or `fail` gave another error."""
        row = self._draft.edit(row.path, counters=True)
        if failure is None and memo_of(row).get("was") == "cancelled":
            self._end(row, "handled")  # a cancelled run is cancelled, whatever its handler says
        elif failure is None:
            row.closed = "handled"
            self._ripple.finish(row, TaskEvent.SUCCEED, "handled")
        else:
            _replace_error(row, failure, codes)
            self._end(row, json.loads(failure)["code"])

    # --- finally

    def run_finally(self, root: TaskRow, event: TaskEvent) -> bool:
        """Begin `finally` before the definition's end; False when there is none to run."""
        body = self._plan.finally_
        if body is None or root.closed == "terminated" or "end" in memo_of(root):
            return False
        root = self._draft.edit("", counters=True)
        remember(root, end=event.value)
        root.closed = root.closed or "ending"
        root.phase = None
        root.deadline_at = None if root.closed != "cancelled" else root.deadline_at
        if root.state is not TaskState.WAITING:
            self._draft.move(root, TaskEvent.HANDLE, "finally")
        self._ripple.spawn(self._draft.known(""), body, "!finally", "finally")
        return True


def _replace_error(row: TaskRow, error: str, codes: Sequence[str]) -> None:
    """Another error takes the place of the row's, and with it the codes that patterns match."""
    row.error = _with_cause(error, row.error)
    remember(row, codes=list(codes) or None)


def _with_cause(error: str, first: str | None) -> str:
    """An error that came while another was handled: the first is kept at the end of its causes."""
    if first is None:
        return error
    value = json.loads(error)
    at = value
    while isinstance(at.get("cause"), dict):
        at = at["cause"]
    at["cause"] = json.loads(first)
    return json.dumps(value, separators=(",", ":"))
