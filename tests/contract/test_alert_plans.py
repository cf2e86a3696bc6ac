"""What rules of alerts look at is read by an index, and no more of it than was asked for: plans on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Connection, event

from strataflow.repositories import alert_reads, alert_store
from strataflow.repositories.database import Database
from strataflow.repositories.records import InstanceState
from strataflow.repositories.url import DatabaseUrl

if TYPE_CHECKING:
    from tests.conftest import Databases

RUNS, STEPS, ALERTS = 3_000, 10, 5_000
NOBODY = "018f0000-0000-7000-8000-000000000000"
#: Every tenth run goes on, every seventh of the others failed; each has ten entries beside those of its own.
FILL = f"""
INSERT INTO instances (id, definition_id, name, version, state, created_at, started_at, ended_at)
SELECT ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, '{NOBODY}', 'flow' || i % 3, 1,
       CASE WHEN i % 10 = 0 THEN 'running' WHEN i % 7 = 0 THEN 'failed' ELSE 'completed' END, i, i,
       CASE WHEN i % 10 = 0 THEN NULL ELSE i + 9 END
FROM generate_series(1, {RUNS}) i;
INSERT INTO journal (instance_id, seq, path, to_state, reason, at)
SELECT ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, i * 20 + s,
       CASE WHEN s < {STEPS} THEN 'a' END,
       CASE WHEN s < {STEPS} THEN 'completed' WHEN i % 10 = 0 THEN 'running' WHEN i % 7 = 0 THEN 'failed'
            ELSE 'completed' END, '', i
FROM generate_series(1, {RUNS}) i, generate_series(0, {STEPS}) s;
INSERT INTO alerts (id, rule, kind, subject, severity, state, message, details, count, first_at, last_at, resolved_at)
SELECT ('018f0000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, 'r', 'run_failed', 's' || i % 50, 'info',
       CASE WHEN i > {ALERTS} - 40 THEN 'raised' ELSE 'resolved' END, '', '{{}}', 1, i, i,
       CASE WHEN i > {ALERTS} - 40 THEN NULL ELSE i END
FROM generate_series(1, {ALERTS}) i;
"""
AFTER = "018f0000-0000-7000-8000-000000001500"
#: What is looked at → how many rows of each table it may touch. Index entries beside the rows asked for are few.
LOOKS: dict[str, tuple[Callable[[Connection], Any], dict[str, int]]] = {
    "ended_runs": (
        lambda c: alert_reads.ended_runs(c, InstanceState.FAILED, 10, 20),
        {"journal": 20, "instances": 20},
    ),
    "active_runs": (
        lambda c: alert_reads.active_runs(c, AFTER, 20),
        {"instances": 21, "journal": 21},
    ),
    "runs_of": (lambda c: alert_reads.runs_of(c, [AFTER]), {"instances": 1, "journal": 1}),
    "durations": (lambda c: alert_reads.durations(c, "flow1", 10), {"instances": 51}),
    "open_alerts": (
        lambda c: alert_store.open_alerts(c, owner=None, kinds={"run_failed"}),
        {"alerts": 40},
    ),
    "open alerts of a process": (
        lambda c: alert_store.open_alerts(c, owner=NOBODY, kinds={"run_failed"}),
        {"alerts": 40},
    ),
    "gone_owners": (alert_store.gone_owners, {"alerts": 40}),
    "last_resolved": (lambda c: alert_store.last_resolved(c, "r", "s7"), {"alerts": 1}),
    "alerts": (lambda c: alert_store.alerts(c, 20), {"alerts": 20}),
    "alerts page": (lambda c: alert_store.alerts(c, 20, before=AFTER), {"alerts": 20}),
    "alerts that are open": (
        lambda c: alert_store.alerts(c, 20, states=("raised", "acknowledged")),
        {"alerts": 20},
    ),
}


@pytest.fixture(scope="module")
def url(pg_databases: Databases, pg_template: str) -> Iterator[str]:
    """Give a server's database with 33,000 entries of 3,000 runs, and 5,000 alerts."""
    made = pg_databases.create(pg_template)
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute(FILL.encode())
        connection.execute("ANALYZE")
    yield made
    pg_databases.drop(made)


def ran_by(database: Database, look: Callable[[Connection], Any]) -> list[tuple[str, Any]]:
    """Give the statements of a look, and what is bound in them."""
    ran: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        ran.append((statement, parameters))

    with database.read() as connection:
        connection.exec_driver_sql("SELECT 1")
        event.listen(connection, "before_cursor_execute", note)
        look(connection)
    return ran


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("name", LOOKS)
def test_looks_touch_the_rows_they_need_and_no_more(url: str, name: str) -> None:
    look, allowed = LOOKS[name]
    database = Database(url)
    touched: dict[str, int] = {}
    for statement, parameters in ran_by(database, look):
        with database.read() as connection:
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
            (plan,) = connection.exec_driver_sql(explain, parameters).scalar_one()
        for node in nodes(plan["Plan"]):
            if "Relation Name" not in node:
                continue
            assert "Seq" not in node["Node Type"], node
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            table = node["Relation Name"]
            touched[table] = touched.get(table, 0) + round(rows * node["Actual Loops"])
    database.close()
    assert touched.keys() - {"engines"} <= allowed.keys()
    assert all(rows <= allowed.get(table, 0) for table, rows in touched.items() if table != "engines"), (
        touched
    )


@pytest.mark.parametrize("name", LOOKS)
def test_no_look_walks_a_table_on_sqlite(migrated_sqlite_url: str, name: str) -> None:
    database = Database(migrated_sqlite_url)
    raw = sqlite3.connect(str(DatabaseUrl.parse(migrated_sqlite_url).path))
    for statement, parameters in ran_by(database, LOOKS[name][0]):
        if statement.startswith(("BEGIN", "PRAGMA")):
            continue
        steps = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        walks = [step for step in steps if step.startswith("SCAN") and "USING" not in step]
        assert [step for step in walks if any(f"SCAN {table}" in step for table in TABLES)] == [], steps
    database.close()
    raw.close()


TABLES = ("journal", "instances", "tasks", "alerts")
