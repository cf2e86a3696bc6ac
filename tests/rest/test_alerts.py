"""Alerts and their rules through HTTP, and an alert that reaches a webhook."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.kit import until
from tests.rest.conftest import HELLO, Serve, Served

FAILING: dict[str, Any] = {
    "dsl": "1",
    "name": "broken",
    "nodes": {"a": {"run": "core.fail", "with": {"message": "no", "retryable": False}}},
}
WATCHING = {"watches": True, "watch_s": 0.1}


def failed(api: Served, token: str) -> dict[str, Any]:
    """Let a run fail, and wait for its alert."""
    api("POST", "/instances?wait=30s", token=token, json={"definition": FAILING})
    return until(lambda: api("GET", "/alerts?state=raised", token=token, status=200).json()["items"])[0]


def test_an_alert_is_listed_acknowledged_and_resolved(serve: Serve) -> None:
    with serve(options=WATCHING) as api:
        token = api.token()
        alert = failed(api, token)
        assert (alert["rule"], alert["subject"], alert["state"]) == ("run_failed", "broken", "raised")
        path = f"/alerts/{alert['id']}"
        assert api("GET", path, token=token, status=200).json()["text"] == alert["text"]
        mine = api("POST", f"{path}/acknowledge", token=token, status=200).json()
        assert (mine["state"], mine["acknowledged_by"]) == ("acknowledged", "tests")
        assert api("GET", "/alerts?state=raised", token=token).json()["items"] == []
        assert (
            len(
                api("GET", "/alerts?rule=run_failed&subject=broken&severity=warning", token=token).json()[
                    "items"
                ]
            )
            == 1
        )
        over = api("POST", f"{path}/resolve", token=token, status=200).json()
        assert (over["state"], over["resolved_by"]) == ("resolved", "tests")
        api("POST", f"{path}/resolve", token=token, status=409)
        api("POST", f"{path}/acknowledge", token=token, status=409)
        names = [each["name"] for each in api("GET", "/events?name=alert.*", token=token).json()["items"]]
        assert names == ["alert.raised", "alert.acknowledged", "alert.resolved"]


def test_pages_of_alerts(serve: Serve) -> None:
    with serve(options=WATCHING) as api:
        token = api.token()
        for name in ("one", "two", "three"):
            api("POST", "/instances?wait=30s", token=token, json={"definition": {**FAILING, "name": name}})
        until(lambda: len(api("GET", "/alerts", token=token).json()["items"]) == 3)
        first = api("GET", "/alerts?limit=2", token=token).json()
        rest = api("GET", "/alerts", params={"limit": 2, "after": first["next"]}, token=token).json()
        found = [each["subject"] for each in first["items"] + rest["items"]]
        assert (sorted(found), rest["next"]) == (["one", "three", "two"], None)


def test_a_rule_is_changed_added_and_made_what_it_was(api: Served, token: str) -> None:
    rules = {
        each["name"]: each for each in api("GET", "/alerts/rules", token=token, status=200).json()["items"]
    }
    assert rules["run_failed"]["default"]
    wish = {"severity": "info", "settings": {"window": "1h"}}
    put = api("PUT", "/alerts/rules/run_failed", token=token, json=wish, status=200).json()
    assert (put["severity"], put["settings"]["window"], put["settings"]["pattern"]) == ("info", "1h", "*")
    assert (put["default"], put["updated_by"]) == (False, "tests")
    read = api("GET", "/alerts/rules/run_failed", token=token, status=200)
    stale = {"If-Match": '"0"'}
    api("PUT", "/alerts/rules/run_failed", token=token, json={}, headers=stale, status=412)
    fresh = {"If-Match": read.headers["ETag"]}
    api("PUT", "/alerts/rules/run_failed", token=token, json=wish, headers=fresh, status=200)
    api("DELETE", "/alerts/rules/run_failed", token=token, status=204)
    assert api("GET", "/alerts/rules/run_failed", token=token).json()["default"]
    own = {"kind": "queue_depth", "settings": {"depth": 7, "pattern": "bills"}}
    api("PUT", "/alerts/rules/bills", token=token, json=own, status=200)
    api("DELETE", "/alerts/rules/bills", token=token, status=204)
    api("GET", "/alerts/rules/bills", token=token, status=404)
    api("DELETE", "/alerts/rules/bills", token=token, status=404)


@pytest.mark.parametrize(
    ("name", "body", "pointer"),
    [
        ("mine", {}, "/body/kind"),
        ("mine", {"kind": "nothing"}, "/body/kind"),
        ("run_failed", {"kind": "queue_age"}, "/body/kind"),
        ("run_failed", {"settings": {"windw": "1h"}}, "/body/settings/windw"),
        ("run_failed", {"settings": {"window": "soon"}}, "/body/settings/window"),
        ("run_failed", {"settings": {"window": "2000d"}}, "/body/settings/window"),
        ("run_failed", {"settings": {"pattern": "a\x00"}}, "/body/settings/pattern"),
        ("failure_rate", {"settings": {"share": 10**400}}, "/body/settings/share"),
        ("failure_rate", {"settings": {"minimum": 1.5}}, "/body/settings/minimum"),
        ("failure_rate", {"settings": {"minimum": True}}, "/body/settings/minimum"),
        ("stuck_run", {"settings": {"ignore": "timer"}}, "/body/settings/ignore"),
        ("stuck_run", {"settings": {"ignore": [""]}}, "/body/settings/ignore"),
        ("Not A Name", {"kind": "run_failed"}, "/body/name"),
        ("run_failed", {"severity": "bad"}, "/body/severity"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(
    api: Served, token: str, name: str, body: dict[str, Any], pointer: str
) -> None:
    found = api("PUT", f"/alerts/rules/{name}", token=token, json=body, status=422).json()
    assert pointer in [each["pointer"] for each in found["errors"]]


def test_odd_questions_are_answered(api: Served, token: str) -> None:
    api("GET", "/alerts/01a1fe57-6bb5-723e-bbbc-08af5f4f31d8", token=token, status=404)
    api("GET", "/alerts/nothing", token=token, status=404)
    api("GET", "/alerts?after=x", token=token, status=422)
    api("GET", "/alerts?subject=%00", token=token, status=422)
    api("GET", "/alerts?subject=%ED%A0%80", token=token, status=200)
    api("DELETE", "/alerts/rules/%ED%A0%80", token=token, status=404)
    raw = b'{"kind": "stuck_run", "settings": {"\\ud800": 1, "ignore": ["\\ud800"]}}'
    api(
        "PUT",
        "/alerts/rules/odd",
        token=token,
        content=raw,
        headers={"Content-Type": "application/json"},
        status=422,
    )


def test_each_call_has_its_scope(serve: Serve) -> None:
    with serve(options=WATCHING) as api:
        alert = failed(api, api.token())
        reader, operator, admin = (
            api.token("read:alerts"),
            api.token("operate:alerts"),
            api.token("admin:alerts"),
        )
        acknowledge = f"/alerts/{alert['id']}/acknowledge"
        api("GET", "/alerts", token=reader, status=200)
        api("GET", "/alerts", token=operator, status=403)
        api("POST", acknowledge, token=reader, status=403)
        api("POST", acknowledge, token=operator, status=200)
        api("PUT", "/alerts/rules/run_failed", token=operator, json={}, status=403)
        api("PUT", "/alerts/rules/run_failed", token=admin, json={}, status=200)
        api("GET", "/alerts", status=401)


def test_a_run_that_completes_raises_nothing(serve: Serve) -> None:
    with serve(options=WATCHING) as api:
        token = api.token()
        api("POST", "/instances?wait=30s", token=token, json={"definition": HELLO})
        failed(api, token)
        assert [each["subject"] for each in api("GET", "/alerts", token=token).json()["items"]] == ["broken"]
