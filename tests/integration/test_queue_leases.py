"""An entry of a queue belongs to one engine at a time: its lease is the token without which nothing is acknowledged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strataflow import StartOptions
from strataflow.engine.evaluate import as_payload
from strataflow.engine.events import TaskEnded
from strataflow.engine.outcomes import Succeeded
from strataflow.repositories import control_store, engines
from tests.integration.kit import Flow, until

ENTRIES = 60


@pytest.mark.row("A-33")
def test_two_workers_never_get_the_same_entry(flow: Flow) -> None:
    workers = {flow.open(slots=3).parts.engine_id for _ in range(2)}
    control_store.set_queue(flow.database, "mail", state="paused")
    nodes = {"a": {"run": "t.measure", "with": {"at": "{{ instance.id }}"}}}
    ids = [flow.start_with(StartOptions(queue="mail"), nodes) for _ in range(ENTRIES)]
    control_store.set_queue(flow.database, "mail", state="active")
    assert {flow.wait(each).state for each in ids} == {"completed"}
    assert sorted(config["at"] for _, _, config in flow.probe.calls) == sorted(ids)
    claims = [
        [row.engine for row in flow.history(each) if row.path == "a" and row.to_state == "running"]
        for each in ids
    ]
    assert {len(each) for each in claims} == {1}
    assert {each[0] for each in claims} == workers


@pytest.mark.row("A-33")
def test_an_entry_is_acknowledged_only_by_who_holds_its_lease_and_returns_when_that_is_over(
    flow: Flow,
) -> None:
    instance_id = flow.start({"a": {"run": "t.gate", "with": {"gate": "x", "give": "mine"}}})
    until(lambda: flow.state(instance_id, "a") == "running" and flow.probe.calls)
    row = flow.tasks(instance_id)["a"]
    token = TaskEnded(instance_id, "a", row.attempt, row.engine or "", Succeeded(as_payload("stolen")))
    other = flow.open(executes=False)
    strangers = (
        replace(token, engine=other.parts.engine_id),
        replace(token, attempt=row.attempt + 1),
        replace(token, attempt=row.attempt - 1),
    )
    for stranger in strangers:
        assert other.state_manager.apply_now(stranger).status == "stale"
    assert flow.state(instance_id, "a") == "running"
    engines.mark_dead(flow.database, row.engine or "")  # as when its lease is over
    until(lambda: flow.tasks(instance_id)["a"].attempt == row.attempt + 1)
    assert other.state_manager.apply_now(token).status == "stale"
    flow.probe.gate("x").set()
    assert flow.wait(instance_id).output == {"a": "mine"}
    assert [
        entry.attempt
        for entry in flow.history(instance_id)
        if entry.path == "a" and entry.to_state == "running"
    ] == [1, 2]
