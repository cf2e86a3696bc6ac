"""Two engines on one database: who takes over, when, and what becomes of the one that comes back."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from strataflow.repositories import engines
from strataflow.repositories.database import Database
from tests.checker import examine
from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import Child, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

SEED = int(os.environ.get("STRATAFLOW_TEST_SEED", random.SystemRandom().randrange(1 << 30)))
#: A lease that a test can wait for.
SHORT = {"ttl_s": 1.5, "margin_s": 0.3}


def _slow(ms: int = 800, width: int = 4) -> dict[str, object]:
    return lab.fan(width, ms=ms)


def _running(bench: Bench, count: int = 1) -> None:
    until(lambda: len(bench.starts()) >= count, why="an execution")


@pytest.mark.row("X-28", "X-26")
def test_a_killed_engine_is_replaced_at_once_on_the_same_machine(pg_bench: Bench) -> None:
    first = pg_bench.spawn("hold", start=[{"definition": _slow(60_000, 2)}], engine={"ttl_s": 30.0})
    _running(pg_bench, 2)
    second = pg_bench.spawn("hold", engine={"ttl_s": 30.0})
    mine = second.await_note("up")["engine"]
    killed = time.monotonic()
    first.kill()
    until(
        lambda: len([e for e in pg_bench.starts() if e.engine == mine]) == 2,
        10,
        why="the second engine's turn",
    )
    took = time.monotonic() - killed
    print(f"taken over after {took:.3f} s, the lease is 30 s")
    assert took < 3.0
    second.kill()
    assert not examine(pg_bench.url, pg_bench.acknowledged()).violations


@pytest.mark.row("X-28", "A-33")
def test_a_killed_engine_is_replaced_when_its_lease_is_over(pg_bench: Bench) -> None:
    first = pg_bench.spawn("hold", start=[{"definition": _slow()}], engine=SHORT, elsewhere=True)
    _running(pg_bench, 4)
    first.kill()
    killed = time.monotonic()
    second = pg_bench.spawn("drain", engine=SHORT, elsewhere=True)
    mine = second.await_note("up")["engine"]
    until(
        lambda: len([e for e in pg_bench.starts() if e.engine == mine]) == 4,
        20,
        why="the second engine's turn",
    )
    print(f"taken over {time.monotonic() - killed:.3f} s after the kill, lease {SHORT['ttl_s']} s")
    assert second.await_note("drained")["done"]
    second.join()
    pg_bench.judge()


#: A process may be stopped while it holds its own `engines` row in an open transaction. Then a take-over waits until
#: the database ends that transaction, 10 s (`idle_in_transaction_session_timeout`) beyond the lease.
PAUSED_S = 30.0


def _pause(child: Child, bench: Bench, why: str) -> None:
    child.send(signal.SIGSTOP)
    until(lambda: bench.rows("SELECT 1 FROM engines WHERE state = 'dead'"), PAUSED_S, why=why)


@pytest.mark.row("X-28", "X-29", "A-33")
@pytest.mark.parametrize("elsewhere", [True, False], ids=["another-machine", "same-machine"])
def test_a_paused_engine_loses_its_tasks_and_comes_back_as_another(
    pg_bench: Bench, *, elsewhere: bool
) -> None:
    """The stale owner's outcomes are refused, its executors stop, it registers anew and goes on."""
    options = {"engine": SHORT, "elsewhere": elsewhere}
    first = pg_bench.spawn("hold", start=[{"definition": _slow(4000, 6)}], **options)
    old = first.await_note("up")["engine"]
    _running(pg_bench, 6)
    second = pg_bench.spawn("hold", **options)
    mine = second.await_note("up")["engine"]
    _pause(first, pg_bench, "the paused engine's death")
    until(lambda: len([e for e in pg_bench.starts() if e.engine == mine]) == 6, PAUSED_S, why="the take-over")
    first.send(signal.SIGCONT)
    new = first.await_note("renewed")["engine"]
    assert new not in {old, mine}
    until(lambda: set(pg_bench.states().values()) == {"completed"}, why="the end")
    # The engine that came back works: alone, it finishes something new.
    second.kill()
    pg_bench.start(_slow(1, 3))
    until(lambda: set(pg_bench.states().values()) == {"completed"}, why="the second run")
    assert any(e.engine == new for e in pg_bench.starts())
    first.kill()
    report = pg_bench.judge()
    assert report.evaluations["I6"] > 10


@pytest.mark.row("X-29")
def test_an_engine_alone_that_was_paused_past_its_lease_goes_on(bench: Bench) -> None:
    """Nobody declared it dead: it must not trust its lease, must stop what runs, and must take it up again."""
    child = bench.spawn("hold", start=[{"definition": _slow(700, 3)}], engine=SHORT)
    _running(bench, 3)
    child.send(signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: time.monotonic() - stopped > 2.0, pause_s=0.1)
    child.send(signal.SIGCONT)
    until(
        lambda: set(bench.states().values()) == {"completed"},
        PAUSED_S,
        why=lambda: f"the end\n{bench.unfinished()}",
    )
    child.kill()
    bench.judge()


@pytest.mark.row("X-28", "X-29", "A-33")
def test_what_an_engine_sends_after_its_death_is_refused(bench: Bench) -> None:
    """It is declared dead while outcomes are on their way: none of them is recorded, whoever carries it."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    child = bench.spawn("hold", engine={"slots": 200})
    child.await_note("up")
    database = Database(bench.url)
    for count in range(4):
        bench.start(lab.fan(150, ms=rng.randrange(10, 60)))
        wanted = len(bench.starts()) + rng.randrange(100)
        until(lambda n=wanted: len(bench.starts()) >= n or _ended(bench), why="executions on their way")
        for (engine_id,) in bench.rows("SELECT id FROM engines WHERE state = 'alive' AND role = 'engine'"):
            engines.mark_dead(database, str(engine_id))
        until(lambda n=count: len(child.notes("renewed")) > n, why="a new life")
        until(lambda: _ended(bench), 30, why=lambda: f"the end\n{bench.unfinished()}\n{child.errors()}")
    again = [effect for effect in bench.starts() if effect.attempt > 1]
    print(f"{len(again)} attempts were lost with their engine")
    assert len(again) > 20
    child.kill()
    database.close()
    bench.judge()


def _ended(bench: Bench) -> bool:
    return set(bench.states().values()) <= {"completed", "failed"}
