"""Tasks through HTTP: across runs, one with its course, tried again, cancelled, waited for."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.repositories import taskviews
from tests.integration.kit import until
from tests.rest.conftest import Served
from tests.rest.test_instances import FAILING, pages, started

SLEEP: dict[str, Any] = {
    "dsl": "1",
    "name": "slow",
    "nodes": {"a": {"run": "core.sleep", "with": {"seconds": 3600}, "queue": "mail"}},
}
MAP: dict[str, Any] = {
    "dsl": "1",
    "name": "wide",
    "nodes": {
        "each": {"map": [1, 2, 3], "do": {"run": "core.noop", "with": "{{ item }}"}},
        "last": {"run": "core.noop", "needs": ["each"], "queue": "late"},
    },
}


def start(api: Served, token: str, definition: Any, **more: Any) -> str:
    body = {"definition": definition, **more}
    found: str = api("POST", "/instances", token=token, status=201, json=body).json()["id"]
    return found


@pytest.mark.row("X-38")
def test_tasks_of_all_runs_in_pages(api: Served, token: str) -> None:
    wide = started(api, token, MAP, labels={"team": "a"}, tags=["nightly"])["id"]
    hello = started(api, token)["id"]
    failed = started(api, token, FAILING)["id"]
    found = [(each["instance"], each["path"]) for each in pages(api, token, "/tasks")]
    assert found == [
        (failed, "a"),
        (hello, "a"),
        (wide, "each"),
        (wide, "each[0]"),
        (wide, "each[1]"),
        (wide, "each[2]"),
        (wide, "last"),
    ]
    for query, expected in {
        "state=failed": [(failed, "a")],
        "state=failed&state=skipped&state=cancelled": [(failed, "a")],
        "queue=late": [(wide, "last")],
        "node=each&executed=true": [(wide, "each[0]"), (wide, "each[1]"), (wide, "each[2]")],
        "node=last": [(wide, "last")],
        "executor=core.fail": [(failed, "a")],
        f"instance={hello}": [(hello, "a")],
        "definition=hello": [(hello, "a")],
        "label=team=a&node=last": [(wide, "last")],
        "tag=nightly&node=last": [(wide, "last")],
        "state=queued": [],
        "instance=nonsense": [],
    }.items():
        listed = pages(api, token, f"/tasks?{query}")
        assert [(each["instance"], each["path"]) for each in listed] == expected, query
    (task,) = pages(api, token, "/tasks?state=failed")
    assert (task["definition"], task["instance_state"], task["node"], task["queue"]) == (
        "failing",
        "failed",
        "a",
        "default",
    )
    assert task["error"]["code"] == "core.Failed"


def test_one_task_with_everything_known_of_it(api: Served, token: str) -> None:
    retried: dict[str, Any] = {
        "dsl": "1",
        "name": "again",
        "nodes": {
            "a": {
                "run": "core.fail",
                "with": {"message": "no"},
                "retry": {"max": 1, "delay": "1ms"},
            }
        },
    }
    run = started(api, token, retried)["id"]
    task = api("GET", f"/instances/{run}/tasks/a", token=token, status=200).json()
    assert (task["state"], task["input"], task["output"]) == ("failed", {"message": "no"}, None)
    assert [(each["attempt"], each["ended"]) for each in task["attempts"]] == [(1, "retrying"), (2, "failed")]
    assert all(each["started_at"] <= each["ended_at"] and each["engine"] for each in task["attempts"])
    assert (task["failures"], task["progress"], task["checkpoint"]) == (2, None, None)
    wide = started(api, token, MAP)["id"]
    item = api("GET", f"/instances/{wide}/tasks/each[1]?wait=30s", token=token, status=200).json()
    assert (item["node"], item["input"], item["output"]) == ("each", 2, 2)
    for path in ("b", "%00", "a/b", "x" * 5000, "each[99]", "%23", "[", 'each["x"]'):
        found = api("GET", f"/instances/{wide}/tasks/{path}", token=token)
        assert found.status_code in {404, 422}, (path, found.text)


@pytest.mark.row("A-27")
def test_a_queued_and_a_running_task_are_cancelled(api: Served, token: str) -> None:
    running = start(api, token, SLEEP)
    path = f"/instances/{running}/tasks/a"
    until(lambda: api("GET", path, token=token).json().get("state") == "running")
    done = api("POST", f"{path}/cancel", token=token, status=200, json={"reason": "wrong"}).json()
    assert done["status"] == "accepted"
    ended = api("GET", f"{path}?wait=30s", token=token, status=200).json()
    assert ended["state"] == "cancelled"
    run = api("GET", f"/instances/{running}?wait=30s", token=token, status=200).json()
    assert (run["state"], run["reason"]) == ("cancelled", "wrong (tests)")

    api("POST", "/queues/mail/pause", token=token, status=200, json={})
    queued = start(api, token, SLEEP)
    path = f"/instances/{queued}/tasks/a"
    until(lambda: api("GET", path, token=token).json().get("state") == "queued")
    api("POST", f"{path}/cancel", token=token, status=200, json={})
    ended = api("GET", f"{path}?wait=30s", token=token, status=200).json()
    assert (ended["state"], ended["attempts"]) == ("cancelled", [])


def test_a_task_of_a_larger_run_is_not_taken_out_of_it(api: Served, token: str) -> None:
    run = start(api, token, MAP)
    refused = api("POST", f"/instances/{run}/tasks/last/cancel", token=token, json={})
    assert refused.status_code in {404, 409}
    api("GET", f"/instances/{run}?wait=30s", token=token, status=200)
    refused = api("POST", f"/instances/{run}/tasks/last/cancel", token=token, status=409, json={})
    assert "several tasks" in refused.json()["detail"]


def test_a_failed_task_is_tried_again(api: Served, token: str) -> None:
    run = started(api, token, FAILING)["id"]
    path = f"/instances/{run}/tasks/a"
    assert api("GET", path, token=token).json()["attempt"] == 1
    api("POST", f"{path}/retry", token=token, status=200, json={})
    api("GET", f"/instances/{run}?wait=30s", token=token, status=200)
    assert api("GET", path, token=token).json()["attempt"] == 2
    api("POST", f"/instances/{run}/tasks/nobody/retry", token=token, status=404, json={})
    api("POST", "/instances/nobody/tasks/a/retry", token=token, status=404, json={})


def test_a_wait_for_a_task_ends_when_its_time_is_over(api: Served, token: str) -> None:
    run = start(api, token, SLEEP)
    path = f"/instances/{run}/tasks/a"
    until(lambda: api("GET", path, token=token).status_code == 200)
    assert api("GET", f"{path}?wait=10ms", token=token, status=200).json()["ended_at"] is None
    api("GET", f"{path}?wait=soon", token=token, status=422)
    api("GET", "/instances/nobody/tasks/a?wait=1s", token=token, status=404)


def test_a_page_that_is_short_has_a_next_one(
    api: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call walks so many runs and no more; whoever follows the pages sees every task once."""
    monkeypatch.setattr(taskviews, "_RUNS", 2)
    monkeypatch.setattr(taskviews, "_STEPS", 1)
    failed = [started(api, token, FAILING)["id"]]
    for _ in range(5):
        started(api, token)
    failed.append(started(api, token, FAILING)["id"])
    first = api("GET", "/tasks?state=failed", token=token, status=200).json()
    assert [each["instance"] for each in first["items"]] == failed[1:]
    second = api("GET", f"/tasks?state=failed&after={first['next']}", token=token, status=200).json()
    assert (second["items"], second["next"] is None) == ([], False)
    assert [each["instance"] for each in pages(api, token, "/tasks?state=failed", 1)] == failed[::-1]
    found = [(each["instance"], each["path"]) for each in pages(api, token, "/tasks", 1)]
    assert len(set(found)) == len(found) == 7
