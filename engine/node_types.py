"""Verbs from outside: a node type writes a node of the language in place of its own, before anything is checked.

`{"acme.approve": {"by": "cfo"}, "needs": ["report"]}` becomes what the type `acme.approve` makes of `{"by": "cfo"}`,
with the other fields kept. What is stored and hashed is the result: a run needs the type no more. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from .errors import DefinitionError, Problem
from .pointers import child

__all__ = ["Expansion", "expand_node_types"]

#: Makes a node (an object with a verb of the language) of what stands under the type's name.
Expansion = Callable[[Any], Mapping[str, Any]]
#: A type may write nodes of other types; deeper than this they write each other for ever.
_DEEPEST: Final = 16
Json = dict[str, Any]


def expand_node_types(
    source: str | bytes | Mapping[str, Any], types: Mapping[str, Expansion]
) -> str | bytes | Mapping[str, Any]:
    """The document with every node of a known type written out. Raises DefinitionError with the node's place."""
    if not types:
        return source
    document: Any = source
    if isinstance(source, str | bytes):
        text = source.decode("utf-8", "replace") if isinstance(source, bytes) else source
        if not any(name in text for name in types):
            return source
        try:
            document = json.loads(source)
        except ValueError:
            return source  # the parser says what is wrong, and where
    if not isinstance(document, dict):
        return source
    return _Walk(types).scope(cast("Json", document), "", 0)


class _Walk:
    def __init__(self, types: Mapping[str, Expansion]) -> None:
        self._types = types

    def scope(self, scope: Json, pointer: str, depth: int) -> Json:
        """A definition, or a body with `nodes`."""
        found = dict(scope)
        if isinstance(found.get("nodes"), dict):
            here = child(pointer, "nodes")
            nodes = cast("Json", found["nodes"])
            found["nodes"] = {
                name: self._node(node, child(here, name), depth) for name, node in nodes.items()
            }
        return self._handlers(found, pointer, depth)

    def _body(self, body: Any, pointer: str, depth: int) -> Any:
        if isinstance(body, dict) and "nodes" in body:
            return self.scope(cast("Json", body), pointer, depth)
        return self._node(body, pointer, depth)

    def _node(self, node: Any, pointer: str, depth: int) -> Any:
        if not isinstance(node, dict):
            return node
        found = cast("Json", node)
        name = next((each for each in found if each in self._types), None)
        if name is not None:
            found = self._written_out(name, found, pointer, depth)
            return self._node(found, pointer, depth + 1)
        found = dict(found)
        for field in ("do", "else", "undo"):
            if isinstance(found.get(field), dict):
                found[field] = self._body(found[field], child(pointer, field), depth)
        if isinstance(found.get("parallel"), dict):
            here, branches = child(pointer, "parallel"), cast("Json", found["parallel"])
            found["parallel"] = {n: self._body(b, child(here, n), depth) for n, b in branches.items()}
        for field in ("switch",):
            if isinstance(found.get(field), list):
                found[field] = self._entries(cast("list[Any]", found[field]), child(pointer, field), depth)
        return self._handlers(found, pointer, depth)

    def _handlers(self, found: Json, pointer: str, depth: int) -> Json:
        if isinstance(found.get("on_error"), list):
            entries = cast("list[Any]", found["on_error"])
            found["on_error"] = self._entries(entries, child(pointer, "on_error"), depth)
        if isinstance(found.get("finally"), dict):
            found["finally"] = self._body(found["finally"], child(pointer, "finally"), depth)
        return found

    def _entries(self, entries: list[Any], pointer: str, depth: int) -> list[Any]:
        """Cases of a switch, entries of `on_error`: what they do is a body."""
        made: list[Any] = []
        for index, entry in enumerate(entries):
            found = cast("Json", entry) if isinstance(entry, dict) else {}
            if isinstance(found.get("do"), dict):
                place = child(child(pointer, str(index)), "do")
                made.append({**found, "do": self._body(found["do"], place, depth)})
            else:
                made.append(entry)
        return made

    def _written_out(self, name: str, node: Json, pointer: str, depth: int) -> Json:
        if depth >= _DEEPEST:
            raise _refused(pointer, f"node types write each other for ever, the last one {name!r}")
        try:
            made = self._types[name](node[name])
        except Exception as exc:
            raise _refused(child(pointer, name), f"{name} refuses it: {exc}") from exc
        if not isinstance(made, Mapping) or name in made:  # pyright: ignore[reportUnnecessaryIsInstance] - not ours
            raise _refused(pointer, f"the node type {name!r} gave no node: {made!r:.200}")
        return {**made, **{field: value for field, value in node.items() if field != name}}


def _refused(pointer: str, message: str) -> DefinitionError:
    return DefinitionError([Problem(pointer, "node_type", message, "ask whoever brings this node type")])
