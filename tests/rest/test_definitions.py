"""Definitions through HTTP: looked at, drawn, compared, converted without being stored; and their state."""

from __future__ import annotations

from typing import Any

from tests.rest.conftest import HELLO, Served

STEPS: dict[str, Any] = {
    "meta": {"title": "Greet"},
    "steps": [{"name": "say hello", "action": "core.noop", "params": {"text": "Hello"}}],
}


def test_a_list_of_steps_is_converted_and_not_stored(api: Served, token: str) -> None:
    made = api("POST", "/definitions/convert", token=token, status=200, json={"task": STEPS, "name": "greet"})
    document = made.json()["definition"]
    assert (document["name"], document["nodes"]["say_hello"]["run"]) == ("greet", "core.noop")
    assert api("GET", "/definitions", token=token).json()["items"] == []
    wrong = {"steps": [{"name": "a", "action": "core.noop", "parms": {}}]}
    refused = api("POST", "/definitions/convert", token=token, status=422, json={"task": wrong})
    assert refused.json()["errors"][0]["pointer"] == "/steps/0/parms"
    api("POST", "/definitions/convert", token=token, status=422, json={"task": document})
    checked = api("POST", "/definitions/validate", token=token, status=200, json={"definition": wrong}).json()
    assert (checked["valid"], checked["problems"][0]["pointer"]) == (False, "/steps/0/parms")
    stored = api("POST", "/definitions", token=token, status=201, json={"definition": document}).json()
    assert (stored["version"], stored["active"], stored["warnings"]) == (1, False, [])


def test_a_document_is_drawn_and_compared_without_being_stored(api: Served, token: str) -> None:
    drawn = api("POST", "/definitions/graph?format=dot", token=token, status=200, json={"definition": HELLO})
    assert drawn.text.startswith("digraph")
    assert drawn.headers["content-type"].startswith("text/vnd.graphviz")
    wrong = {**HELLO, "nodes": {"a": {"run": "core.nop"}}}
    refused = api("POST", "/definitions/graph", token=token, status=422, json={"definition": wrong})
    assert refused.json()["errors"][0]["pointer"] == "/nodes/a/run"
    api("POST", "/definitions", token=token, status=201, json={"definition": HELLO})
    newer = {**HELLO, "output": None, "nodes": {**HELLO["nodes"], "b": {"run": "core.noop"}}}
    body = {"before": "hello@1", "after": newer}
    changes = api("POST", "/definitions/diff", token=token, status=200, json=body).json()["changes"]
    assert changes == [
        {"pointer": "/nodes/b", "after": {"run": "core.noop"}},
        {"pointer": "/output", "before": "{{ nodes.a.output }}", "after": None},
    ]
    for source in ("hello@9", "hello", "nobody@1", "hello@²"):
        api("POST", "/definitions/diff", token=token, status=404, json={"before": source, "after": HELLO})


def test_the_version_that_a_name_means_and_its_state(api: Served, token: str) -> None:
    api("GET", "/definitions/hello/active", token=token, status=404)
    for output in (1, 2):
        definition = {**HELLO, "output": output}
        api("POST", "/definitions", token=token, status=201, json={"definition": definition})
    found = api("GET", "/definitions/hello/active", token=token, status=200).json()
    assert (found["version"], found["state"]) == (2, "draft")
    path = "/definitions/hello/versions/1"
    read = api("GET", path, token=token, status=200)
    tag = {"If-Match": read.headers["ETag"]}
    api("PUT", f"{path}/state", token=token, status=200, json={"state": "active"}, headers=tag)
    api("PUT", f"{path}/state", token=token, status=412, json={"state": "archived"}, headers=tag)
    found = api("GET", "/definitions/hello/active", token=token, status=200)
    assert (found.json()["version"], found.json()["definition"]["output"]) == (1, 1)
    same = api("GET", path, token=token, status=304, headers={"If-None-Match": found.headers["ETag"]})
    assert same.content == b""
    api("PUT", "/definitions/hello/versions/9/state", token=token, status=404, json={"state": "active"})


def test_the_schema_of_definitions(api: Served, token: str) -> None:
    schema = api("GET", "/definitions/schema", token=token, status=200).json()
    assert "nodes" in schema["properties"]


def test_the_doctor_looks_at_the_callers_database(api: Served, token: str) -> None:
    found = api("GET", "/doctor", token=token, status=200).json()
    checks = {each["name"]: each["status"] for each in found["checks"]}
    assert (checks["database"], checks["writable"], checks["engines"]) == ("ok", "ok", "ok")
    api("GET", "/doctor", token=api.token("read:*"), status=403)
