"""What tasks say, through HTTP: live and later, searched, exported, deleted."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from strataflow.repositories.database import Database
from strataflow.repositories.tables import LOGS
from tests.integration.kit import until
from tests.rest.conftest import Served
from tests.rest.test_instances import pages, started

SAYING: dict[str, Any] = {
    "dsl": "1",
    "name": "saying",
    "nodes": {
        "a": {"run": "core.log", "with": {"level": "info", "message": "Über 50% done_"}},
        "b": {"run": "core.log", "with": {"level": "warning", "message": "refused"}, "needs": ["a"]},
        "w": {"wait": {"signal": "go"}, "needs": ["b"]},
        "c": {"run": "core.log", "with": {"level": "error", "message": "the end"}, "needs": ["w"]},
    },
}


@pytest.mark.row("A-16")
def test_log_lines_are_read_live_and_later(api: Served, token: str) -> None:
    """The run waits for a signal: what was said before it is read while it lives, with the run's id."""
    run = api("POST", "/instances", token=token, status=201, json={"definition": SAYING}).json()["id"]
    path = f"/instances/{run}/logs"
    until(lambda: len(api("GET", path, token=token).json()["items"]) == 2)
    assert api("GET", f"/instances/{run}", token=token).json()["ended_at"] is None
    live = pages(api, token, path, 1)
    assert [(each["path"], each["level"]) for each in live] == [("a", "info"), ("b", "warning")]
    api("POST", f"/instances/{run}/signals", token=token, status=200, json={"name": "go"})
    assert api("GET", f"/instances/{run}?wait=30s", token=token).json()["state"] == "completed"
    rest = pages(api, token, f"{path}?after={live[-1]['seq']}")
    assert [each["message"] for each in rest] == ["the end"], (
        "who goes on behind the last line misses nothing"
    )
    assert pages(api, token, path) == live + rest
    other = started(api, token)["id"]
    assert pages(api, token, f"/instances/{other}/logs") == []


@pytest.mark.row("X-42")
def test_logs_are_filtered_exported_and_cleaned_up(api: Served, token: str) -> None:
    run = api("POST", "/instances", token=token, status=201, json={"definition": SAYING}).json()["id"]
    api("POST", f"/instances/{run}/signals", token=token, status=200, json={"name": "go"})
    assert api("GET", f"/instances/{run}?wait=30s", token=token).json()["state"] == "completed"
    path = f"/instances/{run}/logs"
    whole = pages(api, token, path)
    for query, expected in {
        "path=b": ["b"],
        "level=warning": ["b", "c"],
        "level=error": ["c"],
        "search=REFUSED": ["b"],
        "search=über": ["a"],
        "search=0%25 d": ["a"],
        "search=_": ["a"],
        "search=nothing": [],
        f"until={whole[0]['at']}": ["a"],
        f"since={whole[2]['at']}": ["c"],
        f"since={whole[1]['at']}&until={whole[1]['at']}": ["b"],
    }.items():
        assert [each["path"] for each in pages(api, token, f"{path}?{query}")] == expected, query
        exported = api("GET", f"{path}/export?{query}", token=token, status=200)
        assert [json.loads(line)["path"] for line in exported.text.splitlines()] == expected, query
    exported = api("GET", f"{path}/export", token=token, status=200)
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in exported.text.splitlines()] == whole

    old = int((datetime.now(UTC) - timedelta(days=40)).timestamp() * 1_000_000)
    database = Database(api.urls["main"])
    with database.write() as connection:
        connection.execute(update(LOGS).where(LOGS.c.path == "a").values(at=old))
    database.close()
    gone = api("DELETE", f"{path}?until=2020-01-01T00:00:00Z", token=token, status=200).json()
    assert gone == {"deleted": 0, "more": False}
    before = datetime.now(UTC) - timedelta(days=30)
    gone = api("DELETE", path, token=token, status=200, params={"until": before.isoformat()}).json()
    assert gone == {"deleted": 1, "more": False}
    assert [each["path"] for each in pages(api, token, path)] == ["b", "c"]
    assert api("DELETE", "/logs?older=1h", token=token, status=200).json() == {"deleted": 0, "more": False}
    assert api("DELETE", path, token=token, status=200).json()["deleted"] == 2
    assert pages(api, token, path) == []
    assert api("GET", f"/instances/{run}", token=token, status=200).json()["state"] == "completed"


def test_old_lines_of_all_runs_are_deleted(api: Served, token: str) -> None:
    run = api("POST", "/instances", token=token, status=201, json={"definition": SAYING}).json()["id"]
    until(lambda: len(api("GET", f"/instances/{run}/logs", token=token).json()["items"]) == 2)
    assert api("DELETE", "/logs?older=1ms&name=other", token=token, status=200).json()["deleted"] == 0
    assert api("DELETE", "/logs?older=1ms&state=completed", token=token, status=200).json()["deleted"] == 0
    assert api("DELETE", "/logs?older=1ms", token=token, status=200).json() == {"deleted": 2, "more": False}
    for wrong in ("", "?older=soon", "?older=1d&state=done"):
        api("DELETE", f"/logs{wrong}", token=token, status=422)
    for wrong in (
        "level=loud",
        "search=",
        "since=soon",
        "after=-1",
        "after=99999999999999999999",
        "search=%00",
    ):
        api("GET", f"/instances/{run}/logs?{wrong}", token=token, status=422)
    reader = api.token("read:logs")
    api("DELETE", "/logs?older=1d", token=reader, status=403)
