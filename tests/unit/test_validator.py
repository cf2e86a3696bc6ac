"""Rules of names, references and executors: every refusal with its place, code and way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from strataflow.engine.compiler import build_plan, compile_definition
from strataflow.engine.errors import DefinitionError, Problem
from strataflow.engine.parser import parse_definition
from strataflow.engine.validator import validate

RUN: dict[str, Any] = {"run": "core.noop"}
INPUTS = {"type": "object", "properties": {"day": {"type": "string"}, "rows": {"type": "array"}}}


def run(value: Any = None, **fields: Any) -> dict[str, Any]:
    """A run node, reading `value` in its `with`."""
    return {**RUN, **({} if value is None else {"with": value}), **fields}


def each(*, source: Any = "{{ inputs.rows }}", **fields: Any) -> dict[str, Any]:
    return {"map": source, **fields}


def problems_of(nodes: dict[str, Any], **rest: Any) -> list[Problem]:
    source = {"dsl": "1", "name": "test", "inputs": INPUTS, "nodes": nodes, **rest}
    return validate(parse_definition(source))


def codes(nodes: dict[str, Any], **rest: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in problems_of(nodes, **rest)]


def only(nodes: dict[str, Any], **rest: Any) -> Problem:
    (problem,) = problems_of(nodes, **rest)
    return problem


# --- names


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fetch-data", "write 'fetch_data'"),
        ("2nd", "write '_2nd'"),
        ("a b", "write 'a_b'"),
        ("é", "not beginning with a digit"),
        ("", "not beginning with a digit"),
        ("x" * 64, f"write '{'x' * 63}'"),
        ("nodes", "'nodes_1'"),
        ("self", "'self_1'"),
        ("not", "'not_1'"),
        ("result", "'result_1'"),
    ],
)
def test_names_that_expressions_cannot_use_come_with_one_that_they_can(name: str, hint: str) -> None:
    problem = only({name: RUN})
    assert (problem.pointer, problem.code) == (f"/nodes/{name}", "bad_name")
    assert problem.hint is not None
    assert hint in problem.hint


@pytest.mark.parametrize("name", ["a", "_a", "A9_", "x" * 63, "range", "items", "do", "run"])
def test_names_that_are_fine(name: str) -> None:
    assert problems_of({name: RUN, "reader": run(f"{{{{ nodes.{name}.output }}}}")}) == []


@pytest.mark.parametrize(
    ("node", "pointer"),
    [
        ({"set": {"a-b": 1}}, "/nodes/n/set/a-b"),
        ({"set": {"vars": 1}}, "/nodes/n/set/vars"),
        (each(**{"as": "my item"}, do=RUN), "/nodes/n/as"),
        (each(**{"as": "index"}, do=RUN), "/nodes/n/as"),
        (each(index="inputs", do=RUN), "/nodes/n/index"),
    ],
)
def test_names_of_variables_and_items_follow_the_same_rule(node: dict[str, Any], pointer: str) -> None:
    assert codes({"n": node}) == [(pointer, "bad_name")]


def test_an_inner_node_may_not_reuse_a_name_around_it() -> None:
    inner = {"nodes": {"a": RUN, "g": RUN, "free": RUN}}
    assert codes({"a": RUN, "g": {"do": inner}, "h": {"do": {"nodes": {"free": RUN}}}}) == [
        ("/nodes/g/do/nodes/a", "reused_name"),
        ("/nodes/g/do/nodes/g", "reused_name"),
    ]


@pytest.mark.parametrize(
    ("outer", "inner", "found"),
    [
        ({"as": "x"}, {"as": "x"}, ["/nodes/m/do/as"]),
        ({"as": "x"}, {"index": "x"}, ["/nodes/m/do/index"]),
        ({"as": "x", "index": "x"}, {}, ["/nodes/m/index"]),
        ({"as": "x"}, {"as": "y"}, []),
        ({}, {}, []),
        ({"as": "item"}, {"as": "item"}, []),
    ],
)
def test_names_of_items_may_not_collide(
    outer: dict[str, Any], inner: dict[str, Any], found: list[str]
) -> None:
    node = each(**outer, do=each(source=[1], **inner, do=RUN))
    assert codes({"m": node}) == [(pointer, "reused_name") for pointer in found]


# --- needs


@pytest.mark.parametrize(
    ("needs", "pointer", "code", "hint"),
    [
        (["fist"], "/0", "unknown_dependency", "did you mean 'first'?"),
        (["zzzzz"], "/0", "unknown_dependency", "siblings: 'first', 'g'"),
        ([{"node": "fist", "on": ["failed"]}], "/0", "unknown_dependency", "did you mean 'first'?"),
        (["first", "first"], "/1", "duplicate_need", "keep one"),
        (["first", {"node": "first"}], "/1", "duplicate_need", "keep one"),
        (["n"], "/0", "own_reference", "remove it"),
        (["inner"], "/0", "unknown_dependency", "siblings"),
    ],
)
@pytest.mark.row("A-22", "X-02")
def test_needs_name_siblings(needs: list[Any], pointer: str, code: str, hint: str) -> None:
    problem = only({"first": RUN, "n": run(needs=needs), "g": {"do": {"nodes": {"inner": RUN}}}})
    assert (problem.pointer, problem.code) == (f"/nodes/n/needs{pointer}", code)
    assert problem.hint is not None
    assert hint in problem.hint


def test_an_inner_node_cannot_need_an_outer_one() -> None:
    problem = only({"a": RUN, "g": {"do": {"nodes": {"b": run(needs=["a"])}}}})
    assert problem.code == "unknown_dependency"
    assert "nodes.a" in (problem.hint or "")


# --- references


@pytest.mark.parametrize(
    ("expression", "code", "hint"),
    [
        ("nodes.ordrs.output", "unknown_node", "did you mean 'orders'?"),
        ("nodes.inner.output", "invisible_node", "return it in the 'output' of 'group'"),
        ("nodes.orders.outptu", "unknown_node_field", "did you mean 'output'?"),
        ("nodes.orders.rows", "unknown_node_field", "write nodes.orders.output.rows"),
        ("nodes.orders.stats", "unknown_node_field", "only 'map', 'parallel', 'loop' nodes have it"),
        ("nodes.each.stats.done", "unknown_node_field", "it has 'total'"),
        ("nodes.orders.branch", "unknown_node_field", "only 'switch' nodes have it"),
        ("nodes.each.instance", "unknown_node_field", "only 'flow' nodes have it"),
        ("nodes", "bare_nodes", "write nodes.<name>.output"),
        ("nodes.orders", "bare_nodes", "write nodes.orders.output"),
        ("nodes[inputs.day].output", "bare_nodes", "write nodes.<name>.output"),
        ("nodes.n.output", "own_reference", "cannot wait for itself"),
        ("inputs.dya", "unknown_input", "did you mean 'day'?"),
        ("vars.totl", "unknown_variable", "did you mean 'total_sum'?"),
        ("vars", "bare_vars", "write vars.<name>"),
        ("vars[inputs.day]", "bare_vars", "write vars.<name>"),
        ("vars.hidden", "unknown_variable", "belongs to the items of a map"),
        ("instance.nam", "unknown_member", "did you mean 'name'?"),
        ("task.zone", "unknown_member", "it has: 'path'"),
        ("result", "unknown_root", "nodes.<name>.output"),
        ("item", "unknown_root", "move the node into the map's 'do'"),
        ("index", "unknown_root", "move the node into the map's 'do'"),
        ("total", "unknown_root", "move the node into the map's 'do'"),
        ("secrets", "bare_secrets", "write secrets.<name>"),
        ("secrets[inputs.day]", "bare_secrets", "write secrets.<name>"),
        ("loop.index", "unknown_root", "move the node into the loop's 'do'"),
        ("error.message", "unknown_root", "nodes.<name>.error"),
        ("signal.x", "unknown_root", "nodes.<name>.output of the wait"),
        ("trigger.output", "unknown_root", '"needs": {"any"'),
        ("orders.output", "unknown_root", "write nodes.orders.output"),
        ("day", "unknown_root", "write inputs.day"),
        ("total_sum", "unknown_root", "write vars.total_sum"),
        ("input.day", "unknown_root", "did you mean 'inputs'?"),
        ("env.HOME", "unknown_root", "known: 'inputs'"),
    ],
)
@pytest.mark.row("X-02")
def test_references_that_nothing_answers(expression: str, code: str, hint: str | None) -> None:
    nodes = {
        "orders": RUN,
        "each": each(do={"nodes": {"writes": {"set": {"hidden": 1}}}}),
        "group": {"do": {"nodes": {"inner": RUN}}},
        "sum": {"set": {"total_sum": 1}},
        "n": run({"deep": [0, f"{{{{ {expression} }}}}"]}),
    }
    problem = only(nodes)
    assert (problem.pointer, problem.code) == ("/nodes/n/with/deep/1", code)
    assert (problem.hint is None) == (hint is None)
    assert hint is None or hint in (problem.hint or "")


@pytest.mark.parametrize(
    "expression",
    [
        "nodes.orders.output.rows[0].id",
        "nodes['orders']['state']",
        "nodes.orders.error.code",
        "nodes.orders.attempt ~ nodes.orders.path ~ nodes.orders.started_at ~ nodes.orders.ended_at",
        "nodes.each.stats",
        "nodes.each.stats.failed",
        "inputs",
        "inputs.day",
        "vars.total_sum.deep[0]",
        "instance",
        "instance.id ~ instance.key ~ instance.name ~ instance.version ~ instance.started_at",
        "instance.scheduled_for",
        "secrets.token",
        "task.path ~ task.attempt ~ task.idempotency_key",
    ],
)
def test_references_that_are_answered(expression: str) -> None:
    nodes = {
        "orders": RUN,
        "each": each(do=RUN),
        "sum": {"set": {"total_sum": 1}},
        "n": run(f"{{{{ {expression} }}}}"),
    }
    assert problems_of(nodes) == []


def test_a_reference_to_the_own_container_is_refused() -> None:
    nodes = {
        "g": {"do": {"nodes": {"a": run("{{ nodes.g.output }}")}, "output": "{{ nodes.g.state }}"}},
        "m": each(do=run("{{ nodes.m.stats.failed }}")),
    }
    assert codes(nodes) == [
        ("/nodes/g/do/nodes/a/with", "own_container"),
        ("/nodes/g/do/output", "own_container"),
        ("/nodes/m/do/with", "own_container"),
    ]


def test_names_resolve_to_the_nearest_scope_and_siblings_of_containers_are_visible() -> None:
    inner = {"nodes": {"x": RUN, "y": run("{{ nodes.x.output }} {{ nodes.outer.output }}")}}
    assert problems_of({"outer": RUN, "g": {"do": inner}, "h": {"do": {"nodes": {"x": RUN}}}}) == []


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("item", "unknown_root"),
        ("order", None),
        ("number", None),
        ("index", "unknown_root"),
        ("total", None),
        ("inner", "unknown_root"),
    ],
)
def test_inside_a_map_its_own_names_count(expression: str, found: str | None) -> None:
    body = {
        "nodes": {"a": run(f"{{{{ {expression} }}}}"), "deep": each(source=[1], **{"as": "inner"}, do=RUN)}
    }
    nodes = {"m": each(**{"as": "order"}, index="number", do=body)}
    assert [code for _, code in codes(nodes)] == ([found] if found else [])


def test_inside_nested_maps_the_outer_names_stay_visible() -> None:
    inner = each(source="{{ order.lines }}", do=run("{{ order.id }} {{ item }} {{ index }} {{ total }}"))
    assert problems_of({"m": each(**{"as": "order"}, do=inner)}) == []


def test_a_map_does_not_see_its_own_items() -> None:
    node = each(source=[1], concurrency="{{ total }}", when="{{ item > 1 }}", do=RUN)
    assert [code for _, code in codes({"m": node})] == ["unknown_root", "unknown_root"]


def test_outputs() -> None:
    nodes = {
        "a": run(output={"x": "{{ result.x }} {{ task.path }}"}),
        "b": run(output="{{ nodes.b.output }}"),
        "g": {"do": {"nodes": {"c": RUN}, "output": "{{ nodes.c.output }} {{ nodes.a.output }}"}},
    }
    assert codes(nodes, output="{{ result }} {{ task.path }} {{ nodes.c.output }} {{ nodes.a.output }}") == [
        ("/nodes/b/output", "own_reference"),
        ("/output", "unknown_root"),
        ("/output", "unknown_root"),
        ("/output", "invisible_node"),
    ]


@pytest.mark.parametrize(
    ("inputs", "expression", "fine"),
    [
        (None, "inputs.x", False),
        (None, "inputs", True),
        ({}, "inputs.x", False),
        ({"properties": {"x": {}}}, "inputs.x.deep", True),
        ({"properties": {"x": {}}, "additionalProperties": False}, "inputs.y", False),
        ({"additionalProperties": True}, "inputs.y", True),
        ({"additionalProperties": {"type": "string"}}, "inputs.y", True),
        ({"patternProperties": {"^y": {}}}, "inputs.y", True),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"properties": {"x": {}}}}}, "inputs.x", True),
        ({"if": {"required": ["x"]}, "then": {"properties": {"y": {}}}}, "inputs.y", True),
    ],
)
def test_inputs_are_what_the_schema_declares(inputs: Any, expression: str, *, fine: bool) -> None:
    source: dict[str, Any] = {"dsl": "1", "name": "t", "nodes": {"n": run(f"{{{{ {expression} }}}}")}}
    if inputs is not None:
        source["inputs"] = inputs
    found = [problem.code for problem in validate(parse_definition(source))]
    assert found == ([] if fine else ["unknown_input"])


# --- expressions


@pytest.mark.parametrize(
    ("node", "pointer"),
    [
        (run({"a": ["{{ 1 + }}"]}), "/nodes/n/with/a/0"),
        (run("{{ inputs.day"), "/nodes/n/with"),
        (run({"{{ key }}": 1}), "/nodes/n/with/{{ key }}"),
        (run(when="{{ inputs.day = 1 }}"), "/nodes/n/when"),
        ({"set": {"x": "{{ inputs.day | nosuch }}"}}, "/nodes/n/set/x"),
        ({"wait": {"for": "{{ }}"}}, "/nodes/n/wait/for"),
        (each(source="{{ [ }}", do=RUN), "/nodes/n/map"),
        (each(concurrency="{{ % }}", do=RUN), "/nodes/n/concurrency"),
        (run(output="{{ result.items() }}"), "/nodes/n/output"),
    ],
)
@pytest.mark.row("X-02")
def test_bad_expressions_are_found_in_every_field(node: dict[str, Any], pointer: str) -> None:
    problem = only({"n": node})
    assert (problem.pointer, problem.code) == (pointer, "expression")
    assert "position" in problem.message or "key" in problem.message


@pytest.mark.parametrize(
    ("node", "field"),
    [
        (run(when="{{ inputs.day }} and {{ inputs.rows }}"), "when"),
        (each(source="rows: {{ inputs.rows }}", do=RUN), "map"),
        (each(concurrency=" {{ 3 }}", do=RUN), "concurrency"),
    ],
)
def test_text_beside_an_expression_cannot_be_a_condition_a_list_or_a_number(
    node: dict[str, Any], field: str
) -> None:
    assert codes({"n": node}) == [(f"/nodes/n/{field}", "bad_value")]


@pytest.mark.parametrize(
    "text", ["{{ '}} and {{' == inputs.day }}", "{{ {'a': {'b': 1}} == 1 }}", "{{ \"a\" == 'b' }}"]
)
def test_one_whole_expression_may_look_odd(text: str) -> None:
    assert problems_of({"n": run(when=text)}) == []


def test_expressions_in_the_inputs_schema_are_refused() -> None:
    inputs = {"properties": {"x": {"default": "{{ inputs.y }}"}}}
    assert codes({"n": RUN}, inputs=inputs) == [("/inputs/properties/x/default", "expression_not_allowed")]


# --- other rules


def test_set_needs_variables_and_siblings() -> None:
    assert codes({"a": {"set": {}}, "m": each(do={"set": {"x": "{{ item }}"}})}) == [
        ("/nodes/a/set", "bad_value"),
        ("/nodes/m/do", "not_supported"),
    ]


def test_a_bound_that_cuts_the_first_pause_is_refused() -> None:
    retry = {"delay": "1h", "max_delay": "1m"}
    assert codes({"a": run(retry=retry)}, defaults={"retry": retry}) == [
        ("/defaults/retry/max_delay", "bad_value"),
        ("/nodes/a/retry/max_delay", "bad_value"),
    ]
    assert codes({"a": run(retry={"delay": "1h"})}, defaults={"retry": {"max_delay": "1m"}}) == [
        ("/nodes/a/retry/delay", "bad_value")
    ]
    assert codes({"a": run(retry={"delay": "3d"}), "b": run(retry={"max_delay": "1ms"})}) == []


# --- executors


class Catalog:
    """Two executors; `a.strict` wants an object with a text `url` and a list `tags`, and nothing else."""

    def has(self, name: str) -> bool:
        return name in self.names()

    def names(self) -> Sequence[str]:
        return ("a.free", "a.strict")

    def config_problems(self, name: str, config: Any) -> Iterable[tuple[str, str]]:
        if name == "a.free":
            return
        if not isinstance(config, dict):
            yield "", "must be an object"
            return
        if "url" not in config:
            yield "/url", "is required"
        elif not str(config["url"]).startswith("http"):
            yield "/url", "is no URL"
        for index, tag in enumerate(config.get("tags", [])):
            if not isinstance(tag, int):
                yield f"/tags/{index}", "must be a number"


def executor_problems(node: dict[str, Any]) -> list[tuple[str, str]]:
    definition = parse_definition({"dsl": "1", "name": "t", "inputs": INPUTS, "nodes": {"n": node}})
    return [(problem.pointer, problem.code) for problem in validate(definition, Catalog())]


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ({"run": "a.free"}, []),
        ({"run": "a.strict"}, [("/nodes/n/with/url", "bad_config")]),
        ({"run": "a.strict", "with": {"url": "ftp"}}, [("/nodes/n/with/url", "bad_config")]),
        ({"run": "a.strict", "with": {"url": "http://x"}}, []),
        ({"run": "a.strict", "with": {"url": "{{ inputs.day }}"}}, []),
        ({"run": "a.strict", "with": {"tags": [1, "x", "{{ inputs.day }}"]}}, [
            ("/nodes/n/with/tags/1", "bad_config"),
            ("/nodes/n/with/url", "bad_config"),
        ]),
        ({"run": "a.strict", "with": []}, [("/nodes/n/with", "bad_config")]),
        ({"run": "a.strict", "with": "{{ inputs }}"}, []),
        ({"run": "a.strct"}, [("/nodes/n/run", "unknown_executor")]),
        ({"map": [1], "do": {"run": "b.x"}}, [("/nodes/n/do/run", "unknown_executor")]),
    ],
)  # fmt: skip
@pytest.mark.row("X-02")
def test_executors_and_their_configs_are_checked(node: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert executor_problems(node) == found


def test_an_unknown_executor_is_a_warning_where_nothing_runs() -> None:
    source = {"dsl": "1", "name": "t", "nodes": {"n": {"run": "a.strct"}}}
    _, plan, (warning,) = compile_definition(source, registry=Catalog(), executor_severity="warning")
    assert (warning.severity, warning.code) == ("warning", "unknown_executor")
    assert "did you mean 'a.strict'" in (warning.hint or "")
    assert plan.executors == {"a.strct"}
    with pytest.raises(DefinitionError):
        compile_definition(source, registry=Catalog())


def test_an_executor_unlike_any_other_comes_with_the_way_to_bring_it() -> None:
    definition = parse_definition({"dsl": "1", "name": "t", "nodes": {"n": {"run": "mine.zzz"}}})
    (problem,) = validate(definition, Catalog())
    assert problem.hint == "register it, or name its module with --import; known: 'a.free', 'a.strict'"


def test_without_a_registry_executors_are_not_looked_at() -> None:
    assert problems_of({"n": {"run": "no.such"}}) == []


def test_a_definition_that_does_not_validate_gives_no_plan() -> None:
    definition = parse_definition(
        {"dsl": "1", "name": "t", "nodes": {"a": run(needs=["b"]), "b": run(needs=["a"])}}
    )
    with pytest.raises(DefinitionError, match="a → b → a"):
        build_plan(definition, definition_id="", version=1)
