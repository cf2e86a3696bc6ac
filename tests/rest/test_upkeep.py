"""Runs as files, deleted, moved to another version; runs at a glance."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.integration.kit import until
from tests.rest.conftest import GATED, HELLO, Served
from tests.rest.test_instances import FAILING, pages, started


def test_a_run_is_exported_deleted_and_put_in_again(api: Served, token: str) -> None:
    run = started(api, token, inputs={"n": 7}, labels={"team": "a"})
    path = f"/instances/{run['id']}"
    exported = api("GET", f"{path}/export", token=token, status=200)
    assert json.loads(exported.text.splitlines()[0]) == {"strataflow": "run", "form": 1}
    again = {"content": exported.content, "headers": {"Content-Type": "application/x-ndjson"}}
    api("POST", "/instances/import", token=token, status=409, **again)
    history = pages(api, token, f"{path}/history")
    api("DELETE", path, token=token, status=204)
    api("GET", path, token=token, status=404)
    api("DELETE", path, token=token, status=404)
    made = api("POST", "/instances/import", token=token, status=201, **again).json()
    assert (made["id"], made["output"], made["state"]) == (run["id"], 7, "completed")
    assert [each["to"] for each in pages(api, token, f"{path}/history")] == [each["to"] for each in history]
    assert api("GET", f"{path}/export", token=token, status=200).headers["content-disposition"]


def test_what_is_no_export_is_refused(api: Served, token: str) -> None:
    run = started(api, token)["id"]
    exported = api("GET", f"/instances/{run}/export", token=token, status=200).text
    api("DELETE", f"/instances/{run}", token=token, status=204)
    lines = exported.splitlines(keepends=True)
    for text in ("", "x", "\x00", "[]\n", lines[0], lines[0] + "[1, 2]\n", "".join(lines[:-1]), exported * 2):
        api("POST", "/instances/import", token=token, status=422, content=text.encode())
    api("POST", "/instances/import", token=token, status=422, content=b"\xff\xfe")
    live = api("POST", "/instances", token=token, status=201, json={"definition": GATED}).json()["id"]
    api("GET", f"/instances/{live}/export", token=token, status=409)
    api("DELETE", f"/instances/{live}", token=token, status=409)


def test_an_import_may_say_no_more_than_a_definition_may(api: Served, token: str) -> None:
    """A run whose definition calls a program of the server's machine would run it at its next retry."""
    run = started(api, token, FAILING)["id"]
    lines = api("GET", f"/instances/{run}/export", token=token, status=200).text.splitlines()
    table, row = json.loads(lines[1])
    assert table == "definitions"
    row["body"] = (
        row["body"].replace('"core.fail"', '"shell.run"').replace('{"message":"no"}', '{"argv":["id"]}')
    )
    row["hash"] = hashlib.sha256(row["body"].encode()).hexdigest()
    text = "\n".join([lines[0], json.dumps([table, row]), *lines[2:]])
    api("DELETE", f"/instances/{run}", token=token, status=204)
    refused = api("POST", "/instances/import", token=token, status=422, content=text.encode())
    assert refused.json()["code"] == "definition", refused.text
    assert "/nodes/a/run" in {each["pointer"] for each in refused.json()["errors"]}


def test_old_runs_are_deleted_together(api: Served, token: str) -> None:
    done, failed = started(api, token)["id"], started(api, token, FAILING)["id"]
    live = api("POST", "/instances", token=token, status=201, json={"definition": GATED}).json()["id"]
    assert api("DELETE", "/instances?older=1d", token=token, status=200).json()["deleted"] == 0
    gone = api("DELETE", "/instances?older=1ms&state=failed", token=token, status=200).json()
    assert gone == {"deleted": 1, "more": False}
    api("GET", f"/instances/{failed}", token=token, status=404)
    api("DELETE", "/instances?older=1ms", token=token, status=200)
    assert [each["id"] for each in pages(api, token, "/instances")] == [live]
    api("GET", f"/instances/{done}", token=token, status=404)
    for wrong in ("", "?older=x", "?older=1d&state=running"):
        api("DELETE", f"/instances{wrong}", token=token, status=422)


def test_a_migration_is_planned_before_it_is_made(api: Served, token: str) -> None:
    for nodes in (
        GATED["nodes"],
        {**GATED["nodes"], "z": {"run": "core.noop", "needs": ["w"]}},
        {"q": {"run": "core.noop"}},
    ):
        api("POST", "/definitions", token=token, status=201, json={"definition": {**GATED, "nodes": nodes}})
    run = api("POST", "/instances", token=token, status=201, json={"definition": "gated@1"}).json()["id"]
    path = f"/instances/{run}"
    until(lambda: api("GET", f"{path}/live", token=token).json()["nodes"][0]["state"] == "waiting")
    plan = api("GET", f"{path}/migration?to=gated@2", token=token, status=200).json()
    assert (plan["verdict"], plan["safe"], plan["impossible"]) == ("safe", ["w"], [])
    refused = api("GET", f"{path}/migration?to=gated@3", token=token, status=200).json()
    assert (refused["verdict"], refused["impossible"][0]["path"]) == ("impossible", "w")
    api("POST", f"{path}/migrate", token=token, status=409, json={"to": "gated@3"})
    moved = api("POST", f"{path}/migrate", token=token, status=200, json={"to": "gated@2"}).json()
    assert moved["instance"]["version"] == 2
    for to in ("gated@9", "gated@²", "nobody", "", "gated@99999999999999999999"):
        api("GET", f"{path}/migration?to={to}", token=token, status=404)


def test_a_run_at_a_glance(api: Served, token: str) -> None:
    wide: dict[str, Any] = {
        "dsl": "1",
        "name": "wide",
        "nodes": {
            "each": {"map": [1, 2, 3], "do": {"run": "core.noop", "with": "{{ item }}"}},
            "w": {"wait": {"signal": "go"}, "needs": ["each"]},
            "z": {"run": "core.noop", "needs": ["w"]},
        },
    }
    run = api("POST", "/instances", token=token, status=201, json={"definition": wide}).json()["id"]
    path = f"/instances/{run}/live"
    until(lambda: "go" in {each["signal"] for each in api("GET", path, token=token).json()["nodes"]})
    seen = api("GET", path, token=token, status=200).json()
    each, wait, last = seen["nodes"]
    assert (each["total"], each["done"], each["executor"]) == (3, 3, "core.noop")
    assert (wait["signal"], last["state"] in {None, "pending"}) == ("go", True)
    assert seen["counts"] == {"completed": 1, "waiting": 1, "pending": 1}
    api("GET", "/instances/nobody/live", token=token, status=404)


def test_runs_are_found_by_the_beginning_of_their_id_and_by_tag(api: Served, token: str) -> None:
    one, two = started(api, token, HELLO, tags=["nightly"])["id"], started(api, token)["id"]
    assert [each["id"] for each in pages(api, token, f"/instances?id_prefix={one[:24]}")] == [one]
    assert [each["id"] for each in pages(api, token, f"/instances?id_prefix={two.replace('-', '')}")] == [two]
    assert {each["id"] for each in pages(api, token, f"/instances?id_prefix={one[:2]}")} == {one, two}
    assert pages(api, token, "/instances?id_prefix=xyz") == []
    assert [each["id"] for each in pages(api, token, "/instances?tag=nightly")] == [one]
    (found,) = pages(api, token, "/instances?tag=nightly")
    assert found["labels"] == {"tag:nightly": "1"}
    gated = api(
        "POST", "/instances", token=token, status=201, json={"definition": GATED, "tags": ["x"]}
    ).json()
    body = {"tags": ["x"]}
    answered = api("POST", "/instances/bulk/cancel", token=token, status=200, json=body).json()
    assert [each["id"] for each in answered["items"]] == [gated["id"]]
    api("POST", "/instances/bulk/cancel", token=token, status=422, json={"everything": True, "name": "x"})
    found = api("POST", "/instances/bulk/cancel?limit=1", token=token, status=200, json={"everything": True})
    assert found.json()["more"]
