"""Random definitions: every verb, every handler, in three styles, each a function of its seed alone.

`chain`: in every scope each node waits for the one before, and containers work at one child at a time, so that nearly
everything about a run is certain, failures included. `free`: nodes wait for any of those before. `finish`: as `free`,
and what does not depend on a failure goes on.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, Final

from tests.reference.cases import INPUTS, Case, Place
from tests.reference.shape import Doc

__all__ = ["make_case"]

_SCHEMA: Final[Doc] = {"type": "object", "properties": {name: {} for name in INPUTS}}
_DEPTH: Final = 3
_PATTERNS: Final = (
    ["ref.Red"],
    ["ref.*"],
    ["ref.Warm"],
    ["expression", "join"],
    ["*"],
    ["ref.Blue", "timeout", "flow"],
)


def make_case(seed: int) -> Case:
    """Write the definition of a seed."""
    rng = random.Random(seed)
    style = rng.choice(["chain", "chain", "free", "finish"])
    name = f"ref-{seed}"
    child = _Writer(rng, "chain", budget=3, flows=[]).document(f"{name}-child")
    writer = _Writer(rng, style, budget=rng.randint(3, 12), flows=[child["name"]])
    failing = rng.choice([0.0, 0.1, 0.2, 0.4])
    return Case(seed, writer.document(name), {child["name"]: child}, failing)


class _Writer:
    """Writes one definition."""

    def __init__(self, rng: random.Random, style: str, budget: int, flows: list[str]) -> None:
        self.rng, self.style, self.budget, self.flows = rng, style, budget, flows
        self.count = 0
        self.undoes = self.often(0.25)

    def often(self, chance: float) -> bool:
        return self.rng.random() < chance

    def name(self, letter: str = "n") -> str:
        self.count += 1
        return f"{letter}{self.count}"

    # --- the definition and its scopes

    def document(self, name: str) -> Doc:
        found: Doc = {"dsl": "1", "name": name, "inputs": _SCHEMA}
        if self.style == "finish":
            found["on_failure"] = "finish"
        if self.often(0.3):
            found["defaults"] = {"retry": {"max": 1, "delay": "1ms"}}
        found |= self.scope(Place(), self.rng.randint(2, 6))
        if self.undoes or self.often(0.3):
            found["on_error"] = self.handlers(Place(), ["output", "do", "fail", "nothing"])
            found["on_error"][-1] |= {"undo": True} if self.undoes else {}
        if self.often(0.3):
            found["finally"] = self.small_body(Place(things=("error.code | default('none')",)))
        return found

    def scope(self, place: Place, wanted: int) -> Doc:
        nodes: Doc = {}
        for _ in range(wanted):
            if nodes and self.budget <= 0:
                break
            name = self.name()
            nodes[name] = self.named_node(name, place, nodes)
            written = tuple(nodes[name].get("set", ()))
            place = replace(place, nodes=(*place.nodes, name), variables=(*place.variables, *written))
        found: Doc = {"nodes": nodes}
        if self.often(0.5):
            found["output"] = {name: self.report(name, node) for name, node in nodes.items()}
        return found

    def report(self, name: str, node: Doc) -> Any:
        fields = ["output", "state"]
        if "switch" in node:
            fields.append("branch")
        if {"map", "parallel"} & set(node) and not _keeps(node):
            fields.append("stats")
        return [f"{{{{ nodes.{name}.{each} }}}}" for each in fields]

    def body(self, place: Place) -> Doc:
        """Write a body: one node, or a scope."""
        return self.scope(place, self.rng.randint(1, 3)) if self.often(0.4) else self.node(place, alone=True)

    def small_body(self, place: Place) -> Doc:
        """Write the body of a handler: one task, or two in a scope."""
        if self.often(0.6):
            return {"run": "ref.work", "with": self.value(place)}
        first, second = self.name("h"), self.name("h")
        read = f"{{{{ nodes.{first}.output.got }}}}"
        tasks = {
            first: {"run": "ref.work", "with": self.value(place)},
            second: {"run": "ref.work", "with": read},
        }
        return {"nodes": tasks, "output": f"{{{{ nodes.{second}.output.got }}}}"}

    # --- nodes

    def named_node(self, name: str, place: Place, before: Doc) -> Doc:
        """Write a node of a scope: what it waits for, and what it does."""
        needs = self.needs(before)
        groups = [each for each in needs if isinstance(each, dict) and "node" not in each]
        unsure = {member for group in groups for member in _members(group)}
        place = replace(place, nodes=tuple(each for each in place.nodes if each not in unsure))
        if any("any" in group for group in groups):
            fired = ("trigger.path", "trigger.output.got | default('-')")
            place = replace(place, things=(*place.things, *fired))
        node = self.set_node(place) if self.often(0.12) else self.node(place)
        if needs:
            node["needs"] = needs
        if self.undoes and "run" in node:
            node["undo"] = {"run": "ref.work", "with": f"{{{{ nodes.{name}.output.got }}}}"}
            node.pop("output", None)
        return node

    def needs(self, before: Doc) -> list[Any]:
        found: list[Any] = []
        rest = list(before)
        if rest and self.style == "chain":
            found.append(self.edge(rest.pop()))
        if len(rest) > 1 and self.often(0.3):
            kind = self.rng.choice(["any", "any", "all", "none"])
            members = self.rng.sample(rest, 2)
            if kind != "none":
                found.append({kind: [self.edge(each) for each in members]})
            elif all(_is_safe(before[each]) for each in members):
                found.append(
                    {kind: [self.rng.choice([each, {"node": each, "on": ["skipped"]}]) for each in members]}
                )
        elif rest and self.style != "chain" and self.often(0.6):
            found.append(self.edge(self.rng.choice(rest)))
        return found

    def edge(self, name: str) -> Any:
        ends = ["completed"], ["completed", "skipped"], ["completed", "failed", "skipped"], ["failed"]
        on = self.rng.choices(ends, [5, 4, 5, 1])[0]
        return name if on == ["completed"] else {"node": name, "on": on}

    def node(self, place: Place, *, alone: bool = False) -> Doc:
        """Write a node of any verb but `set`; a group that stands alone is refused."""
        self.budget -= 1
        leaves = [(self.run_node, 6), (self.wait_node, 1), *([(self.flow_node, 1)] if self.flows else [])]
        containers = [
            (self.group_node, 0 if alone else 2),
            (self.map_node, 3),
            (self.parallel_node, 2),
            (self.loop_node, 2),
            (self.switch_node, 2),
        ]
        makers = leaves if place.depth >= _DEPTH or self.budget <= 0 else [*leaves, *containers]
        node = self.rng.choices([make for make, _ in makers], [weight for _, weight in makers])[0](place)
        if self.often(0.15):
            node["when"] = self.condition(place)
        if alone and self.undoes and "run" in node:
            node["undo"] = {"run": "ref.work", "with": "back"}
        if "on_timeout" not in node.get("wait", {}) and self.often(0.2):
            node["on_error"] = self.handlers_of(node, place)
        if self.often(0.1):
            node["output"] = {
                "made": self.rng.choice(["{{ result }}", "{{ result.got.x }}", "r {{ inputs.n }}"])
            }
        return node

    def handlers_of(self, node: Doc, place: Place) -> list[Doc]:
        kinds = ["output", "do", "continue", "fail"]
        found = self.handlers(place, kinds)
        if self.undoes and {"do", "parallel"} & set(node):
            found[0]["undo"] = True
        return found

    def run_node(self, place: Place) -> Doc:
        node: Doc = {"run": "ref.work"}
        if self.often(0.9):
            node["with"] = self.value(place)
        if self.often(0.3):
            node["retry"] = {"max": self.rng.randint(1, 2), "delay": "1ms"}
            if self.often(0.4):
                node["retry"][self.rng.choice(["on", "never"])] = self.rng.choice(_PATTERNS)
        return node

    def set_node(self, place: Place) -> Doc:
        self.budget -= 1
        values: Doc = {}
        for _ in range(self.rng.randint(1, 2)):
            name = self.name("v")
            count = f"{{{{ vars.{name} | default(0) + 1 }}}}"
            values[name] = count if self.often(0.4) else self.value(place)
        return {"set": values}

    def wait_node(self, place: Place) -> Doc:
        if self.often(0.4):
            return {"wait": {"for": "1ms"}}
        wait: Doc = {"signal": "never", "timeout": "1ms"}
        if self.often(0.7):
            wait["on_timeout"] = self.handler(place, None)
        return {"wait": wait}

    def flow_node(self, place: Place) -> Doc:
        return {"flow": self.flows[0], "with": INPUTS | {"flag": self.value(place)}}

    def group_node(self, place: Place) -> Doc:
        return {"do": self.scope(place.inside(), self.rng.randint(1, 3))}

    def switch_node(self, place: Place) -> Doc:
        inner = place.inside()
        cases = [
            {"when": self.condition(place), "do": self.body(inner)} for _ in range(self.rng.randint(1, 2))
        ]
        return {"switch": cases, **({"else": self.body(inner)} if self.often(0.5) else {})}

    # --- children

    def map_node(self, place: Place) -> Doc:
        node: Doc = {"map": self.items(place)}
        item, index = "item", "index"
        if self.often(0.5):
            item = node["as"] = self.name("i")
        if self.often(0.3):
            index = node["index"] = self.name("x")
        things, numbers = (
            ((), (item, index, "total")) if _is_numbers(node["map"]) else ((item,), (index, "total"))
        )
        if self.often(0.2):
            node["key"] = f"{{{{ {item} }}}}" if _is_numbers(node["map"]) else f"{{{{ {index} }}}}"
        if self.often(0.25):
            node["collect"] = self.rng.choice(["stats", "none"])
        inner = replace(place.inside(numbers, things), variables=place.variables)
        join = self.join()
        if _keeps(join):
            node.pop("collect", None)
        return node | join | {"do": self.body(inner)}

    def items(self, place: Place) -> Any:
        read = [f"{{{{ nodes.{name}.output | default('-') }}}}" for name in place.nodes[-1:]]
        lists: list[Any] = [[3, 1, 2], [1, 2, 1], [5], [], {"b": 1, "a": 2}, "{{ inputs.rows }}"]
        return self.rng.choice([*lists, [2, 2, 4, 1], "{{ inputs.nothing }}", *read])

    def parallel_node(self, place: Place) -> Doc:
        names = [self.name("b") for _ in range(self.rng.randint(1, 3))]
        return {"parallel": {name: self.body(place.inside()) for name in names}} | self.join(len(names))

    def join(self, most: int = 2) -> Doc:
        """Write how a fan-out is bounded and when it is met."""
        found: Doc = {}
        widths = [1] if self.style == "chain" else [1, "{{ inputs.n }}"]
        if self.style == "chain" or self.often(0.4):
            found["concurrency"] = self.rng.choice(widths)
        if self.often(0.5):
            short = ["all", "any", "first", "majority", "none", 1, min(2, most), "50%", "100%"]
            need = self.rng.choice(short)
            found["join"] = need
            if need == "all":
                found["join"] = {"tolerate": self.rng.choice([1, 2, "34%", "50%"])}
            elif need != "none" and self.often(0.2):
                found["join"] = {"need": need, "rest": "keep"}
        return found

    def loop_node(self, place: Place) -> Doc:
        kind = self.rng.choice(["while", "until", "times", "for"])
        loop: Doc = {}
        numbers, things = ("loop.index",), ("loop.output",)
        if kind in {"while", "until"}:
            loop[kind] = f"{{{{ loop.index {'<' if kind == 'while' else '>='} {self.rng.randint(0, 3)} }}}}"
            if self.often(0.4):
                loop["max"] = self.rng.randint(1, 3)
        elif kind == "times":
            loop["times"] = self.rng.choice([0, 1, 2, 3, "{{ inputs.n }}"])
        else:
            loop["for"] = self.items(place)
            numbers = (*numbers, "index", "total", *(["item"] if _is_numbers(loop["for"]) else []))
        if self.often(0.3) and not self.undoes:
            loop["keep_last"] = self.rng.randint(1, 2)
        if self.often(0.2):
            loop["every"] = "1ms"
        body = self.body(place.inside(numbers, things))
        if "'rest'" in repr(body) or "'join': 'none'" in repr(body):
            loop.pop("keep_last", None)  # what becomes of a turn that goes on after its end is said nowhere
        return {"loop": loop, "do": body}

    # --- failures

    def handlers(self, place: Place, kinds: list[str]) -> list[Doc]:
        """Write entries of `on_error`; only the last may take every error."""
        found: list[Doc] = []
        if self.often(0.5):
            found.append(
                {"on": self.rng.choice(_PATTERNS[:3]), **self.handler(place, self.rng.choice(kinds))}
            )
        last = self.handler(place, self.rng.choice(kinds))
        if self.often(0.4):
            last["on"] = self.rng.choice(_PATTERNS[3:])
        return [*found, last]

    def handler(self, place: Place, kind: str | None) -> Doc:
        things = (*(each for each in place.things if not each.startswith("trigger")), "error.code")
        place = replace(place, nodes=(), variables=(), things=things)
        kind = kind or self.rng.choice(["output", "do", "continue", "fail"])
        if kind == "output":
            return {"output": {"handled": self.value(place)}}
        if kind == "do":
            return {"do": self.small_body(place)}
        if kind == "continue":
            return {"continue": True}
        if kind == "fail":
            return {"fail": {"code": "mine.Bad", "message": "was {{ error.code }}"}}
        return {"undo": True}

    # --- values

    def value(self, place: Place) -> Any:
        """Write a template; now and then one that cannot be evaluated."""
        read = [f"nodes.{name}.output" for name in place.nodes] + [
            f"nodes.{name}.state" for name in place.nodes
        ]
        read += [f"vars.{name} | default('unset')" for name in place.variables]
        number, thing = self.rng.choice(place.numbers), self.rng.choice([*place.things, *read])
        forms: list[Any] = [
            self.rng.choice([7, "text", None, True, [1, {"a": 2}]]),
            f"{{{{ {number} }}}}",
            f"{{{{ {number} + 1 }}}}",
            f"{{{{ {thing} }}}}",
            f"{{{{ {thing} }}}}",
            {"x": f"{{{{ {thing} }}}}", "y": f"at {{{{ {number} }}}}"},
            f"{{{{ {number} }}}}/{{{{ {thing} }}}}",
        ]
        if self.often(0.04):
            return "{{ inputs.rows.nowhere }}"
        return self.rng.choice(forms)

    def condition(self, place: Place) -> Any:
        number = self.rng.choice(place.numbers)
        forms: list[Any] = [
            f"{{{{ {number} {self.rng.choice(['<', '<=', '>', '>=', '==', '!='])} {self.rng.randint(0, 3)} }}}}",
            self.rng.choice([True, False]),
        ]
        forms += [f"{{{{ nodes.{name}.state == 'completed' }}}}" for name in place.nodes[-2:]]
        forms += [f"{{{{ nodes.{name}.output.attempt | default(0) == 1 }}}}" for name in place.nodes[-2:]]
        return self.rng.choice(forms)


def _is_numbers(items: Any) -> bool:
    return items == "{{ inputs.rows }}" or (isinstance(items, list) and bool(items))


def _members(group: Doc) -> list[str]:
    (edges,) = group.values()
    return [edge if isinstance(edge, str) else edge["node"] for edge in edges]


def _keeps(node: Doc) -> bool:
    join = node.get("join")
    return join == "none" or (isinstance(join, dict) and "rest" in join)


def _is_safe(node: Doc) -> bool:
    """Whether its failure, if it can fail at all, is its own business."""
    last = node.get("on_error", [{"on": []}])[-1]
    return "on" not in last and bool({"output", "continue"} & set(last))
