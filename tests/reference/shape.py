"""What a definition says before anything runs: who waits for whom, and when such a wait is over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

__all__ = [
    "ENDED",
    "Doc",
    "Edge",
    "Ended",
    "Group",
    "Need",
    "bodies_of",
    "edges_of",
    "handled_by_needs",
    "needs_of",
    "verdict",
]

Doc = dict[str, Any]
ENDED = frozenset({"completed", "failed", "skipped", "cancelled", "expired"})
_FORWARD = ("when", "with", "map", "loop", "wait", "set", "concurrency", "key")


class Ended(Protocol):
    """What a wait looks at: a row."""

    state: str
    continued: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """A node that is waited for, and the ends that will do."""

    node: str
    on: tuple[str, ...] = ("completed",)


@dataclass(frozen=True, slots=True)
class Group:
    """Edges of which any, all or none must hold."""

    kind: str
    edges: tuple[Edge, ...]


Need = Edge | Group


def needs_of(name: str, nodes: Mapping[str, Doc]) -> list[Need]:
    """Everything that a node waits for: what it says, then what its expressions read."""
    node = nodes[name]
    said = [_need(entry) for entry in _entries(node.get("needs", []))]
    named = {edge.node for need in said for edge in edges_of(need)}
    reads = set(_names("nodes", _forward(node))) & set(nodes)
    wants = set(_names("vars", _forward(node)))
    writers = {each for each in nodes if each != name and wants & set(_written(nodes[each]))}
    ordered = {edge.node for need in said if not _is_loose(need) for edge in edges_of(need)}
    found: list[Need] = [*said, *(Edge(each) for each in sorted(reads - named))]
    return [*found, *(Edge(each, ("completed", "skipped")) for each in sorted(writers - ordered))]


def handled_by_needs(nodes: Mapping[str, Doc]) -> set[str]:
    """The nodes whose failure some entry asks for."""
    return {
        edge.node
        for node in nodes.values()
        for need in map(_need, _entries(node.get("needs", [])))
        if not (isinstance(need, Group) and need.kind == "none")
        for edge in edges_of(need)
        if "failed" in edge.on
    }


def verdict(need: Need, rows: Mapping[str, Ended]) -> bool | None:
    """Whether a wait has come out well, has come out badly, or is not over."""
    if isinstance(need, Edge):
        row = rows.get(need.node)
        if row is None or row.state not in ENDED:
            return None
        return row.state in need.on or (row.continued and "completed" in need.on)
    members = [verdict(edge, rows) for edge in need.edges]
    if need.kind == "any":
        return True if True in members else None if None in members else False
    if need.kind == "none":
        return False if True in members else None if None in members else True
    return False if False in members else None if None in members else True


def bodies_of(node: Doc) -> Iterator[Doc]:
    """The bodies that belong to what a container does."""
    if "do" in node:
        yield node["do"]
    yield from node.get("parallel", {}).values()
    for case in node.get("switch", []):
        yield case["do"]
    if "else" in node:
        yield node["else"]


def _entries(needs: Any) -> list[Any]:
    return cast("list[Any]", needs) if isinstance(needs, list) else [needs]


def _need(entry: Any) -> Need:
    if isinstance(entry, str):
        return Edge(entry)
    for kind in ("any", "all", "none"):
        if kind in entry:
            return Group(kind, tuple(cast("Edge", _need(each)) for each in entry[kind]))
    return Edge(entry["node"], tuple(entry.get("on", ["completed"])))


def _is_loose(need: Need) -> bool:
    """Whether it may hold although a member has not ended well, so that what this writes could be missing."""
    return isinstance(need, Group) and need.kind != "all"


def edges_of(need: Need) -> tuple[Edge, ...]:
    """The edges of a need."""
    return need.edges if isinstance(need, Group) else (need,)


def _names(root: str, values: list[Any]) -> list[str]:
    return re.findall(rf"\b{root}\.(\w+)", repr(values))


def _forward(node: Doc) -> list[Any]:
    """What is evaluated for a node or inside it; handlers, `undo` and the `output` of nodes make no edges."""
    found = [node.get(field) for field in _FORWARD]
    found += [case["when"] for case in node.get("switch", [])]
    for body in bodies_of(node):
        inner = [body, *body["nodes"].values()] if "nodes" in body else [body]
        found += [body.get("output")] if "nodes" in body else []
        found += [value for each in inner if "nodes" not in each for value in _forward(each)]
    return found


def _written(node: Doc) -> list[str]:
    """The variables that a node writes in the scope it stands in: groups and cases have none of their own."""
    found = list(node.get("set", {}))
    transparent = (
        bodies_of(node) if "switch" in node or ("do" in node and not {"map", "loop"} & set(node)) else []
    )
    for body in transparent:
        for inner in body["nodes"].values() if "nodes" in body else [body]:
            found += _written(inner)
    return found
