"""`decide` by tables: a snapshot and events give these states, this answer, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.engine.decide import first_keys
from strataflow.engine.errors import EngineError, IllegalTransition, NotFound
from strataflow.engine.events import (
    Applied,
    CancelInstance,
    Claim,
    Event,
    ExecutorMissing,
    LeaseExpired,
    LogLineNote,
    Note,
    StartInstance,
    TaskEnded,
    TimerDue,
)
from strataflow.engine.outcomes import (
    Cancelled,
    Entered,
    Expanded,
    Failed,
    Outcome,
    Payload,
    Released,
    RetryLater,
    Skipped,
    Succeeded,
    Suspended,
)
from strataflow.engine.retry import CRASH_BUDGET
from strataflow.executors.base import TaskError
from strataflow.repositories.records import TaskState
from tests.unit.world import INSTANCE, ME, OTHER, Doc, World, plan_of, run, text

SECOND = 1_000_000
BROKEN = Failed(TaskError("t.E", "broken"))
HOLDS: Doc = {"when": "{{ inputs.x }}"}


def world(nodes: Doc, **top: Any) -> World:
    """Give a world whose definition takes `x`."""
    return World(plan_of(nodes, inputs={"type": "object", "properties": {"x": {}}}, **top))


def started(nodes: Doc, slots: int = 100, **top: Any) -> World:
    """Give a world in which the instance has started and its first tasks were claimed."""
    made = world(nodes, **top)
    made.start(slots=slots)
    return made


def status(result: Applied | EngineError) -> str:
    return result.status if isinstance(result, Applied) else result.code


RUN = {"a": run(retry={"max": 1, "delay": "1s"})}
MAP: Doc = {"a": {"map": "{{ inputs.x }}", "do": run()}}
GROUP: Doc = {"a": {"do": {"nodes": {"b": run()}}, **HOLDS}}
WAIT: Doc = {"a": {"wait": {"for": "1s"}}}


@pytest.mark.row("X-05")
@pytest.mark.parametrize(
    ("nodes", "outcome", "state", "root"),
    [
        (RUN, text("1"), "completed", "completed"),
        (RUN, BROKEN, "retrying", "waiting"),
        (RUN, Failed(TaskError("t.E", "broken", retryable=False)), "failed", "failed"),
        (RUN, Cancelled(), "failed", "failed"),
        (RUN, Skipped(), "skipped", "completed"),
        (RUN, RetryLater(SECOND, "busy"), "retrying", "waiting"),
        (RUN, Released(), "queued", "waiting"),
        (WAIT, Suspended(SECOND), "waiting", "waiting"),
        (WAIT, Skipped(), "skipped", "completed"),
        (WAIT, Failed(TaskError("expression", "bad", retryable=False)), "failed", "failed"),
        (MAP, Expanded(2, ("[1,2]",)), "waiting", "waiting"),
        (MAP, Expanded(0, ()), "completed", "completed"),
        (MAP, Skipped(), "skipped", "completed"),
        (MAP, BROKEN, "failed", "failed"),
        (GROUP, Entered(), "waiting", "waiting"),
        (GROUP, Skipped(), "skipped", "completed"),
        ({"a": {"set": {"v": 1}}}, Succeeded(Payload("{}"), {"v": Payload("1")}), "completed", "completed"),
    ],
)
def test_each_outcome_leads_to_its_state(nodes: Doc, outcome: Outcome, state: str, root: str) -> None:
    it = started(nodes)
    assert it.state("a") == "running"
    assert status(it.end("a", outcome)) == "accepted"
    assert (it.state("a"), it.state("")) == (state, root)


def ended(path: str = "a", attempt: int = 1, engine: str = ME) -> TaskEnded:
    return TaskEnded(INSTANCE, path, attempt, engine, text("1"))


@pytest.mark.row("X-05")
@pytest.mark.parametrize(
    ("event", "answer"),
    [
        (ended(engine=OTHER), "stale"),
        (ended(attempt=0), "stale"),
        (ended(attempt=2), "stale"),
        (ended(path="b"), "stale"),
        (ended(path="none"), "stale"),
        (Note(INSTANCE, "a", 1, OTHER, fraction=0.5), "stale"),
        (Note(INSTANCE, "a", 2, ME, checkpoint="1"), "stale"),
        (Claim(INSTANCE, "a"), "ignored"),
        (Claim(INSTANCE, "b"), "ignored"),
        (TimerDue(INSTANCE, "a"), "ignored"),
        (TimerDue(INSTANCE, "none"), "ignored"),
        (LeaseExpired(INSTANCE, "a", 1, OTHER), "ignored"),
        (LeaseExpired(INSTANCE, "a", 3, ME), "ignored"),
        (ExecutorMissing(INSTANCE, "a", "t.x"), "ignored"),
        (StartInstance(INSTANCE, "d", Payload("{}")), "existing"),
    ],
)
def test_what_comes_too_late_or_from_somebody_else_writes_nothing(event: Event, answer: str) -> None:
    it = started({"a": run(), "b": run(needs=["a"])})
    decision = it.step(event)
    assert [status(result) for result in decision.results] == [answer]
    assert not [name for name, rows in decision.changes.parts() if rows]


@pytest.mark.row("X-05")
@pytest.mark.parametrize(
    "event",
    [ended(), Claim(INSTANCE, "a"), TimerDue(INSTANCE, "a"), Note(INSTANCE, "a", 1, ME, fraction=1.0)],
)
def test_an_instance_that_does_not_exist_takes_nothing(event: Event) -> None:
    decision = world(RUN).step(event)
    assert status(decision.results[0]) in {"stale", "ignored"}
    assert not [name for name, rows in decision.changes.parts() if rows]


def test_cancelling_an_instance_that_does_not_exist_is_not_found() -> None:
    (error,) = world(RUN).step(CancelInstance(INSTANCE, "why")).results
    assert isinstance(error, NotFound)


@pytest.mark.row("X-05")
@pytest.mark.parametrize("outcome", [text("1"), Failed(TaskError("t.E", "x", retryable=False))])
def test_a_terminal_instance_refuses_to_be_cancelled_and_a_refusal_harms_nobody_else(
    outcome: Outcome,
) -> None:
    it = started({"a": run()})
    it.end("a", outcome)
    before = it.states()
    decision = it.step(CancelInstance(INSTANCE, "why"), StartInstance(INSTANCE, "d", Payload("{}")))
    assert isinstance(decision.results[0], IllegalTransition)
    assert status(decision.results[1]) == "existing"
    assert it.states() == before
    assert not decision.changes.journal


def test_a_refused_event_leaves_no_trace_among_accepted_ones() -> None:
    """The end of the only task ends the instance, so the cancel behind it is refused; the end counts."""
    it = started({"a": run()})
    decision = it.step(it.ended("a", text("1")), CancelInstance(INSTANCE, "late"))
    assert status(decision.results[0]) == "accepted"
    assert isinstance(decision.results[1], IllegalTransition)
    assert it.state("") == "completed"


# --- folding


@pytest.mark.row("X-06")
def test_five_hundred_ends_of_one_join_write_the_joins_row_once() -> None:
    it = started(MAP)
    it.end("a", Expanded(500, ("[]",)), slots=500)
    decision = it.step(*(it.ended(f"a[{index}]", text("1")) for index in range(500)))
    scopes = [row.path for row in decision.changes.scopes]
    assert sorted(scopes) == ["", "a"]
    assert len(decision.changes.leaves) == 500
    assert len(decision.changes.journal) == 500 + 3  # each item, the map, the root, the instance
    assert (it.tasks["a"].done, it.tasks["a"].open, it.state("")) == (500, 0, "completed")


def test_a_join_of_many_nodes_counts_all_ends_of_one_batch() -> None:
    names = [f"n{index}" for index in range(100)]
    it = started({name: run() for name in names} | {"last": run(needs=names)})
    decision = it.step(*(it.ended(name) for name in names), slots=1)
    assert it.state("last") == "running"
    assert [row.path for row in decision.changes.new_leaves] == ["last"]


def test_ends_in_several_batches_count_the_same() -> None:
    it = started({"a": run(), "b": run(), "c": run(), "last": run(needs=["a", "b", "c"])})
    remaining: list[int] = []
    for name in "abc":
        it.end(name)
        remaining.append(it.tasks["last"].remaining)
    assert remaining == [2, 1, 0]
    assert it.state("last") == "queued"


def test_rows_that_a_decision_lacks_are_asked_for_by_key() -> None:
    """What an end certainly touches is read at once; what its ripple meets beyond that is asked for."""
    it = started(
        {"g": {"do": {"nodes": {"a": run(), "b": run()}}}, "z": run(), "last": run(needs=["g", "z"])}
    )
    assert set(first_keys(it.plan, it.ended("z"))) == {"z", "", "last"}
    it.end("z")
    assert it.needs == 0
    it.end("g.a")
    it.end("g.b")
    assert it.needs >= 1
    assert it.state("last") == "queued"


def test_a_chain_of_groups_and_ends_needs_no_second_transaction() -> None:
    it = started({"g": {"do": {"nodes": {"h": {"do": {"nodes": {"a": run()}}}}}}})
    it.end("g.h.a", text("1"))
    assert set(it.states().values()) == {"completed"}


# --- slots and successors


def test_a_free_slot_claims_the_successor_in_the_same_transaction() -> None:
    it = started({"a": run(), "b": run(needs=["a"])})
    decision = it.step(it.ended("a"), slots=1)
    assert it.state("b") == "running"
    assert [(row.path, row.attempt, row.engine) for row in decision.claimed] == [("b", 1, ME)]
    assert decision.slots_used == 1


@pytest.mark.parametrize(
    "terms",
    [
        {"slots": 0},
        {"slots": 1, "executes": False},
        {"slots": 1, "executors": frozenset({"t.y"})},
        {"slots": 1, "floor": 5},
    ],
)
def test_without_slot_executor_or_turn_the_successor_is_queued(terms: dict[str, Any]) -> None:
    it = started({"a": run(), "b": run(needs=["a"])})
    it.step(it.ended("a"), **terms)
    assert it.state("b") == "queued"


def test_a_claim_never_takes_more_than_the_slots() -> None:
    it = started({name: run() for name in "abcde"}, slots=2)
    assert len(it.having(TaskState.RUNNING)) == 2
    decision = it.step(*(Claim(INSTANCE, path) for path in it.having(TaskState.QUEUED)), slots=1)
    assert [status(result) for result in decision.results].count("accepted") == 1
    assert len(it.having(TaskState.RUNNING)) == 3


def test_an_attempt_number_is_raised_by_each_claim_and_by_nothing_else() -> None:
    it = started(RUN)
    seen: list[int] = []
    for outcome in (Released(), RetryLater(SECOND, "busy"), BROKEN):
        it.end("a", outcome)
        it.now += 2 * SECOND
        if it.state("a") == "retrying":
            it.timers(slots=0)
        it.step(Claim(INSTANCE, "a"), slots=1)
        seen.append(it.tasks["a"].attempt)
    assert seen == [2, 3, 4]
    assert it.tasks["a"].failures == 1


# --- engines that die


@pytest.mark.row("X-21", "A-20")
def test_a_timeout_that_passed_while_the_engine_was_dead_is_a_timeout() -> None:
    it = started({"a": run(timeout="10s", retry={"max": 1, "delay": "1s"})})
    it.now += 11 * SECOND
    it.step(LeaseExpired(INSTANCE, "a", 1, ME), engine=OTHER)
    assert it.state("a") == "retrying"
    it.now += 2 * SECOND
    it.timers(slots=1)
    it.now += 11 * SECOND
    it.step(LeaseExpired(INSTANCE, "a", 2, ME), engine=OTHER)
    assert it.state("a") == "failed"
    assert '"code":"timeout"' in (it.tasks["a"].error or "")


def test_a_lost_attempt_within_its_timeout_costs_no_retry_and_is_queued_again() -> None:
    it = started({"a": run(timeout="10s")})
    it.step(LeaseExpired(INSTANCE, "a", 1, ME), engine=OTHER)
    row = it.tasks["a"]
    assert (row.state, row.crashes, row.failures) == (TaskState.QUEUED, 1, 0)


def test_a_task_that_keeps_killing_its_engine_fails_after_the_budget() -> None:
    it = started({"a": run()})
    for attempt in range(1, CRASH_BUDGET + 2):
        assert it.state("a") == "running"
        it.step(LeaseExpired(INSTANCE, "a", attempt, ME), engine=OTHER)
        it.step(Claim(INSTANCE, "a"), slots=1)
    assert it.state("a") == "failed"
    assert '"code":"crashed"' in (it.tasks["a"].error or "")


@pytest.mark.row("M-12")
def test_a_missing_executor_fails_with_its_name_and_is_not_retried() -> None:
    it = started({"a": run(retry={"max": 5})}, slots=0)
    it.step(ExecutorMissing(INSTANCE, "a", "t.x"))
    assert it.state("a") == "failed"
    error = it.tasks["a"].error or ""
    assert '"code":"no_executor"' in error
    assert "t.x" in error


def test_notes_of_the_holder_are_kept() -> None:
    it = started({"a": run()})
    note = Note(INSTANCE, "a", 1, ME, (LogLineNote(5, "info", "hi"),), 0.5, "half", '{"at":3}')
    changes = it.step(note).changes
    assert [line.message for line in changes.logs] == ["hi"]
    assert [row.value for row in changes.checkpoints] == ['{"at":3}']
    assert [(row.fraction, row.message) for row in changes.progress] == [(0.5, "half")]
    assert not changes.journal
