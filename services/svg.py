"""A drawing of boxes and arrows as SVG, laid out in layers: what depends on something stands below it.

Good for definitions that a person can read; Graphviz lays out the rest better. Nothing in it is active: no script, no
link, no font or picture from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Final

from .drawing import Box

__all__ = ["svg_of"]

_CHAR: Final = 7.2
_LINE: Final = 17
_GAP_X: Final = 28
_GAP_Y: Final = 46
_PAD: Final = 16
_STYLE: Final = (
    "text{font:12px ui-monospace,SFMono-Regular,Menlo,monospace;fill:#1c2733}"
    ".title{font-weight:600}.detail{fill:#5a6b7c}"
    "rect{fill:#fff;stroke:#8aa0b5}rect.group{fill:#f4f7fa;stroke:#c3cfda}"
    "rect.map,rect.loop{stroke:#2f7d6b}rect.flow{stroke:#2f5f8f}"
    "rect.set{stroke:#a9862c}rect.wait{stroke:#7a5ea8;stroke-dasharray:4 3}"
    "path{fill:none;stroke:#8aa0b5}path.other{stroke-dasharray:4 3}marker path{fill:#8aa0b5;stroke:none}"
)
_TIP: Final = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
)


@dataclass(slots=True)
class _Placed:
    """A box with its size and, relative to the box around it, its place."""

    box: Box
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    inner: dict[str, _Placed] = field(default_factory=dict[str, "_Placed"])


def svg_of(root: Box) -> str:
    """The drawing as one SVG document."""
    placed = _measure(root, title=True)
    width, height = placed.width + 2 * _PAD, placed.height + 2 * _PAD
    placed.x = placed.y = _PAD
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{_text(root.title)}">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", _TIP, *_render(placed, 0, 0), "</svg>"]) + "\n"


def _measure(box: Box, *, title: bool = False) -> _Placed:
    """A box with everything inside in its place."""
    heading = max(len(_title(box)), 0 if title else len(box.detail)) * _CHAR + 2 * _PAD
    lines = 1 + (1 if box.detail and not title else 0)
    placed = _Placed(box, heading, lines * _LINE + _PAD, inner={b.key: _measure(b) for b in box.boxes})
    if box.boxes:
        _place(placed, heading)
    return placed


def _place(placed: _Placed, heading: float) -> None:
    """Put the inner boxes in rows, each as near as can be below what it depends on, and fit the outer box."""
    above = _dependencies(placed.box)
    y = placed.height
    for layer in _layers(above):
        row = [placed.inner[key] for key in layer]
        wishes = {key: _mean([_centre(placed.inner[other]) for other in above[key]]) for key in layer}
        row.sort(key=lambda each: wishes[each.box.key])
        edge = float("-inf")
        for each in row:
            each.x, each.y = max(edge, wishes[each.box.key] - each.width / 2), y
            edge = each.x + each.width + _GAP_X
        pushed = _mean([_centre(each) - wishes[each.box.key] for each in row])
        for each in row:
            each.x -= pushed
        y += max(each.height for each in row) + _GAP_Y
    placed.height = y - _GAP_Y + _PAD
    left = min(each.x for each in placed.inner.values())
    right = max(each.x + each.width for each in placed.inner.values())
    placed.width = max(heading, right - left + 2 * _PAD)
    shift = (placed.width - (right - left)) / 2 - left
    for each in placed.inner.values():
        each.x += shift


def _centre(placed: _Placed) -> float:
    return placed.x + placed.width / 2


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _dependencies(box: Box) -> dict[str, list[str]]:
    above: dict[str, list[str]] = {inner.key: [] for inner in box.boxes}
    for arrow in box.arrows:
        above[arrow.after].append(arrow.before)
    return above


def _layers(above: dict[str, list[str]]) -> list[list[str]]:
    """Boxes by their longest way from a start; they come in an order that follows the dependencies."""
    depth: dict[str, int] = {}
    for key, others in above.items():
        depth[key] = 1 + max((depth[other] for other in others), default=-1)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for key, level in depth.items():
        layers[level].append(key)
    return layers


def _render(placed: _Placed, left: float, top: float) -> Iterator[str]:
    box, x, y = placed.box, left + placed.x, top + placed.y
    style = "group" if box.boxes else box.kind
    yield (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{placed.width:.1f}" '
        f'height="{placed.height:.1f}" rx="6"/>'
    )
    middle = x + placed.width / 2
    yield _line(middle, y + _LINE, "title", _title(box))
    if box.detail:
        yield _line(middle, y + 2 * _LINE, "detail", box.detail)
    for arrow in box.arrows:
        yield _arrow(placed.inner[arrow.before], placed.inner[arrow.after], x, y, arrow.label)
    for inner in placed.inner.values():
        yield from _render(inner, x, y)


def _arrow(before: _Placed, after: _Placed, left: float, top: float, label: str) -> str:
    x1, y1 = left + _centre(before), top + before.y + before.height
    x2, y2 = left + _centre(after), top + after.y
    bend = max(_GAP_Y / 2, (y2 - y1) / 2)
    kind = ' class="other"' if label else ""
    tip = f"<title>{_text(label)}</title>" if label else ""
    curve = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    return f'<path{kind} d="{curve}" marker-end="url(#tip)">{tip}</path>'


def _line(x: float, y: float, style: str, text: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{_text(text)}</text>'


def _title(box: Box) -> str:
    return f"{box.title} ?" if box.conditional else box.title


def _text(text: str) -> str:
    """Escaped, and without what XML forbids."""
    return escape("".join(c if c.isprintable() else " " for c in text))
