"""Which fields stand where: verbs and the fields that each of them takes.

First half of parsing, on the raw JSON value. What it refuses it also takes out or replaces by a stand-in, so
that the checks behind it still see the rest of the document and one run reports everything. `Shape.muted`
holds the places where a stand-in stands: nothing further is said about those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from .definition import VERBS
from .field_texts import kind_of
from .pointers import child
from .problems import suggestion
from .shape_fields import (
    ACTIONS,
    ANY_NODE_FIELD,
    CASE_FIELDS,
    COMMON_FIELDS,
    DEFAULTS_FIELDS,
    DEFINITION_FIELDS,
    FAIL_FIELDS,
    HANDLER_FIELDS,
    NODE_FIELDS,
    ON_ERROR_FIELDS,
    SCOPE_FIELDS,
    Shape,
)
from .shape_parts import (
    STAND_IN,
    join_of,
    limits_of,
    loop_of,
    needs_of,
    retry_of,
    schedule_of,
    start_of,
    total_limits_of,
    wait_of,
)

__all__ = ["MAX_NESTING", "MAX_NODES", "STAND_IN", "Shape", "check_shape"]

#: Containers inside containers.
MAX_NESTING: Final = 32
#: Nodes of one definition, inner ones included.
MAX_NODES: Final = 200_000
#: Verbs with nodes inside, which an error can undo.
_CONTAINERS: Final = frozenset({"map", "parallel", "loop", "switch", "do"})
#: What to do instead of a field that its node does not take.
_INSTEAD: Final = {
    "timeout": "'deadline' limits any node",
    "retry": "retry the nodes inside it, or handle the failure with 'on_error'",
    "heartbeat": "'deadline' limits any node",
    "limits": "write it on the 'run' nodes that need it; items and branches at work are bounded by 'concurrency'",
}


def check_shape(document: dict[str, Any]) -> Shape:
    """Check which fields stand where in the raw document of a definition."""
    shape = Shape({})
    kept = shape.members(document, "", DEFINITION_FIELDS)
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
        kept["defaults"] = shape.members(kept["defaults"], "/defaults", DEFAULTS_FIELDS)
        retry_of(shape, kept["defaults"], "/defaults")
    if isinstance(kept.get("start"), dict):
        kept["start"] = start_of(shape, kept["start"])
    if isinstance(kept.get("schedule"), dict):
        kept["schedule"] = schedule_of(shape, kept["schedule"])
    if isinstance(kept.get("limits"), dict):
        kept["limits"] = total_limits_of(shape, kept["limits"])
    kept["nodes"] = _nodes(shape, kept, "", 0)
    _on_error(shape, kept, "", 0, verb=None)
    if "finally" in kept:
        kept["finally"] = _body(shape, kept["finally"], "/finally", 0)
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
        if not _counted(shape, child(here, name)):
            break
        kept[name] = _node(shape, raw, child(here, name), depth)
    return kept


def _counted(shape: Shape, pointer: str) -> bool:
    """Count a node; False when there are too many."""
    shape.nodes += 1
    if shape.nodes == MAX_NODES + 1:
        shape.report(pointer, "too_large", f"a definition has at most {MAX_NODES:,} nodes")
    return shape.nodes <= MAX_NODES


def _node(shape: Shape, raw: object, pointer: str, depth: int) -> dict[str, Any]:
    if not isinstance(raw, dict):
        shape.report(
            pointer, "wrong_type", f"a node is an object, not {kind_of(raw)}", 'write {"run": "domain.name"}'
        )
        return _stand_in(shape, pointer, {})
    node = cast("dict[str, Any]", raw)
    verb = _verb(shape, node, pointer)
    if verb is None:
        return _stand_in(shape, pointer, shape.members(node, pointer, ANY_NODE_FIELD))
    own = NODE_FIELDS[verb]
    foreign = [name for name in node if name not in own and _misplaced(shape, name, verb, pointer)]
    fields = {name: value for name, value in node.items() if name not in foreign} if foreign else node
    kept = shape.members(fields, pointer, own)
    if verb not in kept:
        return _stand_in(shape, pointer, kept)
    _common(shape, kept, pointer, depth, verb)
    _inside(shape, kept, verb, pointer, depth)
    return kept


def _verb(shape: Shape, node: Mapping[str, Any], pointer: str) -> str | None:
    """The one verb of a node, or None when a stand-in must take its place."""
    found = [verb for verb in VERBS if verb in node]
    if "do" in found and ("map" in found or "loop" in found):
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
    hint = next((text for text in meant if text.startswith("did")), f"add one of: {', '.join(VERBS)}")
    shape.report(pointer, "no_verb", "the node has no verb: it says nothing to do", hint)
    return None


def _misplaced(shape: Shape, name: str, verb: str, pointer: str) -> bool:
    """Report a field that only another verb takes."""
    if name not in ANY_NODE_FIELD:
        return False
    if name in VERBS:
        # Two verbs are reported already.
        return True
    owners = " and ".join(repr(owner) for owner in VERBS if name in NODE_FIELDS[owner])
    shape.report(
        child(pointer, name),
        "misplaced_field",
        f"{name!r} belongs to {owners}; a {verb!r} node does not take it",
        _INSTEAD.get(name, "move it to the node that needs it, or remove it"),
    )
    return True


def _stand_in(shape: Shape, pointer: str, kept: dict[str, Any]) -> dict[str, Any]:
    shape.muted.add(child(pointer, "run"))
    common = {name: kept[name] for name in COMMON_FIELDS if name in kept}
    # What a node of no verb does when it fails is not looked at.
    for name in ("on_error", "undo"):
        common.pop(name, None)
    needs_of(shape, common, pointer)
    return {**common, "run": STAND_IN}


def _common(shape: Shape, node: dict[str, Any], pointer: str, depth: int, verb: str) -> None:
    """Check what every node may say, in place."""
    if "needs" in node:
        needs_of(shape, node, pointer)
    if "on_error" in node:
        _on_error(shape, node, pointer, depth, verb=verb)
    if "undo" in node:
        node["undo"] = _body(shape, node["undo"], child(pointer, "undo"), depth)


def _inside(shape: Shape, node: dict[str, Any], verb: str, pointer: str, depth: int) -> None:
    """Check the objects inside one node, in place."""
    match verb:
        case "run" | "flow":
            retry_of(shape, node, pointer)
            limits_of(shape, node, pointer)
        case "map":
            join_of(shape, node, pointer)
            node["do"] = _needed_body(shape, node, verb, pointer, depth)
        case "parallel":
            join_of(shape, node, pointer)
            _branches(shape, node, pointer, depth)
        case "loop":
            loop_of(shape, node, pointer)
            node["do"] = _needed_body(shape, node, verb, pointer, depth)
        case "switch":
            _cases(shape, node, pointer, depth)
        case "wait":
            _wait(shape, node, pointer, depth)
        case "do":
            node["do"] = _group(shape, node["do"], child(pointer, "do"), depth)
        case _:
            pass


def _wait(shape: Shape, node: dict[str, Any], pointer: str, depth: int) -> None:
    if not isinstance(node["wait"], dict):
        return
    here = child(pointer, "wait")
    node["wait"] = kept = wait_of(shape, cast("dict[str, Any]", node["wait"]), here)
    if isinstance(kept.get("on_timeout"), dict):
        there = child(here, "on_timeout")
        kept["on_timeout"] = _handler(
            shape, kept["on_timeout"], there, depth, verb="wait", known=HANDLER_FIELDS
        )


def _branches(shape: Shape, node: dict[str, Any], pointer: str, depth: int) -> None:
    if not isinstance(node["parallel"], dict):
        return
    here = child(pointer, "parallel")
    branches = cast("dict[str, Any]", node["parallel"])
    if not branches:
        hint = 'write {"left": {"run": "…"}, "right": {"run": "…"}}'
        shape.report(here, "empty_nodes", "there must be at least one branch", hint)
    node["parallel"] = {name: _body(shape, body, child(here, name), depth) for name, body in branches.items()}


def _cases(shape: Shape, node: dict[str, Any], pointer: str, depth: int) -> None:
    if "else" in node:
        node["else"] = _body(shape, node["else"], child(pointer, "else"), depth)
    if not isinstance(node["switch"], list):
        return
    here = child(pointer, "switch")
    cases = cast("list[Any]", node["switch"])
    node["switch"] = [_case(shape, case, child(here, index), depth) for index, case in enumerate(cases)]


def _case(shape: Shape, raw: object, pointer: str, depth: int) -> dict[str, Any]:
    hint = 'write {"when": "{{ … }}", "do": {"run": "…"}}'
    if not isinstance(raw, dict):
        shape.report(pointer, "wrong_type", f"a case is an object, not {kind_of(raw)}", hint)
        return {"when": False, "do": _stand_in(shape, child(pointer, "do"), {})}
    case = cast("dict[str, Any]", raw)
    kept = shape.members(case, pointer, CASE_FIELDS)
    if "when" not in kept:
        if "when" not in case:
            shape.report(child(pointer, "when"), "missing_field", "'when' is missing", hint)
        kept["when"] = False
    if "do" in kept:
        kept["do"] = _body(shape, kept["do"], child(pointer, "do"), depth)
    else:
        if "do" not in case:
            shape.report(child(pointer, "do"), "missing_field", "'do' is missing: what the case runs", hint)
        kept["do"] = {"nodes": {}}
    return kept


# --- handlers


def _on_error(shape: Shape, owner: dict[str, Any], pointer: str, depth: int, *, verb: str | None) -> None:
    """Check the entries of `on_error`, in place; `verb` is None for the definition's."""
    entries = owner.get("on_error")
    if not isinstance(entries, list):
        return
    here = child(pointer, "on_error")
    owner["on_error"] = [
        _handler(shape, entry, child(here, index), depth, verb=verb)
        for index, entry in enumerate(cast("list[Any]", entries))
    ]


def _handler(
    shape: Shape,
    raw: object,
    pointer: str,
    depth: int,
    *,
    verb: str | None,
    known: Mapping[str, None] = ON_ERROR_FIELDS,
) -> dict[str, Any]:
    hint = f"add one of: {', '.join(ACTIONS)}"
    if not isinstance(raw, dict):
        shape.report(pointer, "wrong_type", f"an entry is an object, not {kind_of(raw)}", hint)
        return {"undo": False}
    entry = cast("dict[str, Any]", raw)
    kept = shape.members(entry, pointer, known)
    action = shape.one_of(kept, pointer, ACTIONS, "an entry")
    if action is None and kept.get("undo", False) is False and not any(name in entry for name in ACTIONS):
        shape.report(pointer, "missing_field", "the entry says nothing to do", hint)
    if verb is None and "continue" in kept:
        message = "a run that has failed has nothing to go on with"
        shape.report(child(pointer, "continue"), "misplaced_field", message, "use 'output' to complete it")
        del kept["continue"]
    if "undo" in kept and verb is not None and verb not in _CONTAINERS:
        message = f"'undo' takes back what is inside a container; a {verb!r} node has nothing inside"
        shape.report(child(pointer, "undo"), "misplaced_field", message, "write it on the container around")
        del kept["undo"]
    if "do" in kept:
        kept["do"] = _body(shape, kept["do"], child(pointer, "do"), depth)
    if isinstance(kept.get("fail"), dict):
        kept["fail"] = shape.members(kept["fail"], child(pointer, "fail"), FAIL_FIELDS)
    return kept


# --- bodies


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
    return _scope(shape, scope, pointer, depth)


def _scope(shape: Shape, raw: Mapping[str, Any], pointer: str, depth: int) -> dict[str, Any]:
    kept = shape.members(raw, pointer, SCOPE_FIELDS)
    kept["nodes"] = _nodes(shape, kept, pointer, depth + 1)
    return kept


def _needed_body(
    shape: Shape, node: Mapping[str, Any], verb: str, pointer: str, depth: int
) -> dict[str, Any]:
    here = child(pointer, "do")
    if "do" in node:
        return _body(shape, node["do"], here, depth)
    per = "item" if verb == "map" else "turn"
    message = f"{verb!r} needs a 'do': what to run per {per}"
    shape.report(here, "missing_field", message, 'write "do": {"run": "…"}')
    return {"nodes": {}}


def _body(shape: Shape, raw: object, pointer: str, depth: int) -> dict[str, Any]:
    """Check one node, or `{nodes, output}`."""
    hint = 'write {"run": "domain.name"} or {"nodes": {…}}'
    if not isinstance(raw, dict):
        message = f"a body is one node or {{nodes, output}}, not {kind_of(raw)}"
        shape.report(pointer, "wrong_type", message, hint)
        return {"nodes": {}}
    if depth >= MAX_NESTING:
        shape.report(pointer, "too_deep", f"containers may be nested {MAX_NESTING} deep")
        return {"nodes": {}}
    body = cast("dict[str, Any]", raw)
    if "nodes" in body:
        if any(verb in body for verb in VERBS):
            message = "a body is one node or {nodes, output}, not both"
            shape.report(pointer, "two_verbs", message, "keep one of them")
            body = {name: value for name, value in body.items() if name in SCOPE_FIELDS}
        return _scope(shape, body, pointer, depth)
    if isinstance(body.get("do"), dict) and not any(verb in body for verb in VERBS if verb != "do"):
        message = "a group as the only node of a body says nothing new"
        shape.report(pointer, "bad_value", message, "write its nodes here")
        return _group(shape, cast("object", body["do"]), child(pointer, "do"), depth)
    return _node(shape, body, pointer, depth + 1) if _counted(shape, pointer) else {"nodes": {}}
