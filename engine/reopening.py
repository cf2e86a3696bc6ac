"""Going back: failed tasks are tried again, or everything from a point on is decided again. Pure.

A forward step: the journal keeps everything, tasks keep their attempt numbers. Rows that are taken back get the
instance's new generation, and what stood below them counts as absent. A container in which only a part is taken back
is opened again in place: its other children keep what they did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    InstanceState,
    TaskRow,
    TaskState,
)
from .beginning import answered
from .draft import Draft
from .errors import Conflict, IllegalTransition
from .events import Applied, RollbackInstance
from .lifecycle import required
from .parallel import WINDOW
from .plan import Edge, Plan, PlanNode, ScopePlan, address_of
from .ripple import Ripple
from .rows import memo_of, node_of, remember
from .starting import holds
from .states import InstanceEvent, TaskEvent
from .stopping import aside
from .targets import Targets, downstream, tree_of

__all__ = ["redo_items", "reopen", "rollback"]

_AGAIN: Final = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED})


def rollback(draft: Draft, event: RollbackInstance) -> Applied:
    """Take an ended instance back to before its targets, or try again what failed. Raises Conflict."""
    instance = required(draft, event.instance_id)
    if instance.state not in TERMINAL_INSTANCE_STATES:
        wanted = InstanceEvent.ROLLBACK if event.compensate else "retry"
        raise IllegalTransition("instance", instance.state, wanted, id=instance.id)
    tree = tree_of(draft, event.targets)
    root = draft.known("")
    if not tree and instance.state is InstanceState.COMPLETED and not _undone(draft, draft.plan.root, ""):
        raise Conflict(f"nothing of instance {instance.id} failed.", hint="Name the node to go back to.")
    instance.gen += 1
    draft.move_instance(InstanceEvent.ROLLBACK, event.reason)
    instance.reason = event.reason
    root = _open_again(draft, root, event.reason)
    root.started_at = draft.now
    root.deadline_at = None if draft.plan.deadline is None else draft.now + draft.plan.deadline
    ripple = Ripple(draft)
    remember(root, back=list(event.targets), compensate=event.compensate or None)
    root.closed = "ending"
    reopen(ripple)
    ripple.run()
    return answered(draft)


def reopen(ripple: Ripple) -> None:
    """Undo what has to be undone, level by level; then take back what is to be decided again."""
    draft = ripple.draft
    root = draft.edit("", counters=True)
    memo = memo_of(root)
    tree = tree_of(draft, memo["back"])
    if memo.get("compensate") and _compensating(ripple, root, tree):
        return
    remember(root, back=None, compensate=None, compensation=None)
    root.closed = None
    _Reopening(ripple, "taken back").scope(root, draft.plan.root, tree)


def _compensating(ripple: Ripple, root: TaskRow, tree: Targets) -> bool:
    """Begin the undo of what follows the targets, outer scopes first; False when all of it has passed."""
    draft = ripple.draft
    names = _again(draft, draft.plan.root, "", tree)
    whole = {name for name in names if not tree.get(name)}
    if ripple.undo.begin(root, "rollback", only=whole):
        return True
    remember(draft.edit("", counters=True), compensate=None)
    return False


def _open_again(draft: Draft, row: TaskRow, reason: str) -> TaskRow:
    row = draft.move(row, TaskEvent.REOPEN, reason)
    draft.edit(row.path, counters=True)
    kept = {key: value for key, value in memo_of(row).items() if key in {"branch", "trigger"}}
    row.closed = row.cursor = row.output = row.output_ref = row.error = row.phase = row.memo = None
    remember(row, **kept)
    row.open = 0
    return draft.move(row, TaskEvent.ENTER, reason)


def _reset(draft: Draft, row: TaskRow, reason: str) -> TaskRow:
    row = draft.move(row, TaskEvent.REOPEN, reason)
    draft.edit(row.path, counters=True)
    row.gen = draft.instance.gen
    row.failures = row.crashes = row.open = row.next = row.done = row.failed = row.skipped = row.excused = 0
    row.total = row.width = row.closed = row.cursor = row.phase = row.memo = row.deadline_at = None
    row.output = row.output_ref = row.error = row.started_at = None
    draft.changes.unset.append((row.instance_id, row.path))
    if row.executor is None:  # the lists that were stored at and below it; a new one has a key of its own
        draft.changes.unlisted.append((row.instance_id, row.path))
    return row


def _undone(draft: Draft, plan: ScopePlan, prefix: str) -> set[str]:
    """Names of a scope's nodes that never came to a good end: failed, cancelled, compensated, never reached."""
    rows = draft.rows([prefix + name for name in plan.nodes])
    found = set[str]()
    for name, node in plan.nodes.items():
        row = rows[prefix + name]
        handled = row is not None and (node.failure_handled or row.closed == "continued")
        if (
            row is None
            or row.closed in {"undone", "undo"}
            or row.state is TaskState.CANCELLED
            or (row.state in _AGAIN and not handled)
        ):
            found.add(name)
    return found


def _again(draft: Draft, plan: ScopePlan, prefix: str, tree: Mapping[str, Targets]) -> list[str]:
    """What is decided again in a scope, dependencies first: targets, what failed, and all that follows from them."""
    return downstream(plan, set(tree) | _undone(draft, plan, prefix))


class _Reopening:
    """One step back, scope by scope."""

    def __init__(self, ripple: Ripple, reason: str) -> None:
        self._ripple = ripple
        self._draft = ripple.draft
        self._plan = ripple.plan
        self._reason = reason

    def scope(self, scope: TaskRow, plan: ScopePlan, tree: Targets) -> None:
        """Decide nodes of a scope again. The scope is open and waits."""
        prefix = f"{scope.path}." if scope.path else ""
        found = self._draft.rows([prefix + name for name in plan.nodes])
        rows = {name: found[prefix + name] for name in plan.nodes}
        order = _again(self._draft, plan, prefix, tree)
        again = frozenset(order)
        scope = self._draft.edit(scope.path, counters=True)
        scope.failed = 0
        for name in order:
            node, row = plan.nodes[name], rows[name]
            first = not any(edge.node in again for edge in _edges(node))
            if row is not None and first and self._in_place(row, node, tree.get(name)):
                self._ripple.count_open(scope.path)
                self.inside(row, node, tree.get(name) or {})
            else:
                self._decide(scope, node, prefix + name, rows, again)
        self._ripple.rest_scope(scope)

    def _in_place(self, row: TaskRow, node: PlanNode, sub: Targets | None) -> bool:
        if sub == {} or row.closed in {"undone", "undo"} or (row.total is None and row.next == 0):
            return False
        return node.kind in {"do", "map", "parallel", "loop", "switch"} and (bool(sub) or row.state in _AGAIN)

    def inside(self, row: TaskRow, node: PlanNode | None, tree: Targets) -> None:
        """Open a container again, and take back what is named or failed inside it."""
        sub = self._plan.scopes.get(address_of(row.path))
        row = _open_again(self._draft, row, self._reason)
        if node is not None and node.deadline is not None:
            row.deadline_at = self._draft.now + node.deadline
        if node is not None and node.is_fan:
            self._fan(row, node, tree)
        elif node is not None and node.kind in {"loop", "switch"}:
            self._single(row, node, tree)
        elif sub is not None:
            self.scope(row, sub, tree)

    def _fan(self, row: TaskRow, node: PlanNode, tree: Targets) -> None:
        row.failed = row.excused  # every other failure is tried again
        paths = {key: row.path + key for key in tree}
        for key, child in zip(paths, self._draft.rows(paths.values()).values(), strict=True):
            if child is not None and child.state in TERMINAL_TASK_STATES:
                self.child(row, child, tree[key])
        remember(row, redo="")
        redo_items(self._ripple, self._draft.known(row.path), node)

    def _single(self, row: TaskRow, node: PlanNode, tree: Targets) -> None:
        suffix = f".{memo_of(row).get('branch')}" if node.kind == "switch" else f"#{row.next - 1}"
        child = self._draft.row(row.path + suffix)
        if child is not None and (suffix in tree or child.state in _AGAIN):
            self.child(row, child, tree.get(suffix) or {})
        else:  # what failed is the container itself: a condition, an output
            self._ripple.rest_scope(row)

    def child(self, owner: TaskRow, row: TaskRow, tree: Targets) -> None:
        """Take back one item, branch, case or turn, wholly or in place."""
        owner = self._draft.edit(owner.path, counters=True)
        if row.state is TaskState.COMPLETED:
            owner.done -= 1
        elif row.state is TaskState.SKIPPED:
            owner.skipped -= 1
        elif row.closed == "continued":
            owner.failed, owner.excused = owner.failed - 1, owner.excused - 1
        elif not _is_fan(self._plan, owner):
            owner.failed -= 1
        node = node_of(self._plan, row)
        self._ripple.count_open(owner.path)
        opened = row.total is not None or row.next > 0
        container = opened and (node is None or node.kind != "run") and row.closed not in {"undone", "undo"}
        if container and (tree or row.state in _AGAIN):
            self.inside(row, node, tree)
        elif node is not None:
            self._activate(owner, node, _reset(self._draft, row, self._reason))
        else:
            fresh = _reset(self._draft, row, self._reason)
            self._ripple.enter(self._draft.move(fresh, TaskEvent.ENTER, self._reason))

    def _activate(self, owner: TaskRow, node: PlanNode, row: TaskRow) -> None:
        self._ripple.activate(owner, node, row.path, row)

    def _decide(
        self,
        scope: TaskRow,
        node: PlanNode,
        path: str,
        rows: Mapping[str, TaskRow | None],
        again: frozenset[str],
    ) -> None:
        """One node as it stands when everything kept has ended: skipped, ready, or waiting for others taken back."""
        row = rows[node.name]
        kept = [edge for edge in node.deps if edge.node not in again]
        broken = next((e for e in kept if (r := rows[e.node]) is None or not holds(r, e.on)), None)
        remaining = len(node.deps) - len(kept)
        if row is not None:
            row = _reset(self._draft, row, self._reason)
            self._ripple.count_open(scope.path)
            row.remaining = remaining or (1 if node.groups else 0)
        if node.groups:
            if not any(edge.node in again for edge in _edges(node)):
                self._ripple.judge(scope, node, path, row, None)
            elif row is None and kept:
                self._ripple.wait_for(scope, node, path, 1, self._reason)
        elif broken is not None:
            self._ripple.skip(scope, node, path, row, f"{broken.node} does not hold")
        elif remaining == 0:
            self._ripple.activate(scope, node, path, row)
        elif row is None and kept:
            self._ripple.wait_for(scope, node, path, remaining, self._reason)


def _is_fan(plan: Plan, row: TaskRow) -> bool:
    node = node_of(plan, row)
    return node is not None and node.is_fan


def _edges(node: PlanNode) -> list[Edge]:
    return [*node.deps, *(edge for group in node.groups for edge in group.edges)]


def redo_items(ripple: Ripple, scope: TaskRow, node: PlanNode) -> bool:
    """Take back the next failed children of a map or parallel, as far as its concurrency allows; False at the end."""
    draft = ripple.draft
    after = memo_of(scope).get("redo")
    if after is None:
        return False
    most, reopening = scope.width or WINDOW, _Reopening(ripple, "tried again")
    while draft.known(scope.path).open < most:
        page = cast("list[TaskRow]", draft.ask(("children", scope.path, "failed,cancelled", after)))
        if not page:
            remember(draft.edit(scope.path, counters=True), redo=None)
            ripple.parallel.go_on(draft.known(scope.path), node)
            ripple.parallel.judge_at_rest(draft.known(scope.path), node)
            return True
        for found in page:
            if draft.known(scope.path).open >= most:
                break
            after, row = found.path, draft.row(found.path)
            again = row is not None and row.state in _AGAIN and row.closed != "continued" and not aside(row)
            if row is not None and again and row.gen < draft.instance.gen:
                reopening.child(draft.known(scope.path), row, {})
        remember(draft.edit(scope.path, counters=True), redo=after)
    return True
