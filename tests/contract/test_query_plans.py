"""The plans of the hot statements at 100,000 tasks, and their text: one snapshot per database.

Plans are taken with `EXPLAIN ANALYZE`, so that a test sees how many task rows a statement really touched: with fresh
statistics and with none at all, as custom and as generic plans. A statement that reads more than it needs is as wrong
as one that reads by the wrong index.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Connection, event

from strataflow.repositories import queueviews, views
from strataflow.repositories.arrays import array_literal
from strataflow.repositories.database import Database
from strataflow.repositories.dialect import (
    _compiled_postgres,
    _compiled_sqlite,
    _is_numeric,
)
from strataflow.repositories.records import TaskState
from strataflow.repositories.statements import _PG_SETTINGS
from strataflow.repositories.url import DatabaseUrl
from tests.support.rows import instance, instance_id, journal, task

if TYPE_CHECKING:
    from tests.conftest import Databases

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "STRATAFLOW_UPDATE_SNAPSHOTS"

INSTANCES, EACH, WIDE = 900, 100, 10_000
#: Instances that still run: every tenth, and the wide one, which has as many tasks as a hundred others.
ACTIVE = [instance_id(number) for number in range(10, INSTANCES + 1, 10)]
WIDE_ID = instance_id(INSTANCES + 10)
DEAD = instance_id(5_000_000)
#: Rows of the active instances, of 100,000: roots included.
ACTIVE_TASKS = len(ACTIVE) * (EACH + 1) + WIDE + 20
BATCH = 50

FILL = f"""
INSERT INTO instances (id, definition_id, name, version, state, created_at, ended_at)
SELECT ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, '{DEAD}', 'flow', 1,
       CASE WHEN i % 10 = 0 THEN 'running' ELSE 'completed' END, i, CASE WHEN i % 10 = 0 THEN NULL ELSE 9 END
FROM generate_series(1, {INSTANCES + 10}) i;
INSERT INTO tasks (instance_id, path, scope, state, remaining)
SELECT id, '', NULL, 'waiting', 0 FROM instances;
INSERT INTO tasks (instance_id, path, scope, state, executor, engine, attempt, queue, ready_at, wake_at, ended_at)
SELECT ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, 'm[' || t || ']', '', s, 'a.x',
       CASE WHEN s = 'running' THEN '{DEAD}'::uuid END, 1, CASE WHEN t % 8 = 0 THEN 'other' ELSE 'default' END,
       CASE WHEN s = 'queued' THEN t END, CASE WHEN s = 'retrying' THEN t END, CASE WHEN s = 'completed' THEN 9 END
FROM (SELECT i, t, CASE WHEN i % 10 > 0 THEN 'completed' WHEN t % 4 = 0 THEN 'queued' WHEN t % 4 = 1 THEN 'retrying'
                        WHEN t % 400 = 2 THEN 'running' ELSE 'completed' END AS s
      FROM generate_series(1, {INSTANCES}) i, generate_series(0, {EACH - 1}) t
      UNION ALL
      SELECT {INSTANCES + 10}, t, CASE WHEN t % 2 = 0 THEN 'queued' ELSE 'completed' END
      FROM generate_series(0, {WIDE - 1}) t) filled;
"""


@pytest.fixture(scope="module", params=["analyzed", "unanalyzed"])
def url(request: pytest.FixtureRequest, pg_databases: Databases, pg_template: str) -> Iterator[str]:
    """Give a database with 100,000 tasks."""
    made = pg_databases.create(pg_template)
    with psycopg.connect(made, autocommit=True) as connection:
        for table in ("tasks", "instances", "engines"):
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)".encode())
        connection.execute(FILL.encode())
        if request.param == "analyzed":
            connection.execute("ANALYZE")
    yield made
    pg_databases.drop(made)


# --- reading a plan --------------------------------------------------------------------------------------------------


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _task_rows(plan: Mapping[str, Any]) -> dict[str, int]:
    """Give the number of rows of `tasks` that each access path touched, filtered ones included."""
    touched: dict[str, int] = {}
    for node in _nodes(plan):
        if node.get("Relation Name") == "tasks" and "Scan" in node["Node Type"]:
            path = str(node.get("Index Name", node["Node Type"]))
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            touched[path] = touched.get(path, 0) + round(rows * node["Actual Loops"])
    return touched


def _index_paths(plan: Mapping[str, Any]) -> set[str]:
    return {
        str(node.get("Index Name", node["Node Type"])) for node in _nodes(plan) if "Relation Name" in node
    }


@contextmanager
def _writing(url: str, *, generic: bool) -> Iterator[psycopg.Connection[Any]]:
    """Open a transaction with the writer's settings, and undo it."""
    with psycopg.connect(url) as connection, connection.transaction(force_rollback=True):
        connection.execute(f"SELECT {_PG_SETTINGS}".encode())
        mode = "force_generic_plan" if generic else "force_custom_plan"
        connection.execute(f"SET LOCAL plan_cache_mode = {mode}".encode())
        yield connection


def _explain(connection: psycopg.Connection[Any], sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    row = connection.execute(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".encode(), params, prepare=True
    ).fetchone()
    assert row is not None
    return row[0][0]["Plan"]


# --- the writer's statements -----------------------------------------------------------------------------------------

_IDS = array_literal(ACTIVE[:BATCH], numeric=False)
_PATHS = array_literal([f"m[{n}]" for n in range(BATCH)], numeric=False)
_PEEK = {"queues": '{"default","other"}', "executors": '{"a.x"}', "peek": BATCH, "total": BATCH}
_UNDER = {"low": "m[", "high": "m]", "limit": BATCH}

#: Statement → parameters, and how many task rows it may touch by which index.
SINGLES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "ready_lock": (_PEEK, {"tasks_ready": 2 * BATCH}),
    "ready_read": (_PEEK, {"tasks_ready": 2 * BATCH, "tasks_pkey": BATCH}),
    "due_lock": ({"peek": BATCH}, {"tasks_wake": BATCH}),
    "due_read": ({"peek": BATCH}, {"tasks_wake": BATCH, "tasks_pkey": BATCH}),
    "read_tasks": ({"ids": _IDS, "paths": _PATHS}, {"tasks_pkey": BATCH}),
    "lock_instances": ({"ids": _IDS}, {}),
    "open_under": ({"id": WIDE_ID} | _UNDER, {"tasks_pkey": 3 * BATCH}),
    "next_wake": ({}, {"tasks_wake": 1}),
    "fence": ({"me": DEAD, "n": 1, "ttl": 1}, {}),
    "receipt": ({"me": DEAD}, {}),
    "key_get": ({"name": "f", "kind": "start", "key": "k"}, {}),
    "definition_get": ({"id": DEAD}, {}),
}


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize("name", SINGLES)
def test_statements_touch_the_rows_they_need_and_no_more(url: str, name: str, generic: bool) -> None:  # noqa: FBT001 - a parameter
    params, allowed = SINGLES[name]
    with _writing(url, generic=generic) as connection:
        plan = _explain(connection, _compiled_postgres()[0][name], params)
    touched = _task_rows(plan)
    assert set(touched) == set(allowed)
    assert all(rows <= allowed[index] for index, rows in touched.items()), touched
    assert not {path for path in _index_paths(plan) if "Seq" in path or "Bitmap" in path}


def _columns(name: str) -> dict[str, str]:
    """Give a bulk statement's parameters for rows that exist, or for new ones where it inserts."""
    new = name.endswith("_new") or name in {"journal", "log_new"}
    number = 7_000_000 if new else 10
    rows: dict[str, Callable[[int], Any]] = {
        "instance_new": lambda n: instance(number + n),
        "instance_set": lambda n: instance(number + n * 10),
        "journal": lambda n: journal(number, f"m[{n}]"),
        "task_moved": lambda n: task(INSTANCES + 10, f"m[{n * 2}]", TaskState.QUEUED, ready_at=1),
    }
    made = rows.get(name, lambda n: task(number, f"m[{n}]", TaskState.COMPLETED))
    bulk = _compiled_postgres()[1][name][1]
    return {
        column: array_literal(
            [getattr(made(n), column) for n in range(BATCH)], numeric=_is_numeric(bulk, column)
        )
        for column in bulk.columns
    }


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
@pytest.mark.parametrize(
    "name",
    "leaf_set scope_set task_moved leaf_new scope_new instance_new instance_set journal".split(),
)
def test_writes_go_by_primary_key(url: str, name: str, generic: bool) -> None:  # noqa: FBT001 - a parameter
    with _writing(url, generic=generic) as connection:
        plan = _explain(connection, _compiled_postgres()[1][name][0], _columns(name))
    touched = _task_rows(plan)
    assert touched == ({"tasks_pkey": BATCH} if name in {"leaf_set", "scope_set", "task_moved"} else {})
    scans = {path for path in _index_paths(plan) if path.endswith("_pkey") or "Scan" in path}
    assert scans <= {"tasks_pkey", "instances_pkey"}


def _run_bulk(connection: psycopg.Connection[Any], name: str, rows: list[Any]) -> None:
    sql, bulk = _compiled_postgres()[1][name]
    columns = {
        c: array_literal([getattr(r, c) for r in rows], numeric=_is_numeric(bulk, c)) for c in bulk.columns
    }
    connection.execute(sql.encode(), columns)


def test_completions_are_heap_only(migrated_pg_url: str) -> None:
    """A completion changes no indexed column, so it needs no index entry as long as its page has room."""
    running = [task(1, f"m[{n}]", TaskState.RUNNING, engine=DEAD, started_at=1) for n in range(500)]
    ended = [task(1, row.path, TaskState.COMPLETED, output="{}") for row in running]
    counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'tasks'"
    with psycopg.connect(migrated_pg_url) as connection:
        _run_bulk(connection, "leaf_new", running)
        connection.commit()
        _run_bulk(connection, "leaf_set", ended)
        assert connection.execute(counted).fetchone() == (500, 500)


# --- the views -------------------------------------------------------------------------------------------------------

#: View → how many task rows it may touch by which index.
VIEWS: dict[str, tuple[Callable[[Connection], Any], dict[str, int]]] = {
    "instance": (lambda c: views.instance(c, ACTIVE[0]), {"tasks_pkey": 1}),
    "instances": (lambda c: views.instances(c, limit=20), {"tasks_pkey": 21}),
    "instances page": (lambda c: views.instances(c, limit=20, before=(500, ACTIVE[0])), {"tasks_pkey": 21}),
    "instances of a name": (lambda c: views.instances(c, name="flow", limit=20), {"tasks_pkey": 21}),
    "find_instances": (lambda c: views.find_instances(c, "018f", 10), {"tasks_pkey": 11}),
    "tasks": (lambda c: views.tasks(c, WIDE_ID, limit=20, after="m[5]"), {"tasks_pkey": 21}),
    "task": (lambda c: views.task(c, WIDE_ID, "m[5]"), {"tasks_pkey": 1}),
    "items": (lambda c: views.items(c, WIDE_ID, "m", 100, 200), {"tasks_pkey": 101}),
    "counts": (lambda c: views.counts(c, ACTIVE[0]), {"tasks_pkey": EACH + 1}),
    # without an index of engines the whole of the active instances may be walked, and nothing of the ended ones
    "interrupted": (lambda c: views.interrupted(c, 10), {"tasks_pkey": ACTIVE_TASKS}),
    "interrupted page": (
        lambda c: views.interrupted(c, 10, (ACTIVE[40], "m[2]")),
        {"tasks_pkey": ACTIVE_TASKS},
    ),
    "running_of": (lambda c: views.running_of(c, DEAD, 10), {"tasks_pkey": ACTIVE_TASKS}),
    "queues_ready": (views.queues_ready, {"tasks_ready": 3, "tasks_blocked": 0}),
    # of tasks that are ready since the same instant ids decide, so the last ones of an instant are read together
    "ready_entries": (
        lambda c: queueviews.ready_entries(c, "default", limit=20),
        {"tasks_ready": 20 + len(ACTIVE)},
    ),
    "ready_entries page": (
        lambda c: queueviews.ready_entries(c, "default", limit=20, after=(0, 4, ACTIVE[3], "m[4]")),
        {"tasks_ready": 20 + 3 * len(ACTIVE)},
    ),
    "queue_depths": (views.queue_depths, {"tasks_ready": 10_000}),
    "unclaimable": (lambda c: views.unclaimable(c, ["a.x"], 10**15, 10), {"tasks_ready": 10_000}),
    "unfinished_count": (views.unfinished_count, {}),
    "next_wake": (views.next_wake, {"tasks_wake": 1}),
}


@contextmanager
def _statements(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    ran: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        ran.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    yield ran
    event.remove(connection, "before_cursor_execute", note)


@pytest.mark.parametrize("name", VIEWS)
def test_views_touch_the_rows_they_need_and_no_more(url: str, name: str) -> None:
    view, allowed = VIEWS[name]
    database = Database(url)
    with database.read() as connection:
        connection.exec_driver_sql("SELECT 1")
        with _statements(connection) as ran:
            view(connection)
        (ran_one,) = ran
        plan = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {ran_one[0]}", ran_one[1]
        ).scalar_one()
    database.close()
    touched = _task_rows(plan[0]["Plan"])
    assert set(touched) == set(allowed)
    assert all(rows <= allowed[index] for index, rows in touched.items()), touched


# --- SQLite ----------------------------------------------------------------------------------------------------------

#: A walk over one of these is a walk over what is ready, due or active, and over nothing else.
SMALL = ("INDEX tasks_ready", "INDEX tasks_wake", "INDEX instances_active", "INDEX instances_created")


def _sqlite_walks(connection: sqlite3.Connection, sql: str, params: tuple[Any, ...]) -> list[str]:
    """Give the steps that walk through a whole table of tasks or instances."""
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", params)]
    walks = [step for step in steps if step.startswith(("SCAN tasks", "SCAN instances", "SCAN root"))]
    return [step for step in walks if not step.endswith(SMALL)]


def test_no_statement_walks_a_table_on_sqlite(migrated_sqlite_url: str) -> None:
    connection = sqlite3.connect(str(DatabaseUrl.parse(migrated_sqlite_url).path))
    singles, bulks = _compiled_sqlite()
    for name, statement in (singles | bulks).items():
        assert _sqlite_walks(connection, statement.sql, (None,) * len(statement.names)) == [], name
    connection.close()


@pytest.mark.parametrize("name", VIEWS)
def test_no_view_walks_a_table_on_sqlite(migrated_sqlite_url: str, name: str) -> None:
    database = Database(migrated_sqlite_url)
    raw = sqlite3.connect(str(DatabaseUrl.parse(migrated_sqlite_url).path))
    with database.read() as connection, _statements(connection) as ran:
        VIEWS[name][0](connection)
    database.close()
    for statement, parameters in ran:
        if not statement.startswith("BEGIN"):
            assert _sqlite_walks(raw, statement, parameters) == []
    raw.close()


# --- the text --------------------------------------------------------------------------------------------------------


def _texts(dialect: str) -> dict[str, str]:
    if dialect == "sqlite":
        singles, bulks = _compiled_sqlite()
        return {name: statement.sql for name, statement in (singles | bulks).items()}
    pg_singles, pg_bulks = _compiled_postgres()
    return pg_singles | {name: sql for name, (sql, _) in pg_bulks.items()}


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_the_text_of_every_statement_is_the_reviewed_one(dialect: str) -> None:
    found = "\n\n".join(f"-- {name}\n{sql.strip()};" for name, sql in sorted(_texts(dialect).items())) + "\n"
    path = SNAPSHOTS / f"{dialect}.sql"
    if os.environ.get(UPDATE):
        path.write_text(found)
    assert found == path.read_text(), f"review the change, then run this test with {UPDATE}=1"
