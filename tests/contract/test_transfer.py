"""Export and import of runs: what arrives is what left, on either database, and what is refused leaves no trace."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from strataflow import Conflict, EngineError, NotFound, TaskContext
from strataflow.engine.catalog import Catalog
from strataflow.engine.parser import content_hash
from strataflow.engine.plans import PlanCache
from strataflow.engine.starts import StartOptions
from strataflow.repositories import views
from strataflow.repositories.database import Database
from strataflow.repositories.migrate import upgrade
from strataflow.repositories.records import TERMINAL_INSTANCE_STATES, InstanceState
from strataflow.repositories.retention import delete_instance
from strataflow.repositories.tables import DEFINITIONS, INSTANCES, SIGNALS, metadata
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
    assert rows + 2 == out.getvalue().count("\n")
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
        "history": [asdict(row) | {"seq": 0} for row in service.history(instance_id)],
        "logs": [asdict(row) | {"seq": 0} for row in service.logs(instance_id)],
    }


def unnumbered(text: str) -> str:
    """Give an export without the numbers that every database gives by its own sequence."""
    return re.sub(r'"seq":\d+', '"seq":0', text)


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
            again = exported(target.database, one)
            assert unnumbered(again) == unnumbered(text), "not a byte is different but the numbers"
            text = exported(target.database, one)
        assert delete_instance(flow.database, one)
        assert imported(flow.database, text) == one
        assert seen(flow, one) == shown
    for url in (source, other):
        assert check(url) == []


def test_every_table_of_a_run_travels_but_keys_and_messages(db_url: str) -> None:
    with flow_on(db_url) as flow:
        one = a_run(flow)
        head, *lines, trailer = map(json.loads, io.StringIO(exported(flow.database, one)))
        travelled = {table for table, _ in lines}
        assert travelled >= {"definitions", "instances", "tasks", "journal", "blobs", "vars", "labels"}
        assert travelled >= {"logs", "signals", "progress", "checkpoints"}
        assert not {"keys", "messages", "engines"} & travelled
        assert head == {"strataflow": "run", "form": 1}
        assert trailer == {"end": Counter(table for table, _ in lines)}


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


@pytest.mark.parametrize("busy", [False, True])
def test_an_imported_run_is_tried_again_and_its_history_stays_in_order(
    db_url: str, new_sqlite: Callable[[str], str], *, busy: bool
) -> None:
    """Numbers of another database are below or above those that this one gives next."""
    nodes: Doc = {
        "a": {"run": "t.echo", "with": 1},
        "b": {"run": "t.fail", "with": {"times": 1}, "needs": ["a"]},
        "w": {"wait": {"signal": "go"}, "needs": ["b"]},
    }
    with flow_on(new_sqlite("source.db")) as source:
        for _ in range(1 if busy else 20):
            source.wait(source.start({"x": {"run": "t.echo"}}))
        one = source.start(nodes)
        assert source.wait(one).state == "failed"
        text, before = exported(source.database, one), [asdict(row) for row in source.history(one)]
    with flow_on(db_url) as flow:
        for _ in range(20 if busy else 0):
            flow.wait(flow.start({"x": {"run": "t.echo"}}))
        assert imported(flow.database, text) == one
        asyncio.run(flow.engine.retry_workflow(one))
        other = flow.start({"x": {"run": "t.echo"}})
        asyncio.run(flow.engine.signal_workflow(one, "go"))
        assert [flow.wait(each).state for each in (one, other)] == ["completed", "completed"]
        after = [asdict(row) for row in flow.history(one)]
        assert [row | {"seq": 0} for row in after][: len(before)] == [row | {"seq": 0} for row in before]
        assert [row["at"] for row in after] == sorted(row["at"] for row in after)
        assert len({row["seq"] for row in after}) == len(after) > len(before)
        assert flow.moves(one, "b")[-1] == "completed"
    assert check(db_url) == []


def test_signals_of_an_imported_run_keep_their_order(db_url: str, new_sqlite: Callable[[str], str]) -> None:
    with flow_on(new_sqlite("source.db")) as source:
        one = source.start({"g": {"run": "t.gate", "with": {"gate": "g"}}})
        for number in range(9):  # ids in an order of their own
            id_ = f"{(number * 4) % 9}"
            asyncio.run(source.engine.signal_workflow(one, "go", number, signal_id=id_))
        source.probe.gate("g").set()
        ended = source.wait(one)
        assert ended.state == "completed", ended.error
        text = exported(source.database, one)
    with closing(Database(db_url)) as database:
        imported(database, text)
        with database.read() as connection:
            rows = connection.execute(select(SIGNALS.c.value).order_by(SIGNALS.c.seq)).scalars().all()
        assert [json.loads(value or "") for value in rows] == list(range(9))


# --- refusals


def test_only_what_has_ended_is_exported(database: Database) -> None:
    definition = {"id": IDS[0], "name": "flow", "version": 1, "hash": "0" * 64, "body": "{}", "created_at": 1}
    insert(database, DEFINITIONS, definition)
    for number, state in enumerate(InstanceState):
        one = f"018f0000-0000-7000-8000-{number + 100:012d}"
        insert(database, INSTANCES, instance(1, state.value) | {"id": one})
        if state in TERMINAL_INSTANCE_STATES:
            assert exported(database, one).count("\n") == 4
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


def without(line: str, *names: str) -> str:
    table, row = json.loads(line)
    return json.dumps([table, {name: value for name, value in row.items() if name not in names}]) + "\n"


def counted(lines: list[str]) -> list[str]:
    """Give the lines with an end that counts them, whatever they hold."""
    kinds = [json.loads(line)[0] for line in lines[1:-1]]
    return [*lines[:-1], json.dumps({"end": Counter(kinds)}) + "\n"]


def first(lines: list[str], table: str) -> int:
    return next(at for at, line in enumerate(lines) if line.startswith(f'["{table}"'))


def with_row(lines: list[str], table: str, **values: Any) -> list[str]:
    at = first(lines, table)
    return [*lines[:at], changed(lines[at], **values), *lines[at + 1 :]]


def twice(lines: list[str], table: str) -> list[str]:
    at = first(lines, table)
    return counted([*lines[: at + 1], *lines[at:]])


def other_definition(lines: list[str], body: str) -> list[str]:
    """Give the lines with a definition whose hash fits."""
    return with_row(lines, "definitions", body=body, hash=content_hash(body))


#: What is done to the lines of an export (head, definition, run, its rows, end), and what is said then.
DAMAGES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "empty": (lambda _: [], "no export of a run"),
    "no head": (lambda lines: lines[1:], "no export of a run"),
    "another head": (lambda lines: ['{"strataflow": "definition", "form": 1}\n', *lines[1:]], "no export"),
    "a form of the future": (lambda lines: ['{"strataflow": "run", "form": 2}\n', *lines[1:]], "no export"),
    "a line cut short": (lambda lines: [*lines[:-1], lines[-1][:-9]], "line {last}: this is not JSON"),
    "cut at a line's end": (lambda lines: lines[:-1], "line {last}: the file ends before the export does"),
    "cut in the middle": (lambda lines: lines[:5], "line 6: the file ends before the export does"),
    "a line is missing": (lambda lines: [*lines[:4], *lines[5:]], "rows are missing, or are too many: "),
    "no counts": (lambda lines: [*lines[:-1], '{"end": null}\n'], "rows are missing"),
    "something after the end": (lambda lines: [*lines, lines[-1]], "something follows the end"),
    "no JSON between": (lambda lines: [*lines[:4], "\x00\x00\x00\n", *lines[4:]], "line 5: this is not JSON"),
    "too deep": (lambda lines: [*lines[:4], "[" * 200_000, *lines[4:]], "line 5: this is not JSON"),
    "no row between": (lambda lines: [*lines[:4], '{"path": "a"}\n', *lines[4:]], "line 5: this is no row"),
    "no table": (lambda lines: [*lines[:4], "[1, {}]\n", *lines[4:]], "line 5: this is no row"),
    "a row that is no object": (
        lambda lines: [*lines[:3], '["tasks", [1]]\n', *lines[3:]],
        "line 4: a row of 'tasks' is no object",
    ),
    "a run that is no object": (
        lambda lines: [*lines[:2], '["instances", 7]\n'],
        "line 3: a row of 'instances'",
    ),
    "a definition that is no object": (lambda lines: [lines[0], '["definitions", 7]\n'], "line 2: a row of"),
    "no definition": (lambda lines: [lines[0], *lines[2:]], "line 2: .* 'definitions' belongs here"),
    "no run": (lambda lines: [*lines[:2], *lines[3:]], "line 3: .* 'instances' belongs here"),
    "out of order": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2: .*'definitions'"),
    "only a head": (lambda lines: lines[:1], "line 2: the file ends"),
    "a hash that does not fit": (
        lambda lines: with_row(lines, "definitions", hash="0" * 64),
        "line 2: the definition is not the one that its hash names",
    ),
    "a body that was changed": (
        lambda lines: with_row(lines, "definitions", body=json.loads(lines[1])[1]["body"].replace("1", "2")),
        "line 2: the definition is not the one that its hash names",
    ),
    "a body that is no definition": (
        lambda lines: other_definition(lines, "{}"),
        "line 2: .* is not valid here",
    ),
    "a body that is no JSON": (
        lambda lines: other_definition(lines, "nothing"),
        "line 2: .* is not valid here",
    ),
    "a definition of another name": (
        lambda lines: with_row(lines, "definitions", name="other"),
        "line 2: the definition's own name is 'flow'",
    ),
    "a run of another definition": (
        lambda lines: with_row(lines, "instances", definition_id=IDS[9]),
        "line 3: the run belongs to another definition",
    ),
    "a run that is live": (
        lambda lines: with_row(lines, "instances", state="running", ended_at=None),
        "line 3: the run is 'running'",
    ),
    "a state that does not exist": (
        lambda lines: with_row(lines, "instances", state="odd"),
        "the run is 'odd'",
    ),
    "a task that is live": (
        lambda lines: with_row(lines, "tasks", state="queued", ended_at=None, ready_at=1),
        "task '' is 'queued' in a run that has ended",
    ),
    "a task with a timer": (lambda lines: with_row(lines, "tasks", wake_at=1), "in a run that has ended"),
    "an unknown column": (
        lambda lines: with_row(lines, "tasks", color="red"),
        "unknown in a row of 'tasks': 'color'",
    ),
    "an unknown column of the run": (
        lambda lines: with_row(lines, "instances", color=1),
        "line 3: unknown in a row of 'instances'",
    ),
    "missing fields": (
        lambda lines: [*lines[:2], without(lines[2], "gen", "key"), *lines[3:]],
        "line 3: missing in a row of 'instances': 'gen', 'key'",
    ),
    "missing fields of a definition": (
        lambda lines: [lines[0], without(lines[1], "body"), *lines[2:]],
        "line 2: missing in a row of 'definitions': 'body'",
    ),
    "a text for a number": (
        lambda lines: with_row(lines, "tasks", attempt="1"),
        "'attempt' .* is no whole number",
    ),
    "a number out of range": (
        lambda lines: with_row(lines, "journal", seq=1 << 63),
        "'seq' .* is no whole number",
    ),
    "a number for a text": (lambda lines: with_row(lines, "journal", reason=1), "'reason' .* is no text"),
    "half a character": (lambda lines: with_row(lines, "journal", reason="\ud800"), "'reason' .* is no text"),
    "nothing for something": (
        lambda lines: with_row(lines, "journal", reason=None),
        "'reason' .* must be one",
    ),
    "no id": (lambda lines: with_row(lines, "journal", engine="me"), "'engine' .* is no id"),
    "a row of a table that does not travel": (
        lambda lines: counted([*lines[:-1], lines[1], lines[-1]]),
        "a row of 'definitions' does not belong here",
    ),
    "a row of no table": (
        lambda lines: counted([*lines[:3], '["nothing", {"instance_id": "x"}]\n', *lines[3:]]),
        "line 4: a row of 'nothing' does not belong here",
    ),
    "a row of another run": (
        lambda lines: with_row(lines, "tasks", instance_id=IDS[9]),
        "a row of 'tasks' belongs to another run",
    ),
    "a task twice": (
        lambda lines: twice(lines, "tasks"),
        "line \\d+: this row of 'tasks' is in the file twice",
    ),
    "a transition twice": (
        lambda lines: twice(lines, "journal"),
        "line \\d+: the row of line \\d+ is here again",
    ),
    "a table in two parts": (
        lambda lines: counted([*lines[:-1], lines[first(lines, "journal")], lines[-1]]),
        "a row of 'journal' does not belong here",
    ),
    "history out of order": (
        lambda lines: [*lines[: (at := first(lines, "journal"))], lines[at + 1], lines[at], *lines[at + 2 :]],
        "a row of 'journal' is out of order",
    ),
    "a row that breaks a rule": (
        lambda lines: with_row(lines, "tasks", ended_at=None),
        "the database refuses this row",
    ),
}


def test_a_damaged_file_is_refused_and_nothing_is_written(
    db_url: str, new_sqlite: Callable[[str], str]
) -> None:
    with flow_on(new_sqlite("source.db")) as source:
        lines = small(source)
    assert {json.loads(line)[0] for line in lines[1:-1]} >= {"tasks", "journal"}
    with closing(Database(db_url)) as database:
        before = dump(database)
        for what, (damage, said) in DAMAGES.items():
            with pytest.raises(EngineError) as caught:
                imported(database, "".join(damage(lines)))
            assert re.search(said.format(last=len(lines)), caught.value.message), (what, str(caught.value))
            assert caught.value.hint, what
            assert dump(database) == before, what
        with pytest.raises(EngineError, match="not UTF-8"):
            Upkeep(database).load(io.TextIOWrapper(io.BytesIO(lines[0].encode() + b"\xff\n"), "utf-8"))
        imported(database, "".join(lines))
    assert check(db_url) == []


def test_a_run_that_is_there_already_is_refused_and_stays_as_it_is(db_url: str) -> None:
    with flow_on(db_url) as flow:
        lines = small(flow)
        flow.shut()
        one = json.loads(lines[2])[1]["id"]
        before = dump(flow.database)
        for text in ("".join(lines), "".join([*lines[:2], changed(lines[2], reason="other"), *lines[3:]])):
            with pytest.raises(Conflict, match=f"{one} is in this database already"):
                imported(flow.database, text)
            assert dump(flow.database) == before
        with pytest.raises(NotFound):
            Upkeep(flow.database).delete(IDS[9])
        Upkeep(flow.database).delete(one)
        assert imported(flow.database, "".join(lines)) == one, "deleted, it may come back"
        assert same_again(dump(flow.database)) == same_again(before)
    assert check(db_url) == []


def same_again(tables: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """Leave out the second column of the journal, its numbers, and how far the feed has been deleted."""
    journal = sorted(((row[0], *row[2:]) for row in tables["journal"]), key=repr)
    return {**tables, "journal": journal, "notices": [row for row in tables["notices"] if row[0] != 0]}
