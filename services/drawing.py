"""A plan as the boxes and arrows that every drawing shows, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..engine.plan import COMPLETED_ONLY, Plan, PlanNode, ScopePlan

__all__ = ["Arrow", "Box", "boxes_of", "every_box"]


@dataclass(slots=True, frozen=True)
class Arrow:
    """A dependency inside one scope, by the keys of its boxes."""

    before: str
    after: str
    #: The ends that meet it, when they are not just `completed`; else empty.
    label: str = ""


@dataclass(slots=True)
class Box:
    """One node; a container holds boxes of its own."""

    #: Unique in the drawing, made of letters and digits.
    key: str
    title: str
    #: What it does: executor, verb.
    detail: str
    kind: str
    #: What is run per item, once, or not at all when a condition says so.
    conditional: bool = False
    boxes: list[Box] = field(default_factory=list["Box"])
    arrows: list[Arrow] = field(default_factory=list[Arrow])


def boxes_of(plan: Plan) -> Box:
    """The whole definition as one box."""
    root = Box("n", plan.name, "", "definition")
    _fill(root, plan.root)
    return root


def every_box(box: Box) -> Iterator[Box]:
    """The boxes inside, the outer before the inner."""
    for inner in box.boxes:
        yield inner
        yield from every_box(inner)


def _fill(box: Box, scope: ScopePlan) -> None:
    keys = {name: f"{box.key}{index}_" for index, name in enumerate(scope.nodes)}
    for name, node in scope.nodes.items():
        inner = Box(keys[name], name, _detail(node), node.kind, conditional=node.when is not None)
        if isinstance(node.body, ScopePlan):
            _fill(inner, node.body)
        box.boxes.append(inner)
        for edge in node.deps:
            label = "" if edge.on == COMPLETED_ONLY else " or ".join(sorted(edge.on))
            box.arrows.append(Arrow(keys[edge.node], keys[name], label))


def _detail(node: PlanNode) -> str:
    match node.kind:
        case "run":
            return node.executor or ""
        case "map":
            body = node.body
            each = f": {_detail(body)}" if isinstance(body, PlanNode) else ""
            return f"for each {node.as_}{each}"
        case "set":
            names = list(node.set_.source) if node.set_ is not None else []
            return f"set {', '.join(names)}"
        case "wait":
            return _awaited(node)
        case _:
            return node.kind


def _awaited(node: PlanNode) -> str:
    wait = node.wait
    if wait is None:
        return "wait"
    if wait.signal is not None:
        return f"wait signal {wait.signal}"
    return f"wait {wait.template.source if wait.template is not None else ''}"
