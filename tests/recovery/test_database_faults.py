"""The database fails under the engine: connections cut, commits of unknown fate, a server that goes and comes back."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from strataflow.repositories.migrate import upgrade
from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import Nursery, until
from tests.recovery.proxy import CommitCutter
from tests.recovery.server import PrivateServer

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


@pytest.fixture
def private() -> Iterator[PrivateServer]:
    """Give a migrated Postgres that the test may crash; there is no skipping without one."""
    folder = Path(tempfile.mkdtemp(prefix="strataflow-private-", dir="/tmp"))
    server = PrivateServer(folder)
    try:
        upgrade(server.url)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.row("X-26")
def test_the_server_crashes_and_comes_back(
    private: PrivateServer, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stopped at once, again and again, while work goes on: the engines wait, come back by themselves, and finish."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    bench = Bench(nursery, private.url, tmp_path_factory.mktemp("crash"))
    try:
        workers = [bench.spawn("hold", start=_chains(25), engine={"slots": 8}) for _ in range(2)]
        for worker in workers:
            worker.await_note("started")
        crashes = 8
        for _ in range(crashes):
            time.sleep(rng.uniform(0.05, 0.5))
            private.crash()
            time.sleep(rng.uniform(0.0, 0.4))
            private.start()
        back = time.monotonic()
        for worker in workers:
            until(
                lambda w=worker: len(w.notes("started")) == 25,
                40,
                why=lambda w=worker: f"starts\n{w.errors()}",
            )
        until(
            lambda: _all_ended(bench), 40, why=lambda: f"the end\n{bench.unfinished()}\n{workers[0].errors()}"
        )
        print(f"{crashes} crashes of the server; all ended {time.monotonic() - back:.1f} s after the last")
        assert set(bench.states().values()) == {"completed"}
        assert all(worker.alive for worker in workers)
    finally:
        nursery.end_children()
    bench.judge()


@pytest.mark.row("X-26")
def test_ten_processes_on_one_file(
    nursery: Nursery, migrated_sqlite_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All of them start, claim and write at the same time: nobody ever hears that the database is locked."""
    bench = Bench(nursery, migrated_sqlite_url, tmp_path_factory.mktemp("ten"))
    try:
        children = [
            bench.spawn("drain", start=_chains(6), timeout_s=60, engine={"slots": 4}) for _ in range(10)
        ]
        for child in children:
            until(
                lambda c=child: not c.alive,
                90,
                why=lambda c=child: f"its end\n{c.errors()}\n{bench.unfinished()}",
            )
            assert child.notes("ended"), child.errors()
            assert "locked" not in child.errors()
    finally:
        nursery.end_children()
    assert list(bench.states().values()) == ["completed"] * 60
    engines = {effect.engine for effect in bench.starts()}
    print(f"{len(engines)} of 10 processes executed something")
    assert len(engines) >= 3
    bench.judge()
