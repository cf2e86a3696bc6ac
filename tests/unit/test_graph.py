"""Edges, cycles, order of variables, and the plan."""

from __future__ import annotations

import random
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strataflow.engine.compiler import compile_definition
from strataflow.engine.errors import DefinitionError, Problem
from strataflow.engine.graph import digraph, sort
from strataflow.engine.plan import JoinRule, NeedGroup, Plan, PlanNode, RetryPolicy, ScopePlan

RUN: dict[str, Any] = {"run": "core.noop"}
SECOND = 1_000_000


def run(value: Any = None, **fields: Any) -> dict[str, Any]:
    return {**RUN, **({} if value is None else {"with": value}), **fields}


def document(nodes: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"dsl": "1", "name": "test", "nodes": nodes, **rest}


def plan_of(nodes: dict[str, Any], **rest: Any) -> Plan:
    return compile_definition(document(nodes, **rest), definition_id="d1", version=3)[1]


def problems_of(nodes: dict[str, Any], **rest: Any) -> list[Problem]:
    with pytest.raises(DefinitionError) as caught:
        compile_definition(document(nodes, **rest))
    return list(caught.value.problems)


def edges(plan: Plan, address: str) -> dict[str, set[str]]:
    return {edge.node: set(edge.on) for edge in plan.nodes[address].deps}


# --- edges (rules 5, 6, 7, 15)


def test_references_make_edges_in_every_forward_field() -> None:
    plan = plan_of(
        {
            "a": RUN,
            "b": RUN,
            "c": run({"x": ["{{ nodes.a.output }}"]}, when="{{ nodes.b.state == 'completed' }}"),
            "m": {"map": "{{ nodes.a.output }}", "concurrency": "{{ nodes.b.output }}", "do": RUN},
            "s": {"set": {"v": "{{ nodes.c.output }}"}},
            "w": {"wait": {"for": "{{ nodes.a.output }}s"}},
        }
    )
    assert {name: set(edges(plan, name)) for name in plan.root.nodes} == {
        "a": set(),
        "b": set(),
        "c": {"a", "b"},
        "m": {"a", "b"},
        "s": {"c"},
        "w": {"a"},
    }


def test_references_in_outputs_make_no_edge() -> None:
    plan = plan_of(
        {"a": RUN, "b": run(needs=["a"], output="{{ nodes.a.output }}")}, output="{{ nodes.a.output }}"
    )
    assert edges(plan, "b") == {"a": {"completed"}}
    assert plan.root.output is not None


def test_an_explicit_need_replaces_the_inferred_edge() -> None:
    needs = [{"node": "a", "on": ["failed", "skipped"]}]
    plan = plan_of({"a": RUN, "b": run("{{ nodes.a.state }}", needs=needs), "c": run("{{ nodes.a.output }}")})
    assert edges(plan, "b") == {"a": {"failed", "skipped"}}
    assert edges(plan, "c") == {"a": {"completed"}}
    assert plan.nodes["a"].failure_handled
    assert not plan.nodes["b"].failure_handled


def test_a_reference_from_inside_makes_the_whole_container_wait() -> None:
    inner = {
        "nodes": {
            "x": run("{{ nodes.a.output }}"),
            "deep": {"do": {"nodes": {"y": run("{{ nodes.b.output }}")}}},
        }
    }
    plan = plan_of(
        {"a": RUN, "b": RUN, "g": {"do": inner}, "m": {"map": [1], "do": run("{{ nodes.b.output }}")}}
    )
    assert set(edges(plan, "g")) == {"a", "b"}
    assert set(edges(plan, "m")) == {"b"}
    assert edges(plan, "g.x") == edges(plan, "g.deep") == edges(plan, "m[]") == {}


def test_an_inner_scope_output_that_names_an_outer_node_makes_the_container_wait() -> None:
    body = {"nodes": {"x": RUN}, "output": {"x": "{{ nodes.x.output }}", "a": "{{ nodes.a.output }}"}}
    plan = plan_of({"a": RUN, "g": {"do": body}, "m": {"map": [1], "do": body}})
    assert set(edges(plan, "g")) == set(edges(plan, "m")) == {"a"}


def test_reads_of_variables_are_edges_on_their_writers() -> None:
    group = {"nodes": {"w": {"set": {"v": 1}}}}
    plan = plan_of(
        {
            "s": {"set": {"x": 1}},
            "g": {"do": group},
            "r": run("{{ vars.x }} {{ vars.v }}"),
            "both": run("{{ vars.x }} {{ nodes.s.output }}"),
            "m": {"map": [1], "do": run("{{ vars.x }}")},
            "o": {"do": {"nodes": {"q": RUN}, "output": "{{ vars.v }}"}},
        }
    )
    written = {"completed", "skipped"}
    assert edges(plan, "r") == {"s": written, "g": written}
    assert edges(plan, "both") == {"s": {"completed"}}
    assert edges(plan, "m") == {"s": written}
    assert edges(plan, "o") == {"g": written}


def test_a_reader_before_a_writer_stays_before_it() -> None:
    plan = plan_of(
        {
            "first": {"set": {"n": 1}},
            "look": run("{{ vars.n }}"),
            "second": {"set": {"n": "{{ vars.n + 1 }}"}, "needs": ["first", "look"]},
        }
    )
    assert set(edges(plan, "look")) == {"first"}
    assert edges(plan, "second") == {"first": {"completed"}, "look": {"completed"}}


# --- cycles


@pytest.mark.row("A-22", "X-02")
def test_a_cycle_is_refused_with_its_path() -> None:
    (problem,) = problems_of(
        {"z": RUN, "a": run(needs=["c"]), "b": run("{{ nodes.a.output }}"), "c": run(needs=["b"])}
    )
    assert (problem.pointer, problem.code) == ("/nodes/a", "cycle")
    assert "a → b → c → a" in problem.message
    assert problem.hint is not None
    assert "'b' waits for 'a' by /nodes/b/with" in problem.hint
    assert "'a' waits for 'c' by /nodes/a/needs/0" in problem.hint


@pytest.mark.row("A-22")
def test_every_group_of_waiting_nodes_is_reported_once_by_its_shortest_cycle() -> None:
    nodes = {
        "a": run(needs=["b", "d"]),
        "b": run(needs=["a"]),
        "c": run(needs=["b"]),
        "d": run(needs=["c"]),
        "x": run(needs=["y"]),
        "y": run(needs=["x"]),
        "tail": run(needs=["x"]),
    }
    assert [problem.message.partition(": ")[2] for problem in problems_of(nodes)] == [
        "a → b → a",
        "x → y → x",
    ]


@pytest.mark.row("A-22")
def test_a_cycle_through_a_container_is_found() -> None:
    nodes = {"a": run("{{ nodes.g.output }}"), "g": {"do": {"nodes": {"x": run("{{ nodes.a.output }}")}}}}
    (problem,) = problems_of(nodes)
    assert "a → g → a" in problem.message
    assert "/nodes/g/do/nodes/x/with" in (problem.hint or "")


def test_a_cycle_inside_a_container_is_found() -> None:
    body = {"nodes": {"x": run(needs=["y"]), "y": run(needs=["x"])}}
    assert [problem.pointer for problem in problems_of({"m": {"map": [1], "do": body}})] == [
        "/nodes/m/do/nodes/x"
    ]


def test_a_cycle_through_variables_is_found() -> None:
    nodes = {"a": {"set": {"x": "{{ vars.y }}"}}, "b": {"set": {"y": "{{ vars.x }}"}}}
    (problem,) = problems_of(nodes)
    assert problem.code == "cycle"


_GRAPHS = st.integers(2, 8).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=16)
    )
)


@pytest.mark.row("X-01")
@given(_GRAPHS)
def test_a_plan_is_in_topological_order_or_a_real_cycle_is_named(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    size, pairs = graph
    deps: dict[str, dict[str, None]] = {f"n{number}": {} for number in range(size)}
    for after, before in pairs:
        deps[f"n{after}"][f"n{before}"] = None
    order, cycles = sort(deps)
    assert isinstance(digraph(deps), nx.DiGraph)
    if nx.is_directed_acyclic_graph(digraph(deps)):
        assert sorted(order) == sorted(deps)
        assert all(order.index(before) < order.index(after) for after in deps for before in deps[after])
    else:
        assert cycles
        for cycle in cycles:
            assert all(
                before in deps[after] for before, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True)
            )


# --- order of variables and of late references (rules 6, 30)


@pytest.mark.parametrize(
    "nodes",
    [
        {"a": {"set": {"x": 1}}, "b": {"set": {"x": 2}}},
        {
            "a": {"set": {"x": 1}},
            "b": {"set": {"x": "{{ vars.x + 1 }}"}},
            "c": {"set": {"x": "{{ vars.x + 1 }}"}},
        },
        {"a": {"set": {"x": 1}}, "g": {"do": {"nodes": {"b": {"set": {"x": 2}}}}}},
        {"g": {"do": {"nodes": {"a": {"set": {"x": 1}}, "b": {"set": {"x": 2}}}}}},
        {"m": {"map": [1], "do": {"nodes": {"a": {"set": {"x": 1}}, "b": {"set": {"x": 2}}}}}},
        {"a": {"set": {"x": 1}}, "r": {**RUN, "output": "{{ vars.x }}"}},
        {"a": {"set": {"x": 1}, "output": "{{ vars.x }}"}},
        # `p` may be skipped because of `q` while `a` still runs, so `b` is not certainly behind `a`.
        {
            "a": {"set": {"x": 1}},
            "q": {**RUN, "when": False},
            "p": {**RUN, "needs": ["a", "q"]},
            "b": {"set": {"x": 2}, "needs": [{"node": "p", "on": ["completed", "skipped"]}]},
        },
    ],
)
def test_values_that_nothing_orders_are_refused(nodes: dict[str, Any]) -> None:
    assert {problem.code for problem in problems_of(nodes)} == {"unordered_var"}


@pytest.mark.parametrize(
    "nodes",
    [
        {"a": {"set": {"x": 1}}, "b": {"set": {"x": 2}, "needs": ["a"]}},
        {"a": {"set": {"x": 1}}, "b": {"set": {"x": "{{ vars.x + 1 }}"}}},
        {"a": {"set": {"x": 1}}, "p": run(needs=["a"]), "b": {"set": {"x": 2}, "needs": ["p"]}},
        {"a": {"set": {"x": 1}}, "g": {"do": {"nodes": {"b": {"set": {"x": 2}}}}, "needs": ["a"]}},
        {"a": {"set": {"x": 1}}, "m": {"map": [1], "do": {"nodes": {"b": {"set": {"x": 2}}}}}},
        {"a": {"set": {"x": 1}}, "r": run("{{ vars.x }}", output="{{ vars.x }}")},
        {"a": {"set": {"x": 1}}, "r": run(needs=["a"], output="{{ vars.x }}")},
        {"g": {"do": {"nodes": {"a": {"set": {"x": 1}}}}, "output": "{{ vars.x }}"}},
    ],
)
def test_values_that_the_graph_orders_are_fine(nodes: dict[str, Any]) -> None:
    assert (
        plan_of(nodes, output="{{ vars.x | default(0) }}").root.nodes if "m" not in nodes else plan_of(nodes)
    )


def test_an_output_may_name_only_what_has_certainly_ended() -> None:
    nodes = {
        "a": RUN,
        "q": run(when=False),
        "p": run(needs=["a", "q"]),
        "direct": run(needs=["a"], output="{{ nodes.a.output }}"),
        "behind": run(needs=["direct"], output="{{ nodes.a.output }}"),
        "loose": run(needs=[{"node": "p", "on": ["completed", "skipped"]}], output="{{ nodes.a.output }}"),
        "beside": run(output="{{ nodes.a.output }}"),
    }
    assert [(problem.pointer, problem.code) for problem in problems_of(nodes)] == [
        ("/nodes/loose/output", "unordered_reference"),
        ("/nodes/beside/output", "unordered_reference"),
    ]


class _Run:
    """One run of a plan of `set` and `run` nodes at random speed; what each node saw when it read `vars.x`."""

    def __init__(self, plan: Plan, falses: set[str], seed: int) -> None:
        self.nodes = plan.root.nodes
        self.falses = falses
        self.random = random.Random(seed)
        self.state = dict.fromkeys(self.nodes, "pending")
        self.value: Any = "unset"
        self.seen: dict[str, Any] = {}

    def play(self) -> dict[str, Any]:
        while True:
            self.settle()
            ready = [
                name for name, node in self.nodes.items() if self.state[name] == "pending" and self.met(node)
            ]
            running = [name for name in self.nodes if self.state[name] == "running"]
            if not ready and not running:
                return self.seen | {"end": self.value, **self.state}
            name = self.random.choice(ready + running)
            if self.state[name] == "running":
                self.end(name)
            else:
                self.start(name)

    def settle(self) -> None:
        """Skip at once whatever can no longer run (rule 8)."""
        changed = True
        while changed:
            lost = [
                name for name, node in self.nodes.items() if self.state[name] == "pending" and self.lost(node)
            ]
            changed = bool(lost)
            self.state.update(dict.fromkeys(lost, "skipped"))

    def lost(self, node: PlanNode) -> bool:
        ends = ("completed", "skipped")
        return any(
            self.state[edge.node] in ends and self.state[edge.node] not in edge.on for edge in node.deps
        ) or any(self.verdict(group) is False for group in node.groups)

    def met(self, node: PlanNode) -> bool:
        groups = all(self.verdict(group) is True for group in node.groups)
        return groups and all(self.state[edge.node] in edge.on for edge in node.deps)

    def verdict(self, group: NeedGroup) -> bool | None:
        held = any(self.state[edge.node] in edge.on for edge in group.edges)
        ended = all(self.state[edge.node] in ("completed", "skipped") for edge in group.edges)
        if group.kind == "any":
            return True if held else False if ended else None
        return False if held else True if ended else None

    def start(self, name: str) -> None:
        if name in self.falses:
            self.state[name] = "skipped"
            return
        self.state[name] = "running"
        node = self.nodes[name]
        if any(
            template is not None and "vars.x" in str(template.source) for template in (node.with_, node.set_)
        ):
            self.seen[f"{name} input"] = self.value

    def end(self, name: str) -> None:
        self.state[name] = "completed"
        node = self.nodes[name]
        if node.output is not None:
            if "vars.x" in str(node.output.source):
                self.seen[f"{name} output"] = self.value
            for reference in node.output.refs:
                if reference.root == "nodes":
                    self.seen[f"{name} of {reference.parts[0]}"] = self.state[str(reference.parts[0])]
        if node.set_ is not None:
            self.value = name


_NODE = st.tuples(
    st.sampled_from(["run", "read", "set", "add", "look back", "late"]),
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["completed", "skipped", "both"])), max_size=3),
    # Wait for every earlier writer, or leave it to the other needs.
    st.booleans(),
    # Put the other needs into a group.
    st.sampled_from(["all", "all", "any", "none"]),
)


def _entries(wanted: dict[str, str]) -> list[dict[str, Any]]:
    states = {"both": ["completed", "skipped"]}
    return [{"node": name, "on": states.get(on, [on])} for name, on in wanted.items()]


@settings(max_examples=300, deadline=None)
@given(st.lists(_NODE, min_size=3, max_size=7), st.sets(st.integers(0, 6)), st.randoms(use_true_random=False))
def test_what_validates_reads_the_same_at_every_speed(
    spec: list[tuple[str, list[tuple[int, str]], bool, str]], falses: set[int], rng: random.Random
) -> None:
    """Rule 30 in practice: an accepted definition gives every node the same values however the work interleaves."""
    nodes: dict[str, Any] = {"n0": {"set": {"x": 0}}}
    for index, (kind, needs, after_writers, group) in enumerate(spec, 1):
        writers = [name for name, earlier in nodes.items() if "set" in earlier] if after_writers else []
        wanted = {f"n{max(index - back, 0)}": on for back, on in needs}
        plain = wanted if group == "all" else {}
        grouped = {} if group == "all" else {name: on for name, on in wanted.items() if name not in writers}
        node: dict[str, Any] = {"set": {"x": index}} if kind == "set" else run()
        if kind == "read":
            node = run("{{ vars.x }}")
        elif kind == "add":
            node = {"set": {"x": "{{ vars.x }}"}}
        elif kind == "look back":
            node = run(output=f"{{{{ nodes.n{rng.randrange(index)}.state }}}}")
        elif kind == "late":
            node = run(output="{{ vars.x }}")
        node["needs"] = _entries(plain | dict.fromkeys(writers, "both"))
        node["needs"] += [{group: _entries(grouped)}] if grouped else []
        nodes[f"n{index}"] = node
    try:
        plan = plan_of(nodes)
    except DefinitionError:
        return
    skipped = {f"n{number}" for number in falses}
    runs = [_Run(plan, skipped, seed).play() for seed in range(25)]
    assert all(other == runs[0] for other in runs)


# --- the plan


def test_addresses_scopes_and_bodies() -> None:
    plan = plan_of(
        {
            "settle": {
                "map": [1],
                "do": {
                    "nodes": {"charge": RUN, "late": run("{{ nodes.charge.output }}")},
                    "output": "{{ nodes.late.output }}",
                },
            },
            "grp": {"do": {"nodes": {"x": RUN, "deep": {"do": {"nodes": {"y": RUN}}}}}},
            "one": {"map": [1], "do": {"map": [2], "do": RUN}},
        },
    )
    assert set(plan.nodes) == {
        *("settle", "settle[].charge", "settle[].late"),
        *("grp", "grp.x", "grp.deep", "grp.deep.y"),
        *("one", "one[]", "one[][]"),
    }
    assert {address: scope.kind for address, scope in plan.scopes.items()} == {
        "": "definition",
        "settle[]": "item",
        "grp": "group",
        "grp.deep": "group",
    }
    assert plan.root is plan.scopes[""]
    settle, one = plan.nodes["settle"], plan.nodes["one"]
    assert isinstance(settle.body, ScopePlan)
    assert settle.body.leaves == ("late",)
    assert settle.body.output is not None
    assert settle.body.nodes["late"] is plan.nodes["settle[].late"]
    assert plan.nodes["settle[].late"].scope == "settle[]"
    assert isinstance(one.body, PlanNode)
    assert (one.body.name, one.body.address, one.body.scope, one.body.kind) == ("", "one[]", "one", "map")
    assert isinstance(one.body.body, PlanNode)
    assert (one.body.body.address, one.body.body.scope, one.body.body.kind) == ("one[][]", "one[]", "run")
    assert plan.nodes["grp"].body is plan.scopes["grp"]


@pytest.mark.row("X-01")
def test_nodes_are_in_topological_order_and_names_beside_each_other_in_document_order() -> None:
    plan = plan_of(
        {
            "last": run(needs=["b", "a"]),
            "b": run("{{ nodes.start.output }}"),
            "a": run(needs=["start"]),
            "start": RUN,
            "free": RUN,
        }
    )
    order = list(plan.root.nodes)
    assert all(
        order.index(edge.node) < order.index(node.name)
        for node in plan.root.nodes.values()
        for edge in node.deps
    )
    assert plan.root.roots == ("start", "free")
    assert plan.root.leaves == ("last", "free")
    assert plan.nodes["start"].successors == ("b", "a")
    assert [edge.node for edge in plan.nodes["last"].deps] == ["b", "a"]


def test_what_a_plan_says_about_the_whole() -> None:
    plan = plan_of(
        {
            "a": {"run": "x.y", "queue": "slow"},
            "m": {"map": [1], "do": {"run": "x.z"}},
            "s": {"set": {"v": 1}},
        },
        defaults={"queue": "main"},
    )
    assert (plan.definition_id, plan.name, plan.version) == ("d1", "test", 3)
    assert plan.executors == {"x.y", "x.z"}
    assert plan.queues == {"slow", "main"}


def test_defaults_apply_to_run_nodes_and_retry_merges_key_by_key() -> None:
    defaults = {
        "queue": "main",
        "priority": 7,
        "timeout": "2m",
        "retry": {"max": 5, "delay": "2s", "never": ["bank.Declined"]},
    }
    plan = plan_of(
        {
            "plain": RUN,
            "own": run(
                queue="slow", priority=0, timeout="1s", retry={"max": 1, "backoff": "fixed", "never": []}
            ),
            "group": {"do": {"nodes": {"inner": RUN}}},
        },
        defaults=defaults,
    )
    plain, own, group = plan.nodes["plain"], plan.nodes["own"], plan.nodes["group"]
    assert (plain.queue, plain.priority, plain.timeout) == ("main", 7, 120 * SECOND)
    assert plain.retry == RetryPolicy(max=5, delay=2 * SECOND, never=("bank.Declined",))
    assert (own.queue, own.priority, own.timeout) == ("slow", 0, SECOND)
    assert own.retry == RetryPolicy(max=1, delay=2 * SECOND, backoff="fixed")
    assert plan.nodes["group.inner"].retry is plain.retry
    assert (group.queue, group.timeout, group.retry) == (None, None, RetryPolicy())


def test_a_long_delay_is_not_cut_by_the_default_bound() -> None:
    plan = plan_of({"a": run(retry={"max": 1, "delay": "1d"})})
    assert plan.nodes["a"].retry.max_delay == 86_400 * SECOND


@pytest.mark.parametrize(
    ("join", "rule"),
    [
        ("all", JoinRule()),
        ("any", JoinRule(need="any")),
        (3, JoinRule(need=3)),
        ("80%", JoinRule(need_percent=80.0)),
        ({"need": "12.5%", "rest": "keep"}, JoinRule(need_percent=12.5, rest="keep")),
        ("first", JoinRule(need="first")),
        ("majority", JoinRule(need="majority")),
        ("none", JoinRule(need="none", rest="keep")),
        ({"need": "none", "rest": "keep"}, JoinRule(need="none", rest="keep")),
        ({"need": "all", "tolerate": 2}, JoinRule(tolerate=2)),
        ({"tolerate": "1.5%"}, JoinRule(tolerate_percent=1.5)),
        ({}, JoinRule()),
    ],
)
def test_joins(join: Any, rule: JoinRule) -> None:
    assert plan_of({"m": {"map": [1], "do": RUN, "join": join}}).nodes["m"].join == rule


def test_fields_of_the_other_verbs() -> None:
    plan = plan_of(
        {
            "m": {
                "map": "{{ inputs.rows }}",
                "as": "row",
                "index": "i",
                "concurrency": 5,
                "do": RUN,
                "description": "Rows.",
            },
            "n": {"map": {"a": 1}, "concurrency": "{{ inputs.n }}", "do": RUN, "when": True},
            "s": {"set": {"v": "{{ inputs.n }}"}, "output": None},
            "w": {"wait": {"for": "{{ inputs.n }}s"}},
            "a": {"run": "core.noop", "with": None},
        },
        inputs={"properties": {"rows": {}, "n": {}}},
    )
    m, n, s, w, a = (plan.nodes[name] for name in ("m", "n", "s", "w", "a"))
    assert (m.as_, m.index_as, m.concurrency, m.description) == ("row", "i", 5, "Rows.")
    assert m.items is not None
    assert m.items.plain is not None
    assert (n.as_, n.index_as) == ("item", None)
    assert n.concurrency is not None
    assert not isinstance(n.concurrency, int)
    assert n.items is not None
    assert n.items.render({}) == {"a": 1}
    assert n.when is not None
    assert n.when.render_bool({}) is True
    assert s.set_ is not None
    assert s.output is not None
    assert s.output.render({}) is None
    assert w.wait is not None
    assert w.wait.template is not None
    assert (w.wait.kind, w.wait.template.render({"inputs": {"n": 5}})) == ("for", "5s")
    assert a.with_ is not None
    assert plan.nodes["m[]"].with_ is None


def test_owners_of_variables() -> None:
    item = {"nodes": {"inner": {"set": {"x": 1, "z": 1}}, "g": {"do": {"nodes": {"w": {"set": {"y": 1}}}}}}}
    plan = plan_of(
        {"s": {"set": {"x": 1, "v": 1}}, "m": {"map": [1], "do": item}, "o": {"map": [1], "do": RUN}}
    )
    assert plan.vars["", "x"] == ""
    assert plan.vars["m[]", "x"] == "m[]"
    assert plan.vars["m[]", "v"] == ""
    assert plan.vars["m[].g", "y"] == "m[]"
    assert plan.vars["m[].g", "v"] == ""
    assert plan.vars["o", "v"] == ""
    assert dict(plan.vars)["m[].g", "z"] == "m[]"
    assert ("", "z") not in plan.vars
    assert ("nowhere", "x") not in plan.vars
    assert len(plan.vars) == len(list(plan.vars))


# --- size


def _chain(size: int) -> dict[str, Any]:
    return {
        f"n{number}": run({"x": f"{{{{ nodes.n{number - 1}.output }}}}", "y": "{{ inputs.a }}"})
        if number
        else RUN
        for number in range(size)
    }


def _wide(size: int) -> dict[str, Any]:
    leaves = {
        f"n{number}": run({"x": "{{ nodes.start.output.a }}", "y": "{{ inputs.a }}"})
        for number in range(size - 2)
    }
    return {"start": RUN, **leaves, "join": run(needs=list(leaves))}


def _layered(size: int) -> dict[str, Any]:
    def node(number: int) -> dict[str, Any]:
        if number < 100:
            return run("{{ inputs.a }}")
        above, other = number - 100, (number // 100 - 1) * 100 + number * 7 % 100
        return run({"x": f"{{{{ nodes.n{above}.output }}}}", "y": f"{{{{ nodes.n{other}.output.b }}}}"})

    return {f"n{number}": node(number) for number in range(size)}


def _counters(size: int) -> dict[str, Any]:
    """A chain of writers of one variable: every pair is ordered."""
    first = {"n0": {"set": {"x": 0}}}
    return first | {
        f"n{number}": {"set": {"x": number}, "needs": [f"n{number - 1}"]} for number in range(1, size)
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize("shape", [_chain, _wide, _layered, _counters])
def test_twenty_thousand_nodes(shape: Any) -> None:
    plan = plan_of(shape(20_000), inputs={"properties": {"a": {}}})
    assert len(plan.nodes) == 20_000


@pytest.mark.timeout(120)
def test_a_cycle_of_twenty_thousand_nodes_is_named() -> None:
    nodes = _chain(20_000)
    nodes["n0"] = run(needs=["n19999"])
    (problem,) = problems_of(nodes, inputs={"properties": {"a": {}}})
    assert problem.message.endswith("n19999 → n0")


@pytest.mark.timeout(120)
def test_a_problem_in_each_of_many_nodes_is_reported() -> None:
    assert len(problems_of({f"n{number}": run(needs=["nope"]) for number in range(5_000)})) == 5_000
