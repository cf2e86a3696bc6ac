"""Aura task files run to their end on the real engine: order, conditions, loops, the context, and after errors."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.engine.aura import import_aura
from strataflow.engine.status import WorkflowStatus
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow


def run(
    flow: Flow, steps: list[Doc], inputs: Any = None, declared: list[Doc] | None = None
) -> WorkflowStatus:
    """Import the task, start it, and wait for its end."""
    document = import_aura({"meta": {"title": "Task"}, "inputs": declared or [], "steps": steps})
    instance_id = flow.engine.start_now(document, inputs)
    flow.started.append(instance_id)
    return flow.wait(instance_id)


def echo(name: str, params: Doc, **fields: Any) -> Doc:
    return {"name": name, "action": "t.echo", "params": params, **fields}


def assign(params: Doc, **fields: Any) -> Doc:
    return {"action": "core.set_context", "params": params, **fields}


def fail(name: str, message: str = "no luck", **fields: Any) -> Doc:
    return {"name": name, "action": "core.fail", "params": {"message": message, "code": "Luck"}, **fields}


def called(flow: Flow) -> list[tuple[str, Any]]:
    return [(path, config) for path, _, config in flow.probe.calls]


@pytest.mark.row("A-08", "A-09", "A-11", "A-12")
def test_a_whole_task_runs_in_order_with_conditions_a_loop_and_the_context(flow: Flow) -> None:
    steps = [
        echo("fetch user", {"name": "{{ inputs.who }}", "tags": ["x", 1]}),
        assign({"user-name": "{{ steps['fetch user'].output.name }}", "count": 1}),
        assign({"count": "{{ ctx.count + 1 }}"}, when="ctx['user-name'] == 'Ada'"),
        assign({"count": "{{ ctx.count + 10 }}"}, when="inputs.skip"),
        echo("skipped", {}, when="{{ inputs.skip }}"),
        {"name": "wait", "action": "core.sleep", "params": {"seconds": 0.001}},
        echo(
            "each",
            {"of": "{{ ctx['user-name'] }}", "item": "{{ item }}", "at": "{{ loop.index }}"},
            loop="inputs.rows",
            when="inputs.rows",
        ),
        echo(
            "last",
            {"n": "{{ ctx.count }}", "rows": "{{ steps.each.output | length }}", "all": "{{ inputs }}"},
        ),
        {"action": "core.log", "params": {"message": "{{ ctx.count }} is 2", "level": "INFO"}},
    ]
    declared = [
        {"name": "who", "type": "string", "required": True},
        {"name": "rows", "type": "list", "default": ["p", {"q": 1}, None]},
        {"name": "skip", "type": "boolean", "default": False},
    ]
    status = run(flow, steps, {"who": "Ada"}, declared)
    assert status.state is InstanceState.COMPLETED
    rows = ["p", {"q": 1}, None]
    assert called(flow) == [
        ("fetch_user", {"name": "Ada", "tags": ["x", 1]}),
        *((f"each[{at}]", {"of": "Ada", "item": row, "at": at}) for at, row in enumerate(rows)),
        ("last", {"n": 2, "rows": 3, "all": {"who": "Ada", "rows": rows, "skip": False}}),
    ]
    states = flow.states(flow.started[0])
    assert {path for path, state in states.items() if state == "skipped"} == {"step_4", "skipped"}


@pytest.mark.row("A-12")
def test_an_empty_loop_succeeds_without_a_run(flow: Flow) -> None:
    steps = [echo("each", {"x": "{{ item }}"}, loop=[]), echo("after", {"got": "{{ steps.each.output }}"})]
    assert run(flow, steps).state is InstanceState.COMPLETED
    assert called(flow) == [("after", {"got": []})]


@pytest.mark.row("A-12", "A-13")
@pytest.mark.parametrize(("parallelism", "most"), [(None, 1), (3, 3)])
def test_a_loop_runs_one_item_after_the_other_unless_it_says_more(
    flow: Flow, parallelism: int | None, most: int
) -> None:
    step: Doc = {
        "name": "each",
        "action": "t.measure",
        "params": {"give": "{{ item }}"},
        "loop": [5, 4, 3, 2, 1, 0],
    }
    step |= {} if parallelism is None else {"parallelism": parallelism}
    assert run(flow, [step]).output == {"each": [5, 4, 3, 2, 1, 0]}
    assert 1 <= flow.probe.most["here"] <= most
    if most == 1:
        assert flow.probe.paths() == [f"each[{at}]" for at in range(6)]


@pytest.mark.row("A-15")
def test_a_failing_step_ends_the_task_and_nothing_after_it_runs(flow: Flow) -> None:
    steps = [
        echo("first", {}),
        fail("broken"),
        echo("maybe", {}, when="true"),
        echo("never", {"x": "{{ steps.first.output }}"}),
    ]
    status = run(flow, steps)
    assert status.state is InstanceState.FAILED
    assert (status.error["code"], status.error["message"]) == ("core.Luck", "no luck")
    assert flow.probe.paths() == ["first"]


@pytest.mark.row("A-10", "A-15")
def test_reading_what_a_skipped_step_would_have_given_fails_the_step(flow: Flow) -> None:
    steps = [echo("maybe", {}, when="false"), echo("reads", {"x": "{{ steps.maybe.output.rows }}"})]
    status = run(flow, steps)
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "expression")
    assert flow.probe.paths() == []


@pytest.mark.row("A-14")
def test_on_error_runs_its_steps_in_order_and_the_task_fails_with_the_error(flow: Flow) -> None:
    steps = [
        echo("booked", {"id": 7}),
        assign({"seen": "nothing"}),
        fail(
            "charge",
            retry=1,
            retry_delay=0.001,
            on_error=[
                echo("cancel", {"id": "{{ steps.booked.output.id }}", "why": "{{ error.message }}"}),
                assign({"seen": "{{ error.code }}"}),
                echo("not this", {}, when="error.code != 'core.Luck'"),
                echo("tell", {"what": "{{ item }}", "seen": "{{ ctx.seen }}"}, loop=["a", "b"]),
            ],
        ),
        echo("never", {}),
    ]
    status = run(flow, steps)
    assert status.state is InstanceState.FAILED
    assert (status.error["code"], status.error["message"]) == ("core.Luck", "no luck")
    assert called(flow) == [
        ("booked", {"id": 7}),
        ("charge!error.cancel", {"id": 7, "why": "no luck"}),
        ("charge!error.tell[0]", {"what": "a", "seen": "core.Luck"}),
        ("charge!error.tell[1]", {"what": "b", "seen": "core.Luck"}),
    ]
    assert status.error["cause"]["cause"]["path"] == "charge"
    tasks = flow.tasks(flow.started[0])
    assert (tasks["charge"].state.value, tasks["charge"].attempt) == ("failed", 2)


@pytest.mark.row("A-14")
def test_on_error_of_a_loop_runs_once_and_a_step_that_succeeds_does_not_run_it(flow: Flow) -> None:
    steps = [
        echo("well", {}, on_error=[echo("unused", {})]),
        {
            "name": "each",
            "action": "t.fail",
            "params": {"times": "{{ 9 if item == 2 else 0 }}", "retryable": False},
            "loop": [1, 2, 3],
            "on_error": [echo("alert", {"why": "{{ error.code }}"})],
        },
    ]
    status = run(flow, steps)
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "core.join")
    assert flow.probe.paths() == ["well", "each[0]", "each[1]", "each!error.alert"]
    assert called(flow)[-1] == ("each!error.alert", {"why": "join"})


@pytest.mark.row("A-14")
def test_a_compensation_that_fails_itself_keeps_the_first_error_as_its_cause(flow: Flow) -> None:
    steps = [
        fail(
            "a",
            on_error=[fail("b", "worse", on_error=[echo("c", {"x": "{{ error.message }}"})]), echo("d", {})],
        )
    ]
    status = run(flow, steps)
    assert (status.state, status.error["message"]) == (InstanceState.FAILED, "worse")
    assert "no luck" in str(status.error["cause"])
    assert called(flow) == [("a!error.b!error.c", {"x": "worse"})]


@pytest.mark.row("A-14", "A-20")
def test_a_step_that_takes_too_long_is_handled_like_any_other_error(flow: Flow) -> None:
    slow: Doc = {"name": "slow", "action": "core.sleep", "params": {"seconds": 30}, "timeout": 0.05}
    status = run(flow, [slow | {"on_error": [echo("alert", {"why": "{{ error.code }}"})]}])
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "core.timeout")
    assert called(flow) == [("slow!error.alert", {"why": "timeout"})]
