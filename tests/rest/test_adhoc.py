"""Runs of definitions that nobody has registered, as their callers write them: at the root and below the prefix."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from strataflow.api.rest.app import ServerLimits, create_app
from strataflow.repositories.migrate import upgrade
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from tests.rest.conftest import API, GATED, Served, listening

STEPS: dict[str, Any] = {
    "meta": {"title": "Greet"},
    "inputs": [{"name": "who", "type": "string", "required": True}],
    "steps": [
        {"name": "hello", "action": "core.noop", "params": {"text": "Hello {{ inputs.who }}"}},
        {"name": "again", "action": "core.noop", "params": {"text": "{{ steps.hello.output.text }}!"}},
    ],
}


@pytest.fixture(params=["", API], ids=["root", "prefix"])
def served(request: pytest.FixtureRequest, db_url: str, tmp_path: Path) -> Iterator[tuple[Served, str]]:
    upgrade(db_url)
    options = Options(executes=True, allow_local_code=False, create=True, grace_s=1.0)
    app = create_app(Namespaces({"main": db_url}, options), limits=ServerLimits(rate=0))
    limits = httpx.Limits(max_connections=200)
    with listening(app) as address, httpx.Client(base_url=address, timeout=60, limits=limits) as client:
        api = Served(client, {"main": db_url})
        client.headers["Authorization"] = f"Bearer {api.token()}"
        yield api, request.param


@pytest.mark.row("A-01", "A-04")
def test_an_ad_hoc_run_has_an_id_at_once_and_a_record(served: tuple[Served, str]) -> None:
    api, prefix = served
    body = {"task_spec": STEPS, "inputs": {"who": "Ana"}}
    made = api.client.post(f"{prefix}/tasks/run/ad_hoc", json=body)
    assert (made.status_code, set(made.json())) == (202, {"task_id"})
    task_id = made.json()["task_id"]
    record = api.client.get(f"{prefix}/tasks/{task_id}?wait=30s").json()
    assert (record["task_id"], record["inputs"], record["state"]) == (task_id, {"who": "Ana"}, "completed")
    assert [(step["name"], step["state"]) for step in record["steps"]] == [
        ("hello", "completed"),
        ("again", "completed"),
    ]
    assert record["definition"]["nodes"]["hello"]["run"] == "core.noop"
    assert api.client.get(f"{prefix}/tasks/0190a000-0000-7000-8000-000000000001").status_code == 404


@pytest.mark.row("A-01", "A-04")
def test_the_answer_does_not_wait_for_the_run(served: tuple[Served, str]) -> None:
    """The run waits for a signal that nobody has sent: an answer that waited for its end would never come."""
    api, prefix = served
    task_id = api.client.post(f"{prefix}/tasks/run/ad_hoc", json={"task_spec": GATED}).json()["task_id"]
    record = api.client.get(f"{prefix}/tasks/{task_id}").json()
    assert record["state"] in {"pending", "running"}
    assert record["ended_at"] is None
    api("POST", f"/instances/{task_id}/signals", status=200, json={"name": "go"})
    assert api.client.get(f"{prefix}/tasks/{task_id}?wait=30s").json()["state"] == "completed"


@pytest.mark.row("A-02")
def test_ids_are_unique_under_concurrent_submission(served: tuple[Served, str]) -> None:
    api, prefix = served
    body = {"task_spec": STEPS, "inputs": {"who": "Ana"}}

    def submit(_: int) -> str:
        found = api.client.post(f"{prefix}/tasks/run/ad_hoc", json=body)
        assert found.status_code == 202, found.text
        task_id: str = found.json()["task_id"]
        return task_id

    with ThreadPoolExecutor(120) as threads:
        ids = list(threads.map(submit, range(120)))
    assert len(set(ids)) == 120
    listed: set[str] = set()
    after = ""
    while True:
        page = api("GET", f"/instances?limit=50{after}", status=200).json()
        listed |= {each["id"] for each in page["items"]}
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert listed == set(ids)


@pytest.mark.row("A-03")
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/body/task_spec"),
        ({"task_spec": "hello"}, "/body/task_spec"),
        ({"task_spec": STEPS, "input": {}}, "/body/input"),
        ({"task_spec": {"steps": []}}, "/body/task_spec/steps"),
        (
            {"task_spec": {"steps": [{"name": "a", "action": "core.noop", "parms": {}}]}},
            "/body/task_spec/steps/0/parms",
        ),
        ({"task_spec": {"dsl": "1", "name": "x", "nodes": {}}}, "/body/task_spec/nodes"),
        (
            {"task_spec": {"dsl": "1", "name": "x", "nodes": {"a": {"run": "core.nop"}}}},
            "/body/task_spec/nodes/a/run",
        ),
        ({"task_spec": STEPS, "inputs": {"who": 7}}, "/body/inputs/who"),
    ],
)
def test_a_bad_spec_is_refused_with_its_field_and_nothing_is_queued(
    served: tuple[Served, str], body: Any, pointer: str
) -> None:
    api, prefix = served
    refused = api.client.post(f"{prefix}/tasks/run/ad_hoc", json=body)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert pointer in {error["pointer"] for error in refused.json()["errors"]}, refused.text
    assert api("GET", "/instances", status=200).json()["items"] == []
    assert api("GET", "/tasks", status=200).json()["items"] == []


def test_a_repeated_submission_under_a_key_is_one_task(served: tuple[Served, str]) -> None:
    api, prefix = served
    headers = {"Idempotency-Key": "once"}
    body = {"task_spec": STEPS, "inputs": {"who": "Ana"}}
    first, again = (
        api.client.post(f"{prefix}/tasks/run/ad_hoc", json=body, headers=headers) for _ in range(2)
    )
    assert first.json() == again.json()
    assert len(api("GET", "/instances", status=200).json()["items"]) == 1
