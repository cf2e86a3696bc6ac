"""Rules of alerts, each with real runs, queues and engines on both databases; raised once, resolved by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from strataflow.repositories.tables import DUTIES, ENGINES, INSTANCES, JOURNAL, TASKS
from tests.integration.alert_kit import HOUR_US, Watched, age
from tests.integration.kit import Flow, until

FAIL: dict[str, Any] = {"a": {"run": "t.fail", "with": {"retryable": False, "message": "no such account"}}}
FINE: dict[str, Any] = {"a": {"run": "t.echo", "with": 1}}
GATE: dict[str, Any] = {"a": {"run": "t.gate", "with": {"gate": "g"}}}


@pytest.fixture
def watched(flow: Flow) -> Watched:
    """Give a watch over a flow."""
    return Watched(flow)


def aged(watched: Watched, seconds: float) -> None:
    """Let everything that stands in the database be so much older."""
    by = int(seconds * 1_000_000)
    with watched.flow.database.write() as session:
        own = INSTANCES.c
        moved = {column: column - by for column in (own.created_at, own.started_at, own.ended_at)}
        session.execute(update(INSTANCES).values(moved))
        session.execute(update(JOURNAL).values(at=JOURNAL.c.at - by))
        moved = {column: column - by for column in (TASKS.c.ready_at, TASKS.c.started_at, TASKS.c.ended_at)}
        session.execute(update(TASKS).values(moved))


# --- runs that ended


def test_failed_runs_of_a_definition_are_one_alert_that_counts_them(watched: Watched) -> None:
    watched.flow.run(FINE)
    assert watched.round() == []
    failed = watched.flow.run(FAIL, name="pay")
    (found,) = watched.round()
    assert (found.rule, found.subject, found.count, found.state) == ("run_failed", "pay", 1, "raised")
    assert failed.id in found.text
    assert "no such account" in found.text
    assert f"strataflow retry {failed.id}" in found.text
    assert found.details["code"] == "t.Broken"
    (same,) = watched.round()
    assert (same.id, same.count) == (found.id, 1)
    again = watched.flow.run(FAIL, name="pay")
    watched.flow.run(FAIL, name="ship")
    ship, pay = watched.round()
    assert (pay.id, pay.count, pay.details["instance"]) == (found.id, 2, again.id)
    assert (ship.subject, ship.count) == ("ship", 1)


def test_a_rule_looks_at_the_definitions_that_its_pattern_names(watched: Watched) -> None:
    watched.rule("run_failed", enabled=False)
    watched.rule("billing", kind="run_failed", pattern="bill*", severity="critical")
    watched.flow.run(FAIL, name="billing")
    watched.flow.run(FAIL, name="other")
    (found,) = watched.round()
    assert (found.rule, found.subject, found.severity) == ("billing", "billing", "critical")


def test_an_alert_resolves_itself_when_its_cause_is_gone(watched: Watched) -> None:
    watched.flow.run(FAIL)
    (found,) = watched.round()
    aged(watched, 3600)
    assert watched.round() == []
    (over,) = watched.all()
    assert (over.id, over.state, over.resolved_by) == (found.id, "resolved", "its cause is gone")
    assert [event.name for event in watched.events()] == ["alert.raised", "alert.resolved"]


def test_what_comes_back_before_it_was_gone_for_long_enough_does_not_flap(watched: Watched) -> None:
    watched.only("run_failed")
    watched.rule("run_failed", clear_after="1h")
    watched.flow.run(FAIL)
    (found,) = watched.round()
    aged(watched, 3600)
    (still,) = watched.round()
    assert (still.id, still.state) == (found.id, "raised")
    watched.flow.run(FAIL)
    (same,) = watched.round()
    assert (same.id, same.count) == (found.id, 2)
    aged(watched, 3600)
    watched.round()
    (still,) = watched.round()
    age(watched.flow.database, clear_at=1)
    assert watched.round() == []
    assert [event.name for event in watched.events()] == ["alert.raised", "alert.resolved"]


def test_a_failure_that_somebody_has_dealt_with_is_not_raised_again(watched: Watched) -> None:
    watched.flow.run(FAIL)
    (found,) = watched.round()
    watched.alerts.resolve(found.id, "ann")
    assert watched.round() == []
    watched.flow.run(FAIL)
    (fresh,) = watched.round()
    assert fresh.id != found.id


def test_failures_while_nobody_watched_are_told_later(watched: Watched) -> None:
    watched.round()
    watched.flow.run(FAIL)
    aged(watched, 1200)
    with watched.flow.database.write() as session:
        session.execute(update(DUTIES).values(done_at=DUTIES.c.done_at - 1_300_000_000))
    (found,) = watched.round()
    assert found.rule == "run_failed"


def test_a_failure_rate_needs_enough_runs(watched: Watched) -> None:
    watched.only("failure_rate")
    watched.rule("failure_rate", minimum=4, share=0.5, clear_after="0s")
    for _ in range(2):
        watched.flow.run(FAIL)
    assert watched.round() == []
    watched.flow.run(FINE)
    watched.flow.run(FINE)
    (found,) = watched.round()
    assert (found.subject, found.details) == ("flow", {"definition": "flow", "failed": 2, "ended": 4})
    assert "2 of 4 runs of flow" in found.text
    watched.flow.run(FINE)
    assert watched.round() == []


# --- runs that have not ended


def test_a_run_is_slow_against_the_history_of_its_definition(watched: Watched) -> None:
    watched.only("slow_run")
    watched.rule("slow_run", minimum=3, factor=2.0)
    flow = watched.flow
    flow.probe.gate("g").set()
    for _ in range(3):
        flow.run(GATE)
    flow.probe.gate("g").clear()
    slow = flow.start(GATE)
    until(lambda: flow.state(slow, "a") == "running")
    assert watched.round() == []
    aged(watched, 3600)
    (found,) = watched.round()
    assert (found.subject, found.severity) == (slow, "warning")
    assert "has been running for 60 min" in found.text
    flow.probe.gate("g").set()
    flow.wait(slow)
    assert watched.round() == []


def test_a_run_without_history_is_not_slow(watched: Watched) -> None:
    watched.only("slow_run")
    run = watched.flow.start(GATE)
    until(lambda: watched.flow.state(run, "a") == "running")
    aged(watched, 36_000)
    assert watched.round() == []


def test_a_stuck_run_is_explained(watched: Watched) -> None:
    watched.only("stuck_run")
    flow = watched.flow
    flow.shut()
    flow.open(missing_executor_s=None, executes=False)
    watched.watch = watched.another(watched.told.append)
    run = flow.start(FINE)
    waits = flow.start({"w": {"wait": {"signal": "go"}}}, name="waits")
    assert watched.round() == []
    aged(watched, 7200)
    found = watched.round()
    by_run = {each.subject: each for each in found}
    assert run in by_run
    assert "no engine" in by_run[run].text
    assert f"strataflow explain {run}" in by_run[run].text
    flow.open(missing_executor_s=None)
    flow.wait(run)
    until(lambda: flow.state(waits, "w") == "waiting")
    aged(watched, 7200)
    assert watched.round() == []  # one has ended; the other waits for somebody, as it should


# --- queues and engines


def test_an_old_queue_and_a_deep_one(watched: Watched) -> None:
    watched.only("queue_age", "queue_depth")
    watched.rule("queue_depth", depth=3, clear_after="0s", pattern="bil*")
    watched.rule("queue_age", clear_after="0s")
    flow = watched.flow
    flow.shut()
    flow.open(executes=False)
    watched.watch = watched.another(watched.told.append)
    runs = [flow.start({"a": {"run": "t.echo", "with": 1, "queue": "bills"}}) for _ in range(3)]
    (deep,) = watched.round()
    assert (deep.rule, deep.subject, deep.details["ready"]) == ("queue_depth", "bills", 3)
    assert "No engine runs" in deep.text
    aged(watched, 1200)
    old, same = watched.round()
    assert (same.id, old.rule, old.subject) == (deep.id, "queue_age", "bills")
    assert "has been ready for 20 min" in old.text
    flow.open()
    for run in runs:
        flow.wait(run)
    assert watched.round() == []


def test_an_engine_that_ended_uncleanly(watched: Watched) -> None:
    watched.only("engine_offline", "no_engine")
    watched.rule("no_engine", hold="0s", clear_after="0s")
    flow = watched.flow
    flow.open(executes=False)
    lost = flow.engine.parts.engine_id
    flow.crash()
    watched.watch = watched.another(watched.told.append)
    with flow.database.write() as session:  # nobody who executes is left to declare it dead
        session.execute(update(ENGINES).where(ENGINES.c.id == lost).values(lease_until=HOUR_US))
    (found,) = watched.round()
    assert (found.rule, found.subject) == ("engine_offline", lost)
    assert "no other one runs" in found.text
    flow.start(FINE)
    fresh, same = watched.round()
    assert (same.id, fresh.rule, fresh.severity) == (found.id, "no_engine", "critical")
    flow.open()
    assert [each.rule for each in watched.round()] == ["engine_offline"]
    with flow.database.write() as session:
        session.execute(
            update(ENGINES).where(ENGINES.c.id == lost).values(state="dead", ended_at=1, lease_until=1)
        )
    assert watched.round() == []
