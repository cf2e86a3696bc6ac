"""Mutations: what they do, what they refuse, that they are done once and remembered; and errors of one family."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from strataflow.repositories.access_tables import REQUESTS
from strataflow.repositories.database import Database
from tests.graphql.conftest import Ask, asking
from tests.integration.kit import until
from tests.rest.conftest import API, GATED, HELLO, Served

FAILING: dict[str, Any] = {
    "dsl": "1",
    "name": "failing",
    "nodes": {"a": {"run": "core.fail", "with": {"message": "no"}}},
}
START = (
    """mutation ($input: StartInput!) { startInstance(input: $input) { id instance { state key labels } } }"""
)


def start(gql: Ask, document: Any = HELLO, **more: Any) -> str:
    found: str = gql(START, input={"document": document, **more})["startInstance"]["id"]
    return found


def ended(api: Served, token: str, instance_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api("GET", f"/instances/{instance_id}?wait=30s", token=token, status=200).json()
    return found


def act(gql: Ask, what: str, instance_id: str, more: str = "") -> Any:
    document = f"mutation ($id: ID!) {{ {what}(id: $id{more}) {{ id status instance {{ state reason }} }} }}"
    return gql(document, id=instance_id)[what]


def test_a_definition_is_stored_activated_and_retired(gql: Ask) -> None:
    register = """mutation ($d: JSON!, $a: Boolean!) { registerDefinition(document: $d, activate: $a) {
      name version state definitionVersion { id document } } }"""
    first = gql(register, d=HELLO, a=True)["registerDefinition"]
    assert (first["version"], first["state"], first["definitionVersion"]["id"]) == (1, "active", "hello@1")
    assert gql(register, d=HELLO, a=False)["registerDefinition"]["version"] == 1
    assert gql(register, d={**HELLO, "output": 2}, a=False)["registerDefinition"]["state"] == "draft"
    change = 'mutation ($v: Int!) {{ {0}(name: "hello", version: $v) {{ state }} }}'
    for what, state in (
        ("activateDefinition", "active"),
        ("deprecateDefinition", "deprecated"),
        ("archiveDefinition", "archived"),
    ):
        assert gql(change.format(what), v=2)[what]["state"] == state
    listed = gql('{ definition(name: "hello") { active { id } latest { id } versions { nodes { state } } } }')
    assert listed["definition"]["active"] is None
    assert [each["state"] for each in listed["definition"]["versions"]["nodes"]] == ["ARCHIVED", "DEPRECATED"]
    missing = gql(change.format("activateDefinition"), errors=True, v=9)
    assert (missing["data"], missing["errors"][0]["extensions"]["code"]) == (
        {"activateDefinition": None},
        "not_found",
    )


def test_a_run_is_started_operated_and_made_again(api: Served, token: str, gql: Ask) -> None:
    one = start(gql, GATED, labels=[{"name": "team", "value": "a"}], key="k")
    waiting = "query ($id: ID!) { instance(id: $id) { tasks(state: WAITING) { nodes { path } } } }"
    until(lambda: gql(waiting, id=one)["instance"]["tasks"]["nodes"])
    paused = act(gql, "pauseInstance", one, ', reason: "lunch"')
    assert (paused["id"], paused["status"]) == (one, "accepted")
    assert paused["instance"] == {"state": "PAUSED", "reason": "lunch (tests)"}
    assert act(gql, "pauseInstance", one)["status"] == "ignored"
    assert act(gql, "resumeInstance", one)["instance"]["state"] == "RUNNING"
    signalled = act(gql, "signalInstance", one, ', name: "go", data: {by: ["Ana", 1]}, signalId: "s1"')
    assert signalled["status"] == "accepted"
    assert ended(api, token, one)["state"] == "completed"
    again = gql(
        'mutation ($id: ID!) { rerunInstance(id: $id) { id } forkInstance(id: $id, tasks: ["w"]) { id } }',
        id=one,
    )
    made = {again["rerunInstance"]["id"], again["forkInstance"]["id"]}
    assert len(made | {one}) == 3
    for what, instance_id in zip(("cancelInstance", "terminateInstance"), sorted(made), strict=True):
        assert act(gql, what, instance_id, ', reason: "enough"')["status"] == "accepted"
        assert ended(api, token, instance_id)["state"] == "cancelled"


def test_what_failed_is_tried_again_and_rolled_back(api: Served, token: str, gql: Ask) -> None:
    one = start(gql, FAILING)
    assert ended(api, token, one)["state"] == "failed"
    error = gql('query ($id: ID!) { instance(id: $id) { error task(path: "a") { error } } }', id=one)
    assert error["instance"]["error"]["code"] == error["instance"]["task"]["error"]["code"] == "core.Failed"
    assert act(gql, "retryInstance", one, ', tasks: ["a"]')["status"] == "accepted"
    assert ended(api, token, one)["state"] == "failed"
    two = start(gql, HELLO)
    assert ended(api, token, two)["state"] == "completed"
    assert act(gql, "rollbackInstance", two, ', tasks: ["a"]')["status"] == "accepted"
    assert ended(api, token, two)["state"] == "completed"
    attempts = gql('query ($id: ID!) { instance(id: $id) { task(path: "a") { attempt } } }', id=two)
    assert attempts["instance"]["task"]["attempt"] == 2


def test_a_run_goes_on_under_another_version(api: Served, token: str, gql: Ask) -> None:
    for document in (GATED, {**GATED, "output": 5}):
        gql("mutation ($d: JSON!) { registerDefinition(document: $d) { version } }", d=document)
    one = gql(START, input={"definition": "gated@1"})["startInstance"]["id"]
    waiting = "query ($id: ID!) { instance(id: $id) { version tasks(state: WAITING) { nodes { path } } } }"
    until(lambda: gql(waiting, id=one)["instance"]["tasks"]["nodes"])
    assert act(gql, "migrateInstance", one, ', to: "gated@2"')["status"] == "accepted"
    act(gql, "signalInstance", one, ', name: "go"')
    assert ended(api, token, one)["output"] == 5
    assert gql(waiting, id=one)["instance"]["version"] == 2


PAUSE = 'mutation ($r: String!) { pauseInstance(id: "x", reason: $r) { id } }'
REGISTER = "mutation ($d: JSON!) { registerDefinition(document: $d) { name } }"


@pytest.mark.parametrize(
    ("document", "variables", "code", "status", "pointer"),
    [
        (START, {"input": {"definition": "nobody"}}, "not_found", 404, None),
        (START, {"input": {}}, "request", 422, "/input/definition"),
        (START, {"input": {"document": "/etc/passwd"}}, "request", 422, "/input/document"),
        (START, {"input": {"document": [HELLO]}}, "request", 422, "/input/document"),
        (START, {"input": {"document": {"dsl": "1"}}}, "definition", 422, "/name"),
        (START, {"input": {"document": HELLO, "inputs": {"n": "x"}}}, "inputs", 422, "/n"),
        (START, {"input": {"document": HELLO, "key": "a\0b"}}, "request", 422, "/input/key"),
        (START, {"input": {"document": HELLO, "queue": "no queue"}}, "request", 422, None),
        (START, {"input": {"document": HELLO, "labels": [{"name": "", "value": "x"}]}}, "request", 422, None),
        ('mutation { cancelInstance(id: "x") { id } }', {}, "not_found", 404, None),
        ('mutation { cancelInstance(id: "x\\u0000") { id } }', {}, "request", 422, "/id"),
        ('mutation { cancelInstance(id: "x", grace: "soon") { id } }', {}, "request", 422, "/grace"),
        (PAUSE, {"r": "x" * 2001}, "request", 422, "/reason"),
        ('mutation { signalInstance(id: "x", name: "") { id } }', {}, "request", 422, "/name"),
        ('mutation { forkInstance(id: "x", tasks: []) { id } }', {}, "request", 422, "/tasks"),
        ('mutation { migrateInstance(id: "x", to: "y") { id } }', {}, "not_found", 404, None),
        (REGISTER, {"d": "hello.json"}, "request", 422, "/document"),
        (REGISTER, {"d": {"dsl": "1", "name": "x", "nodes": {}}}, "definition", 422, "/nodes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_rest_says_it(
    gql: Ask, document: str, variables: Any, code: str, status: int, pointer: str | None
) -> None:
    answer = gql(document, errors=True, **variables)
    (error,) = answer["errors"]
    assert list(answer["data"].values()) == [None]
    assert (error["extensions"]["code"], error["extensions"]["status"]) == (code, status), error
    assert error["extensions"]["request_id"]
    assert error["path"] == list(answer["data"])
    if pointer is not None:
        assert pointer in error["extensions"]["pointers"]


def test_arguments_that_do_not_fit_are_refused_before_anything_is_done(
    api: Served, token: str, gql: Ask
) -> None:
    for document, variables in (
        ("mutation { startInstance(input: {documnt: 1}) { id } }", {}),
        ("mutation { startInstance { id } }", {}),
        ("mutation { startInstance(input: {definition: 1}) { id } }", {}),
        ('mutation { startInstance(input: {definition: "hello"}) { id nobody } }', {}),
        ('mutation { startInstance(input: {definition: "hello", startAt: "soon"}) { id } }', {}),
        (START, {"input": {"definition": "hello", "nobody": 1}}),
        (START, {"input": {"definition": "hello", "priority": 10**12}}),
        (START, {"input": {"definition": "hello", "startAt": 5}}),
        (START, {}),
        (START, {"input": None}),
    ):
        answer = gql(document, status=422, **variables)
        assert answer["errors"][0]["extensions"]["code"] in {"validation", "request"}
        assert not answer.get("data")
    assert api("GET", "/instances", token=token).json()["items"] == []


def test_a_repeated_mutation_is_done_once(api: Served, token: str, gql: Ask) -> None:
    headers = {"Idempotency-Key": "order-1"}
    both = """mutation ($d: JSON!) { a: startInstance(input: {document: $d}) { id }
      b: startInstance(input: {document: $d}) { id } }"""
    first = gql(both, headers=headers, d=HELLO)
    assert first["a"]["id"] != first["b"]["id"]
    assert gql(both, headers=headers, d=HELLO) == first
    assert len(api("GET", "/instances", token=token).json()["items"]) == 2
    other = gql(both, headers=headers, status=422, d=GATED)
    assert other["code"] == "idempotency_key"
    database = Database(api.urls["main"])
    with database.write() as connection:  # a crash before the answer was kept
        connection.execute(update(REQUESTS).values(status=None, headers=None, body=None, at=0))
    database.close()
    assert gql(both, headers=headers, d=HELLO) == first
    assert len(api("GET", "/instances", token=token).json()["items"]) == 2


def test_what_was_done_failed_and_denied_is_remembered(api: Served, token: str, gql: Ask) -> None:
    reader = asking(api, api.token("read:instances"))
    denied = reader(START, status=403, input={"document": HELLO})
    assert denied["errors"][0]["extensions"]["hint"] == "It needs the scope start:instances."
    gql(
        'mutation ($d: JSON!) { one: startInstance(input: {document: $d}) { id } cancelInstance(id: "x") { id } }',
        errors=True,
        d=HELLO,
    )
    gql("{ instances { nodes { id } } }")
    entries = api("GET", "/audit", token=token, status=200).json()["items"]
    told = [(each["action"], each["outcome"], each["status"], each["target"]) for each in entries]
    assert told == [
        ("operate:instances", "failed", 404, f"POST {API}/graphql cancelInstance"),
        ("start:instances", "done", 200, f"POST {API}/graphql one"),
        ("start:instances", "denied", 403, f"POST {API}/graphql startInstance"),
    ]


def test_a_defect_is_told_without_its_text(
    api: Served, gql: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from strataflow.services.statistics import StatisticsService

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(StatisticsService, "read", broken)
    answer = gql("{ statistics { whole } engines { nodes { id } } }", status=500)
    (error,) = answer["errors"]
    assert (error["extensions"]["code"], answer["data"]) == ("internal", None)
    assert "secret" not in str(answer)
    assert "Traceback" not in str(answer)
    assert "a secret of the inside" in caplog.text
