"""The write transaction on both databases: fence, locks, what a reader under a lock sees, what outlives nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from strataflow.repositories import engines, views
from strataflow.repositories.batch import Batch, Changes, CheckpointRow, ClaimWish, Opening, ProgressRow
from strataflow.repositories.database import Database
from strataflow.repositories.dialect import Connection, LostPrepared, PostgresConnection, connect
from strataflow.repositories.engines import EngineRow
from strataflow.repositories.errors import BadRow, Fenced, Retryable
from strataflow.repositories.records import BlobRow, EngineRole, InstanceState, LogRow, TaskState, VarRow
from strataflow.repositories.url import DatabaseUrl
from tests.support.processes import run_together
from tests.support.rows import instance, instance_id, journal, new_id, task

TTL = 30_000_000
ONE, TWO, THREE = (instance_id(n) for n in (1, 2, 3))


@dataclass
class Writer:
    """An engine with a writer's connection of its own."""

    url: str
    database: Database
    engine_id: str = field(default_factory=new_id)
    number: int = 0

    def __post_init__(self) -> None:
        row = EngineRow(self.engine_id, EngineRole.ENGINE, "here", 1, "1")
        engines.register(self.database, row, TTL)
        self.connection: Connection = connect(DatabaseUrl.parse(self.url))
        self.batch = Batch(self.connection)

    def open(self, *ids: str, keys: list[tuple[str, str]] | None = None, **more: Any) -> Opening:
        self.number += 1
        return self.batch.open(
            engine_id=self.engine_id,
            batch=self.number,
            ttl=TTL,
            instance_ids=ids,
            task_keys=keys or [],
            **more,
        )

    def do(self, changes: Changes, *ids: str, **more: Any) -> Opening:
        """Run a whole transaction."""
        try:
            opening = self.open(*ids, **more)
            self.batch.write(changes)
        except BaseException:
            self.batch.rollback()
            raise
        return opening


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()


@pytest.fixture
def writers(db_url: str, database: Database) -> Iterator[Callable[[], Writer]]:
    made: list[Writer] = []

    def make() -> Writer:
        made.append(Writer(db_url, database))
        return made[-1]

    yield make
    for writer in made:
        writer.batch.rollback()
        writer.connection.close()


@pytest.fixture
def writer(writers: Callable[[], Writer]) -> Writer:
    return writers()


@pytest.fixture
def postgres(migrated_pg_url: str) -> Iterator[Callable[[], Writer]]:
    """Give writers on Postgres only."""
    database = Database(migrated_pg_url)
    made: list[Writer] = []

    def make() -> Writer:
        made.append(Writer(migrated_pg_url, database))
        return made[-1]

    yield make
    for writer in made:
        writer.batch.rollback()
        writer.connection.close()
    database.close()


@contextlib.contextmanager
def _beside(writer: Writer, work: Callable[[], Any], *, waits: bool = True) -> Iterator[Future[Any]]:
    """Run `work` on another thread, and come back when it waits for a lock that this one holds."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        if waits and writer.connection.dialect == "postgresql":
            with psycopg.connect(writer.url, autocommit=True) as looking:
                _until_somebody_waits(looking, future)
        yield future


def _until_somebody_waits(looking: psycopg.Connection[Any], future: Future[Any]) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 0.8  # less than lock_timeout
    while time.monotonic() < deadline and not future.done():
        row = looking.execute(waiting).fetchone()
        if row and row[0]:
            return
        time.sleep(0.002)
    pytest.fail("nobody waited for the lock")


# --- the fence -------------------------------------------------------------------------------------------------------


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
    writer.do(Changes(new_instances=[instance(1)], new_leaves=[task(1, "a", TaskState.QUEUED, executor="x")]))
    engines.renew(database, writer.engine_id, -1)
    assert engines.mark_dead_if_expired(database, writer.engine_id)
    with pytest.raises(Fenced):
        writer.do(Changes(), claim=ClaimWish(("default",), ("x",), 5))
    with database.read() as connection:
        assert views.interrupted(connection) == []


# --- what is written comes back --------------------------------------------------------------------------------------


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
            vars=[VarRow(ONE, "", "v", 2, odd, None)],
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
        assert views.vars(connection, ONE, "", ["v"])["v"] == VarRow(ONE, "", "v", 2, odd, None)
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
    writer.do(Changes(new_instances=[instance(1)], blobs=[blob], vars=[VarRow(ONE, "", "v", 0, "1", None)]))
    writer.do(
        Changes(blobs=[BlobRow(ONE, "h", "second"), blob], vars=[VarRow(ONE, "", "v", 1, None, "h")]), ONE
    )
    with database.read() as connection:
        assert views.blob(connection, ONE, "h") == "first"
        assert views.vars(connection, ONE, "", ["v"])["v"] == VarRow(ONE, "", "v", 1, None, "h")


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


# --- keys ------------------------------------------------------------------------------------------------------------


def test_the_first_start_with_a_key_owns_it(writers: Callable[[], Writer]) -> None:
    first, second = writers(), writers()
    first.open(new_keys=[("flow", "k", ONE)])
    assert first.batch.key_owner("flow", "k") == ONE
    first.batch.write(Changes(new_instances=[instance(1)]))
    second.open(new_keys=[("flow", "k", TWO), ("other", "k", TWO)])
    assert second.batch.key_owner("flow", "k") == ONE
    assert second.batch.key_owner("other", "k") == TWO
    assert second.batch.key_owner("flow", "absent") is None
    second.batch.rollback()
    first.open()
    assert first.batch.key_owner("other", "k") is None
    first.batch.rollback()


def test_of_two_starts_at_once_the_second_finds_the_first(writers: Callable[[], Writer]) -> None:
    first, second = writers(), writers()
    first.open(new_keys=[("flow", "k", ONE)])

    def start() -> str | None:
        second.open(new_keys=[("flow", "k", TWO)])
        owner = second.batch.key_owner("flow", "k")
        second.batch.rollback()
        return owner

    with _beside(first, start) as other:
        first.batch.write(Changes(new_instances=[instance(1)]))
    assert other.result() == ONE


# --- locks: the interleavings that lost or hung work in trials -------------------------------------------------------


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
    with _beside(first, lambda: _two_completed(second, "b")) as other:
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

    with _beside(first, insert) as other:
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
    with _beside(first, lambda: second.do(Changes(), TWO, ONE)) as other:
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


# --- the peek --------------------------------------------------------------------------------------------------------


def _ready(number: int, path: str, **values: Any) -> Any:
    return task(number, path, TaskState.QUEUED, executor="a.x", **values)


WISH = ClaimWish(("default", "slow"), ("a.x",), 10)


def test_the_peek_takes_what_this_engine_can_run_in_order(writer: Writer) -> None:
    rows = [
        _ready(1, "late", ready_at=9),
        _ready(1, "early", ready_at=3),
        _ready(2, "urgent", ready_at=10, priority=5),
        _ready(2, "slow", ready_at=4, queue="slow"),
        _ready(2, "elsewhere", queue="other"),
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
    rows = [_ready(1, "held"), _ready(2, "free")]
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


# --- the journal's numbers -------------------------------------------------------------------------------------------


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

    with _beside(first, lambda: second.do(Changes(journal=[journal(1, "second")]), ONE)) as other:
        first.batch.write(Changes(journal=[journal(1, "first")]))
    other.result()
    with database.read() as connection:
        assert [row.path for row in views.history(connection, ONE)] == ["first", "second"]


# --- nothing relies on the session -----------------------------------------------------------------------------------

SESSION = {
    "settings": "SELECT name, setting FROM pg_settings WHERE source = 'session' OR name = 'search_path'",
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
            new_leaves=[_ready(number, "a")],
            journal=[journal(number, "a")],
            vars=[VarRow(instance_id(number), "", "v", 0, "1", None)],
        ),
        instance_id(number),
        keys=[(instance_id(number), "a")],
        claim=WISH,
        due_limit=5,
        new_keys=[("flow", f"k{number}", instance_id(number))],
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


# --- many processes --------------------------------------------------------------------------------------------------


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
    database.close()
    assert len(rows) == 150
    assert sorted(numbers) == list(range(1, 151))
