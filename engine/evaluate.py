"""Step 6 for expressions: what a claimed task's templates say, outside any transaction, from committed values only.

A control node ends here with its outcome; a `run` node gets its rendered configuration. Evaluation is deterministic:
an attempt repeated after a crash sees the same values (DSL rules 13 and 30).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from ..executors.base import TaskError
from ..repositories.records import TaskRow
from .bindings import Bindings, bind, chain_of, chosen_entry, templates_of
from .durations import parse_duration
from .errors import EngineError, ExpressionError, InputError, PayloadError
from .inputs import prepare_inputs
from .lookups import Missing, Wanted
from .membership import new_id
from .outcomes import (
    Chose,
    Entered,
    Expanded,
    Failed,
    Limited,
    Outcome,
    Payload,
    Received,
    Skipped,
    Started,
    Succeeded,
    Suspended,
    Turned,
)
from .payload import decode, encode, split
from .plan import PlanNode, WaitRule, address_of, given
from .rows import ITEMS_PER_PAGE, VARS, memo_of, parent_path
from .secrets import SecretUnavailable
from .transaction import ClaimedTask
from .values import PAGES_PER_INSTANCE, Values

__all__ = ["Evaluator", "Ready", "as_payload"]

#: What the column of a map's concurrency holds; more is no limit anyway.
_WIDEST = 2**31 - 1
_LONGEST_NAME = 512


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
        self._bindings: dict[tuple[str, str, str], Bindings] = {}

    def wanted(self, task: ClaimedTask) -> Wanted:
        """What must be at hand before the task can be evaluated."""
        row = task.row
        key = (task.plan.definition_id, address_of(row.path), _phase_key(row))
        bindings = self._bindings.get(key)
        if bindings is None:
            templates, inside = templates_of(task.plan, row)
            bindings = self._bindings[key] = bind(task.plan, row.path, templates, inside=inside)
        wanted = Wanted(task.plan, task.instance, bindings, chain_of(row.path))
        return _with_needs(task, wanted)

    def evaluate(self, task: ClaimedTask, wanted: Wanted, *, loaded: bool = False) -> Outcome | Ready:
        """The outcome of a control node, or a `run` node's configuration. Raises Missing."""
        try:
            roots = self._values.roots(wanted, loaded=loaded)
            if wanted.fresh and not loaded:
                raise Missing("what may change at any time")
            roots["task"] = _task_root(task.row)
            if task.row.phase == "output":
                return self._output(task, wanted, roots, loaded=loaded)
            if task.row.phase == "handler":
                return _handle(task, roots)
            found = self._begin(task, wanted, roots)
            if isinstance(found, Expanded):
                self._keep_first_items(task, found)
            return found
        except ExpressionError as exc:
            return failed_expression(exc)
        except PayloadError as exc:
            return Failed(TaskError("output", str(exc), retryable=False))

    def _begin(  # noqa: C901, PLR0911 - one case a verb
        self, task: ClaimedTask, wanted: Wanted, roots: dict[str, Any]
    ) -> Outcome | Ready:
        """A node begins, or a loop or wait looks again."""
        row, node = task.row, task.plan.nodes[address_of(task.row.path)]
        if row.phase == "turn":
            return self._turn(node, wanted, row, roots)
        if row.phase in {None, "limits"} and node.when is not None and not node.when.render_bool(roots):
            return Skipped("when is false")
        if row.phase == "limits":
            return _counters(node, roots)
        match node.kind:
            case "run":
                # A copy of its own: rendered values share parts with the cache, and user code may change what it gets.
                config = decode(encode(node.with_.render(roots))) if node.with_ is not None else None
                return Ready(config, roots)
            case "set":
                return _set(node, roots)
            case "wait":
                return self._wait(node, wanted, roots)
            case "map":
                return _expand(node, roots)
            case "parallel":
                width = _width(node, roots)
                return width if isinstance(width, Failed) else Expanded(len(node.bodies), (), width)
            case "loop":
                return _loop(node, roots)
            case "switch":
                return _chosen(node, roots)
            case "flow":
                return self._start_flow(node, wanted, roots)
            case "do":
                return Entered()

    def _turn(self, node: PlanNode, wanted: Wanted, row: TaskRow, roots: dict[str, Any]) -> Outcome:
        """`until` looks at the turn that ended, `while` at the one to come; both see the last output."""
        rule = given(node.loop, "loop")
        last = self._values.output_at(wanted, wanted.extra[0]) if wanted.extra else None
        if rule.until is not None:
            seen = {**roots, "loop": {"index": row.next - 1, "output": last}}
            return Turned(again=not rule.until.render_bool(seen))
        return Turned(
            given(rule.while_, "while").render_bool({**roots, "loop": {"index": row.next, "output": last}})
        )

    def _wait(self, node: PlanNode, wanted: Wanted, roots: dict[str, Any]) -> Outcome:
        rule = given(node.wait, "wait")
        if rule.kind == "signal":
            return self._signal(node, rule, wanted, roots)
        value = given(rule.template, "wait")
        if rule.kind == "condition":
            if value.render_bool(roots):
                return Succeeded(as_payload(reshape(node, roots, None)))
            seen = wanted.instance.vars_rev
            return Suspended(rule.every, awaits=VARS, timeout=rule.timeout, seen=seen)
        try:
            if rule.kind == "until":
                return Suspended(until=_instant(value.render(roots)), timeout=rule.timeout)
            return Suspended(parse_duration(value.render(roots)), timeout=rule.timeout)
        except ValueError as exc:
            return _bad(f"wait.{rule.kind}: {exc}")

    def _signal(self, node: PlanNode, rule: WaitRule, wanted: Wanted, roots: dict[str, Any]) -> Outcome:
        """The oldest parked signal that matches, or none yet."""
        seen = 0
        for signal in self._values.parked(wanted):
            seen = max(seen, signal.seq)
            payload = decode(signal.value) if signal.value is not None else None
            visible = {**roots, "signal": payload}
            if rule.match is None or rule.match.render_bool(visible):
                return Received(signal.id, as_payload(reshape(node, visible, payload)))
        return Suspended(awaits=rule.signal, timeout=rule.timeout, seen=seen)

    def _start_flow(self, node: PlanNode, wanted: Wanted, roots: dict[str, Any]) -> Outcome:
        rendered: Any = node.with_.render(roots) if node.with_ is not None else {}
        try:
            found = self._values.flow(wanted)
            inputs = prepare_inputs(found.inputs, rendered)
        except (InputError, EngineError) as exc:
            details = [asdict(problem) for problem in getattr(exc, "problems", ())]
            return Failed(TaskError("flow", str(exc), retryable=False, details=details or None))
        rule = given(node.flow, "flow")
        return Started(new_id(), found.id, found.name, found.version, as_payload(inputs), detach=rule.detach)

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
        elif wanted.bindings.result or node is None or node.output is None:
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
    """An expression that cannot be evaluated fails its node for good: the values will not change.

    A secret that cannot be opened here may be opened elsewhere, or later: the node's retries are for that.
    """
    again = isinstance(exc, SecretUnavailable) and not exc.lasting
    where = f" in {{{{ {exc.expression.strip()} }}}}" if exc.expression else ""
    place = f" at {exc.pointer}" if exc.pointer else ""
    return Failed(
        TaskError(exc.reason, f"{exc.message}{where}{place}", codes=("expression",), retryable=again)
    )


def _phase_key(row: TaskRow) -> str:
    """Claims of a row that evaluate the same templates."""
    return f"handler {row.memo}" if row.phase == "handler" else row.phase or ""


def _with_needs(task: ClaimedTask, wanted: Wanted) -> Wanted:
    """What cannot be told from the templates alone; plain tasks need none of it."""
    row, bindings = task.row, wanted.bindings
    node = task.plan.nodes.get(address_of(row.path))
    kind = node.kind if node is not None else ""
    if kind in {"run", "set", "map", "do"} and not (bindings.error or bindings.trigger):
        return wanted
    needs: dict[str, Any] = {}
    if bindings.error:
        needs["error_of"] = row.path if row.phase == "handler" else _failed_owner(row.path)
        needs["ending"] = row.path.startswith("!finally")
    if bindings.trigger:
        needs["trigger"] = memo_of(row).get("trigger")
    if node is not None and node.loop is not None and row.phase == "turn" and row.next:
        needs["extra"] = (f"{row.path}#{row.next - 1}",)
    if node is not None and node.wait is not None and node.wait.signal is not None and row.phase != "output":
        needs["signal"] = node.wait.signal
    if node is not None and node.flow is not None and row.phase is None:
        needs["flow"] = (node.flow.name, node.flow.version)
    return replace(wanted, **needs) if needs else wanted


def _failed_owner(path: str) -> str | None:
    """The row whose failure, or end, this task handles: the nearest owner of a handler around it."""
    at: str | None = path
    while at:
        owner = parent_path(at)
        beside = at[len(owner or "") :]
        if beside.startswith(("!error", "!timeout", "!finally")):
            return owner
        at = owner
    return None


def _task_root(row: TaskRow) -> dict[str, Any]:
    return {
        "path": row.path,
        "attempt": row.attempt,
        "idempotency_key": f"{row.instance_id}/{row.path}",
    }


def _handle(task: ClaimedTask, roots: Mapping[str, Any]) -> Outcome:
    """An entry of `on_error` or `on_timeout` that gives a value or another error."""
    entry = chosen_entry(task.plan, task.row)
    value = given(entry.template, "handler").render(roots)
    if entry.action == "output":
        return Succeeded(as_payload(value))
    return Failed(TaskError(str(value["code"]), str(value["message"]), retryable=False))


def _counters(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    """The names of the counters that a task's limits mean."""
    rule = given(node.limits, "limits")
    key = None if rule.key is None else rule.key.render(roots)
    groups = [each for template in rule.mutex for each in _names(template.render(roots))]
    for what, found in (("limits.key", key), *(("limits.mutex", group) for group in groups)):
        if isinstance(found, bool) or not isinstance(found, str | int | None):
            return _bad(f"{what} must give text or a whole number, not {found!r}")
        if len(str(found)) > _LONGEST_NAME:
            return _bad(f"{what} gives {len(str(found))} characters; at most {_LONGEST_NAME} are a name")
    return Limited(None if key is None else str(key), tuple(dict.fromkeys(str(group) for group in groups)))


def _names(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _set(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    values = given(node.set_, "set").render(roots)
    result = reshape(node, roots, values)
    return Succeeded(as_payload(result), {name: as_payload(value) for name, value in values.items()})


def _listed(value: Any, verb: str) -> list[Any] | Failed:
    """What is gone through: a list, or an object's entries as `{key, value}`."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return [{"key": key, "value": each} for key, each in pairs]
    if isinstance(value, list):
        return cast("list[Any]", value)
    found = "null" if value is None else type(value).__name__
    message = f"{verb} needs a list or an object, not {found}; write `| default([])` where null is fine"
    return Failed(TaskError("expression", message, retryable=False))


def _pages(rows: list[Any]) -> tuple[str, ...]:
    return tuple(encode(rows[at : at + ITEMS_PER_PAGE]) for at in range(0, len(rows), ITEMS_PER_PAGE))


def _bad(message: str) -> Failed:
    return Failed(TaskError("expression", message, retryable=False))


def _expand(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    rows = _listed(given(node.items, "map").render(roots), "map")
    if isinstance(rows, Failed):
        return rows
    width = _width(node, roots)
    if isinstance(width, Failed):
        return width
    keys: list[str] = []
    if node.key is not None:
        rows, keys = _keyed(node, roots, rows)
    return Expanded(len(rows), _pages(rows), width, _pages(keys))


def _width(node: PlanNode, roots: dict[str, Any]) -> int | Failed | None:
    width = node.concurrency
    if width is not None and not isinstance(width, int):
        width = width.render(roots)
    if width is None:
        return None
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        return _bad(f"concurrency must be a whole number from 1, not {width!r}")
    return min(width, _WIDEST)


def _keyed(node: PlanNode, roots: dict[str, Any], rows: list[Any]) -> tuple[list[Any], list[str]]:
    """The first item of each key; keys are texts."""
    kept: dict[str, Any] = {}
    key, index_name = given(node.key, "key"), node.index_as or "index"
    for index, row in enumerate(rows):
        found = key.render({**roots, node.as_: row, index_name: index, "total": len(rows)})
        if isinstance(found, bool) or not isinstance(found, str | int):
            raise ExpressionError(f"key must give text or a whole number, not {found!r} (item {index})")
        kept.setdefault(str(found), row)
    return list(kept.values()), list(kept)


def _loop(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    """The beginning of a loop: how often, or whether at all."""
    rule = given(node.loop, "loop")
    if rule.for_ is not None:
        rows = _listed(rule.for_.render(roots), "loop.for")
        return rows if isinstance(rows, Failed) else Expanded(len(rows), _pages(rows))
    if rule.times is not None:
        times = rule.times.render(roots)
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            return _bad(f"loop.times must be a whole number from 0, not {times!r}")
        return Expanded(times, ())
    if rule.while_ is not None:
        return Turned(rule.while_.render_bool({**roots, "loop": {"index": 0, "output": None}}))
    return Turned(again=True)


def _chosen(node: PlanNode, roots: dict[str, Any]) -> Outcome:
    for index, case in enumerate(node.cases):
        if case.render_bool(roots):
            return Chose(str(index))
    return Chose("else" if "else" in node.bodies else None)


def _instant(text: Any) -> int:
    """Microseconds of an ISO 8601 instant; without a zone it is UTC. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no instant; write text such as '2027-01-31T08:00:00Z'")  # noqa: TRY004 - a bad value like any other
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)
