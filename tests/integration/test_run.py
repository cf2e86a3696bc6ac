"""Whole workflows on the real engine: order, parallelism, outputs, groups, skips, handled failures."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow import WorkflowFailed
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Flow, until


def echo(value: Any, **fields: Any) -> dict[str, Any]:
    return {"run": "t.echo", "with": value, **fields}


FAIL = {"run": "t.fail", "with": {}}


@pytest.mark.row("X-09", "X-10", "A-08", "A-09")
def test_a_diamond_runs_in_order_and_hands_values_on(flow: Flow) -> None:
    status = flow.run(
        {
            "d": echo({"l": "{{ nodes.b.output.n }}", "r": "{{ nodes.c.output }}"}),
            "b": echo({"n": "{{ nodes.a.output.n + 1 }}"}),
            "c": echo("{{ nodes.a.output.list }}"),
            "a": echo({"n": "{{ inputs.n }}", "list": [1, {"x": None}]}),
        },
        {"n": 41},
        output="{{ nodes.d.output }}",
    )
    assert (status.state, status.output) == (InstanceState.COMPLETED, {"l": 42, "r": [1, {"x": None}]})
    paths = flow.probe.paths()
    assert paths[0] == "a"
    assert paths[-1] == "d"
    assert sorted(paths) == ["a", "b", "c", "d"]


@pytest.mark.row("X-01")
def test_a_long_chain_runs_in_topological_order_whatever_the_documents(flow: Flow) -> None:
    nodes = {f"n{i}": echo(f"{{{{ nodes.n{i - 1}.output + 1 }}}}" if i else 0) for i in reversed(range(30))}
    status = flow.run(nodes, output="{{ nodes.n29.output }}")
    assert status.output == 29
    assert flow.probe.paths() == [f"n{i}" for i in range(30)]


@pytest.mark.row("X-09")
def test_independent_nodes_are_inside_at_the_same_time(flow: Flow) -> None:
    nodes = {name: {"run": "t.meet", "with": {"parties": 4}} for name in "abcd"}
    status = flow.run(nodes | {"last": echo("{{ nodes.a.output }}", needs=list("bcd"))})
    assert status.output == {"last": "met"}
    assert flow.probe.paths()[-1] == "last"


@pytest.mark.row("X-10")
def test_an_output_is_stored_with_the_task_and_read_by_later_nodes(flow: Flow) -> None:
    big = "x" * 100_000
    instance = flow.start(
        {"a": echo({"big": "{{ inputs.big }}"}), "b": echo("{{ nodes.a.output.big | length }}")}, {"big": big}
    )
    assert flow.wait(instance).output == {"b": 100_000}
    rows = flow.tasks(instance)
    assert rows["b"].output == "100000"
    assert rows["a"].output is None
    assert rows["a"].output_ref is not None


def test_without_an_output_the_last_nodes_values_are_given(flow: Flow) -> None:
    status = flow.run({"a": echo(1), "b": echo(2, needs=["a"]), "c": echo(3, needs=["a"])})
    assert status.output == {"b": 2, "c": 3}


def test_a_nodes_output_reshapes_its_result(flow: Flow) -> None:
    status = flow.run({"a": echo({"rows": [1, 2, 3]}, output="{{ {'n': result.rows | length} }}")})
    assert status.output == {"a": {"n": 3}}


def test_groups_nest_and_their_outputs_come_out(flow: Flow) -> None:
    inner = {"nodes": {"x": echo("{{ inputs.n }}")}, "output": "{{ nodes.x.output + 1 }}"}
    outer = {"nodes": {"g": {"do": inner}, "y": echo("{{ nodes.g.output + 1 }}")}}
    status = flow.run(
        {"o": {"do": outer, "output": "{{ result.y + 1 }}"}, "z": echo("{{ nodes.o.output }}")}, {"n": 1}
    )
    assert status.output == {"z": 4}


@pytest.mark.row("A-11")
def test_when_runs_skips_and_fails(flow: Flow) -> None:
    nodes = {
        "yes": echo(1, when="{{ inputs.n > 0 }}"),
        "no": echo(2, when="{{ inputs.n < 0 }}"),
        "after": echo(3, needs=["no"]),
        "either": echo("{{ nodes.no.output }}", needs=[{"node": "no", "on": ["completed", "skipped"]}]),
    }
    instance = flow.start(nodes, {"n": 1})
    assert flow.wait(instance).output == {"yes": 1, "after": None, "either": None}
    states = flow.states(instance)
    assert [states[name] for name in nodes] == ["completed", "skipped", "skipped", "completed"]
    status = flow.run({"bad": echo(1, when="{{ inputs.n.x > 1 }}")}, {"n": {}})
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "expression")


def test_a_skipped_group_and_map_run_nothing_inside(flow: Flow) -> None:
    off = {"when": "{{ inputs.on }}"}
    nodes = {"g": {"do": {"nodes": {"a": echo(1)}}, **off}, "m": {"map": [1, 2], "do": echo(1), **off}}
    instance = flow.start(nodes, {"on": False})
    assert flow.wait(instance).output == {"g": None, "m": None}
    assert flow.states(instance) == {"": "completed", "g": "skipped", "m": "skipped"}


def test_a_failure_is_handled_by_a_node_that_needs_it(flow: Flow) -> None:
    nodes = {
        "a": FAIL,
        "rescue": echo("{{ nodes.a.error.code }}", needs=[{"node": "a", "on": ["failed"]}]),
        "never": echo(1, needs=["a"]),
    }
    instance = flow.start(nodes)
    assert flow.wait(instance).output == {"rescue": "t.Broken", "never": None}
    assert flow.states(instance)["never"] == "skipped"


@pytest.mark.row("A-17")
def test_an_unhandled_failure_fails_the_instance_with_the_tasks_error(flow: Flow) -> None:
    instance = flow.start({"a": FAIL, "b": echo(1, needs=["a"]), "w": {"wait": {"for": "1h"}}})
    status = flow.wait(instance)
    assert status.state is InstanceState.FAILED
    assert (status.error["code"], status.error["path"], status.error["attempt"]) == ("t.Broken", "a", 1)
    assert status.output is None
    assert flow.states(instance) == {"": "failed", "a": "failed", "w": "cancelled"}
    with pytest.raises(WorkflowFailed) as caught:
        flow.engine.run(flow.document({"a": FAIL}))
    flow.started.append(caught.value.status.id)
    assert caught.value.status.error["code"] == "t.Broken"


@pytest.mark.row("X-06", "X-07")
def test_the_journal_holds_each_transition_once_in_order(flow: Flow) -> None:
    instance = flow.start({"a": echo(1), "b": echo("{{ nodes.a.output }}")})
    flow.wait(instance)
    rows = flow.engine.state_manager.get_state_history(instance)
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})
    assert flow.moves(instance, None) == ["pending", "running", "completed"]
    assert flow.moves(instance, "a")[-2:] == ["running", "completed"]
    assert all(row.reason and row.at and row.engine == flow.engine.parts.engine_id for row in rows)
    page = flow.engine.state_manager.get_state_history(instance, limit=3)
    rest = flow.engine.state_manager.get_state_history(instance, after=page[-1].seq)
    assert [*page, *rest] == rows


@pytest.mark.row("X-31")
def test_the_context_rebuilt_from_the_database_is_the_one_the_nodes_saw(flow: Flow) -> None:
    nodes = {
        "a": echo({"n": "{{ inputs.n }}"}),
        "v": {"set": {"doubled": "{{ nodes.a.output.n * 2 }}"}},
        "hold": {
            "run": "t.gate",
            "with": {"gate": "g", "saw": ["{{ vars.doubled }}", "{{ nodes.a.output }}"]},
        },
    }
    instance = flow.start(nodes, {"n": 4})
    until(lambda: flow.state(instance, "hold") == "running")
    before = flow.engine.recovery.rebuild_context(instance)
    flow.shut()
    after = flow.engine.recovery.rebuild_context(instance)
    for context in (before, after):
        assert (context["inputs"], context["vars"]) == ({"n": 4}, {"doubled": 8})
        assert context["nodes"]["a"]["output"] == {"n": 4}
    assert before["nodes"]["a"] == after["nodes"]["a"]
    flow.probe.gate("g").set()
    assert flow.wait(instance).state is InstanceState.COMPLETED
    assert flow.probe.calls[-1][2]["saw"] == [8, {"n": 4}]
