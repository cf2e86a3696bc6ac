"""`explain` of tasks that a limit or a paused queue keeps from beginning, and what `doctor` says about them."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import update

from strataflow import StartOptions
from strataflow.executors.builtin import default_registry
from strataflow.repositories import control_store
from strataflow.repositories.control_tables import LIMITS
from strataflow.services.checks import Check
from strataflow.services.doctor import diagnose
from strataflow.services.explain import Explainer, Explanation, Reason
from tests.integration.kit import Doc, Flow, until

INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def explain(flow: Flow, instance_id: str, path: str | None = None) -> Explanation:
    return Explainer(flow.database, flow.engine.parts.catalog).explain(instance_id, path)


def only(flow: Flow, instance_id: str, path: str) -> Reason:
    (reason,) = explain(flow, instance_id, path).reasons
    return reason


def gate(**more: object) -> Doc:
    return {"run": "t.gate", "with": {"gate": "g"}, **more}


def blocked(flow: Flow, instance_id: str, path: str = "a") -> None:
    until(lambda: flow.state(instance_id, path) == "blocked")


def doctor(flow: Flow) -> dict[str, Check]:
    found = {check.name: check for check in diagnose(flow.url, default_registry(entry_points=False))}
    assert all(check.hint for check in found.values() if check.level != "ok")
    return found


def test_a_limit_names_its_numbers_and_who_holds_it(flow: Flow) -> None:
    control_store.set_limit(flow.database, "queue:default", concurrency=2)
    holders = [flow.start({"a": gate()}) for _ in range(2)]
    for each in holders:
        until(lambda each=each: flow.state(each, "a") == "running")
    first, second = flow.start({"a": gate()}), flow.start({"a": gate()})
    blocked(flow, first)
    blocked(flow, second)
    found = explain(flow, first)
    (reason,) = found.reasons
    names = ", ".join(f"{each}/a" for each in sorted(holders))
    assert (reason.kind, reason.path, found.state) == ("limit", "a", "pending")
    text = f"a waits for queue:default: 2 of 2 in use, held by {names}; 1 more waits for it"
    more = "; `strataflow limits set queue:default --concurrency N` lets more in"
    assert found.sentence == f"{text}{more}."
    details = reason.details
    assert {name: details[name] for name in ("counter", "used", "waiting", "concurrency", "set_by")} == {
        "counter": "queue:default",
        "used": 2,
        "waiting": 2,
        "concurrency": 2,
        "set_by": "explicit",
    }
    assert [holder["instance"] for holder in details["holders"]] == sorted(holders)
    assert all(holder["weight"] == 1 and holder["since"] for holder in details["holders"])
    flow.probe.gate("g").set()
    assert flow.wait(second).state == "completed"


def test_of_many_holders_five_are_named(flow: Flow) -> None:
    limits = {"limits": {"group": "bank", "concurrency": 7}}
    wide = flow.start({"m": {"map": list(range(7)), "do": gate(**limits)}})
    until(lambda: list(flow.states(wide).values()).count("running") == 7)
    late = flow.start({"a": gate(**limits)})
    blocked(flow, late)
    reason = only(flow, late, "a")
    assert (reason.details["counter"], reason.details["set_by"]) == ("group:bank", "definition")
    assert (reason.details["used"], reason.details["concurrency"]) == (7, 7)
    assert [holder["path"] for holder in reason.details["holders"]] == [f"m[{n}]" for n in range(5)]
    flow.probe.gate("g").set()
    assert flow.wait(late).state == "completed"


def test_a_mutex_names_the_one_that_holds_it_and_not_one_of_a_similar_name(flow: Flow) -> None:
    def of(name: str) -> Doc:
        return {"a": gate(limits={"mutex": name})}

    holder, other = flow.start(of("Ledger 100%")), flow.start(of("ledger 100%"))
    for each in (holder, other):
        until(lambda each=each: flow.state(each, "a") == "running")
    late = flow.start(of("Ledger 100%"))
    blocked(flow, late)
    assert explain(flow, late).sentence == (
        f"a waits for mutex:Ledger 100%: 1 of 1 in use, held by {holder}/a."
    )
    flow.probe.gate("g").set()
    assert flow.wait(late).state == "completed"


def test_a_rate_says_until_when(flow: Flow) -> None:
    limits = {"limits": {"rate": "1/h"}}
    first = flow.start({"a": {"run": "t.echo", "with": 1, **limits}})
    assert flow.wait(first).state == "completed"
    late = flow.start({"a": {"run": "t.echo", "with": 1, **limits}})
    blocked(flow, late)
    reason = only(flow, late, "a")
    said = re.fullmatch(rf"a waits for node:flow/a: its rate 1/h is used up until ({INSTANT})", reason.text)
    assert said is not None, reason.text
    assert (reason.kind, reason.until) == ("limit", said[1])
    flow.cancel(late)


def test_a_pool_that_nobody_has_sized_says_how_to_size_it(flow: Flow) -> None:
    assert doctor(flow)["pools"].level == "ok"
    one = flow.start({"a": {"run": "t.echo", "with": 1, "limits": {"pools": {"gpu": 2}}}})
    blocked(flow, one)
    reason = only(flow, one, "a")
    assert reason.kind == "pool"
    assert reason.text.endswith("`strataflow limits set pool:gpu --concurrency N`")
    check = doctor(flow)["pools"]
    assert (check.level, check.message) == ("warn", "1 task wait for pools that nobody has sized: pool:gpu")
    control_store.set_limit(flow.database, "pool:gpu", concurrency=1)
    until(lambda: only(flow, one, "a").kind == "limit")
    assert only(flow, one, "a").text == (
        "a waits for pool:gpu: 0 of 1 in use, and it needs 2; "
        "`strataflow limits set pool:gpu --concurrency N` lets more in"
    )
    assert doctor(flow)["pools"].level == "ok"
    control_store.set_limit(flow.database, "pool:gpu", concurrency=2)
    assert flow.wait(one).state == "completed"


@pytest.mark.parametrize("limited", [False, True])
def test_a_paused_queue_says_who_paused_it_and_why(flow: Flow, limited: bool) -> None:  # noqa: FBT001 - a parameter
    if limited:
        control_store.set_limit(flow.database, "queue:q", concurrency=0)
    options = StartOptions(queue="q")
    control_store.set_queue(
        flow.database, "q", state="active" if limited else "paused", reason="upgrade (ana)"
    )
    one = flow.start_with(options, {"a": {"run": "t.echo", "with": 1}})
    until(lambda: flow.state(one, "a") == ("blocked" if limited else "queued"))
    control_store.set_queue(flow.database, "q", state="paused", reason="upgrade (ana)")
    reason = only(flow, one, "a")
    assert (reason.kind, reason.details) == ("queue_paused", {"queue": "q", "reason": "upgrade (ana)"})
    text = "a waits in queue q, which is paused (upgrade (ana)); `strataflow queues resume q`"
    assert explain(flow, one).sentence == f"{text}."
    check = doctor(flow)["paused"]
    assert (check.level, check.message) == (
        "warn",
        "tasks wait in queues that are paused: q (upgrade (ana)): 1 task",
    )
    flow.cancel(one)
    assert doctor(flow)["paused"].message == "1 queue paused, nothing waits in them"


def test_doctor_finds_a_counter_that_is_wrong(flow: Flow) -> None:
    control_store.set_limit(flow.database, "queue:default", concurrency=3)
    one = flow.start({"a": gate()})
    until(lambda: flow.state(one, "a") == "running")
    assert doctor(flow)["counters"].level == "ok"
    with flow.database.write() as connection:
        connection.execute(update(LIMITS).where(LIMITS.c.name == "queue:default").values(used=3))
    check = doctor(flow)["counters"]
    assert check.level == "warn"
    assert "queue:default counts 3 held and 0 waiting, tasks say 1 and 0" in check.message
    with flow.database.write() as connection:
        connection.execute(update(LIMITS).where(LIMITS.c.name == "queue:default").values(used=1))
    flow.probe.gate("g").set()
    assert flow.wait(one).state == "completed"
