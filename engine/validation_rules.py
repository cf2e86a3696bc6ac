"""Rules that look at one node or one scope by itself: names, and expressions of the right form.

The validator runs them over the tree of symbols; what concerns several nodes is in `references` and
`ordering`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .definition import Definition, FlowNode, LoopNode, MapNode, ParallelNode, RunNode, SetNode
from .definition_parts import Defaults, Retry
from .durations import parse_duration
from .errors import Problem
from .expressions import NAME_PATTERN, RESERVED_NAMES, has_expression
from .pointers import child, values_in
from .reference_roots import givers
from .rules_of_pace import check_schedule, check_scheduled_inputs
from .rules_of_verbs import check_entries, check_rules
from .symbols import NodeSymbol, Symbols, Use

__all__ = ["check_definition", "check_nodes"]

#: Fields whose value must be what one expression gives; text around it would make it text.
_WHOLE: Final = frozenset(
    {
        *("when", "map", "concurrency", "loop/while", "loop/until", "loop/times", "loop/for"),
        *("wait/match", "wait/condition"),
    }
)
#: Bodies that end with what they own, so that a `set` alone in one would be lost.
_LOSING: Final = frozenset({"item", "branch", "undo", "finally"})
_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def check_nodes(symbols: Symbols, defaults: Defaults) -> Iterable[Problem]:
    """Names (rule 1) and forms of every node."""
    for node in symbols.nodes:
        model = node.model
        if node.name or not node.scope.single:
            yield from _check_node_name(node)
        if isinstance(model, (MapNode, LoopNode)):
            yield from _check_item_names(node, model)
        elif isinstance(model, ParallelNode):
            yield from _check_branches(node, model)
        elif isinstance(model, SetNode):
            yield from _check_set(node, model)
        elif isinstance(model, (RunNode, FlowNode)) and model.has("retry"):
            yield from _check_delays(model.retry, child(node.pointer, "retry"), defaults.retry)
        yield from _check_whole(node)
        yield from check_rules(node)


def check_definition(definition: Definition) -> Iterable[Problem]:
    """Rules of the document's other parts."""
    yield from _check_delays(definition.defaults.retry, "/defaults/retry", definition.defaults.retry)
    yield from check_entries(definition.on_error, "/on_error", of_definition=True)
    refused = list(_check_inputs(definition.inputs)) if definition.inputs else []
    yield from refused
    if definition.schedule is not None:
        yield from check_schedule(definition.schedule)
        if all(problem.severity != "error" for problem in refused):
            yield from check_scheduled_inputs(definition.schedule, definition.inputs)


def _check_inputs(schema: Mapping[str, Any]) -> Iterable[Problem]:
    # Imported where it is needed: most of the time of a cold start would go into jsonschema.
    from .input_schema import check_input_schema

    yield from check_input_schema(schema)
    if has_expression(schema):
        yield from _expressions_in(schema, "/inputs")


def _bad_name(name: str) -> str | None:
    """Why a name is refused, or None."""
    if name in RESERVED_NAMES:
        return f"{name!r} has a meaning of its own in expressions"
    return None if NAME_PATTERN.match(name) else f"{name!r} is no name that an expression could use"


def _check_node_name(node: NodeSymbol) -> Iterable[Problem]:
    reason = _bad_name(node.name)
    if reason:
        yield Problem(node.pointer, "bad_name", reason, _name_hint(node.name))
    outer = node.scope.around
    if outer is not None and any(node.name in step.scope.nodes for step in outer.outward()):
        yield Problem(
            node.pointer,
            "reused_name",
            f"{node.name!r} is also the name of a node around it",
            "give the inner node another name",
        )


def _name_hint(name: str) -> str:
    if name in RESERVED_NAMES:
        return f"call it e.g. '{name}_1'"
    fixed = "".join(sign if sign.isascii() and (sign.isalnum() or sign == "_") else "_" for sign in name)[:63]
    fixed = f"_{fixed}"[:63] if fixed[:1].isdigit() else fixed
    rule = "names are letters, digits and '_', not beginning with a digit, at most 63"
    if "-" in name:
        rule += "; '-' would be read as minus"
    return f"{rule}: write {fixed!r}" if fixed.strip("_") else rule


def _check_item_names(node: NodeSymbol, model: MapNode | LoopNode) -> Iterable[Problem]:
    taken = {name for giver in givers(node.scope) for name in (giver.as_, giver.index)} - {"item", "index"}
    for field, name, default in (("as", model.as_, "item"), ("index", model.index, "index")):
        pointer = child(node.pointer, field)
        if name == default:
            continue
        reason = _bad_name(name)
        if reason:
            yield Problem(pointer, "bad_name", reason, _name_hint(name))
        elif name in taken:
            message = f"{name!r} is also a name that a map or loop around this one gives"
            yield Problem(pointer, "reused_name", message, "choose another name")
        taken.add(name)


def _check_set(node: NodeSymbol, model: SetNode) -> Iterable[Problem]:
    pointer = child(node.pointer, "set")
    if not model.set:
        yield Problem(pointer, "bad_value", "there is no variable to set", 'write {"name": "{{ … }}"}')
    if node.scope.single and node.scope.kind in _LOSING:
        yield Problem(
            node.pointer,
            "not_supported",
            "'set' as the only node of this body writes a variable that ends with the body",
            "write it as one of 'nodes' and return the value in 'output'",
        )
    for name in model.set:
        reason = _bad_name(name)
        if reason:
            yield Problem(child(pointer, name), "bad_name", reason, _name_hint(name))


def _check_whole(node: NodeSymbol) -> Iterable[Problem]:
    for use in node.uses:
        if _is_whole(use) and isinstance(use.value, str):
            text = _QUOTED.sub("", use.value)
            if not (text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1):
                field = use.field.rpartition("/")[2]
                message = f"{field!r} takes what one expression gives; here text stands beside an expression"
                yield Problem(use.pointer, "bad_value", message, "write the whole of it inside one '{{ … }}'")


def _is_whole(use: Use) -> bool:
    return use.field in _WHOLE or use.field.startswith("switch/")


def _check_branches(node: NodeSymbol, model: ParallelNode) -> Iterable[Problem]:
    for name in model.parallel:
        reason = _bad_name(name)
        if reason:
            yield Problem(child(f"{node.pointer}/parallel", name), "bad_name", reason, _name_hint(name))


def _check_delays(retry: Retry, pointer: str, defaults: Retry) -> Iterable[Problem]:
    """Report a bound, written in the document, that cuts the very first pause."""
    delay, bound = ((retry if retry.has(name) else defaults) for name in ("delay", "max_delay"))
    written = retry.has("delay") or retry.has("max_delay")
    if not (written and delay.has("delay") and bound.has("max_delay")):
        return
    if parse_duration(delay.delay) > parse_duration(bound.max_delay):
        field = "max_delay" if retry.has("max_delay") else "delay"
        message = f"the first pause of {delay.delay} is longer than 'max_delay', {bound.max_delay}"
        yield Problem(child(pointer, field), "bad_value", message, "raise 'max_delay' or lower 'delay'")


def _expressions_in(value: Any, pointer: str) -> Iterable[Problem]:
    for here, member in values_in(value, pointer):
        if isinstance(member, str) and "{{" in member:
            message = "no expression is evaluated in 'inputs'"
            yield Problem(here, "expression_not_allowed", message, "write a constant value")
