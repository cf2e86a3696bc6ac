"""Read models on both databases: what comes back, in which order, and that pages neither repeat nor skip."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert

from strataflow.repositories import engines, views
from strataflow.repositories.database import Database
from strataflow.repositories.engines import EngineRow
from strataflow.repositories.errors import BadRow, RepositoryError
from strataflow.repositories.readmodels import PrefixAmbiguous, PrefixUnknown
from strataflow.repositories.records import EngineRole, InstanceState, TaskState
from strataflow.repositories.tables import (
    BLOBS,
    CHECKPOINTS,
    INSTANCES,
    JOURNAL,
    KEYS,
    LOGS,
    PROGRESS,
    TASKS,
    VARS,
)

TTL = 30_000_000
#: Ids in the order of their numbers, as UUIDv7 gives them.
IDS = [f"018f0000-0000-7000-8000-{n:012d}" for n in range(10)]
ENDED = {"completed", "failed", "skipped", "cancelled", "expired"}


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()


def _insert(database: Database, table: Any, *rows: dict[str, Any]) -> None:
    with database.write() as connection:
        for row in rows:
            connection.execute(insert(table).values(**row))


def _instance(number: int, state: str = "running", **values: Any) -> dict[str, Any]:
    ended = {"ended_at": 99} if state in ENDED else {}
    base = {"id": IDS[number], "definition_id": IDS[0], "name": "flow", "version": 1, "created_at": number}
    return base | {"state": state} | ended | values


def _task(number: int, path: str, state: str = "waiting", **values: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {"ended_at": 99} if state in ENDED else {}
    if state == "queued":
        shape["ready_at"] = 5
    if state == "failed":
        shape["error"] = "{}"
    scope = None if path == "" else ""
    return {"instance_id": IDS[number], "path": path, "scope": scope, "state": state} | shape | values


def _engine(database: Database, ttl: int = TTL) -> str:
    engine = EngineRow(str(uuid.uuid4()), EngineRole.ENGINE, "here", 1, "1", executors=("a.x",), slots=2)
    engines.register(database, engine, ttl)
    return engine.id


# --- instances -------------------------------------------------------------------------------------------------------


def test_an_instance_comes_with_its_payloads_and_the_root_s_result(database: Database) -> None:
    _insert(database, INSTANCES, _instance(1, "failed", key="k", inputs="{}", reason="why", started_at=2))
    _insert(database, TASKS, _task(1, "", "failed", error='{"code":"x"}', output_ref="@leaves"))
    with database.read() as connection:
        found = views.instance(connection, IDS[1])
    assert found is not None
    assert (found.id, found.name, found.version, found.key) == (IDS[1], "flow", 1, "k")
    assert found.state is InstanceState.FAILED
    assert (found.inputs, found.output, found.output_ref) == ("{}", None, "@leaves")
    assert (found.error, found.reason) == ('{"code":"x"}', "why")
    assert (found.created_at, found.started_at, found.ended_at) == (1, 2, 99)


@pytest.mark.parametrize("unknown", [IDS[2], "no id", "", "018f", "é"])
def test_an_unknown_id_gives_nothing(database: Database, unknown: str) -> None:
    _insert(database, INSTANCES, _instance(1))
    with database.read() as connection:
        assert views.instance(connection, unknown) is None
        assert views.task(connection, unknown, "a") is None
        assert views.tasks(connection, unknown) == []
        assert views.counts(connection, unknown) == {}
        assert views.history(connection, unknown) == []
        assert views.engine(connection, unknown) is None
        assert views.running_of(connection, unknown) == []
        assert views.blob(connection, unknown, "x") is None


def test_an_id_is_found_however_it_is_written(database: Database) -> None:
    _insert(database, INSTANCES, _instance(1))
    with database.read() as connection:
        found = views.instance(connection, IDS[1].upper().replace("-", ""))
    assert found is not None
    assert found.id == IDS[1]


def test_a_start_key_leads_to_its_instance(database: Database) -> None:
    _insert(database, INSTANCES, _instance(1, key="k"), _instance(2))
    _insert(database, KEYS, {"name": "flow", "key": "k", "instance_id": IDS[1]})
    with database.read() as connection:
        found = views.instance_by_key(connection, "flow", "k")
        assert found is not None
        assert found.id == IDS[1]
        assert views.instance_by_key(connection, "flow", "other") is None
        assert views.instance_by_key(connection, "other", "k") is None


def test_a_prefix_is_resolved_when_it_is_unique(database: Database) -> None:
    other = "ff8f0000-0000-7000-8000-000000000000"
    _insert(database, INSTANCES, _instance(1), _instance(2), _instance(3, id=other))
    with database.read() as connection:
        assert views.find_instance(connection, "ff8").id == other
        assert views.find_instance(connection, "FF8F0000-00").id == other
        assert views.find_instance(connection, IDS[2]).id == IDS[2]
        assert [found.id for found in views.find_instances(connection, "018f")] == [IDS[2], IDS[1]]
        assert [found.id for found in views.find_instances(connection, "", 5)] == []
        for unknown in ("01ee", "xyz", "", "%", f"{IDS[1]}0"):
            with pytest.raises(PrefixUnknown):
                views.find_instance(connection, unknown)
        with pytest.raises(PrefixAmbiguous) as caught:
            views.find_instance(connection, "018f")
    assert caught.value.candidates == (IDS[2], IDS[1])


def test_instances_come_newest_first_in_pages_that_meet(database: Database) -> None:
    rows = [_instance(n, created_at=n // 2, name="even" if n % 2 == 0 else "odd") for n in range(7)]
    rows[3] |= {"state": "completed", "ended_at": 9}
    _insert(database, INSTANCES, *rows)
    with database.read() as connection:
        seen, before = list[str](), None
        while page := views.instances(connection, limit=2, before=before):
            seen += [row.id for row in page]
            before = page[-1].cursor
        assert seen == [IDS[n] for n in (6, 5, 4, 3, 2, 1, 0)]
        assert [row.id for row in views.instances(connection, name="odd")] == [IDS[5], IDS[3], IDS[1]]
        done = views.instances(connection, state=InstanceState.COMPLETED)
        assert [(row.id, row.state) for row in done] == [(IDS[3], InstanceState.COMPLETED)]
        assert views.unfinished_count(connection) == 6


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_tasks_come_in_byte_order_of_their_paths(database: Database) -> None:
    _insert(database, INSTANCES, _instance(1))
    paths = ["", "B", "a", "a.x", "a[0]", "a[10]", "a[2]", "b", "é"]
    _insert(database, TASKS, *[_task(1, path) for path in reversed(paths)], _task(2, "a"))
    with database.read() as connection:
        seen, after = list[str](), None
        while page := views.tasks(connection, IDS[1], limit=4, after=after):
            seen += [row.path for row in page]
            after = page[-1].path
    assert seen == paths == sorted(paths, key=str.encode)


def test_tasks_can_be_picked_by_state_and_scope(database: Database) -> None:
    _insert(
        database, TASKS, _task(1, "", total=3), _task(1, "a", "queued"), _task(1, "a.b", "queued", scope="a")
    )
    with database.read() as connection:
        assert [t.path for t in views.tasks(connection, IDS[1], state=TaskState.QUEUED)] == ["a", "a.b"]
        assert [t.path for t in views.tasks(connection, IDS[1], scope="a")] == ["a.b"]
        found = views.task(connection, IDS[1], "")
        assert found is not None
        assert (found.scope, found.state, found.total) == (None, TaskState.WAITING, 3)
        assert views.counts(connection, IDS[1]) == {TaskState.WAITING: 1, TaskState.QUEUED: 2}


def test_many_tasks_are_read_by_key(database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            insert(TASKS), [_task(1, f"m[{n}]", "completed", output=str(n)) for n in range(1500)]
        )
    with database.read() as connection:
        wanted = [f"m[{n}]" for n in range(1499, -1, -1)] + ["m[1500]", "m[7]"]
        found = views.task_values(connection, IDS[1], wanted)
        assert len(found) == 1500
        assert found["m[7]"].output == "7"
        assert views.task_values(connection, IDS[1], []) == {}
        page = views.items(connection, IDS[1], "m", 1498, 1502)
        assert [None if row is None else row.output for row in page] == ["1498", "1499", None, None]
        assert views.items(connection, IDS[1], "m", 3, 3) == []


# --- what an instance keeps beside its tasks -------------------------------------------------------------------------


def test_history_is_oldest_first_by_number(database: Database) -> None:
    row = {"instance_id": IDS[1], "path": "a", "to_state": "queued", "reason": "r", "at": 9}
    rows = [row | {"seq": 5}, row | {"seq": 2, "path": None}, row | {"seq": 11}]
    _insert(database, JOURNAL, *rows, rows[0] | {"instance_id": IDS[2], "from_state": "pending", "gen": 1})
    with database.read() as connection:
        assert [(row.seq, row.path) for row in views.history(connection, IDS[1])] == [
            (2, None),
            (5, "a"),
            (11, "a"),
        ]
        assert [row.seq for row in views.history(connection, IDS[1], 1, after=2)] == [5]
        (row,) = views.history(connection, IDS[2])
        assert (row.from_state, row.to_state, row.gen, row.attempt) == ("pending", "queued", 1, 0)
        assert (row.reason, row.at, row.engine) == ("r", 9, None)


def test_logs_can_be_followed_and_picked(database: Database) -> None:
    levels = ["debug", "info", "warning", "error"]
    rows = [
        {
            "instance_id": IDS[1],
            "seq": n,
            "path": "ab"[n % 2],
            "attempt": 1,
            "at": n,
            "level": level,
            "message": level,
        }
        for n, level in enumerate(levels, start=1)
    ]
    _insert(database, LOGS, *rows)
    with database.read() as connection:
        assert [line.message for line in views.logs(connection, IDS[1])] == levels
        assert [line.seq for line in views.logs(connection, IDS[1], level="warning")] == [3, 4]
        assert [line.seq for line in views.logs(connection, IDS[1], path="a", after=2)] == [4]
        assert [line.seq for line in views.logs(connection, IDS[1], limit=1)] == [1]
        with pytest.raises(ValueError, match="loud"):
            views.logs(connection, IDS[1], level="loud")


def test_progress_payloads_variables_and_checkpoints_come_back(database: Database) -> None:
    key = {"instance_id": IDS[1], "path": "a", "attempt": 2, "at": 3}
    _insert(database, PROGRESS, key | {"fraction": 0.5, "message": None}, key | {"path": "b", "fraction": 1})
    _insert(database, CHECKPOINTS, key | {"value": "[1]"})
    _insert(database, BLOBS, *[{"instance_id": IDS[1], "key": k, "body": k * 2} for k in ("x", "y")])
    _insert(database, VARS, {"instance_id": IDS[1], "scope": "", "name": "v", "gen": 1, "value": "7"})
    with database.read() as connection:
        assert [(p.path, p.fraction, p.message) for p in views.progress(connection, IDS[1])] == [
            ("a", 0.5, None),
            ("b", 1.0, None),
        ]
        assert [p.path for p in views.progress(connection, IDS[1], after="a")] == ["b"]
        saved = views.checkpoint(connection, IDS[1], "a")
        assert saved is not None
        assert (saved.value, saved.attempt, saved.at) == ("[1]", 2, 3)
        assert views.checkpoint(connection, IDS[1], "b") is None
        assert views.blob(connection, IDS[1], "x") == "xx"
        assert views.blob(connection, IDS[2], "x") is None
        assert views.blobs(connection, IDS[1], ["y", "z", "x"]) == {"x": "xx", "y": "yy"}
        found = views.vars(connection, IDS[1], "", ["v", "w"])
        assert (list(found), found["v"].value, found["v"].gen) == (["v"], "7", 1)
        assert views.vars(connection, IDS[1], "other", ["v"]) == {}


# --- engines, queues, held tasks -------------------------------------------------------------------------------------


def test_engines_are_listed_with_what_they_say(database: Database) -> None:
    first, second = _engine(database), _engine(database, -1)
    engines.stop(database, first)
    third = _engine(database)
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
    alive, dead = _engine(database), _engine(database)
    engines.mark_dead(database, dead)
    _insert(database, INSTANCES, *[_instance(n) for n in (1, 2, 3)], _instance(4, "paused"))
    _insert(database, INSTANCES, _instance(5, "completed"))
    holders = {(1, "a"): dead, (1, "b"): alive, (2, "a"): dead, (2, "c"): str(uuid.uuid4()), (4, "z"): dead}
    for (number, path), holder in holders.items():
        _insert(database, TASKS, _task(number, path, "running", engine=holder, attempt=3, started_at=7))
    _insert(database, TASKS, _task(1, "q", "queued"), _task(3, "", "waiting"))
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
        _insert(database, TASKS, _task(number, "t", "queued", queue=queue, ready_at=10 - number))
    _insert(database, TASKS, _task(5, "t", "waiting", queue="idle"))
    with database.read() as connection:
        assert views.queues_ready(connection) == ["a", "b", "c"]
        found = [(d.queue, d.ready, d.oldest_ready_at) for d in views.queue_depths(connection)]
        assert found == [("a", 1, 9), ("b", 2, 8), ("c", 1, 7)]


def test_ready_tasks_that_nobody_can_run_are_named(database: Database) -> None:
    rows = [("a.x", 5), ("b.y", 7), ("c.z", 6), (None, 1), ("c.z", 50)]
    for number, (executor, ready) in enumerate(rows):
        _insert(database, TASKS, _task(number, "t", "queued", executor=executor, ready_at=ready))
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
    _insert(database, TASKS, _task(1, "a", "retrying", wake_at=9), _task(1, "b", "retrying", wake_at=4))
    with database.read() as connection:
        assert views.next_wake(connection) == 4


# --- the connection --------------------------------------------------------------------------------------------------


def test_views_cannot_write(database: Database) -> None:
    with pytest.raises(RepositoryError), database.read() as connection:
        connection.execute(insert(INSTANCES).values(**_instance(1)))
    with database.read() as connection:
        assert views.instances(connection) == []


def test_a_failing_write_leaves_nothing_and_frees_the_file(database: Database) -> None:
    with pytest.raises(RepositoryError):
        _insert(database, INSTANCES, _instance(1), _instance(1))
    _insert(database, INSTANCES, _instance(2))
    with database.read() as connection:
        assert [row.id for row in views.instances(connection)] == [IDS[2]]


def test_driver_errors_become_this_layer_s(database: Database) -> None:
    with pytest.raises(BadRow):
        _insert(database, TASKS, _task(1, "a", "nonsense"))


def test_a_caller_s_own_error_passes_unchanged_and_undoes_the_write(database: Database) -> None:
    with pytest.raises(KeyError), database.write() as connection:
        raise KeyError(connection.execute(insert(INSTANCES).values(**_instance(1))))
    with database.read() as connection:
        assert views.instances(connection) == []
