"""A plan as the boxes and arrows that every drawing shows, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..engine.plan import COMPLETED_ONLY, Edge, Plan, PlanNode, ScopePlan

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
        box.boxes.append(_box(keys[name], name, node))
        for edge in node.deps:
            label = "" if edge.on == COMPLETED_ONLY else " or ".join(sorted(edge.on))
            box.arrows.append(Arrow(keys[edge.node], keys[name], label))
        for group in node.groups:
            box.arrows += (
                Arrow(keys[edge.node], keys[name], _group_label(group.kind, edge)) for edge in group.edges
            )


def _group_label(kind: str, edge: Edge) -> str:
    return kind if edge.on == COMPLETED_ONLY else f"{kind}: {' or '.join(sorted(edge.on))}"


def _box(key: str, title: str, node: PlanNode) -> Box:
    box = Box(key, title, _detail(node), node.kind, conditional=node.when is not None)
    if isinstance(node.body, ScopePlan):
        _fill(box, node.body)
    elif node.body is not None and (node.body.body is not None or node.body.bodies):
        box.boxes.append(_box(f"{key}0_", f"each {'turn' if node.kind == 'loop' else node.as_}", node.body))
    for index, (label, body) in enumerate(node.bodies.items()):
        inner = f"{key}{index}_"
        if isinstance(body, PlanNode):
            box.boxes.append(_box(inner, label, body))
        else:
            box.boxes.append(Box(inner, label, "", body.kind))
            _fill(box.boxes[-1], body)
        if node.kind == "switch" and label != "else":
            box.boxes[-1].conditional = True
    return box


def _detail(node: PlanNode) -> str:
    each = f": {_detail(node.body)}" if isinstance(node.body, PlanNode) else ""
    match node.kind:
        case "run":
            detail = node.executor or ""
        case "map":
            detail = f"for each {node.as_}{each}"
        case "loop":
            detail = f"{_turns(node)}{each}"
        case "set":
            names = list(node.set_.source) if node.set_ is not None else []
            detail = f"set {', '.join(names)}"
        case "wait":
            detail = _awaited(node)
        case "flow":
            detail = f"flow {_flow(node)}"
        case "do":
            detail = "group"
        case "parallel" | "switch":
            detail = node.kind
    return detail


def _flow(node: PlanNode) -> str:
    flow = node.flow
    if flow is None:
        return ""
    return flow.name if flow.version is None else f"{flow.name}@{flow.version}"


def _turns(node: PlanNode) -> str:
    loop = node.loop
    if loop is None:
        return "loop"
    if loop.for_ is not None:
        return f"for each {node.as_}, one by one"
    named = (("while", loop.while_), ("until", loop.until), ("times", loop.times))
    return next((f"{name} {shown.source}" for name, shown in named if shown is not None), "loop")


def _awaited(node: PlanNode) -> str:
    wait = node.wait
    if wait is None:
        return "wait"
    if wait.signal is not None:
        return f"wait signal {wait.signal}"
    return f"wait {wait.template.source if wait.template is not None else ''}"
