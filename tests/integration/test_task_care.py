"""Taking care of tasks: heartbeats, hooks that do the worst, many cancelled at once."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from strataflow import TaskContext, TaskState, task_builder
from strataflow.services.tasks import monitoring
from tests.integration.kit import until
from tests.integration.task_kit import WAIT_S, Bench, benched


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    with benched(db_url) as made:
        yield made


@pytest.mark.row("M-19")
def test_details_of_a_heartbeat_are_handed_to_the_next_attempt(bench: Bench) -> None:
    def crawl(ctx: TaskContext, payload: Any) -> Any:
        found = ctx.last_heartbeat
        if ctx.attempt == 1:
            ctx.heartbeat({"page": 7})
            raise ConnectionError("lost")
        return found

    with bench.system() as system:
        system.register("crawl", crawl)
        assert system.submit("crawl", retry_delay=0.01).get(WAIT_S) == {"page": 7}


@pytest.mark.row("M-17")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_attempt_that_gives_no_sign_of_life_fails_and_is_tried_again(bench: Bench, kind: str) -> None:
    def silent(ctx: TaskContext, payload: Any) -> str:
        if ctx.attempt == 1:
            ctx.wait_cancelled(WAIT_S)
        return "alive"

    async def silent_async(ctx: TaskContext, payload: Any) -> str:
        if ctx.attempt == 1:
            await asyncio.sleep(WAIT_S)
        return "alive"

    with bench.system() as system:
        system.register("silent", silent if kind == "sync" else silent_async)
        task = task_builder("silent").heartbeat(0.2).timeout(None).build()
        again = system.submit(task, retry_delay=0.01)
        assert again.get(WAIT_S) == "alive"
        record = system.get_task(again.id)
        assert (record.attempts, record.config.heartbeat, record.config.timeout) == (2, 0.2, None)
        once = system.submit(task, retries=0)
        assert once.wait(WAIT_S)
        assert once.error is not None
        assert once.error.code == "heartbeat"


def test_signs_of_life_keep_an_attempt_alive(bench: Bench) -> None:
    def lively(ctx: TaskContext, payload: Any) -> int:
        for number in range(20):
            time.sleep(0.1)
            ctx.heartbeat({"at": number})
        return ctx.attempt

    with bench.system() as system:
        system.register("lively", lively)
        assert system.submit("lively", heartbeat=1.5).get(WAIT_S) == 1


@pytest.mark.row("M-18", "M-21")
def test_very_many_reports_leave_room_for_log_lines_and_the_traceback(bench: Bench) -> None:
    def chatty(ctx: TaskContext, payload: Any) -> None:
        for number in range(15_000):
            ctx.progress(number / 15_000, f"row {number} " + "x" * 1_000)
        for number in range(15_000):
            ctx.progress(1.0, f"done {number}")
        ctx.log("important")
        raise ValueError("the end")

    with bench.system() as system:
        system.register("chatty", chatty)
        task = system.submit("chatty", retries=1, retry_delay=0.01)
        assert task.wait(2 * WAIT_S)
        assert task.error is not None
        assert "the end" in (task.error.traceback or "")
        assert [line.message for line in system.logs(task.id)].count("important") == 2
        history = system.progress_history(task.id)
        for attempt in (1, 2):
            notes = [note.message or "" for note in history if note.attempt == attempt]
            assert [text.split("x")[0] for text in notes[:200]] == [f"row {n} " for n in range(200)]
            assert len(notes) <= 2_000
        assert task.progress.message is not None
        assert task.progress.message.startswith("done 14999")


@pytest.mark.row("M-15")
@pytest.mark.parametrize("worst", [SystemExit(3), KeyboardInterrupt(), BaseException("worst")])
def test_whatever_a_hook_raises_the_task_goes_its_way(bench: Bench, worst: BaseException) -> None:
    class Worst:
        def execute(self, ctx: TaskContext, payload: Any) -> int:
            if ctx.attempt == 1:
                raise ValueError("once")
            return ctx.attempt

        def on_retry(self, ctx: TaskContext, error: Any) -> None:
            raise worst

        on_success = on_failure = on_retry

    with bench.system() as system:
        system.register("worst", Worst)
        assert system.submit("worst", retry_delay=0.01).get(WAIT_S) == 2
        assert system.submit("square", 3).get(WAIT_S) == 9  # and so does its worker


def test_a_handler_that_ends_its_process_politely_is_a_failed_attempt(bench: Bench) -> None:
    with bench.system() as system:
        system.register("leaves", sys.exit)
        task = system.submit("leaves", 3, retries=0)
        assert task.wait(WAIT_S)
        assert task.error is not None
        assert task.error.code == "task.SystemExit"


@pytest.mark.row("M-08", "M-30")
def test_many_are_cancelled_by_tag_and_purged_page_by_page(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "_ALL", 7)
    monkeypatch.setattr(monitoring, "_PAGE", 10)
    with bench.system(concurrency=1) as system:
        held = system.submit("hold", 0, tags=["many"], queue="default")
        until(lambda: held.state is TaskState.RUNNING, WAIT_S)
        tagged = system.submit_batch([("echo", n, {"tags": ["many"], "delay": 60}) for n in range(25)])
        assert sorted(system.cancel_by_tag("many")) == sorted(
            [held.id, *(each.id for each in tagged.results)]
        )
        assert system.cancel_by_tag("many") == []
        crowd = system.submit_batch([("echo", n, {"queue": "crowd"}) for n in range(25)])
        other = system.submit("echo", 1, queue="other")
        assert sorted(system.purge("crowd")) == sorted(each.id for each in crowd.results)
        assert system.purge("crowd") == []
        assert other.state is TaskState.QUEUED
        assert {each.state for each in [*tagged.results, *crowd.results]} == {TaskState.CANCELLED}
