"""Who may call what: every route needs a key, with its scope, of its namespace; and what is remembered of it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter
from sqlalchemy import select, update

from strataflow.api.rest.app import ServerLimits
from strataflow.api.rest.callers import Callers
from strataflow.api.rest.gate import NEED, PUBLIC, GuardedRoute
from strataflow.api.rest.problems import Refused
from strataflow.api.rest.rates import Rates
from strataflow.engine.vault import new_master_key
from strataflow.repositories.access_tables import REQUESTS
from strataflow.repositories.database import Database
from strataflow.services.access.keys import KeyService
from strataflow.services.access.scopes import RESOURCES, VERBS
from tests.integration.kit import until
from tests.rest.conftest import API, GATED, HELLO, Serve, Served

FILLED = {
    "{id}": "0190a000-0000-7000-8000-000000000001",
    "{name}": "hello",
    "{version}": "1",
    "{operation}": "pause",
    "{path}": "a",
    "{task_id}": "0190a000-0000-7000-8000-000000000001",
}


def routes(api: Served) -> list[tuple[str, str, str]]:
    """Every call there is: method, path without the prefix, scope."""
    document = api("GET", "/openapi.json", status=200).json()
    return [
        (method.upper(), path.removeprefix(API), entry[NEED])
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
    ]


def filled(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    assert "{" not in path, path
    return path


def test_every_route_times_every_scope(api: Served) -> None:
    """With the scope it is anything but 401 and 403; with all others together it is 403; without a key 401."""
    found = routes(api)
    assert len(found) > 30
    everything = [f"{verb}:{resource}" for verb in VERBS for resource in RESOURCES]
    needs = {need for _, _, need in found} - {PUBLIC}
    keys = {
        need: (api.token(*(each for each in everything if each != need)), api.token(need)) for need in needs
    }
    for method, path, need in found:
        call: dict[str, Any] = {"json": {}} if method in {"POST", "PUT"} else {}
        if need == PUBLIC:
            api(method, filled(path), status=200)
            continue
        api(method, filled(path), status=401, **call)
        others, enough = keys[need]
        refused = api(method, filled(path), token=others, status=403, **call)
        assert refused.json()["hint"] == f"It needs the scope {need}."
        if path != "/instances/import":  # it needs a second scope: tests/security/test_matrix.py
            assert api(method, filled(path), token=enough, **call).status_code not in {401, 403, 500}


def test_a_key_opens_its_own_namespace_alone(serve: Serve) -> None:
    with serve(namespaces=("main", "other")) as api:
        mine, theirs = api.token(), api.token(namespace="other")
        started = api("POST", "/instances", token=mine, status=201, json={"definition": GATED}).json()["id"]
        assert api("GET", "/instances", token=mine, status=200).json()["items"][0]["id"] == started
        assert api("GET", "/instances", token=theirs, status=200).json()["items"] == []
        api("GET", f"/instances/{started}", token=theirs, status=404)
        api("POST", f"/instances/{started}/cancel", token=theirs, status=404, json={})
        forged = theirs.replace("sf1.other.", "sf1.main.")
        api("GET", "/instances", token=forged, status=401)
        for header in ({"X-Namespace": "other"}, {"Namespace": "other"}):
            assert api("GET", "/instances?namespace=other", token=mine, headers=header).json()["items"] != []


def test_keys_that_are_over(api: Served) -> None:
    short = api.token("read:instances", lifetime_s=0.001)
    until(lambda: api("GET", "/instances", token=short).status_code == 401)
    admin = api.token()
    made = api("POST", "/keys", token=admin, status=201, json={"name": "ci", "scopes": ["read:*"]}).json()
    api("GET", "/instances", token=made["token"], status=200)
    assert "token" not in api("GET", f"/keys/{made['id']}", token=admin, status=200).json()
    api("DELETE", f"/keys/{made['id']}", token=admin, status=200)
    api("GET", "/instances", token=made["token"], status=401)
    for text in ("", "Bearer", "Basic abc", f"Bearer {admin} x", f"Token {admin}"):
        assert api.client.get(f"{API}/instances", headers={"Authorization": text}).status_code == 401


def test_what_was_done_and_denied_is_remembered(api: Served) -> None:
    reader, writer = api.token("read:instances"), api.token()
    api("POST", "/instances", token=reader, status=403, json={"definition": HELLO})
    api("POST", "/instances", token=writer, status=201, json={"definition": HELLO})
    api("POST", "/instances", token=writer, status=404, json={"definition": "nobody"})
    entries = api("GET", "/audit", token=writer, status=200).json()["items"]
    told = [(each["action"], each["outcome"], each["status"]) for each in entries]
    assert told == [
        ("start:instances", "failed", 404),
        ("start:instances", "done", 201),
        ("start:instances", "denied", 403),
    ]
    assert all(each["target"] == f"POST {API}/instances" and each["request_id"] for each in entries)


def test_a_route_that_does_not_say_what_it_needs_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="does not say what it needs"):
        router.add_api_route("/open", lambda: None)
    with pytest.raises(ValueError, match="no scope"):
        router.add_api_route("/open", lambda: None, openapi_extra={NEED: "read:secrets-of-others"})


def test_a_repeated_write_is_done_once(api: Served, token: str) -> None:
    headers = {"Idempotency-Key": "order-1"}
    body = {"definition": HELLO, "inputs": {"n": 4}}
    first = api("POST", "/instances", token=token, status=201, json=body, headers=headers)
    again = api("POST", "/instances", token=token, status=201, json=body, headers=headers)
    assert again.json() == first.json()
    assert (again.headers["Idempotent-Replayed"], again.headers["Location"]) == (
        "true",
        first.headers["Location"],
    )
    assert len(api("GET", "/instances", token=token).json()["items"]) == 1
    other = api("POST", "/instances", token=token, status=422, json={"definition": HELLO}, headers=headers)
    assert other.json()["code"] == "idempotency_key"
    api("POST", "/instances", token=token, status=400, json=body, headers={"Idempotency-Key": "x" * 201})
    api("POST", "/instances", token=api.token(), status=201, json=body, headers=headers)
    assert len(api("GET", "/instances", token=token).json()["items"]) == 2, "a key is of one caller"


def test_a_write_whose_process_died_makes_the_same_run(api: Served, token: str) -> None:
    """A crash after the start and before its answer was kept: whoever asks again gets that run and no second one."""
    headers = {"Idempotency-Key": "order-2"}
    body = {"definition": HELLO}
    first = api("POST", "/instances", token=token, status=201, json=body, headers=headers).json()
    database = Database(api.urls["main"])
    with database.write() as connection:
        connection.execute(update(REQUESTS).values(status=None, headers=None, body=None))
    early = api("POST", "/instances", token=token, status=409, json=body, headers=headers)
    assert early.json()["code"] == "in_progress"
    with database.write() as connection:
        connection.execute(update(REQUESTS).values(at=0))
    database.close()
    again = api("POST", "/instances", token=token, status=201, json=body, headers=headers)
    assert again.json()["id"] == first["id"]
    assert "Idempotent-Replayed" not in again.headers
    assert len(api("GET", "/instances", token=token).json()["items"]) == 1


def test_nothing_is_kept_of_calls_that_a_secret_goes_through(
    api: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", new_master_key())
    key = api("POST", "/keys", token=token, status=201, json={"name": "ci", "scopes": ["read:*"]}).json()[
        "id"
    ]
    document = api("GET", "/openapi.json").json()["paths"]
    found = {
        (method.upper(), path.removeprefix(API))
        for path, methods in document.items()
        for method, entry in methods.items()
        if entry.get("x-unkept")
    }
    calls: list[tuple[str, str, str, Any]] = [
        ("POST", "/keys", "/keys", {"name": "x", "scopes": ["read:*"]}),
        ("POST", "/keys/{id}/rotate", f"/keys/{key}/rotate", {}),
        ("PUT", "/secrets/{name}", "/secrets/bank", {"value": "s3cr3t"}),
        (
            "POST",
            "/webhooks",
            "/webhooks",
            {"name": "w", "url": "https://example.com/", "events": ["task.*"]},
        ),
        ("POST", "/webhooks/{name}/rotate", "/webhooks/w/rotate", {}),
    ]
    assert found == {(method, route) for method, route, _, _ in calls}
    for method, _, path, body in calls:
        refused = api(method, path, token=token, status=400, json=body, headers={"Idempotency-Key": "once"})
        assert refused.json()["code"] == "idempotency_key"
        assert api(method, path, token=token, json=body).status_code in {200, 201}, path
    database = Database(api.urls["main"])
    with database.read() as connection:
        assert connection.execute(select(REQUESTS)).all() == []
    database.close()


def test_a_path_that_no_database_could_store_is_audited_as_it_was_sent(api: Served, token: str) -> None:
    api("POST", "/webhooks/%00%0a/enable", token=token, status=422)
    entry = api("GET", "/audit", token=token, status=200).json()["items"][0]
    assert entry["target"] == f"POST {API}/webhooks/%00%0a/enable"


@pytest.mark.parametrize("what", ["fork", "rerun"])
def test_new_runs_of_old_ones_are_made_once(api: Served, token: str, what: str) -> None:
    run = api("POST", "/instances?wait=30s", token=token, status=201, json={"definition": HELLO, "key": "k"})
    call = f"/instances/{run.json()['id']}/{what}"
    body = {"tasks": ["a"]} if what == "fork" else {}
    headers = {"Idempotency-Key": what}
    first = api("POST", call, token=token, status=201, json=body, headers=headers).json()
    database = Database(api.urls["main"])
    with database.write() as connection:
        connection.execute(update(REQUESTS).values(status=None, headers=None, body=None, at=0))
    database.close()
    again = api("POST", call, token=token, status=201, json=body, headers=headers).json()
    assert again["id"] == first["id"]
    assert len(api("GET", "/instances", token=token).json()["items"]) == 2


def test_a_key_that_another_process_revokes_is_soon_worthless(api: Served) -> None:
    """What was found of a key is believed for a second, and no longer."""
    token = api.token()
    key = api("GET", "/keys", token=token, status=200).json()["items"][0]["id"]
    database = Database(api.urls["main"])
    KeyService(database, "main").revoke(key)
    database.close()
    until(lambda: api("GET", "/instances", token=token).status_code == 401)


def test_guessing_is_remembered(api: Served, token: str) -> None:
    forged = f"{token[:-4]}AAAA"
    for _ in range(3):
        api("GET", "/instances", token=forged, status=401)
    entries = api("GET", "/audit", token=token, status=200).json()["items"]
    told = [(each["who"], each["action"], each["outcome"], each["status"]) for each in entries]
    assert told == [("nobody", "authenticate", "denied", 401)] * 3


def test_guessing_is_slow() -> None:
    """With a clock that stands still there are twenty guesses from one address; a second later one more."""
    now = [0.0]
    served: Any = SimpleNamespace(
        serves=lambda _: True, keys=lambda _: SimpleNamespace(authenticate=lambda _: None)
    )
    callers = Callers(served, Rates(0, 0), authenticate=True, clock=lambda: now[0])
    header = f"Bearer sf1.main.{'0' * 32}.{'A' * 43}"

    def guess(address: str) -> int:
        with pytest.raises(Refused) as refused:
            asyncio.run(callers.recognise(header, address))
        return refused.value.status

    assert [guess("10.0.0.1") for _ in range(22)] == [401] * 20 + [429] * 2
    assert guess("10.0.0.2") == 401, "others are not hindered"
    now[0] = 1.0
    assert [guess("10.0.0.1") for _ in range(2)] == [401, 429]


@pytest.mark.parametrize(
    ("field", "value"), [("key", ""), ("queue", "no queue"), ("priority", 10**9), ("labels", {"": "x"})]
)
def test_what_a_start_may_not_say(api: Served, token: str, field: str, value: Any) -> None:
    found = api("POST", "/instances", token=token, status=422, json={"definition": HELLO, field: value})
    assert found.json()["code"] == "request"


def test_what_was_read_has_a_tag(api: Served, token: str) -> None:
    first = api("GET", "/instances", token=token, status=200)
    same = api("GET", "/instances", token=token, status=304, headers={"If-None-Match": first.headers["ETag"]})
    assert same.content == b""
    api("POST", "/instances", token=token, status=201, json={"definition": HELLO})
    api("GET", "/instances", token=token, status=200, headers={"If-None-Match": first.headers["ETag"]})


def test_rates_bodies_depth_and_hosts(serve: Serve) -> None:
    walls = ServerLimits(max_body=1000, max_depth=8, rate=0.001, burst=3)
    with serve(limits=walls, hosts=frozenset({"127.0.0.1"})) as api:
        token = api.token()
        large: Any = {"definition": "x" * 2000}
        found = api("POST", "/instances", token=token, status=413, json=large)
        assert found.json()["code"] == "too_large"
        chunks = (b"x" * 600 for _ in range(2))
        api("POST", "/instances", token=token, status=413, content=chunks)
        deep = b'{"definition": ' + b"[" * 8 + b"]" * 8 + b"}"
        assert api("POST", "/instances", token=token, status=413, content=deep).json()["code"] == "too_deep"
        text = json.dumps({"definition": '[[[[[[[[[[\\"[[[[['}).encode()
        api(
            "POST",
            "/instances",
            token=token,
            status=404,
            content=text,
            headers={"content-type": "application/json"},
        )
        api(
            "POST",
            "/instances",
            token=token,
            status=400,
            content=b'{"a": "[',
            headers={"content-type": "application/json"},
        )
        api("GET", "/instances", token=token, status=200)
        slow = api("GET", "/instances", token=token, status=429)
        assert int(slow.headers["Retry-After"]) > 0
        wrong = api("GET", "/live", status=400, headers={"Host": "evil.example"})
        assert wrong.json()["code"] == "host"


def test_every_answer_has_an_id_and_cannot_be_framed(api: Served) -> None:
    for found in (
        api("GET", "/live", status=200),
        api("GET", "/nowhere", status=404),
        api("GET", "/instances", status=401),
    ):
        assert found.headers["X-Request-Id"]
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in found.headers["Content-Security-Policy"]
    problem = api("GET", "/nowhere").json()
    assert (problem["status"], problem["code"], problem["title"]) == (404, "not_found", "Not Found")
