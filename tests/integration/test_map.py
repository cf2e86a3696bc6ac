"""Maps on the real engine: sizes, order, nesting, concurrency, joins, and what becomes of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow, until


def echo(value: Any, **fields: Any) -> Doc:
    return {"run": "t.echo", "with": value, **fields}


NOOP = {"run": "core.noop", "with": "{{ item }}"}
#: Fails for the items above 1, at once and for good.
PICKY = {"run": "t.fail", "with": {"times": "{{ 9 if item > 1 else 0 }}", "retryable": False}}


@pytest.mark.row("X-12")
@pytest.mark.parametrize("count", [0, 1, 3, 1_000, 2_500])
def test_a_map_of_any_size_gives_its_outputs_in_order(flow: Flow, count: int) -> None:
    instance = flow.start(
        {"m": {"map": "{{ inputs.items }}", "do": NOOP}},
        {"items": list(range(count))},
        output="{{ nodes.m.output }}",
    )
    status = flow.wait(instance)
    assert (status.state, status.output) == (InstanceState.COMPLETED, list(range(count)))
    rows = flow.tasks(instance)
    assert len(rows) == count + 2
    assert (rows["m"].total, rows["m"].done) == (count, count)


@pytest.mark.row("X-12")
def test_the_list_is_committed_before_any_item_runs(flow: Flow) -> None:
    instance = flow.start({"m": {"map": ["x", "y"], "do": echo("{{ item }}")}})
    flow.wait(instance)
    moves = [(row.path, row.to_state, row.reason) for row in flow.history(instance)]
    listed = moves.index(("m", "waiting", "2 items"))
    assert all(moves.index(move) > listed for move in moves if str(move[0]).startswith("m["))


def test_items_with_nodes_and_output_see_item_index_and_total(flow: Flow) -> None:
    body = {
        "nodes": {"a": echo("{{ thing.n }}"), "b": echo("{{ nodes.a.output * 10 + at }}")},
        "output": {"b": "{{ nodes.b.output }}", "of": "{{ total }}"},
    }
    things = [{"n": 1}, {"n": 2}]
    status = flow.run(
        {"m": {"map": "{{ inputs.l }}", "as": "thing", "index": "at", "do": body}}, {"l": things}
    )
    assert status.output == {"m": [{"b": 10, "of": 2}, {"b": 21, "of": 2}]}


def test_maps_nest_and_see_the_outer_item(flow: Flow) -> None:
    inner = {"map": "{{ row }}", "as": "cell", "index": "y", "do": echo(["{{ x }}", "{{ y }}", "{{ cell }}"])}
    grid = [[1, 2], [], [3]]
    status = flow.run({"m": {"map": "{{ inputs.g }}", "as": "row", "index": "x", "do": inner}}, {"g": grid})
    assert status.output == {"m": [[[0, 0, 1], [0, 1, 2]], [], [[2, 0, 3]]]}


def test_an_object_is_mapped_as_keys_and_values(flow: Flow) -> None:
    status = flow.run({"m": {"map": "{{ inputs.o }}", "do": echo("{{ item }}")}}, {"o": {"b": 1, "a": None}})
    assert status.output == {"m": [{"key": "b", "value": 1}, {"key": "a", "value": None}]}


@pytest.mark.parametrize(("value", "found"), [(None, "null"), ("text", "str"), (5, "int"), (True, "bool")])
def test_what_is_no_list_is_refused_with_its_name(flow: Flow, value: Any, found: str) -> None:
    status = flow.run({"m": {"map": "{{ inputs.v }}", "do": NOOP}}, {"v": value})
    assert status.state is InstanceState.FAILED
    assert status.error["code"] == "expression"
    assert f"not {found};" in status.error["message"]


def test_one_maps_list_feeds_another(flow: Flow) -> None:
    nodes = {
        "a": {"map": "{{ inputs.l }}", "do": echo("{{ item + 1 }}")},
        "b": {"map": "{{ nodes.a.output }}", "do": echo("{{ item * 2 }}")},
    }
    assert flow.run(nodes, {"l": [1, 2, 3]}).output == {"b": [4, 6, 8]}


@pytest.mark.row("A-07")
@pytest.mark.parametrize("width", [1, 3, "{{ inputs.w }}"])
def test_concurrency_is_never_exceeded_and_is_used(flow: Flow, width: Any) -> None:
    body = {"run": "t.measure", "with": {"give": "{{ item }}"}}
    nodes = {"m": {"map": "{{ inputs.l }}", "concurrency": width, "do": body}}
    status = flow.run(nodes, {"l": list(range(30)), "w": 4})
    assert status.output == {"m": list(range(30))}
    assert flow.probe.most["here"] == (4 if isinstance(width, str) else width)


@pytest.mark.parametrize("width", [0, -1, 1.5, "two", None, True])
def test_a_concurrency_that_is_no_positive_number_fails_clearly(flow: Flow, width: Any) -> None:
    nodes = {"m": {"map": [1], "concurrency": "{{ inputs.w }}", "do": NOOP}}
    status = flow.run(nodes, {"w": width})
    if width is None:
        assert status.state in {InstanceState.COMPLETED, InstanceState.FAILED}
    else:
        assert "concurrency must be a whole number" in status.error["message"]


def test_a_concurrency_beyond_every_column_is_no_limit(flow: Flow) -> None:
    nodes = {"m": {"map": [1, 2], "concurrency": "{{ inputs.w }}", "do": NOOP}}
    assert flow.run(nodes, {"w": 5_000_000_000}).output == {"m": [1, 2]}


@pytest.mark.parametrize(
    ("join", "state"),
    [
        ("all", "failed"),
        ({"need": "all", "tolerate": 2}, "completed"),
        ({"need": "all", "tolerate": "40%"}, "failed"),
        ({"need": "all", "tolerate": "50%"}, "completed"),
        ("any", "completed"),
        (2, "completed"),
        (3, "failed"),
        ("50%", "completed"),
        ("75%", "failed"),
    ],
)
def test_joins_are_met_or_fail_with_the_counts(flow: Flow, join: Any, state: str) -> None:
    instance = flow.start({"m": {"map": [0, 1, 2, 3], "do": PICKY, "join": join}})
    status = flow.wait(instance)
    assert flow.state(instance, "m") == state
    if state == "failed":
        assert status.error["code"] == "join"
        assert "of 4 items failed" in status.error["message"]
        assert status.error["cause"]["code"] == "t.Broken"
    elif join == {"need": "all", "tolerate": 2}:
        assert status.output == {"m": [1, 1, None, None]}


def test_failed_and_skipped_items_are_null_and_are_counted(flow: Flow) -> None:
    body = PICKY | {"when": "{{ item > 0 }}"}
    nodes = {
        "m": {"map": [0, 1, 2], "do": body, "join": {"tolerate": 1}},
        "n": echo(["{{ nodes.m.output }}", "{{ nodes.m.stats }}"]),
    }
    expected = {"total": 3, "completed": 1, "failed": 1, "skipped": 1, "cancelled": 0}
    assert flow.run(nodes).output == {"n": [[None, 1, None], expected]}


@pytest.mark.parametrize("executor", ["t.gate", "t.block"])
def test_rest_cancel_reaches_running_executors(flow: Flow, executor: str) -> None:
    gate = "{{ 'open' if item == 0 else 'shut' }}"
    flow.probe.gate("open").set()
    body = {"run": executor, "with": {"gate": gate, "give": "{{ item }}"}}
    instance = flow.start({"m": {"map": [1, 2, 0], "do": body, "join": "any"}})
    status = flow.wait(instance)
    assert status.output == {"m": [None, None, 0]}
    until(lambda: len(flow.probe.cancelled) == len([c for c in flow.probe.calls if c[0] != "m[2]"]))
    assert set(flow.states(instance).values()) <= {"completed", "cancelled"}


def test_rest_keep_lets_the_others_end_before_the_instance_does(flow: Flow) -> None:
    flow.probe.gate("open").set()
    body = {"run": "t.gate", "with": {"gate": "{{ 'open' if item == 0 else 'shut' }}", "give": "{{ item }}"}}
    nodes = {
        "m": {"map": [1, 0, 2], "do": body, "join": {"need": "any", "rest": "keep"}},
        "n": echo("{{ nodes.m.output }}"),
    }
    instance = flow.start(nodes)
    until(lambda: flow.state(instance, "n") == "completed")
    until(lambda: len(flow.probe.paths()) == 4)
    assert flow.state(instance, "") == "waiting"
    flow.probe.gate("shut").set()
    assert flow.wait(instance).output == {"n": [None, 0, None]}
    assert flow.states(instance)["m[0]"] == "completed"
    assert flow.probe.cancelled == []


def test_a_maps_output_reshapes_its_list(flow: Flow) -> None:
    nodes = {"m": {"map": [3, 1, 2], "do": echo("{{ item }}"), "output": "{{ result | sort }}"}}
    assert flow.run(nodes).output == {"m": [1, 2, 3]}


def test_a_failing_item_names_its_path(flow: Flow) -> None:
    fails = {"run": "t.fail", "with": {"times": "{{ y }}", "retryable": False}}
    inner: Doc = {"map": [0, 5], "as": "y", "index": "iy", "do": {"nodes": {"a": fails}}}
    instance = flow.start({"m": {"map": [1], "as": "x", "index": "ix", "do": inner}})
    error = flow.wait(instance).error
    while error["cause"]:
        error = error["cause"]
    assert (error["path"], error["node"]) == ("m[0][1].a", "a")
    assert json.loads(flow.tasks(instance)["m[0][1].a"].error or "")["code"] == "t.Broken"
