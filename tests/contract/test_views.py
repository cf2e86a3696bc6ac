"""Read models on both databases: what comes back, in which order, and that pages neither repeat nor skip."""

from __future__ import annotations

import pytest
import sqlalchemy

from strataflow.repositories import views
from strataflow.repositories.database import Database
from strataflow.repositories.errors import BadRow, RepositoryError
from strataflow.repositories.readmodels import PrefixAmbiguous, PrefixUnknown
from strataflow.repositories.records import InstanceState, TaskState
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
from tests.support.tables import IDS, insert, instance, task

# --- instances -------------------------------------------------------------------------------------------------------


def test_an_instance_comes_with_its_payloads_and_the_root_s_result(database: Database) -> None:
    insert(database, INSTANCES, instance(1, "failed", key="k", inputs="{}", reason="why", started_at=2))
    insert(database, TASKS, task(1, "", "failed", error='{"code":"x"}', output_ref="@leaves"))
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
    insert(database, INSTANCES, instance(1))
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
    insert(database, INSTANCES, instance(1))
    with database.read() as connection:
        found = views.instance(connection, IDS[1].upper().replace("-", ""))
    assert found is not None
    assert found.id == IDS[1]


def test_a_start_key_leads_to_its_instance(database: Database) -> None:
    insert(database, INSTANCES, instance(1, key="k"), instance(2))
    insert(database, KEYS, {"name": "flow", "kind": "start", "key": "k", "instance_id": IDS[1]})
    with database.read() as connection:
        found = views.instance_by_key(connection, "flow", "k")
        assert found is not None
        assert found.id == IDS[1]
        assert views.instance_by_key(connection, "flow", "other") is None
        assert views.instance_by_key(connection, "other", "k") is None


def test_a_prefix_is_resolved_when_it_is_unique(database: Database) -> None:
    other = "ff8f0000-0000-7000-8000-000000000000"
    insert(database, INSTANCES, instance(1), instance(2), instance(3, id=other))
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
    rows = [instance(n, created_at=n // 2, name="even" if n % 2 == 0 else "odd") for n in range(7)]
    rows[3] |= {"state": "completed", "ended_at": 9}
    insert(database, INSTANCES, *rows)
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
    insert(database, INSTANCES, instance(1))
    paths = ["", "B", "a", "a.x", "a[0]", "a[10]", "a[2]", "b", "é"]
    insert(database, TASKS, *[task(1, path) for path in reversed(paths)], task(2, "a"))
    with database.read() as connection:
        seen, after = list[str](), None
        while page := views.tasks(connection, IDS[1], limit=4, after=after):
            seen += [row.path for row in page]
            after = page[-1].path
    assert seen == paths == sorted(paths, key=str.encode)


def test_tasks_can_be_picked_by_state_and_scope(database: Database) -> None:
    insert(database, TASKS, task(1, "", total=3), task(1, "a", "queued"), task(1, "a.b", "queued", scope="a"))
    with database.read() as connection:
        assert [t.path for t in views.tasks(connection, IDS[1], state=TaskState.QUEUED)] == ["a", "a.b"]
        assert [t.path for t in views.tasks(connection, IDS[1], scope="a")] == ["a.b"]
        found = views.task(connection, IDS[1], "")
        assert found is not None
        assert (found.scope, found.state, found.total) == (None, TaskState.WAITING, 3)
        assert views.counts(connection, IDS[1]) == {TaskState.WAITING: 1, TaskState.QUEUED: 2}


def test_many_tasks_are_read_by_key(database: Database) -> None:
    insert(database, TASKS, *[task(1, f"m[{n}]", "completed", output=str(n)) for n in range(1500)])
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
    insert(database, JOURNAL, *rows, rows[0] | {"instance_id": IDS[2], "from_state": "pending", "gen": 1})
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
    insert(database, LOGS, *rows)
    with database.read() as connection:
        assert [line.message for line in views.logs(connection, IDS[1])] == levels
        assert [line.seq for line in views.logs(connection, IDS[1], level="warning")] == [3, 4]
        assert [line.seq for line in views.logs(connection, IDS[1], path="a", after=2)] == [4]
        assert [line.seq for line in views.logs(connection, IDS[1], limit=1)] == [1]
        with pytest.raises(ValueError, match="loud"):
            views.logs(connection, IDS[1], level="loud")


def test_progress_payloads_variables_and_checkpoints_come_back(database: Database) -> None:
    key = {"instance_id": IDS[1], "path": "a", "attempt": 2, "at": 3}
    insert(database, PROGRESS, key | {"fraction": 0.5, "message": None}, key | {"path": "b", "fraction": 1})
    insert(database, CHECKPOINTS, key | {"value": "[1]"})
    insert(database, BLOBS, *[{"instance_id": IDS[1], "key": k, "body": k * 2} for k in ("x", "y")])
    insert(
        database,
        VARS,
        {"instance_id": IDS[1], "scope": "", "name": "v", "writer": "s", "rev": 1, "gen": 1, "value": "7"},
    )
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


# --- the connection --------------------------------------------------------------------------------------------------


def test_views_cannot_write(database: Database) -> None:
    with pytest.raises(RepositoryError), database.read() as connection:
        connection.execute(sqlalchemy.insert(INSTANCES).values(**instance(1)))
    with database.read() as connection:
        assert views.instances(connection) == []


def test_a_failing_write_leaves_nothing_and_frees_the_file(database: Database) -> None:
    with pytest.raises(RepositoryError):
        insert(database, INSTANCES, instance(1), instance(1))
    insert(database, INSTANCES, instance(2))
    with database.read() as connection:
        assert [row.id for row in views.instances(connection)] == [IDS[2]]


def test_driver_errors_become_this_layer_s(database: Database) -> None:
    with pytest.raises(BadRow):
        insert(database, TASKS, task(1, "a", "nonsense"))


def test_a_caller_s_own_error_passes_unchanged_and_undoes_the_write(database: Database) -> None:
    with pytest.raises(KeyError), database.write() as connection:
        raise KeyError(connection.execute(sqlalchemy.insert(INSTANCES).values(**instance(1))))
    with database.read() as connection:
        assert views.instances(connection) == []
