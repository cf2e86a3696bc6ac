"""Starting: durable at once, idempotent by key, part of the caller's transaction, refused with every reason."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy

from strataflow import Conflict, EngineError, InputError, NotFound, WorkflowEngine
from strataflow.repositories import views
from strataflow.repositories.records import InstanceState
from strataflow.repositories.url import DatabaseUrl
from tests.integration.kit import WAIT_S, Flow, until

ECHO = {"a": {"run": "t.echo", "with": "{{ inputs.x }}"}}
INPUTS = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 1}, "y": {"default": 7}},
    "required": ["x"],
}


@pytest.mark.row("X-04")
def test_a_start_returns_before_anything_has_run(flow: Flow) -> None:
    instance = flow.start({"a": {"run": "t.gate", "with": {"gate": "g", "give": 1}}})
    assert flow.engine.status(instance).state in {InstanceState.PENDING, InstanceState.RUNNING}
    assert not flow.engine.status(instance).ended
    flow.probe.gate("g").set()
    assert flow.wait(instance).output == {"a": 1}


@pytest.mark.row("X-04")
def test_a_client_starts_what_an_engine_runs_later(flow: Flow) -> None:
    client = flow.open(executes=False)
    instance = client.start_now(flow.document(ECHO, inputs=INPUTS), {"x": 1})
    assert client.status(instance).state is InstanceState.PENDING
    assert flow.probe.calls == []
    flow.open()
    assert client.wait_now(instance, WAIT_S).output == {"a": 1}


def test_a_start_is_found_by_name_version_and_what_register_gave(flow: Flow) -> None:
    first = flow.engine.register(flow.document({"a": {"run": "t.echo", "with": 1}}), activate=True)
    second = flow.engine.register(flow.document({"a": {"run": "t.echo", "with": 2}}))
    assert (first.version, second.version) == (1, 2)
    run = flow.engine.run
    assert run(second, timeout=WAIT_S) == {"a": 2}
    assert run("flow@2", timeout=WAIT_S) == {"a": 2}
    assert run("flow", timeout=WAIT_S) == {"a": 1}
    for missing in ("flow@3", "nothing", "flow@x"):
        with pytest.raises(NotFound):
            flow.engine.start_now(missing)


@pytest.mark.parametrize(
    ("inputs", "pointer"),
    [({}, "x"), ({"x": 0}, "/x"), ({"x": "1"}, "/x"), ({"x": 1, "z": 2}, "z"), ([1], ""), ("text", "")],
)
def test_inputs_that_break_the_schema_start_nothing(flow: Flow, inputs: Any, pointer: str) -> None:
    with pytest.raises(InputError) as caught:
        flow.engine.start_now(flow.document(ECHO, inputs=INPUTS), inputs)
    assert pointer in str(caught.value)
    with flow.database.read() as connection:
        assert views.instances(connection) == []


def test_defaults_of_inputs_are_filled_in_and_stored(flow: Flow) -> None:
    nodes = {"a": {"run": "t.echo", "with": "{{ inputs }}"}}
    status = flow.wait(flow.engine.start_now(flow.document(nodes, inputs=INPUTS), {"x": 2}))
    assert status.inputs == status.output["a"] == {"x": 2, "y": 7}


@pytest.mark.parametrize("key", ["", "x" * 513, "nul\x00", "lone \ud800"])
def test_a_key_that_no_database_keeps_is_refused_and_harms_nobody(flow: Flow, key: str) -> None:
    with pytest.raises(EngineError):
        flow.engine.start_now(flow.document(ECHO, inputs=INPUTS), {"x": 1}, key=key)
    assert flow.run(ECHO, {"x": 1}).output == {"a": 1}


def test_a_key_starts_one_instance_for_ever(flow: Flow) -> None:
    document = flow.document(ECHO, inputs=INPUTS)
    first = flow.engine.start_now(document, {"x": 1}, key="k")
    flow.wait(first)
    assert flow.engine.start_now(document, {"x": 2}, key="k") == first
    assert flow.engine.start_now(document, {"x": 2}, key="other") != first
    assert flow.engine.start_now(document | {"name": "else"}, {"x": 1}, key="k") != first
    flow.shut()
    assert flow.engine.start_now(document, {"x": 3}, key="k") == first
    assert flow.wait(first).inputs["x"] == 1


def test_twenty_concurrent_starts_with_one_key_give_one_instance(flow: Flow) -> None:
    document, engines = flow.document(ECHO, inputs=INPUTS), [flow.open(), flow.open()]
    found: list[str] = []
    barrier = threading.Barrier(20)

    def start(engine: WorkflowEngine) -> None:
        barrier.wait()
        found.append(engine.start_now(document, {"x": 1}, key="same"))

    threads = [threading.Thread(target=start, args=(engines[i % 2],)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1
    assert flow.wait(found[0]).output == {"a": 1}
    assert flow.probe.paths() == ["a"]


# --- inside the caller's transaction


@contextmanager
def caller(url: str, kind: str) -> Iterator[Any]:
    """Give a caller's own connection to the same database."""
    parsed = DatabaseUrl.parse(url)
    if kind == "sqlalchemy":
        if parsed.path is not None:
            engine = sqlalchemy.create_engine(f"sqlite:///{parsed.path}")
        else:
            engine = sqlalchemy.create_engine(
                "postgresql+psycopg://", creator=lambda: psycopg.connect(parsed.dsn)
            )
        with engine.connect() as connection:
            yield connection
        engine.dispose()
        return
    raw: Any = sqlite3.connect(parsed.path) if parsed.path is not None else psycopg.connect(parsed.dsn)
    try:
        yield raw
    finally:
        raw.close()


@pytest.mark.parametrize("kind", ["driver", "sqlalchemy"])
@pytest.mark.parametrize("way", ["async", "sync"])
def test_a_start_counts_when_the_callers_transaction_commits(flow: Flow, kind: str, way: str) -> None:
    document = flow.document(ECHO, inputs=INPUTS)
    flow.open(notify=True)
    flow.engine.register(document)
    with caller(flow.url, kind) as connection:
        ids: list[str] = []
        for commit in (False, True):
            if way == "async":
                ids.append(asyncio.run(flow.engine.start_workflow(document, {"x": 5}, connection=connection)))
            else:
                ids.append(flow.engine.start_in_transaction(connection, document, {"x": 5}))
            with pytest.raises(NotFound):
                flow.engine.status(ids[-1])
            assert flow.probe.calls == []
            connection.commit() if commit else connection.rollback()
    assert flow.wait(ids[1]).output == {"a": 5}
    with pytest.raises(NotFound):
        flow.engine.status(ids[0])


def test_a_keyed_start_inside_a_transaction_gives_the_first_instance(flow: Flow) -> None:
    document = flow.document(ECHO, inputs=INPUTS)
    first = flow.engine.start_now(document, {"x": 1}, key="k")
    with caller(flow.url, "driver") as connection:
        assert flow.engine.start_in_transaction(connection, document, {"x": 2}, key="k") == first
        other = flow.engine.start_in_transaction(connection, document, {"x": 2}, key="new")
        connection.commit()
    assert flow.engine.start_now(document, {"x": 3}, key="new") == other
    assert flow.wait(other).inputs["x"] == 2


def test_a_connection_of_another_kind_is_refused(flow: Flow) -> None:
    with pytest.raises(EngineError) as caught:
        flow.engine.start_in_transaction(object(), flow.document(ECHO, inputs=INPUTS), {"x": 1})
    assert not isinstance(caught.value, Conflict)
    assert "connection" in str(caught.value)


# --- many at once


@pytest.mark.row("A-17")
def test_many_threads_start_and_none_is_lost_or_doubled(flow: Flow) -> None:
    registered = flow.engine.register(flow.document({"a": {"run": "core.noop", "with": 1}}))
    ids: list[list[str]] = [[] for _ in range(4)]

    def start(mine: list[str]) -> None:
        mine += [flow.engine.start_now(registered) for _ in range(250)]

    threads = [threading.Thread(target=start, args=(mine,)) for mine in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [instance for mine in ids for instance in mine]
    assert len(set(everything)) == 1_000
    assert flow.engine.drain(WAIT_S)
    with flow.database.read() as connection:
        found = views.instances(connection, limit=2_000)
    assert {row.id for row in found} == set(everything)
    assert {row.state for row in found} == {InstanceState.COMPLETED}
    until(lambda: not flow.engine.scheduler.busy)
