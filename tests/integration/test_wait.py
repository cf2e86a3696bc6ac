"""Waits: durable timers that hold no slot."""

from __future__ import annotations

import time
from typing import Any

import pytest

from strataflow.repositories.records import InstanceState
from tests.integration.kit import Flow, until


def test_a_wait_lasts_as_long_as_it_says_and_holds_no_slot(flow: Flow) -> None:
    flow.open(slots=1)
    begun = time.monotonic()
    instance = flow.start(
        {
            "w": {"wait": {"for": "{{ inputs.time }}"}, "output": "{{ inputs.time }}"},
            "a": {"run": "t.echo", "with": 1},
            "z": {"run": "t.echo", "with": "{{ nodes.w.output }}"},
        },
        {"time": "300ms"},
    )
    until(lambda: flow.state(instance, "a") == "completed")
    assert flow.state(instance, "w") == "waiting"
    assert flow.wait(instance).output == {"a": 1, "z": "300ms"}
    assert 0.3 <= time.monotonic() - begun < 5
    assert flow.moves(instance, "w")[-4:] == ["running", "waiting", "running", "completed"]


def test_a_wait_goes_on_over_a_restart(flow: Flow) -> None:
    instance = flow.start(
        {"w": {"wait": {"for": "600ms"}}, "a": {"run": "t.echo", "with": 1, "needs": ["w"]}}
    )
    until(lambda: flow.state(instance, "w") == "waiting")
    due = flow.tasks(instance)["w"].wake_at
    flow.shut()
    assert flow.wait(instance).output == {"a": 1}
    ended = next(row.at for row in flow.history(instance) if (row.path, row.to_state) == ("w", "completed"))
    assert due is not None
    assert due <= ended < due + 3_000_000


def test_a_wait_that_passed_while_nobody_ran_is_over_at_once(flow: Flow) -> None:
    instance = flow.start({"w": {"wait": {"for": "100ms"}}})
    until(lambda: flow.state(instance, "w") == "waiting")
    flow.shut()
    time.sleep(0.12)
    begun = time.monotonic()
    assert flow.wait(instance).state is InstanceState.COMPLETED
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("value", ["soon", "", None, 5, -1, "1h forever", "999999999999999d", []])
def test_what_is_no_duration_fails_clearly(flow: Flow, value: Any) -> None:
    status = flow.run({"w": {"wait": {"for": "{{ inputs.v }}"}}}, {"v": value})
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "expression")
    assert "wait.for" in status.error["message"]


def test_waits_of_map_items_run_side_by_side(flow: Flow) -> None:
    begun = time.monotonic()
    status = flow.run({"m": {"map": "{{ inputs.l }}", "do": {"wait": {"for": "200ms"}}}}, {"l": [0] * 30})
    assert status.output == {"m": [None] * 30}
    assert time.monotonic() - begun < 4
