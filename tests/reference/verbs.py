"""What each verb of the reference does with its body, once its node may run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from tests.reference.joins import Join
from tests.reference.rows import Place, Row, under
from tests.reference.schedule import RIPPLE, STEP, VERDICT, until
from tests.reference.shape import Doc
from tests.reference.values import Error, Failure, evaluate, is_true, matches

if TYPE_CHECKING:
    from tests.reference.interpreter import Interpreter

__all__ = ["run_verb"]


async def run_verb(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    """Do what the node's verb says; gives the raw output. Raises Failure."""
    verb = next(each for each in _VERBS if each in node)
    run.reached[verb] += 1
    return await _VERBS[verb](run, node, row, place)


async def _run(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    retry = run.document.get("defaults", {}).get("retry", {}) | node.get("retry", {})
    attempt, row.executor = 1, True
    while True:
        await run.work(row)
        config = evaluate(node.get("with"), run.roots(place))
        error = run.world.oracle(run.document["name"], row.path, attempt)
        if error is None:
            return {"got": config, "attempt": attempt}
        barred = not error.retryable or matches(error, retry.get("never", []))
        if barred or attempt > retry.get("max", 0) or not matches(error, retry.get("on") or ["*"]):
            raise Failure(error)
        run.reached["retry"] += 1
        row.state = "retrying"
        attempt += 1


async def _set(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    await run.work(row)
    values = evaluate(node["set"], run.roots(place))
    place.variables[0].update(values)
    return values


async def _wait(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    """Wait; nobody sends a signal, so that one that is waited for does not come."""
    await until(lambda: True, STEP)
    row.state = "waiting"
    await until(lambda: True, STEP)
    if "signal" in node["wait"]:
        raise Failure(Error("timeout"))


async def _flow(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    await until(lambda: True, STEP)
    inputs = evaluate(node.get("with", {}), run.roots(place))
    row.state = "waiting"
    await until(lambda: True, STEP)
    child = type(run)(run.world.flows[node["flow"]], inputs, run.world, run.rng).run()
    if child.state != "completed":
        raise Failure(Error("flow", (child.error,) if child.error else ()))
    return child.output


async def _group(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    row.state = "waiting"
    return await run.scope(node["do"], row.path, place)


async def _switch(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    await until(lambda: True, STEP)
    cases: dict[str, Doc] = {str(number): case["do"] for number, case in enumerate(node["switch"])}
    holds = (n for n, case in enumerate(node["switch"]) if is_true(case["when"], run.roots(place)))
    taken = next(holds, "else" if "else" in node else None)
    row.state, row.branch = "waiting", taken
    for label, body in (cases | ({"else": node["else"]} if "else" in node else {})).items():
        if label != str(taken):
            run.end(run.begin(f"{row.path}.{label}"), "skipped")
        else:
            run.launch(body, f"{row.path}.{label}", place)
    if taken is None:
        return None
    return await _ended(run.rows[f"{row.path}.{taken}"])


async def _ended(body: Row) -> Any:
    """Wait for a body; gives its output. Raises Failure with its error."""
    await until(lambda: body.over, VERDICT)
    if body.lost:
        raise Failure(cast("Error", body.error))
    return body.output


# --- loops


async def _loop(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    await until(lambda: True, STEP)
    spec: Doc = node["loop"]
    place, outputs = place.owns_variables(), list[Any]()
    items = _items_of(evaluate(spec["for"], run.roots(place))) if "for" in spec else None
    times = evaluate(spec["times"], run.roots(place)) if "times" in spec else None
    count = len(items) if items is not None else times
    ended: list[Row] = []
    for turn in range(1_000_000):
        last = outputs[-1] if outputs else None
        known = place.knows(loop={"index": turn, "output": last})
        if count == turn or ("while" in spec and not is_true(spec["while"], run.roots(known))):
            break
        if turn == spec.get("max", 1000 if count is None else None):
            row.stats = _stats(turn, ended)
            raise Failure(Error("loop_limit"))
        if items is not None:
            known = known.knows(
                **{"total": count, node.get("as", "item"): items[turn], node.get("index", "index"): turn}
            )
        row.state = "waiting"
        ended.append(run.launch(node["do"], f"{row.path}#{turn}", known))
        try:
            outputs.append(await _ended(ended[-1]))
        finally:
            row.stats = _stats(count or len(ended), ended)
        old = turn - spec.get("keep_last", 100 if count is None else turn + 1)
        if count is None or {"nodes", "output"} <= set(node["do"]):  # else the list is made of its tasks
            _forget(run, f"{row.path}#{old}", itself=count is None)
        if "until" in spec:
            await until(lambda: True, STEP)
            asked = place.knows(loop={"index": turn, "output": outputs[-1]})
            if is_true(spec["until"], run.roots(asked)):
                break
    row.stats = _stats(len(ended), ended)
    return outputs if count is not None else outputs[-1] if outputs else None


def _forget(run: Interpreter, turn: str, *, itself: bool) -> None:
    """Delete the tasks of an old turn."""
    for each in [each for each in run.rows if under(each, turn, itself=itself)]:
        del run.rows[each]


# --- children side by side


@dataclass(slots=True)
class _Fan:
    """The children of a map or a parallel."""

    run: Interpreter
    join: Join
    bodies: list[tuple[str, Doc, Place]]
    width: int
    rows: list[Row] = field(default_factory=list[Row])

    def ends(self) -> list[bool]:
        mine = {row.path for row in self.rows}
        return [not row.lost for row in self.run.ended if row.path in mine]

    def verdict(self) -> bool | None:
        return self.join.verdict(self.ends())

    def has_room(self) -> bool:
        return len(self.rows) < len(self.bodies) and sum(not row.over for row in self.rows) < self.width

    def fill(self) -> None:
        while self.has_room():
            body, place = self.bodies[len(self.rows)][1:]
            self.rows.append(self.run.launch(body, self.bodies[len(self.rows)][0], place))

    async def decide(self) -> bool:
        """Keep as many at work as may be, until it is certain how the whole comes out."""
        while self.verdict() is None:
            self.fill()
            await until(lambda: self.verdict() is not None or self.has_room(), VERDICT)
        return self.verdict() is True

    async def go_on(self) -> None:
        """Run what is left after the verdict, now or a little later; if it is not met, perhaps only what had begun."""
        if not self.verdict() and self.run.rng.random() < 0.5:
            return
        if self.run.rng.random() < 0.5:
            await until(lambda: True, STEP)
        while len(self.rows) < len(self.bodies):
            self.fill()
            await until(lambda: self.has_room() or len(self.rows) == len(self.bodies), RIPPLE)


async def _fan(
    run: Interpreter, node: Doc, row: Row, bodies: list[tuple[str, Doc, Place]], place: Place
) -> list[Any]:
    """Run children side by side; gives their outputs, null for those that did not complete. Raises Failure."""
    width = evaluate(node.get("concurrency", 1_000_000), run.roots(place))
    fan = _Fan(run, Join.of(node.get("join"), len(bodies)), bodies, width)
    run.reached[f"join.{fan.join.need}"] += 1
    row.state = "waiting"
    met = await fan.decide()
    if fan.join.keep:
        run.schedule.spawn(f"{row.path}[rest]", fan.go_on())
    outputs, row.stats = _outputs(fan), _stats(len(bodies), fan.rows)
    if not fan.join.keep:
        if any(run.alive(child.path) for child in fan.rows if child.over) and run.rng.random() < 0.5:
            await until(lambda: True, STEP)  # what a child inside has kept may get on before it is cancelled
        for child, (_, body, _) in zip(fan.rows, fan.bodies, strict=False):
            if not (met and child.over and _keeps(body)):
                await run.close(child.path, itself=True)
        if run.rng.random() < 0.5:  # whether what still ended well is counted
            outputs, row.stats = _outputs(fan), _stats(len(bodies), fan.rows)
    if not met:
        raise Failure(Error("join"))
    return outputs


def _keeps(body: Doc) -> bool:
    """Whether a body is one fan that keeps its rest, which goes on when the body has ended."""
    return bool({"map", "parallel"} & set(body)) and Join.of(body.get("join"), 1).keep


def _outputs(fan: _Fan) -> list[Any]:
    done = [row.output if row.state == "completed" else None for row in fan.rows]
    return done + [None] * (len(fan.bodies) - len(done))


def _stats(total: int, rows: list[Row]) -> dict[str, int]:
    states = Counter(row.state for row in rows)
    counts = {state: states[state] for state in ("completed", "failed", "skipped")}
    return {"total": total, **counts, "cancelled": total - sum(counts.values())}


async def _map(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    await until(lambda: True, STEP)
    items = _items_of(evaluate(node["map"], run.roots(place)))
    item, index = node.get("as", "item"), node.get("index", "index")
    if "key" in node:
        keys = [
            repr(evaluate(node["key"], run.roots(place, **{item: each, index: at})))
            for at, each in enumerate(items)
        ]
        items = [each for at, each in enumerate(items) if keys.index(keys[at]) == at]
    bodies: list[tuple[str, Doc, Place]] = []
    for at, each in enumerate(items):
        known = place.knows(**{item: each, index: at, "total": len(items)}).owns_variables()
        bodies.append((f"{row.path}[{at}]", node["do"], known))
    try:
        outputs = await _fan(run, node, row, bodies, place)
    finally:
        if node.get("collect", "list") != "list":
            for child in (run.rows[path] for path, _, _ in bodies if path in run.rows):
                child.executor = False  # what nobody collects is not stored
    return {"list": outputs, "stats": row.stats, "none": None}[node.get("collect", "list")]


def _items_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [{"key": key, "value": each} for key, each in cast("dict[str, Any]", value).items()]
    if not isinstance(value, list):
        raise Failure(Error("expression"))
    return cast("list[Any]", value)


async def _parallel(run: Interpreter, node: Doc, row: Row, place: Place) -> Any:
    await until(lambda: True, STEP)
    branches: dict[str, Doc] = node["parallel"]
    bodies = [(f"{row.path}.{name}", body, place.owns_variables()) for name, body in branches.items()]
    return dict(zip(branches, await _fan(run, node, row, bodies, place), strict=True))


_VERBS: Final[dict[str, Callable[[Interpreter, Doc, Row, Place], Awaitable[Any]]]] = {
    "run": _run,
    "set": _set,
    "wait": _wait,
    "flow": _flow,
    "switch": _switch,
    "loop": _loop,
    "map": _map,
    "parallel": _parallel,
    "do": _group,
}
