"""The command line: every command with what it is for, on both databases where that can make a difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strataflow import __version__
from tests.support.cli import Cli

RUN_KEYS = [
    "id",
    "name",
    "version",
    "state",
    "inputs",
    "output",
    "error",
    "created_at",
    "started_at",
    "ended_at",
]
TASK_KEYS = [
    "path", "node", "state", "attempt", "executor", "queue", "started_at", "ended_at", "input", "output", "error",
]  # fmt: skip
HISTORY_KEYS = ["seq", "at", "path", "attempt", "from", "to", "reason", "engine"]
COMMANDS = [
    "run", "start", "wait", "cancel", "worker", "status", "list", "tasks", "history", "logs", "validate", "register",
    "definitions", "graph", "schema", "executors", "doctor", "db upgrade", "db check",
]  # fmt: skip

ECHO = {"run": "core.noop", "with": {"n": "{{ inputs.n }}"}}
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "default": 3}, "text": {"type": "string"}},
}


@pytest.fixture
def cli(db_url: str, tmp_path: Path) -> Iterator[Cli]:
    with closing(Cli(db_url, tmp_path)) as made:
        yield made


@pytest.fixture
def local(migrated_sqlite_url: str, tmp_path: Path) -> Cli:
    """Give the command line on SQLite alone, for what no database can change."""
    return Cli(migrated_sqlite_url, tmp_path)


# --- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(local: Cli, command: str) -> None:
    text = local(*command.split(), "--help").out
    assert f"Example: strataflow {command}" in text
    assert "--json" in text


def test_no_command_shows_the_help(local: Cli) -> None:
    assert all(command.split()[0] in local(code=2).out for command in COMMANDS)


def test_version(local: Cli) -> None:
    assert local("--version").out == f"strataflow {__version__}\n"


# --- run


def test_run_prints_one_object_with_exactly_these_keys(cli: Cli) -> None:
    ran = cli("run", cli.flow({"a": ECHO}, inputs=NUMBER, output="{{ nodes.a.output.n }}"), "--json")
    found = ran.json
    assert list(found) == RUN_KEYS
    assert (found["state"], found["inputs"], found["output"], found["error"]) == (
        "completed",
        {"n": 3},
        3,
        None,
    )
    assert found["created_at"] <= found["started_at"] <= found["ended_at"]


def test_run_prints_the_result_and_nothing_else_on_stdout(local: Cli) -> None:
    ran = local(
        "run", local.flow({"a": ECHO}, inputs=NUMBER, output={"n": "{{ nodes.a.output.n }}", "ü": "é"})
    )
    assert ran.json == {"n": 3, "ü": "é"}
    assert "é" in ran.out
    assert ran.err.count("\n") == 2  # one line at the start, one at the end
    assert "completed" in ran.err


def test_inputs_come_from_text_file_and_assignments(local: Cli) -> None:
    schema = {"type": "object", "additionalProperties": True}
    flow = local.flow({"a": {"run": "core.noop", "with": "{{ inputs.deep }}"}}, inputs=schema)
    given = local.file("in.json", {"deep": {"kept": 1, "x": "old"}})
    sets = [
        "deep.x=[1, 2]",
        "deep.text=hello world",
        "deep.y.z=true",
        "deep.nan=NaN",
        'deep.quoted="5"',
        "deep.eq=a=b",
    ]
    found = local(
        "run", flow, "--input", f"@{given}", *[part for s in sets for part in ("--set", s)], "--json"
    ).json
    deep = {
        "kept": 1,
        "x": [1, 2],
        "text": "hello world",
        "y": {"z": True},
        "nan": "NaN",
        "quoted": "5",
        "eq": "a=b",
    }
    assert found["inputs"] == {"deep": deep}
    assert local("run", flow, "--input", '{"deep": null}', "--json").json["inputs"] == {"deep": None}


def test_a_failed_run_exits_1_and_says_where_and_what_to_look_at(cli: Cli) -> None:
    flow = cli.flow(
        {"m": {"map": [1], "do": {"run": "core.fail", "with": {"code": "Declined", "message": "no money"}}}}
    )
    ran = cli("run", flow, code=1)
    assert ran.out == ""
    assert "no money" in ran.err
    assert "m[0], attempt 1" in ran.err
    assert "strataflow tasks " in ran.err
    found = cli("run", flow, "--json", code=1).json
    assert (found["state"], found["output"], found["error"]["path"]) == ("failed", None, "m")


def test_a_key_starts_once_and_a_second_run_gives_the_first_result(cli: Cli) -> None:
    flow = cli.flow({"a": ECHO}, inputs=NUMBER)
    first = cli("run", flow, "--set", "n=1", "--key", "k", "--json").json
    second = cli("run", flow, "--set", "n=2", "--key", "k", "--json")
    assert second.json == first
    assert "was used before" in second.err


def test_run_with_a_folder_registers_what_is_in_it(local: Cli) -> None:
    others = local.folder / "others"
    others.mkdir()
    (others / "b.json").write_text(
        json.dumps({"dsl": "1", "name": "t.b", "nodes": {"a": {"run": "core.noop"}}})
    )
    (others / "c.yaml").write_text("dsl: '1'\nname: t.c\nnodes:\n  a: {run: core.noop}\n")
    (others / "data.json").write_text("[1, 2]")
    (others / "notes.txt").write_text("dsl")
    local("run", local.flow({"a": {"run": "core.noop"}}), "--with", others)
    assert [d["name"] for d in local("definitions", "--json").json] == ["t.b", "t.c", "t.flow"]
    assert not any(d["active"] for d in local("definitions", "--json").json)
    local("start", "t.b")


def test_run_knows_executors_of_an_imported_file(local: Cli) -> None:
    local.file(
        "own_tasks_of_test_cli.py",
        "from strataflow import ExecutorDomain\nown = ExecutorDomain('own')\n\n"
        "@own.executor('twice')\ndef twice(ctx, config):\n    return config * 2\n",
    )
    flow = local.flow({"a": {"run": "own.twice", "with": 21}}, output="{{ nodes.a.output }}")
    module = str(local.folder / "own_tasks_of_test_cli.py")
    assert local("run", flow, "--import", module).json == 42
    assert local("run", flow, env={"STRATAFLOW_IMPORT": module}).json == 42
    assert "own.twice" in local("run", flow, code=2).err


def test_python_call_finds_functions_of_the_folder_and_of_an_imported_file(local: Cli) -> None:
    """In processes of their own: what a test's process has imported and where it looks must not help."""
    local.file("functions_here.py", "def double(x):\n    return 2 * x\n")
    elsewhere = local.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "functions_there.py").write_text("def triple(x):\n    return 3 * x\n")
    nodes = {
        name: {"run": "python.call", "with": {"function": function, "args": {"x": 7}}}
        for name, function in {"a": "functions_here:double", "b": "functions_there:triple"}.items()
    }
    process = local.spawn("run", local.flow(nodes), "--import", elsewhere / "functions_there.py")
    out, err = process.communicate(timeout=30)
    assert json.loads(out) == {"a": 14, "b": 21}, err


def test_yaml_holds_the_same(local: Cli) -> None:
    flow = local.file(
        "flow.yaml", "dsl: '1'\nname: t.y\nnodes:\n  a:\n    run: core.noop\n    with: {x: [1, null]}\n"
    )
    assert local("run", flow).json == {"a": {"x": [1, None]}}


def test_run_resumes_what_was_left_and_says_so(cli: Cli) -> None:
    left = cli("start", cli.flow({"a": ECHO}, inputs=NUMBER)).out.strip()
    slow = cli.flow({"a": {"wait": {"for": "300ms"}}}, name="t.slow", file="slow.json")
    assert "1 unfinished instance of this database goes on as well." in cli("run", slow).err
    assert cli("status", left, "--json").json["state"] == "completed"


def test_timeout_leaves_the_instance_to_the_next_run(cli: Cli) -> None:
    flow = cli.flow({"a": {"wait": {"for": "700ms"}}})
    ran = cli("run", flow, "--timeout", "100ms", "--json", code=130)
    assert ran.json["state"] == "running"
    assert "worker" in ran.err
    cli("worker", "--drain")
    assert cli("status", ran.json["id"], "--json").json["state"] == "completed"


# --- start, wait, cancel, worker


def test_start_returns_before_anything_has_run(cli: Cli) -> None:
    ran = cli("start", cli.flow({"a": ECHO}, inputs=NUMBER), "--set", "n=9", "--json")
    assert list(ran.json) == RUN_KEYS
    assert (ran.json["state"], ran.json["inputs"], ran.json["ended_at"]) == ("pending", {"n": 9}, None)
    assert "No worker runs" in ran.err
    assert cli("worker", "--drain", "--json").json == {"engines": 1, "drained": True}
    assert cli("wait", ran.json["id"]).json == {"a": {"n": 9}}


def test_start_by_name_takes_the_active_version(cli: Cli) -> None:
    cli("register", cli.flow({"a": {"run": "core.noop", "with": 1}}), "--activate")
    cli("register", cli.flow({"a": {"run": "core.noop", "with": 2}}))
    versions = [cli("start", name, "--json").json["version"] for name in ("t.flow", "t.flow@2")]
    cli("definitions", "--activate", "t.flow@2")
    versions.append(cli("start", "t.flow", "--json").json["version"])
    assert versions == [1, 2, 2]


def test_wait_gives_up_after_its_timeout(cli: Cli) -> None:
    started = cli("start", cli.flow({"a": ECHO}, inputs=NUMBER)).out.strip()
    ran = cli("wait", started, "--timeout", "50ms", "--json", code=1)
    assert ran.json["state"] == "pending"
    assert "still pending" in ran.err


def test_cancel_ends_an_instance(cli: Cli) -> None:
    started = cli("start", cli.flow({"a": {"wait": {"for": "1h"}}})).out.strip()
    cli("cancel", started[:18], "--reason", "not needed")
    cli("worker", "--drain")
    ran = cli("wait", started, "--json", code=1)
    assert ran.json["state"] == "cancelled"
    assert "not needed" in cli("status", started).out
    cli("cancel", started)  # asking twice is no error
    done = cli("run", cli.flow({"a": {"run": "core.noop"}}), "--json").json["id"]
    assert "is completed" in cli("cancel", done, code=1).err


def test_drain_waits_for_timers_and_retries(cli: Cli) -> None:
    retry = {"max": 1, "delay": "200ms"}
    nodes = {
        "a": {"wait": {"for": "300ms"}},
        "b": {"run": "core.fail", "with": {"attempts": 1}, "retry": retry},
    }
    started = cli("start", cli.flow(nodes)).out.strip()
    cli("worker", "--drain")
    assert cli.states(started) == {"a": "completed", "b": "completed"}


def test_a_worker_serves_only_its_queues(cli: Cli) -> None:
    started = cli("start", cli.flow({"a": {"run": "core.noop", "queue": "other"}})).out.strip()
    cli("start", cli.flow({"a": {"run": "core.noop"}}, name="t.two"))
    drain = cli.spawn("worker", "--drain", "--queue", "default")
    try:
        cli("wait", cli("list", "--name", "t.two", "--json").json[0]["id"], "--timeout", "30s")
        assert cli.states(started) == {"a": "queued"}
    finally:
        drain.terminate()
        drain.communicate(timeout=30)
    assert drain.returncode == 130
    cli("worker", "--drain", "--queue", "other")
    assert cli.states(started) == {"a": "completed"}


# --- looking


def test_status_shows_nodes_and_result(cli: Cli) -> None:
    nodes = {"a": ECHO, "m": {"map": [1, 2, 3], "do": ECHO}, "w": {"when": "{{ false }}", "run": "core.noop"}}
    found = cli("run", cli.flow(nodes, inputs=NUMBER, output="{{ nodes.a.output }}"), "--json").json
    assert cli("status", found["id"], "--json").json == found
    text = cli("status", found["id"]).out
    for part in ("t.flow v1", found["id"][:18], "completed", "core.noop", "3/3", "skipped", '{"n": 3}'):
        assert part in text


def test_list_is_newest_first_and_without_payloads(cli: Cli) -> None:
    flow = cli.flow({"a": {"run": "core.fail", "with": {}}})
    ids = [cli("start", flow).out.strip() for _ in range(3)]
    cli("worker", "--drain")
    listed = cli("list", "--json").json
    assert [each["id"] for each in listed] == ids[::-1]
    assert all(list(each) == [key for key in RUN_KEYS if key not in {"inputs", "output"}] for each in listed)
    assert listed[0]["error"]["code"] == "core.Failed"
    assert cli("list", "--state", "completed", "--json").out == "[]\n"
    assert len(cli("list", "--limit", "2", "--json").json) == 2
    assert cli("list", "--name", "t.flow").out.count("\n") == 4


def test_tasks_have_exactly_these_keys_and_leave_out_the_root(cli: Cli) -> None:
    inner = {
        "nodes": {"p": {"run": "core.noop", "with": {"x": "{{ x }}"}}},
        "output": "{{ nodes.p.output.x }}",
    }
    nodes = {"m": {"map": [5, 6], "as": "x", "do": inner}, "s": {"set": {"v": "{{ nodes.m.output }}"}}}
    found = cli("run", cli.flow(nodes), "--json").json
    rows = cli("tasks", found["id"], "--json").json
    assert all(list(row) == TASK_KEYS for row in rows)
    assert {row["path"]: row["node"] for row in rows} == {
        "m": "m", "m[0]": "m", "m[0].p": "p", "m[1]": "m", "m[1].p": "p", "s": "s",
    }  # fmt: skip
    by_path = {row["path"]: row for row in rows}
    task = by_path["m[1].p"]
    assert (task["state"], task["attempt"], task["executor"], task["queue"]) == (
        "completed",
        1,
        "core.noop",
        "default",
    )
    assert (task["input"], task["output"], task["error"]) == ({"x": 6}, {"x": 6}, None)
    assert (by_path["m"]["input"], by_path["m"]["output"], by_path["s"]["output"]) == (
        None,
        [5, 6],
        {"v": [5, 6]},
    )
    assert [row["path"] for row in cli("tasks", found["id"], "--json", "--limit", "2").json] == ["m", "m[0]"]
    assert "more than 2" in cli("tasks", found["id"], "--limit", "2").err


def test_tasks_show_the_failed_ones_with_error_and_input(cli: Cli) -> None:
    config = {"code": "No", "message": "never\x1b[2J", "retryable": False}
    found = cli("run", cli.flow({"a": {"run": "core.fail", "with": config}}), "--json", code=1).json
    (row,) = cli("tasks", found["id"], "--state", "failed", "--json").json
    assert (row["input"], row["error"]["code"], row["output"]) == (config, "core.No", None)
    assert "\x1b" not in cli("tasks", found["id"]).out
    assert "\x1b" not in cli("run", cli.folder / "flow.json", code=1).err


def test_history_has_exactly_these_keys_oldest_first(cli: Cli) -> None:
    found = cli("run", cli.flow({"a": ECHO}, inputs=NUMBER), "--json").json
    rows = cli("history", found["id"][:18], "--json").json
    assert all(list(row) == HISTORY_KEYS for row in rows)
    assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)
    assert [row["to"] for row in rows if row["path"] is None] == ["pending", "running", "completed"]
    assert [row["to"] for row in rows if row["path"] == "a"][-1] == "completed"
    assert all(row["engine"] for row in rows)
    assert "(instance)" in cli("history", found["id"]).out


def test_logs_filter_by_task_and_level(cli: Cli) -> None:
    nodes = {
        "a": {"run": "core.log", "with": {"message": "first\nsecond \x1b[31m"}},
        "b": {"needs": ["a"], "run": "core.log", "with": {"message": "careful", "level": "warning"}},
    }
    found = cli("run", cli.flow(nodes), "--json").json
    rows = cli("logs", found["id"], "--json").json
    assert [(row["path"], row["level"], row["attempt"]) for row in rows] == [
        ("a", "info", 1),
        ("b", "warning", 1),
    ]
    assert list(rows[0]) == ["seq", "at", "path", "attempt", "level", "message"]
    assert [row["path"] for row in cli("logs", found["id"], "--json", "--level", "warning").json] == ["b"]
    assert [row["path"] for row in cli("logs", found["id"], "--json", "--path", "a").json] == ["a"]
    text = cli("logs", found["id"]).out
    assert "second" in text
    assert "\x1b" not in text
    assert cli("logs", found["id"], "--follow").out == text


def test_ids_may_be_short_if_they_are_unique(cli: Cli) -> None:
    flow = cli.flow({"a": ECHO}, inputs=NUMBER)
    first, second = (cli("start", flow).out.strip() for _ in range(2))
    shared = next(first[:n] for n in range(len(first), 0, -1) if second.startswith(first[:n]))
    assert cli("status", first[: len(shared) + 1], "--json").json["id"] == first
    refused = cli("status", shared, code=2).err
    assert first in refused
    assert "Write more" in refused


# --- definitions


def test_register_stores_once_and_counts_versions(cli: Cli) -> None:
    flow = cli.flow({"a": {"run": "core.noop"}})
    first = cli("register", flow, "--json").json
    assert cli("register", flow, "--json").json == first
    assert list(first[0]) == ["id", "name", "version", "hash", "active"]
    other = cli(
        "register", cli.flow({"a": {"run": "core.log", "with": {"message": "x"}}}), "--activate", "--json"
    ).json
    assert [(each["version"], each["active"]) for each in first + other] == [(1, False), (2, True)]
    listed = cli("definitions", "--json").json
    assert list(listed[0]) == ["id", "name", "version", "hash", "active", "state", "created_at"]
    assert [each["version"] for each in listed] == [2, 1]
    assert "t.flow@2 is active" in cli("register", flow.with_name("flow.json"), "--activate").out
    assert cli("definitions", "t.none", "--json").json == []


def test_register_accepts_executors_of_others_with_a_warning(cli: Cli) -> None:
    ran = cli("register", cli.flow({"a": {"run": "elsewhere.task"}}))
    assert "elsewhere.task" in ran.err


def test_run_never_moves_the_active_version(cli: Cli) -> None:
    cli("register", cli.flow({"a": {"run": "core.noop", "with": 1}}), "--activate")
    cli("run", cli.flow({"a": {"run": "core.noop", "with": 2}}))
    assert [(d["version"], d["active"]) for d in cli("definitions", "--json").json] == [(2, False), (1, True)]


def test_validate_prints_every_problem_of_every_file(local: Cli) -> None:
    good = local.flow({"a": {"run": "core.noop"}}, file="good.json")
    bad = local.flow(
        {"a": {"run": "core.nop"}, "b": {"run": "core.log", "with": {"x": "{{ nodes.c.output }}"}}}
    )
    assert "t.flow is valid, 1 node." in local("validate", good).out
    ran = local("validate", good, bad, "--json", code=2)
    first, second = ran.json
    assert (first["file"], first["valid"], first["problems"]) == (str(good), True, [])
    assert {problem["pointer"] for problem in second["problems"]} >= {"/nodes/a/run", "/nodes/b/with/x"}
    assert all(list(p) == ["pointer", "code", "message", "hint", "severity"] for p in second["problems"])
    text = local("validate", bad, code=2).err
    assert "/nodes/a/run" in text
    assert "core.noop" in text  # the name that was meant


def test_validate_and_graph_make_no_database(tmp_path: Path) -> None:
    cli = Cli(f"sqlite:///{tmp_path / 'none.db'}", tmp_path)
    flow = cli.flow({"a": {"run": "core.noop"}})
    cli("validate", flow)
    cli("graph", flow)
    cli("run", cli.flow({"a": {"run": "no.such"}}, file="bad.json"), code=2)
    cli("run", flow, "--set", "unknown=1", code=2)
    assert not (tmp_path / "none.db").exists()


def test_schema_is_a_json_schema(local: Cli) -> None:
    assert local("schema").json["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize(("form", "start"), [("mermaid", "---"), ("dot", "digraph"), ("svg", "<svg")])
def test_graph_draws_in_three_ways(local: Cli, form: str, start: str) -> None:
    flow = local.flow({"a": {"run": "core.noop"}, "b": {"needs": ["a"], "run": "core.noop"}})
    drawing = local("graph", flow, "--format", form).out
    assert drawing.startswith(start)
    assert local("graph", flow, "--format", form, "--json").json["graph"] == drawing


# --- surroundings


def test_executors_come_with_their_schema(local: Cli) -> None:
    found = local("executors", "--json").json
    sleep = next(entry for entry in found["executors"] if entry["name"] == "core.sleep")
    assert list(sleep) == ["name", "domain", "description", "async", "schema"]
    assert sleep["schema"]["required"] == ["seconds"]
    assert found["problems"] == []
    assert "core.sleep  {seconds*}" in local("executors", "core").out
    assert "shell.run" not in local("executors", "core").out


def test_db_check_and_upgrade(pg_url: str, tmp_path: Path) -> None:
    for url in (pg_url, f"sqlite:///{tmp_path / 'new.db'}"):
        cli = Cli(url, tmp_path)
        assert cli("db", "check", "--json", code=1).json["state"] == "missing"
        assert cli("db", "upgrade", "--json").json["state"] == "current"
        assert "up to date" in cli("db", "check").out
        assert "schema" in cli("db", "upgrade").out


def test_doctor_finds_everything_well(cli: Cli) -> None:
    found: Any = cli("doctor", "--json").json
    assert found["status"] in {"ok", "warn"}
    assert all(list(check) == ["name", "status", "message", "hint"] for check in found["checks"])
    assert {"database", "writable", "engines", "queues"} <= {check["name"] for check in found["checks"]}
    assert "database" in cli("doctor").out
