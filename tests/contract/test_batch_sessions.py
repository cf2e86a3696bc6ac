"""Nothing relies on the session of a connection, and ten processes share one file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from strataflow.repositories import engines, migrate, views
from strataflow.repositories.batch import Changes
from strataflow.repositories.database import Database
from strataflow.repositories.dialect import PostgresConnection
from strataflow.repositories.errors import BadRow
from strataflow.repositories.feed_tables import NOTICES
from strataflow.repositories.records import TaskState, VarRow
from strataflow.repositories.translation import LostPrepared
from tests.support.processes import run_together
from tests.support.rows import instance, instance_id, journal, task
from tests.support.writers import TTL, WISH, Writer, ready

# --- nothing relies on the session ------------------------------------------------------------------------------------


SESSION = {
    # the isolation level is shown there too while a transaction lasts
    "settings": """
        SELECT name, setting FROM pg_settings
        WHERE source = 'session' AND NOT starts_with(name, 'transaction_') OR name = 'search_path'""",
    "channels": "SELECT pg_listening_channels()",
    "advisory": "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "temporary": "SELECT relname FROM pg_class WHERE relpersistence = 't'",
    "cursors": "SELECT name FROM pg_cursors WHERE is_holdable",
}


def _raw(writer: Writer) -> psycopg.Connection[Any]:
    assert isinstance(writer.connection, PostgresConnection)
    return writer.connection._raw


def _session(writer: Writer) -> dict[str, list[Any]]:
    return {name: _raw(writer).execute(query.encode()).fetchall() for name, query in SESSION.items()}


def _busy(writer: Writer, number: int) -> None:
    writer.do(
        Changes(
            new_instances=[instance(number)],
            new_leaves=[ready(number, "a")],
            journal=[journal(number, "a")],
            vars=[VarRow(instance_id(number), "", "v", "s", 1, 0, "1", None)],
        ),
        instance_id(number),
        keys=[(instance_id(number), "a")],
        claim=WISH,
        due_limit=5,
        new_keys=[("flow", "start", f"k{number}", instance_id(number))],
    )


def test_a_batch_leaves_nothing_in_the_session(migrated_pg_url: str) -> None:
    database = Database(migrated_pg_url)
    writer = Writer(migrated_pg_url, database)
    before = _session(writer)
    for number in range(1, 9):
        _busy(writer, number)
    with pytest.raises(BadRow):
        writer.do(Changes(new_leaves=[task(1, "", scope="x")]))
    assert _session(writer) == before
    assert before["channels"] == before["advisory"] == before["temporary"] == []
    assert _raw(writer).info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    writer.connection.close()
    database.close()


def test_reads_and_short_writes_leave_nothing_in_the_session(migrated_pg_url: str) -> None:
    migrate.upgrade(f"{migrated_pg_url}?schema=other")
    database = Database(f"{migrated_pg_url}?schema=other")
    with psycopg.connect(migrated_pg_url) as fresh:
        clean = {name: fresh.execute(query.encode()).fetchall() for name, query in SESSION.items()}
    for transaction in (database.read, database.write):
        for _ in range(8):
            with transaction() as connection:
                views.instances(connection)
        with transaction() as connection:
            raw: Any = connection.connection.driver_connection
        assert {name: raw.execute(query).fetchall() for name, query in SESSION.items()} == clean
        assert raw.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        raw.rollback()
    database.close()


def test_a_pooler_that_forgets_prepared_statements_is_noticed_and_survived(
    postgres: Callable[[], Writer],
) -> None:
    writer = postgres()
    for number in range(1, 9):  # psycopg prepares what it runs more than five times
        _busy(writer, number)
    _raw(writer).pgconn.exec_(b"DISCARD ALL")
    with pytest.raises(LostPrepared):
        _busy(writer, 9)
    with writer.database.read() as connection:
        assert views.instance(connection, instance_id(9)) is None
    assert isinstance(writer.connection, PostgresConnection)
    writer.connection.without_prepared_statements()
    for number in range(9, 20):
        _busy(writer, number)
        _raw(writer).pgconn.exec_(b"DISCARD ALL")
    with writer.database.read() as connection:
        assert len(views.instances(connection)) == 19


# --- many processes ---------------------------------------------------------------------------------------------------


def _hammer(url: str, number: int) -> None:
    database = Database(url)
    writer = Writer(url, database)
    for turn in range(15):
        mine = number * 100 + turn
        writer.do(
            Changes(
                new_instances=[instance(mine)], new_leaves=[task(mine, "a")], journal=[journal(mine, "a")]
            )
        )
        writer.do(Changes(leaves=[task(mine, "a", TaskState.COMPLETED)]), instance_id(mine))
        assert engines.renew(database, writer.engine_id, TTL)
        with database.read() as connection:
            assert len(views.history(connection, instance_id(mine))) == 1
    writer.connection.close()
    database.close()


def test_ten_processes_write_one_file(migrated_sqlite_url: str) -> None:
    assert run_together(_hammer, [(migrated_sqlite_url, number) for number in range(10)]) == []
    database = Database(migrated_sqlite_url)
    with database.read() as connection:
        rows = views.instances(connection, limit=1000)
        numbers = [views.history(connection, row.id)[0].seq for row in rows]
        notices = connection.execute(select(NOTICES.c.seq)).scalars().all()
    database.close()
    assert len(rows) == 150
    assert len(notices) == 10, "each process told that it came"
    assert sorted([*numbers, *notices]) == list(range(1, 161)), "no number twice, none lost"
