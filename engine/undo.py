"""Compensation: what finished is undone in reverse order (DSL rule 24). Pure; called by `ripple` and `reopening`.

A walk goes through one scope and everything inside it, against the edges: a node's `undo` runs when those of all nodes
after it have ended; independent ones run side by side, items with their map's concurrency, turns last first. Where it
stands is in the rows: `closed` is `undo` from the moment a row is part of the walk, `undone` when it has passed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from ..repositories.records import TaskRow, TaskState
from .draft import SWEEP_LIMIT
from .parallel import WINDOW, child_paths
from .plan import PlanNode, ScopePlan, address_of, given
from .rows import error_text, memo_of, node_of, remember

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["Undo"]

_Step = Callable[[ScopePlan, str], Iterable[str]]
#: Verbs whose children have numbers.
_COUNTED: Final = frozenset({"map", "parallel", "loop"})
#: Failed compensations that an error lists.
_LISTED: Final = 10


class Undo:
    """The compensating part of a ripple."""

    def __init__(self, ripple: Ripple) -> None:
        self._ripple = ripple
        self._draft = ripple.draft
        self._plan = ripple.plan

    def begin(self, scope: TaskRow, then: str = "handler", only: Collection[str] | None = None) -> bool:
        """Undo what is inside a scope at rest, `only` these of its nodes; False when there is nothing to undo."""
        scope = self._draft.edit(scope.path, counters=True)
        if not self._holds_scopes(scope):
            return False
        open_before = scope.open
        self._enter(scope, only)
        if scope.open == open_before:
            return False
        remember(scope, walk=then)
        return True

    def _holds_scopes(self, row: TaskRow) -> bool:
        node = node_of(self._plan, row)
        return node is None or node.body is not None or bool(node.bodies)

    # --- a row's part in the walk

    def _wanted(self, row: TaskRow) -> bool:
        node = node_of(self._plan, row)
        if row.closed in {"undone", "undo"}:
            return False
        if node is None:
            return _undoes_inside(self._plan.scopes.get(address_of(row.path)))
        return node.has_undo and (_own(row, node) or _inside(row, node))

    def _start(self, row: TaskRow) -> None:
        """The row counts as open again until its undo, and those inside it, have ended."""
        row = self._draft.edit(row.path, counters=True)
        row.closed, row.remaining = "undo", 0
        self._ripple.count_open(row.scope or "")
        node = node_of(self._plan, row)
        if node is not None and _own(row, node):
            remember(row, undoing="own")
            self._ripple.spawn(row, given(node.undo, "undo"), f"{row.path}!undo", "undoing")
        else:
            self._go_inside(row)

    def _go_inside(self, row: TaskRow) -> None:
        remember(self._draft.edit(row.path, counters=True), undoing="inside")
        self._enter(row, None)
        if self._draft.known(row.path).open == 0:
            self._passed(row)
            self._ripple.rest(row.path)

    def rested(self, row: TaskRow) -> None:
        """Everything that was begun for this row is at rest: what is inside it follows, or it has passed."""
        if self._draft.known("").closed == "terminated":
            return
        node = node_of(self._plan, row)
        if node is not None and memo_of(row).get("undoing") == "own" and _inside(row, node):
            remember(self._draft.edit(row.path, counters=True), undoing="inside")
            self._enter(row, None)
        if self._draft.known(row.path).open == 0:
            self._passed(row)

    def _passed(self, row: TaskRow) -> None:
        row = self._draft.edit(row.path, counters=True)
        row.closed = "undone"
        remember(row, undoing=None, undo_at=None)
        owner = self._draft.known(row.scope or "")
        node = node_of(self._plan, owner)
        if node is None or node.kind == "do":
            self._before(owner, row)

    def left(self, owner: TaskRow) -> None:
        """A child has passed and no longer counts as open: there is room for the next one."""
        node = node_of(self._plan, owner)
        if node is None or node.kind not in _COUNTED or self._draft.known("").closed == "terminated":
            return
        if owner.closed == "undo" or memo_of(owner).get("walk"):
            self._more(owner, node)

    def ended(self, owner: TaskRow, row: TaskRow) -> None:
        """An `undo` body ended; one that failed for good is kept for the error of the walk."""
        if row.state in {TaskState.COMPLETED, TaskState.SKIPPED} or row.closed == "continued":
            return
        node = node_of(self._plan, owner)
        failure = row.error or error_text(
            "cancelled", "the undo was cancelled", node=node.name if node else "", path=row.path, attempt=0
        )
        self._draft.edit(owner.path, counters=True).error = failure
        at = owner
        while at.scope is not None and "walk" not in memo_of(at):
            at = self._draft.known(at.scope)
        at = self._draft.edit(at.path, counters=True)
        failed = [*memo_of(at).get("compensation", []), json.loads(failure)]
        remember(at, compensation=failed[:_LISTED])

    def walked(self, scope: TaskRow) -> None:
        """The walk is over: what asked for it goes on."""
        scope = self._draft.edit(scope.path, counters=True)
        then, failed = memo_of(scope)["walk"], memo_of(scope).get("compensation")
        remember(scope, walk=None)
        if failed and scope.error is not None:
            scope.error = json.dumps(
                json.loads(scope.error) | {"compensation": failed}, separators=(",", ":")
            )
        if scope.closed in {"cancelled", "expired"}:  # while it was undoing: nothing follows any more
            remember(scope, back=None, compensate=None)
            self._ripple.failures.cancelled(scope)
        elif then == "handler":
            self._ripple.failures.undone(scope)
        else:
            self._ripple.reopen()

    # --- through a container

    def _enter(self, row: TaskRow, only: Collection[str] | None) -> None:
        node = node_of(self._plan, row)
        if node is not None and node.kind in _COUNTED:
            remember(row, undo_at=row.next)
            self._more(row, node)
        elif node is not None and node.kind == "switch":
            branch = memo_of(row).get("branch")
            child = self._draft.row(f"{row.path}.{branch}") if branch is not None else None
            if child is not None and self._wanted(child):
                self._start(child)
        else:
            self._nodes(row, self._plan.scopes[address_of(row.path)], only)

    def _more(self, row: TaskRow, node: PlanNode) -> None:
        """Children from the last one back: as many at a time as the container ran, a loop's turns one by one."""
        most = 1 if node.kind == "loop" else row.width or WINDOW
        while self._draft.known(row.path).open < most:
            child = self._next_child(row, node)
            if child is None:
                return
            self._start(child)

    def _next_child(self, row: TaskRow, node: PlanNode) -> TaskRow | None:
        """The last child that is to be undone and was not looked at yet; the row remembers how far that was."""
        row = self._draft.edit(row.path, counters=True)
        at: int = memo_of(row).get("undo_at", 0)
        while at > 0:
            paths = child_paths(row, node, range(max(0, at - SWEEP_LIMIT), at))
            rows = self._draft.rows(paths)
            for path in reversed(paths):
                at -= 1
                child = rows[path]
                if child is not None and self._wanted(child):
                    remember(row, undo_at=at)
                    return child
        remember(row, undo_at=0)
        return None

    def _nodes(self, scope: TaskRow, plan: ScopePlan, only: Collection[str] | None) -> None:
        """Mark the nodes to undo, then begin those that no other comes after."""
        prefix = f"{scope.path}." if scope.path else ""
        names = [n for n, node in plan.nodes.items() if node.has_undo and (only is None or n in only)]
        rows = self._draft.rows([prefix + name for name in names])
        wanted = {n: row for n in names if (row := rows[prefix + n]) is not None and self._wanted(row)}
        waits = {name: len(set(_next(plan, name, wanted, _after))) for name in wanted}
        for name, row in wanted.items():
            marked = self._draft.edit(row.path, counters=True)
            marked.closed, marked.remaining = "undo", waits[name]
        for name, row in wanted.items():
            if not waits[name]:
                self._start(row)

    def _before(self, scope: TaskRow, row: TaskRow) -> None:
        """A node has passed: those before it that wait for nobody else begin."""
        plan = self._plan.scopes[address_of(scope.path)]
        name = row.path.rsplit(".", 1)[-1]
        prefix = f"{scope.path}." if scope.path else ""
        upstream = [n for n, node in plan.nodes.items() if node.has_undo]
        rows = self._draft.rows([prefix + n for n in upstream])
        marked = {n: r for n in upstream if (r := rows[prefix + n]) is not None and r.closed == "undo"}
        for before in set(_next(plan, name, marked, _earlier)):
            waiting = self._draft.edit(prefix + before, counters=True)
            waiting.remaining -= 1
            if waiting.remaining == 0:
                self._start(waiting)


def _own(row: TaskRow, node: PlanNode) -> bool:
    return node.undo is not None and row.state is TaskState.COMPLETED and row.closed != "handled"


def _inside(row: TaskRow, node: PlanNode) -> bool:
    bodies = [node.body, *node.bodies.values()]
    return (row.total is not None and any(_undoes_inside(body) for body in bodies)) or (
        node.kind == "loop" and row.next > 0 and _undoes_inside(node.body)
    )


def _undoes_inside(body: ScopePlan | PlanNode | None) -> bool:
    if isinstance(body, PlanNode):
        return body.has_undo
    return body is not None and any(node.has_undo for node in body.nodes.values())


def _after(plan: ScopePlan, name: str) -> Iterable[str]:
    return plan.nodes[name].successors


def _earlier(plan: ScopePlan, name: str) -> Iterable[str]:
    node = plan.nodes[name]
    yield from (edge.node for edge in node.deps)
    for group in node.groups:
        yield from (edge.node for edge in group.edges)


def _next(plan: ScopePlan, name: str, among: Collection[str], step: _Step) -> Iterator[str]:
    """The nearest nodes `among` those given, one direction of the graph."""
    seen, todo = {name}, [name]
    while todo:
        for other in step(plan, todo.pop()):
            if other in seen:
                continue
            seen.add(other)
            if other in among:
                yield other
            else:
                todo.append(other)
