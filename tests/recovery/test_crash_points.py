"""T1: the process dies at statement k of a fixed workload, for k = 1, 2, …; whatever k was, a fresh process finishes.

Four variants of each k: before the statement, after it, before the COMMIT that follows it, and after that COMMIT but
before anybody is told. CI takes a sample that is spread over the whole run; `STRATAFLOW_CRASH=full` takes every k of
every variant until a run completes without meeting its fault.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.checker import Report
from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.faults import WHENS
from tests.recovery.nursery import Child, Nursery, until

FULL = os.environ.get("STRATAFLOW_CRASH") == "full"
SAMPLES = int(os.environ.get("STRATAFLOW_CRASH_SAMPLES", "8"))
SEED = int(os.environ.get("STRATAFLOW_TEST_SEED", random.SystemRandom().randrange(1 << 30)))

pytestmark = [pytest.mark.crash, pytest.mark.timeout(7200 if FULL else 180)]


def _work(bench: Bench, **spec: object) -> Child:
    """Run the workload once; the child ends by itself or by its fault."""
    child = bench.spawn("drain", start=[{"definition": lab.MIX, "key": "k"}], **spec)
    until(
        lambda: not child.alive, 60, why=lambda: f"death or the end\n{bench.unfinished()}\n{child.errors()}"
    )
    return child


def _statements(bench: Bench) -> int:
    """How many statements a run without a fault has."""
    child = _work(bench, fault={"nth": 1_000_000, "when": "before"})
    return child.notes("fault")[0]["reached"]


def _finish(bench: Bench) -> Report:
    """Ask again with the same key, as a caller without an answer would; then everything must hold."""
    bench.drain(start=[{"definition": lab.MIX, "key": "k"}])
    (instance_id,) = bench.states()
    assert bench.states() == {instance_id: "completed"}
    assert bench.output(instance_id) == lab.MIX_OUTPUT
    return bench.judge()


def _one_point(bench: Bench, nth: int, when: str) -> bool:
    """Die there and recover; False when the run ended before it came to that point."""
    child = _work(bench, fault={"nth": nth, "when": when})
    struck = not child.notes("ended")
    _finish(bench)
    return struck


@pytest.mark.row("X-26", "X-06")
@pytest.mark.parametrize("when", WHENS)
def test_crash_at_any_statement(
    bench: Bench, nursery: Nursery, when: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(f"{SEED}/{when}")
    total = _statements(bench)
    print(f"seed {SEED}: about {total} statements, variant {when}")
    points = range(1, 100_000) if FULL else sorted(rng.sample(range(1, total + 1), SAMPLES))
    struck, missed, begun = 0, 0, time.monotonic()
    for nth in points:
        fresh = Bench(nursery, bench.emptied(), tmp_path_factory.mktemp("point"))
        try:
            hit = _one_point(fresh, nth, when)
        except AssertionError as error:
            raise AssertionError(f"crash point {nth} ({when}), seed {SEED}: {error}") from error
        finally:
            nursery.end_children()
        struck += hit
        missed += not hit
        if FULL and missed >= 3:  # the number of statements varies a little from run to run
            break
    print(f"{struck} crashes, {missed} runs that ended before their fault, {time.monotonic() - begun:.1f} s")
    assert struck >= (SAMPLES // 2 if not FULL else total // 2)


@pytest.mark.row("X-26")
def test_crash_during_recovery(bench: Bench) -> None:
    """T2, sampled: the process that recovers dies too, again and again, at a later statement each time."""
    rng = random.Random(f"{SEED}/nested")
    print(f"seed {SEED}")
    _work(bench, fault={"nth": 12, "when": "after_commit"})
    deaths = 0
    for nth in (1, 2, 3, 5, 8, 13):
        child = bench.spawn("drain", fault={"nth": nth, "when": WHENS[0] if nth < 4 else rng.choice(WHENS)})
        until(lambda c=child: not c.alive, 60, why=lambda c=child: f"death or the end\n{c.errors()}")
        deaths += not child.notes("ended")
    print(f"{deaths} processes died while they recovered")
    assert deaths >= 2
    _finish(bench)
