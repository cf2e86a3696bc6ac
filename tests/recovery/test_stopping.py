"""Work that is stopped: cancelled items, lost leases, a cancel that is itself cut by a kill; no slot is ever lost."""

from __future__ import annotations

import signal
import time

import pytest

from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

SHORT = {"ttl_s": 1.5, "margin_s": 0.3}


@pytest.mark.long("sqlite")
@pytest.mark.row("A-17")
def test_items_that_are_stopped_before_they_began_end_too(bench: Bench) -> None:
    """Failures, joins that cancel the rest, items claimed and stopped by one batch: everything ends, slots are free."""
    child = bench.spawn("hold", start=[{"definition": lab.trouble()} for _ in range(6)], engine={"slots": 6})
    until(lambda: len(child.notes("started")) == 6, why=child.errors)
    until(
        lambda: set(bench.states().values()) == {"completed"},
        40,
        why=lambda: f"the end\n{bench.unfinished()}\n{child.errors()}",
    )
    assert all(bench.output(i) == {"saved": "saved", "caught": "caught"} for i in bench.states())
    before = len(bench.starts())
    bench.start(lab.fan(6, ms=2000))
    until(lambda: len(bench.starts()) == before + 6, 2.0, why="six executions at a time on six slots")
    child.kill()


@pytest.mark.long("sqlite")
@pytest.mark.row("X-26")
def test_failures_and_joins_survive_kills(bench: Bench) -> None:
    bench.start(*[lab.trouble()] * 4)
    for count in (30, 90, 200, 400):
        child = bench.spawn("hold", engine={"slots": 8})
        until(lambda n=count: len(bench.starts()) >= n or _ended(bench), 30, why="a part of the work")
        child.kill()
    bench.drain()
    assert set(bench.states().values()) == {"completed"}
    bench.judge()


@pytest.mark.row("X-26")
@pytest.mark.parametrize("delay_ms", [0, 20, 100])
def test_a_cancel_of_many_rows_goes_on_after_a_kill(bench: Bench, delay_ms: int) -> None:
    """It is acknowledged at once and carried out in sweeps; a kill between two of them only delays the rest."""
    (instance_id,) = bench.start(lab.fan(2500, ms=300))
    child = bench.spawn("hold", engine={"slots": 10})
    until(lambda: len(bench.starts()) >= 10, why=child.errors)
    canceller = bench.spawn("client", cancel=[instance_id])
    canceller.await_note("cancelled")
    time.sleep(delay_ms / 1000)
    child.kill()
    bench.drain()
    assert bench.states() == {instance_id: "cancelled"}
    report = bench.judge()
    assert report.evaluations["I12"] == 1


def test_a_cancel_from_another_process_reaches_running_executors(bench: Bench) -> None:
    (instance_id,) = bench.start(lab.fan(30, ms=60_000))
    child = bench.spawn("hold", engine={"slots": 10})
    until(lambda: len(bench.starts()) >= 10, why=child.errors)
    bench.spawn("client", cancel=[instance_id]).await_note("cancelled")
    until(lambda: _ended(bench), 10, why=lambda: f"the end\n{bench.unfinished()}")
    assert bench.states() == {instance_id: "cancelled"}
    child.kill()
    bench.judge()


@pytest.mark.row("X-29")
def test_an_engine_that_lost_its_lease_stops_its_executors(pg_bench: Bench) -> None:
    """The task is taken over while the paused engine still waits in its executor: on waking it is told to stop."""
    opened = pg_bench.folder / "opened"
    gate = lab.definition("gate", {"wait": {"run": "lab.gate", "with": {"file": str(opened)}}})
    first = pg_bench.spawn("hold", start=[{"definition": gate}], engine=SHORT)
    old = first.await_note("up")["engine"]
    until(lambda: pg_bench.starts("wait"), why="the executor")
    pg_bench.spawn("hold", engine=SHORT).await_note("up")
    first.send(signal.SIGSTOP)
    until(lambda: len(pg_bench.starts("wait")) == 2, 15, why="the take-over")
    stopped = [e for e in pg_bench.effects() if e.event == "end" and e.engine == old]
    first.send(signal.SIGCONT)
    until(
        lambda: [e for e in pg_bench.effects() if e.event == "end" and e.engine == old],
        5,
        why=lambda: f"the old executor's end\n{first.errors()}",
    )
    assert not stopped
    opened.touch()
    until(lambda: set(pg_bench.states().values()) == {"completed"}, why="the end")
    pg_bench.nursery.end_children()
    report = pg_bench.judge()
    assert (
        report.evaluations["overlaps"] == 1
    )  # the lost lease, and nothing else, let two of them run side by side


def _ended(bench: Bench) -> bool:
    return set(bench.states().values()) <= {"completed", "failed", "cancelled"}
