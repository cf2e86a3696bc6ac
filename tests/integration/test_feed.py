"""The feed: every event once and in order, for readers that come, go and come back; engines and full queues too."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import select

from strataflow import Lease, StartOptions
from strataflow.engine import feed as feed_module
from strataflow.engine.feed import EVENTS, Event, EventFeed, unknown_pattern
from strataflow.engine.watermarks import Watermarks
from strataflow.repositories import watermarks
from strataflow.repositories.database import Database
from strataflow.repositories.feed import write_notice
from strataflow.repositories.tables import JOURNAL
from tests.integration.kit import Doc, Flow, until

ECHO: Doc = {"a": {"run": "t.echo", "with": 1}}


def read_all(feed: EventFeed, after: int = 0, limit: int = 7, **wanted: Any) -> list[Event]:
    found: list[Event] = []
    more = True
    while more:
        page = feed.read(after, limit=limit, **wanted)
        found += page.events
        after, more = page.cursor, page.more
    return found


def journal(database: Database) -> list[int]:
    with database.read() as connection:
        rows = select(JOURNAL.c.seq).where((JOURNAL.c.path != "") | JOURNAL.c.path.is_(None))
        return sorted(connection.execute(rows).scalars())


@pytest.mark.row("M-31")
def test_a_run_tells_what_becomes_of_it(flow: Flow) -> None:
    nodes: Doc = {
        "a": {"run": "t.fail", "with": {"times": 1}, "retry": {"max": 2, "delay": "1ms"}},
        "b": {"run": "t.fail", "with": {"message": "no"}, "needs": ["a"], "on_error": [{"continue": True}]},
    }
    run = flow.run(nodes)
    events = read_all(flow.engine.feed, instance_id=run.id)
    assert all(event.definition == "flow" and event.instance_id == run.id for event in events)
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    told = [(event.name, event.path) for event in events]
    wanted = [
        ("instance.pending", None),
        ("task.running", "a"),
        ("task.retrying", "a"),
        ("task.running", "a"),
        ("task.completed", "a"),
        ("task.failed", "b"),
        ("instance.completed", None),
    ]
    assert [each for each in told if each in wanted] == wanted
    assert all(event.name in EVENTS for event in events)
    failed = next(event for event in events if event.name == "task.failed")
    assert (failed.attempt, failed.reason, failed.state) == (1, "t.Broken", "failed")


@pytest.mark.row("M-31")
def test_cancelled_and_expired(flow: Flow) -> None:
    with flow.open(executes=False) as client:
        late = client.start_now(flow.document(ECHO), options=StartOptions(start_at=60, expires_at=0.1))
    flow.shut()
    cancelled = flow.start({"a": {"run": "t.gate", "with": {"gate": "x"}}})
    until(lambda: flow.state(cancelled, "a") == "running")
    flow.cancel(cancelled)
    flow.wait(cancelled)
    flow.started.append(late)
    flow.wait(late)
    told = {(event.name, event.instance_id) for event in read_all(flow.engine.feed)}
    assert {
        ("instance.expired", late),
        ("instance.cancelled", cancelled),
        ("task.cancelled", cancelled),
    } <= told


def test_patterns(flow: Flow) -> None:
    run = flow.run(ECHO)
    names = [event.name for event in read_all(flow.engine.feed, names=["instance.c*", "task.running"])]
    assert names == ["task.running", "instance.completed"]
    page = flow.engine.feed.read(0, names=["queue.*"])
    assert (page.events, page.more) == ((), False)
    assert page.cursor >= max(journal(flow.engine.database)), "the cursor passes what the filter leaves out"
    assert unknown_pattern("task.*") is None
    assert "task.completed" in str(unknown_pattern("task.complete"))
    assert flow.state(run.id, "a") == "completed"


def test_readers_that_come_and_go_miss_nothing(flow: Flow) -> None:
    """Two engines write, a reader is replaced after every few events by one that knows the last cursor alone."""
    nodes: Doc = {"m": {"map": list(range(60)), "do": {"run": "t.echo", "with": 1}}}
    found: list[int] = []
    stop = threading.Event()

    def reader() -> None:
        cursor = 0
        while not stop.is_set():
            with closing(Database(flow.url)) as database:
                for event in EventFeed(database).follow(cursor, stop=stop):
                    found.append(event.seq)
                    cursor = event.seq
                    if len(found) % 50 == 0:
                        break

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        second = flow.open()
        for each in [flow.start(nodes) for _ in range(4)]:
            flow.wait(each)
        last = max(journal(second.database))
        until(lambda: found and found[-1] >= last, 60)
    finally:
        stop.set()
        thread.join()
    assert found == sorted(set(found))
    with flow.engine.database.read() as connection:
        rows = select(JOURNAL.c.seq).where((JOURNAL.c.path != "") | JOURNAL.c.path.is_(None))
        assert set(connection.execute(rows).scalars()) <= set(found)


def test_a_number_that_is_committed_late_holds_back_those_after_it(
    migrated_pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_PATIENCE_S", 0.05)
    with closing(Database(migrated_pg_url)) as database:
        feed = EventFeed(database)
        with database.write() as slow:
            write_notice(slow, "queue.high", "slow", {})
            with database.write() as quick:
                write_notice(quick, "queue.high", "quick", {})
            assert feed.read(0).events == ()
            assert feed.read(0).cursor == 0
            assert feed.cursor() > 0
        assert [event.queue for event in feed.read(0).events] == ["slow", "quick"]


@pytest.mark.row("M-31")
def test_an_engine_that_dies_is_told_once(flow: Flow) -> None:
    first = flow.engine.parts.engine_id
    flow.crash()
    second = flow.open(lease=Lease(ttl_s=1.0, margin_s=0.2), recovery_s=0.05).parts.engine_id
    until(lambda: read_all(flow.engine.feed, names=["engine.offline"]), 60)
    told = [(event.name, event.engine) for event in read_all(flow.engine.feed, names=["engine.*"])]
    assert told == [("engine.started", first), ("engine.started", second), ("engine.offline", first)]
    flow.engine.stop()
    with closing(Database(flow.url)) as database:
        assert [(e.name, e.engine) for e in read_all(EventFeed(database), names=["engine.stopped"])] == [
            ("engine.stopped", second)
        ]


@pytest.mark.row("M-31")
def test_a_queue_that_fills_up_is_told_once_and_again_when_it_is_well(flow: Flow) -> None:
    database = Database(flow.url)
    watermarks.set_watermark(database, "mail", 4)
    loops = [Watermarks(database), Watermarks(database)]

    def look() -> list[tuple[str, Any]]:
        for loop in loops:
            loop.run_once()
        found = read_all(EventFeed(database), names=["queue.*"])
        return [(event.name, event.data) for event in found if event.queue == "mail"]

    with flow.open(executes=False) as client:
        for count in range(5):
            assert look() == ([] if count < 4 else [("queue.high", {"depth": 4, "high": 4})])
            flow.started.append(client.start_now(flow.document(ECHO), options=StartOptions(queue="mail")))
    flow.shut()
    for each in flow.started:
        flow.wait(each)
    assert look() == [("queue.high", {"depth": 4, "high": 4}), ("queue.normal", {"depth": 0, "high": 4})]
    assert watermarks.unset_watermark(database, "mail")
    assert not watermarks.unset_watermark(database, "mail")
    database.close()


def test_a_bound_is_a_mark_at_four_fifths(flow: Flow) -> None:
    from strataflow.repositories import control_store

    database = flow.engine.database
    control_store.set_queue(database, "bounded", max_size=10)
    with database.read() as connection:
        (mark,) = watermarks.watermarks(connection)
    assert (mark.queue, mark.high, mark.above_since, mark.explicit) == ("bounded", 8, None, False)
