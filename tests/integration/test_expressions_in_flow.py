"""Expressions where they matter: types kept from node to node, errors that name the path, variables in order."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow import DefinitionError
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow

VALUES = [
    None,
    True,
    0,
    -7,
    2**70,
    1.5,
    1e300,
    "",
    "text",
    "ünï\u2028",
    [],
    [1, [None]],
    {},
    {"a": {"b": []}},
]


def echo(value: Any, **fields: Any) -> Doc:
    return {"run": "t.echo", "with": value, **fields}


@pytest.mark.row("X-19", "A-09")
def test_every_json_value_keeps_its_type_through_inputs_nodes_vars_and_items(flow: Flow) -> None:
    nodes = {
        "a": echo({"v": "{{ inputs.v }}"}),
        "s": {"set": {"kept": "{{ nodes.a.output.v }}"}},
        "m": {"map": "{{ vars.kept }}", "do": echo("{{ item }}")},
        "t": echo("{{ nodes.m.output }}"),
    }
    status = flow.run(nodes, {"v": VALUES}, output="{{ nodes.t.output }}")
    assert status.output == VALUES
    assert [type(value) for value in status.output] == [type(value) for value in VALUES]


@pytest.mark.row("X-19")
def test_text_around_an_expression_makes_text(flow: Flow) -> None:
    status = flow.run(
        {
            "a": echo(
                [
                    "n={{ inputs.n }}",
                    "{{ inputs.n }}",
                    "{{ inputs.l }}!",
                    "{{ '{{' }}",
                    "{% if %}",
                ]
            )
        },
        {"n": 3, "l": [1, None]},
    )
    assert status.output == {"a": ["n=3", 3, "[1,null]!", "{{", "{% if %}"]}


@pytest.mark.row("A-10", "X-19")
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("{{ inputs.x.missing }}", "missing"),
        ("{{ inputs.x.missing.deeper }}", "missing"),
        ("text {{ nodes.a.output.gone }}", "nodes.a.output"),
        ("{{ inputs.x.list[7] }}", "inputs.x.list"),
    ],
)
def test_what_is_undefined_fails_the_node_with_the_path_named(flow: Flow, value: str, named: str) -> None:
    instance = flow.start({"a": echo({}), "b": echo(value, needs=["a"])}, {"x": {"list": []}})
    status = flow.wait(instance)
    assert status.state is InstanceState.FAILED
    assert (status.error["code"], status.error["path"]) == ("expression", "b")
    assert named in status.error["message"]
    assert "b" not in flow.probe.paths()


@pytest.mark.row("A-11")
@pytest.mark.parametrize("value", [None, 0, 1, "", "true", [], {}])
def test_a_when_that_is_not_true_or_false_fails_the_node(flow: Flow, value: Any) -> None:
    status = flow.run({"a": echo(1, when="{{ inputs.v }}")}, {"v": value})
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "expression")
    assert flow.probe.calls == []


@pytest.mark.row("X-19")
def test_variables_are_read_as_the_order_of_the_graph_says(flow: Flow) -> None:
    nodes = {
        "one": {"set": {"n": 1, "l": ["{{ inputs.x }}"]}},
        "two": {"set": {"n": "{{ vars.n + 1 }}"}, "needs": ["one"]},
        "three": echo(["{{ vars.n }}", "{{ vars.l }}"], needs=["two"]),
    }
    assert flow.run(nodes, {"x": None}).output == {"three": [2, [None]]}


def test_variables_of_map_items_are_their_own(flow: Flow) -> None:
    body = {
        "nodes": {"s": {"set": {"v": "{{ item * 2 }}"}}, "e": echo("{{ vars.v }}")},
        "output": "{{ nodes.e.output }}",
    }
    assert flow.run({"m": {"map": [1, 2, 3], "do": body}}).output == {"m": [2, 4, 6]}


def test_unordered_writers_of_a_variable_are_refused(flow: Flow) -> None:
    with pytest.raises(DefinitionError) as caught:
        flow.run({"a": {"set": {"v": 1}}, "b": {"set": {"v": 2}}})
    assert "unordered_var" in {problem.code for problem in caught.value.problems}


@pytest.mark.row("X-19")
@pytest.mark.parametrize(
    "value",
    [
        "{{ nodes }}",
        "{{ nodes[inputs.x] }}",
        "{{ inputs.__class__() }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ range(5) }}",
        "{{ inputs.x",
        "{{ nowhere.x }}",
    ],
)
def test_what_the_language_does_not_have_is_refused_before_it_runs(flow: Flow, value: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        flow.run({"a": echo(value)}, {"x": 1})
    assert {problem.pointer for problem in caught.value.problems} == {"/nodes/a/with"}


@pytest.mark.row("X-19")
@pytest.mark.parametrize("value", ["{{ ''.__class__.__mro__ }}", "{{ 'a' * 10 }}", "{{ inputs.x + 'a' }}"])
def test_what_only_shows_when_it_is_evaluated_fails_the_node(flow: Flow, value: str) -> None:
    status = flow.run({"a": echo(value)}, {"x": 1})
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "expression")


@pytest.mark.row("X-19")
def test_instance_and_task_describe_the_run(flow: Flow) -> None:
    value = [
        "{{ instance.id }}",
        "{{ instance.name }}",
        "{{ instance.version }}",
        "{{ task.path }}",
        "{{ task.attempt }}",
    ]
    instance = flow.start({"a": echo(value), "b": echo("{{ task.idempotency_key }}")})
    assert flow.wait(instance).output == {"a": [instance, "flow", 1, "a", 1], "b": f"{instance}/b"}


def test_a_scopes_output_that_fails_fails_the_scope(flow: Flow) -> None:
    status = flow.run({"a": echo({})}, output="{{ nodes.a.output.gone }}")
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "expression")
    assert "gone" in status.error["message"]


def test_a_value_larger_than_a_row_passes_between_nodes(flow: Flow) -> None:
    body = {"run": "t.echo", "with": "{{ inputs.big }}"}
    status = flow.run(
        {"a": body, "b": echo("{{ nodes.a.output[-1] }}")}, {"big": ["y" * 1000] * 3000 + ["end"]}
    )
    assert status.output == {"b": "end"}
