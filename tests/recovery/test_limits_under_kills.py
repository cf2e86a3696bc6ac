"""Limits hold at every moment of the history however engines die, and nothing that was held stays held (I14)."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from strataflow.repositories import control_store
from strataflow.repositories.database import Database
from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import Child, Nursery

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

SEED = int(os.environ.get("STRATAFLOW_TEST_SEED", random.SystemRandom().randrange(1 << 30)))
SECONDS = float(os.environ.get("STRATAFLOW_KILL_S", "5"))
#: So often somebody dies, unless all is done before.
KILLS = int(2 * SECONDS)
#: Set by a person; the definition says the others.
SIZES = {"*": 6, "executor:lab.work": 5, "queue:slow": 2, "pool:gpu": 4}
#: Heavier than 1, by node of the definition below.
GPU = {"light": 1, "heavy": 3, "half": 2}


def _work(ms: int, **more: Any) -> dict[str, Any]:
    return {"run": "lab.work", "with": {"ms": ms}, **more}


def _many(count: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"map": list(range(count)), "as": "n", "do": body}


def _pressed() -> dict[str, Any]:
    """One run that uses every kind of limit, some of them crossed."""
    pools = {name: _many(4, _work(40, limits={"pools": {"gpu": weight}})) for name, weight in GPU.items()}
    return lab.definition(
        "pressed",
        {
            "keyed": _many(12, _work(30, limits={"key": "{{ ['a', 'b', 'c'][n % 3] }}", "concurrency": 2})),
            **pools,
            "one": _many(5, _work(20, limits={"mutex": ["x", "y"]})),
            "other": _many(5, _work(20, limits={"mutex": ["y", "x"], "group": "bank", "concurrency": 1})),
            "third": _many(
                5, {"run": "lab.sync", "with": {"ms": 10}, "limits": {"group": "bank", "concurrency": 1}}
            ),
            "slow": _many(6, _work(10, queue="slow")),
            "plain": _many(10, _work(5)),
        },
        limits={"concurrency": 5},
        output="{{ nodes.keyed.stats.completed }}",
    )


def _storm(bench: Bench, workers: int) -> int:
    """Kill one of the workers at work again and again; who is down is replaced at once. Gives the number of kills."""
    rng, kills = random.Random(SEED), 0
    team: list[Child | None] = [None] * workers
    ended = time.monotonic() + 4 * SECONDS
    while kills < KILLS and time.monotonic() < ended and set(bench.states().values()) != {"completed"}:
        for place, worker in enumerate(team):
            if worker is None or not worker.alive:
                team[place] = bench.spawn("hold", engine={"slots": 16})
        victim = team[rng.randrange(workers)]
        known = {note["engine"] for note in victim.notes("up")} if victim is not None else set[str]()
        if victim is not None and any(effect.engine in known for effect in bench.starts()):
            time.sleep(rng.uniform(0.0, 0.15))
            victim.kill()
            kills += 1
        time.sleep(0.01)
    return kills


def _never_exceeded(bench: Bench) -> dict[str, int]:
    """Fold the journal in the order of its numbers; give the most that was held at once of each that a person set."""
    rows = bench.rows(
        "SELECT j.seq, j.path, j.from_state, j.to_state, j.instance_id, t.executor, t.queue FROM journal j "
        "JOIN tasks t ON t.instance_id = j.instance_id AND t.path = j.path "
        "WHERE t.executor IS NOT NULL AND j.attempt > 0 ORDER BY j.seq"
    )
    inside, most = Counter[str](), Counter[str]()
    running: set[tuple[str, str]] = set()
    for _, path, from_state, to_state, instance_id, executor, queue in rows:
        names = Counter({"*": 1, f"executor:{executor}": 1, f"queue:{queue}": 1})
        names["pool:gpu"] = GPU.get(path.partition("[")[0], 0)
        task = (str(instance_id), path)
        if to_state == "running" and task not in running:
            running.add(task)
            inside.update(names)
        elif from_state == "running" and task in running:
            running.remove(task)
            inside.subtract(names)
        most |= inside
    assert not running
    return {name: most[name] for name in SIZES}


def _run(bench: Bench, workers: int) -> None:
    print(f"seed {SEED}")
    database = Database(bench.url)
    for name, size in SIZES.items():
        control_store.set_limit(database, name, concurrency=size)
    database.close()
    bench.start(*[_pressed()] * 3, lab.fan(60, ms=20, executor="lab.sync"))
    kills = _storm(bench, workers)
    bench.drain(engine={"slots": 16})
    ((lost,),) = bench.rows(
        "SELECT count(*) FROM journal WHERE from_state = 'running' AND reason LIKE '%is gone'"
    )
    print(f"{kills} kills, {lost} attempts were lost with their engines")
    assert kills > 5
    assert lost > 10
    assert set(bench.states().values()) == {"completed"}
    held = bench.rows("SELECT name, used, waiting FROM limits WHERE used <> 0 OR waiting <> 0")
    assert held == []
    left = bench.rows(
        "SELECT path, holds, blocked_on FROM tasks WHERE holds IS NOT NULL OR blocked_on IS NOT NULL"
    )
    assert left == []
    most = _never_exceeded(bench)
    print(json.dumps(most))
    assert all(0 < most[name] <= size for name, size in SIZES.items()), most
    report = bench.judge()
    assert report.evaluations["I14"] > 5


@pytest.mark.row("A-25", "X-24")
def test_limits_hold_while_two_engines_are_killed(pg_bench: Bench) -> None:
    _run(pg_bench, 2)


@pytest.mark.row("A-25", "X-24")
def test_limits_hold_while_one_engine_after_the_other_is_killed(
    nursery: Nursery, migrated_sqlite_url: str, tmp_path: Path
) -> None:
    try:
        _run(Bench(nursery, migrated_sqlite_url, tmp_path), 1)
    finally:
        nursery.end_children()
