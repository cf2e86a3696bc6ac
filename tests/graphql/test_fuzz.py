"""Documents that nobody would write: whatever is asked, no answer is a defect."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import mutations, nodes, queries

from strataflow.api.graphql.schema import build
from tests.graphql.conftest import Ask
from tests.integration.kit import until
from tests.rest.conftest import GATED, HELLO, Served

SCALARS: Final[dict[str, Any]] = {
    "JSON": st.one_of(st.text().map(nodes.String), st.integers().map(nodes.Int), st.just(nodes.Object([]))),
    "Instant": st.one_of(
        st.text().map(nodes.String), st.datetimes().map(lambda at: nodes.String(at.isoformat()))
    ),
    "BigInt": st.integers().map(nodes.Int),
}
FUZZED: Final[Any] = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    derandomize=True,
)


def no_defect(api: Served, token: str, document: str) -> None:
    found = api("POST", "/graphql", token=token, json={"query": document})
    assert found.status_code < 500, (document, found.text)
    for error in found.json().get("errors", ()):
        assert error["extensions"]["status"] < 500, (document, error)


def prepared(api: Served, token: str) -> str:
    """Something of everything, so that generated fields have something to give."""
    api("POST", "/definitions", token=token, status=201, json={"definition": HELLO, "activate": True})
    api("POST", "/instances?wait=30s", token=token, status=201, json={"definition": "hello"})
    found: str = api("POST", "/instances", token=token, status=201, json={"definition": GATED}).json()["id"]
    path = f"/instances/{found}/tasks"
    until(lambda: api("GET", path, token=token).json()["items"][0]["state"] == "waiting")
    return found


@pytest.mark.long("sqlite")
def test_no_query_is_a_defect(api: Served, token: str) -> None:
    prepared(api, token)

    @FUZZED
    @given(document=queries(build().text, custom_scalars=SCALARS))
    def run(document: str) -> None:
        no_defect(api, token, document)

    run()


@pytest.mark.long("sqlite")
def test_no_mutation_is_a_defect(api: Served, token: str) -> None:
    prepared(api, token)

    @FUZZED
    @given(document=mutations(build().text, custom_scalars=SCALARS))
    def run(document: str) -> None:
        no_defect(api, token, document)

    run()


NAMES = [
    "",
    "\0",
    "no queue",
    "x" * 5_000,
    "é",
    "%",
    "../x",
    "a@b@c",
    "hello@99999999999999999999",
    "*",
    "pool:",
    "\ufffd",
]


def test_strange_names_are_no_defects(api: Served, token: str, gql: Ask) -> None:
    run = prepared(api, token)
    fields = (
        "queue(name: $n) { ready entries { path } }",
        "limit(name: $n) { used }",
        "limits(kind: $n) { nodes { name } }",
        "schedule(name: $n) { runs }",
        "definition(name: $n) { active { version } }",
        "definitionVersion(name: $n, version: 2147483647) { id }",
        "definitionVersion(name: $n, version: -2147483648) { id }",
        "instances(where: {name: $n, key: $n, labels: [{name: $n, value: $n}]}) { nodes { id } }",
        "instance(id: $i) { task(path: $n) { id } }",
        "instance(id: $i) { explain(path: $n) { state } }",
        "task(instanceId: $i, path: $n) { id }",
        "statistics(queue: $n) { whole }",
        "events(names: [$n]) { more }",
        "engines(after: $n) { nodes { id } }",
    )
    changes = (
        "activateDefinition(name: $n, version: 1) { state }",
        "startInstance(input: {definition: $n}) { id }",
        'startInstance(input: {definition: "hello", queue: $n, key: $n, mutex: $n}) { id }',
        'startInstance(input: {definition: "hello", labels: [{name: $n, value: $n}]}) { id }',
        "retryInstance(id: $i, tasks: [$n]) { status }",
        "rollbackInstance(id: $i, tasks: [$n]) { status }",
        "forkInstance(id: $i, tasks: [$n]) { id }",
        "signalInstance(id: $i, name: $n, signalId: $n) { status }",
        "migrateInstance(id: $i, to: $n) { status }",
        "cancelInstance(id: $i, grace: $n) { status }",
        "pauseInstance(id: $i, reason: $n) { status }",
    )
    for kind, some in (("query", fields), ("mutation", changes)):
        for field in some:
            of_run = ", $i: ID!" if "$i" in field else ""
            text = "String" if "kind" in field or "after" in field else "String!"
            document = f"{kind} ($n: {text}{of_run}) {{ {field} }}"
            for name in NAMES:
                variables = {"n": name, **({"i": run} if of_run else {})}
                found = api("POST", "/graphql", token=token, json={"query": document, "variables": variables})
                assert found.status_code < 500, (field, name, found.text)
                for error in found.json().get("errors", ()):
                    status = error["extensions"]["status"]
                    assert status < 500, (field, name, error)
                    assert error["extensions"]["code"] != "validation", (field, error)
