"""Locks of the write transaction: what a reader under a lock sees, and who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from strataflow.repositories import views
from strataflow.repositories.batch import Changes, ClaimWish
from strataflow.repositories.database import Database
from strataflow.repositories.errors import Retryable
from strataflow.repositories.records import TaskState
from tests.support.rows import instance, journal, task
from tests.support.writers import ONE, TWO, WISH, Writer, beside, ready

# --- locks: the interleavings that lost or hung work in trials --------------------------------------------------------


def _two_completed(writer: Writer, path: str) -> None:
    """Complete a task and count down the join, made when the first comes by; absolute values."""
    opening = writer.open(ONE, keys=[(ONE, "join")])
    leaf = task(1, path, TaskState.COMPLETED)
    changes = Changes(leaves=[leaf], journal=[journal(1, path, "completed")])
    if opening.tasks:
        (join,) = opening.tasks
        join.remaining -= 1
        if join.remaining == 0:
            join.state, join.ready_at = TaskState.QUEUED, opening.now
        changes.leaves.append(join)
    else:
        changes.new_leaves.append(task(1, "join", TaskState.PENDING, remaining=1))
    writer.batch.write(changes)


def test_the_second_of_two_completers_sees_the_join_the_first_made(
    writers: Callable[[], Writer], database: Database
) -> None:
    first, second = writers(), writers()
    leaves = [task(1, path, TaskState.RUNNING, engine=first.engine_id, attempt=1) for path in ("a", "b")]
    first.do(Changes(new_instances=[instance(1)], new_leaves=leaves))
    opening = first.open(ONE, keys=[(ONE, "join")])
    assert opening.tasks == []
    with beside(first, lambda: _two_completed(second, "b")) as other:
        changes = Changes(leaves=[task(1, "a", TaskState.COMPLETED)])
        changes.new_leaves.append(task(1, "join", TaskState.PENDING, remaining=1))
        first.batch.write(changes)
    other.result()
    with database.read() as connection:
        join = views.task(connection, ONE, "join")
    assert join is not None
    assert (join.state, join.remaining) == (TaskState.QUEUED, 0)


def test_an_absent_row_stays_absent_until_the_lock_is_given_back(writers: Callable[[], Writer]) -> None:
    first, second = writers(), writers()
    first.do(Changes(new_instances=[instance(1)]))
    first.open(ONE, keys=[(ONE, "late")])

    def insert() -> list[str]:
        seen = second.open(ONE, keys=[(ONE, "late")]).tasks
        second.batch.rollback()
        return [row.path for row in seen]

    with beside(first, insert) as other:
        assert first.batch.read_tasks([(ONE, "late")]) == []
        first.batch.write(Changes(new_leaves=[task(1, "late")]))
    assert other.result() == ["late"]


def test_two_writers_in_opposite_orders_do_not_deadlock(writers: Callable[[], Writer]) -> None:
    first, second, start = writers(), writers(), threading.Barrier(2)
    leaves = [task(number, path) for number in (1, 2) for path in ("a", "b")]
    first.do(Changes(new_instances=[instance(1), instance(2)], new_leaves=leaves))

    def work(writer: Writer, ids: list[str], rows: list[Any]) -> None:
        start.wait()
        for _ in range(40):
            writer.do(Changes(leaves=rows), *ids)

    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(work, first, [ONE, TWO], leaves),
            pool.submit(work, second, [TWO, ONE], leaves[::-1]),
        ]
    for job in jobs:
        job.result()


def test_instances_are_locked_in_the_order_of_their_ids(postgres: Callable[[], Writer]) -> None:
    first, second = postgres(), postgres()
    first.do(Changes(new_instances=[instance(n) for n in (1, 2)]))
    first.open(ONE)
    with beside(first, lambda: second.do(Changes(), TWO, ONE)) as other:
        # the other waits for the first id and must not hold the second
        assert [row[0] for row in first.connection.rows(first.connection.lock_instances([TWO]))] == [TWO]
        first.batch.write(Changes())
    other.result()


def test_a_lock_that_is_not_given_back_ends_as_retryable(postgres: Callable[[], Writer]) -> None:
    first, second = postgres(), postgres()
    first.do(Changes(new_instances=[instance(1)]))
    first.open(ONE)
    with pytest.raises(Retryable, match="55P03"):
        second.do(Changes(), ONE)
    first.batch.write(Changes())
    second.do(Changes(), ONE)


# --- the peek ---------------------------------------------------------------------------------------------------------


def test_the_peek_takes_what_this_engine_can_run_in_order(writer: Writer) -> None:
    rows = [
        ready(1, "late", ready_at=9),
        ready(1, "early", ready_at=3),
        ready(2, "urgent", ready_at=10, priority=5),
        ready(2, "slow", ready_at=4, queue="slow"),
        ready(2, "elsewhere", queue="other"),
    ]
    control = task(2, "control", TaskState.QUEUED, ready_at=1)
    foreign = task(2, "foreign", TaskState.QUEUED, executor="b.y")
    writer.do(Changes(new_instances=[instance(1), instance(2)], new_leaves=[*rows, control, foreign]))
    opening = writer.open(claim=WISH)
    assert [row.path for row in opening.ready] == ["urgent", "control", "early", "slow", "late"]
    assert set(opening.instances) == {ONE, TWO}
    assert opening.ready_elsewhere == []
    writer.batch.rollback()
    opening = writer.open(claim=ClaimWish(("default",), ("a.x",), 2))
    assert [row.path for row in opening.ready] == ["urgent", "control"]
    writer.batch.rollback()


def test_the_peek_steps_over_instances_that_others_hold(postgres: Callable[[], Writer]) -> None:
    holder, claimer = postgres(), postgres()
    rows = [ready(1, "held"), ready(2, "free")]
    holder.do(Changes(new_instances=[instance(1), instance(2)], new_leaves=rows))
    holder.open(ONE)
    opening = claimer.open(claim=WISH)
    assert [row.path for row in opening.ready] == ["free"]
    assert [row.path for row in opening.ready_elsewhere] == ["held"]
    assert set(opening.instances) == {TWO}
    claimer.batch.rollback()
    holder.batch.rollback()


def test_due_tasks_are_read_with_their_instances(writer: Writer) -> None:
    far = 4_000_000_000_000_000
    rows = [task(1, "due", TaskState.RETRYING), task(2, "later", TaskState.RETRYING, wake_at=far)]
    writer.do(Changes(new_instances=[instance(1), instance(2)], new_leaves=rows))
    opening = writer.open(due_limit=10)
    assert [row.path for row in opening.due] == ["due"]
    assert set(opening.instances) == {ONE}
    writer.batch.rollback()


def test_due_tasks_of_held_instances_are_left_for_the_next_look(postgres: Callable[[], Writer]) -> None:
    holder, other = postgres(), postgres()
    holder.do(Changes(new_instances=[instance(1)], new_leaves=[task(1, "due", TaskState.RETRYING)]))
    holder.open(ONE)
    assert other.open(due_limit=10).due == []
    other.batch.rollback()
    holder.batch.rollback()
    assert [row.path for row in other.open(due_limit=10).due] == ["due"]
