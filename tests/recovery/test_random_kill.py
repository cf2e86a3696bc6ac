"""T4, short: several workers on one database, one of them killed or paused every 50 to 200 ms, for a while.

`STRATAFLOW_KILL_S` makes it longer. A run without a fault in an interesting moment proves nothing, so the moments that
were hit are counted: leases that ran out, transactions cut between fence and commit, executions cut, writes refused.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

import pytest

from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import Child, Nursery, until

SECONDS = float(os.environ.get("STRATAFLOW_KILL_S", "12"))
SEED = int(os.environ.get("STRATAFLOW_TEST_SEED", random.SystemRandom().randrange(1 << 30)))

pytestmark = [pytest.mark.crash, pytest.mark.timeout(SECONDS * 4 + 200)]

#: Half of the workers pretend to be on another machine: their death shows only when their lease is over.
LEASE = {"ttl_s": 1.2, "margin_s": 0.3, "slots": 8}


class Storm:
    """Workers, what was done to them, and what that hit."""

    def __init__(self, bench: Bench, workers: int, *, pauses: bool) -> None:
        self.bench = bench
        self.rng = random.Random(SEED)
        self.pauses = pauses
        self.count = Counter[str]()
        self.workers: list[Child | None] = [None] * workers
        self.paused: dict[int, float] = {}

    def respawn(self, place: int) -> None:
        elsewhere = self.pauses and place % 2 == 1
        self.workers[place] = self.bench.spawn("hold", engine=LEASE, elsewhere=elsewhere)

    def blow(self, seconds: float) -> None:
        """Kill or pause one after the other; whoever is down is replaced at once."""
        ended = time.monotonic() + seconds
        while time.monotonic() < ended:
            for place in range(len(self.workers)):
                worker = self.workers[place]
                if worker is None or not worker.alive:
                    self.respawn(place)
            self._wake(time.monotonic())
            place = self.rng.randrange(len(self.workers))
            worker = self.workers[place]
            assert worker is not None
            if self.pauses and place not in self.paused and self.rng.random() < 0.25:
                worker.send(signal.SIGSTOP)
                self.paused[place] = time.monotonic() + self.rng.uniform(0.2, 3.0)
                self.count["pauses"] += 1
            elif worker.notes("up"):
                worker.kill()
                self.paused.pop(place, None)
                self.count["kills"] += 1
            time.sleep(self.rng.uniform(0.05, 0.2))
        self._wake(float("inf"))

    def _wake(self, now: float) -> None:
        for place, until_ in list(self.paused.items()):
            if until_ <= now:
                worker = self.workers[place]
                assert worker is not None
                worker.send(signal.SIGCONT)
                del self.paused[place]

    def windows(self) -> Counter[str]:
        """What the faults hit, as the database and the effect log tell."""
        found = Counter(self.count)
        rows = self.bench.rows("SELECT reason, to_state FROM journal WHERE from_state = 'running'")
        found["attempts lost"] = sum(
            1 for reason, state in rows if state == "queued" and reason.endswith("is gone")
        )
        found["attempts released"] = sum(1 for reason, _ in rows if "never heard" in reason)
        found["engines declared dead"] = self.bench.rows("SELECT count(*) FROM engines WHERE state = 'dead'")[
            0
        ][0]
        found["executions cut"] = sum(1 if e.event == "start" else -1 for e in self.bench.effects())
        found["came back under a new id"] = sum(len(child.notes("renewed")) for child in self.bench.children)
        return found


def _load(bench: Bench, rng: random.Random) -> None:
    flows = [lab.MIX, lab.fan(rng.randrange(50, 300), ms=5), lab.fan(40, ms=10, executor="lab.sync")]
    bench.start(*[flow for flow in flows for _ in range(4)])


def _storm(bench: Bench, workers: int, *, pauses: bool) -> None:
    print(f"seed {SEED}")
    storm = Storm(bench, workers, pauses=pauses)
    ended, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < ended:
        if list(bench.states().values()).count("completed") + 12 > len(
            bench.states()
        ):  # enough, and never a backlog
            _load(bench, storm.rng)
            rounds += 1
        storm.blow(min(2.0, max(0.5, ended - time.monotonic())))
    # The tail: when the faults stop, everything ends, and soon.
    stopped = time.monotonic()
    for place, worker in enumerate(storm.workers):
        if worker is None or not worker.alive:
            storm.respawn(place)
    done = {"completed", "failed", "cancelled"}
    until(
        lambda: set(bench.states().values()) <= done,
        60,
        pause_s=0.1,
        why=lambda: f"the end, seed {SEED}\n{bench.unfinished()}",
    )
    tail = time.monotonic() - stopped
    bench.nursery.end_children()
    report = bench.judge()
    # A task that five engines died under is poison by rule; in a storm that can strike an innocent one.
    failed = [state for state in bench.states().values() if state != "completed"]
    errors = [
        row[0]
        for row in bench.rows("SELECT error FROM tasks WHERE state = 'failed' AND executor IS NOT NULL")
    ]
    assert all('"crashed"' in error for error in errors)
    print(
        f"{len(bench.states())} runs in {rounds} rounds, {len(failed)} given up as crashed, tail {tail:.1f} s"
    )
    print(dict(storm.windows()), f"overlaps {report.evaluations['overlaps']}")
    print(report)
    assert storm.count["kills"] > SECONDS


@pytest.mark.row("X-26", "X-28")
def test_random_kills_on_postgres(pg_bench: Bench) -> None:
    _storm(pg_bench, 3, pauses=True)


@pytest.mark.row("X-26")
def test_random_kills_on_sqlite(
    nursery: Nursery, migrated_sqlite_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = Bench(nursery, migrated_sqlite_url, tmp_path_factory.mktemp("storm"))
    try:
        _storm(bench, 2, pauses=False)
    finally:
        nursery.end_children()
