"""Slots, queues and priorities: what runs at the same time, and what runs first."""

from __future__ import annotations

import pytest

from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow, until


def measure(**fields: object) -> Doc:
    return {"run": "t.measure", "with": {}, **fields}


@pytest.mark.row("A-07", "A-06")
@pytest.mark.parametrize("slots", [1, 3])
def test_never_more_attempts_run_than_there_are_slots(flow: Flow, slots: int) -> None:
    flow.open(slots=slots)
    nodes: Doc = {f"n{index}": measure() for index in range(8)} | {
        "m": {"map": list(range(12)), "do": measure()}
    }
    instances = [flow.start(nodes) for _ in range(3)]
    assert {flow.wait(instance).state for instance in instances} == {InstanceState.COMPLETED}
    assert flow.probe.most["here"] == slots
    assert len(flow.probe.calls) == 3 * 20
    assert flow.engine.scheduler.held == 0


@pytest.mark.row("A-06", "A-17")
def test_running_tasks_are_listed_while_they_run_and_only_then(flow: Flow) -> None:
    flow.open(slots=2)
    instance = flow.start({name: {"run": "t.gate", "with": {"gate": name}} for name in "abc"})
    until(lambda: len(flow.probe.calls) == 2)
    until(lambda: list(flow.states(instance).values()).count("running") == 2)
    (waiting,) = flow.engine.get_pending_tasks()
    assert waiting.path == "c"
    assert flow.engine.scheduler.held == 2
    flow.probe.gate("a").set()
    until(lambda: len(flow.probe.calls) == 3)
    assert flow.state(instance, "a") == "completed"
    assert flow.engine.get_pending_tasks() == []
    for name in "bc":
        flow.probe.gate(name).set()
    assert flow.wait(instance).state is InstanceState.COMPLETED


def test_higher_priority_first_then_first_in_first_out(flow: Flow) -> None:
    client = flow.open(executes=False)
    priorities = {"low": -3, "plain": 0, "high": 5, "top": 9}
    document = flow.document(
        {name: {"run": "t.echo", "with": 1, "priority": each} for name, each in priorities.items()}
    )
    ids = [client.start_now(document) for _ in range(3)]
    engine = flow.open(slots=1)
    for instance in ids:
        client.wait_now(instance, 30)
    claims = [
        (row.at, row.path, instance)
        for instance in ids
        for row in flow.history(instance)
        if row.path and row.to_state == "running" and row.engine == engine.parts.engine_id
    ]
    order = [(path, instance) for _, path, instance in sorted(claims) if path]
    assert order == [(name, instance) for name in ("top", "high", "plain", "low") for instance in ids]


def test_an_engine_takes_tasks_of_its_queues_only(flow: Flow) -> None:
    """Neither at a claim, nor at the start, nor as a successor of its own task."""
    mine = flow.open(queues=("mine",))
    nodes = {
        "a": {"run": "t.echo", "with": 1, "queue": "mine"},
        "b": {"run": "t.echo", "with": 2, "queue": "other"},
        "c": {"run": "t.echo", "with": 3, "queue": "other", "needs": ["a"]},
        "d": {"run": "t.echo", "with": 4, "queue": "mine", "needs": ["b"]},
    }
    instance = flow.start(nodes)
    until(lambda: flow.state(instance, "a") == "completed")
    until(lambda: flow.state(instance, "c") is not None)
    assert {path: flow.state(instance, path) for path in "bc"} == {"b": "queued", "c": "queued"}
    other = flow.open(queues=("other",))
    assert flow.wait(instance).output == {"c": 3, "d": 4}
    holders = {
        row.path: row.engine for row in flow.history(instance) if row.to_state == "running" and row.path
    }
    ids = {"mine": mine.parts.engine_id, "other": other.parts.engine_id}
    assert holders == {"a": ids["mine"], "b": ids["other"], "c": ids["other"], "d": ids["mine"]}


@pytest.mark.row("A-33")
def test_two_engines_share_the_work_and_run_nothing_twice(flow: Flow) -> None:
    flow.open(slots=4)
    flow.open(slots=4)
    instances = [flow.start({"m": {"map": list(range(40)), "do": measure()}}) for _ in range(3)]
    assert {flow.wait(instance).state for instance in instances} == {InstanceState.COMPLETED}
    assert len(flow.probe.calls) == 120
    assert flow.probe.most["here"] <= 8
