"""`queues`, `limits`, `pending`, `stats`, and what `start` and `cancel` know of queues, on the command line."""

from __future__ import annotations

import functools
import getpass
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer.main
import typer.testing

from tests.integration.kit import Flow, until
from tests.support.cli import Cli

NOOP = {"run": "core.noop"}
UNKNOWN = "018f0000-0000-7000-8000-000000000009"
COMMANDS = [
    *(f"queues {name}" for name in "list show pause resume set unset purge move reorder remove".split()),
    *(f"limits {name}" for name in "list set unset".split()),
    *("pending", "stats"),
]


@pytest.fixture(autouse=True)
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each command the building of all commands, which takes longer than most of them."""
    monkeypatch.setattr(typer.testing, "_get_command", built)


@functools.cache
def built(app: typer.Typer) -> Any:
    return typer.main.get_command(app)


@pytest.fixture
def cli(flow: Flow, tmp_path: Path) -> Iterator[Cli]:
    with closing(Cli(flow.url, tmp_path)) as made:
        yield made


@pytest.fixture
def local(migrated_sqlite_url: str, tmp_path: Path) -> Cli:
    return Cli(migrated_sqlite_url, tmp_path)


def start(cli: Cli, *options: str, nodes: Any = None) -> str:
    return cli("start", cli.flow(nodes or {"a": NOOP}), *options).out.strip()


def entries(cli: Cli, name: str, *options: str) -> list[str]:
    return [each["instance"] for each in cli("queues", "show", name, *options, "--json").json["entries"]]


def drain(cli: Cli) -> None:
    cli("worker", "--drain")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(local: Cli, command: str) -> None:
    text = local(*command.split(), "--help").out
    assert f"Example: strataflow {command}" in text
    assert "--json" in text


@pytest.mark.row("X-24")
def test_start_says_queue_and_priority_and_the_higher_one_runs_first(cli: Cli, flow: Flow) -> None:
    cli("queues", "pause", "mail")
    ids = {p: start(cli, "--queue", "mail", "--priority", str(p)) for p in (1, 9, 5)}
    cli("limits", "set", "queue:mail", "--concurrency", "1")
    assert entries(cli, "mail") == [ids[9], ids[5], ids[1]]
    cli("queues", "resume", "mail")
    drain(cli)
    ended = {p: flow.tasks(each)["a"].ended_at or 0 for p, each in ids.items()}
    assert sorted(ended, key=lambda p: ended[p]) == [9, 5, 1]
    assert "no queue name" in cli("start", cli.flow({"a": NOOP}), "--queue", "a b", code=2).err


@pytest.mark.row("A-26")
def test_a_queue_is_looked_at_paused_bounded_put_in_order_and_cleared(cli: Cli) -> None:
    assert [each["name"] for each in cli("queues", "list", "--json").json] == ["default"]
    paused = cli("queues", "pause", "mail", "--reason", "provider is down", "--json").json
    assert (paused["state"], paused["reason"]) == ("paused", f"provider is down ({getpass.getuser()})")
    ids = [start(cli, "--queue", "mail") for _ in range(4)]
    assert cli("queues", "set", "mail", "--max-size", "4").out == (
        "mail is paused, holds at most 4, full at 3; 4 tasks ready.\n"
    )
    full = cli("start", cli.flow({"a": NOOP}), "--queue", "mail", code=1)
    assert "queue 'mail' is full: it holds 4 tasks" in full.err
    assert cli("queues", "set", "mail", "--unbounded", "--json").json["max_size"] is None
    marked = cli("queues", "set", "mail", "--mark", "2", "--json").json
    assert (marked["mark"], marked["max_size"]) == (2, None)
    assert cli("queues", "set", "mail", "--no-mark", "--json").json["mark"] is None
    for wrong in ((), ("--mark", "2", "--no-mark"), ("--max-size", "2", "--unbounded")):
        assert "give" in cli("queues", "set", "mail", *wrong, code=2).err
    assert cli("queues", "move", "mail", ids[3]).out == "mail: 1 moved.\n"
    assert entries(cli, "mail") == [ids[3], *ids[:3]]
    assert cli("queues", "reorder", "mail", ids[2], f"{ids[0]}/a", "--json").json["ignored"] == []
    assert entries(cli, "mail") == [ids[2], ids[0], ids[3], ids[1]]
    assert cli("queues", "move", "mail", ids[2], "--to", "1", "--json").json["moved"] >= 1
    assert entries(cli, "mail", "--limit", "2") == [ids[0], ids[2]]
    shown = cli("queues", "show", "mail")
    assert f"{ids[0][:18]}/a" in shown.out
    assert "provider is down" in shown.err
    assert cli("queues", "remove", "mail", ids[0]).out == f"{ids[0][:18]} is cancelled.\n"
    assert cli("status", ids[0], "--json").json["state"] == "cancelled"
    later = start(cli, "--queue", "mail", "--delay", "1h")
    assert entries(cli, "mail", "--state", "delayed") == [later]
    (line,) = [each for each in cli("queues", "list", "--json").json if each["name"] == "mail"]
    assert (line["ready"], line["delayed"], line["running"], line["blocked"]) == (3, 1, 0, 0)
    found = cli("queues", "purge", "mail", "--include-delayed", "--json").json
    assert found == {"queue": "mail", "cancelled": 4, "left": 0, "refused": {}}
    assert entries(cli, "mail") == []
    assert cli("queues", "unset", "mail").out == "mail: forgotten.\n"
    assert cli("queues", "unset", "mail", "--json").json == {"queue": "mail", "unset": False}


def test_a_purge_says_what_it_leaves(cli: Cli) -> None:
    cli("queues", "pause", "mail")
    start(cli, "--queue", "mail")
    start(cli, "--queue", "mail", nodes={"a": NOOP, "b": NOOP})
    ran = cli("queues", "purge", "mail")
    assert (ran.out, "2 tasks of larger runs stay." in ran.err) == ("mail: 1 run cancelled.\n", True)
    cli("queues", "resume", "mail")
    drain(cli)


def test_what_is_wrong_is_said_with_exit_code_2(local: Cli) -> None:
    local("queues", "pause", "mail")
    one = start(local, "--queue", "mail")
    for words, said in {
        ("queues", "show", "a b"): "no queue name",
        ("queues", "show", "mail", "--state", "gone"): "ready, blocked, running, delayed",
        ("queues", "set", "mail"): "--unbounded",
        ("queues", "move", "mail", UNKNOWN): "no instance",
        ("queues", "move", "other", one): "does not stand ready",
        ("queues", "move", "mail", one, "--to", "-1"): "--to",
        ("queues", "reorder", "mail", one, one): "named twice",
        ("limits", "set", "cpu:x", "--concurrency", "1"): "names no counter",
        ("limits", "set", "queue:mail"): "needs a number",
        ("limits", "set", "queue:mail", "--rate", "fast"): "is no rate",
        ("limits", "list", "--kind", "cpu"): "no kind of counter",
        ("cancel",): "--tag",
        ("cancel", one, "--tag", "red"): "--tag",
        ("stats", "--reset", "--queue", "mail"): "--reset",
        ("pending", "--queue", "a b"): "no queue name",
    }.items():
        ran = local(*words, code=2)
        assert (ran.out, said in ran.err, ran.err.count("\n")) == ("", True, 1), (words, ran.err)
    assert entries(local, "mail") == [one]


def test_limits_are_set_listed_and_taken_back(cli: Cli, flow: Flow) -> None:
    ran = cli("limits", "set", "pool:gpu", "--concurrency", "2")
    assert ran.out == "pool:gpu: at most 2 at a time.\n"
    rated = cli("limits", "set", "executor:core.noop", "--rate", "50/s", "--burst", "10", "--json").json
    assert rated == {
        "name": "executor:core.noop",
        "used": 0,
        "waiting": 0,
        "concurrency": None,
        "rate": "50/s",
        "burst": 10,
        "set_by": "explicit",
    }
    flow.open()
    held = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}, "limits": {"pools": {"gpu": 2}}}})
    until(lambda: flow.state(held, "a") == "running")
    listed = {each["name"]: each for each in cli("limits", "list", "--json").json}
    assert list(listed) == ["executor:core.noop", "pool:gpu"]
    assert (listed["pool:gpu"]["used"], listed["pool:gpu"]["concurrency"]) == (2, 2)
    table = cli("limits", "list", "--kind", "pool").out
    assert table.splitlines()[1].split() == ["pool:gpu", "2", "2", "0", "explicit"]
    ran = cli("limits", "list", "--limit", "1")
    assert "50/s, 10 at once" in ran.out
    assert "--after 'executor:core.noop'" in ran.err
    assert len(cli("limits", "list", "--after", "executor:core.noop", "--json").json) == 1
    waits = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}, "limits": {"pools": {"gpu": 1}}}})
    until(lambda: flow.state(waits, "a") == "blocked")
    assert "pool:gpu: 2 of 2 in use, held by" in cli("explain", waits).out
    flow.probe.gate("g").set()
    assert flow.wait(waits).state == "completed"
    assert cli("limits", "unset", "pool:gpu").out == "pool:gpu: taken back.\n"
    assert cli("limits", "unset", "pool:gpu", "--json").json == {"name": "pool:gpu", "unset": False}


@pytest.mark.row("X-25", "M-30")
def test_pending_tasks_are_listed_up_to_a_limit_in_the_order_of_claims(cli: Cli) -> None:
    cli("queues", "pause", "mail")
    mail = [start(cli, "--queue", "mail") for _ in range(3)]
    high = start(cli, "--priority", "5")
    found = cli("pending", "--json").json
    assert [each["instance"] for each in found] == [high, *mail]
    assert [each["queue"] for each in found] == ["default", "mail", "mail", "mail"]
    assert [each["instance"] for each in cli("pending", "--limit", "2", "--json").json] == [high, mail[0]]
    assert [e["instance"] for e in cli("pending", "--queue", "mail", "--limit", "2", "--json").json] == mail[
        :2
    ]
    assert cli("pending").out.count("\n") == 5
    cli("queues", "resume", "mail")
    drain(cli)
    assert cli("pending", "--json").json == []


@pytest.mark.row("X-25", "M-30")
def test_failed_tasks_are_listed_up_to_a_limit_and_one_is_retried_by_id(cli: Cli) -> None:
    ids = [start(cli, nodes={"a": {"run": "core.fail", "with": {"attempts": 1}}}) for _ in range(3)]
    drain(cli)
    listed = cli("list", "--state", "failed", "--limit", "2", "--json").json
    assert [each["id"] for each in listed] == [ids[2], ids[1]]
    (task,) = [each for each in cli("tasks", ids[1], "--state", "failed", "--json").json if each["executor"]]
    assert (task["path"], task["error"]["code"]) == ("a", "core.Failed")
    cli("retry", ids[1], "a")
    drain(cli)
    states = [cli("status", each, "--json").json["state"] for each in ids]
    assert states == ["failed", "completed", "failed"]


@pytest.mark.row("M-08", "A-27")
def test_cancel_takes_a_tag_instead_of_an_id(cli: Cli, flow: Flow) -> None:
    cli("queues", "pause", "mail")
    red = [start(cli, "--queue", "mail", "--tag", "red"), start(cli, "--tag", "red", "--delay", "1h")]
    flow.open()
    gate = flow.document({"a": {"run": "t.block", "with": {"gate": "never"}}})
    red.append(flow.engine.start_now(gate, options=tagged("red")))
    blue = start(cli, "--queue", "mail", "--tag", "blue")
    until(lambda: flow.state(red[2], "a") == "running")
    found = cli("cancel", "--tag", "red", "--reason", "recall", "--json").json
    assert {each["id"] for each in found} == set(red)
    assert {each["status"] for each in found} == {"accepted"}
    assert [flow.wait(each).state for each in red] == ["cancelled"] * 3
    assert cli("cancel", "--tag", "red").out == "0 instances with the tag 'red' cancelled.\n"
    assert UNKNOWN in cli("cancel", UNKNOWN, code=2).err
    assert entries(cli, "mail") == [blue]
    cli("queues", "resume", "mail")
    assert flow.wait(blue).state == "completed"


def tagged(name: str) -> Any:
    from strataflow import StartOptions

    return StartOptions(labels={f"tag:{name}": "1"})


@pytest.mark.row("M-33")
def test_stats_are_shown_and_begin_anew(cli: Cli) -> None:
    for queue in ("mail", "mail", "default"):
        start(cli, "--queue", queue)
    start(cli, nodes={"a": {"run": "core.fail", "with": {}}})
    drain(cli)
    found = cli("stats", "--json").json
    assert (found["total"]["completed"], found["total"]["failed"], found["whole"]) == (3, 1, True)
    assert {each["queue"]: each["started"] for each in found["queues"]} == {"default": 2, "mail": 2}
    assert cli("stats", "--queue", "mail", "--json").json["total"]["started"] == 2
    assert cli("stats", "--since", "0s", "--json").json["total"]["started"] == 0
    table = cli("stats").out.splitlines()
    assert [line.split()[0] for line in table] == ["QUEUE", "default", "mail", "in"]
    assert "Counting from" in cli("stats", "--reset").out
    again = cli("stats", "--json").json
    assert (again["total"]["started"], again["since"] is None) == (0, False)
    assert cli("stats", "--reset", "--json").json["since"] >= again["since"]
