"""The task system: life, options, states, cancelling, retries, hooks, statistics, on both databases."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from strataflow import (
    ExecutorError,
    InputError,
    NonRetryable,
    NotFound,
    QueueFull,
    TaskContext,
    TaskFailed,
    TaskRecord,
    TaskState,
    TaskSystem,
    task_builder,
)
from strataflow.executors.errors import DuplicateExecutor
from strataflow.repositories.control_store import set_queue
from strataflow.repositories.records import InstanceState
from strataflow.repositories.records import TaskState as NodeState
from strataflow.services.tasks.states import TRANSITIONS, state_of_node
from tests.integration.kit import until
from tests.integration.task_kit import WAIT_S, Bench, Process, benched

#: M-34: tasks of each of the four producers.
EACH = int(os.environ.get("STRATAFLOW_TASKS_EACH", "1000"))


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    with benched(db_url) as made:
        yield made


# --- life


@pytest.mark.row("M-01")
def test_register_start_submit_get_stop_and_start_again(bench: Bench) -> None:
    system = bench.system(handlers=False)
    system.register("square", lambda n: n * n)

    @system.handler("greet")
    async def greet(ctx: TaskContext, payload: Any) -> str:
        return f"hello {payload} for the {ctx.attempt}."

    class Upper:
        def execute(self, ctx: TaskContext, payload: str) -> str:
            return payload.upper()

    system.register("upper", Upper)
    assert list(system.handlers()) == ["greet", "square", "upper"]
    assert not system.running
    system.start()
    assert system.running
    assert system.submit("square", 7).get(WAIT_S) == 49
    assert system.submit("greet", "ana").get(WAIT_S) == "hello ana for the 1."
    assert system.submit("upper", "abc").get(WAIT_S) == "ABC"
    system.stop()
    assert not system.running
    system.stop()
    system.start()
    assert system.start() is system
    assert system.submit("square", 3).get(WAIT_S) == 9
    assert system.unregister("upper")
    assert not system.unregister("upper")
    assert "upper" not in system.handlers()


def test_a_name_is_taken_once_unless_it_is_replaced(bench: Bench) -> None:
    with bench.system() as system:
        with pytest.raises(DuplicateExecutor):
            system.register("square", lambda n: n)
        system.register("square", lambda n: n + 1, replace=True)
        assert system.submit("square", 1).get(WAIT_S) == 2


@pytest.mark.row("A-32")
def test_what_is_submitted_before_the_start_runs_after_it_in_this_or_another_process(
    bench: Bench, tmp_path: Path
) -> None:
    child = Process(bench.url, tmp_path, submit=[["work", 1, {}], ["work", 2, {}]])
    ids = child.line()
    child.join()
    system = bench.system()
    kept = system.submit("square", 5)
    assert kept.state is TaskState.QUEUED
    assert system.get_task(kept.id).payload == 5
    assert [record.id for record in system.pending()] == [*ids, kept.id]
    system.register("work", lambda payload: payload)
    assert child.lines() == []
    with system:
        assert [system.result(each).get(WAIT_S) for each in ids] == [1, 2]
        assert kept.get(WAIT_S) == 25


def test_a_stopped_system_still_submits_and_answers(bench: Bench) -> None:
    system = bench.system()
    with system:
        done = system.submit("square", 2)
        assert done.get(WAIT_S) == 4
    assert done.get(1) == 4
    later = system.submit("square", 3)
    assert later.state is TaskState.QUEUED
    with system:
        assert later.get(WAIT_S) == 9


@pytest.mark.row("M-10", "A-05")
def test_queued_and_running_tasks_outlive_a_kill_and_keep_their_order(bench: Bench, tmp_path: Path) -> None:
    submit = [["work", number, {"max_retries": 0}] for number in range(8)]
    child = Process(bench.url, tmp_path, submit=submit, start=True)
    ids = child.line()
    child.await_line("begin:0")
    child.kill()
    system = bench.system(concurrency=1)
    seen: list[int] = []
    system.register("work", lambda number: seen.append(number) or number)
    with system:
        assert [system.result(each).get(WAIT_S) for each in ids] == list(range(8))
    assert [number for number in seen if number] == list(range(1, 8))
    assert seen.count(0) == 1


@pytest.mark.row("M-32")
def test_a_graceful_stop_waits_for_what_runs_and_keeps_what_is_queued(bench: Bench) -> None:
    system = bench.system(concurrency=1)
    system.start()
    running, queued = system.submit("hold", 1), system.submit("square", 2)
    until(lambda: running.state is TaskState.RUNNING)
    threading.Timer(0.3, bench.gate.set).start()
    system.stop(graceful=True, timeout=10)
    assert running.state is TaskState.SUCCEEDED
    assert queued.state is TaskState.QUEUED
    with system:
        assert queued.get(WAIT_S) == 4


@pytest.mark.row("M-32")
@pytest.mark.parametrize("graceful", [True, False])
def test_a_stop_that_waits_no_longer_leaves_running_tasks_recoverable(
    bench: Bench, *, graceful: bool
) -> None:
    system = bench.system(concurrency=2)
    system.start()
    held = [system.submit("hold", 1), system.submit("hold_async", 2)]
    until(lambda: all(each.state is TaskState.RUNNING for each in held))
    began = time.monotonic()
    system.stop(graceful=graceful, timeout=0.2)
    assert time.monotonic() - began < 8
    assert [each.state for each in held] == [TaskState.QUEUED] * 2
    bench.gate.set()
    with system:
        assert [each.get(WAIT_S) for each in held] == ["held", "held"]
        assert [system.get_task(each.id).attempts for each in held] == [2, 2]


# --- what a task is


@pytest.mark.row("M-02")
def test_a_record_has_everything_and_survives_a_round_trip(bench: Bench) -> None:
    eta = datetime.now(UTC) + timedelta(hours=1)
    options = {
        "priority": "high",
        "timeout": 9,
        "retries": 1,
        "never": [KeyError],
        "tags": ["a", "b"],
        "key": "k",
    }
    with bench.system() as system:
        later = system.submit("echo", {"to": "ana"}, eta=eta, queue="slow", **options)
        done = system.submit("fail", None, retries=0)
        assert done.wait(WAIT_S)
        records = [system.get_task(later.id), system.get_task(done.id)]
        for record in records:
            assert TaskRecord.from_json(record.to_json()) == record
    first, second = records
    assert (first.id, first.name, first.payload) == (later.id, "echo", {"to": "ana"})
    assert (first.state, first.config.priority, first.config.queue) == (TaskState.PENDING, 7, "slow")
    assert (first.config.timeout, first.config.max_retries, first.config.never) == (9.0, 1, ("KeyError",))
    assert (first.tags, first.config.key, first.config.eta) == (("a", "b"), "k", eta)
    assert second.state is TaskState.FAILED
    assert second.traceback is not None
    assert "attempt 1 is broken" in second.traceback
    assert first.id != second.id


def test_unknown_ids_are_an_error(bench: Bench) -> None:
    missing = "018f0000-0000-7000-8000-000000000001"
    with bench.system() as system:
        for wrong in (missing, "no id"):
            for act in (system.get_task, system.cancel, system.retry, system.logs, system.children):
                with pytest.raises(NotFound):
                    list(act(wrong))  # pyright: ignore[reportArgumentType]
            result = system.result(wrong)
            with pytest.raises(NotFound):
                result.get(1)
            assert not system.results.exists(wrong)


def test_options_and_payloads_that_cannot_be_are_refused_at_once(bench: Bench) -> None:
    with bench.system() as system:
        with pytest.raises(TypeError, match="colour"):
            system.submit("echo", 1, colour="red")
        with pytest.raises(ValueError, match="priority"):
            system.submit("echo", 1, priority="urgent")
        with pytest.raises(InputError, match="not JSON"):
            system.submit("echo", object())
        with pytest.raises(InputError, match="nan"):
            system.submit("echo", float("nan"))
        assert system.statistics().submitted == 0


def test_a_key_makes_the_same_task(bench: Bench) -> None:
    with bench.system() as system:
        first = system.submit("echo", 1, key="order-7")
        assert system.submit("echo", 2, key="order-7") == first
        assert system.submit("square", 2, key="order-7") != first
        assert first.get(WAIT_S) == 1


@pytest.mark.row("M-03")
def test_tasks_move_as_it_is_drawn(bench: Bench) -> None:
    with bench.system(concurrency=2) as system:
        tasks = [
            system.submit("square", 2),
            system.submit("fail", 2, retry_delay=0.01),
            system.submit("fail", None, retries=1, retry_delay=0.01),
            system.submit("sleep", 5, timeout=0.05, retries=1, retry_delay=0.01),
            system.submit("square", 2, delay=0.05),
            system.submit("square", 2, delay=0.05, expires=0.01),
        ]
        for task in tasks:
            task.wait(WAIT_S)
        ends = [task.state.value for task in tasks]
        assert ends == ["succeeded", "succeeded", "failed", "failed", "succeeded", "expired"]
        for task in tasks:
            moves = [row for row in bench.history(system, task.id) if row.path == "work"]
            states = [state_of_node(NodeState(row.to_state)) for row in moves]
            for before, after in pairwise(states):
                assert before is after or after in TRANSITIONS[before], states


# --- order and time


def test_higher_priority_first_and_equal_priority_in_order_of_arrival(bench: Bench) -> None:
    system = bench.system(concurrency=1)
    wanted = ["low", "normal", "high", "lowest", "highest", "normal", "high"]
    for number, priority in enumerate(wanted):
        system.submit("echo", [priority, number], priority=priority)
    system.submit("echo", ["six", 7], priority=6)
    with system:
        until(lambda: len(bench.calls) == 8)
    order = [number for _, number in bench.calls]
    assert order == [4, 2, 6, 7, 1, 5, 0, 3]


@pytest.mark.row("M-04")
def test_queues_are_served_in_the_listed_order_then_by_priority_then_by_arrival(bench: Bench) -> None:
    system = bench.system(concurrency=1, queues=("urgent", "default", "slow"))
    wanted = [
        ("slow", "highest"),
        ("default", "normal"),
        ("urgent", "low"),
        ("default", "high"),
        ("slow", "highest"),
        ("urgent", "low"),
        ("default", "normal"),
        ("elsewhere", "highest"),
        ("urgent", "high"),
    ]
    for number, (queue, priority) in enumerate(wanted):
        system.submit("echo", number, queue=queue, priority=priority)
    with system:
        until(lambda: len(bench.calls) == 8)
        assert bench.calls == [8, 2, 5, 3, 1, 6, 0, 4]
        until(lambda: [(each.queue, each.pending) for each in system.queues()] == [("elsewhere", 1)])


def test_a_crowded_queue_does_not_hide_one_that_is_listed_before_it(bench: Bench) -> None:
    system = bench.system(concurrency=2, queues=("urgent", "default"))
    system.submit_batch([("echo", number, {"priority": "highest"}) for number in range(100)])
    system.submit("echo", "urgent", queue="urgent", priority="lowest")
    with system:
        until(lambda: len(bench.calls) == 101)
    assert "urgent" in bench.calls[:2]


def test_a_system_serves_its_queues_and_no_others(bench: Bench) -> None:
    with bench.system(queues=("mail",)) as mail:
        other = mail.submit("square", 2)
        mine = mail.submit("square", 3, queue="mail")
        assert mine.get(WAIT_S) == 9
        assert not other.wait(0.3)
        assert [(each.queue, each.pending) for each in mail.queues()] == [("default", 1)]
        with bench.system(queues=None):
            assert other.get(WAIT_S) == 4


@pytest.mark.row("M-05")
def test_a_task_with_an_eta_begins_no_sooner_and_soon_after(bench: Bench) -> None:
    with bench.system() as system:
        system.register("when", lambda _: time.time())
        now = time.time()
        at = datetime.fromtimestamp(now + 0.5, UTC)
        tasks = [
            system.submit_at("when", None, at),
            system.submit_later("when", None, 0.5),
            system.submit(task_builder("when").eta(at).build()),
        ]
        assert system.statistics().delayed == 3
        assert [task.state for task in tasks] == [TaskState.PENDING] * 3
        for task in tasks:
            assert now + 0.5 <= task.get(WAIT_S) < now + 2.0
        assert system.statistics().delayed == 0


@pytest.mark.row("M-06")
def test_a_task_past_its_expiry_is_expired_and_its_handler_not_called(bench: Bench) -> None:
    system = bench.system(concurrency=1)
    stale = system.submit("echo", "before the start", expires=0.05)
    delayed = system.submit("echo", "delayed", delay=0.2, expires=0.1)
    time.sleep(0.3)
    assert stale.state is TaskState.EXPIRED  # nobody will call its handler any more, so this is certain
    with system:
        fresh = system.submit("echo", "fresh", expires=30.0)
        assert fresh.get(WAIT_S) == "fresh"
        hold = system.submit("hold", 1)
        until(lambda: hold.state is TaskState.RUNNING)
        crowded = system.submit("echo", "no worker in time", expires=0.1)
        chained = system.chain([("echo", "chained"), "echo"], expires=0.1)
        time.sleep(0.2)
        bench.gate.set()
        for task in (stale, delayed, crowded, chained):
            with pytest.raises(TaskFailed) as found:
                task.get(WAIT_S)
            assert found.value.task_state is TaskState.EXPIRED
            assert task.ready()
            assert not task.failed()
            assert system.get_task(task.id).attempts <= 1
        assert system.statistics().expired == 4
        assert system.failed() == []
    assert bench.calls == ["fresh", ("hold", 1)]


@pytest.mark.row("M-09")
def test_a_full_queue_refuses_clearly(bench: Bench) -> None:
    system = bench.system(concurrency=1)
    set_queue(system.engine.database, "small", max_size=2)
    kept = [system.submit("square", number, queue="small") for number in range(2)]
    with pytest.raises(QueueFull, match="'small' is full: it holds 2 tasks"):
        system.submit("square", 3, queue="small")
    batch = system.submit_batch([("square", 4, {"queue": "small"}), ("square", 5)])
    assert isinstance(batch.errors[0], QueueFull)
    assert len(batch.results) == 1
    assert system.statistics().submitted == 3
    for task in kept:
        task.revoke()
    assert system.submit("square", 6, queue="small").state is TaskState.QUEUED


# --- cancelling


@pytest.mark.row("M-07", "A-27")
@pytest.mark.parametrize("handler", ["hold", "hold_async"])
def test_cancelling_reaches_queued_delayed_and_running_tasks(bench: Bench, handler: str) -> None:
    with bench.system(concurrency=1) as system:
        running = system.submit(handler, "r")
        until(lambda: running.state is TaskState.RUNNING)
        queued, delayed = system.submit("echo", "q"), system.submit_later("echo", "d", 0.2)
        for task in (queued, delayed, running):
            assert system.cancel(task.id)
        for task in (queued, delayed, running):
            assert task.wait(WAIT_S)
            assert task.state is TaskState.CANCELLED
            assert not system.cancel(task.id)
        until(lambda: ("cancelled", "r") in bench.calls)
        with pytest.raises(TaskFailed) as found:
            queued.get(1)
        assert found.value.task_state is TaskState.CANCELLED
        time.sleep(0.3)
        assert bench.calls == [("hold", "r"), ("cancelled", "r")]
        assert system.submit("square", 3).get(WAIT_S) == 9
        with pytest.raises(NotFound):
            system.cancel("018f0000-0000-7000-8000-000000000001")


@pytest.mark.row("M-08")
def test_cancelling_by_tag_reaches_everything_that_has_it(bench: Bench) -> None:
    with bench.system(concurrency=1) as system:
        running = system.submit("hold", 1, tags=["night", "x"])
        until(lambda: running.state is TaskState.RUNNING)
        queued = system.submit("echo", 2, tags=["night"])
        delayed = system.submit_later("echo", 3, 60, tags=["y", "night"])
        other = system.submit("echo", 4, tags=["day"])
        assert {record.id for record in system.tagged("night")} == {running.id, queued.id, delayed.id}
        assert set(system.cancel_by_tag("night")) == {running.id, queued.id, delayed.id}
        for task in (running, queued, delayed):
            assert task.wait(WAIT_S)
            assert task.state is TaskState.CANCELLED
        assert other.get(WAIT_S) == 4
        assert system.cancel_by_tag("night") == []
        assert system.cancel_by_tag("nobody has it") == []


def test_cancelling_reaches_a_task_that_runs_in_another_process(bench: Bench, tmp_path: Path) -> None:
    child = Process(bench.url, tmp_path, submit=[["work", 0, {}]], start=True)
    (task_id,) = child.line()
    child.await_line("begin:0")
    system = bench.system()
    assert system.cancel(task_id)
    assert system.result(task_id).wait(WAIT_S)
    assert system.result(task_id).state is TaskState.CANCELLED
    child.kill()


# --- workers


@pytest.mark.row("M-11")
def test_n_workers_run_n_tasks_at_once_and_are_counted(bench: Bench) -> None:
    system = bench.system(concurrency=4)
    assert (system.workers().total, system.workers().processes) == (0, 0)
    party = threading.Barrier(4, timeout=WAIT_S)
    system.register("meet", lambda _: party.wait() >= 0)
    with system:
        assert (system.workers().total, system.workers().active, system.workers().idle) == (4, 0, 4)
        for task in [system.submit("meet") for _ in range(4)]:
            assert task.get(WAIT_S) is True  # each returned only because all four were inside at once
        held = [system.submit("hold", number) for number in range(6)]
        until(lambda: system.workers().active == 4)
        assert (system.workers().total, system.workers().idle) == (4, 0)
        assert len(system.active()) == 4
        assert {record.state for record in system.pending()} == {TaskState.QUEUED}
        with bench.system(concurrency=2):
            until(lambda: system.workers().active == 6)
            assert (system.workers().total, system.workers().processes) == (6, 2)
            bench.gate.set()
            assert all(task.get(WAIT_S) == "held" for task in held)
        until(lambda: system.workers().idle == 4)


@pytest.mark.row("A-34")
def test_sleepers_take_their_sum_in_series_and_their_maximum_side_by_side(bench: Bench) -> None:
    with bench.system() as system:
        system.register("nap", lambda _: time.sleep(0.4))
        began = time.monotonic()
        system.chain(["nap"] * 3).get(WAIT_S)
        in_series = time.monotonic() - began
        began = time.monotonic()
        system.group(["nap"] * 3).get(WAIT_S)
        side_by_side = time.monotonic() - began
    assert 1.2 <= in_series < 2.4
    assert 0.4 <= side_by_side < 1.0


# --- failures


def test_a_missing_handler_fails_with_its_name_and_without_a_retry(bench: Bench) -> None:
    with bench.system(missing_handler_s=0.2) as system:
        task = system.submit("mail.send", 1)
        with pytest.raises(TaskFailed, match=r"'mail\.send'") as found:
            task.get(WAIT_S)
        failure = found.value.failure
        assert failure is not None
        assert (failure.code, failure.attempt) == ("no_executor", 0)
        assert system.get_task(task.id).attempts == 0
        chain = system.chain([("square", 2), "nobody"])
        with pytest.raises(TaskFailed, match="step2_nobody"):
            chain.get(WAIT_S)


@pytest.mark.row("M-13")
@pytest.mark.parametrize(
    ("options", "pauses"),
    [
        ({"max_retries": 3, "retry_delay": 0.1, "backoff": 2.0}, [0.1, 0.2, 0.4]),
        ({"max_retries": 3, "retry_delay": 0.1, "backoff": 30.0, "max_delay": 0.15}, [0.1, 0.15, 0.15]),
        ({"max_retries": 2, "retry_delay": 0.1, "backoff": 1.0}, [0.1, 0.1]),
        ({"max_retries": 0}, []),
    ],
)
def test_retries_mean_more_attempts_with_growing_capped_pauses(
    bench: Bench, options: dict[str, Any], pauses: list[float]
) -> None:
    with bench.system() as system:
        task = system.submit("fail", None, **options)
        assert task.wait(WAIT_S)
        assert task.state is TaskState.FAILED
        assert system.get_task(task.id).attempts == len(pauses) + 1
        rows = [row for row in bench.history(system, task.id) if row.path == "work"]
        ends = [row.at for row in rows if row.to_state == "retrying"]
        begins = [row.at for row in rows if row.to_state == "running"][1:]
    assert [call[1] for call in bench.calls] == list(range(1, len(pauses) + 2))
    found = [(begin - end) / 1_000_000 for begin, end in zip(begins, ends, strict=True)]
    # no pause is shorter; without the cap the second would be 3 s
    assert all(pause <= took < pause + 2.0 for pause, took in zip(pauses, found, strict=True)), found


@pytest.mark.row("M-14")
def test_a_final_error_ends_the_retries_at_once(bench: Bench) -> None:
    class Declined(ExecutorError):
        pass

    def declined(_: Any) -> None:
        raise Declined("the card was declined")

    def missing(_: Any) -> None:
        raise KeyError("x")

    def final(_: Any) -> None:
        raise NonRetryable("it makes no sense")

    with bench.system() as system:
        for name, handler in {"declined": declined, "missing": missing, "final": final}.items():
            system.register(name, handler)
        tasks = [
            system.submit("declined", never=[Declined]),
            system.submit("missing", never=["LookupError"]),  # a base of what is raised
            system.submit("final"),
            system.submit("sleep", 5, timeout=0.05, never=["timeout"]),
        ]
        for task in tasks:
            assert task.wait(WAIT_S)
            assert (task.state, system.get_task(task.id).attempts) == (TaskState.FAILED, 1)
        again = system.submit("missing", never=["Declined"], retries=1, retry_delay=0.01)
        assert again.wait(WAIT_S)
        assert system.get_task(again.id).attempts == 2


@pytest.mark.row("M-15")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_hooks_are_called_as_stated_and_their_errors_do_no_harm(bench: Bench, kind: str) -> None:
    told: list[Any] = []

    class Hooked:
        def execute(self, ctx: TaskContext, payload: int) -> int:
            if ctx.attempt <= payload:
                raise ValueError("not yet")
            return ctx.attempt

        def on_retry(self, ctx: TaskContext, error: Any) -> None:
            told.append(("retry", ctx.attempt, error.code))
            raise RuntimeError("a broken hook")

        def on_success(self, ctx: TaskContext, result: Any) -> None:
            told.append(("success", ctx.attempt, result))
            raise RuntimeError("a broken hook")

        def on_failure(self, ctx: TaskContext, error: Any) -> None:
            told.append(("failure", ctx.attempt, error.message))
            raise RuntimeError("a broken hook")

    class Async(Hooked):
        async def execute(self, ctx: TaskContext, payload: int) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().execute(ctx, payload)

    with bench.system() as system:
        system.register("hooked", Hooked if kind == "sync" else Async())
        task = system.submit("hooked", 2, retry_delay=0.01)
        assert task.get(WAIT_S) == 3
        assert told == [
            ("failure", 1, "not yet"),
            ("retry", 2, "task.ValueError"),
            ("failure", 2, "not yet"),
            ("retry", 3, "task.ValueError"),
            ("success", 3, 3),
        ]
        told.clear()
        gone = system.submit("hooked", 9, retries=0)
        assert gone.wait(WAIT_S)
        assert told == [("failure", 1, "not yet")]
        told.clear()
        expired = system.submit("hooked", 0, expires=0)
        assert expired.wait(WAIT_S)
        assert told == []  # its handler was not called, so nothing failed


def test_an_exception_is_a_failure_with_message_and_traceback(bench: Bench) -> None:
    with bench.system() as system:
        task = system.submit("fail", None, retries=1, retry_delay=0.01)
        assert task.wait(WAIT_S)
        failure = task.error
    assert failure is not None
    assert (failure.code, failure.message, failure.attempt) == ("task.ValueError", "attempt 2 is broken", 2)
    assert failure.traceback is not None
    assert failure.traceback.startswith("Traceback")
    assert "attempt 2 is broken" in failure.traceback


@pytest.mark.row("M-17")
@pytest.mark.parametrize("handler", ["hold", "hold_async"])
def test_a_timeout_ends_the_attempt_is_counted_and_frees_the_worker(bench: Bench, handler: str) -> None:
    with bench.system(concurrency=1) as system:
        task = system.submit(handler, 1, timeout=0.1, retries=1, retry_delay=0.01)
        assert task.wait(WAIT_S)
        assert task.error is not None
        assert (task.state, task.error.code) == (TaskState.FAILED, "timeout")
        until(lambda: bench.calls.count(("cancelled", 1)) == 2)  # the context said so, in both attempts
        assert system.get_task(task.id).attempts == 2
        found = system.statistics()
        assert (found.timed_out, found.retried, found.failed) == (2, 1, 1)
        assert system.submit("square", 3).get(WAIT_S) == 9


def test_a_handler_that_hangs_does_not_hold_its_worker(bench: Bench) -> None:
    release = threading.Event()
    with bench.system(concurrency=1) as system:
        system.register("deaf", lambda _: release.wait(WAIT_S))
        assert system.submit("deaf", timeout=0.1, retries=0).wait(WAIT_S)
        assert system.submit("square", 3).get(WAIT_S) == 9
        release.set()


# --- the context


@pytest.mark.row("M-18")
def test_progress_is_clamped_seen_from_outside_and_remembered(bench: Bench) -> None:
    def work(ctx: TaskContext, payload: Any) -> None:
        ctx.progress(-3, "begun")
        ctx.progress(0.25, "a quarter")
        bench.gate.wait(WAIT_S)
        ctx.progress(7, "done")

    with bench.system() as system:
        system.register("work", work)
        task = system.submit("work")
        seen = until(lambda: task.progress if task.progress.message else None)
        assert 0.0 <= seen.fraction <= 0.25
        watcher = bench.system()  # as another process would
        until(lambda: watcher.result(task.id).state is TaskState.RUNNING)
        bench.gate.set()
        assert task.wait(WAIT_S)
        assert (task.progress.fraction, task.progress.message) == (1.0, "done")
        history = system.progress_history(task.id)
        assert [(note.fraction, note.message) for note in history] == [
            (0.0, "begun"),
            (0.25, "a quarter"),
            (1.0, "done"),
        ]
        assert [note.attempt for note in history] == [1, 1, 1]
        assert [note.at for note in history] == sorted(note.at for note in history)
        assert list(system.logs(task.id)) == []


@pytest.mark.row("M-19")
def test_a_checkpoint_is_there_for_the_next_attempt_and_can_be_cleared(bench: Bench) -> None:
    found: list[Any] = []

    def work(ctx: TaskContext, payload: Any) -> Any:
        found.append(ctx.load_checkpoint())
        if ctx.attempt == 1:
            ctx.save_checkpoint({"line": 7})
        elif ctx.attempt == 3:
            ctx.save_checkpoint(None)
        if ctx.attempt < 4:
            raise ValueError("again")
        return found

    with bench.system() as system:
        system.register("work", work)
        task = system.submit("work", retry_delay=0.01)
        assert task.get(WAIT_S) == [None, {"line": 7}, {"line": 7}, None]


@pytest.mark.row("M-19")
def test_a_checkpoint_is_there_after_a_crash(bench: Bench, tmp_path: Path) -> None:
    child = Process(bench.url, tmp_path, submit=[["saved", None, {}]], start=True)
    (task_id,) = child.line()
    child.await_line("saved")
    child.kill()
    system = bench.system()
    from tests.integration.task_child import equip

    equip(system, str(child.effects), stuck=False)
    with system:
        assert system.result(task_id).get(WAIT_S) == {"before": {"at": 7}, "after": None, "attempt": 2}


@pytest.mark.row("M-21", "A-16")
def test_log_lines_are_readable_during_the_run_and_after_it(bench: Bench) -> None:
    def work(ctx: TaskContext, payload: Any) -> None:
        ctx.log("first")
        ctx.wait_cancelled(0.6)
        ctx.log("second", "warning")
        bench.gate.wait(WAIT_S)
        ctx.log("third", "error")

    with bench.system() as system:
        system.register("work", work)
        task, other = system.submit("work"), system.submit("echo", 1)
        during = until(lambda: list(system.logs(task.id)))
        assert task.state is TaskState.RUNNING
        assert [line.message for line in during] == ["first", "second"]
        bench.gate.set()
        assert task.wait(WAIT_S)
        after = list(system.logs(task.id))
        assert [(line.level, line.message, line.attempt) for line in after] == [
            ("info", "first", 1),
            ("warning", "second", 1),
            ("error", "third", 1),
        ]
        assert {line.instance_id for line in after} == {task.id}
        assert [line.message for line in system.logs(task.id, level="warning")] == ["second", "third"]
        assert other.wait(WAIT_S)
        assert list(system.logs(other.id)) == []


@pytest.mark.row("M-20")
def test_a_task_starts_subtasks_and_both_know_each_other(bench: Bench) -> None:
    with bench.system() as system:

        def parent(ctx: TaskContext, payload: int) -> list[str]:
            ids = [system.spawn(ctx, "square", number).id for number in range(payload)]
            ids.append(ctx.spawn("task.square", {"payload": 9}))
            if ctx.attempt == 1:
                raise ValueError("the next attempt finds the same children")
            return ids

        system.register("parent", parent)
        task = system.submit("parent", 3, retry_delay=0.01)
        ids = task.get(WAIT_S)
        assert [child.get(WAIT_S) for child in map(system.result, ids)] == [0, 1, 4, 81]
        assert [child.id for child in task.children] == ids
        assert [child.get(WAIT_S) for child in task.children] == [0, 1, 4, 81]
        assert {system.get_task(each).parent_id for each in ids} == {task.id}
        assert system.get_task(task.id).parent_id is None
        assert system.statistics().submitted == 5


# --- sending


@pytest.mark.row("M-24")
def test_tasks_are_sent_now_later_at_a_moment_and_in_batches(bench: Bench) -> None:
    with bench.system() as system:
        now = system.submit("square", 2)
        later = system.submit_later("square", 3, 0.05)
        moment = system.submit_at("square", 4, datetime.now(UTC) + timedelta(seconds=0.05))
        batch = system.submit_batch([("square", 5), task_builder("square").payload(6).build(), "echo"])
        assert batch.ok
        assert [task.get(WAIT_S) for task in (now, later, moment, *batch.results)] == [4, 9, 16, 25, 36, None]


@pytest.mark.row("M-24")
def test_a_batch_that_fails_in_part_says_which_part(bench: Bench) -> None:
    members = [
        ("square", 1),
        ("square", object()),
        ("", 1),
        ("square", 2, {"priority": "urgent"}),
        ("square", 2, {"queue": "no queue!"}),
        17,
        ("square", 3),
    ]
    with bench.system() as system:
        batch = system.submit_batch(members)
        assert not batch.ok
        assert sorted(batch.errors) == [1, 2, 3, 4, 5]
        assert "not JSON" in str(batch.errors[1])
        assert "name" in str(batch.errors[2])
        assert "urgent" in str(batch.errors[3])
        assert "no queue!" in str(batch.errors[4])
        assert [item.index for item in batch.items if item.result is not None] == [0, 6]
        assert [task.get(WAIT_S) for task in batch.results] == [1, 9]
        assert system.statistics().submitted == 2


@pytest.mark.row("M-24")
def test_an_atomic_batch_is_submitted_as_a_whole_or_not_at_all(bench: Bench) -> None:
    with bench.system() as system:
        for wrong in (object(), ("square", object()), ("square", 1, {"priority": "urgent"})):
            with pytest.raises((TypeError, ValueError, Exception)):
                system.submit_batch([("square", 1), wrong], atomic=True)
        assert system.statistics().submitted == 0
        batch = system.submit_batch([("square", number) for number in range(20)], atomic=True)
        assert [task.get(WAIT_S) for task in batch.results] == [number * number for number in range(20)]


# --- monitoring


@pytest.mark.row("M-30", "X-25")
def test_the_monitor_lists_tasks_and_retries_a_failed_one(bench: Bench) -> None:
    with bench.system(concurrency=1, queues=None) as system:
        broken = system.submit("fail", 1, retries=0)
        assert broken.wait(WAIT_S)
        hold = system.submit("hold", 1)
        until(lambda: hold.state is TaskState.RUNNING)
        waiting = [system.submit("square", number, queue="slow") for number in range(5)]
        assert [record.id for record in system.failed()] == [broken.id]
        assert [record.id for record in system.active()] == [hold.id]
        assert [record.id for record in system.pending()] == [task.id for task in waiting]
        assert [record.id for record in system.pending(2)] == [task.id for task in waiting[:2]]
        assert [(each.queue, each.pending, each.running) for each in system.queues()] == [
            ("default", 0, 1),
            ("slow", 5, 0),
        ]
        assert (system.workers().active, system.workers().idle) == (1, 0)
        assert set(system.purge("slow")) == {task.id for task in waiting}
        assert {task.state for task in waiting} == {TaskState.CANCELLED}
        assert system.pending() == []
        again = system.retry(broken.id)
        assert again.id == broken.id
        bench.gate.set()
        assert broken.get(WAIT_S) == 2
        assert system.failed() == []
        with pytest.raises(Exception, match="succeeded"):
            system.retry(broken.id)


@pytest.mark.row("M-33")
def test_statistics_equal_the_truth_and_can_be_reset(bench: Bench) -> None:
    with bench.system(concurrency=2) as system:
        good = [system.submit("sleep", 0.05) for _ in range(5)]
        tried = [system.submit("fail", 1, retry_delay=0.01) for _ in range(3)]
        bad = [system.submit("fail", None, retries=1, retry_delay=0.01) for _ in range(2)]
        slow = system.submit("sleep", 5, timeout=0.05, retries=1, retry_delay=0.01)
        late = system.submit("square", 1, expires=0)
        for task in (*good, *tried, *bad, slow, late):
            assert task.wait(WAIT_S)
        delayed = system.submit_later("square", 1, 60)
        gone = system.submit_later("square", 1, 60)
        gone.revoke()
        hold = [system.submit("hold", number) for number in range(3)]
        until(lambda: system.statistics().running == 2)
        found = system.statistics()
        counts = (found.succeeded, found.failed, found.cancelled, found.expired, found.running, found.pending)
        assert counts == (8, 3, 1, 1, 2, 2)
        assert found.submitted == sum(counts) == 17
        assert (found.delayed, found.retried, found.timed_out) == (1, 3 + 2 + 1, 2)
        assert found.mean_duration is not None
        assert 0.005 < found.mean_duration < 5
        assert sum(found.by_state.values()) == found.submitted
        assert found == bench.system().statistics()  # the same from elsewhere

        reset = system.reset_statistics()
        assert system.statistics().submitted == 0
        assert system.submit("square", 3).state is not TaskState.FAILED
        assert system.statistics().submitted == 1
        assert bench.system().statistics(since=reset).submitted == 1
        assert system.statistics(since=datetime.fromtimestamp(0, UTC)).submitted == 18
        bench.gate.set()
        for task in hold:
            assert task.wait(WAIT_S)
        delayed.revoke()


@pytest.mark.row("M-34")
def test_four_producers_lose_nothing_and_double_nothing(bench: Bench) -> None:
    ids: list[list[str]] = [[] for _ in range(4)]

    def produce(number: int) -> None:
        ids[number] += [system.submit("echo", number * EACH + each).id for each in range(EACH)]

    system = bench.system(concurrency=16)
    system.register("quick", lambda payload: payload)
    began = time.monotonic()
    with system:
        threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        submitted = time.monotonic() - began
        assert system.engine.drain(40)
        took = time.monotonic() - began
        found = system.statistics()
    print(f"\n{4 * EACH} tasks submitted in {submitted:.1f} s, done in {took:.1f} s")
    every = [each for part in ids for each in part]
    assert len(set(every)) == 4 * EACH
    assert sorted(bench.calls) == list(range(4 * EACH))  # each handler call exactly once
    assert (found.submitted, found.succeeded) == (4 * EACH, 4 * EACH)


def test_a_task_can_be_part_of_the_callers_transaction(bench: Bench) -> None:
    with bench.system() as system:
        system.submit("square", 1).get(WAIT_S)  # stores the definition
        with system.engine.database.write() as connection:
            task = system.submit("square", 4, connection=connection)
        assert task.get(WAIT_S) == 16
        with suppress(RuntimeError), system.engine.database.write() as connection:
            lost = system.submit("square", 5, connection=connection)
            raise RuntimeError("the caller changed its mind")
        assert not system.results.exists(lost.id)  # pyright: ignore[reportPossiblyUnboundVariable] - it raises after that


def test_tasks_are_runs_like_any_other(bench: Bench) -> None:
    with bench.system() as system:
        task = system.submit("square", 4, tags=["x"])
        assert task.get(WAIT_S) == 16
        status = system.engine.status(task.id)
        assert (status.name, status.state, status.output) == (
            "task.square",
            InstanceState.COMPLETED,
            {"work": 16},
        )
        other = asyncio.run(
            system.engine.start_workflow({"dsl": "1", "name": "other", "nodes": {"a": {"run": "core.noop"}}})
        )
        system.engine.wait_now(other, WAIT_S)
        with pytest.raises(NotFound):
            system.get_task(other)
        assert system.statistics().submitted == 1


def test_a_system_that_nobody_stopped_is_closed_when_it_is_forgotten(db_url: str) -> None:
    system = TaskSystem(db_url)
    task_id = system.submit("square", 4).id
    engine = system.engine
    assert task_id
    del system
    import gc

    gc.collect()
    with pytest.raises(Exception, match="not running"):
        engine.parts  # noqa: B018 - asking is what raises
