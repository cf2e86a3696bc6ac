"""What a definition comes to, read from the documents alone; it shares no code with the engine.

One run follows one random schedule. Where the documents leave open what happens (what becomes of work that runs while
its scope closes, for example) a coin decides: whoever asks several schedules sees what is certain.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final, cast

from tests.reference.rows import Place, Prediction, Row, World, join_path, under
from tests.reference.schedule import RIPPLE, STEP, VERDICT, Schedule, until
from tests.reference.shape import Doc, Group, Need, edges_of, handled_by_needs, needs_of, verdict
from tests.reference.values import Error, Failure, evaluate, is_true, matches
from tests.reference.verbs import run_verb

__all__ = ["Interpreter", "predict"]


class Interpreter:
    """One run of a definition."""

    def __init__(self, document: Doc, inputs: Any, world: World, rng: random.Random) -> None:
        self.document, self.inputs, self.world, self.rng = document, inputs, world, rng
        self.schedule: Final = Schedule(rng)
        self.rows: Final[dict[str, Row]] = {}
        self.ended: Final[list[Row]] = []
        self.reached: Final = Counter[str]()
        self._waits: Final[dict[str, list[str]]] = {}

    def run(self) -> Prediction:
        """Go to the end."""
        root = self.begin("")
        self.schedule.spawn("", self._main(root))
        self.schedule.run()
        assert root.over, f"the reference does not end: {self.rows}"
        return Prediction(
            root.state, root.output, root.error.code if root.error else None, self.rows, self.reached
        )

    async def _main(self, root: Row) -> None:
        place = Place({"inputs": self.inputs}).owns_variables()
        first: Error | None = None
        error: Error | None = None
        output = None
        try:
            output = await self.scope(self.document, "", place)
        except Failure as failure:
            first = failure.error
            try:
                how, output = await self.react("", "error", self.document.get("on_error", []), failure, place)
                error = None if how == "output" else failure.error
            except Failure as worse:
                error = worse.error
        await until(lambda: not self.alive(""), VERDICT)
        if "finally" in self.document:
            self.reached["finally"] += 1
            last = await self.body(self.document["finally"], "!finally", place.told(error or first))
            error = last.error if last.lost else error
        self.end(root, "failed" if error else "completed", None if error else output, error)

    # --- rows

    def begin(self, path: str) -> Row:
        row = self.rows[path] = Row(path)
        return row

    def end(self, row: Row, state: str, output: Any = None, error: Error | None = None) -> None:
        row.state, row.output, row.error, row.busy = state, output, error, False
        self.ended.append(row)

    async def work(self, row: Row) -> None:
        """Take the time of an attempt; meanwhile somebody may have said that nobody wants it any more."""
        await until(lambda: True, STEP)
        row.state, row.busy = "running", True
        await until(lambda: True, STEP)
        row.busy = False
        if row.told and self.rng.random() < 0.5:
            raise Failure(Error("cancelled"))

    def alive(self, scope: str, *, itself: bool = False) -> bool:
        """Whether something below a path has not ended."""
        return any(
            under(fiber.path, scope, itself=itself) and not fiber.done for fiber in self.schedule.fibers
        )

    async def close(self, scope: str, *, culprit: Row | None = None, itself: bool = False) -> None:
        """Nothing new begins below a path, what is under way ends, the rest is cancelled."""
        fibers = [f for f in self.schedule.fibers if not f.done and under(f.path, scope, itself=itself)]
        pending = {fiber.path for fiber in fibers if self._is_pending(fiber.path, culprit)}
        for fiber in fibers:
            row = self.rows.get(fiber.path)
            if row and row.busy:
                row.told = True
                continue
            fiber.close()
            if row is None and fiber.path in pending:
                row = self.begin(fiber.path)
            if row and not row.over:
                self.end(row, "cancelled")
        await until(lambda: not self.alive(scope, itself=itself), VERDICT)

    def _is_pending(self, path: str, culprit: Row | None) -> bool:
        """A node has a row as soon as the first of several that it waits for has ended."""
        rows = [self.rows[each] for each in self._waits.get(path, []) if each in self.rows]
        return any(row.over and row is not culprit for row in rows)

    # --- scopes

    async def scope(self, spec: Doc, path: str, place: Place) -> Any:
        """Run the nodes of a scope; gives its output. Raises Failure."""
        nodes: dict[str, Doc] = spec["nodes"]
        inner, handled = place.sees(path, nodes), handled_by_needs(nodes)
        needs = {name: needs_of(name, nodes) for name in nodes}
        mine = {join_path(path, name) for name in nodes if name not in handled}

        def culprit() -> Row | None:
            return next((r for r in self.ended if r.path in mine and r.state == "failed" and r.lost), None)

        def settled() -> bool:
            over = all((row := self.rows.get(inner.paths[name])) and row.over for name in nodes)
            return over or (self.document.get("on_failure") != "finish" and culprit() is not None)

        for name, node in nodes.items():
            self.schedule.spawn(inner.paths[name], self._member(node, needs[name], inner.paths[name], inner))
        await until(settled, VERDICT)
        first = culprit()
        if first and first.error:
            await self.close(path, culprit=first)
            raise Failure(first.error)
        if "output" in spec:
            await until(lambda: True, STEP)
            return evaluate(spec["output"], self.roots(inner))
        waited = {edge.node for each in needs.values() for need in each for edge in edges_of(need)}
        return {name: self.rows[inner.paths[name]].output for name in nodes if name not in waited}

    async def _member(self, node: Doc, needs: list[Need], path: str, place: Place) -> None:
        self._waits[path] = [place.paths[edge.node] for need in needs for edge in edges_of(need)]

        def verdicts() -> list[bool | None]:
            rows = {name: self.rows[at] for name, at in place.paths.items() if at in self.rows}
            return [verdict(need, rows) for need in needs]

        await until(lambda: False in verdicts() or None not in verdicts(), RIPPLE)
        row = self.begin(path)
        if False in verdicts():
            self.end(row, "skipped")
            return
        await self.node(node, row, place.knows(**self._trigger(needs, place)))

    def _trigger(self, needs: list[Need], place: Place) -> dict[str, Any]:
        """What fired the `any` group, if there is one: the first that holds."""
        for need in needs:
            if isinstance(need, Group) and need.kind == "any":
                self.reached["needs.any"] += 1
                rows = {
                    e: self.rows[place.paths[e.node]] for e in need.edges if place.paths[e.node] in self.rows
                }
                held = [row for edge, row in rows.items() if verdict(edge, {edge.node: row})]
                first = min(held, key=self.ended.index)
                return {"trigger": {"path": first.path, "output": first.output}}
        return {}

    async def body(self, body: Doc, path: str, place: Place) -> Row:
        """Run a body to its end, in a fiber of its own."""
        row = self.launch(body, path, place)
        await until(lambda: row.over, VERDICT)
        return row

    def launch(self, body: Doc, path: str, place: Place) -> Row:
        """Begin a body; its row is there at once."""
        row = self.begin(path)
        run = self._scope_of_body if "nodes" in body else self.node
        self.schedule.spawn(path, run(body, row, place))
        return row

    async def _scope_of_body(self, body: Doc, row: Row, place: Place) -> None:
        try:
            self.end(row, "completed", await self.scope(body, row.path, place))
        except Failure as failure:
            self.end(row, "failed", error=failure.error)

    def roots(self, place: Place, **more: Any) -> dict[str, Any]:
        """Everything that an expression can read at a place."""
        variables = {name: value for owner in reversed(place.variables) for name, value in owner.items()}
        nodes = {name: self.rows[path].view() for name, path in place.paths.items() if path in self.rows}
        return {**place.roots, "nodes": nodes, "vars": variables, **more}

    # --- nodes

    async def node(self, node: Doc, row: Row, place: Place) -> None:
        """Run a node whose dependencies hold, and what follows its failure."""
        try:
            if "when" in node:
                await until(lambda: True, STEP)
                if not is_true(node["when"], self.roots(place)):
                    self.end(row, "skipped")
                    return
            raw = await run_verb(self, node, row, place)
            if "output" in node and not row.executor:
                await until(lambda: True, STEP)
            output = evaluate(node["output"], self.roots(place, result=raw)) if "output" in node else raw
            self.end(row, "completed", output)
            if "undo" in node:
                row.undo = node["undo"], place
        except Failure as failure:
            await self._fail(node, row, place, failure)

    async def _fail(self, node: Doc, row: Row, place: Place, failure: Failure) -> None:
        if row.told and self.rng.random() < 0.67:
            self.end(row, self.rng.choice(["failed", "cancelled"]), error=failure.error)
            return
        entries, label = node.get("on_error", []), "error"
        if failure.error.code == "timeout" and "on_timeout" in node.get("wait", {}):
            entries, label = [node["wait"]["on_timeout"]], "timeout"
        try:
            how, output = await self.react(row.path, label, entries, failure, place)
        except Failure as worse:
            self.end(row, "failed", error=worse.error)
            return
        row.continued = how == "continue"
        done = how in {"output", "do"}
        self.end(row, "completed" if done else "failed", output, None if done else failure.error)

    async def react(
        self, path: str, label: str, entries: list[Doc], failure: Failure, place: Place
    ) -> tuple[str, Any]:
        """Do what the first entry that matches says; gives which kind it was, and a value. Raises Failure."""
        entry = next((each for each in entries if matches(failure.error, each.get("on", ["*"]))), {})
        how = next((each for each in ("output", "do", "continue", "fail") if each in entry), "nothing")
        known = place.told(failure.error)
        if entry:
            self.reached[f"on_{label}.{how}"] += 1
        if "undo" in entry:
            await self._undo_below(path)
        if how == "fail":
            raise Failure(Error(entry["fail"]["code"]))
        if how == "output":
            return how, evaluate(entry["output"], self.roots(known))
        if how == "do":
            number = sum("do" in each for each in entries[: entries.index(entry) + 1])
            ended = await self.body(entry["do"], f"{path}!{label}{number if number > 1 else ''}", known)
            if ended.lost:
                raise Failure(cast("Error", ended.error))
            return how, ended.output
        return how, None

    async def _undo_below(self, scope: str) -> None:
        """Take back, last first, what succeeded by itself."""
        for row in reversed([row for row in self.ended if under(row.path, scope)]):
            if row.undo:
                self.reached["undo"] += 1
                (body, place), row.undo = row.undo, None
                await self.body(body, f"{row.path}!undo", place)


def predict(document: Doc, inputs: Any, world: World, seed: int) -> Prediction:
    """Say how a run ends under one schedule."""
    return Interpreter(document, inputs, world, random.Random(seed)).run()
