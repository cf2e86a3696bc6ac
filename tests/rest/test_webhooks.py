"""Webhooks over HTTP: who may make and see them, and that a secret is shown once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from strataflow.engine import webhooks as module
from strataflow.engine.vault import new_master_key
from tests.integration.kit import until
from tests.integration.webhook_kit import Receiver, receiving
from tests.rest.conftest import HELLO, Serve, Served


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", new_master_key("k1"))
    monkeypatch.setenv("STRATAFLOW_EGRESS_ALLOW", "127.0.0.0/8")
    monkeypatch.setattr(module, "_IDLE_S", 0.05)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def wish(receiver: Receiver, **more: Any) -> dict[str, Any]:
    return {"name": "hook", "url": f"{receiver.url}/x", "events": ["instance.*"], **more}


def test_a_webhook_from_its_making_to_its_end(api: Served, token: str, receiver: Receiver) -> None:
    made = api("POST", "/webhooks", token=token, json=wish(receiver), status=201).json()
    secret = made["secret"]
    assert (made["state"], made["created_by"], secret[:6]) == ("enabled", "tests", "whsec_")
    api("POST", "/webhooks", token=token, json=wish(receiver), status=409)
    api("POST", "/definitions", token=token, json=HELLO)
    api("POST", "/instances", token=token, json={"definition": HELLO, "wait": "20s"})
    sent = api("POST", "/webhooks/hook/test", token=token, status=202).json()
    got = next(each for each in receiver.wait(1, "webhook.test"))
    assert (got.id, got.signed_by(secret)) == (sent["id"], True)
    one = f"/webhooks/hook/deliveries/{sent['id']}"
    until(lambda: api("GET", one, token=token, status=200).json()["state"] == "delivered")
    assert api("GET", one, token=token).json()["body"]["type"] == "webhook.test"
    assert api("POST", f"{one}/redeliver", token=token, status=202).json()["state"] == "pending"
    receiver.wait(2, "webhook.test")
    first = api("GET", "/webhooks/hook/deliveries?limit=1", token=token, status=200).json()
    assert len(first["items"]) == 1
    found = api("GET", "/webhooks/hook/deliveries?state=dead&event=x.y", token=token, status=200).json()
    assert found == {"items": [], "next": None}
    assert api("POST", "/webhooks/hook/redeliver", token=token, status=202).json() == {"redelivered": 0}
    changed = api("PATCH", "/webhooks/hook", token=token, json={"events": ["task.*"]}, status=200).json()
    assert (changed["events"], changed["url"]) == (["task.*"], f"{receiver.url}/x")
    assert api("POST", "/webhooks/hook/disable", token=token, status=200).json()["state"] == "disabled"
    api("POST", "/webhooks/hook/test", token=token, status=409)
    assert api("POST", "/webhooks/hook/enable", token=token, status=200).json()["state"] == "enabled"
    rotated = api("POST", "/webhooks/hook/rotate", token=token, json={"overlap": "1h"}, status=201).json()
    assert rotated["secret"] != secret
    assert rotated["old_secret_until"] is not None
    shown = [
        *(
            api("GET", path, token=token, status=200).text
            for path in ("/webhooks", "/webhooks/hook", "/audit")
        ),
        api("GET", "/webhooks/hook/deliveries", token=token, status=200).text,
    ]
    assert not any(each in text for text in shown for each in (secret, rotated["secret"], "sealed"))
    api("DELETE", "/webhooks/hook", token=token, status=204)
    api("GET", "/webhooks/hook", token=token, status=404)


def test_deliveries_come_in_pages(api: Served, token: str, receiver: Receiver) -> None:
    api("POST", "/webhooks", token=token, json=wish(receiver), status=201)
    ids = [api("POST", "/webhooks/hook/test", token=token, status=202).json()["id"] for _ in range(5)]
    seen: list[str] = []
    path = "/webhooks/hook/deliveries?limit=2&event=webhook.test"
    after = ""
    while True:
        page = api("GET", path + after, token=token, status=200).json()
        seen += [each["id"] for each in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://10.0.0.1/"},
        {"url": "x"},
        {"url": None},
        {"events": []},
        {"events": None},
        {"events": ["webhook.*"]},
        {"events": ["x" * 1000]},
        {"events": ["*" * 100 + "x"]},
        {"events": ["\0"]},
        {"events": ["[" * 100]},
        {"definition": ""},
        {"definition": "a\0"},
        {"name": "a b"},
        {"name": "\0"},
        {"more": 1},
    ],
)
def test_what_cannot_be_is_refused_and_says_where(
    api: Served, token: str, receiver: Receiver, change: dict[str, Any]
) -> None:
    found = api("POST", "/webhooks", token=token, json=wish(receiver, **change), status=422).json()
    field = next(iter(change))
    assert any(field in error["pointer"] for error in found["errors"])


@pytest.mark.parametrize(
    "body", [b'{"name": "\\ud800"', b'{"url": "\\ud800", "name": "a", "events": ["instance.*"]}']
)
def test_hostile_texts_are_refused(api: Served, token: str, body: bytes) -> None:
    found = api("POST", "/webhooks", token=token, content=body, headers={"content-type": "application/json"})
    assert 400 <= found.status_code < 500


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/webhooks?after=x"),
        ("GET", "/webhooks/hook/deliveries?state=x"),
        ("GET", "/webhooks/hook/deliveries?after=x"),
        ("GET", "/webhooks/hook/deliveries/x"),
        ("GET", "/webhooks/hook/deliveries/%00"),
        ("GET", "/webhooks/%00"),
    ],
)
def test_what_is_no_name_is_refused(
    api: Served, token: str, receiver: Receiver, method: str, path: str
) -> None:
    api("POST", "/webhooks", token=token, json=wish(receiver), status=201)
    api(method, path, token=token, status=422)


def test_a_secret_is_not_kept_for_a_request_that_is_repeated(
    api: Served, token: str, receiver: Receiver
) -> None:
    headers = {"Idempotency-Key": "once"}
    found = api("POST", "/webhooks", token=token, json=wish(receiver), headers=headers, status=400).json()
    assert found["code"] == "idempotency_key"
    api("GET", "/webhooks/hook", token=token, status=404)


def test_one_scope_reads_another_changes_and_no_namespace_sees_the_other(
    serve: Serve, receiver: Receiver
) -> None:
    with serve(namespaces=("main", "other")) as api:
        reader, writer = api.token("read:webhooks"), api.token("admin:webhooks")
        api("POST", "/webhooks", token=reader, json=wish(receiver), status=403)
        api("POST", "/webhooks", token=writer, json=wish(receiver), status=201)
        api("GET", "/webhooks/hook", token=reader, status=200)
        for path in ("/webhooks", "/webhooks/hook", "/webhooks/hook/deliveries"):
            api("GET", path, token=writer, status=403)
        for path in ("test", "rotate", "redeliver", "enable", "disable"):
            api("POST", f"/webhooks/hook/{path}", token=reader, json={}, status=403)
        stranger = api.token(namespace="other")
        assert api("GET", "/webhooks", token=stranger, status=200).json()["items"] == []
        api("DELETE", "/webhooks/hook", token=stranger, status=404)


def test_without_a_master_key_the_server_says_so(
    api: Served, token: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRATAFLOW_MASTER_KEYS")
    found = api("POST", "/webhooks", token=token, json=wish(receiver), status=503).json()
    assert (found["code"], "new-master-key" in found["hint"]) == ("vault", True)


def test_networks_that_are_allowed_by_an_option_are_allowed_for_new_webhooks(
    serve: Serve, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRATAFLOW_EGRESS_ALLOW")
    with serve() as api:
        api("POST", "/webhooks", token=api.token(), json=wish(receiver), status=422)
    with serve(options={"egress_allow": ("127.0.0.0/8",)}) as api:
        api("POST", "/webhooks", token=api.token(), json=wish(receiver), status=201)
        api("POST", "/webhooks/hook/test", token=api.token(), status=202)
        receiver.wait(1, "webhook.test")
