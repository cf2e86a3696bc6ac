"""Which nodes a step back names, and what follows from them. Pure; for `reopening`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from .draft import Draft
from .errors import Conflict
from .plan import PlanNode, ScopePlan, address_of

__all__ = ["Targets", "downstream", "tree_of"]

#: Child by child: what of it is named; {} = all of it. Keys are node names in a scope, `[3]`, `#7`, `.left` in others.
Targets = dict[str, "Targets"]
_STEP: Final = re.compile(r"\[\d+\]|#\d+|\.?[A-Za-z0-9_]+")


def tree_of(draft: Draft, targets: Iterable[str]) -> Targets:
    """The targets as a tree. Raises Conflict for what is no node of the definition, or was never reached."""
    tree: Targets = {}
    for path in targets:
        node = draft.plan.nodes.get(address_of(path))
        if (node is None and address_of(path) not in draft.plan.scopes) or "!" in path or not path:
            raise Conflict(
                f"{path!r} is no node of this definition.",
                hint=f"Its nodes: {', '.join(list(draft.plan.root.nodes)[:20])}; inner ones as `settle[3].charge`.",
            )
        if draft.row(path) is None:
            raise Conflict(f"{path!r} was never reached.", hint="`strataflow tasks` lists what was.")
        _plant(tree, _steps(draft, path))
    return tree


def _steps(draft: Draft, path: str) -> list[str]:
    """`settle[3].charge` → settle, [3], charge; a parallel's branch keeps its dot: `both.left` → both, .left."""
    steps, at = list[str](), ""
    for step in _STEP.findall(path):
        owner = draft.plan.nodes.get(address_of(at)) if at else None
        named = owner is not None and owner.kind in {"parallel", "switch"}
        steps.append(step if named or step[0] in "[#" else step.removeprefix("."))
        at += step
    return steps


def _plant(tree: Targets, steps: list[str]) -> None:
    at = tree
    for index, step in enumerate(steps):
        if step in at and not at[step]:
            return  # all of it is named already
        if index == len(steps) - 1:
            at[step] = {}
        at = at.setdefault(step, {})


def downstream(scope: ScopePlan, names: set[str]) -> list[str]:
    """These nodes and everything that follows from them in their scope, dependencies first."""
    again, todo = set(names), list(names)
    while todo:
        for name in scope.nodes[todo.pop()].successors:
            if name not in again:
                again.add(name)
                todo.append(name)
    waiting = {
        name: len({before for before in _befores(scope.nodes[name]) if before in again}) for name in again
    }
    ready = [name for name in scope.nodes if waiting.get(name) == 0]
    ordered: list[str] = []
    while ready:
        name = ready.pop()
        ordered.append(name)
        for successor in scope.nodes[name].successors:
            waiting[successor] -= 1
            if waiting[successor] == 0:
                ready.append(successor)
    return ordered


def _befores(node: PlanNode) -> set[str]:
    return {e.node for e in (*node.deps, *(e for group in node.groups for e in group.edges))}
