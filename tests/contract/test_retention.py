"""Deletion of runs on both databases: nothing of a deleted run stays behind, and nothing of any other is touched."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import Float, Integer, Table, func, insert, select, text, update

from strataflow.engine.starts import StartOptions
from strataflow.repositories.database import Database
from strataflow.repositories.records import (
    ACTIVE_INSTANCE_STATES,
    TERMINAL_INSTANCE_STATES,
    InstanceState,
)
from strataflow.repositories.retention import RETENTION_BATCH, delete_ended, delete_instance
from strataflow.repositories.tables import DEFINITIONS, FIRINGS, INSTANCES, KEYS, MESSAGES, metadata
from strataflow.repositories.transfer import export_rows
from strataflow.services.upkeep import Upkeep
from tests.checker import check
from tests.integration.kit import Flow, until
from tests.support import tables as made
from tests.support.tables import IDS

ALL = TERMINAL_INSTANCE_STATES
#: Whatever names a run, by the schema itself: a new table is looked at without a change here.
NAMING = [table for table in metadata.sorted_tables if "instance_id" in table.columns]
#: What is a run's own, and nobody else's: it leads with its id (docs/architecture.md), or is its key.
OWNED = [table for table in NAMING if "instance_id" in table.primary_key.columns or table is KEYS]
LIVE = sorted(ACTIVE_INSTANCE_STATES)


def add(database: Database, number: int, state: str = "completed", **values: Any) -> str:
    """Write a run with a row in every table that runs have rows in."""
    row = made.instance(number, state, **values)
    made.insert(database, INSTANCES, row)
    made.insert(database, KEYS, {"name": "flow", "kind": "start", "key": row["id"], "instance_id": row["id"]})
    with database.write() as connection:
        for table in OWNED:
            if table is not KEYS:
                connection.execute(insert(table).values(**sample(table, number)))
    return str(row["id"])


def sample(table: Table, number: int) -> dict[str, Any]:
    """Give a row of any table with an instance_id."""
    if table.name == "tasks":
        return made.task(number, "a", "completed")
    needed = [c for c in table.columns if not c.nullable and c.server_default is None]
    row = {c.name: 1 if isinstance(c.type, Integer | Float) else "x" for c in needed}
    return row | {"instance_id": IDS[number]}


def rows(database: Database) -> Counter[tuple[str, str]]:
    """Count rows by table and instance; the run's own row too."""
    found: Counter[tuple[str, str]] = Counter()
    with database.read() as connection:
        for table, column in [(INSTANCES, INSTANCES.c.id), *((t, t.c.instance_id) for t in NAMING)]:
            for instance_id, count in connection.execute(select(column, func.count()).group_by(column)):
                found[table.name, instance_id] = count
    return found


def mentions(database: Database, instance_id: str) -> list[str]:
    """Give the columns, of any table, in which an id still stands."""
    with database.read() as connection:
        return [
            f"{table.name}.{name}"
            for table in metadata.sorted_tables
            if table.info.get("only", connection.dialect.name) == connection.dialect.name
            for row in connection.execute(select(table)).mappings()
            for name, value in row.items()
            if instance_id in str(value)
        ]


def ids(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(INSTANCES.c.id).order_by(INSTANCES.c.created_at)))


def many(database: Database, count: int, **values: Any) -> None:
    """Write bare runs, the oldest first."""
    base = made.instance(1, "completed") | {"ended_at": 5} | values
    with database.write() as connection:
        page = [base | {"id": f"018f0000-0000-7000-8000-{n:012d}", "created_at": n} for n in range(count)]
        connection.execute(insert(INSTANCES), page)


@contextmanager
def flow_on(url: str) -> Iterator[Flow]:
    flow = Flow(url)
    with closing(flow.database), closing(flow):
        yield flow


# --- one run


def test_what_a_schedule_has_fired_outlives_its_run_and_never_travels_with_it(database: Database) -> None:
    """Its row is why no instant fires twice."""
    one, other = add(database, 1, ended_at=10), add(database, 2, ended_at=10)
    schedule = {"schedule_id": IDS[7], "outcome": "started", "fired_at": 7}
    made.insert(
        database,
        FIRINGS,
        *({**schedule, "at": at, "instance_id": run} for at, run in ((5, one), (6, other))),
    )
    made.insert(
        database,
        DEFINITIONS,
        {"id": IDS[0], "name": "flow", "version": 1, "hash": "0" * 64, "body": "{}", "created_at": 1},
    )
    with database.read() as connection:
        assert "firings" not in {table for table, _ in export_rows(connection, one)}
    assert delete_instance(database, one)
    assert delete_ended(database, ended_before=100) == 1
    with database.read() as connection:
        firings = connection.execute(select(FIRINGS.c.at, FIRINGS.c.instance_id).order_by(FIRINGS.c.at)).all()
    assert [tuple(row) for row in firings] == [(5, one), (6, other)]
    assert mentions(database, one) == ["firings.instance_id"]


def test_every_table_of_a_run_has_its_rows_deleted_and_nobody_else_s(database: Database) -> None:
    gone, kept = add(database, 1), add(database, 2)
    assert len(OWNED) >= 10
    assert set(rows(database)) == {(t.name, i) for i in (gone, kept) for t in [INSTANCES, *OWNED]}
    assert delete_instance(database, gone)
    assert set(rows(database)) == {(t.name, kept) for t in [INSTANCES, *OWNED]}
    assert mentions(database, gone) == []
    assert not delete_instance(database, gone), "twice changes nothing"


def test_a_live_run_is_never_deleted(database: Database) -> None:
    live = [add(database, number, state.value) for number, state in enumerate(LIVE, 1)]
    before = rows(database)
    for states in (ALL, list(InstanceState), LIVE):
        assert delete_ended(database, states=states, ended_before=2**60) == 0
    assert not any(delete_instance(database, each) for each in live)
    assert rows(database) == before


def test_an_id_that_nothing_has_deletes_nothing(database: Database) -> None:
    add(database, 1)
    before = rows(database)
    for unknown in (IDS[2], "no id", "", "%", IDS[1][:18]):
        assert not delete_instance(database, unknown)
    assert rows(database) == before
    assert delete_instance(database, IDS[1].upper().replace("-", "")), "an id is found however it is written"


# --- by age, state and name


def test_runs_are_deleted_by_when_they_ended(database: Database) -> None:
    for number, ended_at in ((1, 100), (2, 200), (3, 300)):
        add(database, number, ended_at=ended_at)
    assert delete_ended(database, ended_before=100) == 0
    assert delete_ended(database, ended_before=201) == 2
    assert ids(database) == [IDS[3]]
    assert {instance_id for _, instance_id in rows(database)} == {IDS[3]}


def test_runs_are_deleted_by_state_and_by_name(database: Database) -> None:
    for number, state in enumerate(sorted(ALL), 1):
        add(database, number, state)
    add(database, 8, "failed", name="other")
    with database.read() as connection:
        states = {row.id: row.state for row in connection.execute(select(INSTANCES.c.id, INSTANCES.c.state))}
    failed = {i for i in states if states[i] == "failed"}
    assert delete_ended(database, states=[InstanceState.FAILED], ended_before=1000, name="flow") == 1
    assert set(ids(database)) == set(states) - (failed - {IDS[8]})
    assert delete_ended(database, states=[InstanceState.FAILED], ended_before=1000) == 1
    assert set(ids(database)) == set(states) - failed
    assert delete_ended(database, states=[], ended_before=1000) == 0
    assert delete_ended(database, ended_before=1000) == len(ALL) - 1
    assert sum(rows(database).values()) == 0


def test_batches_are_bounded_and_the_oldest_go_first(database: Database) -> None:
    many(database, RETENTION_BATCH + 7)
    assert delete_ended(database, ended_before=9, limit=3) == 3
    assert [i[-4:] for i in ids(database)[:2]] == ["0003", "0004"]
    assert delete_ended(database, ended_before=9, limit=10**6) == RETENTION_BATCH
    assert [i[-4:] for i in ids(database)] == ["0203", "0204", "0205", "0206"]


@pytest.mark.parametrize(("count", "batches"), [(RETENTION_BATCH + 1, [200, 1]), (RETENTION_BATCH, [200, 0])])
def test_a_purge_goes_on_batch_by_batch_until_nothing_is_left(
    database: Database, count: int, batches: list[int]
) -> None:
    many(database, count)
    assert list(Upkeep(database).purge(0.0)) == batches
    assert ids(database) == []


# --- flows


def test_children_of_live_runs_stay_and_those_of_ended_ones_go(database: Database) -> None:
    live, ended = add(database, 1, "running"), add(database, 2)
    kept = add(database, 3, parent_id=live, parent_path="f")
    add(database, 4, parent_id=ended, parent_path="f")
    going_on = add(database, 5, "running", parent_id=ended, parent_path="g")
    add(database, 6, parent_id=IDS[9], parent_path="f")  # its parent was deleted before
    assert delete_ended(database, ended_before=1000) == 3
    assert ids(database) == [live, kept, going_on]
    assert {instance_id for _, instance_id in rows(database)} == {live, kept, going_on}
    with database.write() as connection:
        connection.execute(
            update(INSTANCES).where(INSTANCES.c.id == live).values(state="failed", ended_at=99)
        )
    assert delete_ended(database, ended_before=1000) == 2, "parent and child in one batch"
    assert ids(database) == [going_on]


# --- with an engine


def test_a_run_that_used_everything_leaves_nothing_behind(db_url: str) -> None:
    large = "x" * 200_000
    below = {"dsl": "1", "name": "below", "nodes": {"a": {"run": "t.echo", "with": large}}}
    body = {"nodes": {"s": {"set": {"v": "{{ item }}"}}, "e": {"run": "t.echo", "with": "{{ vars.v }}"}}}
    nodes: dict[str, Any] = {
        "big": {"run": "t.echo", "with": large},
        "var": {"set": {"text": "{{ nodes.big.output }}"}},
        "map": {"map": list(range(20)), "do": body},
        "sig": {"wait": {"signal": "go"}},
        "log": {"run": "core.log", "with": {"message": "hello"}},
        "sub": {"flow": "below"},
        "bad": {"run": "t.fail", "with": {"times": 1}, "needs": ["var", "map", "sig", "log", "sub"]},
    }
    with flow_on(db_url) as flow:
        flow.engine.register(below, activate=True)
        options = StartOptions(key="k", mutex="m", labels={"team": "core"})
        one = flow.engine.start_now(flow.document(nodes), options=options)
        _finish(flow, one)
        held = {name for name, instance_id in rows(flow.database) if instance_id == one}
        assert held >= {"tasks", "journal", "keys", "blobs", "vars", "labels", "logs", "signals"}
        flow.shut()
        assert check(db_url) == []
        assert delete_ended(flow.database, ended_before=2**60) == 2
        assert sum(rows(flow.database).values()) == 0
        assert mentions(flow.database, one) == []
        again = flow.engine.start_now(flow.document({"a": {"run": "t.echo", "with": 1}}), key="k")
        assert again != one, "its key is free"
        assert flow.wait(again).state == "completed"
    assert check(db_url) == []


def _finish(flow: Flow, instance_id: str) -> None:
    """Signal, fail and retry: what each of them writes belongs to the run as well."""
    asyncio.run(flow.engine.signal_workflow(instance_id, "other", {"n": "y" * 200_000}))
    asyncio.run(flow.engine.signal_workflow(instance_id, "go", 1))
    assert flow.wait(instance_id).state == "failed"
    asyncio.run(flow.engine.retry_workflow(instance_id))
    assert flow.wait(instance_id).state == "completed"


def test_deleting_a_fork_s_source_leaves_the_fork_whole(db_url: str) -> None:
    nodes = {
        "a": {"run": "t.echo", "with": "x" * 200_000},
        "b": {"run": "t.echo", "with": "{{ nodes.a.output | length }}"},
    }
    with flow_on(db_url) as flow:
        source = flow.start(nodes)
        assert flow.wait(source).output == {"b": 200_000}
        forked = asyncio.run(flow.engine.fork_workflow(source, "b"))
        assert flow.wait(forked).output == {"b": 200_000}
        assert delete_instance(flow.database, source)
        asyncio.run(flow.engine.retry_workflow(forked, "b"))
        assert flow.wait(forked).output == {"b": 200_000}
        assert {instance_id for _, instance_id in rows(flow.database)} == {forked}
    assert check(db_url) == []


def test_a_run_that_is_taken_back_while_it_is_being_deleted_stays(database: Database) -> None:
    kept, gone = add(database, 1), add(database, 2)
    deleted: list[int] = []
    deleter = threading.Thread(target=lambda: deleted.append(delete_ended(database, ended_before=1000)))
    with database.write() as connection:
        back = update(INSTANCES).where(INSTANCES.c.id == kept)
        connection.execute(back.values(state="running", ended_at=None))
        deleter.start()
        if connection.dialect.name == "postgresql":
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            until(lambda: connection.execute(waiting).scalar_one() > 0)
    deleter.join()
    assert deleted == [1]
    assert ids(database) == [kept]
    assert {instance_id for _, instance_id in rows(database)} == {kept}
    assert mentions(database, gone) == []


def test_messages_to_a_deleted_run_go_with_it_and_those_from_it_stay(database: Database) -> None:
    """What a child told its parent is the parent's: deleting the child must not take its result away."""
    parent, child = add(database, 1, "running"), add(database, 2)
    told = {"instance_id": parent, "source": f"ended:{child}:0", "kind": "ended", "body": "{}", "at": 1}
    made.insert(database, MESSAGES, told)
    assert delete_instance(database, child)
    with database.read() as connection:
        left = {(row.instance_id, row.source) for row in connection.execute(select(MESSAGES))}
    assert left == {(parent, "x"), (parent, told["source"])}
