"""Schedules, triggers and events through HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.kit import until
from tests.rest.conftest import HELLO, Served
from tests.rest.test_instances import pages

DAILY: dict[str, Any] = {"definition": "hello", "cron": "15 2 * * *", "timezone": "Europe/Paris"}


@pytest.fixture
def stored(api: Served, token: str) -> None:
    api("POST", "/definitions", token=token, status=201, json={"definition": HELLO, "activate": True})


@pytest.mark.usefixtures("stored")
def test_a_schedule_from_its_preview_to_its_end(api: Served, token: str) -> None:
    body = {"name": "nightly", **DAILY, "inputs": {"n": 7}, "queue": "late", "priority": 3}
    seen = api("POST", "/schedules/preview?count=3", token=token, status=200, json=body).json()["instants"]
    assert len(seen) == 3
    assert seen == sorted(seen)
    assert api("GET", "/schedules", token=token, status=200).json()["items"] == []
    made = api("POST", "/schedules", token=token, status=201, json=body)
    assert (made.json()["state"], made.json()["next_at"], made.headers["Location"]) == (
        "active",
        seen[0],
        "schedules/nightly",
    )
    read = api("GET", "/schedules/nightly", token=token, status=200)
    assert {name: read.json()[name] for name in body} == body, "what was given can be read again"
    assert api("GET", "/schedules/nightly/upcoming?count=3", token=token).json()["instants"] == seen
    api("POST", "/schedules", token=token, status=409, json=body)
    paused = api("POST", "/schedules/nightly/pause", token=token, status=200, json={"reason": "audit"}).json()
    assert (paused["state"], paused["problem"], paused["next_at"]) == ("paused", "audit (tests)", None)
    assert api("POST", "/schedules/nightly/resume", token=token, status=200).json()["state"] == "active"
    changed = {**DAILY, "overlap": "skip"}
    found = api("PUT", "/schedules/nightly", token=token, status=200, json=changed).json()
    assert (found["overlap"], found["inputs"], found["queue"]) == ("skip", None, None)
    api("POST", "/schedules", token=token, status=201, json={"name": "hourly", **DAILY})
    assert [each["name"] for each in pages(api, token, "/schedules", 1)] == ["hourly", "nightly"]
    api("DELETE", "/schedules/nightly", token=token, status=204)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/history"), ("GET", "/upcoming")):
        api(method, f"/schedules/nightly{path}", token=token, status=404)


@pytest.mark.usefixtures("stored")
def test_a_schedule_is_fired_by_hand_and_filled_back(api: Served, token: str) -> None:
    body = {"name": "often", "definition": "hello", "every_s": 3600, "start_at": "2026-01-01T00:00:00Z"}
    api("POST", "/schedules", token=token, status=201, json=body)
    fired = api("POST", "/schedules/often/trigger", token=token, status=200, json={}).json()
    assert (fired["kind"], fired["outcome"]) == ("manual", "started")
    run = fired["instance"]
    until(lambda: api("GET", f"/instances/{run}", token=token).status_code == 200)
    assert api("GET", f"/instances/{run}?wait=30s", token=token).json()["state"] == "completed"
    span = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T03:00:00Z"}
    filled = api("POST", "/schedules/often/backfill", token=token, status=200, json=span).json()["items"]
    assert [(each["kind"], each["outcome"]) for each in filled] == [("backfill", "started")] * 4
    again = api("POST", "/schedules/often/backfill", token=token, status=200, json=span).json()["items"]
    assert [each["instance"] for each in again] == [each["instance"] for each in filled]
    history = pages(api, token, "/schedules/often/history", 2)
    assert [each["instance"] for each in history] == [run, *(each["instance"] for each in filled[::-1])]
    for wrong in (
        {"start": span["end"], "end": span["start"]},
        {"start": span["start"], "end": "2999-01-01T00:00:00Z"},
    ):
        refused = api("POST", "/schedules/often/backfill", token=token, status=422, json=wrong)
        assert refused.json()["errors"][0]["pointer"] == "/body/end"


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"cron": "61 * * * *"}, "/body/cron"),
        ({"cron": None}, "/body/cron"),
        ({"timezone": "Mars/Olympus"}, "/body/timezone"),
        ({"timezone": "../../etc/passwd"}, "/body/timezone"),
        ({"timezone": "/etc/passwd"}, "/body/timezone"),
        ({"timezone": "Europe"}, "/body/timezone"),
        ({"timezone": ""}, "/body/timezone"),
        ({"cron": "* * * * * *"}, "/body/cron"),
        ({"cron": "0 0 31 2 *"}, "/body/cron"),
        ({"overlap": "maybe"}, "/body/overlap"),
        ({"catch_up": 0}, "/body/catch_up"),
        ({"cron": None, "every_s": 0.5}, "/body/every_s"),
        ({"jitter_s": -1}, "/body/jitter_s"),
        ({"inputs": {"n": "{{ nodes.a.output }}"}}, "/body/inputs"),
        ({"inputs": {"n": "x"}}, "/body/inputs/n"),
        ({"name": "a b"}, "/body/name"),
        ({"name": "a\x00b"}, "/body/name"),
        ({"queue": "a b"}, "/body/queue"),
        ({"priority": 10**400}, "/body/priority"),
    ],
)
def test_what_a_schedule_may_not_say(api: Served, token: str, change: dict[str, Any], pointer: str) -> None:
    body = {"name": "nightly", **DAILY, **change}
    for path in ("/schedules", "/schedules/preview"):
        refused = api("POST", path, token=token, status=422, json=body)
        assert pointer in {each["pointer"] for each in refused.json().get("errors", [])}, refused.text
    assert api("GET", "/schedules", token=token).json()["items"] == []


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    "name", ["nobody", "hello@9", "hello@²", "hello@99999999999999999999", "hello@", "\x01"]
)
def test_a_schedule_of_nothing(api: Served, token: str, name: str) -> None:
    body = {"name": "nightly", **DAILY, "definition": name}
    api("POST", "/schedules", token=token, status=404, json=body)
    api("POST", "/triggers", token=token, status=404, json={"name": "t", "pattern": "*", "definition": name})
    api("POST", "/instances", token=token, status=404, json={"definition": name})


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/schedules", {"name": "x", **DAILY}),
        ("/triggers", {"name": "x", "pattern": "order.*", "definition": "hello"}),
    ],
)
def test_a_change_of_what_has_changed_since_it_was_read(
    api: Served, token: str, path: str, body: dict[str, Any]
) -> None:
    api("POST", path, token=token, status=201, json=body)
    wish = {name: value for name, value in body.items() if name != "name"}
    first = {"If-Match": api("GET", f"{path}/x", token=token).headers["ETag"]}
    changed = api("PUT", f"{path}/x", token=token, status=200, json={**wish, "priority": 1}, headers=first)
    assert changed.json()["priority"] == 1
    pause: dict[str, Any] = {"json": {}} if path == "/schedules" else {}
    for method, rest, call in (
        ("PUT", "", {"json": wish}),
        ("POST", "/pause", pause),
        ("POST", "/resume", {}),
        ("DELETE", "", {}),
    ):
        stale = api(method, f"{path}/x{rest}", token=token, status=412, headers=first, **call)
        assert stale.json()["code"] == "precondition"
    read = api("GET", f"{path}/x", token=token, status=200)
    assert read.json() == changed.json()
    assert stale.headers["ETag"] == read.headers["ETag"]
    tags = {"If-Match": f'"other", {read.headers["ETag"]}'}
    api("DELETE", f"{path}/x", token=token, status=204, headers=tags)
    api("PUT", f"{path}/x", token=token, status=404, json=wish, headers={"If-Match": "*"})


@pytest.mark.row("A-29")
@pytest.mark.usefixtures("stored")
def test_an_event_starts_what_its_name_and_content_match(api: Served, token: str) -> None:
    body = {
        "name": "big-orders",
        "pattern": "order.*",
        "definition": "hello",
        "match": "{{ event.payload.amount > 100 }}",
        "inputs": {"n": "{{ event.payload.amount }}"},
    }
    api("POST", "/triggers", token=token, status=201, json=body)
    read = api("GET", "/triggers/big-orders", token=token, status=200).json()
    assert {name: read[name] for name in body} == body
    api("POST", "/triggers", token=token, status=409, json=body)

    def emit(name: str, amount: int, **more: Any) -> list[tuple[str, Any]]:
        event = {"name": name, "payload": {"amount": amount}, **more}
        found = api("POST", "/events", token=token, status=200, json=event).json()["items"]
        return [(each["status"], each["instance"]) for each in found]

    assert emit("invoice.paid", 500) == []
    assert emit("order.paid", 50) == [("unmatched", None)]
    ((status, run),) = emit("order.paid", 500, id="evt-7")
    assert status == "started"
    assert emit("order.paid", 500, id="evt-7") == [("existing", run)]
    until(lambda: api("GET", f"/instances/{run}", token=token).status_code == 200)
    assert api("GET", f"/instances/{run}?wait=30s", token=token).json()["output"] == 500
    assert api("POST", "/triggers/big-orders/pause", token=token, status=200).json()["state"] == "paused"
    assert emit("order.paid", 501) == []
    assert api("POST", "/triggers/big-orders/resume", token=token, status=200).json()["runs"] == 1
    wish = {"pattern": "invoice.*", "definition": "hello"}
    api("PUT", "/triggers/big-orders", token=token, status=200, json=wish)
    assert [status for status, _ in emit("invoice.paid", 1)] == ["started"]
    api(
        "POST",
        "/triggers",
        token=token,
        status=201,
        json={"name": "all", "pattern": "*", "definition": "hello"},
    )
    assert [each["name"] for each in pages(api, token, "/triggers", 1)] == ["all", "big-orders"]
    api("DELETE", "/triggers/all", token=token, status=204)
    api("GET", "/triggers/all", token=token, status=404)


@pytest.mark.usefixtures("stored")
def test_an_event_that_is_repeated_under_a_key_starts_once(api: Served, token: str) -> None:
    api(
        "POST",
        "/triggers",
        token=token,
        status=201,
        json={"name": "all", "pattern": "*", "definition": "hello"},
    )
    headers = {"Idempotency-Key": "once"}
    body = {"name": "order.paid", "payload": 1}
    first, again = (
        api("POST", "/events", token=token, status=200, json=body, headers=headers).json() for _ in range(2)
    )
    assert first == again
    for wrong in (
        {"name": " "},
        {"name": ""},
        {"name": "a\x00"},
        {"name": "x" * 513},
        {"name": "a", "id": "\n"},
    ):
        api("POST", "/events", token=token, status=422, json=wrong)
    for match in ("{{ nodes.a }}", "{{ 1 +", "text", "{{ event.other }}"):
        wish = {"name": "t", "pattern": "*", "definition": "hello", "match": match}
        api("POST", "/triggers", token=token, status=422, json=wish)


@pytest.mark.usefixtures("stored")
def test_a_deletion_that_is_repeated_under_a_key_is_one(api: Served, token: str) -> None:
    api("POST", "/schedules", token=token, status=201, json={"name": "x", **DAILY})
    headers = {"Idempotency-Key": "gone"}
    for replayed in (None, "true"):
        found = api("DELETE", "/schedules/x", token=token, status=204, headers=headers)
        assert (found.content, found.headers.get("Idempotent-Replayed")) == (b"", replayed)
    api("DELETE", "/schedules/x", token=token, status=404)
