"""Task files of Aura in its first form (era A): an ordered list of steps becomes a definition of ours.

Pure; refuses what it does not know or cannot express, all at once. docs/dsl.md describes the result.

- **Steps** become a chain by `needs`. A step that `when` skips does not skip those after it; a step that fails ends the
  run as failed, and nothing after it begins.
- **`when`** is asked once, before the `loop`. What is not empty holds in Aura: where an expression may give something
  else than true or false, it is written so that it gives one of them.
- **`loop`** is a `map` of one item at a time, in order; the first item that fails ends it. With `parallelism` so many
  items are at work at once. The step's output is the list of outputs.
- **`on_error`** runs its steps in order after the retries. They see `error`, and what the steps before have given. Then
  the step fails all the same, so the run does: its last node fails with the code and message of the error, and keeps it
  as `cause` (a code of the engine's own, `timeout`, reads `core.timeout` then).
- **`core.set_context`** is `set`, `ctx.x` is `vars.x`. In a `loop` it is refused: variables of an item end with it.
- **Names** that ours cannot have are changed (`fetch user` → `fetch_user`), together with what reads them; the node's
  description keeps the old one. A step without a name is called `step_3` by its place. Names of inputs stay.
- **Texts** follow our rules: what is no text is put into one as JSON, and undefined is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from . import payload
from .aura_read import Head, Inputs, Notes, Step, Steps
from .aura_text import Names, Sight, Texts
from .durations import MAX_DURATION
from .errors import DefinitionError, PayloadError, Problem
from .field_texts import kind_of
from .problems import in_document_order

__all__ = ["import_aura"]

_TOP: Final = ("meta", "inputs", "steps")
_LEVELS: Final = frozenset({"debug", "info", "warning", "error"})
_MAX_COUNT: Final = 1_000_000


def import_aura(document: object, *, name: str | None = None) -> dict[str, Any]:
    """The definition that does what an Aura task file says; `name` is its name instead of the title's.

    Raises:
        DefinitionError: with all problems; their pointers are places in the task file.
    """
    try:
        raw = payload.decode(payload.encode(cast("Any", document)))
    except PayloadError as error:
        raise DefinitionError([Problem(error.pointer, "not_json", error.message, error.hint)]) from None
    notes = Notes()
    definition = _definition(raw, name, notes)
    if notes.problems:
        raise DefinitionError(in_document_order(notes.problems, raw), name=name)
    return definition


def _definition(raw: Any, name: str | None, notes: Notes) -> dict[str, Any]:
    """The definition; of no use when there are problems."""
    top = notes.members(raw, "", _TOP, "a task file")
    if top is None:
        return {}
    definition: dict[str, Any] = {"dsl": "1", **Head(notes).read(top.get("meta") or {}, name)}
    inputs = Inputs(notes)
    inputs.read(top.get("inputs") or [])
    if inputs.kinds:
        definition["inputs"] = inputs.schema()
    if not top.get("steps"):
        notes.note("/steps", "empty_nodes", "there is no step", "list the steps in their order")
        return definition
    steps = Steps(notes).read(top["steps"], "/steps", "step", 0)
    definition["nodes"] = _Builder(steps, inputs.kinds, notes).chain(steps, {}, error=False)
    return definition


class _Builder:
    """Names the steps, and makes nodes of them."""

    def __init__(self, steps: Sequence[Step], inputs: Mapping[str, str], notes: Notes) -> None:
        self._notes = notes
        self._names = Names()
        every = [each for step in steps for each in step.all()]
        for step, name in zip(every, self._names.given([(s.label, s.otherwise) for s in every]), strict=True):
            step.node = name
        keys = list(dict.fromkeys(key for step in every if step.writes for key in step.params))
        self._variables = dict(zip(keys, Names().given([(key, "value") for key in keys]), strict=True))
        labels = frozenset(step.label for step in every)
        self._texts = Texts(inputs, self._variables, labels, notes.problems)

    def chain(self, steps: Sequence[Step], before: Mapping[str, str], *, error: bool) -> dict[str, Any]:
        """The nodes of a list of steps; `before` are the steps that have run before all of them."""
        seen, nodes = dict(before), dict[str, Any]()
        for at, step in enumerate(steps):
            sight = Sight(seen, error=error, own=step.label, nodes=step.nodes, variables=step.reads)
            node = self._node(step, sight)
            nodes[step.node] = {**_needs(steps, at, step), **node}
            if step.label:
                seen[step.label] = step.node
        return nodes

    def _node(self, step: Step, sight: Sight) -> dict[str, Any]:
        node: dict[str, Any] = {}
        if step.label not in ("", step.node):
            node["description"] = step.label
        if "when" in step.fields:
            node["when"] = self._when(step, sight)
        if "loop" in step.fields:
            node |= self._map(step, sight)
        else:
            node |= self._verb(step, sight)
        if step.handlers:
            node["on_error"] = [{"do": {"nodes": self._handlers(step, sight)}}]
        return node

    def _when(self, step: Step, sight: Sight) -> Any:
        value, where = step.fields["when"], step.place("when")
        if isinstance(value, str):
            return self._texts.condition(value, where, sight)
        self._notes.check(bool, value, where, "an expression")
        return value

    def _map(self, step: Step, sight: Sight) -> dict[str, Any]:
        value, where = step.fields["loop"], step.place("loop")
        if isinstance(value, str):
            value = self._texts.whole(value, where, sight)
        elif isinstance(value, list):
            value = self._texts.value(value, where, sight)
        else:
            hint = "write the list itself, and 'parallelism' beside 'loop'"
            message = f"must be a list or an expression that gives one, not {kind_of(value)}"
            self._notes.note(where, "wrong_type", message, hint)
        body = self._verb(step, replace(sight, item=True))
        return {"map": value, "concurrency": self._concurrency(step, sight), "do": body}

    def _concurrency(self, step: Step, sight: Sight) -> Any:
        value, where = step.fields.get("parallelism", 1), step.place("parallelism")
        if isinstance(value, str):
            return self._texts.whole(value, where, sight)
        return self._number(value, where, 1)

    def _verb(self, step: Step, sight: Sight) -> dict[str, Any]:
        params = self._texts.value(step.params, step.place("params"), sight)
        if step.writes:
            return {"set": {self._variables[key]: each for key, each in params.items()}}
        run: dict[str, Any] = {"run": step.fields["action"]}
        if "params" in step.fields:
            run["with"] = _lowered(params) if run["run"] == "core.log" else params
        if "retry" in step.fields:
            run["retry"] = {
                "max": self._number(step.fields["retry"], step.place("retry"), 0),
                "delay": self._duration(step.fields.get("retry_delay", 1), step.place("retry_delay"), 0),
                "backoff": "fixed",
            }
        if "timeout" in step.fields:
            run["timeout"] = self._duration(step.fields["timeout"], step.place("timeout"), 0.001)
        return run

    def _handlers(self, step: Step, sight: Sight) -> dict[str, Any]:
        """The steps of `on_error`, and the node that lets the step fail after them."""
        nodes = self.chain(step.handlers, sight.steps, error=True)
        for handler in step.handlers:
            step.nodes |= handler.nodes
            step.reads |= handler.reads
            step.sets |= handler.sets
        again = {"code": "{{ error.code }}", "message": "{{ error.message }}", "retryable": False}
        name = self._names.make(f"{step.node}_failed", "failed")
        nodes[name] = {**_needs(step.handlers, len(step.handlers)), "run": "core.fail", "with": again}
        return nodes

    def _number(self, value: Any, pointer: str, least: int) -> Any:
        if self._notes.check(int, value, pointer, "a whole number") and not least <= value <= _MAX_COUNT:
            hint = f"write {least} to {_MAX_COUNT:,}"
            self._notes.note(pointer, "bad_value", f"{value} cannot be used here", hint)
        return value

    def _duration(self, value: Any, pointer: str, least: float) -> str:
        """Seconds as one of our durations, to the millisecond."""
        if type(value) not in (int, float):
            message = f"must be a number of seconds, not {kind_of(value)}"
            self._notes.note(pointer, "wrong_type", message, "write e.g. 30 or 0.5")
        elif not least <= value <= MAX_DURATION / 1_000_000:
            self._notes.note(
                pointer, "bad_duration", f"{value} seconds cannot be used here", "write e.g. 30 or 0.5"
            )
        else:
            ms = round(value * 1_000)
            return f"{ms}ms" if ms % 1_000 else f"{ms // 1_000}s"
        return ""


def _needs(steps: Sequence[Step], at: int, step: Step | None = None) -> dict[str, Any]:
    """`needs` of the step at a place in its list, or of what follows the last.

    The one before; and what it reads, and what uses the variables that it sets or sets those that it reads: behind a
    step that may be skipped, the chain alone does not make certain that they have ended.
    """
    needs: list[Any] = []
    loose = False
    nodes, reads, sets = (step.nodes, step.reads, step.sets) if step else (set[str](), set[str](), set[str]())
    for earlier in (steps[index] for index in reversed(range(at))):
        skips = "when" in earlier.fields
        loose = loose or skips
        uses = earlier.node in nodes or earlier.sets & (reads | sets) or earlier.reads & sets
        if not needs or (loose and uses):
            needs.append({"node": earlier.node, "on": ["completed", "skipped"]} if skips else earlier.node)
        nodes = nodes - {earlier.node}
        if not skips:
            # Whatever else uses what this one sets has ended before it.
            reads, sets = reads - earlier.sets, sets - earlier.sets
        if not (nodes or reads or sets):
            break
    return {"needs": needs[::-1]} if needs else {}


def _lowered(params: dict[str, Any]) -> dict[str, Any]:
    """The params of `core.log`, whose level Aura writes as `INFO`."""
    level = params.get("level")
    lowered = level.lower() if isinstance(level, str) else ""
    return {**params, "level": lowered} if lowered in _LEVELS else params
