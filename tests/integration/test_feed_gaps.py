"""What retention takes away, and what a reader behind it is told."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from strataflow.engine.feed import EventFeed
from strataflow.repositories.database import Database, draw_numbers
from strataflow.repositories.feed import delete_notices, horizon, write_notice
from strataflow.repositories.log_retention import delete_lines
from strataflow.repositories.retention import delete_instance
from strataflow.repositories.tables import LOGS
from tests.integration.kit import Doc, Flow

ECHO: Doc = {"a": {"run": "t.echo", "with": 1}}
FAR: int = 2**62


@pytest.mark.row("A-30")
def test_a_reader_behind_a_deleted_run_is_told_and_one_past_it_is_not(flow: Flow) -> None:
    feed = flow.engine.feed
    begun = feed.cursor() or 1
    kept = flow.run(ECHO)
    gone = flow.run(ECHO)
    past = feed.read(begun).cursor
    assert feed.read(begun).lost == 0
    assert delete_instance(flow.engine.database, gone.id)
    flow.started.remove(gone.id)
    page = feed.read(begun)
    assert {event.instance_id for event in page.events if event.instance_id} == {kept.id}
    assert begun < page.lost <= past
    assert feed.read(page.lost).lost == 0, "what was deleted lies before it"
    assert feed.read(0).lost == 0, "all that is kept is what was asked for"
    assert feed.cursor() >= page.lost, "a cursor that was given never lies in the future"


def test_the_mark_only_rises_and_is_no_event(db_url: str) -> None:
    database = Database(db_url)
    feed = EventFeed(database)
    with database.write() as connection:
        for number in range(3):
            write_notice(connection, "queue.high", f"q{number}", {})
    first = feed.read(0).events[0].seq
    with database.write() as connection:
        assert delete_notices(connection, FAR) == 3
        assert delete_notices(connection, FAR) == 0
    with database.read() as connection:
        top = horizon(connection).last
    assert feed.read(0).events == ()
    assert feed.read(first).lost == top == first + 2
    database.close()


def test_lines_of_progress_that_are_deleted_count(flow: Flow) -> None:
    run = flow.run(ECHO)
    feed = flow.engine.feed
    with flow.engine.database.write() as connection:
        (seq,) = draw_numbers(connection, 1)
        line = {"instance_id": run.id, "seq": seq, "path": "a", "attempt": 1, "at": 1}
        connection.execute(insert(LOGS).values(**line, level="progress", message='[0.5, "half"]'))
    assert [event.seq for event in feed.read(0, names=["task.progress"]).events] == [seq]
    assert delete_lines(flow.engine.database, [run.id], FAR)
    assert feed.read(1).lost == seq
