"""Relations, pages and values, on both databases, through a real server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graphql.conftest import Ask
from tests.integration.kit import until
from tests.rest.conftest import GATED, HELLO, Served

FANNED: dict[str, Any] = {
    "dsl": "1",
    "name": "fanned",
    "nodes": {
        "a": {"run": "core.noop", "with": {"x": 1}},
        "each": {"map": [1, 2, 3], "do": {"run": "core.noop", "with": "{{ item }}"}},
        "b": {"run": "core.fail", "with": {"message": "no"}, "needs": ["a"]},
    },
}


def started(api: Served, token: str, definition: Any = HELLO, **more: Any) -> dict[str, Any]:
    body = {"definition": definition, **more}
    found: dict[str, Any] = api("POST", "/instances?wait=30s", token=token, status=201, json=body).json()
    return found


@pytest.mark.row("X-39")
def test_a_run_with_everything_that_belongs_to_it(api: Served, token: str, gql: Ask) -> None:
    run = started(api, token, HELLO, inputs={"n": 7}, labels={"team": "a"}, key="k1")
    found = gql(
        """query ($id: ID!) { instance(id: $id) {
          id name version state key labels inputs output error createdAt startedAt endedAt
          definition { id name version state document definition { name versions { nodes { version } } } }
          tasks { nodes { id path node state attempt input output error queueName
            transitions { nodes { from to path reason } } logs { nodes { message } } instance { id } }
            pageInfo { hasNextPage } }
          history { nodes { seq at path from to } }
          logs { nodes { level message } }
          events { nodes { name path } }
          children { nodes { id } } parent { id }
          explain { state sentence reasons { kind } }
        } }""",
        id=run["id"],
    )["instance"]
    rest = api("GET", f"/instances/{run['id']}", token=token).json()
    assert {name: found[name] for name in ("id", "name", "version", "key", "inputs", "output", "error")} == {
        name: rest[name] for name in ("id", "name", "version", "key", "inputs", "output", "error")
    }
    assert (found["state"], found["labels"], found["createdAt"]) == (
        "COMPLETED",
        {"team": "a"},
        rest["created_at"],
    )
    assert found["definition"]["document"]["name"] == "hello"
    assert found["definition"]["definition"]["versions"]["nodes"] == [{"version": 1}]
    (task,) = found["tasks"]["nodes"]
    (told,) = api("GET", f"/instances/{run['id']}/tasks", token=token).json()["items"]
    assert (task["path"], task["input"], task["output"], task["instance"]["id"]) == ("a", 7, 7, run["id"])
    assert (told["path"], told["input"], told["output"]) == ("a", 7, 7)
    assert [each["to"] for each in task["transitions"]["nodes"]][-2:] == ["running", "completed"]
    moves = api("GET", f"/instances/{run['id']}/history", token=token).json()["items"]
    assert [(each["seq"], each["to"]) for each in found["history"]["nodes"]] == [
        (each["seq"], each["to"]) for each in moves
    ]
    feed = api("GET", f"/events?instance={run['id']}", token=token).json()["items"]
    assert [each["name"] for each in found["events"]["nodes"]] == [each["name"] for each in feed]
    assert (found["children"]["nodes"], found["parent"], found["explain"]["state"]) == ([], None, "completed")


def pages(gql: Ask, document: str, *way: str, **variables: Any) -> list[Any]:
    """Follow a connection to its end, two by two; `edges` and `nodes` say the same."""
    found: list[Any] = []
    behind: str | None = None
    while True:
        page = gql(document, after=behind, **variables)
        for name in way:
            page = page[name]
        assert len(page["nodes"]) <= 2
        assert [edge["node"] for edge in page["edges"]] == page["nodes"]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        behind = page["pageInfo"]["endCursor"]
        assert page["edges"][-1]["cursor"] == behind


PAGE = "nodes { %s } edges { cursor node { %s } } pageInfo { hasNextPage endCursor }"


def paged(field: str, members: str, args: str = "") -> str:
    return f"{field}(first: 2, after: $after{args}) {{ {PAGE % (members, members)} }}"


def test_every_list_goes_on_behind_its_cursor(api: Served, token: str, gql: Ask) -> None:
    for number in range(3):
        api("POST", "/definitions", token=token, status=201, json={"definition": {**HELLO, "output": number}})
    runs = [started(api, token, FANNED)["id"] for _ in range(5)]
    top = "query ($after: String) { %s }"
    assert pages(gql, top % paged("instances", "id"), "instances") == [{"id": each} for each in runs[::-1]]
    oldest = pages(gql, top % paged("instances", "id", ", oldestFirst: true"), "instances")
    assert oldest == [{"id": each} for each in runs]
    names = pages(gql, top % paged("definitions", "name"), "definitions")
    assert [each["name"] for each in names] == ["fanned", "hello"]
    executors = pages(gql, top % paged("executors", "name"), "executors")
    assert [each["name"] for each in executors] == sorted(each["name"] for each in executors)
    assert len(executors) >= 5
    versions = paged("versions", "version")
    of_name = 'query ($after: String) { definition(name: "hello") { ' + versions + " } }"
    assert [each["version"] for each in pages(gql, of_name, "definition", "versions")] == [3, 2, 1]
    for field, members, path in (
        ("tasks", "path", "tasks"),
        ("history", "seq path to", "history"),
    ):
        one = "query ($after: String, $id: ID!) { instance(id: $id) { " + paged(field, members) + " } }"
        shown = pages(gql, one, "instance", field, id=runs[0])
        told = api("GET", f"/instances/{runs[0]}/{path}", token=token).json()["items"]
        assert shown == [{name: each[name] for name in members.split()} for each in told]
    events = "query ($after: String, $id: ID!) { instance(id: $id) { " + paged("events", "name path") + " } }"
    feed = api("GET", f"/events?instance={runs[0]}&limit=500", token=token).json()["items"]
    assert pages(gql, events, "instance", "events", id=runs[0]) == [
        {"name": each["name"], "path": each["path"]} for each in feed
    ]
    moves = (
        'query ($after: String, $id: ID!) { instance(id: $id) { task(path: "a") { '
        + paged("transitions", "path to")
        + " } } }"
    )
    shown = pages(gql, moves, "instance", "task", "transitions", id=runs[0])
    assert {each["path"] for each in shown} == {"a"}
    assert shown[-1]["to"] == "completed"


def test_tasks_of_a_map_with_values_and_errors(api: Served, token: str, gql: Ask) -> None:
    run = started(api, token, FANNED)["id"]
    found = gql(
        """query ($id: ID!) { instance(id: $id) { state output tasks { nodes {
          id path node state input output error } } } }""",
        id=run,
    )["instance"]
    rest = api("GET", f"/instances/{run}/tasks", token=token).json()["items"]
    assert len(rest) >= 6
    for ours, theirs in zip(found["tasks"]["nodes"], rest, strict=True):
        assert (ours["id"], ours["state"]) == (f"{run}/{theirs['path']}", theirs["state"].upper())
        for name in ("path", "node", "input", "output", "error"):
            assert ours[name] == theirs[name], (theirs["path"], name)
    assert found["output"] == api("GET", f"/instances/{run}", token=token).json()["output"]


def test_children_and_parents(api: Served, token: str, gql: Ask) -> None:
    api("POST", "/definitions", token=token, status=201, json={"definition": HELLO, "activate": True})
    parent = {"dsl": "1", "name": "parent", "nodes": {"sub": {"flow": "hello"}}}
    run = started(api, token, parent)["id"]
    document = """query ($id: ID!) { instance(id: $id) { parentId children { nodes {
      id name parentPath parent { id children { nodes { name } } } } } } }"""
    (child,) = gql(document, id=run)["instance"]["children"]["nodes"]
    assert (child["name"], child["parentPath"]) == ("hello", "sub")
    assert child["parent"] == {"id": run, "children": {"nodes": [{"name": "hello"}]}}
    where = "query ($id: ID!) { instances(where: {parentId: $id}) { nodes { id } } }"
    assert gql(where, id=run)["instances"]["nodes"] == [{"id": child["id"]}]


def test_filters_of_runs(api: Served, token: str, gql: Ask) -> None:
    one = started(api, token, HELLO, labels={"team": "a"}, key="k1")
    two = started(api, token, FANNED, labels={"team": "b"})
    document = "query ($w: InstanceWhere) { instances(where: $w) { nodes { id } } }"
    for where, wanted in (
        ({}, [two, one]),
        ({"name": "hello"}, [one]),
        ({"states": ["COMPLETED"], "labels": [{"name": "team", "value": "a"}]}, [one]),
        ({"states": ["QUEUED", "PAUSED"]}, []),
        ({"key": "k1", "version": 1}, [one]),
        ({"createdAfter": two["created_at"]}, [two]),
        ({"createdBefore": two["created_at"]}, [one]),
        ({"parentId": "nonsense"}, []),
    ):
        found = gql(document, w=where)["instances"]["nodes"]
        assert found == [{"id": each["id"]} for each in wanted], where


def test_what_is_not_there_is_null(gql: Ask) -> None:
    strange = "0190a000-0000-7000-8000-000000000001"
    document = """query ($id: ID!) { instance(id: $id) { id } task(instanceId: $id, path: "a") { id }
      definition(name: "x") { name } definitionVersion(name: "x", version: 1) { id }
      schedule(name: "x") { name } limit(name: "pool:x") { name } queue(name: "x") { ready state } }"""
    for wanted in (strange, "nonsense", ""):
        found = gql(document, id=wanted)
        assert found.pop("queue") == {"ready": 0, "state": "active"}
        assert set(found.values()) == {None}


@pytest.mark.parametrize(
    "behind",
    ["nonsense", "", "bnVsbA==", "WzFd", "WyJhIl0=", "WzEsIlx1MDAwMCJd", "WzEsIngiXQ==", "W1tbW1tb", "é"],
)
def test_a_cursor_of_something_else(gql: Ask, behind: str) -> None:
    document = "query ($after: String) { instances(after: $after) { nodes { id } } }"
    error = gql(document, status=422, after=behind)["errors"][0]
    assert (error["extensions"]["code"], error["extensions"]["pointers"]) == ("request", ["/after"])


def test_what_carries_the_runs(api: Served, token: str, gql: Ask) -> None:
    started(api, token, HELLO)
    found = gql(
        """{ engines(alive: true) { nodes { id state role executors slots } }
          executors(first: 100) { nodes { name engines configSchema } }
          statistics { total { queue completed last5 } queues { queue } runs { state count } whole }
          queues { nodes { name state ready limit { name } entries { path } } }
          events(names: ["instance.*"]) { nodes { name } cursor more } }"""
    )
    (engine,) = found["engines"]["nodes"]
    assert (engine["state"], engine["role"]) == ("alive", "engine")
    known = {each["name"]: each for each in found["executors"]["nodes"]}
    assert known["core.sleep"]["configSchema"]["required"] == ["seconds"]
    assert known["core.sleep"]["engines"] == 1
    assert (found["statistics"]["total"]["completed"], found["statistics"]["runs"]) == (
        1,
        [{"state": "completed", "count": 1}],
    )
    assert [each["name"] for each in found["queues"]["nodes"]] == ["default"]
    assert found["events"]["nodes"][-1]["name"] == "instance.completed"
    more = gql("query ($c: String) { events(after: $c) { nodes { name } } }", c=found["events"]["cursor"])
    assert more["events"]["nodes"] == []
    wrong = gql('{ events(names: ["nothing.*"]) { more } }', status=422)["errors"][0]
    assert wrong["extensions"]["pointers"] == ["/names/0"]
    wrong = gql("{ statistics(windowS: -1) { whole } }", status=422)["errors"][0]
    assert wrong["extensions"]["pointers"] == ["/windowS"]


def test_a_run_that_waits_is_explained(api: Served, token: str, gql: Ask) -> None:
    run = api("POST", "/instances", token=token, status=201, json={"definition": GATED}).json()["id"]
    document = "query ($id: ID!) { instance(id: $id) { explain { state sentence reasons { kind path } } } }"
    until(lambda: gql(document, id=run)["instance"]["explain"]["reasons"][0]["kind"] == "signal")
    ours = gql(document, id=run)["instance"]["explain"]
    theirs = api("GET", f"/instances/{run}/explain", token=token).json()
    assert ours["sentence"] == theirs["sentence"]
    missing = gql('{ instances { nodes { id explain(path: "nobody") { state } } } }', errors=True)
    assert missing["data"]["instances"]["nodes"][0]["explain"] is None
    assert missing["errors"][0]["path"] == ["instances", "nodes", 0, "explain"]


def test_a_drawing_of_a_version(api: Served, token: str, gql: Ask) -> None:
    api("POST", "/definitions", token=token, status=201, json={"definition": HELLO})
    document = 'query ($f: GraphForm!) { definitionVersion(name: "hello", version: 1) { graph(form: $f) } }'
    assert gql(document, f="SVG")["definitionVersion"]["graph"].startswith("<svg")
    assert "a" in gql(document, f="MERMAID")["definitionVersion"]["graph"]
