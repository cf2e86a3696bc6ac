"""The command line as real processes: signals, several workers, a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.cli import WAIT_S, Cli, until

SLEEP = {"run": "core.sleep", "with": {"seconds": 60}}
#: Interruptible once: the first attempt sleeps, the second finds the file and is done.
ONCE = {
    "run": "shell.run",
    "with": {"command": "test -e started && echo again || { touch started; exec sleep 60; }"},
}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def cli(db_url: str, tmp_path: Path) -> Iterator[Cli]:
    with closing(Cli(db_url, tmp_path)) as made:
        yield made


@pytest.fixture
def local(migrated_sqlite_url: str, tmp_path: Path) -> Iterator[Cli]:
    """Give the command line on SQLite alone, for what no database can change."""
    with closing(Cli(migrated_sqlite_url, tmp_path)) as made:
        yield made


def running(cli: Cli, path: str = "a") -> str | None:
    """Give the id of the newest instance once a task of it runs."""
    newest = cli.newest()
    return newest["id"] if newest and cli.states(newest["id"]).get(path) == "running" else None


def test_ctrl_c_leaves_a_run_that_the_next_worker_finishes(cli: Cli) -> None:
    flow = cli.flow({"a": ONCE, "b": {"needs": ["a"], "run": "core.noop"}})
    process = cli.spawn("run", flow, "--json")
    started = until(lambda: running(cli))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert json.loads(out)["state"] == "running"
    assert "strataflow worker" in err
    assert "Traceback" not in err
    # Given back, not lost: nobody has to wait for a lease to run out.
    assert cli.states(started) == {"a": "queued"}
    drained = cli.spawn("worker", "--drain")
    drained.communicate(timeout=WAIT_S)
    assert drained.returncode == 0
    tasks = {task["path"]: task for task in cli("tasks", started, "--json").json}
    assert (tasks["a"]["output"]["stdout"], tasks["a"]["attempt"]) == ("again\n", 2)
    assert tasks["b"]["state"] == "completed"


def test_a_second_run_finishes_what_the_first_left(cli: Cli) -> None:
    process = cli.spawn("run", cli.flow({"a": ONCE}))
    started = until(lambda: running(cli))
    process.kill()
    process.communicate(timeout=WAIT_S)
    other = cli.spawn("run", cli.flow({"w": {"wait": {"for": "3s"}}}, name="t.other", file="other.json"))
    _, err = other.communicate(timeout=WAIT_S)
    assert other.returncode == 0, err
    assert "1 unfinished instance of this database goes on as well." in err
    cli("worker", "--drain")
    assert cli("status", started, "--json").json["state"] == "completed"


def test_sigterm_makes_a_worker_give_back_what_it_runs(cli: Cli) -> None:
    started = cli("start", cli.flow({"a": SLEEP})).out.strip()
    process = cli.spawn("worker", "--grace", "200ms")
    until(lambda: cli.states(started).get("a") == "running")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert cli.states(started) == {"a": "queued"}
    reasons = [row["reason"] for row in cli("history", started, "--json").json if row["path"] == "a"]
    assert reasons[-1] == "released by its engine"


def test_running_tasks_may_end_within_the_grace(local: Cli) -> None:
    flow = local.flow(
        {"a": {"run": "core.sleep", "with": {"seconds": 2}}, "b": {"needs": ["a"], "run": "core.noop"}}
    )
    started = local("start", flow).out.strip()
    process = local.spawn("worker", "--grace", "20s")
    until(lambda: local.states(started).get("a") == "running")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert local.states(started) == {"a": "completed", "b": "queued"}


def test_a_second_signal_ends_at_once(local: Cli) -> None:
    started = local("start", local.flow({"a": SLEEP})).out.strip()
    process = local.spawn("worker", "--grace", "1h")
    until(lambda: local.states(started).get("a") == "running")
    process.send_signal(signal.SIGINT)
    said = process.stderr
    assert said is not None
    until(lambda: "Stopping" in said.readline())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    process.communicate()


def test_two_workers_share_the_work_and_stop_together(cli: Cli) -> None:
    nodes = {
        "m": {
            "map": list(range(40)),
            "do": {"run": "shell.run", "with": {"command": "echo $PPID; sleep 0.2"}},
        }
    }
    started = cli("start", cli.flow(nodes)).out.strip()
    process = cli.spawn("worker", "--engines", "2", "--slots", "4")
    try:
        until(lambda: cli("status", started, "--json").json["ended_at"])
        parents = {t["output"]["stdout"] for t in cli("tasks", started, "--json").json if t["path"] != "m"}
        assert len(parents) == 2
    finally:
        process.terminate()
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert "Stopping 2 workers" in err


def test_several_workers_drain(local: Cli) -> None:
    ids = [local("start", local.flow({"a": {"wait": {"for": "500ms"}}})).out.strip() for _ in range(3)]
    process = local.spawn("worker", "--drain", "--engines", "2", "--json")
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert json.loads(out) == {"engines": 2, "drained": True}
    assert all(local.states(each) == {"a": "completed"} for each in ids)


def children(pid: int) -> list[int]:
    """Give the worker processes of a parent."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_worker_that_is_killed_is_replaced(local: Cli) -> None:
    local("start", local.flow({"a": SLEEP}))
    process = local.spawn("worker", "--engines", "2", "--grace", "100ms")
    try:
        first = until(lambda: len(children(process.pid)) == 2 and children(process.pid))
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(set(children(process.pid)) - set(first)) == 1)
    finally:
        process.terminate()
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "another takes its place" in err


def test_workers_end_when_their_parent_is_killed(local: Cli) -> None:
    local("start", local.flow({"a": SLEEP}))
    process = local.spawn("worker", "--engines", "2", "--grace", "100ms")
    first = until(lambda: len(children(process.pid)) == 2 and children(process.pid))
    until(lambda: running(local))
    process.kill()
    process.communicate(timeout=WAIT_S)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in first))
    assert local.states(local.newest()["id"]) == {"a": "queued"}


def test_a_fleet_that_cannot_start_fails(tmp_path: Path) -> None:
    cli = Cli("postgresql://127.0.0.1:1/none", tmp_path)
    process = cli.spawn("worker", "--engines", "2")
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "cannot connect" in err
    assert "Traceback" not in err


def test_logs_are_followed_until_the_end(cli: Cli) -> None:
    nodes = {
        "a": {"run": "core.log", "with": {"message": "first"}},
        "b": {"needs": ["a"], "wait": {"for": "1s"}},
        "c": {"needs": ["b"], "run": "core.log", "with": {"message": "last"}},
    }
    started = cli("start", cli.flow(nodes)).out.strip()
    following = cli.spawn("logs", started, "--follow", "--json")
    cli("worker", "--drain")
    out, err = following.communicate(timeout=WAIT_S)
    assert following.returncode == 0, err
    assert [line["message"] for line in json.loads(out)] == ["first", "last"]


# --- a terminal


def on_terminal(cli: Cli, *args: str | Path, columns: int = 80, rows: int = 24) -> tuple[int, str]:
    """Run a command on a terminal of this size; give its exit code and all that it drew."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "strataflow", *map(str, args)],
        cwd=cli.folder,
        env={**inherited, "STRATAFLOW_DB": cli.url, "TERM": "xterm-256color"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    drawn = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        drawn += part
    os.close(leader)
    return process.wait(timeout=WAIT_S), drawn.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_progress_is_drawn_live(local: Cli) -> None:
    nodes = {
        "first": {"run": "core.noop", "with": 1},
        "many": {
            "map": list(range(12)),
            "concurrency": 3,
            "do": {"run": "core.sleep", "with": {"seconds": 0.3}},
        },
        "last": {"needs": ["many"], "run": "core.noop", "with": 2},
    }
    code, drawn = on_terminal(local, "run", local.flow(nodes, output="the result"))
    text = plain(drawn)
    assert code == 0
    counters = set(re.findall(r"(\d+)/12", text))
    assert "12" in counters
    assert len(counters) > 2  # it was seen on its way
    assert text.rstrip().endswith('"the result"')
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    assert max(map(len, lines)) <= 80
    final = "\n".join(lines[-5:])
    assert re.search(r"t\.flow v1 .* completed", final)
    assert all(name in final for name in ("first", "many", "last", "core.sleep"))


def test_a_large_definition_fits_the_terminal(local: Cli) -> None:
    nodes = {f"n{i}": {"run": "core.noop"} for i in range(100)} | {"bad": {"run": "core.fail", "with": {}}}
    code, drawn = on_terminal(local, "run", local.flow(nodes), rows=12)
    text = plain(drawn)
    assert code == 1
    assert "more nodes: " in text
    assert "bad" in text[text.rindex("t.flow v1") :]


def test_tables_fit_the_terminal(local: Cli) -> None:
    flow = local.flow({"a_node_with_a_rather_long_name": {"run": "core.noop", "with": "word " * 100}})
    local("run", flow)
    for command in (
        ["list"],
        ["tasks", local.newest()["id"]],
        ["history", local.newest()["id"]],
        ["executors"],
        ["doctor"],
    ):
        code, drawn = on_terminal(local, *command, columns=60)
        assert code == 0
        if command[0] in {"list", "tasks", "history"}:
            assert max(len(line) for line in plain(drawn).splitlines()) <= 60
