"""Read models of engines, queues and held tasks, on both databases."""

from __future__ import annotations

import uuid
from typing import Any

from strataflow.repositories import engines, views
from strataflow.repositories.database import Database
from strataflow.repositories.records import EngineRole
from strataflow.repositories.tables import (
    INSTANCES,
    TASKS,
)
from tests.support.tables import IDS, engine, insert, instance, task

# --- engines, queues, held tasks -------------------------------------------------------------------------------------


def test_engines_are_listed_with_what_they_say(database: Database) -> None:
    first, second = engine(database), engine(database, -1)
    engines.stop(database, first)
    third = engine(database)
    with database.read() as connection:
        assert {e.id for e in views.engines(connection)} == {first, second, third}
        assert {e.id for e in views.engines(connection, alive_only=True)} == {second, third}
        found = views.engine(connection, second)
        assert found is not None
        assert (found.executors, found.slots, found.role) == (("a.x",), 2, EngineRole.ENGINE)
        assert found.lease_until < views.now(connection)
        assert [e.id for e in views.dead_candidates(connection, third)] == [second]
        assert [e.id for e in views.dead_candidates(connection, second)] == [third]


def _held(database: Database) -> tuple[str, str]:
    alive, dead = engine(database), engine(database)
    engines.mark_dead(database, dead)
    insert(database, INSTANCES, *[instance(n) for n in (1, 2, 3)], instance(4, "paused"))
    insert(database, INSTANCES, instance(5, "completed"))
    holders = {(1, "a"): dead, (1, "b"): alive, (2, "a"): dead, (2, "c"): str(uuid.uuid4()), (4, "z"): dead}
    for (number, path), holder in holders.items():
        insert(database, TASKS, task(number, path, "running", engine=holder, attempt=3, started_at=7))
    insert(database, TASKS, task(1, "q", "queued"), task(3, "", "waiting"))
    return alive, dead


def test_interrupted_tasks_are_those_whose_engine_does_not_live(database: Database) -> None:
    _, dead = _held(database)
    with database.read() as connection:
        seen, after = list[Any](), None
        while page := views.interrupted(connection, 1, after):
            seen += page
            after = page[-1].cursor
        assert [task.cursor for task in seen] == [(IDS[1], "a"), (IDS[2], "a"), (IDS[2], "c"), (IDS[4], "z")]
        assert (seen[0].attempt, seen[0].engine, seen[0].started_at) == (3, dead, 7)
        assert views.interrupted(connection) == seen


def test_an_engine_s_running_tasks_are_found(database: Database) -> None:
    alive, dead = _held(database)
    with database.read() as connection:
        assert [task.cursor for task in views.running_of(connection, alive)] == [(IDS[1], "b")]
        assert [task.instance_id for task in views.running_of(connection, dead)] == [IDS[1], IDS[2], IDS[4]]
        assert [task.path for task in views.running_of(connection, dead, 5, (IDS[1], "a"))] == ["a", "z"]


def test_ready_queues_and_their_depth(database: Database) -> None:
    with database.read() as connection:
        assert views.queues_ready(connection) == []
        assert views.queue_depths(connection) == []
    for number, queue in enumerate(["b", "a", "b", "c"]):
        insert(database, TASKS, task(number, "t", "queued", queue=queue, ready_at=10 - number))
    insert(database, TASKS, task(5, "t", "waiting", queue="idle"))
    with database.read() as connection:
        assert views.queues_ready(connection) == ["a", "b", "c"]
        found = [(d.queue, d.ready, d.oldest_ready_at) for d in views.queue_depths(connection)]
        assert found == [("a", 1, 9), ("b", 2, 8), ("c", 1, 7)]


def test_ready_tasks_that_nobody_can_run_are_named(database: Database) -> None:
    rows = [("a.x", 5), ("b.y", 7), ("c.z", 6), (None, 1), ("c.z", 50)]
    for number, (executor, ready) in enumerate(rows):
        insert(database, TASKS, task(number, "t", "queued", executor=executor, ready_at=ready))
    with database.read() as connection:
        found = views.unclaimable(connection, {"a.x"}, before=50)
        assert [(t.instance_id, t.executor, t.ready_at) for t in found] == [
            (IDS[2], "c.z", 6),
            (IDS[1], "b.y", 7),
        ]
        assert len(views.unclaimable(connection, [], before=100, limit=10)) == 4
        assert len(views.unclaimable(connection, [], before=100, limit=2)) == 2


def test_the_next_wake_is_the_earliest(database: Database) -> None:
    with database.read() as connection:
        assert views.next_wake(connection) is None
    insert(database, TASKS, task(1, "a", "retrying", wake_at=9), task(1, "b", "retrying", wake_at=4))
    with database.read() as connection:
        assert views.next_wake(connection) == 4
