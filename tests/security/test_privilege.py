"""A key does what its scopes say, and nobody makes more of one."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.services.access.scopes import RESOURCES, VERBS, exceeding
from tests.graphql.conftest import asking
from tests.rest.conftest import GATED, HELLO, Served

START = "mutation ($i: StartInput!) { startInstance(input: $i) { id } }"


@pytest.mark.parametrize(
    ("wanted", "held", "more"),
    [
        (["read:tasks"], ["read:*"], ()),
        (["read:*"], ["read:tasks"], ("read:*",)),
        (["*:*"], [f"{verb}:*" for verb in VERBS], ("*:*",)),
        (["*:tasks"], [f"{verb}:tasks" for verb in VERBS], ("*:tasks",)),
        (["read:*"], [f"read:{resource}" for resource in RESOURCES], ("read:*",)),
        (["*:*", "admin:keys"], ["*:*"], ()),
        (["admin:secrets", "read:keys"], ["admin:keys", "*:keys"], ("admin:secrets",)),
    ],
)
def test_a_wildcard_is_held_by_a_wildcard_alone(
    wanted: list[str], held: list[str], more: tuple[str, ...]
) -> None:
    assert exceeding(wanted, held) == more


@pytest.mark.parametrize("wanted", [["*:*"], ["admin:secrets"], ["admin:*"], ["admin:keys", "read:audit"]])
def test_nobody_makes_a_key_that_may_do_more_than_their_own(api: Served, wanted: list[str]) -> None:
    maker = api.token("admin:keys", "read:tasks")
    refused = api("POST", "/keys", token=maker, json={"name": "x", "scopes": wanted}, status=403)
    assert "token" not in refused.json()
    assert len(api("GET", "/keys", token=api.token(), status=200).json()["items"]) == 2
    same = {"name": "x", "scopes": ["admin:keys", "read:tasks"]}
    made = api("POST", "/keys", token=maker, json=same, status=201).json()
    api("GET", "/tasks", token=made["token"], status=200)


def test_nobody_takes_over_a_stronger_key_by_rotating_it(api: Served) -> None:
    owner, maker = api.token(), api.token("admin:keys")
    strong = api("GET", "/keys", token=owner, status=200).json()["items"][0]
    assert strong["scopes"] == ["*:*"]
    refused = api("POST", f"/keys/{strong['id']}/rotate", token=maker, json={}, status=403)
    assert "token" not in refused.json()
    api("GET", "/audit", token=owner, status=200)
    denied = api("GET", "/audit", token=owner, status=200).json()["items"][0]
    assert (denied["action"], denied["outcome"]) == ("admin:keys", "denied")
    assert denied["target"].endswith("/rotate")


def test_a_definition_of_ones_own_is_started_by_who_may_define(api: Served) -> None:
    """It may read every secret and send it anywhere: to start what others have defined is less."""
    starter, both = api.token("start:instances"), api.token("start:instances", "define:definitions")
    inline: list[tuple[str, dict[str, Any]]] = [
        ("/instances", {"definition": HELLO}),
        ("/tasks/run/ad_hoc", {"task_spec": HELLO}),
    ]
    for path, body in inline:
        refused = api("POST", path, token=starter, json=body, status=403)
        assert refused.json()["hint"] == "It needs the scope define:definitions."
        assert api("POST", path, token=both, json=body).status_code in {201, 202}
    root = api.client.post(
        "/tasks/run/ad_hoc", json={"task_spec": HELLO}, headers={"Authorization": f"Bearer {starter}"}
    )
    assert root.status_code == 403
    given = {"document": HELLO}
    answer = asking(api, starter)(START, i=given, errors=True)
    assert answer["data"] == {"startInstance": None}
    assert answer["errors"][0]["extensions"]["hint"] == "It needs the scope define:definitions."
    assert asking(api, both)(START, i=given)["startInstance"]["id"]
    audit = api("GET", "/audit", token=api.token(), status=200).json()["items"]
    assert [each["action"] for each in audit if each["outcome"] == "denied"] == ["start:instances"] * 4
    api("POST", "/definitions", token=both, json={"definition": GATED}, status=201)
    api("POST", "/instances", token=starter, json={"definition": "gated"}, status=201)


def test_who_may_only_write_is_not_shown_what_runs_hold(api: Served) -> None:
    """`start` and `operate` follow from nothing and give nothing: no inputs, results or errors of others."""
    owner = api.token()
    api("POST", "/definitions", token=owner, json={"definition": HELLO}, status=201)
    wish = {"definition": "hello", "inputs": {"n": 4711}, "key": "theirs"}
    known = api("POST", "/instances?wait=20s", token=owner, json=wish, status=201).json()
    assert (known["inputs"], known["output"]) == ({"n": 4711}, 4711)
    starter, operator = api.token("start:instances"), api.token("operate:*")
    answers = [
        api("POST", "/instances", token=starter, json={**wish, "on_duplicate": "return"}),
        api("POST", f"/instances/{known['id']}/rerun?wait=20s", token=starter, json={}, status=201),
        api("POST", f"/instances/{known['id']}/pause", token=operator, json={}),
        api("POST", f"/instances/{known['id']}/rollback", token=operator, json={"tasks": ["a"]}),
        api("POST", f"/instances/{known['id']}/tasks/a/retry", token=operator, json={}),
    ]
    assert [answer.status_code for answer in answers].count(200) >= 1, [each.text for each in answers]
    assert [answer.text for answer in answers if "4711" in answer.text] == []


def test_an_export_needs_the_scopes_of_all_that_is_in_it(api: Served) -> None:
    owner = api.token()
    body = {"definition": HELLO, "inputs": {"n": 4711}}
    known = api("POST", "/instances?wait=20s", token=owner, json=body, status=201).json()["id"]
    path, needed = f"/instances/{known}/export", ["definitions", "instances", "logs", "tasks"]
    for left_out in needed:
        scopes = [f"read:{each}" for each in needed if each != left_out]
        refused = api("GET", path, token=api.token(*scopes), status=403)
        assert refused.json()["hint"] == f"It needs the scope read:{left_out}."
        denied = api("GET", "/audit", token=owner, status=200).json()["items"][0]
        assert (denied["outcome"], denied["target"]) == ("denied", f"GET /api/v1{path}")
    whole = api.token(*(f"read:{each}" for each in needed))
    assert "4711" in api("GET", path, token=whole, status=200).text


def test_a_run_that_is_put_in_brings_a_definition(api: Served) -> None:
    refused = api("POST", "/instances/import", token=api.token("admin:instances"), content=b"", status=403)
    assert refused.json()["hint"] == "It needs the scope define:definitions."
    both = api.token("admin:instances", "define:definitions")
    api("POST", "/instances/import", token=both, content=b"", status=422)


def test_the_record_of_an_ad_hoc_run_has_its_definition(api: Served) -> None:
    owner = api.token()
    known = api("POST", "/tasks/run/ad_hoc", token=owner, json={"task_spec": HELLO}, status=202).json()[
        "task_id"
    ]
    refused = api("GET", f"/tasks/{known}", token=api.token("read:instances"), status=403)
    assert refused.json()["hint"] == "It needs the scope read:definitions."
    both = api.token("read:instances", "read:definitions")
    assert api("GET", f"/tasks/{known}", token=both, status=200).json()["definition"]["name"] == "hello"
