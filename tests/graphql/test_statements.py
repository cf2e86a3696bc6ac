"""How many statements a document costs: as many as it has kinds of relations, however many rows these have."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from graphql import execute, parse
from sqlalchemy import event

from strataflow.api.graphql.context import Context
from strataflow.api.graphql.schema import build
from strataflow.api.rest.gate import Caller
from strataflow.services.access.keys import Principal
from strataflow.services.container import Options, Services, reading, running

CHILD: dict[str, Any] = {
    "dsl": "1",
    "name": "child",
    "nodes": {name: {"run": "core.log", "with": {"message": name}} for name in "abc"},
    "output": {"big": "{{ inputs.big }}"},
    "inputs": {"type": "object", "properties": {"big": {"type": "string", "default": "x" * 70_000}}},
}
PARENT: dict[str, Any] = {
    "dsl": "1",
    "name": "parent",
    "nodes": {"sub": {"flow": "child"}},
    "output": "{{ nodes.sub.output }}",
}
RUNS = 12


@pytest.fixture
def services(db_url: str) -> Iterator[Services]:
    """Give a database with runs that have children, tasks, log lines and large values; nobody else reads it."""
    from strataflow.repositories.migrate import upgrade

    upgrade(db_url)
    options = Options(url=db_url, executes=True, create=True)
    with running(options) as made:
        made.catalog.register(CHILD, activate=True)
        made.catalog.register(PARENT, activate=True)
        made.schedules.create(schedule("one"))
        ids = [made.executions.start(made.workflows.find("parent")) for _ in range(RUNS)]
        assert all(made.executions.wait(each, 30) for each in ids)
        for number in range(3):
            made.schedules.trigger("one", force=bool(number))
    with reading(Options(url=db_url)) as alone:
        yield alone


def schedule(name: str) -> Any:
    from strataflow.services.schedules import ScheduleSpec

    return ScheduleSpec(name=name, definition="parent", every_s=3600.0)


@contextmanager
def counted(services: Services) -> Iterator[list[str]]:
    """Statements of one database, as they are sent."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith(("BEGIN", "SET", "SELECT set_config", "PRAGMA")):
            seen.append(statement)

    engine = services.database._reads  # pyright: ignore[reportPrivateUsage]
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def ask(services: Services, document: str, **variables: Any) -> tuple[Any, int]:
    async def run() -> Any:
        context = Context(Caller(Principal("main", None, "tests", ("*:*",)), services), 30.0)
        found = execute(build().schema, parse(document), context_value=context, variable_values=variables)
        return await found if inspect.isawaitable(found) else found

    with counted(services) as seen:
        result = asyncio.run(run())
    assert not result.errors, result.errors
    return result.data, len(seen)


RELATIONS = {
    "definition { name state document definition { active { version } latest { version } } }": 4,
    "definition { instances(first: 3) { nodes { id } } definition { versions { nodes { version } } } }": 3,
    "parent { id } children { nodes { id parent { id } } }": 2,
    'tasks { nodes { path instance { id } } } task(path: "sub") { path }': 3,
    "tasks { nodes { transitions { nodes { to } } logs { nodes { message } } output error } }": 6,
    "history { nodes { to } } logs { nodes { message } } events { nodes { name } }": 5,
    "children { nodes { tasks { nodes { logs { nodes { message } } transitions { nodes { to } } } } } }": 4,
    "inputs output error children { nodes { inputs output } }": 9,
}


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_of_many_cost_no_more_than_those_of_few(services: Services, relation: str) -> None:
    which = 'first: $n, oldestFirst: true, where: {name: "parent"}'
    document = f"query ($n: Int!) {{ instances({which}) {{ nodes {{ id {relation} }} }} }}"
    ask(services, document, n=1)  # plans are read once for a process
    few, of_few = ask(services, document, n=2)
    many, of_many = ask(services, document, n=RUNS)
    assert (len(few["instances"]["nodes"]), len(many["instances"]["nodes"])) == (2, RUNS)
    assert of_few == of_many <= RELATIONS[relation] + 1, (of_few, of_many)


def test_relations_from_definitions_to_log_lines(services: Services) -> None:
    document = """query ($n: Int!) { definitions { nodes { name versions { nodes { version
      instances(first: $n, oldestFirst: true) { nodes { state tasks { nodes { path
        transitions { nodes { to } } logs { nodes { message } } } } } } } } } } }"""
    few, of_few = ask(services, document, n=1)
    many, of_many = ask(services, document, n=RUNS)
    assert of_few == of_many == 6
    assert [each["name"] for each in many["definitions"]["nodes"]] == ["child", "parent"]
    (version,) = many["definitions"]["nodes"][0]["versions"]["nodes"]
    assert len(version["instances"]["nodes"]) == RUNS
    for run in version["instances"]["nodes"]:
        assert [task["path"] for task in run["tasks"]["nodes"]] == ["a", "b", "c"]
        for task in run["tasks"]["nodes"]:
            assert [line["message"] for line in task["logs"]["nodes"]] == [task["path"]]
            assert task["transitions"]["nodes"][-1]["to"] == "completed"
    assert len(few["definitions"]["nodes"][1]["versions"]["nodes"][0]["instances"]["nodes"]) == 1


def test_firings_and_their_runs(services: Services) -> None:
    document = """query ($n: Int!) { schedules { nodes { name definition { name }
      firings(first: $n) { nodes { outcome instance { name } } } } } }"""
    few, of_few = ask(services, document, n=1)
    many, of_many = ask(services, document, n=10)
    (found,) = many["schedules"]["nodes"]
    assert (found["name"], found["definition"]["name"]) == ("one", "parent")
    assert {each["outcome"] for each in found["firings"]["nodes"]} <= {"started", "skipped"}
    assert len(found["firings"]["nodes"]) > len(few["schedules"]["nodes"][0]["firings"]["nodes"]) == 1
    assert of_few == of_many
