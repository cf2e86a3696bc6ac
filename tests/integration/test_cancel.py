"""Cancelling: whatever a task is doing, it stops, nothing starts any more, and the instance ends cancelled."""

from __future__ import annotations

import pytest

from strataflow import IllegalTransition, NotFound
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow, until

MISSING = "018f0000-0000-7000-8000-000000000000"


def gate(name: str = "g", executor: str = "t.gate") -> Doc:
    return {"run": executor, "with": {"gate": name}}


def test_a_queued_task_never_runs(flow: Flow) -> None:
    flow.open(slots=1)
    instance = flow.start(
        {"a": gate(), "b": {"run": "t.echo", "with": 1}, "c": {"run": "t.echo", "needs": ["a"]}}
    )
    until(lambda: flow.state(instance, "a") == "running")
    assert flow.cancel(instance) == "accepted"
    status = flow.wait(instance)
    assert (status.state, status.reason) == (InstanceState.CANCELLED, "cancelled by its user")
    assert flow.states(instance) == {"": "cancelled", "a": "cancelled", "b": "cancelled"}
    assert flow.probe.paths() == ["a"]


@pytest.mark.row("A-17")
@pytest.mark.parametrize("executor", ["t.gate", "t.block"])
def test_a_running_executor_sees_it_and_gives_its_slot_back(flow: Flow, executor: str) -> None:
    flow.open(slots=1)
    instance = flow.start({"a": gate(executor=executor)})
    until(lambda: flow.probe.calls)
    flow.cancel(instance)
    assert flow.wait(instance).state is InstanceState.CANCELLED
    until(lambda: flow.probe.cancelled == ["a"])
    assert flow.run({"b": {"run": "t.echo", "with": 1}}).output == {"b": 1}
    assert flow.engine.scheduler.held == 0


def test_a_waiting_task_and_a_retrying_one_are_cancelled_at_once(flow: Flow) -> None:
    instance = flow.start(
        {"w": {"wait": {"for": "1h"}}, "r": {"run": "t.fail", "with": {}, "retry": {"max": 9, "delay": "1h"}}}
    )
    until(lambda: (flow.state(instance, "w"), flow.state(instance, "r")) == ("waiting", "retrying"))
    flow.cancel(instance)
    assert flow.wait(instance).state is InstanceState.CANCELLED
    assert set(flow.states(instance).values()) == {"cancelled"}


def test_a_second_cancel_changes_nothing(flow: Flow) -> None:
    instance = flow.start({"a": gate()})
    until(lambda: flow.probe.calls)
    assert flow.cancel(instance) == "accepted"
    flow.wait(instance)
    before = flow.history(instance)
    assert flow.cancel(instance) == "ignored"
    assert flow.history(instance) == before


@pytest.mark.row("X-05")
@pytest.mark.parametrize("executor", ["t.echo", "t.fail"])
def test_an_instance_that_ended_refuses_and_nothing_is_written(flow: Flow, executor: str) -> None:
    instance = flow.start({"a": {"run": executor, "with": {}}})
    flow.wait(instance)
    before = flow.history(instance)
    with pytest.raises(IllegalTransition) as caught:
        flow.cancel(instance)
    assert (caught.value.entity, caught.value.event, caught.value.id) == ("instance", "cancel", instance)
    assert flow.history(instance) == before


@pytest.mark.parametrize("missing", [MISSING, "no id at all", ""])
def test_an_instance_that_does_not_exist_is_not_found(flow: Flow, missing: str) -> None:
    with pytest.raises(NotFound):
        flow.cancel(missing)
    with pytest.raises(NotFound):
        flow.engine.status(missing)
    assert flow.run({"a": {"run": "t.echo", "with": 1}}).output == {"a": 1}


def test_a_reason_of_any_text_harms_nobody(flow: Flow) -> None:
    """A reason that no database takes is refused or cleaned; the writer lives on and others' events are kept."""
    import asyncio

    other = flow.start({"a": gate("other")})
    instance = flow.start({"a": gate("mine")})
    until(lambda: len(flow.probe.calls) == 2)
    for reason in ("nul \x00", "lone \ud800", "x" * 100_000):
        flow.probe.gate("other").set()
        try:
            asyncio.run(flow.engine.cancel_workflow(instance, reason))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be one of ours
            from strataflow import EngineError

            assert isinstance(error, EngineError), error  # noqa: PT017 - the other outcome is as good
    assert flow.wait(other).state is InstanceState.COMPLETED
    assert flow.wait(instance).state is InstanceState.CANCELLED


@pytest.mark.slow
def test_a_big_map_is_swept_in_several_transactions(flow: Flow) -> None:
    flow.open(slots=4)
    body = {"nodes": {"a": gate("never"), "b": {"run": "t.echo", "with": "{{ nodes.a.output }}"}}}
    instance = flow.start({"m": {"map": "{{ inputs.l }}", "do": body}}, {"l": list(range(1_500))})
    until(lambda: len(flow.probe.calls) == 4)
    flow.cancel(instance)
    assert flow.wait(instance).state is InstanceState.CANCELLED
    states = flow.states(instance)
    assert len(states) == 2 + 2 * 1_000
    assert set(states.values()) == {"cancelled"}
    assert len(flow.probe.calls) == 4
    ends = {row.at for row in flow.history(instance) if row.to_state == "cancelled"}
    assert len(ends) > 1


def test_cancelling_between_the_last_task_and_the_output_leaves_one_end(flow: Flow) -> None:
    """Cancels race with ends: each instance ends once, completed or cancelled, and nothing hangs."""
    instances = [flow.start({"a": {"run": "t.measure", "with": {}}}, output=[1]) for _ in range(20)]
    for instance in instances:
        try:
            flow.cancel(instance)
        except IllegalTransition:
            continue
    ends = {flow.wait(instance).state for instance in instances}
    assert ends <= {InstanceState.COMPLETED, InstanceState.CANCELLED}
