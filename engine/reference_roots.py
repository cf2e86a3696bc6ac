"""Which roots an expression may begin with, by the place where it stands (rules 13, 14 and 26).

The roots that make no edges; `references` has `nodes` and `vars`. Where a value lives decides who sees it: `item` in
what a map runs, `error` in what an error leads to, `secrets` where an executor reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from .definition import FlowNode, LoopNode, MapNode, WaitNode
from .definition_parts import Loop
from .problems import suggestion
from .reference_fields import (
    ERROR_FIELDS,
    INSTANCE_FIELDS,
    LOOP_FIELDS,
    TASK_FIELDS,
    TRIGGER_FIELDS,
    member_of,
    refuse,
)

if TYPE_CHECKING:
    from .expressions import Reference
    from .input_names import DeclaredInputs
    from .symbols import NodeSymbol, ScopeSymbol, Use

__all__ = ["Place", "Roots", "check_early", "givers"]

_ROOTS: Final = (
    *("inputs", "nodes", "vars", "instance", "task", "item", "index", "total", "result"),
    *("loop", "error", "trigger", "signal", "secrets"),
)
#: What `limits` may read besides the names that maps and loops give.
_BEFORE_RUNNING: Final = frozenset({"inputs", "instance", "item", "index", "total"})


class Place(NamedTuple):
    """Where an expression stands."""

    use: Use
    #: The scope it reads in, and the node there; None for what belongs to the scope itself.
    scope: ScopeSymbol
    node: NodeSymbol | None


def givers(scope: ScopeSymbol) -> Iterator[MapNode | LoopNode]:
    """The maps and loops around a scope that give names to items, the nearest first."""
    for step in scope.outward():
        model = step.scope.owner.model if step.scope.owner is not None else None
        match step.scope.kind, model:
            case ("item", MapNode()) | ("turn", LoopNode(loop=Loop(for_=list() | dict() | str()))):
                yield model
            case _:
                pass


def check_early(reference: Reference, place: Place) -> None:
    """Refuse what is not known yet where `start`, `schedule` and `limits` are read (rule 13)."""
    root, use = reference.root, place.use
    if use.kind == "start" and root != "inputs":
        refuse("unknown_root", f"{root!r} is not known before the start", "'start' reads inputs only")
    if use.kind == "schedule":
        hint = "'schedule' reads instance.scheduled_for only"
        if root != "instance":
            refuse("unknown_root", f"{root!r} is not known before the start", hint)
        if reference.parts[:1] != ("scheduled_for",):
            refuse("unknown_member", "of 'instance' only the planned time is known before the start", hint)
    if use.field.startswith("limits/") and root in _ROOTS and root not in _BEFORE_RUNNING:
        message = f"{root!r} is not known in 'limits', which are read before the task runs"
        refuse("unknown_root", message, "read inputs, instance, or the items of maps and loops around")


class Roots:
    """Checks of references by root; each raises `Refused` for one that cannot stand."""

    def __init__(self, inputs: DeclaredInputs) -> None:
        self._inputs = inputs
        self._checks = {
            "inputs": self._check_inputs,
            "instance": _check_instance,
            "task": _check_task,
            "result": _check_result,
            "secrets": _check_secrets,
            "loop": _check_loop,
            "error": _check_error,
            "trigger": _check_trigger,
            "signal": _check_signal,
        }

    def check(self, reference: Reference, place: Place) -> None:
        """Check a reference whose root is neither `nodes` nor `vars`."""
        check = self._checks.get(reference.root)
        if check is not None:
            check(reference, place)
        else:
            self._check_name(reference, place)

    def _check_inputs(self, reference: Reference, _place: Place) -> None:
        if not reference.parts or self._inputs.open:
            return
        name = str(reference.parts[0])
        if name not in self._inputs.names:
            hint = suggestion(name, sorted(self._inputs.names), otherwise="declared inputs")
            hint = hint or f'declare it: "inputs": {{"type": "object", "properties": {{"{name}": {{}}}}}}'
            refuse("unknown_input", f"there is no input {name!r}", hint)

    def _check_name(self, reference: Reference, place: Place) -> None:
        """Check `item`, `index`, `total` and the names that maps give, and refuse every other root."""
        name = reference.root
        around = list(givers(place.scope))
        if place.use.field == "key" and place.node is not None and isinstance(place.node.model, MapNode):
            # A key is made per item.
            around.insert(0, place.node.model)
        given = {alias for model in around for alias in (model.as_, model.index)}
        if around and name in (around[0].as_, around[0].index, "total"):
            return
        if name in given and name not in ("item", "index"):
            return
        if name in ("item", "index", "total"):
            if not around:
                message = f"{name!r} is known inside a map, or a loop with 'for', only"
                refuse("unknown_root", message, "move the node into the map's 'do'")
            called = around[0].as_ if name == "item" else around[0].index
            kind = around[0].verb
            refuse("unknown_root", f"{name!r} is called {called!r} in this {kind}", f"write {called!r}")
        refuse("unknown_root", f"there is no {name!r}", self._root_hint(name, place.scope, sorted(given)))

    def _root_hint(self, name: str, scope: ScopeSymbol, given: list[str]) -> str | None:
        for step in scope.outward():
            if name in step.scope.nodes:
                return f"write nodes.{name}.output"
            if name in step.scope.writers:
                return f"write vars.{name}"
        if name in self._inputs.names:
            return f"write inputs.{name}"
        return suggestion(name, [*_ROOTS, *given], otherwise="known")


def _check_instance(reference: Reference, _place: Place) -> None:
    member_of("instance", reference, INSTANCE_FIELDS)


def _check_task(reference: Reference, place: Place) -> None:
    if place.use.kind == "scope":
        message = "'task' is not known where a whole scope is read"
        refuse("unknown_root", message, "read it in a node of the scope")
    member_of("task", reference, TASK_FIELDS)


def _check_result(_reference: Reference, place: Place) -> None:
    if place.use.kind != "reshape":
        message = "'result' is known in a node's own 'output' only"
        refuse("unknown_root", message, "read nodes.<name>.output")


def _check_secrets(reference: Reference, place: Place) -> None:
    if place.use.field != "with":
        message = "'secrets' is known in the 'with' of 'run' only, so that no secret is stored"
        refuse("unknown_root", message, "pass it to the executor that needs it")
    if place.node is not None and isinstance(place.node.model, FlowNode):
        message = "'secrets' is not known in the 'with' of a flow: the run it starts would store its inputs"
        refuse("secret_in_flow", message, "read it in the 'with' of the child's own node that needs it")
    if not reference.parts or not isinstance(reference.parts[0], str):
        refuse("bare_secrets", "secrets are read by name", "write secrets.<name>")


def _check_loop(reference: Reference, place: Place) -> None:
    own = place.use.field in ("loop/while", "loop/until")
    if not own and all(step.scope.kind != "turn" for step in place.scope.outward()):
        message = "'loop' is known in a loop's 'do', 'while' and 'until' only"
        refuse("unknown_root", message, "move the node into the loop's 'do'")
    member_of("loop", reference, LOOP_FIELDS)


def _check_error(reference: Reference, place: Place) -> None:
    if place.use.field != "on_error" and not _handles(place.scope):
        message = "'error' is known in 'on_error', 'on_timeout' and 'finally' only"
        refuse("unknown_root", message, "read nodes.<name>.error")
    member_of("error", reference, ERROR_FIELDS)


def _handles(scope: ScopeSymbol) -> bool:
    nearest = (
        step.scope.kind for step in scope.outward() if step.scope.kind in ("handler", "undo", "finally")
    )
    return next(nearest, None) in ("handler", "finally")


def _check_trigger(reference: Reference, place: Place) -> None:
    node = place.node
    if node is None or all(group.kind != "any" for group in node.groups):
        message = "'trigger' is known in the fields of a node that needs 'any' of several"
        refuse("unknown_root", message, 'write "needs": {"any": ["a", "b"]} on this node')
    member_of("trigger", reference, TRIGGER_FIELDS)


def _check_signal(_reference: Reference, place: Place) -> None:
    model = place.node.model if place.node is not None else None
    awaits = isinstance(model, WaitNode) and model.wait.signal is not None
    if not awaits or not (place.use.field == "wait/match" or place.use.kind == "reshape"):
        message = "'signal' is known in 'match', and in the 'output' of a wait for a signal"
        refuse("unknown_root", message, "read nodes.<name>.output of the wait")
