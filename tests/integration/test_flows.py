"""Runs that start runs, waits for what comes from outside, and restarts in between; on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from strataflow import WorkflowEngine
from strataflow.engine.errors import Conflict
from strataflow.repositories import views
from strataflow.repositories.filters import InstanceFilter
from tests.integration.kit import Doc, Flow, until

NUMBER: Doc = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def echo(value: Any, **more: Any) -> Doc:
    return {"run": "t.echo", "with": value, **more}


def child(flow: Flow, name: str, nodes: Doc, *, activate: bool = True, **top: Any) -> int:
    document = {"dsl": "1", "name": name, "nodes": nodes, **top}
    return flow.engine.register(document, activate=activate).version


def children(flow: Flow, parent_id: str) -> list[Any]:
    with flow.database.read() as connection:
        return views.instances(connection, where=InstanceFilter(parent_id=parent_id))


def signal(flow: Flow, instance_id: str, name: str, payload: Any = None, **more: Any) -> str:
    return asyncio.run(flow.engine.signal_workflow(instance_id, name, payload, **more)).status


# --- flows


@pytest.mark.row("X-17", "A-23", "X-37")
def test_a_flow_maps_inputs_and_output_and_takes_the_active_version_or_a_pinned_one(flow: Flow) -> None:
    for factor in (2, 3):
        child(
            flow,
            "times",
            {"a": echo(f"{{{{ inputs.n * {factor} }}}}")},
            inputs=NUMBER,
            output={"out": "{{ nodes.a.output }}"},
        )
    nodes: Doc = {
        "active": {"flow": "times", "with": {"n": 5}, "output": "{{ result.out }}"},
        "pinned": {"flow": "times@1", "with": {"n": 5}, "output": "{{ result.out }}"},
        "many": {"map": [1, 2], "do": {"flow": "times", "with": {"n": "{{ item }}"}}},
    }
    instance_id = flow.start(nodes)
    assert flow.wait(instance_id).output == {"active": 15, "pinned": 10, "many": [{"out": 3}, {"out": 6}]}
    found = children(flow, instance_id)
    assert sorted(each.version for each in found) == [1, 2, 2, 2]
    assert {each.parent_path for each in found} == {"active", "pinned", "many[0]", "many[1]"}


@pytest.mark.row("X-17")
def test_a_childs_failure_rises_and_a_retry_makes_a_new_child(flow: Flow) -> None:
    child(flow, "bad", {"a": {"run": "t.fail", "with": {}}})
    plain = flow.run({"f": {"flow": "bad"}})
    assert plain.error is not None
    assert (plain.state, plain.error["code"], plain.error["cause"]["code"]) == ("failed", "flow", "t.Broken")
    handled = flow.start(
        {
            "f": {
                "flow": "bad",
                "retry": {"max": 2, "delay": "1ms"},
                "on_error": [{"on": ["flow"], "output": "{{ error.attempt }}"}],
            }
        }
    )
    assert flow.wait(handled).output == {"f": 3}
    assert len(children(flow, handled)) == 3
    assert flow.run({"f": {"flow": "nobody"}}).state == "failed"
    child(flow, "picky", {"a": echo("{{ inputs.n }}")}, inputs=NUMBER)
    refused = flow.run({"f": {"flow": "picky", "with": {"n": "text"}}})
    assert refused.error is not None
    assert (refused.error["code"], refused.error["details"][0]["pointer"]) == ("flow", "/n")


@pytest.mark.row("X-17", "X-33")
def test_cancel_goes_down_and_the_parent_ends_after_its_child(flow: Flow) -> None:
    child(flow, "inner", {"g": {"run": "t.gate", "with": {"gate": "never"}}})
    child(flow, "middle", {"f": {"flow": "inner"}})
    instance_id = flow.start({"f": {"flow": "middle"}})
    until(lambda: flow.probe.paths() == ["g"])
    flow.cancel(instance_id)
    assert flow.wait(instance_id).state == "cancelled"
    middle = children(flow, instance_id)[0]
    inner = children(flow, middle.id)[0]
    assert (middle.state, inner.state, flow.probe.cancelled) == ("cancelled", "cancelled", ["g"])


def test_a_detached_flow_is_not_waited_for(flow: Flow) -> None:
    child(flow, "later", {"g": {"run": "t.gate", "with": {"gate": "open", "give": 1}}})
    instance_id = flow.start({"f": {"flow": "later", "detach": True}})
    output = flow.wait(instance_id).output
    assert isinstance(output, dict)
    flow.probe.gate("open").set()
    assert flow.wait(output["f"]["instance"]).output == {"g": 1}


def test_flows_inside_themselves_end(flow: Flow) -> None:
    child(flow, "again", {"f": {"flow": "again"}})
    status = flow.run({"f": {"flow": "again"}})
    error: Any = status.error
    while error["cause"] is not None:
        error = error["cause"]
    assert (status.state, error["code"]) == ("failed", "flow")
    assert "inside another" in error["message"]


@pytest.mark.row("X-17")
def test_a_flow_goes_on_when_its_engine_died_between_the_two(flow: Flow) -> None:
    child(flow, "half", {"g": {"run": "t.gate", "with": {"gate": "half", "give": 7}}})
    instance_id = flow.start({"f": {"flow": "half"}})
    until(lambda: flow.probe.paths() == ["g"])
    flow.crash()
    flow.probe.gate("half").set()
    assert flow.wait(instance_id).output == {"f": {"g": 7}}


# --- waits


@pytest.mark.row("X-18")
def test_signals_are_taken_once_in_order_before_or_after_the_wait(flow: Flow) -> None:
    nodes: Doc = {
        "first": {"wait": {"signal": "go"}},
        "match": {
            "wait": {"signal": "go", "match": "{{ signal.n > 2 }}"},
            "needs": ["first"],
            "output": "{{ signal.n }}",
        },
    }
    instance_id = flow.start(
        nodes, output={"first": "{{ nodes.first.output }}", "match": "{{ nodes.match.output }}"}
    )
    signal(flow, instance_id, "go", {"n": 1}, signal_id="one")
    assert signal(flow, instance_id, "go", {"n": 9}, signal_id="one") == "existing"
    until(lambda: flow.state(instance_id, "match") == "waiting")
    for n in (2, 3):
        signal(flow, instance_id, "go", {"n": n})
    assert flow.wait(instance_id).output == {"first": {"n": 1}, "match": 3}
    with pytest.raises(Conflict):
        signal(flow, instance_id, "go")


@pytest.mark.row("X-18")
def test_waits_time_out_and_say_what_follows(flow: Flow) -> None:
    nodes: Doc = {
        "value": {"wait": {"signal": "x", "timeout": "40ms", "on_timeout": {"output": {"approve": False}}}},
        "body": {"wait": {"signal": "x", "timeout": "40ms", "on_timeout": {"do": echo("reminded")}}},
        "failed": {
            "wait": {"signal": "x", "timeout": "40ms"},
            "on_error": [{"on": ["timeout"], "output": "handled"}],
        },
        "until": {"wait": {"until": "2001-01-01T00:00:00Z"}},
    }
    assert flow.run(nodes, output={name: f"{{{{ nodes.{name}.output }}}}" for name in nodes}).output == {
        "value": {"approve": False},
        "body": "reminded",
        "failed": "handled",
        "until": None,
    }


@pytest.mark.row("X-18")
def test_a_condition_is_looked_at_when_variables_change(flow: Flow) -> None:
    nodes: Doc = {
        "w": {"wait": {"condition": "{{ vars.n | default(0) == 2 }}"}},
        "s1": {"set": {"n": 1}},
        "g": {"wait": {"signal": "go"}, "needs": ["s1"]},
        "s2": {"set": {"n": 2}, "needs": ["g"]},
    }
    instance_id = flow.start(nodes)
    until(lambda: flow.state(instance_id, "g") == "waiting")
    assert flow.state(instance_id, "w") in {"waiting", "running", "queued"}
    signal(flow, instance_id, "go")
    assert flow.wait(instance_id).state == "completed"


@pytest.mark.row("X-18", "X-32")
def test_waits_and_pauses_survive_a_restart(flow: Flow) -> None:
    nodes: Doc = {
        "s": {"wait": {"signal": "go"}},
        "t": {"wait": {"for": "200ms"}},
        "after": echo(1, needs=["s", "t"]),
    }
    instance_id = flow.start(nodes)
    until(lambda: flow.state(instance_id, "s") == "waiting" and flow.state(instance_id, "t") == "waiting")
    asyncio.run(flow.engine.pause_workflow(instance_id))
    flow.crash()
    assert flow.engine.status(instance_id).state == "paused"
    signal(flow, instance_id, "go")
    until(lambda: flow.state(instance_id, "t") in {"paused", "completed"})
    assert flow.state(instance_id, "after") in {None, "pending", "paused"}
    flow.shut()
    asyncio.run(flow.engine.resume_workflow(instance_id))
    assert flow.wait(instance_id).output == {"after": 1}


@pytest.mark.row("X-03", "X-33")
def test_what_is_asked_while_no_engine_runs_takes_effect_when_one_starts(flow: Flow) -> None:
    """A client only writes; the engine that starts later acts on it."""
    flow.open(executes=False)
    waiting = flow.start({"w": {"wait": {"signal": "go"}}})
    doomed = flow.start({"a": echo(1)})
    assert signal(flow, waiting, "go", 1) == "accepted"
    assert flow.cancel(doomed) == "accepted"
    engine: WorkflowEngine = flow.open()
    assert engine.wait_now(waiting, 20).output == {"w": 1}
    assert engine.wait_now(doomed, 20).state == "cancelled"
