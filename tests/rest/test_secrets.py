"""The secrets store over HTTP: written and listed, never read."""

from __future__ import annotations

import pytest

from strataflow.engine.vault import new_master_key
from tests.integration.kit import Flow, until
from tests.integration.test_secrets import CANARY, places
from tests.rest.conftest import Serve, Served


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", new_master_key("k1"))


def test_no_answer_has_a_value(api: Served, token: str) -> None:
    answers = [
        api("PUT", "/secrets/bank", token=token, json={"value": CANARY}, status=200),
        api("PUT", "/secrets/bank", token=token, json={"value": CANARY}, status=200),
        api("PUT", "/secrets/other", token=token, json={"value": CANARY}, status=200),
        api("PUT", "/secrets/a b", token=token, json={"value": CANARY}, status=422),
        api("PUT", "/secrets/bank", token=token, json={"value": CANARY, "more": CANARY}, status=422),
        api("PUT", "/secrets/bank", token=token, json={"value": [CANARY]}, status=422),
        api("PUT", "/secrets/bank", token=token, json=CANARY, status=422),
        api("GET", "/secrets", token=token, status=200),
        api("GET", "/secrets/bank", token=token, status=405),
        api("GET", "/audit", token=token, status=200),
    ]
    assert answers[1].json()["version"] == 2
    assert answers[0].json()["created_by"] == "tests"
    listed = answers[7].json()
    assert [each["name"] for each in listed["items"]] == ["bank", "other"]
    flow = Flow(api.urls["main"])
    assert places(flow, *[answer.text for answer in answers]) == []
    flow.database.close()


def test_pages_and_deleting(api: Served, token: str) -> None:
    for name in ("a", "b", "c"):
        api("PUT", f"/secrets/{name}", token=token, json={"value": "x"}, status=200)
    first = api("GET", "/secrets?limit=2", token=token, status=200).json()
    rest = api("GET", f"/secrets?limit=2&after={first['next']}", token=token, status=200).json()
    assert [e["name"] for e in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next"] is None
    api("DELETE", "/secrets/b", token=token, status=204)
    api("DELETE", "/secrets/b", token=token, status=404)
    for after in ("%00", "%ED%A0%80", "a" * 1000, ""):
        api("GET", f"/secrets?after={after}", token=token, status=422)


@pytest.mark.parametrize("value", ["", "x" * 65_537, "é" * 40_000])
def test_a_value_has_a_size(api: Served, token: str, value: str) -> None:
    api("PUT", "/secrets/a", token=token, json={"value": value}, status=422)


def test_a_lone_surrogate_is_refused(api: Served, token: str) -> None:
    body = b'{"value": "\\ud800"}'
    headers = {"content-type": "application/json"}
    found = api("PUT", "/secrets/a", token=token, content=body, headers=headers)
    assert found.status_code in {400, 422}


def test_without_a_master_key_the_server_says_so(
    api: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRATAFLOW_MASTER_KEYS")
    found = api("PUT", "/secrets/a", token=token, json={"value": CANARY}, status=503).json()
    assert (found["code"], "new-master-key" in found["hint"]) == ("vault", True)


def test_names_are_read_with_one_scope_and_values_written_with_another(api: Served) -> None:
    reader, writer = api.token("read:secrets"), api.token("admin:secrets")
    api("PUT", "/secrets/a", token=reader, json={"value": "x"}, status=403)
    api("PUT", "/secrets/a", token=writer, json={"value": "x"}, status=200)
    api("GET", "/secrets", token=reader, status=200)
    api("GET", "/secrets", token=writer, status=403)
    api("DELETE", "/secrets/a", token=reader, status=403)


def test_namespaces_of_one_process_have_their_own_secrets_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the environment is nobody's there; what one has stored, the other does not have."""
    monkeypatch.setenv("STRATAFLOW_SECRET_BANK", CANARY)
    node = {"run": "core.noop", "with": {"token": "{{ secrets.bank }}"}}
    start = {"definition": {"dsl": "1", "name": "taking", "nodes": {"a": node}}}
    with serve(namespaces=("main", "other")) as api:
        tokens = {name: api.token(namespace=name) for name in ("main", "other")}

        def outcome(name: str) -> tuple[str, str]:
            run = api("POST", "/instances?wait=30s", token=tokens[name], status=201, json=start).json()
            return run["state"], (run["error"] or {}).get("message", "")

        for name in tokens:
            state, message = outcome(name)
            assert state == "failed"
            assert "serves several namespaces" in message
        api("PUT", "/secrets/bank", token=tokens["main"], status=200, json={"value": CANARY})
        until(lambda: outcome("main")[0] == "completed")
        assert outcome("other")[0] == "failed"
