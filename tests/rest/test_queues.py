"""Queues and limits through HTTP: what stands where, in which order, how much at a time, and when it is too much."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.kit import until
from tests.rest.conftest import HELLO, Served
from tests.rest.test_instances import pages, started

MAIL: dict[str, Any] = {
    "dsl": "1",
    "name": "mail",
    "nodes": {"send": {"run": "core.noop", "queue": "mail"}},
}
TWO: dict[str, Any] = {
    "dsl": "1",
    "name": "two",
    "nodes": {
        "a": {"run": "core.noop", "queue": "mail"},
        "b": {"run": "core.noop", "queue": "mail", "needs": ["a"]},
    },
}


def put(api: Served, token: str, definition: Any = MAIL, **more: Any) -> str:
    body = {"definition": definition, **more}
    found: str = api("POST", "/instances", token=token, status=201, json=body).json()["id"]
    return found


def filled(api: Served, token: str, count: int) -> list[str]:
    """Give runs whose tasks stand in a queue that nobody takes from, in their order."""
    api("POST", "/queues/mail/pause", token=token, status=200, json={"reason": "later"})
    ids = [put(api, token) for _ in range(count)]
    until(lambda: api("GET", "/queues/mail", token=token, status=200).json()["ready"] == count)
    return standing(api, token) if ids else []


def standing(api: Served, token: str) -> list[str]:
    return [each["instance"] for each in pages(api, token, "/queues/mail/entries")]


@pytest.mark.row("A-26")
def test_a_queue_is_listed_moved_reordered_thinned_and_cleared(api: Served, token: str) -> None:
    a, b, c, d = filled(api, token, 4)
    api("POST", "/queues/mail/move", token=token, status=200, json={"entry": d})
    assert standing(api, token) == [d, a, b, c]
    api("POST", "/queues/mail/move", token=token, status=200, json={"entry": f"{d}/send", "position": 2})
    assert standing(api, token) == [a, b, d, c]
    api("POST", "/queues/mail/reorder", token=token, status=200, json={"entries": [c, b]})
    assert standing(api, token) == [c, b, a, d]
    removed = api("POST", "/queues/mail/remove", token=token, status=200, json={"entry": b}).json()
    assert removed == {"id": b}
    assert api("GET", f"/instances/{b}?wait=30s", token=token).json()["state"] == "cancelled"
    assert standing(api, token) == [c, a, d]
    assert [each["entry"] for each in pages(api, token, "/pending", 1)] == [f"{x}/send" for x in (c, a, d)]
    two = put(api, token, TWO)
    until(lambda: len(standing(api, token)) == 4)
    refused = api("POST", "/queues/mail/remove", token=token, status=409, json={"entry": two})
    assert refused.json()["code"] == "conflict"
    cleared = api("POST", "/queues/mail/purge", token=token, status=200, json={}).json()
    assert cleared == {"cancelled": 3, "left": 1, "refused": {}}
    assert standing(api, token) == [two]
    api("POST", "/queues/mail/resume", token=token, status=200)
    assert api("GET", f"/instances/{two}?wait=30s", token=token).json()["state"] == "completed"
    for body in ({"entry": b}, {"entry": "nobody"}, {"entry": f"{two}/x"}):
        api("POST", "/queues/mail/move", token=token, status=404, json=body)


@pytest.mark.row("X-24")
def test_what_is_urgent_goes_first_and_a_full_queue_refuses(api: Served, token: str) -> None:
    body = {"max_size": 2, "state": "paused", "reason": "full moon"}
    api("PUT", "/queues/mail/settings", token=token, status=200, json=body)
    low, high = put(api, token, priority=1), put(api, token, priority=9)
    until(lambda: api("GET", "/queues/mail", token=token).json()["ready"] == 2)
    assert standing(api, token) == [high, low]
    refused = api("POST", "/instances", token=token, status=429, json={"definition": MAIL})
    assert (refused.json()["code"], refused.headers["Retry-After"]) == ("queue_full", "1")
    assert len(api("GET", "/instances", token=token).json()["items"]) == 2, "nothing of it was kept"
    api("POST", "/queues/mail/resume", token=token, status=200)
    for each in (low, high):
        api("GET", f"/instances/{each}?wait=30s", token=token, status=200)
    ends = [api("GET", f"/instances/{each}", token=token).json()["started_at"] for each in (high, low)]
    assert all(ends)
    put(api, token)


def test_the_settings_of_a_queue_have_a_tag(api: Served, token: str) -> None:
    path = "/queues/mail/settings"
    read = api("GET", path, token=token, status=200)
    assert read.json() == {"state": "active", "reason": None, "max_size": None, "mark": None}
    wish = {"state": "paused", "reason": "month end", "max_size": 10, "mark": 8}
    tag = {"If-Match": read.headers["ETag"]}
    changed = api("PUT", path, token=token, status=200, json=wish, headers=tag).json()
    assert changed == {"state": "paused", "reason": "month end (tests)", "max_size": 10, "mark": 8}
    stale = api("PUT", path, token=token, status=412, json=wish, headers=tag)
    assert stale.json()["code"] == "precondition"
    api("DELETE", path, token=token, status=412, headers=tag)
    now = api("GET", path, token=token, status=200)
    assert now.headers["ETag"] == stale.headers["ETag"]
    gone = api("DELETE", path, token=token, status=200, headers={"If-Match": now.headers["ETag"]}).json()
    assert gone == read.json()
    api("PUT", path, token=token, status=200, json={"mark": 5}, headers={"If-Match": "*"})
    assert api("GET", "/queues/mail", token=token).json()["mark"] == 5
    assert [each["name"] for each in pages(api, token, "/queues", 1)] == ["default", "mail"]


def test_delayed_running_and_blocked_entries(api: Served, token: str) -> None:
    later = [put(api, token, HELLO, delay=f"{hours}h") for hours in (3, 1, 2)]
    found = [each["instance"] for each in pages(api, token, "/delayed", 1)]
    assert found == [later[1], later[2], later[0]]
    assert [
        each["instance"] for each in pages(api, token, "/queues/default/entries?state=delayed", 2)
    ] == found
    retried: dict[str, Any] = {
        "dsl": "1",
        "name": "again",
        "nodes": {"a": {"run": "core.fail", "with": {"message": "no"}, "retry": {"max": 3, "delay": "1m"}}},
    }
    again = put(api, token, retried)
    until(lambda: api("GET", "/queues/default", token=token).json()["delayed"] == 4)
    assert [each["instance"] for each in pages(api, token, "/delayed", 1)] == [again, *found]
    api("PUT", "/limits/queue:mail/numbers", token=token, status=200, json={"concurrency": 1})
    slow: dict[str, Any] = {
        "dsl": "1",
        "name": "slow",
        "nodes": {"a": {"run": "core.sleep", "with": {"seconds": 3600}, "queue": "mail"}},
    }
    sleeping = {put(api, token, slow) for _ in range(2)}
    counts = ("running", "blocked")
    until(lambda: [api("GET", "/queues/mail", token=token).json()[each] for each in counts] == [1, 1])
    seen = [pages(api, token, f"/queues/mail/entries?state={each}", 1) for each in counts]
    assert {each["instance"] for entries in seen for each in entries} == sleeping
    assert seen[1][0]["blocked_on"] == "queue:mail"
    assert [each["path"] for each in pages(api, token, "/active", 1)] == ["a"]


def test_what_the_tasks_of_a_queue_came_to(api: Served, token: str) -> None:
    started(api, token, MAIL)
    found = api("GET", "/queues/mail/statistics", token=token, status=200).json()
    assert found["figures"]["completed"] == 1
    assert api("GET", "/queues/other/statistics", token=token, status=200).json()["figures"] is None


def test_limits_are_set_listed_and_taken_back(api: Served, token: str) -> None:
    names = ["*", "executor:core.noop", "mutex:a/b c", "node:billing/charge", "queue:mail"]
    for name in names:
        path = f"/limits/{name}/numbers"
        read = api("GET", path, token=token, status=200)
        assert read.json() == {"name": name, "concurrency": None, "rate": None, "burst": None}
        tag = {"If-Match": read.headers["ETag"]}
        wish = {"concurrency": 5, "rate": "50/s", "burst": 2}
        found = api("PUT", path, token=token, status=200, json=wish, headers=tag).json()
        assert found == {"name": name, **wish}
        api("PUT", path, token=token, status=412, json=wish, headers=tag)
    assert [each["name"] for each in pages(api, token, "/limits")] == names
    assert [each["name"] for each in pages(api, token, "/limits?kind=queue")] == ["queue:mail"]
    shown = api("GET", "/limits/queue:mail", token=token, status=200).json()
    assert (shown["concurrency"], shown["set_by"], shown["used"]) == (5, "explicit", 0)
    api("DELETE", "/limits/queue:mail/numbers", token=token, status=200)
    api("DELETE", "/limits/queue:mail/numbers", token=token, status=404)
    for name, body in (
        ("cpu:x", {"concurrency": 1}),
        ("queue:mail", {}),
        ("queue:mail", {"rate": "fast"}),
        ("queue:mail", {"concurrency": -1}),
        ("queue:mail", {"concurrency": 10**30}),
        ("pool:gpu", {"rate": "1/s"}),
    ):
        refused = api("PUT", f"/limits/{name}/numbers", token=token, status=422, json=body)
        assert refused.json()["code"] == "request"


def test_a_name_that_no_queue_has(api: Served, token: str) -> None:
    for name in ("a b", "x" * 64, "ü", "%23"):
        for method, path in (("GET", ""), ("GET", "/entries"), ("POST", "/pause"), ("PUT", "/settings")):
            call: dict[str, Any] = {} if method == "GET" else {"json": {}}
            assert api(method, f"/queues/{name}{path}", token=token, status=422, **call).json()["errors"]
    api("GET", "/queues/a%00", token=token, status=422)
