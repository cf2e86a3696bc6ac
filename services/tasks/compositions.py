"""Chains, chords and groups as documents of the definition language: one run each, like any other.

Payloads stand in the inputs, never in the definition, so that a text with braces stays a text, and compositions of the
same shape share one stored definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...engine.builder import Node, Ref, Scope, Workflow, expr
from .config import Task, TaskConfig
from .definitions import COMPOSED, node_of
from .handlers import slug_of

__all__ = ["CHAIN_KEY", "CHORD_KEY", "Composition", "chain", "chord", "group"]

#: Where a step of a chain finds the result of the one before, if its own payload is an object.
CHAIN_KEY: Final = "_chain_result"
#: Where the callback of a chord finds the list of results, if its own payload is an object.
CHORD_KEY: Final = "_chord_results"
_NAMES_TOLD: Final = 5
_STANDARD: Final = TaskConfig()


@dataclass(slots=True, frozen=True)
class Composition:
    """What is to be stored and started."""

    document: dict[str, Any]
    inputs: dict[str, Any]


def chain(steps: Sequence[Task]) -> Composition:
    """One after the other; each gets the result of the one before. Raises ValueError for no step."""
    if not steps:
        raise ValueError("a chain has at least one step")
    flow = _workflow("chain", steps, " > ")
    flow.input("expires_at", required=False, type="integer")
    before: Node | None = None
    for number, step in enumerate(steps):
        _check(step, "a step of a chain")
        given: dict[str, Any] = {"payload": expr(f"inputs.payloads[{number}]")}
        if before is None:
            given["expires_at"] = expr("inputs.expires_at | default(null)")
        else:
            _check_merges(step, CHAIN_KEY)
            given["payload"] = _with_result(f"inputs.payloads[{number}]", CHAIN_KEY, _path(before.output))
        before = flow.node(_node_name("step", number, step.name), _call(step, given), {})
    if before is not None:
        flow.output(before.output)
    return Composition(flow.document(), {"payloads": [step.payload for step in steps]})


def group(tasks: Sequence[Task]) -> Composition:
    """Side by side; gives the list of results in the order of the tasks. Raises ValueError for no task."""
    if not tasks:
        raise ValueError("a group has at least one task")
    flow = _workflow("group", tasks, ", ")
    flow.output(_side_by_side(flow, tasks))
    return Composition(flow.document(), {"payloads": [task.payload for task in tasks]})


def chord(tasks: Sequence[Task], callback: Task) -> Composition:
    """Side by side, then the callback with all results in order; without tasks the callback alone, with no results."""
    _check(callback, "the callback of a chord")
    _check_merges(callback, CHORD_KEY)
    flow = _workflow("chord", tasks, ", ", callback)
    flow.input("callback")
    results = _path(_side_by_side(flow, tasks)) if tasks else "[]"
    payload = _with_result("inputs.callback", CHORD_KEY, results)
    last = flow.node(_node_name("callback", None, callback.name), _call(callback, {"payload": payload}), {})
    flow.output(last.output)
    inputs = {"payloads": [task.payload for task in tasks], "callback": callback.payload}
    return Composition(flow.document(), inputs)


def _workflow(kind: str, tasks: Sequence[Task], between: str, callback: Task | None = None) -> Workflow:
    names = list(dict.fromkeys(task.name for task in tasks)) if between == ", " else [t.name for t in tasks]
    told = between.join(names[:_NAMES_TOLD]) + (f"{between}…" if len(names) > _NAMES_TOLD else "")
    if callback is not None:
        told = f"{told or 'nothing'} > {callback.name}"
    flow = Workflow(f"{COMPOSED}{kind}", description=told)
    flow.input("payloads", type="array")
    return flow


def _side_by_side(flow: Workflow, tasks: Sequence[Task]) -> Ref:
    """A map where all tasks are alike, so that their number is no part of the definition; else a node for each."""
    for task in tasks:
        _check(task, "a task of a composition")
    first = tasks[0]
    if all(task.name == first.name and task.config == first.config for task in tasks):
        each = flow.map("each", expr("inputs.payloads"), _call(first, {"payload": expr("item")}))
        return each.output
    with Scope() as scope:
        nodes = [
            scope.node(
                _node_name("task", number, task.name),
                _call(task, {"payload": expr(f"inputs.payloads[{number}]")}),
                {},
            )
            for number, task in enumerate(tasks)
        ]
        scope.output([node.output for node in nodes])
    return flow.group("all", scope).output


def _call(task: Task, given: dict[str, Any]) -> dict[str, Any]:
    """A node that calls a handler; queue and priority only where they are not the standard, which the run decides."""
    node = node_of(task.name, task.config.execution, given)
    if task.config.queue != _STANDARD.queue:
        node["queue"] = task.config.queue
    if task.config.priority != _STANDARD.priority:
        node["priority"] = task.config.engine_priority
    return node


def _with_result(own: str, key: str, result: str) -> Ref:
    """A payload that is an object gets the result as one more member; without a payload the result is the payload."""
    return expr(f"({own} | merge({{'{key}': {result}}})) if {own} is mapping else {result}")


def _path(node: Ref) -> str:
    """What stands between the braces."""
    return str(node).removeprefix("{{ ").removesuffix(" }}")


def _node_name(kind: str, number: int | None, name: str) -> str:
    place = "" if number is None else str(number + 1)
    return f"{kind}{place}_{slug_of(name)}"[:63]


def _check(task: Task, what: str) -> None:
    config = task.config
    for option in ("eta", "delay", "expires", "key"):
        if getattr(config, option) is not None:
            raise ValueError(f"{what} has no {option!r} of its own; give it to the whole")
    if config.tags:
        raise ValueError(f"{what} has no tags of its own; give them to the whole")


def _check_merges(task: Task, key: str) -> None:
    if task.payload is not None and not isinstance(task.payload, dict):
        raise ValueError(
            f"the payload of {task.name!r} must be an object, which gets {key!r} as one more member, or None: "
            "then the result itself is the payload"
        )
