"""Which fields stand where: verbs, known fields, and fields of later versions, refused by name.

First half of parsing, on the raw JSON value. What it refuses it also takes out or replaces by a stand-in, so
that the checks behind it still see the rest of the document and one run reports everything. `Shape.muted`
holds the places where a stand-in stands: nothing further is said about those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from .definition import VERBS
from .fields import kind_of
from .pointers import child
from .problems import suggestion
from .shape_fields import (
    ANY_NODE_FIELD,
    DEFAULTS_FIELDS,
    DEFINITION_FIELDS,
    JOIN_FIELDS,
    LATER_DEFAULTS,
    LATER_DEFINITION,
    LATER_NEED,
    LATER_NODE,
    LATER_VERBS,
    LATER_WAIT,
    NEED_FIELDS,
    NODE_FIELDS,
    RETRY_FIELDS,
    RUN_ONLY_LATER,
    SCOPE_FIELDS,
    WAIT_FIELDS,
    Shape,
)

__all__ = ["MAX_NESTING", "MAX_NODES", "STAND_IN", "Shape", "check_shape"]

#: Containers inside containers.
MAX_NESTING: Final = 32
#: Nodes of one definition, inner ones included.
MAX_NODES: Final = 200_000
#: Executor of a node whose verb was refused; never runs, because the definition is refused.
STAND_IN: Final = "refused.node"


def check_shape(document: dict[str, Any]) -> Shape:
    """Check which fields stand where in the raw document of a definition."""
    shape = Shape({})
    kept = shape.members(document, "", DEFINITION_FIELDS, LATER_DEFINITION)
    for name, stand_in in (("dsl", "1"), ("name", "refused")):
        if name not in kept:
            if name not in document:
                hint = (
                    'write "dsl": "1"' if name == "dsl" else "give the workflow a name, e.g. 'billing.report'"
                )
                shape.report(child("", name), "missing_field", f"{name!r} is missing", hint)
            kept[name] = stand_in
            shape.muted.add(child("", name))
    if isinstance(kept.get("defaults"), dict):
        kept["defaults"] = defaults = shape.members(
            kept["defaults"], "/defaults", DEFAULTS_FIELDS, LATER_DEFAULTS
        )
        if isinstance(defaults.get("retry"), dict):
            defaults["retry"] = shape.members(defaults["retry"], "/defaults/retry", RETRY_FIELDS)
    kept["nodes"] = _nodes(shape, kept, "", 0)
    shape.document = kept
    return shape


def _nodes(shape: Shape, scope: Mapping[str, Any], pointer: str, depth: int) -> dict[str, Any]:
    here = child(pointer, "nodes")
    nodes = scope.get("nodes")
    if not isinstance(nodes, dict):
        if "nodes" in scope:
            shape.report(
                here, "wrong_type", f"'nodes' must be an object of nodes by name, not {kind_of(nodes)}"
            )
        else:
            shape.report(
                here, "missing_field", "'nodes' is missing", 'write "nodes": {"first": {"run": "core.noop"}}'
            )
        return {}
    if not nodes:
        shape.report(
            here, "empty_nodes", "there must be at least one node", 'write {"first": {"run": "core.noop"}}'
        )
    kept: dict[str, Any] = {}
    for name, raw in cast("dict[str, Any]", nodes).items():
        shape.nodes += 1
        if shape.nodes > MAX_NODES:
            if shape.nodes == MAX_NODES + 1:
                shape.report(child(here, name), "too_large", f"a definition has at most {MAX_NODES:,} nodes")
            break
        kept[name] = _node(shape, raw, child(here, name), depth)
    return kept


def _node(shape: Shape, raw: object, pointer: str, depth: int) -> dict[str, Any]:
    if not isinstance(raw, dict):
        shape.report(
            pointer, "wrong_type", f"a node is an object, not {kind_of(raw)}", 'write {"run": "domain.name"}'
        )
        return _stand_in(shape, pointer, {})
    node = cast("dict[str, Any]", raw)
    verb = _verb(shape, node, pointer)
    if verb is None:
        return _stand_in(shape, pointer, shape.members(node, pointer, ANY_NODE_FIELD, LATER_NODE))
    own = NODE_FIELDS[verb]
    foreign = [name for name in node if name not in own and _misplaced(shape, name, verb, pointer)]
    fields = {name: value for name, value in node.items() if name not in foreign} if foreign else node
    kept = shape.members(fields, pointer, own, LATER_NODE)
    if verb not in kept:
        return _stand_in(shape, pointer, kept)
    _inside(shape, kept, verb, pointer, depth)
    return kept


def _verb(shape: Shape, node: Mapping[str, Any], pointer: str) -> str | None:
    """The one verb of a node, or None when a stand-in must take its place."""
    found = [verb for verb in VERBS if verb in node]
    if any(verb in node for verb in LATER_VERBS):
        return None
    if "map" in found and "do" in found:
        found.remove("do")
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(repr(verb) for verb in found)
        shape.report(
            pointer, "two_verbs", f"a node has one verb, this one has {names}", "split it into two nodes"
        )
        return found[0]
    meant = [
        close for name in node if name not in ANY_NODE_FIELD for close in [suggestion(name, VERBS)] if close
    ]
    hint = next((text for text in meant if text.startswith("did")), "add one of: run, map, set, wait, do")
    shape.report(pointer, "no_verb", "the node has no verb: it says nothing to do", hint)
    return None


def _misplaced(shape: Shape, name: str, verb: str, pointer: str) -> bool:
    """Report a field that only another verb takes."""
    if name not in ANY_NODE_FIELD:
        return False
    if name in VERBS:
        return name != "do" or verb != "map"
    owner = "run" if name in NODE_FIELDS["run"] else "map"
    if name in RUN_ONLY_LATER:
        shape.report(
            child(pointer, name),
            "not_supported",
            f"{name!r} on a {verb!r} node is not built in this version",
            "only 'run' nodes take it",
        )
    else:
        shape.report(
            child(pointer, name),
            "misplaced_field",
            f"{name!r} belongs to {owner!r}; a {verb!r} node does not take it",
            "move it to the node that needs it, or remove it",
        )
    return True


def _stand_in(shape: Shape, pointer: str, kept: dict[str, Any]) -> dict[str, Any]:
    shape.muted.add(child(pointer, "run"))
    common = {name: kept[name] for name in ("description", "needs", "when", "output") if name in kept}
    _needs(shape, common, pointer)
    return {**common, "run": STAND_IN}


def _inside(shape: Shape, node: dict[str, Any], verb: str, pointer: str, depth: int) -> None:
    """Check the objects inside one node, in place."""
    _needs(shape, node, pointer)
    if verb == "run":
        if isinstance(node.get("retry"), dict):
            node["retry"] = shape.members(node["retry"], child(pointer, "retry"), RETRY_FIELDS)
    elif verb == "map":
        node["do"] = _body(shape, node, pointer, depth)
        if isinstance(node.get("join"), dict):
            node["join"] = shape.members(node["join"], child(pointer, "join"), JOIN_FIELDS)
    elif verb == "wait" and isinstance(node["wait"], dict):
        node["wait"] = _wait(shape, cast("dict[str, Any]", node["wait"]), child(pointer, "wait"))
    elif verb == "do":
        node["do"] = _group(shape, node["do"], child(pointer, "do"), depth)


def _needs(shape: Shape, node: dict[str, Any], pointer: str) -> None:
    needs = node.get("needs")
    if not isinstance(needs, list):
        return
    here = child(pointer, "needs")
    node["needs"] = [
        _need(shape, need, child(here, index)) for index, need in enumerate(cast("list[Any]", needs))
    ]


def _need(shape: Shape, need: object, pointer: str) -> object:
    if isinstance(need, str):
        return need
    hint = 'write a name or {"node": "name", "on": ["completed"]}'
    if not isinstance(need, dict):
        shape.report(pointer, "wrong_type", f"a dependency is a name or an object, not {kind_of(need)}", hint)
    else:
        entry = shape.members(cast("dict[str, Any]", need), pointer, NEED_FIELDS, LATER_NEED)
        if "node" in entry:
            return entry
        if not any(name in LATER_NEED or name == "node" for name in cast("dict[str, Any]", need)):
            shape.report(pointer, "missing_field", "'node' is missing", hint)
    # The entries behind it must keep their place, or their problems would point to the wrong one.
    shape.muted.add(pointer)
    return STAND_IN


def _wait(shape: Shape, raw: Mapping[str, Any], pointer: str) -> dict[str, Any]:
    kept = shape.members(raw, pointer, WAIT_FIELDS, LATER_WAIT)
    if "for" not in kept:
        if not any(name in LATER_WAIT or name == "for" for name in raw):
            shape.report(pointer, "missing_field", "'for' is missing", 'write {"for": "30s"}')
        shape.muted.add(pointer)
        kept["for"] = "0s"
    return kept


def _group(shape: Shape, raw: object, pointer: str, depth: int) -> dict[str, Any]:
    if depth >= MAX_NESTING:
        shape.report(pointer, "too_deep", f"containers may be nested {MAX_NESTING} deep")
        return {"nodes": {}}
    if not isinstance(raw, dict):
        shape.report(
            pointer, "wrong_type", f"'do' must be an object, not {kind_of(raw)}", 'write {"nodes": {…}}'
        )
        return {"nodes": {}}
    scope = cast("dict[str, Any]", raw)
    if "nodes" not in scope and any(verb in scope for verb in VERBS):
        shape.report(
            pointer, "missing_field", "a group holds nodes by name", 'write {"nodes": {"first": {…}}}'
        )
        return {"nodes": {}}
    kept = shape.members(scope, pointer, SCOPE_FIELDS, LATER_DEFINITION)
    kept["nodes"] = _nodes(shape, kept, pointer, depth + 1)
    return kept


def _body(shape: Shape, node: Mapping[str, Any], pointer: str, depth: int) -> dict[str, Any]:
    here = child(pointer, "do")
    raw = node.get("do")
    if raw is None:
        shape.report(
            here, "missing_field", "'map' needs a 'do': what to run per item", 'write "do": {"run": "…"}'
        )
        return {"nodes": {}}
    if not isinstance(raw, dict) or "nodes" in raw or depth >= MAX_NESTING:
        if isinstance(raw, dict) and any(verb in raw for verb in VERBS):
            shape.report(
                here, "two_verbs", "a body is one node or {nodes, output}, not both", "keep one of them"
            )
            raw = {
                name: value
                for name, value in cast("dict[str, Any]", raw).items()
                if name in ("nodes", "output")
            }
        return _group(shape, cast("object", raw), here, depth)
    body = cast("dict[str, Any]", raw)
    if "do" in body and "map" not in body and isinstance(body["do"], dict):
        shape.report(
            here, "bad_value", "a group as the only node of a body says nothing new", "write its nodes here"
        )
        return _group(shape, cast("object", body["do"]), child(here, "do"), depth)
    shape.nodes += 1
    return _node(shape, body, here, depth + 1)
