"""Rules that look at several fields of one node: what contradicts itself, or could never have an effect.

Called by `validation_rules` for every node. A document that asks for something that cannot happen is refused, because
its author believes that it will.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from .definition import AnyNode, FlowNode, LoopNode, MapNode, OnError, ParallelNode, RunNode, WaitNode
from .definition_parts import Join
from .errors import Problem
from .pointers import child
from .rules_of_pace import check_limits
from .symbols import NodeSymbol

__all__ = ["check_entries", "check_rules"]

#: Kinds of bodies whose nodes nobody undoes from outside.
_NOT_UNDONE: Final = frozenset({"handler", "undo", "finally"})


def check_rules(node: NodeSymbol) -> Iterable[Problem]:
    """Problems between the fields of one node."""
    model = node.model
    if model.on_error:
        yield from check_entries(model.on_error, child(node.pointer, "on_error"))
    if model.undo is not None:
        yield from _check_undo(node)
    yield from _check_verb(node, model)


def _check_verb(node: NodeSymbol, model: AnyNode) -> Iterable[Problem]:
    match model:
        case MapNode() | ParallelNode():
            yield from _check_join(node, model)
        case LoopNode():
            yield from _check_loop(node, model)
        case WaitNode():
            yield from _check_wait(node, model)
        case RunNode():
            if model.limits is not None:
                yield from check_limits(model.limits, child(node.pointer, "limits"))
        case FlowNode():
            if model.detach and model.has("retry"):
                message = "a detached flow is not waited for, so its failure is not seen and never retried"
                yield Problem(
                    child(node.pointer, "retry"), "bad_value", message, "remove 'retry' or 'detach'"
                )
        case _:
            pass


def _check_join(node: NodeSymbol, model: MapNode | ParallelNode) -> Iterable[Problem]:
    pointer = child(node.pointer, "join")
    join = model.join
    need = join.need if isinstance(join, Join) else join
    if isinstance(model, ParallelNode) and isinstance(need, int) and need > len(model.parallel):
        place = child(pointer, "need") if isinstance(join, Join) else pointer
        message = f"{need} successes can never come from {len(model.parallel)} branches"
        yield Problem(place, "bad_value", message, f"ask for at most {len(model.parallel)}")
    if not isinstance(join, Join):
        return
    if need != "all" and join.has("tolerate"):
        message = f"'tolerate' counts failures under 'all'; with {need!r} it has no effect"
        yield Problem(child(pointer, "tolerate"), "bad_value", message, 'remove it, or write "need": "all"')
    if need == "none" and join.has("rest") and join.rest == "cancel":
        message = "a join that needs none is met at once, so 'cancel' would cancel everything"
        yield Problem(child(pointer, "rest"), "bad_value", message, "remove 'rest'; with 'none' it is 'keep'")


def _check_loop(node: NodeSymbol, model: LoopNode) -> Iterable[Problem]:
    loop = model.loop
    turns = loop.times if isinstance(loop.times, int) else None
    if isinstance(loop.for_, (list, dict)):
        turns = len(cast("list[Any]", loop.for_))
    if turns is not None and loop.has("max") and turns > loop.max:
        message = f"{turns} turns are more than 'max' allows"
        yield Problem(f"{node.pointer}/loop/max", "bad_value", message, f"raise it to {turns}, or remove it")


def _check_wait(node: NodeSymbol, model: WaitNode) -> Iterable[Problem]:
    wait = model.wait
    if wait.condition is None:
        return
    use = next((use for use in node.uses if use.field == "wait/condition"), None)
    if use is not None and all(reference.root != "vars" for reference in use.template.refs):
        message = "the condition reads no variable, and nothing else changes while it waits"
        yield Problem(use.pointer, "bad_value", message, "read vars.<name>, or use 'when'")


def _check_undo(node: NodeSymbol) -> Iterable[Problem]:
    """Report an `undo` inside a handler: what a handler did is not undone, unless something in it says so."""
    for step in node.scope.outward():
        if step.scope.kind in _NOT_UNDONE:
            message = "nothing undoes what a handler, an undo or 'finally' has done"
            yield Problem(child(node.pointer, "undo"), "misplaced_field", message, "remove it")
            return
        owner = step.scope.owner
        if owner is not None and any(entry.undo for entry in owner.model.on_error):
            return


def check_entries(
    entries: Iterable[OnError], pointer: str, *, of_definition: bool = False
) -> Iterable[Problem]:
    """Report entries that no error reaches: the first that matches counts."""
    takes_all: int | None = None
    for index, entry in enumerate(entries):
        # The definition's entries take a cancelled run only by that name.
        if takes_all is not None and not (of_definition and "cancelled" in entry.on):
            message = f"no error reaches this entry: entry {takes_all} takes every error"
            yield Problem(child(pointer, index), "bad_value", message, "move it before that entry")
        elif takes_all is None and (not entry.on or "*" in entry.on):
            takes_all = index
