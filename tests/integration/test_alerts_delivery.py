"""Who raises alerts, and who is told: one of many evaluators, feed, log, hooks, webhooks; on both databases."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from strataflow import Alert
from strataflow.engine import webhooks as module
from strataflow.engine.vault import new_master_key
from strataflow.services.alerts.watch import Watch
from strataflow.services.webhooks import WebhookService, WebhookSpec
from tests.integration.alert_kit import Watched, age, end_duty, holder, monitoring
from tests.integration.kit import Flow, until
from tests.integration.webhook_kit import receiving

FAIL: dict[str, Any] = {"a": {"run": "t.fail", "with": {"retryable": False, "message": "no such account"}}}
FINE: dict[str, Any] = {"a": {"run": "t.echo", "with": 1}}
GATE: dict[str, Any] = {"a": {"run": "t.gate", "with": {"gate": "g"}}}


@pytest.fixture
def watched(flow: Flow) -> Watched:
    """Give a watch over a flow."""
    return Watched(flow)


# --- one of many


def test_one_of_two_evaluates_and_the_other_goes_on_when_its_time_is_over(watched: Watched) -> None:
    other = watched.another()
    watched.watch.run_once()
    first = holder(watched.flow.database)
    watched.flow.run(FAIL)
    other.run_once()
    assert (watched.open(), holder(watched.flow.database)) == ([], first)
    end_duty(watched.flow.database)
    other.run_once()
    (found,) = watched.open()
    assert holder(watched.flow.database) != first
    watched.watch.run_once()
    (same,) = watched.open()
    assert (same.id, same.count) == (found.id, 1)


def test_who_stops_hands_the_duty_over(watched: Watched) -> None:
    watched.watch.run_once()
    watched.watch.close()
    other = watched.another()
    watched.flow.run(FAIL)
    other.run_once()
    assert len(watched.open()) == 1


def test_evaluators_that_run_at_once_raise_once(watched: Watched) -> None:
    for name in ("one", "two", "three"):
        watched.flow.run(FAIL, name=name)
    watches = [watched.another() for _ in range(4)]
    gate = threading.Barrier(len(watches))

    def together(watch: Watch) -> None:
        for _ in range(3):
            gate.wait()
            watch.run_once()
            end_duty(watched.flow.database)  # all of them believe that they may

    threads = [threading.Thread(target=together, args=(watch,)) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.subject for each in watched.all()) == ["one", "three", "two"]
    assert [event.name for event in watched.events()] == ["alert.raised"] * 3


def test_what_an_evaluator_found_is_not_written_when_the_duty_is_gone(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.flow.run(FAIL)
    other = watched.another()
    due = Watch._due

    def meanwhile(self: Watch, look: Any) -> Any:
        if self is watched.watch and look.found.get("run_failed"):
            end_duty(watched.flow.database)
            other.run_once()
        return due(self, look)

    monkeypatch.setattr(Watch, "_due", meanwhile)
    watched.watch.run_once()
    (found,) = watched.all()
    assert (found.count, len(watched.events())) == (1, 1)


# --- who is told


@pytest.mark.row("X-41")
def test_failures_slow_runs_scarce_resources_and_unhealthy_executors_reach_a_hook(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    flow = watched.flow
    well = threading.Event()

    class Bank:
        def execute(self, ctx: object, config: object) -> None:
            del ctx, config

        def health_check(self) -> str | None:
            return None if well.is_set() else "the bank does not answer"

    flow.registry.register_executor("t.bank", Bank())
    watched.rule("slow_run", minimum=1, factor=1.0, at_least="0s")
    watched.rule("unhealthy_executor", every="0s", clear_after="0s")
    scarce = "disk_space" if flow.database.url.path is not None else "db_connections"
    tight = {"free_mb": 10**9} if scarce == "disk_space" else {"share": 0.01}
    watched.rule(scarce, clear_after="0s", **tight)
    flow.probe.gate("g").set()
    flow.run(GATE)
    flow.probe.gate("g").clear()
    slow = flow.start(GATE)
    until(lambda: flow.state(slow, "a") == "running")
    flow.run(FAIL, name="pay")
    with caplog.at_level(logging.INFO, logger="strataflow.alerts"):
        until(lambda: len(watched.round()) == 4)  # slow is longer than the run before
    raised = {alert.rule: alert for alert in watched.told}
    assert raised.keys() == {"run_failed", "slow_run", "unhealthy_executor", scarce}
    assert all(alert.event == "alert.raised" for alert in watched.told)
    assert "the bank does not answer" in raised["unhealthy_executor"].text
    assert raised["slow_run"].subject == slow
    assert {event.data["rule"] for event in watched.events() if event.data} == raised.keys()
    logged = {
        record.__dict__["rule"] for record in caplog.records if record.message.startswith("alert raised")
    }
    assert logged == raised.keys()
    well.set()
    watched.rule(scarce, clear_after="0s")
    flow.probe.gate("g").set()
    flow.wait(slow)
    assert [each.rule for each in watched.round()] == ["run_failed"]
    assert sum(alert.event == "alert.resolved" for alert in watched.told) == 3
    watched.watch.run_once()
    assert len(watched.told) == 7  # none of them twice


def test_hooks_of_every_process_are_told_once_by_whoever_raised(watched: Watched) -> None:
    elsewhere: list[Alert] = []
    other = watched.another(elsewhere.append)
    watched.watch.run_once()
    watched.flow.run(FAIL)
    watched.watch.run_once()
    (alert,) = watched.open()
    watched.alerts.acknowledge(alert.id, "ann")
    watched.alerts.resolve(alert.id, "ann")
    for _ in range(3):
        watched.watch.run_once()
        other.run_once()
    events = ["alert.raised", "alert.acknowledged", "alert.resolved"]
    assert [each.event for each in watched.told] == events
    assert [each.event for each in elsewhere] == events
    assert elsewhere[2].details["by"] == "ann"
    late: list[Alert] = []
    watched.another(late.append).run_once()
    assert late == []


def test_a_hook_that_raises_is_logged_and_others_are_told(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(alert: Alert) -> None:
        raise RuntimeError("no line")

    watched.watch = watched.another(broken, watched.told.append)
    watched.flow.run(FAIL)
    watched.round()
    assert [alert.rule for alert in watched.told] == ["run_failed"]
    assert any(record.__dict__.get("action") == "hook_failed" for record in caplog.records)


def test_an_embedding_application_watches_by_itself(flow: Flow) -> None:
    told: list[Alert] = []
    service = monitoring(flow)
    with service.watching(hooks=[told.append], every_s=0.05):
        assert "alerts" in service.health().loops
        flow.run(FAIL)
        until(lambda: told)
    assert (told[0].event, told[0].rule) == ("alert.raised", "run_failed")
    assert "alerts" not in service.health().loops


def test_an_alert_reaches_a_webhook(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", new_master_key("one"))
    monkeypatch.setenv("STRATAFLOW_EGRESS_ALLOW", "127.0.0.0/8")
    monkeypatch.setattr(module, "_IDLE_S", 0.05)
    flow = watched.flow
    flow.shut()
    with receiving() as receiver:
        made = WebhookService(flow.database).create(
            WebhookSpec("pager", f"{receiver.url}/pager", ("alert.*",)), "ann"
        )
        watched.watch = watched.another()
        flow.run(FAIL, name="pay")
        (alert,) = watched.round()
        (got,) = receiver.wait(1)
        assert (got.type, got.signed_by(made.secret)) == ("alert.raised", True)
        data = got.json["data"]["data"]
        assert (data["alert"], data["rule"], data["subject"]) == (alert.id, "run_failed", "pay")
        assert data["text"] == alert.text
        watched.alerts.resolve(alert.id, "ann")
        assert [each.type for each in receiver.wait(2)] == ["alert.raised", "alert.resolved"]


# --- of one process


def test_what_only_a_process_can_see_is_resolved_when_it_is_gone(watched: Watched) -> None:
    flow = watched.flow

    class Bank:
        def execute(self, ctx: object, config: object) -> None:
            del ctx, config

        def health_check(self) -> bool:
            return False

    flow.registry.register_executor("t.bank", Bank())
    other = flow.open()
    watch = Watch(other, watched.watch._explainer, every_s=15)
    watch.run_once()
    (found,) = watched.open()
    assert found.subject == f"t.bank on engine {other.parts.engine_id}"
    watch.close()
    other.stop()
    flow.registry.unregister_executor("t.bank")
    assert watched.round() == []
    assert watched.all()[0].resolved_by == "its process has ended"


def test_connections_that_are_all_in_use(watched: Watched) -> None:
    watched.only("connection_pool")
    watched.rule("connection_pool", share=0.5, hold="0s", clear_after="0s")
    database = watched.flow.engine.database
    with database.read(), database.read():
        (found,) = watched.round()
    assert found.details["used"] >= 2
    until(lambda: watched.round() == [])  # the engine reads, too


def test_what_has_not_been_so_for_long_is_not_raised(watched: Watched) -> None:
    watched.only("connection_pool")
    watched.rule("connection_pool", share=0.5, hold="1h")
    database = watched.flow.engine.database
    with database.read(), database.read():
        assert watched.round() == []
        assert watched.round() == []
        for key in watched.watch._since:
            watched.watch._since[key] -= 3_600
        assert len(watched.round()) == 1


def test_a_loop_that_is_stuck(watched: Watched) -> None:
    watched.only("stuck_loop")
    watched.rule("stuck_loop", age="500s", clear_after="0s")
    (loop,) = [each for each in watched.flow.engine.parts.background if each.name == "watermarks"]
    loop.stop()
    loop.last_progress -= 1_000
    (found,) = watched.round()
    assert found.details["loop"] == "watermarks"
    loop.last_progress += 1_000
    assert watched.round() == []


# --- the database's room


def test_a_transaction_that_is_open_for_long(watched: Watched) -> None:
    watched.only("long_transaction", "disk_space")
    watched.rule("long_transaction", age="0s", clear_after="0s")
    watched.rule("disk_space", free_mb=1)
    if watched.flow.database.url.path is not None:
        assert watched.round() == []
        return
    import psycopg

    with psycopg.connect(watched.flow.url, application_name="report") as other:
        other.execute("SELECT 1")
        (found,) = watched.round()
        assert (found.rule, found.details["pid"]) == ("long_transaction", other.info.backend_pid)
        assert f"pg_terminate_backend({other.info.backend_pid})" in found.text
        assert "(report)" in found.text


def test_rules_that_are_off_or_gone_have_no_open_alerts(watched: Watched) -> None:
    watched.rule("mine", kind="run_failed", pattern="pay")
    watched.flow.run(FAIL, name="pay")
    assert {each.rule for each in watched.round()} == {"run_failed", "mine"}
    watched.rule("run_failed", enabled=False)
    watched.alerts.rules.reset("mine")
    assert watched.round() == []
    assert {each.resolved_by for each in watched.all()} == {"its rule is off", "its rule is gone"}


def test_a_look_that_fails_leaves_alerts_as_they_are_and_others_go_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    from strataflow.services.alerts import watch as home

    watched.flow.run(FAIL)
    (found,) = watched.round()

    def broken(look: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(home, "look_at_failures", broken)
    watched.rule("failure_rate", minimum=1)
    rate, same = watched.round()
    assert (rate.rule, same.id, same.state) == ("failure_rate", found.id, "raised")


def test_a_rule_has_a_bound_of_open_alerts(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from strataflow.services.alerts import applying

    monkeypatch.setattr(applying, "MOST", 2)
    for number in range(4):
        watched.flow.run(FAIL, name=f"flow{number}")
    found = {each.subject: each for each in watched.round()}
    assert len(found) == 3
    assert found["*"].details == {"more": 2}
    again = {each.subject: each.id for each in watched.round()}
    assert again == {subject: each.id for subject, each in found.items()}


def test_alerts_that_were_resolved_long_ago_are_deleted(watched: Watched) -> None:
    watched.flow.run(FAIL)
    (found,) = watched.round()
    watched.alerts.resolve(found.id, "ann")
    watched.watch._tidied -= 10_000
    watched.watch.run_once()
    assert len(watched.all()) == 1
    watched.rule("run_failed", enabled=False)
    age(watched.flow.database, resolved_at=1)
    watched.watch._tidied -= 10_000
    watched.watch.run_once()
    assert watched.all() == []
