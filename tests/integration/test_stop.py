"""Stopping: running work gets its grace, what is left goes back unharmed, and the next engine takes it up."""

from __future__ import annotations

import threading
import time

import pytest

from strataflow import EngineStopped
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Flow, until


def test_work_that_ends_within_the_grace_is_recorded(flow: Flow) -> None:
    instance = flow.start(
        {"a": {"run": "t.gate", "with": {"gate": "g", "give": 1}}, "b": {"run": "t.echo", "needs": ["a"]}}
    )
    until(lambda: flow.probe.calls)
    threading.Timer(0.2, flow.probe.gate("g").set).start()
    flow.shut()
    assert flow.states(instance) == {"": "waiting", "a": "completed", "b": "queued"}
    assert flow.wait(instance).state is InstanceState.COMPLETED
    assert flow.probe.attempts("a") == [1]


@pytest.mark.parametrize("executor", ["t.gate", "t.block"])
def test_work_that_does_not_end_goes_back_unharmed(flow: Flow, executor: str) -> None:
    flow.open(grace_s=0.1)
    instance = flow.start({"a": {"run": executor, "with": {"gate": "g", "give": 1, "polite": False}}})
    until(lambda: flow.probe.calls)
    begun = time.monotonic()
    flow.shut()
    assert time.monotonic() - begun < 8
    row = flow.tasks(instance)["a"]
    assert (row.state, row.failures, row.crashes, row.engine) == ("queued", 0, 0, None)
    flow.probe.gate("g").set()
    assert flow.wait(instance).output == {"a": 1}
    assert flow.probe.attempts("a") == [1, 2]


def test_a_map_cut_by_a_stop_runs_only_what_is_missing(flow: Flow) -> None:
    flow.open(slots=2, grace_s=0.1)
    flow.probe.gate("open").set()
    body = {"run": "t.gate", "with": {"gate": "{{ 'open' if item < 5 else 'shut' }}", "give": "{{ item }}"}}
    instance = flow.start({"m": {"map": list(range(10)), "do": body}})
    until(lambda: len(flow.probe.calls) == 7)
    flow.shut()
    flow.probe.gate("shut").set()
    assert flow.wait(instance).output == {"m": list(range(10))}
    assert sorted(flow.probe.paths())[:7] == sorted([f"m[{index}]" for index in range(5)] + ["m[5]", "m[5]"])


def test_a_stopped_engine_says_so_and_may_be_started_again(flow: Flow) -> None:
    engine = flow.open()
    engine.stop()
    engine.stop()
    with pytest.raises(EngineStopped) as caught:
        engine.start_now(flow.document({"a": {"run": "t.echo"}}))
    assert caught.value.hint
    engine.start()
    engine.start()
    assert engine.run(flow.document({"a": {"run": "t.echo", "with": 1}}), timeout=30) == {"a": 1}


def test_who_waits_is_told_that_the_engine_stops(flow: Flow) -> None:
    engine = flow.open(grace_s=0.1)
    instance = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}}})
    told: list[BaseException] = []

    def wait() -> None:
        try:
            engine.wait_now(instance, 30)
        except EngineStopped as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: flow.probe.calls)
    flow.shut()
    thread.join(10)
    assert len(told) == 1
