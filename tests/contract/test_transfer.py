"""Export and import of runs: what arrives is what left, on either database, and what is refused leaves no trace."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from strataflow import Conflict, EngineError, NotFound, TaskContext
from strataflow.engine.catalog import Catalog
from strataflow.engine.plans import PlanCache
from strataflow.engine.starts import StartOptions
from strataflow.repositories import views
from strataflow.repositories.database import Database
from strataflow.repositories.migrate import upgrade
from strataflow.repositories.records import TERMINAL_INSTANCE_STATES, InstanceState
from strataflow.repositories.retention import delete_instance
from strataflow.repositories.tables import DEFINITIONS, INSTANCES, metadata
from strataflow.repositories.transfer import TransferRefused, export_rows
from strataflow.services.execution_service import ExecutionService
from strataflow.services.upkeep import Upkeep
from tests.checker import check
from tests.integration.kit import Doc, Flow
from tests.support.tables import IDS, insert, instance

ODD = {"nul": "a\u0000b", "long": 2**80, "small": 1e-9, "text": "é 𝄞 \u2028", "deep": [[], {}, None, True]}
NODES: Doc = {
    "odd": {"run": "t.echo", "with": ODD},
    "big": {"run": "t.echo", "with": "x" * 100_000},
    "var": {"set": {"v": "{{ nodes.odd.output }}"}},
    "map": {
        "map": [3, 1, 2],
        "do": {"nodes": {"s": {"set": {"w": "{{ item }}"}}, "e": {"run": "t.echo", "with": "{{ vars.w }}"}}},
    },
    "sig": {"wait": {"signal": "go"}},
    "kept": {"run": "own.keeper"},
    "bad": {"run": "t.fail", "with": {"message": "no ü"}, "needs": ["var", "map", "sig", "kept", "big"]},
}


def keeper(ctx: TaskContext, _config: Any) -> str:
    """Leave something in every table that an attempt can write."""
    ctx.log("careful: é", "warning")
    ctx.progress(0.5, "half")
    ctx.save_checkpoint({"at": 7})
    return "kept"


@contextmanager
def flow_on(url: str) -> Iterator[Flow]:
    flow = Flow(url)
    flow.registry.register_executor_domain("own", {"keeper": keeper})
    with closing(flow.database), closing(flow):
        yield flow


def a_run(flow: Flow) -> str:
    """Make a run that failed after having done everything."""
    options = StartOptions(key="k", mutex="m", labels={"team": "core", "n": "1"})
    one = flow.engine.start_now(flow.document(NODES, labels={"from": "definition"}), options=options)
    asyncio.run(flow.engine.signal_workflow(one, "go", {"big": "y" * 100_000}))
    assert flow.wait(one).state == "failed"
    return one


def exported(database: Database, instance_id: str) -> str:
    out = io.StringIO()
    rows = Upkeep(database).export(instance_id, out)
    assert rows + 1 == out.getvalue().count("\n")
    return out.getvalue()


def imported(database: Database, text: str) -> str:
    return Upkeep(database).load(io.StringIO(text))


def seen(flow: Flow, instance_id: str) -> Doc:
    """Give what people and programs are shown of a run."""
    catalog = Catalog(flow.database, flow.registry, PlanCache(), executes=False)
    service = ExecutionService(flow.database, catalog)
    with flow.database.read() as connection:
        view = views.instance(connection, instance_id)
        assert view is not None
        beside = {
            "labels": view.labels,
            "mutex": view.mutex,
            "progress": views.progress(connection, instance_id),
            "checkpoint": views.checkpoint(connection, instance_id, "kept"),
        }
    return beside | {
        "status": service.status(instance_id).as_json(),
        "tasks": list(service.tasks(instance_id)),
        "history": [asdict(row) for row in service.history(instance_id)],
        "logs": [asdict(row) for row in service.logs(instance_id)],
    }


def dump(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Give every row of every table that both databases have."""
    with database.read() as connection:
        tables = [table for table in metadata.sorted_tables if not table.info.get("only")]
        return {t.name: sorted((tuple(r) for r in connection.execute(select(t))), key=repr) for t in tables}


@pytest.fixture
def new_sqlite(tmp_path: Path) -> Callable[[str], str]:
    def make(name: str) -> str:
        url = f"sqlite:///{tmp_path / name}"
        upgrade(url)
        return url

    return make


# --- round trips


@pytest.mark.parametrize("first", ["sqlite", "postgres"])
def test_a_run_is_the_same_after_it_went_to_the_other_database_and_back(
    first: str, migrated_sqlite_url: str, migrated_pg_url: str
) -> None:
    there = {"sqlite": migrated_sqlite_url, "postgres": migrated_pg_url}
    source, other = there.pop(first), next(iter(there.values()))
    with flow_on(source) as flow:
        one = a_run(flow)
        flow.shut()
        text, shown = exported(flow.database, one), seen(flow, one)
        assert shown["status"]["error"]["cause"] is None
        assert {"kept", "map[0].e", "map[2].s"} <= {task.path for task in shown["tasks"]}
        with flow_on(other) as target:
            assert imported(target.database, text) == one
            assert seen(target, one) == shown
            assert exported(target.database, one) == text, "not a byte is different"
            text = exported(target.database, one)
        assert delete_instance(flow.database, one)
        assert imported(flow.database, text) == one
        assert seen(flow, one) == shown
    for url in (source, other):
        assert check(url) == []


def test_every_table_of_a_run_travels_but_keys_and_messages(db_url: str) -> None:
    with flow_on(db_url) as flow:
        one = a_run(flow)
        head, *lines = map(json.loads, io.StringIO(exported(flow.database, one)))
        travelled = {table for table, _ in lines}
        assert travelled >= {"definitions", "instances", "tasks", "journal", "blobs", "vars", "labels"}
        assert travelled >= {"logs", "signals", "progress", "checkpoints"}
        assert not {"keys", "messages", "engines"} & travelled
        assert head == {"strataflow": "run", "form": 1}


def test_an_imported_run_keeps_its_definition_among_other_versions(
    db_url: str, new_sqlite: Callable[[str], str]
) -> None:
    with flow_on(db_url) as flow:
        one = a_run(flow)
        text, shown = exported(flow.database, one), seen(flow, one)
    with flow_on(new_sqlite("other.db")) as target:
        for value in (1, 2):
            target.engine.register(target.document({"a": {"run": "t.echo", "with": value}}), activate=True)
        imported(target.database, text)
        found = seen(target, one)
        assert (shown["status"]["version"], found["status"]["version"]) == (1, 3)
        assert found["tasks"] == shown["tasks"]
        assert target.wait(target.engine.start_now("flow")).output == {"a": 2}, "what is active stays so"
        again = target.engine.register(target.document(NODES, labels={"from": "definition"}))
        assert again.version == 3, "its content is known by its hash"


def test_an_imported_run_can_be_forked_and_run_again(db_url: str, new_sqlite: Callable[[str], str]) -> None:
    nodes: Doc = {
        "a": {"run": "t.echo", "with": "x" * 100_000},
        "b": {"run": "t.echo", "with": "{{ (nodes.a.output | length) + inputs.n }}"},
    }
    with flow_on(new_sqlite("source.db")) as source:
        one = source.start(nodes, {"n": 1})
        assert source.wait(one).output == {"b": 100_001}
        text = exported(source.database, one)
    with flow_on(db_url) as flow:
        imported(flow.database, text)
        forked = asyncio.run(flow.engine.fork_workflow(one, "b", inputs={"n": 2}))
        again = asyncio.run(flow.engine.rerun_workflow(one, {"n": 3}))
        assert [flow.wait(each).output for each in (forked, again)] == [{"b": 100_002}, {"b": 100_003}]
        assert flow.probe.attempts("a") == [1], "the fork did not run it"
    assert check(db_url) == []


# --- refusals


def test_only_what_has_ended_is_exported(database: Database) -> None:
    definition = {"id": IDS[0], "name": "flow", "version": 1, "hash": "0" * 64, "body": "{}", "created_at": 1}
    insert(database, DEFINITIONS, definition)
    for number, state in enumerate(InstanceState):
        one = f"018f0000-0000-7000-8000-{number + 100:012d}"
        insert(database, INSTANCES, instance(1, state.value) | {"id": one})
        if state in TERMINAL_INSTANCE_STATES:
            assert exported(database, one).count("\n") == 3
            continue
        out = io.StringIO()
        with pytest.raises(Conflict, match=f"{one} is {state.value}"):
            Upkeep(database).export(one, out)
        assert out.getvalue() == ""


def test_what_does_not_exist_is_not_exported(database: Database) -> None:
    for unknown in (IDS[2], "no id", ""):
        with database.read() as connection, pytest.raises(TransferRefused, match=f"no instance {unknown}"):
            list(export_rows(connection, unknown))


def small(flow: Flow) -> list[str]:
    """Give the lines of a small export."""
    one = flow.start({"a": {"run": "t.echo", "with": 1}})
    assert flow.wait(one).state == "completed"
    return exported(flow.database, one).splitlines(keepends=True)


def changed(line: str, **values: Any) -> str:
    table, row = json.loads(line)
    return json.dumps([table, row | values]) + "\n"


#: What is done to the lines of an export: head, definition, run, then its rows.
DAMAGES: dict[str, Callable[[list[str]], list[str]]] = {
    "empty": lambda _: [],
    "no head": lambda lines: lines[1:],
    "another head": lambda lines: ['{"strataflow": "definition", "form": 1}\n', *lines[1:]],
    "a form of the future": lambda lines: ['{"strataflow": "run", "form": 2}\n', *lines[1:]],
    "a line cut short": lambda lines: [*lines[:-1], lines[-1][:-9]],
    "no JSON between": lambda lines: [*lines[:4], "\x00\x00\x00\n", *lines[4:]],
    "no row between": lambda lines: [*lines[:4], '{"path": "a"}\n', *lines[4:]],
    "no definition": lambda lines: [lines[0], *lines[2:]],
    "no run": lambda lines: [*lines[:2], *lines[3:]],
    "out of order": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "only a head": lambda lines: lines[:1],
    "a row of a table that does not travel": lambda lines: [*lines, lines[1]],
    "a row of no table": lambda lines: [*lines, '["nothing", {"instance_id": "x"}]\n'],
    "a row of another run": lambda lines: [*lines[:-1], changed(lines[-1], instance_id=IDS[9])],
    "a row twice": lambda lines: [*lines, lines[-1]],
    "a state that does not exist": lambda lines: [*lines[:2], changed(lines[2], state="odd"), *lines[3:]],
    "a row that breaks a rule": lambda lines: [*lines[:-1], changed(lines[-1], ended_at=None)],
}


def test_a_damaged_file_is_refused_and_nothing_is_written(
    db_url: str, new_sqlite: Callable[[str], str]
) -> None:
    with flow_on(new_sqlite("source.db")) as source:
        lines = small(source)
    assert json.loads(lines[-1])[0] == "tasks"
    with closing(Database(db_url)) as database:
        before = dump(database)
        for what, damage in DAMAGES.items():
            with pytest.raises(EngineError):
                imported(database, "".join(damage(lines)))
            assert dump(database) == before, what
        imported(database, "".join(lines))
    assert check(db_url) == []


def test_a_run_that_is_there_already_is_refused_and_stays_as_it_is(db_url: str) -> None:
    with flow_on(db_url) as flow:
        lines = small(flow)
        flow.shut()
        one = json.loads(lines[2])[1]["id"]
        before = dump(flow.database)
        for text in ("".join(lines), "".join([*lines[:2], changed(lines[2], name="other"), *lines[3:]])):
            with pytest.raises(Conflict, match=f"{one} is in this database already"):
                imported(flow.database, text)
            assert dump(flow.database) == before
        with pytest.raises(NotFound):
            Upkeep(flow.database).delete(IDS[9])
        Upkeep(flow.database).delete(one)
        assert imported(flow.database, "".join(lines)) == one, "deleted, it may come back"
        assert dump(flow.database) == before
    assert check(db_url) == []
