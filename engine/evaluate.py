"""Step 6 for expressions: what a claimed task's templates say, outside any transaction, from committed values only.

A control node ends here with its outcome; a `run` node gets its rendered configuration. Evaluation is deterministic:
an attempt repeated after a crash sees the same values (DSL rules 13 and 30).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..executors.base import TaskError
from ..repositories.records import TaskRow
from .bindings import Bindings, bind, chain_of, templates_of
from .durations import parse_duration
from .errors import ExpressionError, PayloadError
from .outcomes import Entered, Expanded, Failed, Outcome, Payload, Skipped, Succeeded, Suspended
from .payload import decode, encode, split
from .plan import PlanNode, address_of, given
from .rows import ITEMS_PER_PAGE
from .transaction import ClaimedTask
from .values import PAGES_PER_INSTANCE, Missing, Values, Wanted

__all__ = ["Evaluator", "Ready", "as_payload"]

#: What the column of a map's concurrency holds; more is no limit anyway.
_WIDEST = 2**31 - 1


@dataclass(slots=True)
class Ready:
    """A `run` node whose `when` holds: its configuration, and the roots its `output` will see."""

    config: Any
    roots: Mapping[str, Any]


def as_payload(value: Any) -> Payload:
    """Encode a value for storage. Raises PayloadError when it is not JSON or too large."""
    text = encode(value)
    inline, ref = split(text)
    return Payload(inline if ref is None else text, ref)


class Evaluator:
    """Evaluates claimed tasks; `evaluate` never blocks and raises Missing, `Values.load` fetches what is missing."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._bindings: dict[tuple[str, str, bool], Bindings] = {}

    def wanted(self, task: ClaimedTask) -> Wanted:
        """What must be at hand before the task can be evaluated."""
        phase = _is_output_phase(task.row)
        key = (task.plan.definition_id, address_of(task.row.path), phase)
        bindings = self._bindings.get(key)
        if bindings is None:
            templates, inside = templates_of(task.plan, task.row.path, output_phase=phase)
            bindings = self._bindings[key] = bind(task.plan, task.row.path, templates, inside=inside)
        return Wanted(task.plan, task.instance, bindings, chain_of(task.row.path))

    def evaluate(self, task: ClaimedTask, wanted: Wanted, *, loaded: bool = False) -> Outcome | Ready:
        """The outcome of a control node, or a `run` node's configuration. Raises Missing."""
        try:
            roots = self._values.roots(wanted, loaded=loaded)
            roots["task"] = _task_root(task.row)
            if _is_output_phase(task.row):
                return self._output(task, wanted, roots, loaded=loaded)
            node = task.plan.nodes[address_of(task.row.path)]
            found = _evaluate_node(node, roots)
            if isinstance(found, Expanded):
                self._keep_first_items(task, found)
            return found
        except ExpressionError as exc:
            return failed_expression(exc)
        except PayloadError as exc:
            return Failed(TaskError("output", str(exc), retryable=False))

    def _keep_first_items(self, task: ClaimedTask, expanded: Expanded) -> None:
        """The first items will be wanted here at once: do not read back what was just at hand."""
        for number, page in enumerate(expanded.pages[:PAGES_PER_INSTANCE]):
            self._values.keep_page(task.instance.id, task.row.path, number, decode(page))

    def _output(self, task: ClaimedTask, wanted: Wanted, roots: dict[str, Any], *, loaded: bool) -> Outcome:
        """A scope, a map or a wait has ended: its output template, then the node's reshaping of it."""
        address = address_of(task.row.path)
        scope, node = task.plan.scopes.get(address), task.plan.nodes.get(address)
        value: Any = None
        if scope is not None and scope.output is not None:
            value = scope.output.render(roots)
        elif wanted.bindings.result:
            if not loaded:
                raise Missing("result")
            value = self._values.result(wanted, task.row)
        if node is not None and node.output is not None:
            value = node.output.render({**roots, "result": value})
        return Succeeded(as_payload(value))


def reshape(node: PlanNode, roots: Mapping[str, Any], result: Any) -> Any:
    """A node's `output` over its raw result."""
    return node.output.render({**roots, "result": result}) if node.output is not None else result


def failed_expression(exc: ExpressionError) -> Failed:
    """An expression that cannot be evaluated fails its node for good: the values will not change."""
    where = f" in {{{{ {exc.expression.strip()} }}}}" if exc.expression else ""
    place = f" at {exc.pointer}" if exc.pointer else ""
    return Failed(
        TaskError(exc.reason, f"{exc.message}{where}{place}", codes=("expression",), retryable=False)
    )


def _is_output_phase(row: TaskRow) -> bool:
    """Scopes, maps and waits are claimed twice: to begin, and to evaluate their output (`total` is set between)."""
    return row.executor is None and row.total is not None


def _task_root(row: TaskRow) -> dict[str, Any]:
    return {
        "path": row.path,
        "attempt": row.attempt,
        "idempotency_key": f"{row.instance_id}/{row.path}",
    }


def _evaluate_node(node: PlanNode, roots: dict[str, Any]) -> Outcome | Ready:
    if node.when is not None and not node.when.render_bool(roots):
        return Skipped("when is false")
    match node.kind:
        case "run":
            # A copy of its own: rendered values share parts with the cache, and user code may change what it gets.
            return Ready(decode(encode(node.with_.render(roots))) if node.with_ is not None else None, roots)
        case "set":
            return _set(node, roots)
        case "wait":
            return _wait(node, roots)
        case "map":
            return _expand(node, roots)
        case "do":
            return Entered()


def _set(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    values = given(node.set_, "set").render(roots)
    result = reshape(node, roots, values)
    return Succeeded(as_payload(result), {name: as_payload(value) for name, value in values.items()})


def _wait(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    text = given(node.wait_for, "wait").render(roots)
    try:
        return Suspended(parse_duration(text))
    except ValueError as exc:
        return Failed(TaskError("expression", f"wait.for: {exc}", retryable=False))


def _expand(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    items = given(node.items, "map").render(roots)
    if isinstance(items, dict):
        pairs = cast("dict[str, Any]", items).items()
        items = [{"key": key, "value": value} for key, value in pairs]
    if not isinstance(items, list):
        found = "null" if items is None else type(items).__name__
        message = f"map needs a list or an object, not {found}; write `| default([])` where null is fine"
        return Failed(TaskError("expression", message, retryable=False))
    rows = cast("list[Any]", items)
    width = node.concurrency
    if width is not None and not isinstance(width, int):
        width = width.render(roots)
    if width is not None and (isinstance(width, bool) or not isinstance(width, int) or width < 1):
        return Failed(
            TaskError(
                "expression", f"concurrency must be a whole number from 1, not {width!r}", retryable=False
            )
        )
    pages = tuple(encode(rows[at : at + ITEMS_PER_PAGE]) for at in range(0, len(rows), ITEMS_PER_PAGE))
    return Expanded(len(rows), pages, min(width, _WIDEST) if width is not None else None)
