"""The life cycle through the command line: what each command does, says and refuses while no engine runs.

`worker --drain` is the engine of these tests: what was asked for takes effect when it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer.main
import typer.testing

from strataflow import TaskContext
from tests.checker import check
from tests.integration.kit import Flow
from tests.integration.kit import until as soon
from tests.support.cli import Cli

UNKNOWN = "018f0000-0000-7000-8000-000000000009"
NOOP = {"run": "core.noop"}
ANY = {"type": "object", "additionalProperties": True}


def give(value: Any, **more: Any) -> dict[str, Any]:
    return {"run": "core.noop", "with": value, **more}


@pytest.fixture(autouse=True)
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each command the building of all commands, which takes longer than most of them."""
    monkeypatch.setattr(typer.testing, "_get_command", built)


@functools.cache
def built(app: typer.Typer) -> Any:
    return typer.main.get_command(app)


@pytest.fixture
def cli(flow: Flow, tmp_path: Path) -> Iterator[Cli]:
    """Give the command line on a database that is judged at the end."""
    with closing(Cli(flow.url, tmp_path)) as made:
        yield made


@pytest.fixture
def local(migrated_sqlite_url: str, tmp_path: Path) -> Iterator[Cli]:
    """Give it on SQLite alone, for what no database can change."""
    with closing(Cli(migrated_sqlite_url, tmp_path)) as made:
        yield made
    assert check(migrated_sqlite_url) == []


def start(cli: Cli, nodes: Any, *args: str, **fields: Any) -> str:
    return cli("start", cli.flow(nodes, **fields), *args).out.strip()


def drain(cli: Cli) -> str:
    return cli("worker", "--drain").err


def ended(cli: Cli, nodes: Any, **fields: Any) -> str:
    """Start and let a worker end it, whatever its end."""
    instance_id = start(cli, nodes, **fields)
    drain(cli)
    return instance_id


def status(cli: Cli, instance_id: str) -> Any:
    return cli("status", instance_id, "--json").json


def refused(cli: Cli, *args: str, saying: tuple[str, ...], code: int = 1) -> None:
    """A command that cannot be: its exit code, one sentence with these words, and nothing on stdout."""
    ran = cli(*args, code=code)
    assert (ran.out, ran.err.count("\n")) == ("", 1)
    assert all(word in ran.err for word in saying), ran.err


#: Commands that take an id, with what else they want.
COMMANDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys("pause resume cancel terminate retry rerun explain export delete".split(), ()),
    **dict.fromkeys(("rollback", "fork"), ("a",)),
    "signal": ("go",),
    "migrate": ("t.flow@1",),
}
#: Only what has ended can be decided again, taken out or deleted; only what has not can be stopped or told something.
WANTS_ENDED = ("retry", "rollback", "export", "delete")
WANTS_LIVE = ("signal", "pause", "resume", "cancel", "migrate")


def test_an_id_that_nothing_has_is_said_with_where_to_look(local: Cli) -> None:
    for command, args in COMMANDS.items():
        ran = local(command, UNKNOWN, *args, code=2)
        assert (ran.out, UNKNOWN in ran.err, "strataflow list" in ran.err) == ("", True, True), command


def test_a_state_that_does_not_fit_is_refused_with_id_and_state_and_changes_nothing(local: Cli) -> None:
    one = start(local, {"a": {"wait": {"for": "1ms"}}})
    for commands, state in ((WANTS_ENDED, "pending"), (WANTS_LIVE, "completed")):
        before = local("history", one, "--json").json
        for command in commands:
            refused(local, command, one, *COMMANDS[command], saying=(one, state))
        assert local("history", one, "--json").json == before
        drain(local)


@pytest.mark.row("X-18")
def test_a_signal_is_kept_until_a_wait_takes_it(cli: Cli) -> None:
    one = start(cli, {"a": {"wait": {"signal": "go"}}})
    sent = cli("signal", one, "go", "--data", '{"n": 1}', "--id", "first", "--json").json
    assert sent == {"id": one, "signal": "go", "status": "accepted"}
    again = cli("signal", one[:18], "go", "--data", '{"n": 2}', "--id", "first", "--json").json
    assert again == sent | {"status": "existing"}
    assert "got 'go' before" in cli("signal", one, "go", "--id", "first").out
    drain(cli)
    assert status(cli, one)["output"] == {"a": {"n": 1}}


@pytest.mark.row("X-03", "X-32")
def test_a_paused_instance_is_left_by_workers_until_it_is_resumed(cli: Cli) -> None:
    one = start(cli, {"a": NOOP})
    assert cli("pause", one, "--reason", "lunch").out == f"{one[:18]} is paused.\n"
    assert cli("pause", one).out == f"{one[:18]} is paused already.\n"
    assert "lunch" in cli("status", one).out
    assert "1 paused instance" in drain(cli)
    assert (status(cli, one)["state"], status(cli, one)["output"]) == ("paused", None)
    assert cli("resume", one, "--json").json["state"] == "running"
    assert cli("resume", one).out == f"{one[:18]} is running already.\n"
    drain(cli)
    assert status(cli, one)["state"] == "completed"
    assert [row["reason"] for row in cli("history", one, "--json").json].count("lunch") == 1


@pytest.mark.row("X-33")
def test_a_cancel_gives_up_after_its_grace_what_does_not_stop(cli: Cli, flow: Flow) -> None:
    async def deaf(_ctx: TaskContext, _config: Any) -> None:
        while not flow.probe.gate("late").is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)

    flow.registry.register_executor_domain("deaf", {"wait": deaf})
    flow.open()
    one = start(cli, {"a": {"run": "deaf.wait"}}, **{"finally": give("bye")})
    soon(lambda: flow.state(one, "a") == "running")
    asked = ("cancel", one, "--grace", "100ms", "--reason", "too late", "--json")
    assert cli(*asked).json["state"] == "cancelling"
    cli("cancel", one, "--reason", "again")
    assert flow.wait(one).state == "cancelled"
    assert (flow.state(one, "a"), flow.state(one, "!finally")) == ("cancelled", "completed")
    assert flow.engine.status(one).reason == "too late"
    assert [row.reason for row in flow.history(one) if row.path == "a"][-1] == "terminated", "not by itself"


def test_terminate_ends_at_once_and_without_finally(cli: Cli) -> None:
    one = start(cli, {"a": NOOP}, **{"finally": give("bye")})
    assert cli("terminate", one, "--reason", "wrong inputs", "--json").json["state"] == "cancelled"
    assert cli("terminate", one).out == f"{one[:18]} is cancelled already.\n"
    drain(cli)
    assert cli.states(one) == {"a": "cancelled"}, "no finally"
    assert "wrong inputs" in cli("status", one).out


@pytest.mark.row("X-08")
def test_retry_runs_what_failed_and_nothing_that_completed(cli: Cli) -> None:
    flaky = {"run": "core.fail", "with": {"attempts": 1}, "when": "{{ item == 2 }}"}
    one = ended(cli, {"a": NOOP, "m": {"map": [1, 2, 3], "do": flaky, "needs": ["a"]}})
    assert cli("retry", one, "--reason", "mended", "--json").json["state"] == "running"
    refused(cli, "retry", one, saying=(one, "running", "cannot take retry"))
    drain(cli)
    attempts = {row["path"]: row["attempt"] for row in cli("tasks", one, "--json").json}
    assert (attempts["a"], attempts["m[1]"], status(cli, one)["state"]) == (1, 2, "completed")
    assert "mended" in cli("history", one).out
    refused(cli, "retry", one, saying=(f"nothing of instance {one} failed",))
    refused(cli, "retry", one, "m[7]", saying=("m[7]", "never reached"))
    refused(cli, "retry", one, "nobody", saying=("nobody", "no node"))
    cli("retry", one, "m[0]")
    drain(cli)
    again = {row["path"]: row["attempt"] for row in cli("tasks", one, "--json").json}
    assert again == attempts | {"m[0]": attempts["m[0]"] + 1}


@pytest.mark.row("X-08")
def test_rollback_undoes_what_followed_and_runs_it_again(cli: Cli) -> None:
    nodes = {
        "a": give(1, undo=give("undo a")),
        "b": give("{{ nodes.a.output }}", undo=give("undo b")),
        "c": give("{{ nodes.b.output }}"),
    }
    one = ended(cli, nodes)
    assert cli("rollback", one, "b", "--reason", "oops").out == f"{one[:18]} is running.\n"
    refused(cli, "rollback", one, "b", saying=(one, "running", "cannot take rollback"))
    drain(cli)
    assert status(cli, one)["output"] == {"c": 1}
    history = [(row["path"], row["to"]) for row in cli("history", one, "--json").json]
    assert history.count(("b!undo", "completed")) == 1
    assert ("a!undo", "completed") not in history
    assert [history.count((path, "completed")) for path in "abc"] == [1, 2, 2]
    refused(cli, "rollback", one, "b", "x", saying=("'x' is no node",))


def test_fork_takes_over_what_came_before_and_may_change_it(cli: Cli) -> None:
    b = give(["{{ inputs.n }}", "{{ inputs.m }}", "{{ nodes.a.output }}"])
    source = cli.flow({"a": give("{{ inputs.n }}"), "b": b}, inputs=ANY)
    one = cli("start", source, "--set", "n=1", "--set", "m=2").out.strip()
    drain(cli)
    before = cli("history", one, "--json").json
    forked = cli("fork", one, "b", "--set", "n=5").out.strip()
    other = cli("fork", one, "b", "--output", "a=[7]", "--json").json["id"]
    drain(cli)
    assert status(cli, forked)["output"] == {"b": [5, 2, 1]}, "the other input stays, a is not run again"
    assert status(cli, other)["output"] == {"b": [1, 2, [7]]}
    assert cli("history", one, "--json").json == before
    refused(cli, "fork", one, "nobody", saying=("nobody", "a, b"))
    refused(cli, "fork", one, "a", "--output", "b=1", saying=("'b' runs anew",))


def test_rerun_starts_the_same_again_under_the_next_key(cli: Cli) -> None:
    source = cli.flow({"a": give("{{ inputs.n }}")}, inputs=ANY)
    one = cli("start", source, "--set", "n=1", "--key", "k", "--label", "team=core").out.strip()
    again = cli("rerun", one).out.strip()
    other = cli("rerun", one, "--input", '{"n": 2}', "--json").json["id"]
    drain(cli)
    assert [status(cli, each)["output"] for each in (one, again, other)] == [{"a": 1}, {"a": 1}, {"a": 2}]
    found = [cli("start", source, "--key", key).out.strip() for key in ("k", "k#2", "k#3")]
    assert found == [one, again, other]
    assert len(cli("list", "--label", "team=core", "--json").json) == 3


def test_migrate_says_what_it_would_meet_then_goes_on_there(cli: Cli, flow: Flow) -> None:
    flow.open()
    first: dict[str, Any] = {"a": give(1), "w": {"wait": {"signal": "go"}, "needs": ["a"]}}
    one, other = (start(cli, first | {"b": give("old", needs=["w"])}) for _ in "12")
    for nodes in (first | {"b": give("new", needs=["w"])}, {"w": {"wait": {"signal": "go"}}}, {"a": give(1)}):
        cli("register", cli.flow(nodes))
    soon(lambda: flow.state(one, "w") == flow.state(other, "w") == "waiting")
    plans = {to: cli("migrate", one, f"t.flow@{to}", "--plan", "--json", code=None) for to in (2, 3, 4)}
    verdicts = [(ran.code, ran.json["verdict"]) for ran in plans.values()]
    assert verdicts == [(0, "safe"), (0, "needs mapping"), (1, "impossible")]
    assert list(plans[4].json) == ["id", "to", "verdict", "migrated", "safe", "lost", "impossible"]
    assert (plans[3].json["lost"], plans[4].json["impossible"][0]["path"]) == (["a"], "w")
    refused(cli, "migrate", one, "t.flow@4", saying=("w has begun",))
    refused(cli, "migrate", one, "t.flow@3", saying=("a did", "--accept-loss"))
    assert "t.flow@9" in cli("migrate", one, "t.flow@9", code=2).err
    assert flow.engine.status(one).version == 1
    for _ in "twice":
        assert "migrated" in cli("migrate", one, "t.flow@2").out
    assert cli("migrate", other, "t.flow@3", "--accept-loss", "--json").json["lost"] == ["a"]
    for each in (one, other):
        cli("signal", each, "go", "--data", "3")
    assert (flow.wait(one).version, flow.wait(one).output) == (2, {"b": "new"})
    assert (flow.wait(other).version, flow.wait(other).output) == (3, {"w": 3})
    late = cli("migrate", one, "t.flow@3", "--plan", code=1)
    assert (late.out, late.err) == (
        f"{one[:18]} to t.flow@3: impossible.\n",
        "  the instance: it has ended completed\n",
    )
    refused(cli, "migrate", one, "t.flow@3", saying=(one, "it has ended completed", "rerun"))


def test_an_export_shows_the_same_in_another_database(cli: Cli, tmp_path: Path) -> None:
    one = ended(cli, {"a": give({"n": 1}), "b": give("{{ nodes.a.output.missing }}")})
    file = tmp_path / "run.jsonl"
    told = cli("export", one, "--to", file, "--json").json
    assert told == {"id": one, "file": str(file), "rows": len(file.read_text().splitlines()) - 2}
    assert cli("export", one).out == file.read_text(encoding="utf-8")
    other = Cli(f"sqlite:///{tmp_path / 'other.db'}", tmp_path)
    assert other("import", file).out == f"{one}\n"
    for command in (("status", one), ("tasks", one)):
        assert other(*command, "--json").json == cli(*command, "--json").json
    here, there = (where("history", one, "--json").json for where in (cli, other))
    numbers = [entry.pop("seq") for entry in there]  # each database has numbers of its own
    assert numbers == sorted(set(numbers))
    assert there == [{key: value for key, value in entry.items() if key != "seq"} for entry in here]
    for where in (cli, other):
        refused(where, "import", str(file), saying=(one, "already"))
    forked = other("fork", one, "b").out.strip()
    drain(other)
    assert other("status", forked, "--json").json["error"]["code"] == "expression"
    refused(cli, "import", str(cli.file("text", "hello")), saying=("export",), code=2)


def test_an_export_that_is_refused_leaves_the_file_as_it_is(cli: Cli, tmp_path: Path) -> None:
    def there() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir() if "jsonl" in path.name)

    done = ended(cli, {"a": NOOP}, name="t.done", file="done.json")
    live = start(cli, {"w": {"wait": {"signal": "go"}}})
    file = cli.file("run.jsonl", "precious")
    file.chmod(0o600)
    link = tmp_path / "link.jsonl"
    link.symlink_to(file)
    refused(cli, "export", live, "--to", str(file), saying=("ended",))
    assert (file.read_text(), there()) == ("precious", ["link.jsonl", "run.jsonl"])
    cli("export", done, "--to", link)
    assert link.is_symlink()
    assert (file.read_text(), file.stat().st_mode & 0o777) == (cli("export", done).out, 0o600)
    assert cli("export", done, "--to", "/dev/null").out == ""
    assert there() == ["link.jsonl", "run.jsonl"]
    ran = cli("export", done, "--to", tmp_path / "none" / "run.jsonl", code=2)
    assert "none/run.jsonl cannot be written: No such file or directory" in ran.err


def test_delete_and_purge_take_what_has_ended_and_free_its_key(cli: Cli) -> None:
    good = cli.flow({"a": NOOP}, name="t.good", file="good.json")
    ids = [cli("start", good, "--key", key).out.strip() for key in "abc"]
    bad = ended(cli, {"a": {"run": "core.fail", "with": {}}})
    live = start(cli, {"a": NOOP}, name="t.live")
    assert cli("delete", ids[0]).out == f"{ids[0][:18]} is deleted.\n"
    assert cli("delete", ids[1], "--json").json == {"id": ids[1], "deleted": True}
    assert ids[0] in cli("delete", ids[0], code=2).err
    again = cli("start", good, "--key", "a").out.strip()
    assert again not in ids
    assert cli("purge", "--older", "1h", "--json").json == {"deleted": 0}
    refused(cli, "purge", "--older", "0s", "--state", "running", saying=("running", "not ended"), code=2)
    assert cli("purge", "--older", "0s", "--name", "t.none").out == "0 deleted.\n"
    assert cli("purge", "--older", "0s", "--state", "failed", "--json").json == {"deleted": 1}
    assert {each["id"] for each in cli("list", "--json").json} == {ids[2], again, live}
    assert bad in cli("status", bad, code=2).err
    assert cli("purge", "--older", "0s").out == "1 deleted.\n"
    assert {each["id"] for each in cli("list", "--json").json} == {again, live}
    drain(cli)


def test_bulk_does_it_to_what_matches_and_says_what_refused(cli: Cli) -> None:
    core = [start(cli, {"a": NOOP}, "--label", "team=core", "--label", f"n={n}") for n in (1, 2)]
    other = start(cli, {"a": NOOP}, "--label", "team=shop", name="t.other")
    late = start(cli, {"a": NOOP}, "--delay", "1h", "--label", "team=core")
    assert cli("bulk", "cancel", "--label", "team=none", "--json").json == []
    assert cli("bulk", "cancel", "--older", "1h", "--json").json == []
    found = cli("bulk", "pause", "--label", "team=core", "--json", code=1).json
    answers = [(each["id"], each["status"]) for each in found]
    assert answers == [(late, "refused"), (core[1], "accepted"), (core[0], "accepted")]
    assert f"{late} is queued" in found[0]["problem"]
    again = cli("bulk", "pause", "--label", "team=core", "--label", "n=1", "--json").json
    assert again == [{"id": core[0], "status": "ignored", "problem": None}]
    assert "accepted" in cli("bulk", "resume", "--state", "paused", "--name", "t.flow").out
    ended_ = cli("bulk", "terminate", "--name", "t.flow", "--reason", "enough", "--json").json
    assert {each["id"] for each in ended_} == {*core, late}
    states = {each["id"]: each["state"] for each in cli("list", "--json").json}
    assert states == {core[0]: "cancelled", core[1]: "cancelled", late: "cancelled", other: "pending"}
    for args, said in ((("--all", "--state", "pending"), "contradict"), ((), "--all")):
        assert said in cli("bulk", "cancel", *args, code=2).err
    assert status(cli, other)["state"] == "pending", "nothing was done"
    asked = cli("bulk", "cancel", "--all", "--json").json
    assert {each["id"]: each["status"] for each in asked} == {
        **dict.fromkeys((*core, late), "ignored"),
        other: "accepted",
    }
    drain(cli)
    cli("bulk", "retry", "--name", "t.other", "--state", "cancelled")
    assert status(cli, other)["state"] == "running"
    drain(cli)


def test_options_that_mean_nothing_are_refused_before_anything_happens(local: Cli) -> None:
    flow = str(local.flow({"a": NOOP}))
    wrong = [
        *("bulk delete", "bulk cancel --state sleeping", "bulk cancel --label core", "list --label =core"),
        *("list --older old", "start FLOW --on-duplicate panic", "start FLOW --label core", "purge"),
        *("start FLOW --delay later", "start FLOW --expires never", "purge --older old", "import none.jsonl"),
        *(f"signal {UNKNOWN} go --data nothing", f"fork {UNKNOWN} a --output a=nothing"),
        *(f"cancel {UNKNOWN} --grace soon", f"fork {UNKNOWN} a --output nothing"),
    ]
    for line in wrong:
        assert "error:" in local(*(flow if word == "FLOW" else word for word in line.split()), code=2).err
    assert local("list", "--json").json == []


@pytest.mark.row("X-34")
def test_a_mutex_gives_refuses_or_queues(cli: Cli) -> None:
    flow = cli.flow({"a": NOOP})
    one = cli("start", flow, "--mutex", "m").out.strip()
    assert cli("start", flow, "--mutex", "m").out.strip() == one
    refused(cli, "start", str(flow), "--mutex", "m", "--on-duplicate", "reject", saying=(one, "'m'"))
    queued = cli("start", flow, "--mutex", "m", "--on-duplicate", "queue", "--json").json
    assert (queued["state"], cli("start", flow, "--mutex", "n").out.strip() != one) == ("queued", True)
    assert one in cli("explain", queued["id"]).out
    drain(cli)
    assert {each["state"] for each in cli("list", "--json").json} == {"completed"}
    assert status(cli, queued["id"])["started_at"] >= status(cli, one)["ended_at"]


def test_a_start_waits_expires_and_is_found_by_its_labels(cli: Cli) -> None:
    later = start(cli, {"a": NOOP}, "--delay", "50ms", "--label", "team=core", "--label", "n=1")
    missed = start(cli, {"a": NOOP}, "--delay", "1h", "--expires", "1ms", "--label", "team=core")
    assert [each["state"] for each in cli("list", "--label", "team=core", "--json").json] == ["queued"] * 2
    assert cli("list", "--label", "team=core", "--older", "1h", "--json").json == []
    drain(cli)
    found = {each["id"]: each["state"] for each in cli("list", "--label", "team=core", "--json").json}
    assert found == {later: "completed", missed: "expired"}
    assert [each["id"] for each in cli("list", "--label", "n=1", "--label", "team=core", "--json").json] == [
        later
    ]
    refused(cli, "cancel", missed, saying=(missed, "expired"))


@pytest.mark.row("X-36")
def test_versions_are_retired_brought_back_and_compared(cli: Cli) -> None:
    for n in (1, 2):
        cli("register", cli.flow({"a": give(n)}), "--activate")
    for _ in "twice":
        ran = cli("definitions", "--archive", "t.flow@2", "--deprecate", "t.flow@1", "--json")
        assert [(each["version"], each["state"]) for each in ran.json] == [(2, "archived"), (1, "deprecated")]
    refused(cli, "start", "t.flow@2", saying=("t.flow@2", "archived"))
    one = cli("start", "t.flow@1").out.strip()
    cli("definitions", "--activate", "t.flow@2")
    assert cli("start", "t.flow", "--json").json["version"] == 2
    drain(cli)
    assert status(cli, one)["output"] == {"a": 1}
    found = cli("diff", "t.flow@1", "t.flow@2", "--json").json
    assert found == [{"pointer": "/nodes/a/with", "before": 1, "after": 2}]
    more = cli.flow({"a": give(2), "b": NOOP})
    assert cli("diff", "t.flow@2", more).out == '+ /nodes/b: {"run": "core.noop"}\n'
    assert cli("diff", "t.flow@1", "t.flow@1", "--json").json == []
    for args in (("diff", "t.flow@1", "t.flow@7"), ("definitions", "--archive", "t.flow@7")):
        assert "7" in cli(*args, code=2).err


def test_explain_says_it_in_a_sentence_and_as_data(cli: Cli) -> None:
    one = start(cli, {"a": NOOP, "b": give("{{ nodes.a.output }}")})
    assert cli("explain", one, "b").out == "b waits for a.\n"
    found = cli("explain", one, "b", "--json").json
    assert list(found) == ["id", "state", "sentence", "reasons", "more"]
    assert list(found["reasons"][0]) == ["kind", "path", "text", "until", "details"]
    assert "'nobody'" in cli("explain", one, "nobody", code=2).err
    drain(cli)
    assert [reason["kind"] for reason in cli("explain", one, "--json").json["reasons"]] == ["ended"]
