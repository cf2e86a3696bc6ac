"""StateManager over both writers: one script of events gives the same answers, rows and journal."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from strataflow.engine.compiler import compile_definition
from strataflow.engine.errors import EngineError, EngineStopped, NotFound
from strataflow.engine.events import (
    Applied,
    CancelInstance,
    Event,
    LogLineNote,
    Note,
    StartInstance,
    TaskEnded,
    TimerDue,
)
from strataflow.engine.membership import Lease, Membership, new_id
from strataflow.engine.outcomes import Expanded, Failed, Outcome, Payload, RetryLater, Succeeded
from strataflow.engine.plans import PlanCache
from strataflow.engine.state_manager import StateManager
from strataflow.engine.transaction import BatchReport, Pending, Wishes
from strataflow.engine.writer import GroupCommitWriter, InlineWriter
from strataflow.executors.base import TaskError
from strataflow.repositories import definitions, engines, views
from strataflow.repositories.database import Database
from strataflow.repositories.records import EngineRole, InstanceState, TaskRow
from strataflow.repositories.url import DatabaseUrl

WAIT_S = 20
RUN = {"run": "t.x"}
NODES: dict[str, Any] = {
    "a": RUN,
    "m": {"map": "{{ nodes.a.output }}", "do": RUN, "join": {"tolerate": 1}},
    "b": {"run": "t.x", "retry": {"max": 1, "delay": "1h"}},
    "z": {"run": "t.x", "needs": ["m", "a"]},
}


class Quiet:
    """A listener that has slots, and claims nothing beyond what becomes ready in a batch."""

    breath_s = 0.0

    def wishes(self, pendings: list[Pending]) -> Wishes:
        return Wishes(executes=True, slots=1_000)

    def committed(self, report: BatchReport) -> None:
        """Nothing is executed here."""

    def fenced(self, member: Membership) -> None:
        raise AssertionError("nobody declared this engine dead")

    def unplanned(self, definition_id: str, pendings: list[Pending]) -> None:
        raise AssertionError("the plan is loaded")

    def reconnected(self) -> None:
        """The connection stays."""


class Desk:
    """A state manager on one writer, with everything below it real."""

    def __init__(self, url: str, kind: type[GroupCommitWriter | InlineWriter]) -> None:
        parsed = DatabaseUrl.parse(url)
        self.database = Database(parsed)
        self.plans = PlanCache()
        self.member = Membership(parsed, executes=True, lease=Lease())
        row = engines.EngineRow(
            id=self.member.id,
            role=EngineRole.ENGINE,
            host="h",
            pid=1,
            release="test",
            boot_id=None,
            lock_file=None,
            executors=("t.x",),
            slots=10,
        )
        engines.register(self.database, row, self.member.lease.ttl)
        self.writer = kind(parsed, self.plans, lambda: self.member, lambda: frozenset({"t.x"}), Quiet())
        self.writer.start()
        self.manager = StateManager(self.database, self.writer)
        self.definition = self._define()

    def _define(self) -> str:
        document = {"dsl": "1", "name": "flow", "nodes": NODES}
        stored = definitions.store(
            self.database, id=new_id(), name="flow", hash="h" * 64, body="{}", now=1, activate=False
        )
        self.plans.put(compile_definition(document, definition_id=stored.id, version=1)[1])
        return stored.id

    def close(self) -> None:
        self.writer.stop(5.0)
        self.member.close()
        self.database.close()

    # --- events

    def start(self, key: str | None = None, instance: str | None = None) -> StartInstance:
        return StartInstance(instance or new_id(), self.definition, Payload("{}"), key)

    def ended(self, instance: str, path: str, outcome: Outcome, attempt: int = 1) -> TaskEnded:
        return TaskEnded(instance, path, attempt, self.member.id, outcome)

    def apply(self, event: Event) -> Any:
        """Give the status, or the error's code."""
        try:
            return self.manager.apply_now(event, WAIT_S).status
        except EngineError as error:
            return error.code

    def rows(self, instance: str) -> dict[str, TaskRow]:
        with self.database.read() as connection:
            return {row.path: row for row in views.tasks(connection, instance, limit=1_000)}

    def state(self, instance: str) -> InstanceState | None:
        with self.database.read() as connection:
            return views.state_of(connection, instance)


@pytest.fixture(params=[GroupCommitWriter, InlineWriter])
def desk(request: pytest.FixtureRequest, db_url: str) -> Iterator[Desk]:
    """Give a state manager, once on each writer."""
    made = Desk(db_url, request.param)
    yield made
    made.close()


@pytest.fixture
def both(request: pytest.FixtureRequest, db_url: str) -> Iterator[list[Desk]]:
    """Give one on each writer, on the same database."""
    made = [Desk(db_url, GroupCommitWriter), Desk(db_url, InlineWriter)]
    yield made
    for each in made:
        each.close()


def batches(desk: Desk, instance: str) -> list[list[Event]]:
    """Give the events of one run, refused and stale ones included; an outcome stands behind its claim's batch."""
    good, bad = Succeeded(Payload("[1,2,3]")), Failed(TaskError("t.E", "broken", retryable=False))
    return [
        [desk.start(instance=instance), desk.start(instance=instance)],
        [
            desk.ended(instance, "a", good),
            desk.ended(instance, "a", good),
            desk.ended(instance, "b", RetryLater(3_600_000_000, "later")),
            TimerDue(instance, "b"),
        ],
        [
            Note(instance, "m", 0, desk.member.id, (LogLineNote(1, "info", "hi"),), 0.5),
            desk.ended(instance, "m", Expanded(3, ("[1,2,3]",)), attempt=0),
        ],
        [
            desk.ended(instance, "m[1]", bad),
            desk.ended(instance, "m[0]", good),
            desk.ended(instance, "m[2]", good, attempt=7),
            desk.ended(instance, "m[2]", good),
        ],
        [
            desk.ended(instance, "z", good),
            CancelInstance(instance, "enough"),
            CancelInstance(instance, "again"),
            desk.ended(instance, "nothing", good),
        ],
    ]


def script(desk: Desk, instance: str) -> list[Event]:
    """Give the same events one by one."""
    return [event for batch in batches(desk, instance) for event in batch]


def essence(desk: Desk, instance: str) -> tuple[Any, Any]:
    """Give rows and journal without what no two runs share: ids, instants, numbers."""
    with desk.database.read() as connection:
        journal = views.history(connection, instance)
    hidden = dict.fromkeys(("instance_id", "engine", "ready_at", "wake_at", "started_at", "ended_at"))
    rows = {path: dataclasses.replace(row, **hidden) for path, row in desk.rows(instance).items()}
    return rows, [(row.path, row.attempt, row.from_state, row.to_state, row.reason) for row in journal]


@pytest.mark.row("X-06", "X-07")
def test_both_writers_give_the_same_answers_rows_and_journal(both: list[Desk]) -> None:
    group, inline = both
    mine, other, batched = new_id(), new_id(), new_id()
    answers = [group.apply(event) for event in script(group, mine)]
    assert [inline.apply(event) for event in script(inline, other)] == answers
    assert answers == [
        "accepted", "existing", "accepted", "stale", "accepted", "ignored", "accepted", "accepted",
        "accepted", "accepted", "stale", "accepted", "accepted", "accepted", "ignored", "stale",
    ]  # fmt: skip
    assert essence(group, mine) == essence(inline, other)
    together: list[str] = []
    for batch in batches(group, batched):
        futures = [group.manager.submit(event) for event in batch]
        together += [future.result(WAIT_S).status for future in futures]
    assert together == answers
    assert essence(group, batched) == essence(inline, other)


@pytest.mark.row("X-06")
def test_what_apply_returned_is_committed(desk: Desk) -> None:
    event = desk.start()
    applied = asyncio.run(desk.manager.apply(event))
    assert applied == Applied("accepted", event.instance_id)
    assert desk.state(event.instance_id) is InstanceState.RUNNING
    asyncio.run(
        desk.manager.update_task_state(event.instance_id, "a", Succeeded(), attempt=1, engine=desk.member.id)
    )
    assert desk.rows(event.instance_id)["a"].state == "completed"


@pytest.mark.row("X-07")
def test_the_history_comes_in_order_and_in_pages(desk: Desk) -> None:
    event = desk.start()
    for each in script(desk, event.instance_id):
        desk.apply(each)
    whole = desk.manager.get_state_history(event.instance_id)
    assert [row.seq for row in whole] == sorted(row.seq for row in whole)
    pages: list[Any] = []
    while page := desk.manager.get_state_history(
        event.instance_id, limit=4, after=pages[-1].seq if pages else 0
    ):
        pages += page
    assert pages == whole
    assert [row.to_state for row in whole if row.path is None] == [
        "pending",
        "running",
        "cancelling",
        "cancelled",
    ]


@pytest.mark.row("X-05")
def test_a_refused_event_harms_none_of_its_batch(desk: Desk) -> None:
    ended = desk.start()
    desk.apply(ended)
    desk.apply(CancelInstance(ended.instance_id, "x"))
    for path in ("a", "b"):
        desk.apply(desk.ended(ended.instance_id, path, Succeeded(Payload("[]"))))
    starts = [desk.start() for _ in range(20)]
    events: list[Event] = []
    for start in starts:
        events += [start, CancelInstance(new_id(), "no such"), CancelInstance(ended.instance_id, "over")]
    futures = [desk.manager.submit(event) for event in events]
    for number, future in enumerate(futures):
        if number % 3 == 1:
            with pytest.raises(NotFound):
                future.result(WAIT_S)
        else:
            assert future.result(WAIT_S).status == ("accepted" if number % 3 == 0 else "ignored")
    assert {desk.state(start.instance_id) for start in starts} == {InstanceState.RUNNING}


@pytest.mark.parametrize("poison", ["nul \x00", "lone \ud800"])
def test_an_event_that_no_database_takes_harms_none_of_its_batch(desk: Desk, poison: str) -> None:
    victim, starts = desk.start(), [desk.start() for _ in range(10)]
    desk.apply(victim)
    events: list[Event] = [*starts[:5], CancelInstance(victim.instance_id, poison), *starts[5:]]
    futures: list[Future[Applied]] = [desk.manager.submit(event) for event in events]
    statuses: list[str] = []
    for future in futures:
        try:
            statuses.append(future.result(WAIT_S).status)
        except EngineError as error:
            statuses.append(error.code)
    assert statuses[:5] + statuses[6:] == ["accepted"] * 10
    assert desk.apply(desk.ended(victim.instance_id, "a", Succeeded(Payload("[]")))) == "accepted"


def test_one_key_in_one_batch_gives_one_instance(desk: Desk) -> None:
    futures = [desk.manager.submit(desk.start(key="k")) for _ in range(30)]
    found = [future.result(WAIT_S) for future in futures]
    assert len({applied.instance_id for applied in found}) == 1
    assert sorted(applied.status for applied in found) == ["accepted"] + ["existing"] * 29


def test_an_event_for_another_instance_is_refused(desk: Desk) -> None:
    with pytest.raises(EngineError, match="not"):
        asyncio.run(desk.manager.update_workflow_state(new_id(), CancelInstance(new_id(), "x")))


@pytest.mark.parametrize("times", [1, 2])
def test_a_stopped_writer_takes_nothing(desk: Desk, times: int) -> None:
    for _ in range(times):
        desk.writer.stop(1.0)
    with pytest.raises(EngineStopped):
        desk.manager.submit(desk.start())


def test_a_sender_that_fails_harms_nobody(desk: Desk) -> None:
    """What is called with an answer is somebody else's code."""

    def broken(answer: Any) -> None:
        raise RuntimeError("the sender is broken")

    refuse: Callable[[Any], None] = broken
    first, second = desk.start(), desk.start()
    desk.writer.submit(Pending(first, refuse))
    assert desk.apply(second) == "accepted"
    assert desk.state(first.instance_id) is InstanceState.RUNNING
