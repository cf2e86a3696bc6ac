"""The write transaction on both databases: fence and receipt, rows that come back, keys, numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from strataflow.repositories import engines, views
from strataflow.repositories.batch import Changes, CheckpointRow, ProgressRow
from strataflow.repositories.database import Database
from strataflow.repositories.errors import BadRow, Fenced
from strataflow.repositories.records import BlobRow, InstanceState, LogRow, TaskState, VarRow
from tests.support.rows import instance, journal, task
from tests.support.writers import ONE, TTL, TWO, WISH, Writer, beside

# --- the fence --------------------------------------------------------------------------------------------------------


def test_a_batch_leaves_its_receipt_and_renews_the_lease(writer: Writer, database: Database) -> None:
    engines.renew(database, writer.engine_id, 1_000_000)
    writer.do(Changes())
    writer.do(Changes())
    with database.read() as connection:
        found = views.engine(connection, writer.engine_id)
        assert found is not None
        assert found.batch == 2
        assert found.lease_until > views.now(connection) + TTL - 5_000_000


@pytest.mark.parametrize("end", [engines.mark_dead, engines.stop])
def test_a_dead_engine_writes_nothing(
    writer: Writer, database: Database, end: Callable[[Database, str], bool]
) -> None:
    end(database, writer.engine_id)
    with pytest.raises(Fenced):
        writer.do(Changes(new_instances=[instance(1)]))
    with database.read() as connection:
        assert views.instance(connection, ONE) is None
        found = views.engine(connection, writer.engine_id)
    assert found is not None
    assert found.batch == 0


def test_nobody_is_declared_dead_in_the_middle_of_a_batch(postgres: Callable[[], Writer]) -> None:
    slow = postgres()
    engines.renew(slow.database, slow.engine_id, -1)
    slow.open()
    assert not engines.mark_dead_if_expired(slow.database, slow.engine_id)
    slow.batch.write(Changes())
    assert not engines.mark_dead_if_expired(slow.database, slow.engine_id)


def test_a_batch_that_comes_back_from_the_dead_is_refused_before_it_claims(
    writer: Writer, database: Database
) -> None:
    writer.do(
        Changes(new_instances=[instance(1)], new_leaves=[task(1, "a", TaskState.QUEUED, executor="a.x")])
    )
    engines.renew(database, writer.engine_id, -1)
    assert engines.mark_dead_if_expired(database, writer.engine_id)
    with pytest.raises(Fenced):
        writer.do(Changes(), claim=WISH)
    with database.read() as connection:
        assert views.interrupted(connection) == []


# --- what is written comes back ---------------------------------------------------------------------------------------


def test_every_kind_of_row_comes_back_as_it_was_written(writer: Writer, database: Database) -> None:
    odd = 'quote " backslash \\ comma , brace } null NULL newline \n tab \t é 漢 😀 %s ? :x'
    leaf = task(
        1,
        odd,
        TaskState.RUNNING,
        engine=writer.engine_id,
        executor="a.x",
        attempt=1,
        priority=-3,
        started_at=4,
    )
    scope = task(
        1, "", TaskState.WAITING, open=1, total=2, next=1, done=1, failed=0, skipped=0, output_ref="@items"
    )
    writer.do(
        Changes(
            new_instances=[instance(1, inputs=odd, key="k")],
            new_leaves=[leaf],
            new_scopes=[scope],
            blobs=[BlobRow(ONE, odd, odd)],
            vars=[VarRow(ONE, "", "v", "s", 1, 2, odd, None)],
            logs=[LogRow(ONE, "a", 1, 2, "info", odd)],
            checkpoints=[CheckpointRow(ONE, "a", 1, 2, odd)],
            progress=[ProgressRow(ONE, "a", 1, 2, 0.25, odd), ProgressRow(ONE, "b", 1, 2, 1.0, None)],
            journal=[journal(1, odd, engine=writer.engine_id, from_state="pending"), journal(1, None)],
        )
    )
    with database.read() as connection:
        found = views.instance(connection, ONE)
        assert found is not None
        assert (found.inputs, found.key, found.state) == (odd, "k", InstanceState.RUNNING)
        assert views.task(connection, ONE, odd) == leaf
        assert views.task(connection, ONE, "") == scope
        assert views.blob(connection, ONE, odd) == odd
        assert views.vars(connection, ONE, "", ["v"])["v"] == VarRow(ONE, "", "v", "s", 1, 2, odd, None)
        assert [line.message for line in views.logs(connection, ONE)] == [odd]
        assert views.checkpoint(connection, ONE, "a") == CheckpointRow(ONE, "a", 1, 2, odd)
        assert [p.fraction for p in views.progress(connection, ONE)] == [0.25, 1.0]
        assert [(h.path, h.from_state) for h in views.history(connection, ONE)] == [
            (odd, "pending"),
            (None, None),
        ]


def test_updates_write_final_images(writer: Writer, database: Database) -> None:
    leaf, scope, owner = task(1, "a", TaskState.QUEUED), task(1, "", open=1), instance(1)
    writer.do(Changes(new_instances=[owner], new_leaves=[leaf], new_scopes=[scope]))
    leaf.state, leaf.ready_at, leaf.output, leaf.ended_at = TaskState.COMPLETED, None, '"x"', 9
    leaf.attempt, leaf.failures, leaf.crashes, leaf.started_at = 4, 2, 1, 8
    scope.open, scope.total, scope.next, scope.done, scope.closed, scope.cursor = 0, 3, 3, 2, "failed", "a"
    scope.state, scope.ended_at, scope.error, scope.failed, scope.skipped = TaskState.FAILED, 9, "{}", 1, 0
    owner.state, owner.ended_at, owner.reason, owner.sweeps, owner.gen = InstanceState.FAILED, 9, "why", 2, 1
    writer.do(Changes(instances=[owner], leaves=[leaf], scopes=[scope]), ONE)
    with database.read() as connection:
        assert views.task(connection, ONE, "a") == leaf
        assert views.task(connection, ONE, "") == scope
        found = views.instance(connection, ONE)
    assert found is not None
    assert (found.state, found.reason, found.sweeps, found.gen, found.ended_at) == ("failed", "why", 2, 1, 9)


def test_payloads_are_stored_once_and_the_last_value_of_a_variable_wins(
    writer: Writer, database: Database
) -> None:
    blob = BlobRow(ONE, "h", "first")
    writer.do(
        Changes(new_instances=[instance(1)], blobs=[blob], vars=[VarRow(ONE, "", "v", "s", 1, 0, "1", None)])
    )
    writer.do(
        Changes(blobs=[BlobRow(ONE, "h", "second"), blob], vars=[VarRow(ONE, "", "v", "s", 1, 1, None, "h")]),
        ONE,
    )
    with database.read() as connection:
        assert views.blob(connection, ONE, "h") == "first"
        assert views.vars(connection, ONE, "", ["v"])["v"] == VarRow(ONE, "", "v", "s", 1, 1, None, "h")


def test_a_bad_row_spoils_its_whole_batch_and_the_connection_goes_on(
    writer: Writer, database: Database
) -> None:
    with pytest.raises(BadRow):
        writer.do(Changes(new_instances=[instance(1), instance(2)], new_leaves=[task(1, "", scope="x")]))
    with database.read() as connection:
        assert views.instances(connection) == []
        found = views.engine(connection, writer.engine_id)
    assert found is not None
    assert found.batch == 0
    writer.do(Changes(new_instances=[instance(2)]))
    with database.read() as connection:
        assert [row.id for row in views.instances(connection)] == [TWO]


def test_a_wide_batch_needs_no_more_parameters_than_a_narrow_one(writer: Writer, database: Database) -> None:
    paths = [f"m[{n}]" for n in range(5000)]
    writer.do(Changes(new_instances=[instance(1)], new_leaves=[task(1, path) for path in paths]))
    opening = writer.open(ONE, keys=[(ONE, path) for path in paths])
    assert sorted(row.path for row in opening.tasks) == sorted(paths)
    writer.batch.rollback()
    with database.read() as connection:
        assert views.counts(connection, ONE) == {TaskState.WAITING: 5000}


def test_the_rest_below_a_path_is_read_in_order(writer: Writer) -> None:
    rows = [task(1, f"m[{n}]") for n in (2, 0, 1)] + [task(1, "m[3]", TaskState.COMPLETED), task(1, "n")]
    writer.do(Changes(new_instances=[instance(1)], new_leaves=rows))
    writer.open(ONE)
    found = writer.batch.open_under(ONE, "m[", "m]", 2)
    assert [row.path for row in found] == ["m[0]", "m[1]"]
    assert [row.path for row in writer.batch.open_under(ONE, "m[1]", "m]", 5)] == ["m[2]"]
    writer.batch.rollback()


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_first_start_with_a_key_owns_it(writers: Callable[[], Writer]) -> None:
    first, second = writers(), writers()
    first.open(new_keys=[("flow", "start", "k", ONE)])
    assert first.batch.key_owner("flow", "start", "k") == ONE
    first.batch.write(Changes(new_instances=[instance(1)]))
    second.open(new_keys=[("flow", "start", "k", TWO), ("other", "start", "k", TWO)])
    assert second.batch.key_owner("flow", "start", "k") == ONE
    assert second.batch.key_owner("other", "start", "k") == TWO
    assert second.batch.key_owner("flow", "start", "absent") is None
    second.batch.rollback()
    first.open()
    assert first.batch.key_owner("other", "start", "k") is None
    first.batch.rollback()


def test_of_two_starts_at_once_the_second_finds_the_first(writers: Callable[[], Writer]) -> None:
    first, second = writers(), writers()
    first.open(new_keys=[("flow", "start", "k", ONE)])

    def start() -> str | None:
        second.open(new_keys=[("flow", "start", "k", TWO)])
        owner = second.batch.key_owner("flow", "start", "k")
        second.batch.rollback()
        return owner

    with beside(first, start) as other:
        first.batch.write(Changes(new_instances=[instance(1)]))
    assert other.result() == ONE


# --- the journal's numbers --------------------------------------------------------------------------------------------


def test_numbers_follow_the_order_of_the_rows_of_a_batch(writer: Writer, database: Database) -> None:
    lines = [LogRow(ONE, "a", 1, 1, "info", str(n)) for n in range(50)]
    steps = [journal(1, f"{n:03d}") for n in range(200)]
    writer.do(Changes(new_instances=[instance(1)], journal=steps, logs=lines))
    with database.read() as connection:
        assert [row.path for row in views.history(connection, ONE)] == [row.path for row in steps]
        assert [line.message for line in views.logs(connection, ONE)] == [line.message for line in lines]


def test_numbers_follow_commit_order_within_an_instance(
    writers: Callable[[], Writer], database: Database
) -> None:
    first, second = writers(), writers()
    first.do(Changes(new_instances=[instance(1)]))
    first.open(ONE)

    with beside(first, lambda: second.do(Changes(journal=[journal(1, "second")]), ONE)) as other:
        first.batch.write(Changes(journal=[journal(1, "first")]))
    other.result()
    with database.read() as connection:
        assert [row.path for row in views.history(connection, ONE)] == ["first", "second"]
