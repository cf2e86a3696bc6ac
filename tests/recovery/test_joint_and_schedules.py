"""`ctx.transaction()` and schedules under kill -9: own rows exist once or not at all, each instant starts once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from strataflow import EngineConfig, WorkflowEngine
from strataflow.engine.schedules import derived_id
from strataflow.repositories import schedule_store, views
from strataflow.services.schedules import SchedulerService, ScheduleSpec
from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.nursery import until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

SEED = int(os.environ.get("STRATAFLOW_TEST_SEED", random.SystemRandom().randrange(1 << 30)))
EXECUTORS = Path(__file__).with_name("joint_executors.py")
KILLED = -9


def _worker(bench: Bench) -> int:
    """A process of its own, as a user runs it; gives its exit code."""
    command = [
        sys.executable,
        "-m",
        "strataflow",
        "worker",
        "--drain",
        "--db",
        bench.url,
        "--import",
        str(EXECUTORS),
    ]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.long("sqlite")
@pytest.mark.row("X-26")
@pytest.mark.parametrize(("dies", "attempt"), [("inside", 2), ("commit", 2), ("after", 1)])
def test_own_sql_is_there_once_exactly_when_its_task_completed(bench: Bench, dies: str, attempt: int) -> None:
    engine = create_engine(bench.url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE payments (id TEXT, attempt INTEGER)"))
    engine.dispose()
    nodes: dict[str, Any] = {
        "pay": {"run": "joint.pay", "with": {"dies": dies}},
        "last": {"run": "core.noop", "with": {"attempt": "{{ nodes.pay.output.attempt }}"}},
    }
    (instance_id,) = bench.start(lab.definition("pays", nodes, output="{{ nodes.last.output.attempt }}"))
    assert _worker(bench) == KILLED
    rows = "SELECT id, attempt FROM payments"
    states = "SELECT state FROM tasks WHERE path = 'pay'"
    paid = [(instance_id, 1)] if attempt == 1 else []
    assert [(str(row[0]), row[1]) for row in bench.rows(rows)] == paid
    assert bench.rows(states) == [("completed" if paid else "running",)]
    assert _worker(bench) == 0
    assert bench.states() == {instance_id: "completed"}
    assert bench.output(instance_id) == attempt
    assert [(str(row[0]), row[1]) for row in bench.rows(rows)] == [(instance_id, attempt)]
    bench.judge()


@contextmanager
def _schedules(bench: Bench) -> Iterator[tuple[WorkflowEngine, SchedulerService]]:
    with WorkflowEngine(bench.url, config=EngineConfig(executes=False)) as client:
        catalog = client.parts.catalog
        catalog.register(lab.definition("tick", {"a": {"run": "core.noop", "with": {}}}), activate=True)
        yield client, SchedulerService(client.database, catalog, client)


def _rewind(client: WorkflowEngine, name: str, seconds: int) -> tuple[int, int]:
    """Let a schedule have slept for a while; gives the range that is to be caught up."""
    with client.database.write() as connection:
        row = schedule_store.lock_schedule(connection, name)
        assert row is not None
        now = schedule_store.now_of(connection)
        since = (now // 1_000_000 - seconds) * 1_000_000
        schedule_store.change_schedule(connection, row.id, fired_until=since, next_at=since + 1_000_000)
    return since, now


@pytest.mark.long("sqlite")
@pytest.mark.row("X-35", "X-26", "M-29")
def test_each_instant_starts_once_however_engines_die(bench: Bench) -> None:
    """Ten schedules fall due every second while engines are killed; what was missed is caught up (`all`)."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    on_postgres = bench.url.startswith("postgresql")
    names = [f"s{n}" for n in range(10)]
    with _schedules(bench) as (client, schedules):
        for name in names:
            schedules.create(ScheduleSpec(name, "tick", every_s=1, misfire="all", catch_up=1000))
        began = {name: _rewind(client, name, 20)[0] for name in names}
        if on_postgres:
            bench.spawn("hold")
        kills, ended = 0, time.monotonic() + 6
        while time.monotonic() < ended:
            victim = bench.spawn("hold")
            victim.await_note("up")
            time.sleep(rng.uniform(0.0, 0.3))
            victim.kill()
            kills += 1
        with client.database.read() as connection:
            stopped = views.now(connection)
        bench.spawn("hold").await_note("up")
        caught_up = "SELECT count(*) FROM schedules WHERE fired_until < :at"
        until(lambda: bench.rows(caught_up, at=stopped - 1_000_000)[0][0] == 0, 30, why=bench.unfinished)
        for name in names:
            schedules.pause(name)
        told = "SELECT count(*) FROM messages"
        until(lambda: bench.rows(told)[0][0] == 0, 30, why=bench.unfinished)
        until(lambda: set(bench.states().values()) == {"completed"}, 30, why=bench.unfinished)
        expected: set[str] = set()
        for name in names:
            row = schedules.get(name)
            found = schedules.history(name, limit=1000)
            instants = [firing.at for firing in reversed(found)]
            assert instants == list(range(began[name] + 1_000_000, row.fired_until + 1, 1_000_000))
            assert {firing.outcome for firing in found} == {"started"}
            assert row.runs == len(found) >= 20
            expected |= {derived_id("schedule", row.id, at) for at in instants}
    print(f"{kills} kills, {len(expected)} instants")
    assert kills > 5
    assert set(bench.states()) == expected
    assert len(bench.rows("SELECT id FROM instances")) == len(expected)
    bench.nursery.end_children()
    bench.judge()
