"""The OpenAPI document is the interface: requests made from it meet what it says, and no defect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from jsonschema import Draft202012Validator
from schemathesis.core.result import Ok

from strataflow.api.rest.gate import PUBLIC
from strataflow.engine.vault import new_master_key
from tests.rest.conftest import API, HELLO, Serve, Served

#: `make fuzz` sends many more requests.
FULL = os.environ.get("STRATAFLOW_FUZZ") == "full"
#: Requests for each operation in each phase, and the phases.
EXAMPLES = ("60", "examples,coverage,fuzzing,stateful") if FULL else ("6", "examples,fuzzing,stateful")
#: Whether a well-formed request is accepted depends on what is stored; a text is what a query is made of, whatever it
#: should mean; lines of an export cannot be made up.
OPTIONS = (
    "--exclude-checks=positive_data_acceptance,negative_data_rejection",
    "--exclude-operation-id=import_instance",
    "--suppress-health-check=all",
    "--continue-on-failure",
    "--warnings=off",
    "--request-timeout=120",
    "--seed=1",
    "--no-shrink",
)


@pytest.mark.long("sqlite")
@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.row("X-38")
def test_requests_made_from_the_document(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No 5xx, no answer that the document does not tell, nothing without a key, nothing after it was deleted."""
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", new_master_key())
    with serve() as api:
        admin = api.token()
        api("POST", "/definitions", token=admin, status=201, json={"definition": HELLO, "activate": True})
        for number in range(3):
            api(
                "POST",
                "/instances",
                token=admin,
                status=201,
                json={"definition": "hello", "key": str(number)},
            )
        document = str(api.client.base_url.join(f"{API}/openapi.json"))
        count, phases = EXAMPLES
        command = [sys.executable, "-m", "schemathesis.cli", "run", document, *OPTIONS]
        command += [
            f"--header=Authorization: Bearer {admin}",
            f"--max-examples={count}",
            f"--phases={phases}",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout


def test_every_operation_is_described(api: Served) -> None:
    document = api("GET", "/openapi.json", status=200).json()
    found = [
        (f"{method.upper()} {path}", entry)
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
    ]
    assert len(found) > 90
    assert len({entry["operationId"] for _, entry in found}) == len(found)
    for call, entry in found:
        assert entry["description"].strip(), call
        assert entry["tags"], call
        assert any(code.startswith("2") for code in entry["responses"]), call
        for each in entry.get("parameters", []):
            assert each.get("description") or each["schema"].get("description"), f"{call} {each['name']}"
        if entry["x-scope"] != PUBLIC:
            assert "application/problem+json" in entry["responses"]["4XX"]["content"], call


def test_examples_are_what_they_exemplify(api: Served) -> None:
    document = api("GET", "/openapi.json", status=200).json()
    checked = 0
    for name, model in document["components"]["schemas"].items():
        for field, schema in model.get("properties", {}).items():
            for example in schema.get("examples", ()):
                full = {**schema, "components": document["components"]}
                problems = [error.message for error in Draft202012Validator(full).iter_errors(example)]
                assert problems == [], f"{name}.{field}: {example}"
                checked += 1
    assert checked > 20


def test_a_client_made_from_the_document(api: Served, token: str) -> None:
    """A run from its definition to its output, by operation names alone; every answer is held against the document."""
    schema = schemathesis.openapi.from_url(str(api.client.base_url.join(f"{API}/openapi.json")))
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    named = {each.definition.raw["operationId"]: each for each in found}

    def call(name: str, **given: Any) -> Any:
        case = named[name].Case(**given)
        return case.call_and_validate(headers={"Authorization": f"Bearer {token}"}).json()

    waiting = {"wait": {"signal": "go"}, "output": "{{ signal }}"}
    document = {"dsl": "1", "name": "asked", "nodes": {"w": waiting}, "output": "{{ nodes.w.output }}"}
    registered = call("create_definition", body={"definition": document, "activate": True})
    assert (registered["name"], registered["version"], registered["state"]) == ("asked", 1, "active")
    run = call("start_instance", body={"definition": "asked", "labels": {"team": "a"}})
    assert [each["id"] for each in call("list_instances", query={"label": "team=a"})["items"]] == [run["id"]]
    call("signal_instance", path_parameters={"id": run["id"]}, body={"name": "go", "data": {"yes": 1}})
    ended = call("get_instance", path_parameters={"id": run["id"]}, query={"wait": "30s"})
    assert (ended["state"], ended["output"]) == ("completed", {"yes": 1})
    assert call("list_instance_history", path_parameters={"id": run["id"]})["items"][-1]["to"] == "completed"
