"""Runs and definitions through HTTP, from their first check to their last log line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.kit import until
from tests.rest.conftest import GATED, HELLO, Served

FAILING: dict[str, Any] = {
    "dsl": "1",
    "name": "failing",
    "nodes": {
        "a": {"run": "core.fail", "with": {"message": "no"}},
        "b": {"run": "core.noop", "needs": ["a"]},
    },
}


def started(api: Served, token: str, definition: Any = HELLO, **more: Any) -> dict[str, Any]:
    body = {"definition": definition, **more}
    found: dict[str, Any] = api("POST", "/instances?wait=30s", token=token, status=201, json=body).json()
    return found


def pages(api: Served, token: str, path: str, size: int = 2) -> list[Any]:
    """Follow the pages of a list to its end."""
    found: list[Any] = []
    after = ""
    while True:
        sign = "&" if "?" in path else "?"
        page = api("GET", f"{path}{sign}limit={size}{after}", token=token, status=200).json()
        assert len(page["items"]) <= size
        found += page["items"]
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"


def test_a_definition_from_its_check_to_its_archive(api: Served, token: str) -> None:
    wrong = {"dsl": "1", "name": "hello", "nodes": {"a": {"run": "core.nop"}}}
    checked = api("POST", "/definitions/validate", token=token, status=200, json={"definition": wrong}).json()
    assert (checked["valid"], checked["problems"][0]["pointer"]) == (False, "/nodes/a/run")
    refused = api(
        "POST", "/definitions", token=token, status=422, json={"definition": {**HELLO, "nodes": {}}}
    )
    assert refused.json()["errors"][0]["pointer"] == "/nodes"
    made = api("POST", "/definitions", token=token, status=201, json={"definition": HELLO, "activate": True})
    assert (made.json()["version"], made.json()["state"]) == (1, "active")
    again = api("POST", "/definitions", token=token, status=201, json={"definition": HELLO})
    assert again.json()["version"] == 1
    newer = {**HELLO, "output": 2}
    api("POST", "/definitions", token=token, status=201, json={"definition": newer})
    shown = api("GET", "/definitions/hello/versions/2", token=token, status=200).json()
    assert shown["definition"]["output"] == 2
    assert [each["version"] for each in pages(api, token, "/definitions", 1)] == [2, 1]
    changes = api("GET", "/definitions/hello/diff?from=1&to=2", token=token, status=200).json()["changes"]
    assert any("output" in str(change) for change in changes)
    drawn = api("GET", "/definitions/hello/versions/1/graph?format=svg", token=token, status=200)
    assert drawn.text.startswith("<svg")
    path = "/definitions/hello/versions/2/state"
    assert api("PUT", path, token=token, status=200, json={"state": "archived"}).json()["state"] == "archived"
    api("POST", "/instances", token=token, status=409, json={"definition": "hello@2"})
    for missing in (
        "/definitions/hello/versions/3",
        "/definitions/nobody/versions/1",
        "/definitions/hello/diff?from=1&to=9",
    ):
        assert api("GET", missing, token=token, status=404).json()["code"] == "not_found"


def test_a_run_from_its_start_to_its_output(api: Served, token: str) -> None:
    done = started(api, token, inputs={"n": 7}, labels={"team": "a"}, key="k1")
    assert (done["state"], done["output"], done["inputs"]) == ("completed", 7, {"n": 7})
    path = f"/instances/{done['id']}"
    assert api("GET", f"{path}/output", token=token, status=200).json() == 7
    assert [each["path"] for each in pages(api, token, f"{path}/tasks")] == ["a"]
    moves = pages(api, token, f"{path}/history")
    assert [each["to"] for each in moves if each["path"] is None] == ["pending", "running", "completed"]
    assert api("GET", f"{path}/explain", token=token, status=200).json()["state"] == "completed"
    assert api("GET", f"{path}/logs", token=token, status=200).json()["items"] == []
    same = started(api, token, inputs={"n": 7}, key="k1")
    assert same["id"] == done["id"]
    started(api, token)
    assert [each["id"] for each in pages(api, token, "/instances?label=team=a")] == [done["id"]]
    newest = [each["id"] for each in pages(api, token, "/instances", 1)]
    assert [each["id"] for each in pages(api, token, "/instances?sort=created", 1)] == newest[::-1]
    rerun = api("POST", f"{path}/rerun", token=token, status=201, json={"inputs": {"n": 8}}).json()
    assert rerun["inputs"] == {"n": 8}


def test_what_runs_is_operated(api: Served, token: str) -> None:
    one = api("POST", "/instances", token=token, status=201, json={"definition": GATED}).json()["id"]
    path = f"/instances/{one}"
    until(lambda: api("GET", f"{path}/tasks", token=token).json()["items"][0]["state"] == "waiting")
    assert "signal 'go'" in api("GET", f"{path}/explain", token=token, status=200).json()["sentence"]
    paused = api("POST", f"{path}/pause", token=token, status=200, json={"reason": "lunch"}).json()
    assert (paused["status"], paused["instance"]["state"]) == ("accepted", "paused")
    assert api("GET", path, token=token).json()["reason"] == "lunch (tests)"
    api("POST", f"{path}/resume", token=token, status=200, json={})
    api("POST", f"{path}/signals", token=token, status=200, json={"name": "go", "data": {"by": "Ana"}})
    ended = api("GET", f"{path}?wait=30s", token=token, status=200).json()
    assert ended["state"] == "completed"
    refused = api("POST", f"{path}/cancel", token=token, json={})
    assert refused.status_code in {200, 409}
    two, three = (
        api("POST", "/instances", token=token, status=201, json={"definition": GATED}).json()["id"]
        for _ in range(2)
    )
    body = {"name": "gated", "states": ["running", "pending"], "reason": "closing"}
    answered = api("POST", "/instances/bulk/cancel", token=token, status=200, json=body).json()
    assert {each["id"] for each in answered["items"]} == {two, three}
    assert not answered["more"]
    for each in (two, three):
        assert api("GET", f"/instances/{each}?wait=30s", token=token).json()["state"] == "cancelled"
    api("POST", "/instances/bulk/cancel", token=token, status=422, json={})


def test_what_failed_is_tried_again(api: Served, token: str) -> None:
    failed = started(api, token, FAILING)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "core.Failed")
    path = f"/instances/{failed['id']}"
    assert api("GET", f"{path}/output", token=token, status=409).json()["code"] == "conflict"
    api("POST", f"{path}/retry", token=token, status=200, json={})
    assert api("GET", f"{path}?wait=30s", token=token).json()["state"] == "failed"
    (task,) = api("GET", f"{path}/tasks?state=failed", token=token).json()["items"]
    assert (task["path"], task["attempt"]) == ("a", 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "pointer"),
    [
        ("POST", "/instances", {"definition": "hello", "extra": 1}, 422, "/body/extra"),
        ("POST", "/instances", {}, 422, "/body/definition"),
        ("POST", "/instances", {"definition": HELLO, "inputs": {"n": "x"}}, 422, "/n"),
        ("POST", "/instances", {"definition": {"dsl": "1"}}, 422, "/name"),
        ("GET", "/instances?limit=501", None, 422, "/query/limit"),
        ("GET", "/instances?state=done", None, 422, "/query/state/0"),
        ("POST", "/keys", {"name": "x", "scopes": ["reed:*"]}, 422, "/scopes/0"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    api: Served, token: str, method: str, path: str, body: Any, status: int, pointer: str
) -> None:
    found = api(method, path, token=token, status=status, json=body)
    assert found.headers["content-type"] == "application/problem+json"
    assert pointer in {error["pointer"] for error in found.json()["errors"]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/instances/nonsense", 404),
        ("/instances/0190a000-0000-7000-8000-000000000001/tasks", 404),
        ("/instances?after=nonsense", 422),
        ("/instances?label=nonsense", 422),
        ("/instances/nonsense?wait=soon", 404),
        ("/definitions?after=nonsense", 422),
        ("/audit?after=0", 422),
    ],
)
def test_what_is_not_there(api: Served, token: str, path: str, status: int) -> None:
    assert api("GET", path, token=token, status=status).json()["status"] == status


def test_a_file_of_the_server_is_no_definition(api: Served, token: str) -> None:
    for name in ("/etc/passwd", "../flow.json", "flow.json", "hello@../../x"):
        found = api("POST", "/instances", token=token, json={"definition": name})
        assert found.status_code == 404, found.text


def test_the_process_and_what_it_serves(api: Served, token: str) -> None:
    assert api("GET", "/live", status=200).json() == {"status": "ok"}
    assert api("GET", "/ready", status=200).json() == {"status": "ok"}
    assert set(api("GET", "/version", status=200).json()) == {"version", "schema"}
    started(api, token)
    engines = api("GET", "/engines", token=token, status=200).json()["items"]
    assert [each["state"] for each in engines] == ["alive"]
    known = {each["name"]: each for each in api("GET", "/executors", token=token, status=200).json()["items"]}
    assert known["core.sleep"]["engines"] == 1
    assert known["core.sleep"]["config_schema"]["required"] == ["seconds"]
    assert "shell.run" not in known
    assert api("GET", "/statistics", token=token, status=200).json()["total"]["completed"] == 1
    events = api("GET", "/events?name=instance.*&name=engine.*", token=token, status=200).json()
    assert [each["name"] for each in events["items"]][-1] == "instance.completed"
    assert api("GET", f"/events?after={events['next']}", token=token).json()["items"] == []


def test_events_are_pages_and_what_was_deleted_unread_is_told(api: Served, token: str) -> None:
    run = api("POST", "/instances?wait=30s", token=token, status=201, json={"definition": HELLO}).json()
    first = api("GET", "/events?limit=1", token=token, status=200).json()
    assert (len(first["items"]), first["more"], first["lost"]) == (1, True, 0)
    whole = api("GET", "/events", token=token, status=200).json()
    assert whole["items"][0] == first["items"][0]
    of_run = api("GET", f"/events?instance={run['id']}&name=instance.*", token=token, status=200).json()
    assert [each["name"] for each in of_run["items"]][-1] == "instance.completed"
    api("DELETE", f"/instances/{run['id']}", token=token, status=204)
    later = api("GET", f"/events?after={first['next']}", token=token, status=200).json()
    assert int(first["next"]) < later["lost"] <= int(whole["next"])
