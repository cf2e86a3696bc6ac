"""Limits as people operate them: what is listed, what is set and unset, and what is refused."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from strataflow.engine.errors import EngineError
from strataflow.engine.recovery import RecoveryManager
from strataflow.repositories import control_store
from strataflow.repositories.database import Database
from strataflow.repositories.limitviews import limits as stored
from strataflow.repositories.notify import Subscription
from strataflow.services.limits import LimitService, LimitView, checked_counter, rate_text
from strataflow.services.queues import QueueService
from tests.integration.kit import Doc, Flow, until


def service(flow: Flow) -> LimitService:
    return LimitService(flow.engine.database, flow.engine.parts.catalog, flow.engine)


def fan(count: int, **more: Any) -> Doc:
    return {"m": {"map": list(range(count)), "do": {"run": "t.measure", "with": {"at": "m"}, **more}}}


def gate(**more: Any) -> Doc:
    return {"run": "t.gate", "with": {"gate": "g"}, **more}


def test_numbers_are_listed_with_who_said_them(flow: Flow) -> None:
    limits = service(flow)
    limits.set("*", concurrency=50)
    limits.set("executor:t.gate", rate="600/m", burst=100)
    nodes = {
        "m": {"map": [1, 2, 3], "do": gate(limits={"key": "k", "concurrency": 2, "mutex": "{{ item }}"})}
    }
    instance_id = flow.start(nodes)
    until(lambda: list(flow.states(instance_id).values()).count("running") == 2)
    until(lambda: "blocked" in flow.states(instance_id).values())
    found = {each.name: each for each in limits.list()}
    assert found["*"] == LimitView("*", 2, 0, 50, None, None, "explicit")
    assert found["executor:t.gate"] == LimitView("executor:t.gate", 2, 0, None, "600/m", 100, "explicit")
    assert found["node:flow/m[]:k"] == LimitView("node:flow/m[]:k", 2, 1, 2, None, None, "definition")
    assert found["mutex:1"] == LimitView("mutex:1", 1, 0, 1, None, None, "definition")
    assert [each.name for each in limits.list(kind="executor")] == ["executor:t.gate"]
    assert [each.name for each in limits.list(limit=1)] == ["*"]
    assert limits.list(limit=1, after="*")[0].name == "executor:t.gate"
    assert limits.get("node:flow/m[]:k") == found["node:flow/m[]:k"]
    assert limits.get("queue:nobody") is None
    assert found["*"].as_json()["set_by"] == "explicit"
    flow.probe.gate("g").set()
    assert flow.wait(instance_id).state == "completed"


@pytest.mark.row("X-24")
@pytest.mark.parametrize("name", ["*", "definition:flow", "node:flow/m[]"])
def test_limits_of_everything_of_a_workflow_and_of_a_node_hold(flow: Flow, name: str) -> None:
    service(flow).set(name, concurrency=3)
    more = {"limits": {"concurrency": 100}} if name.startswith("node:") else {}
    instance_id = flow.start(fan(25, **more))
    assert flow.wait(instance_id).state == "completed"
    assert 2 <= flow.probe.most["m"] <= 3
    assert len(flow.probe.calls) == 25


@pytest.mark.row("X-24")
def test_limits_that_a_definition_says_hold(flow: Flow) -> None:
    first = flow.start(fan(20), limits={"concurrency": 4})
    assert flow.wait(first).state == "completed"
    assert flow.probe.most["m"] <= 4
    flow.probe.most.clear()
    second = flow.start(fan(20, limits={"concurrency": 2}), limits={"concurrency": 4})
    assert flow.wait(second).state == "completed"
    assert flow.probe.most["m"] <= 2


def test_unset_gives_the_definitions_number_back(flow: Flow) -> None:
    limits = service(flow)
    limits.set("node:flow/m[]", concurrency=0)
    instance_id = flow.start(fan(6, limits={"concurrency": 2}))
    until(lambda: list(flow.states(instance_id).values()).count("blocked") >= 1)
    assert flow.probe.calls == []
    assert limits.unset("node:flow/m[]")
    assert not limits.unset("node:flow/m[]")
    assert flow.wait(instance_id).state == "completed"
    assert flow.probe.most["m"] <= 2


def test_a_new_number_replaces_all_old_ones(flow: Flow) -> None:
    limits = service(flow)
    assert limits.set("queue:q", concurrency=2, rate="5/s").rate == "5/s"
    assert limits.set("queue:q", concurrency=3) == LimitView("queue:q", 0, 0, 3, None, None, "explicit")


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        ("queue", {"concurrency": 1}, "names no counter"),
        ("cpu:x", {"concurrency": 1}, "`pool:…`"),
        ("queue:a b", {"concurrency": 1}, "`queue:mail`"),
        ("executor:noop", {"concurrency": 1}, "`executor:http.request`"),
        ("node:billing", {"concurrency": 1}, "`node:billing/charge`"),
        ("mutex:", {"concurrency": 1}, "`mutex:ledger`"),
        ("mutex:a\x00b", {"concurrency": 1}, "names no counter"),
        ("pool:" + "x" * 64, {"concurrency": 1}, "`pool:gpu`"),
        ("pool:gpu", {"rate": "5/s"}, "pool:gpu needs a size"),
        ("*", {}, "needs a number"),
        ("*", {"concurrency": -1}, "from 0 to 2147483647, not -1"),
        ("*", {"concurrency": 2**31}, "from 0 to 2147483647"),
        ("*", {"rate": "fast"}, "'fast' is no rate"),
        ("*", {"rate": "0/s"}, "never let anything begin"),
        ("*", {"rate": "5/s", "burst": 0}, "from 1 to 2147483647, not 0"),
        ("*", {"concurrency": 1, "burst": 2}, "burst goes with a rate"),
    ],
)
def test_what_is_no_limit_is_refused_and_changes_nothing(
    flow: Flow, name: str, numbers: dict[str, Any], words: str
) -> None:
    with pytest.raises(EngineError) as refused:
        LimitService(flow.database).set(name, **numbers)
    assert words in str(refused.value)
    assert refused.value.hint or words in refused.value.message
    with flow.database.read() as connection:
        assert stored(connection) == []


def test_names_and_rates_read_as_they_are_written() -> None:
    names = ["*", "queue:a.b-c", "executor:http.request", "definition:x", "node:f/m[].x:key", "mutex:é a/b"]
    assert [checked_counter(name) for name in names] == names
    assert [rate_text(*pair) for pair in ((5, 1_000_000), (7, 60_000_000), (1, 3_600_000_000))] == [
        "5/s",
        "7/m",
        "1/h",
    ]
    assert [rate_text(*pair) for pair in ((2, 86_400_000_000), (100, 10_000_000), (1, 1_500_000))] == [
        "2/d",
        "100/10s",
        "1/1500ms",
    ]


def test_engines_that_sleep_are_told(flow: Flow) -> None:
    """With an hour between two looks, only a hint lets the engine notice."""
    flow.open(poll_s=3600.0, notify=True)
    queues, limits = QueueService(flow.database), LimitService(flow.database)
    nodes = {"a": {"run": "t.echo", "with": 1}}
    limits.set("queue:default", concurrency=0)
    one = flow.start(nodes)
    until(lambda: flow.state(one, "a") == "blocked")
    time.sleep(0.3)  # whatever hints are on their way have arrived
    limits.set("queue:default", concurrency=1)
    assert flow.wait(one).state == "completed"
    queues.pause("default", "test")
    two = flow.start(nodes)
    time.sleep(0.3)
    assert flow.state(two, "a") == "queued"
    queues.resume("default")
    assert flow.wait(two).state == "completed"


def test_a_hint_travels_to_other_processes_on_postgres(migrated_pg_url: str) -> None:
    with closing(Database(migrated_pg_url)) as database, closing(Subscription(database.url)) as ears:
        assert ears.wait(5.0) == {"ready"}, "the first look needs no hint"
        LimitService(database).set("*", concurrency=5)
        assert ears.wait(5.0) == {"ready"}


def test_recovery_deletes_counters_that_nobody_uses(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    control_store.set_limit(flow.database, "queue:kept", concurrency=1)
    instance_id = flow.start(fan(3, limits={"concurrency": 2}))
    assert flow.wait(instance_id).state == "completed"

    def names() -> list[str]:
        with flow.database.read() as connection:
            return [row.name for row in stored(connection)]

    assert names() == ["node:flow/m[]", "queue:kept"]
    monkeypatch.setattr("strataflow.engine.recovery._TIDY_EVERY", 1)
    recovery: RecoveryManager = flow.engine.recovery
    recovery.run_once()
    assert names() == ["node:flow/m[]", "queue:kept"], "an hour has not passed"
    monkeypatch.setattr("strataflow.engine.recovery._IDLE", -timedelta(seconds=5))
    recovery.run_once()
    assert names() == ["queue:kept"]
