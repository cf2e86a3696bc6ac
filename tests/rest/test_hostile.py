"""What nobody should send: every parameter and every field of every call, with what breaks databases and parsers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from strataflow.engine.vault import new_master_key
from tests.rest.conftest import API, GATED, HELLO, Served
from tests.rest.test_gate import filled

#: Percent-encoded.
PATHS = (
    "%00",
    "%01",
    "%F0%9F%A4%A1",
    "%ED%A0%80",
    "'",
    "a@b",
    "%25",
    "-1",
    "9" * 40,
    "%2e%2e",
    "x" * 300,
    "hello@1",
)
QUERIES = (
    "%00",
    "%ED%A0%80",
    "x" * 5_000,
    "9" * 40,
    "-1",
    "nan",
    "1e999",
    "",
    "%5B",
    "2026-11-20T00:00:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "bnVsbA",
    "WzEsMl0",
    "P1D",
)
VALUES: tuple[Any, ...] = (
    "\x00",
    "\ud800",
    "",
    " ",
    "x" * 100_000,
    10**400,
    -(10**30),
    float("inf"),
    float("nan"),
    1.5,
    True,
    None,
    [],
    {},
    ["\x00"],
    ["\ud800"],
    {"\x00": "\x00"},
    {"\ud800": "\ud800"},
    [[[[]]]],
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "{{ 1 / 0 }}",
    "hello@²",
)
#: Calls that do not end by themselves.
ENDLESS = "text/event-stream"
#: What makes a body of each model a good one; the rest may be absent.
GOOD: dict[str, Any] = {
    "definition": "hello",
    "task_spec": HELLO,
    "task": {"steps": [{"name": "a", "action": "core.noop"}]},
    "name": "n",
    "cron": "15 2 * * *",
    "pattern": "x.*",
    "scopes": ["read:logs"],
    "tasks": ["a"],
    "to": "hello@1",
    "entry": "0190a000-0000-7000-8000-000000000001",
    "entries": ["0190a000-0000-7000-8000-000000000001"],
    "before": "hello@1",
    "after": "hello@1",
    "state": "active",
    "start": "2026-01-01T00:00:00Z",
    "end": "2026-01-01T00:00:00Z",
    "concurrency": 1,
}
DOCUMENTS = ("/definitions", "/definitions/validate", "/definitions/graph")


def operations(api: Served) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Every call there is: method, path, entry, and the fields of its body."""
    document = api("GET", "/openapi.json", status=200).json()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            answers = [each.get("content", {}) for each in entry["responses"].values()]
            if any(ENDLESS in content for content in answers):
                continue
            content = entry.get("requestBody", {}).get("content", {})
            reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
            fields = schemas[reference.rpartition("/")[2]]["properties"] if reference else {}
            yield method.upper(), path.removeprefix(API), entry, fields


def body_of(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    found = {name: GOOD[name] for name in fields if name in GOOD}
    return found | ({"definition": HELLO} if path in DOCUMENTS else {})


class Told:
    """Sends requests, and collects what is wrong with their answers."""

    def __init__(self, api: Served, token: str) -> None:
        self._api, self._token = api, token
        self.wrong: list[str] = []

    def __call__(self, method: str, path: str, **more: Any) -> None:
        found = self._api(method, path, token=self._token, **more)
        call = f"{method} {path[:200]} {str(more)[:200]}: {found.status_code} {found.text[:300]}"
        if found.status_code >= 500:
            self.wrong.append(call)
        elif found.status_code >= 400 and not self._is_problem(found):
            self.wrong.append(f"no problem: {call}")

    @staticmethod
    def _is_problem(found: Any) -> bool:
        if found.headers["content-type"] != "application/problem+json":
            return False
        problem = found.json()
        pointers = [each["pointer"] for each in problem.get("errors", [])]
        is_known = problem["code"] and problem["request_id"] == found.headers["X-Request-Id"]
        return is_known and all(not pointer or pointer.startswith("/") for pointer in pointers)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", new_master_key())


@pytest.fixture
def told(api: Served, token: str) -> Iterator[Told]:
    found = Told(api, token)
    yield found
    assert found.wrong == []


@pytest.fixture
def used(api: Served, token: str) -> None:
    api("POST", "/definitions", token=token, status=201, json={"definition": HELLO, "activate": True})
    api("POST", "/instances?wait=30s", token=token, status=201, json={"definition": "hello"})
    api("POST", "/instances", token=token, status=201, json={"definition": GATED})


@pytest.mark.slow
@pytest.mark.long("sqlite")
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("used")
def test_paths_and_queries(api: Served, told: Told) -> None:
    for method, path, entry, fields in operations(api):
        call: dict[str, Any] = {"json": body_of(path, fields)} if method in {"POST", "PUT", "PATCH"} else {}
        for parameter in entry.get("parameters", []):
            name = parameter["name"]
            if parameter["in"] == "path":
                for value in PATHS:
                    place = filled(path.replace("{" + name + "}", value))
                    told(method, place, **call)
            elif parameter["in"] == "query":
                for value in QUERIES:
                    told(method, f"{filled(path)}?{name}={value}", **call)


@pytest.mark.slow
@pytest.mark.long("sqlite")
@pytest.mark.row("X-38")
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("used")
def test_bodies(api: Served, told: Told) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path, _, fields in operations(api):
        if not fields:
            continue
        place, good = filled(path), body_of(path, fields)
        for text in (b"", b"{", b"[]", b"null", b'"\xff"', b"\xef\xbb\xbf{}", b"1" * 5_000):
            told(method, place, content=text, headers=headers)
        told(method, place, content=json.dumps(good).encode("utf-16"), headers=headers)
        told(method, place, json=good | {"\x00": 1})
        for name in fields:
            for value in VALUES:
                text = json.dumps(good | {name: value}).encode()
                told(method, place, content=text, headers=headers)


def test_headers(told: Told) -> None:
    for value in ("\x7f", "x" * 1_001, '"', "W/", ",,", "é"):
        headers = {"If-Match": value.encode("latin-1"), "If-None-Match": value.encode("latin-1")}
        told("PUT", "/queues/mail/settings", json={}, headers=headers)
        told("GET", "/queues/mail/settings", headers=headers)
        told("DELETE", "/schedules/x", headers=headers)
    for value in ("\x7f", "x" * 201, "é"):
        headers = {"Idempotency-Key": value.encode("latin-1")}
        told("POST", "/queues/mail/resume", headers=headers)
