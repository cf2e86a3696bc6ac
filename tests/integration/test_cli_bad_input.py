"""What people get wrong: each gives one clear message on stderr, the right exit code, and never a traceback."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strataflow.repositories.migrate import HEAD, VERSION_TABLE
from tests.support.cli import Cli

NOOP = {"run": "core.noop"}
DAY = {"type": "object", "required": ["day"], "properties": {"day": {"type": "string", "format": "date"}}}
ANY = {"type": "object", "additionalProperties": True}
OWN = """
from strataflow import ExecutorDomain

bad = ExecutorDomain("bad")

GIVES = {
    "object": object(),
    "set": {1},
    "nan": float("nan"),
    "infinity": [float("inf")],
    "surrogate": "\\ud800",
    "key": {1: "x"},
    "nul": "a\\0b",
}


@bad.executor("give")
def give(ctx, config):
    return GIVES[config]
"""


@pytest.fixture
def local(migrated_sqlite_url: str, tmp_path: Path) -> Iterator[Cli]:
    with closing(Cli(migrated_sqlite_url, tmp_path)) as made:
        yield made


@pytest.fixture
def cli(db_url: str, tmp_path: Path) -> Iterator[Cli]:
    with closing(Cli(db_url, tmp_path)) as made:
        yield made


def document(nodes: Any, **fields: Any) -> dict[str, Any]:
    return {"dsl": "1", "name": "t.bad", "nodes": nodes, **fields}


CYCLE = {
    "a": {"run": "core.noop", "needs": ["c"]},
    "b": {**NOOP, "needs": ["a"]},
    "c": {**NOOP, "needs": ["b"]},
}
REFUSED = {
    "not JSON": ('{"dsl": "1",,}', ["line 1"]),
    "empty": ("", ["JSON"]),
    "not an object": ([1], ["object"]),
    "wrong shape": (document([]), ["/nodes"]),
    "no verb": (document({"a": {"with": 1}}), ["/nodes/a"]),
    "unknown field": (document({"a": {**NOOP, "retries": 3}}), ["/nodes/a/retries"]),
    "a field of no version": (document({"a": NOOP}, retention={"days": 7}), ["/retention"]),
    "a broken schedule": (document({"a": NOOP}, schedule={"cron": "61 * * * *"}), ["/schedule/cron", "61"]),
    "unknown executor": (document({"a": {"run": "core.nop"}}), ["/nodes/a/run", "core.noop"]),
    "bad config": (document({"a": {"run": "core.sleep", "with": {}}}), ["/nodes/a/with", "seconds"]),
    "cycle": (document(CYCLE), ["a → b → c → a"]),
    "unknown reference": (
        document({"orders": NOOP, "b": {"run": "core.noop", "with": "{{ nodes.order.output }}"}}),
        ["/nodes/b/with", "order", "orders"],
    ),
    "bad expression": (
        document({"a": {"run": "core.noop", "with": "{{ inputs.n + }}"}}, inputs=ANY),
        ["/nodes/a/with"],
    ),
    "bad duration": (document({"a": {"wait": {"for": "soon"}}}), ["/nodes/a/wait/for", "soon"]),
    "NaN": ('{"dsl": "1", "name": "t.bad", "nodes": {"a": {"run": "core.noop", "with": NaN}}}', ["NaN"]),
    "lone surrogate": (
        '{"dsl": "1", "name": "t.bad", "nodes": {"a": {"run": "core.noop", "with": "\\ud800"}}}',
        ["/nodes/a/with"],
    ),
    "repeated name": (
        '{"dsl": "1", "name": "t.bad", "nodes": {"a": {"run": "core.noop"}, "a": {"run": "core.noop"}}}',
        ["/nodes/a"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_definition_is_refused_with_its_place(local: Cli, case: str) -> None:
    content, parts = REFUSED[case]
    flow = local.file("flow.json", content)
    for command in ("run", "start", "register", "validate", "graph"):
        ran = local(
            command, flow, code=0 if case == "unknown executor" and command in {"start", "register"} else 2
        )
        assert all(part in ran.err for part in parts), f"{command}: {ran.err}"
    assert local.newest() is None or case == "unknown executor"


def test_a_bad_expression_is_refused_with_its_position(local: Cli) -> None:
    flow = local.file(
        "flow.json", document({"a": {"run": "core.noop", "with": "{{ inputs.n +* 2 }}"}}, inputs=ANY)
    )
    assert "position" in local("validate", flow, code=2).err


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a: [\n", "line 2"),
        ("- a\n", "no mapping"),
        ("dsl: '1'\ndsl: '1'\n", "twice"),
        (
            "dsl: '1'\nname: t.y\nnodes:\n  a:\n    run: core.noop\n    with: !!binary aGVsbG8=\n",
            "/nodes/a/with",
        ),
    ],
)
def test_yaml_is_refused_like_json(local: Cli, content: str, part: str) -> None:
    flow = local.file("flow.yaml", content)
    for command in ("run", "start", "register", "validate"):
        assert part in local(command, flow, code=2).err


def test_yaml_has_no_dates_and_no_other_booleans(local: Cli) -> None:
    lines = [
        "dsl: '1'",
        "name: t.y",
        "nodes:",
        "  a:",
        "    run: core.noop",
        "    with: {day: 2026-11-20, answer: yes}",
        "    on_error:",
        "      - on: ['x.*']",
        "        output: 1",
    ]
    flow = local.file("flow.yaml", "\n".join(lines))
    assert local("run", flow, "--json").json["output"] == {"a": {"day": "2026-11-20", "answer": "yes"}}


def test_fmt_writes_one_layout_and_checks_it(local: Cli) -> None:
    flow = local.file(
        "flow.json", '{"nodes": {"a": {"with": 1, "run": "core.noop"}}, "name": "t.f", "dsl": "1"}'
    )
    assert "would change" in local("fmt", flow, "--check", code=1).out
    assert local("fmt", flow, "--json").json == {"changed": [str(flow)]}
    assert flow.read_text().startswith('{\n  "dsl": "1",\n  "name": "t.f",\n  "nodes"')
    assert local("fmt", flow, "--check").out == ""


BAD_INPUTS = {
    "missing": ([], ["day"]),
    "wrong format": (["--set", "day=tomorrow"], ["/day", "tomorrow"]),
    "wrong type": (["--set", "day=5"], ["/day"]),
    "unknown": (["--set", "day=2026-11-20", "--set", "dya=1"], ["/dya", "day"]),
    "not JSON": (["--input", "{day}"], ["not JSON"]),
    "no object": (["--input", "[1]"], ["object"]),
    "NaN": (["--input", '{"day": NaN}'], ["NaN"]),
    "no file": (["--input", "@none.json"], ["none.json", "No such file"]),
    "no assignment": (["--set", "day"], ["--set", "name=value"]),
    "surrogate": (["--input", '{"day": "\\ud800"}'], ["/day"]),
    "endless": (["--input", '{"day": 1e999}'], ["/day"]),
    "too deep": (["--input", "[" * 100_000], ["not JSON"]),
    "inside a text": (["--set", "day=x", "--set", "day.y=1"], ["day"]),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_inputs_are_refused_before_anything_starts(local: Cli, case: str) -> None:
    options, parts = BAD_INPUTS[case]
    flow = local.file("flow.json", document({"a": NOOP}, inputs=DAY))
    for command in ("run", "start"):
        ran = local(command, flow, *options, code=2)
        assert all(part in ran.err for part in parts), ran.err
        assert ran.out == ""
    assert local.newest() is None


@pytest.mark.parametrize("given", ["object", "set", "nan", "infinity", "surrogate", "key"])
def test_what_is_not_json_fails_its_task_with_a_reason(cli: Cli, given: str) -> None:
    module = cli.file("bad_outputs_of_test_cli.py", OWN)
    flow = cli.file("flow.json", document({"a": {"run": "bad.give", "with": given}}))
    ran = cli("run", flow, "--import", module, code=1)
    assert "output at a, attempt 1" in ran.err
    (task,) = cli("tasks", cli.newest()["id"], "--json").json
    assert (task["state"], task["error"]["code"], task["input"]) == ("failed", "output", given)


def test_nul_is_a_character_like_any_other(cli: Cli) -> None:
    module = cli.file("bad_outputs_of_test_cli.py", OWN)
    nodes = {
        "a": {"run": "bad.give", "with": "nul"},
        "b": {"run": "core.noop", "with": "{{ nodes.a.output }}"},
    }
    flow = cli.file(
        "flow.json", document(nodes, inputs=ANY, output=["{{ nodes.b.output }}", "{{ inputs.t }}"])
    )
    assert cli("run", flow, "--import", module, "--input", '{"t": "x\\u0000y"}').json == ["a\0b", "x\0y"]
    assert "\0" not in cli("tasks", cli.newest()["id"]).out


def test_ten_megabytes_go_in_and_come_out(cli: Cli) -> None:
    big = cli.file("big.json", {"text": "x" * 10_000_000})
    flow = cli.file(
        "flow.json", document({"a": {"run": "core.noop", "with": "{{ inputs.text }}"}}, inputs=ANY)
    )
    found = cli("run", flow, "--input", f"@{big}", "--json").json
    assert len(found["output"]["a"]) == 10_000_000
    (task,) = cli("tasks", found["id"], "--json").json
    assert len(task["input"]) == len(task["output"]) == 10_000_000
    assert len(cli("tasks", found["id"]).out) < 1000


def test_more_than_may_be_stored_is_refused(local: Cli) -> None:
    big = local.file("big.json", {"text": "x" * 20_000_000})
    flow = local.file("flow.json", document({"a": NOOP}, inputs=ANY))
    assert "may be stored" in local("run", flow, "--input", f"@{big}", code=2).err


# --- databases

READERS = (
    ["list"],
    ["status", "x"],
    ["tasks", "x"],
    ["history", "x"],
    ["logs", "x"],
    ["wait", "x"],
    ["cancel", "x"],
)


@pytest.mark.parametrize("command", READERS, ids=lambda command: str(command[0]))
def test_reading_a_file_that_is_not_there_makes_none(tmp_path: Path, command: list[str]) -> None:
    cli = Cli(f"sqlite:///{tmp_path / 'none.db'}", tmp_path)
    ran = cli(*command, code=2)
    assert "there is no database" in ran.err
    assert "--db" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "code", "parts"),
    [
        ("mysql://h/d", 2, ["mysql", "sqlite:///"]),
        ("file.db", 2, ["file.db", "sqlite:///"]),
        ("sqlite://", 2, ["durable"]),
        ("sqlite:///no/such/folder/x.db", 1, ["no/such/folder"]),
        ("postgresql://127.0.0.1:1/none", 1, ["cannot connect", "127.0.0.1:1"]),
        ("postgresql://me:hunter2@127.0.0.1:1/none", 1, ["cannot connect"]),
    ],
)
def test_no_such_database(tmp_path: Path, url: str, code: int, parts: list[str]) -> None:
    cli = Cli(url, tmp_path)
    flow = cli.file("flow.json", document({"a": NOOP}))
    for command in (["run", flow], ["start", flow], ["worker", "--drain"], ["db", "upgrade"]):
        ran = cli(*command, code=code)
        assert all(part in ran.err for part in parts), ran.err
        assert "hunter2" not in ran.err


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    cli = Cli(f"sqlite:///{tmp_path / 'text.db'}", tmp_path)
    cli.file("text.db", "certainly not a database, but long enough to look at" * 100)
    assert "not a SQLite database" in cli("list", code=1).err
    assert cli("doctor", "--json", code=1).json["status"] == "fail"


def test_postgres_without_tables_says_how_to_make_them(pg_url: str, tmp_path: Path) -> None:
    cli = Cli(pg_url, tmp_path)
    flow = cli.file("flow.json", document({"a": NOOP}))
    for command in (["run", flow], ["list"], ["worker", "--drain"]):
        assert "strataflow db upgrade" in cli(*command, code=1).err
    assert "strataflow db upgrade" in cli("doctor", code=1).out


def test_a_newer_schema_is_left_alone(db_url: str, tmp_path: Path) -> None:
    cli = Cli(db_url, tmp_path)
    statement = f"UPDATE {VERSION_TABLE} SET version_num = '9999'"
    if db_url.startswith("sqlite"):
        with closing(sqlite3.connect(db_url.removeprefix("sqlite:///"))) as raw:
            raw.execute(statement)
            raw.commit()
    else:
        with psycopg.connect(db_url) as raw:
            raw.execute(statement)
    flow = cli.file("flow.json", document({"a": NOOP}))
    for command in (["run", flow], ["list"], ["worker", "--drain"], ["db", "upgrade"]):
        assert "upgrade strataflow" in cli(*command, code=1).err
    assert cli("db", "check", "--json", code=1).json == {"current": "9999", "head": HEAD, "state": "newer"}
    assert "newer" in cli("doctor", code=1).out


# --- usage


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["nope"], "nope"),
        (["run"], "FILE"),
        (["run", "none.json"], "none.json cannot be read"),
        (["run", "."], "directory"),
        (["run", "flow.json", "--nope"], "--nope"),
        (["run", "flow.json", "--timeout", "3x"], "3x"),
        (["run", "flow.json", "--import", "no_such_module"], "no_such_module"),
        (["run", "flow.json", "--with", "none"], "none is no folder"),
        (["start", "t.none"], "t.none"),
        (["start", "t.none@x"], "t.none@x"),
        (["status", "zz"], "zz"),
        (["wait", "0190"], "0190"),
        (["list", "--state", "sleeping"], "sleeping"),
        (["list", "--limit", "0"], "--limit"),
        (["logs", "0190", "--level", "loud"], "loud"),
        (["worker", "--engines", "0"], "--engines"),
        (["worker", "--grace", "long"], "long"),
        (["definitions", "--activate", "t.none@1"], "t.none"),
        (["definitions", "--activate", "t.none"], "name@3"),
        (["graph", "flow.json", "--format", "png"], "png"),
        (["register", "flow.json", "none.json"], "none.json"),
    ],
)
def test_bad_usage_exits_2_with_one_message(
    local: Cli, command: list[str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(local.folder)
    local.file("flow.json", document({"a": NOOP}))
    ran = local(*command, code=2)
    assert part in ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_debug_shows_where_it_happened(local: Cli) -> None:
    shown = local.spawn("--debug", "status", "zz")
    assert "Traceback" in shown.communicate(timeout=30)[1]
    assert shown.returncode == 1
