"""Relations, pages and values, on both databases, through a real server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graphql.conftest import Ask
from tests.rest.conftest import HELLO, Served

FANNED: dict[str, Any] = {
    "dsl": "1",
    "name": "fanned",
    "nodes": {
        "a": {"run": "core.noop", "with": {"x": 1}},
        "each": {"map": "{{ [1, 2, 3] }}", "run": "core.noop", "with": "{{ item }}"},
        "b": {"run": "core.fail", "with": {"message": "no"}, "needs": ["a"], "on_error": "continue"},
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
