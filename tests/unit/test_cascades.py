"""Skips, failures, joins and cancels that reach many rows: cut into bounded transactions, going on by timers."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from strataflow.engine import draft, starting
from strataflow.engine.events import CancelInstance, Claim
from strataflow.engine.outcomes import Expanded, Failed, Released, RetryLater, Skipped, Suspended
from strataflow.executors.base import TaskError
from strataflow.repositories.records import TaskState
from tests.unit.test_decide import BROKEN, SECOND, started
from tests.unit.world import INSTANCE, ME, Doc, World, run, text

FATAL = Failed(TaskError("t.E", "broken", retryable=False))


def mapped(inner: Doc | None = None, **fields: Any) -> Doc:
    """Give a node that maps over `x`."""
    return {"map": "{{ inputs.x }}", "do": inner or run(), **fields}


def finish(it: World, slots: int = 0) -> int:
    """Fire timers until none is due; gives the number of transactions."""
    count = 0
    while it.timers(slots=slots):
        count += 1
        assert count < 100
    return count


# --- skips


@pytest.mark.row("A-11")
def test_a_skip_spreads_to_all_that_follow_and_names_its_reason() -> None:
    it = started({"a": run(), "b": run(needs=["a"]), "c": run(needs=["b"]), "d": run(needs=["c", "a"])})
    it.end("a", Skipped("when is false"))
    assert it.states() == {"": "completed", "a": "skipped", "b": "skipped", "c": "skipped", "d": "skipped"}
    reasons = {row.path: row.reason for row in it.journal if row.to_state == "skipped"}
    assert reasons == {"a": "when is false", "b": "a is skipped", "c": "b is skipped", "d": "a is skipped"}


@pytest.mark.parametrize("state", ["completed", "failed", "skipped"])
def test_an_edge_asks_for_the_states_it_names(state: str) -> None:
    end = {"completed": text("1"), "failed": FATAL, "skipped": Skipped()}
    for wanted in end:
        it = started({"a": run(), "b": run(needs=[{"node": "a", "on": [wanted]}])})
        it.end("a", end[state], slots=1)
        if wanted == state:
            assert it.state("b") == "running"
        elif state == "failed":
            assert (it.state(""), "b" in it.tasks) == ("failed", False)
        else:
            assert it.state("b") == "skipped"


def test_a_handled_failure_does_not_fail_the_scope() -> None:
    it = started({"a": run(), "b": run(needs=[{"node": "a", "on": ["failed"]}])})
    it.end("a", FATAL, slots=1)
    it.end("b", text("1"))
    assert it.states() == {"": "completed", "a": "failed", "b": "completed"}


def test_a_cascade_of_thousands_goes_on_in_further_transactions() -> None:
    count = 2_500
    nodes = {"a": run()} | {f"n{index}": run(needs=["a"]) for index in range(count)}
    nodes["last"] = run(needs=[{"node": f"n{index}", "on": ["skipped"]} for index in range(count)])
    it = started(nodes)
    decision = it.step(it.ended("a", Skipped()))
    assert len(it.having(TaskState.SKIPPED)) == 1 + draft.SWEEP_LIMIT
    assert len(decision.changes.new_leaves) == count + 1
    assert finish(it, slots=1) > 1
    assert it.state("last") == "running"
    it.end("last")
    assert it.done


def test_a_chain_of_skips_ends_however_long_it_is() -> None:
    names = [f"n{index}" for index in range(1_500)]
    nodes = {name: run(needs=[before]) for before, name in itertools.pairwise(names)}
    it = started({names[0]: run()} | nodes)
    it.end(names[0], Skipped())
    finish(it)
    assert it.state("") == "completed"
    assert len(it.having(TaskState.SKIPPED)) == 1_500


# --- failures


def test_a_failure_lets_running_tasks_end_and_cancels_the_rest() -> None:
    it = started(
        {"a": run(), "b": run(), "c": run(), "w": {"wait": {"for": "1h"}}, "d": run(needs=["b"])}, slots=2
    )
    it.end("w", Suspended(3600 * SECOND))
    assert it.state("c") == "queued"
    it.end("a", FATAL)
    assert it.states() == {"": "waiting", "a": "failed", "b": "running", "c": "cancelled", "w": "cancelled"}
    it.end("b", text("1"), slots=2)
    assert it.states() | {"": "failed", "b": "completed"} == it.states()
    assert "d" not in it.tasks


@pytest.mark.parametrize("outcome", [BROKEN, Released(), RetryLater(SECOND, "busy")])
def test_nothing_starts_again_in_a_failed_scope(outcome: Any) -> None:
    it = started({"a": run(), "b": run(retry={"max": 3})})
    it.end("a", FATAL)
    it.end("b", outcome, slots=5)
    assert it.state("b") in {"failed", "cancelled"}
    assert it.state("") == "failed"


def test_a_container_fails_with_its_tasks_error_as_cause() -> None:
    it = started({"g": {"do": {"nodes": {"m": mapped({"nodes": {"a": run()}})}}}})
    it.end("g.m", Expanded(1, ("[1]",)), slots=1)
    it.end("g.m[0].a", FATAL)
    error = json.loads(it.tasks[""].error or "{}")
    assert (error["code"], error["path"]) == ("join", "g")
    assert error["cause"]["path"] == "g.m"
    deepest = error["cause"]["cause"]["cause"]
    assert (deepest["code"], deepest["path"], deepest["cause"]) == ("t.E", "g.m[0].a", None)


# --- maps


@pytest.mark.row("X-12")
def test_list_and_length_are_written_with_the_first_items() -> None:
    it = started({"m": mapped()})
    decision = it.step(it.ended("m", Expanded(2_500, ("[1]", "[2]"))), slots=3)
    assert [blob.key for blob in decision.changes.blobs] == ["items:m:0:0", "items:m:0:1"]
    assert it.tasks["m"].total == 2_500
    assert it.tasks["m"].next == 1_000
    assert len(it.having(TaskState.RUNNING)) == 3


@pytest.mark.row("X-12")
@pytest.mark.parametrize("total", [0, 1, 999, 1_000, 1_001, 2_500])
def test_a_map_makes_each_item_once_in_windows(total: int) -> None:
    it = started({"m": mapped()})
    it.end("m", Expanded(total, ("[]",)), slots=100)
    most = 0
    while not it.done:
        running = it.having(TaskState.RUNNING)
        most = max(most, it.tasks["m"].open)
        it.step(*(it.ended(path, text("1")) for path in running), slots=len(running))
        queued = it.having(TaskState.QUEUED)[:500]
        if queued:
            it.step(*(Claim(INSTANCE, path) for path in queued), slots=500)
    assert most <= 1_000
    assert len(it.tasks) == total + 2
    born = [row.path for row in it.journal if row.from_state is None]
    assert len(born) == len(set(born))
    assert (it.tasks["m"].done, it.tasks["m"].next) == (total, total)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_a_map_never_has_more_unfinished_items_than_its_concurrency(width: int) -> None:
    it = started({"m": mapped(concurrency=width)})
    it.end("m", Expanded(20, ("[]",), width), slots=100)
    while not it.done:
        running = it.having(TaskState.RUNNING)
        assert 0 < len(running) <= width
        it.end(running[-1], text("1"), slots=100)
    assert it.tasks["m"].done == 20


def test_rest_cancel_stops_the_others_and_counts_no_late_end() -> None:
    it = started({"m": mapped(join={"need": "any"})})
    it.end("m", Expanded(5, ("[]",)), slots=3)
    decision = it.step(it.ended("m[1]", text("1")))
    assert it.state("m") == "completed"
    assert sorted(decision.stopped) == [("m[0]", 1), ("m[2]", 1)]
    assert [it.state(f"m[{index}]") for index in (3, 4)] == ["cancelled", "cancelled"]
    it.end("m[0]", text("1"))
    it.end("m[2]", FATAL)
    assert (it.state("m[0]"), it.tasks["m[0]"].closed, it.state("m[2]")) == ("completed", "late", "cancelled")
    assert it.state("") == "completed"


def test_rest_keep_runs_on_with_retries_releases_and_further_items() -> None:
    """The verdict closes the map's output, not its rest: an item of the rest may be retried or given back."""
    join = {"need": "any", "rest": "keep"}
    it = started({"m": mapped(run(retry={"max": 1, "delay": "1s"}), join=join, concurrency=3)})
    it.end("m", Expanded(5, ("[]",), 3), slots=3)
    it.end("m[0]", text("1"), slots=1)
    assert it.state("m") == "completed"
    assert it.state("m[3]") == "running"
    it.end("m[1]", BROKEN)
    it.end("m[2]", Released())
    assert (it.state("m[1]"), it.state("m[2]")) == ("retrying", "queued")
    assert it.state("") == "waiting"
    it.now += 2 * SECOND
    it.timers(slots=1)
    it.step(Claim(INSTANCE, "m[2]"), slots=1)
    for index in (1, 2, 3, 4):
        it.end(f"m[{index}]", text("1"), slots=1)
    assert it.state("") == "completed"


def test_kept_items_end_with_a_failed_instance() -> None:
    """Around a kept rest a failure closes everything: what runs may end, and nothing is tried again."""
    join = {"need": "any", "rest": "keep"}
    it = started({"m": mapped(run(retry={"max": 3}), join=join), "b": run()})
    it.end("m", Expanded(3, ("[]",)), slots=2)
    it.end("m[0]", text("1"))
    it.end("b", FATAL)
    assert it.state("m[2]") == "cancelled"
    it.end("m[1]", BROKEN, slots=5)
    assert (it.state("m[1]"), it.state("")) == ("failed", "failed")


# --- sweeps


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (draft, starting):
        monkeypatch.setattr(module, "SWEEP_LIMIT", 3)


def test_a_cancel_of_thousands_of_rows_goes_on_in_bounded_transactions() -> None:
    count = 2_300
    it = started({f"n{index}": run() for index in range(count)}, slots=2)
    decision = it.step(CancelInstance(INSTANCE, "enough"))
    assert len(decision.changes.journal) <= draft.SWEEP_LIMIT + 2
    assert it.instance is not None
    assert (it.instance.state, it.instance.sweeps) == ("cancelling", 1)
    queued = it.having(TaskState.QUEUED)
    assert len(queued) > 1_000
    claims = it.step(*(Claim(INSTANCE, path) for path in queued[:5]), slots=5)
    assert not claims.claimed, "a task begins after the cancel was acknowledged"
    assert finish(it) == 2
    assert len(it.having(TaskState.CANCELLED)) == count - 2
    for path in it.having(TaskState.RUNNING):
        it.end(path, text("1"))
    assert it.instance.state == "cancelled"


def test_nested_containers_are_swept_from_outside_in(small: None) -> None:
    inner = {"nodes": {"g": {"do": {"nodes": {"a": run(), "w": {"wait": {"for": "1h"}}}}}}}
    it = started({"m": mapped(inner), "z": run()})
    it.end("m", Expanded(4, ("[]",)), slots=2)
    it.step(CancelInstance(INSTANCE, "enough"))
    finish(it)
    for path in it.having(TaskState.RUNNING):
        it.end(path, Released())
    assert set(it.states().values()) == {"cancelled"}


def test_a_sweep_goes_on_while_its_maps_output_is_evaluated(small: None) -> None:
    it = started({"m": mapped(join={"need": "any"}, output="{{ result }}")})
    it.end("m", Expanded(9, ("[]",)), slots=1)
    it.end("m[0]", text("1"))
    assert it.state("m") == "running"
    assert it.tasks["m"].wake_at is not None
    it.end("m", text("[]"))
    finish(it)
    assert it.state("") == "completed"
    assert len(it.having(TaskState.CANCELLED)) == 8


def test_a_scope_that_empties_before_its_sweep_comes_round_ends(small: None) -> None:
    it = started({name: run() for name in "abcdef"})
    it.end("a", FATAL)
    assert it.tasks[""].cursor is not None
    it.step(*(it.ended(path, text("1")) for path in "bcdef"))
    assert it.instance is not None
    assert (it.instance.state, it.instance.sweeps, it.tasks[""].cursor) == ("failed", 0, None)


def test_kept_items_go_on_while_another_scope_is_swept(small: None) -> None:
    join = {"need": "any", "rest": "keep"}
    body = {"nodes": {"a": run(), "b": run(needs=["a"])}}
    other = mapped(join={"need": "any"})
    it = started({"m": mapped(body, join=join), "o": other})
    it.end("m", Expanded(2, ("[]",)), slots=2)
    it.end("o", Expanded(9, ("[]",)), slots=9)
    it.end("m[0].a", text("1"), slots=1)
    it.end("m[0].b", text("1"))
    it.end("o[0]", text("1"))
    assert it.instance is not None
    assert it.instance.sweeps == 1
    it.end("m[1].a", text("1"), slots=1)
    assert it.state("m[1].b") == "running"


def test_a_second_cancel_changes_nothing(small: None) -> None:
    it = started({name: run() for name in "abcdef"})
    it.step(CancelInstance(INSTANCE, "first"))
    decision = it.step(CancelInstance(INSTANCE, "second"))
    assert [getattr(result, "status", None) for result in decision.results] == ["ignored"]
    assert not decision.changes.journal
    assert it.instance is not None
    assert it.instance.reason == "first"


def test_a_cancel_takes_over_the_sweep_of_a_failure(small: None) -> None:
    it = started({name: run() for name in "abcdef"}, slots=3)
    it.end("a", FATAL)
    it.step(CancelInstance(INSTANCE, "enough"))
    finish(it)
    for path in it.having(TaskState.RUNNING):
        assert it.tasks[path].closed == "cancelled"
        it.end(path, Released())
    assert it.instance is not None
    assert it.instance.state == "cancelled"
    assert it.instance.sweeps == 0


def test_a_cancelled_tasks_success_still_counts_as_done() -> None:
    it = started({"a": run(), "b": run(needs=["a"])})
    it.step(CancelInstance(INSTANCE, "enough"))
    it.step(it.ended("a", text("1")), slots=1, engine=ME)
    assert it.states() == {"": "cancelled", "a": "completed"}
