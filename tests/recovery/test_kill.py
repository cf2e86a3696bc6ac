"""SIGKILL at the places that matter, then another process: nothing lost, nothing done twice."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import Child, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

STEP = lab.definition(
    "step",
    {
        "first": {"run": "lab.work", "with": {"value": 1, "ms": 5}},
        "second": {"run": "lab.work", "with": {"value": "{{ nodes.first.output + 1 }}", "ms": 5}},
    },
    output="{{ nodes.second.output }}",
)

#: Where to die → (statement, which one, before or after what, may the start be lost, executions of `first`).
POINTS: dict[str, tuple[str, int, str, bool, int]] = {
    "start before its commit": ("INSERT INTO instances", 1, "before_commit", True, 0),
    "start after its commit, before the answer": ("INSERT INTO instances", 1, "after_commit", False, 0),
    "before the claim is committed": ("UPDATE tasks", 1, "before_commit", False, 0),
    "after the claim is committed": ("UPDATE tasks", 1, "after_commit", False, 0),
    "before an outcome is committed": ("UPDATE tasks", 2, "before_commit", False, 1),
    "after an outcome is committed": ("UPDATE tasks", 2, "after_commit", False, 1),
    "in the middle of writing an outcome": ("INSERT INTO journal", 2, "before", False, 1),
}


def _die(bench: Bench, point: str) -> Child:
    match, nth, when, _, _ = POINTS[point]
    fault = {"match": match, "nth": nth, "when": when}
    if point.startswith("start"):
        child = bench.spawn("client", start=[{"definition": STEP, "key": "k"}], fault=fault)
    else:
        bench.start(STEP, key="k")
        child = bench.spawn("hold", fault=fault)
    until(lambda: not child.alive, why=lambda: f"the kill at {point}\n{child.errors()}")
    return child


@pytest.mark.row("X-26")
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(bench: Bench, point: str) -> None:
    died = _die(bench, point)
    may_be_lost, ran = POINTS[point][3:]
    assert len(bench.starts("first")) == ran
    assert may_be_lost or len(bench.states()) == 1
    if point.startswith("start"):
        assert not died.notes("started")
        # Whoever got no answer asks again with the same key: one run, whatever became of the first try.
        bench.start(STEP, key="k")
    assert len(bench.states()) == 1
    begun = time.monotonic()
    bench.drain()
    print(f"drained {time.monotonic() - begun:.2f} s after the kill")
    assert list(bench.states().values()) == ["completed"]
    assert bench.output(next(iter(bench.states()))) == 2
    twice = ran if point != "after an outcome is committed" else 0
    assert len(bench.starts("first")) == 1 + twice
    bench.judge()


@pytest.mark.row("X-26")
@pytest.mark.parametrize("executor", ["lab.work", "lab.sync", "shell.run"])
def test_killed_while_an_executor_runs(bench: Bench, executor: str) -> None:
    """What was completed stays completed; what ran runs again, and its attempt is counted."""
    slow: dict[str, Any] = {"value": 2, "ms": 1200}
    if executor == "shell.run":
        marker = bench.folder / "shell"
        slow = {"argv": ["/bin/sh", "-c", f"echo run >> {marker}; test $(wc -l < {marker}) -gt 1 || sleep 3"]}
    before = {"run": "lab.work", "with": {"value": 1}}
    flow = lab.definition(
        "exec", {"before": before, "slow": {"run": executor, "with": slow, "needs": ["before"]}}
    )
    child = bench.spawn("hold", start=[{"definition": flow}])
    if executor == "shell.run":
        until((bench.folder / "shell").exists, why="the shell")
    else:
        until(lambda: bench.starts("slow"), why="the executor")
    child.kill()
    begun = time.monotonic()
    drain = bench.spawn("drain")
    mine = drain.await_note("up")["engine"]
    claim = "SELECT 1 FROM journal WHERE path = 'slow' AND to_state = 'running' AND engine = :me"
    until(lambda: bench.rows(claim, me=mine), why="the task's second attempt")
    took = time.monotonic() - begun
    print(f"resumed {took:.2f} s after the kill; the lease is 30 s")
    assert took < 5
    assert drain.await_note("drained")["done"]
    drain.join()
    assert bench.rows("SELECT attempt, crashes FROM tasks WHERE path = 'slow'") == [(2, 0)]
    assert len(bench.starts("before")) == 1
    bench.judge()


@pytest.mark.row("X-12", "X-27")
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_killed_in_the_middle_of_a_fan_out(bench: Bench, share: float) -> None:
    """Only the missing children run again: by the effect log no completed one runs twice."""
    width = 300
    child = bench.spawn("hold", start=[{"definition": lab.fan(width, ms=5)}], engine={"slots": 8})
    done = "SELECT path FROM tasks WHERE state = 'completed' AND path LIKE 'each[%'"
    until(lambda: len(bench.rows(done)) >= width * share, 40, why="a part of the children")
    child.kill()
    completed = {row[0] for row in bench.rows(done)}
    running = {row[0] for row in bench.rows("SELECT path FROM tasks WHERE state = 'running'")}
    before = len(bench.starts())
    assert len(completed) < width
    bench.drain()
    again = [effect.path for effect in bench.starts()[before:]]
    assert not completed & set(again)
    assert len(again) == len(set(again))
    assert set(again) == {f"each[{i}]" for i in range(width)} - completed
    print(
        f"killed after {len(completed)} of {width}, {len(running)} were running; {len(again)} ran afterwards"
    )
    (instance_id,) = bench.acknowledged()
    assert bench.output(instance_id) == sum(range(width))
    bench.judge()


@pytest.mark.long("sqlite")
@pytest.mark.row("X-12")
@pytest.mark.parametrize("when", ["before_commit", "after_commit"])
def test_killed_while_a_map_expands(bench: Bench, when: str) -> None:
    """The list and its count are committed before any child runs, and each child is made once."""
    fault = {"match": "INSERT INTO blobs", "nth": 1, "when": when}
    child = bench.spawn("hold", start=[{"definition": lab.fan(1500)}], fault=fault)
    until(lambda: not child.alive, why=lambda: f"the kill\n{child.errors()}")
    (total,) = bench.rows("SELECT total FROM tasks WHERE path = 'each'")[0]
    assert total == (None if when == "before_commit" else 1500)
    assert not bench.starts()
    bench.drain()
    assert list(bench.states().values()) == ["completed"]
    assert len(bench.starts()) == 1500
    bench.judge()


@pytest.mark.row("X-30")
def test_a_poison_task_is_given_up_and_harms_nobody_else(bench: Bench) -> None:
    """After the crash budget it fails `crashed`; the others complete, and suspects run one at a time."""
    poison = lab.definition("poison", {"bad": {"run": "lab.suicide", "with": {}}})
    healthy = lab.fan(6, ms=30)
    bench.start(poison, healthy, poison)
    deaths = 0
    while set(bench.states().values()) - {"completed", "failed"}:
        child = bench.spawn("drain", engine={"slots": 20})
        until(lambda c=child: not c.alive, 40, why=lambda c=child: f"death or the end\n{c.errors()}")
        deaths += not child.notes("drained")
        assert deaths <= 20, bench.unfinished()
    print(f"{deaths} engines died")
    assert sorted(bench.states().values()) == ["completed", "failed", "failed"]
    errors = bench.rows("SELECT attempt, crashes, error FROM tasks WHERE path = 'bad'")
    assert [(row[0], row[1]) for row in errors] == [(6, 6), (6, 6)]
    assert all('"crashed"' in row[2] for row in errors)
    # With two crashes behind them they never again ran in one engine at a time.
    late = [e.engine for e in bench.starts("bad") if e.attempt > 2]
    assert len(late) == len(set(late)) == 8
    bench.judge()


@pytest.mark.row("X-26")
def test_a_task_that_kills_once_completes(bench: Bench) -> None:
    flow = lab.definition("once", {"bad": {"run": "lab.suicide", "with": {"attempts": 2, "value": 5}}})
    bench.start(flow)
    for _ in range(2):
        child = bench.spawn("drain")
        until(lambda c=child: not c.alive, why="its death")
    bench.drain()
    assert list(bench.states().values()) == ["completed"]
    bench.judge()


@pytest.mark.row("X-26")
def test_the_worker_of_the_command_line_drains_what_a_kill_left(bench: Bench) -> None:
    """A process of its own, nothing shared with the one that died but the database."""
    nodes = {
        "first": {"run": "core.noop", "with": {"n": 1}},
        "nap": {"run": "core.sleep", "with": {"seconds": 0.5}},
    }
    nodes["last"] = {"run": "core.noop", "with": {"n": "{{ nodes.first.output.n + 1 }}"}, "needs": ["nap"]}
    child = bench.spawn("hold", start=[{"definition": lab.definition("naps", nodes)} for _ in range(3)])
    at_rest = "SELECT count(*) FROM tasks WHERE (state, path) IN (('running', 'nap'), ('completed', 'first'))"
    until(lambda: bench.rows(at_rest)[0][0] == 6, why=child.errors)
    child.kill()
    command = [sys.executable, "-m", "strataflow", "worker", "--drain", "--db", bench.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert list(bench.states().values()) == ["completed"] * 3
    assert bench.rows("SELECT DISTINCT attempt FROM tasks WHERE path = 'nap'") == [(2,)]
    assert bench.rows("SELECT DISTINCT attempt FROM tasks WHERE path = 'first'") == [(1,)]
    bench.judge()
