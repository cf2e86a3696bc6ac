"""The database fails under the engine: connections cut, commits of unknown fate, a server that goes and comes back."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import until
from tests.recovery.proxy import CommitCutter

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

SEED = int(os.environ.get("STRATAFLOW_TEST_SEED", random.SystemRandom().randrange(1 << 30)))


def _chains(count: int) -> list[dict[str, object]]:
    """Give runs of five steps each."""
    steps = {"s0": {"run": "lab.work", "with": {"value": 0, "ms": 5}}}
    for number in range(1, 5):
        value = f"{{{{ nodes.s{number - 1}.output + 1 }}}}"
        steps[f"s{number}"] = {"run": "lab.work", "with": {"value": value, "ms": 5}}
    chain = lab.definition("chain", steps, output="{{ nodes.s4.output }}")
    return [{"definition": chain} for _ in range(count)]


@pytest.mark.row("X-06", "X-28")
@pytest.mark.parametrize("away_s", [(0.0, 0.0), (0.05, 0.4)], ids=["server-there", "server-away"])
def test_a_commit_whose_answer_is_lost_happens_once(pg_bench: Bench, away_s: tuple[float, float]) -> None:
    """Starts, claims and outcomes whose COMMIT got no answer: nothing lost, nothing twice, nothing held for ever."""
    print(f"seed {SEED}")
    with CommitCutter(pg_bench.url, seed=SEED, rate=0.2, away_s=away_s) as proxy:
        proxy.armed = False  # registering the definition is not what this is about
        wanted = 25
        child = pg_bench.nursery.spawn(
            {
                "url": proxy.proxied,
                "effects": str(pg_bench.effects_file),
                "mode": "hold",
                "start": _chains(40),
                "engine": {"slots": 4},
            }
        )
        pg_bench.children.append(child)
        child.await_note("started")
        proxy.armed = True
        until(lambda: len(child.notes("started")) == 40, 60, why=lambda: f"all starts\n{child.errors()}")
        until(lambda: proxy.cuts >= wanted or _all_ended(pg_bench), 60)
        proxy.armed = False
        until(
            lambda: _all_ended(pg_bench),
            30,
            why=lambda: f"the end after {proxy.cuts} cuts\n{pg_bench.unfinished()}",
        )
        cuts = proxy.cuts
        print(f"{cuts} commits whose answer was lost")
        assert cuts >= 8
        # Every slot is free again: as many tasks as there are slots run side by side.
        before = len(pg_bench.starts())
        pg_bench.start(lab.fan(4, ms=2000))
        until(
            lambda: len(pg_bench.starts()) == before + 4, 2.0, why="four executions at a time on four slots"
        )
        until(lambda: _all_ended(pg_bench), 20)
        child.kill()
    assert all(pg_bench.output(note["id"]) == 4 for note in child.notes("started"))
    pg_bench.judge()


def _all_ended(bench: Bench) -> bool:
    states = bench.states().values()
    return bool(states) and set(states) <= {"completed", "failed", "cancelled"}


@pytest.mark.row("X-28")
def test_backends_terminated_at_random(pg_bench: Bench) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    child = pg_bench.spawn("hold", start=_chains(60), engine={"slots": 10})
    child.await_note("started")
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE datname = "
        "current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS one"
    )
    ended, terminated = time.monotonic() + 6, 0
    while time.monotonic() < ended:
        terminated += pg_bench.rows(kill)[0][0]
        time.sleep(rng.uniform(0.005, 0.08))
    until(lambda: len(child.notes("started")) == 60, 40, why=lambda: f"all starts\n{child.errors()}")
    until(
        lambda: _all_ended(pg_bench), 40, why=lambda: f"the end after {terminated}\n{pg_bench.unfinished()}"
    )
    print(f"{terminated} backends terminated")
    assert terminated > 30
    child.kill()
    pg_bench.judge()


def test_what_cannot_be_written_harms_nobody_else(bench: Bench) -> None:
    """An error code with a NUL, a start key with half a character: each is refused alone, nothing hangs."""
    bad = lab.definition(
        "bad", {"fail": {"run": "core.fail", "with": {"code": "a\x00b", "retryable": False}}}
    )
    child = bench.spawn("hold", start=[*_chains(5), {"definition": bad}, *_chains(5)])
    until(lambda: len(child.notes("started")) == 11, why=lambda: f"all starts\n{child.errors()}")
    until(lambda: _all_ended(bench), why=lambda: f"the end\n{bench.unfinished()}\n{child.errors()}")
    assert sorted(bench.states().values()) == ["completed"] * 10 + ["failed"]
    odd = bench.spawn("client", start=[{"definition": bad, "key": "\ud800"}])
    until(lambda: not odd.alive, why="the refusal of a key")
    assert not odd.notes("started")
    child.kill()
    bench.judge()
