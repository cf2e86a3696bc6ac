"""Drawings of a definition as text: Mermaid for documents, DOT for Graphviz, SVG for a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from .drawing import Arrow, Box, boxes_of, every_box
from .svg import svg_of

if TYPE_CHECKING:
    from ..engine.plan import Plan

__all__ = ["draw"]

_SHAPES: Final = {
    "set": ('["', '"]'),
    "wait": ('(["', '"])'),
    "map": ('[["', '"]]'),
    "loop": ('[["', '"]]'),
    "flow": ('[/"', '"/]'),
}
_DOT_SHAPES: Final = {"set": "note", "wait": "oval", "map": "box3d", "loop": "box3d", "flow": "component"}


def draw(plan: Plan, form: Literal["mermaid", "dot", "svg"]) -> str:
    """The drawing, ending in a line break."""
    root = boxes_of(plan)
    match form:
        case "mermaid":
            return "\n".join(_mermaid(root)) + "\n"
        case "dot":
            return "\n".join(_dot(root)) + "\n"
        case "svg":
            return svg_of(root)


# --- Mermaid


def _mermaid(root: Box) -> Iterator[str]:
    yield "---"
    yield f"title: {root.title}"
    yield "---"
    yield "flowchart TD"
    yield from _mermaid_scope(root, "    ")


def _mermaid_scope(box: Box, indent: str) -> Iterator[str]:
    for inner in box.boxes:
        if inner.boxes:
            yield f'{indent}subgraph {inner.key}["{_mermaid_label(inner)}"]'
            yield from _mermaid_scope(inner, indent + "    ")
            yield f"{indent}end"
        else:
            left, right = _SHAPES.get(inner.kind, ('("', '")'))
            yield f"{indent}{inner.key}{left}{_mermaid_label(inner)}{right}"
    for arrow in box.arrows:
        label = f"|{arrow.label}|" if arrow.label else ""
        yield f"{indent}{arrow.before} -->{label} {arrow.after}"


def _mermaid_label(box: Box) -> str:
    mark = " ?" if box.conditional else ""
    detail = f"<br/>{_mermaid_text(box.detail)}" if box.detail else ""
    return f"{_mermaid_text(box.title)}{mark}{detail}"


def _mermaid_text(text: str) -> str:
    """Mermaid writes what could be syntax as `#code;`."""
    plain = " ".join(text.split())
    return "".join(c if c.isalnum() or c in " _.,:-()[]+=/" else f"#{ord(c)};" for c in plain)


# --- DOT


def _dot(root: Box) -> Iterator[str]:
    yield f"digraph {_dot_text(root.title)} {{"
    yield "  compound=true; rankdir=TB;"
    yield '  node [shape=box, style="rounded", fontname="sans-serif"]; edge [fontname="sans-serif", fontsize=10];'
    yield from _dot_scope(root, "  ")
    yield "}"


def _dot_scope(box: Box, indent: str) -> Iterator[str]:
    inside = {inner.key: inner for inner in box.boxes}
    for inner in box.boxes:
        label = _dot_text(f"{inner.title}{' ?' if inner.conditional else ''}\n{inner.detail}")
        if inner.boxes:
            yield f"{indent}subgraph cluster_{inner.key} {{"
            yield f"{indent}  label={label}; style=rounded;"
            yield from _dot_scope(inner, indent + "  ")
            yield f"{indent}}}"
        else:
            shape = _DOT_SHAPES.get(inner.kind)
            yield f"{indent}{inner.key} [label={label}{f', shape={shape}' if shape else ''}];"
    for arrow in box.arrows:
        yield f"{indent}{_dot_arrow(arrow, inside)}"


def _dot_arrow(arrow: Arrow, inside: dict[str, Box]) -> str:
    """Graphviz joins nodes only: an arrow to a cluster goes to a node in it and is cut at the border."""
    before, after = inside[arrow.before], inside[arrow.after]
    options = [f"label={_dot_text(arrow.label)}"] if arrow.label else []
    if before.boxes:
        options.append(f"ltail=cluster_{before.key}")
    if after.boxes:
        options.append(f"lhead=cluster_{after.key}")
    tail = f" [{', '.join(options)}]" if options else ""
    return f"{_leaf(before, -1)} -> {_leaf(after, 0)}{tail};"


def _leaf(box: Box, position: int) -> str:
    leaves = [inner.key for inner in every_box(box) if not inner.boxes]
    return leaves[position] if leaves else box.key


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "")
    return f'"{escaped}"'
