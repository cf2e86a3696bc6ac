"""Waiting for tasks: told by hints of other processes, one look for all, and never in the way of each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from strataflow import EngineStopped, SqlResults, TaskState, TaskSystem
from strataflow.services.tasks import watching
from tests.integration.kit import until
from tests.integration.task_kit import WAIT_S, Bench, benched, quick


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    with benched(db_url) as made:
        yield made


class Reads:
    """Counts the reads of a system's engine."""

    def __init__(self, system: TaskSystem) -> None:
        self.count = 0
        database = system.engine.database
        self._read: Callable[[], Any] = database.read
        database.read = self  # pyright: ignore[reportAttributeAccessIssue] - counts

    def __call__(self) -> Any:
        self.count += 1
        return self._read()


@pytest.mark.row("M-23")
def test_who_waits_is_told_by_the_process_in_which_the_task_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_GROWTH", 1e9)
    monkeypatch.setattr(watching, "_LONGEST_S", 1e6)  # looks by itself once, and never again
    there = TaskSystem(bench.url, config=quick(notify=True))
    here = TaskSystem(bench.url, config=quick(notify=True))
    bench.equip(there)
    try:
        with there:
            task = there.submit("hold", 1)
            until(lambda: task.state is TaskState.RUNNING, WAIT_S)
            reads, told = Reads(here), list[Any]()
            here.result(task.id).then(told.append)
            until(lambda: reads.count >= 2, WAIT_S)  # it has looked, and listens since
            bench.gate.set()
            until(lambda: told == ["held"], WAIT_S)
    finally:
        here.stop()


@pytest.mark.row("M-23")
def test_threads_that_wait_ask_nothing_until_they_are_told(bench: Bench) -> None:
    with bench.system() as system:
        other = bench.system(handlers=False)
        wishes: list[Callable[[], None]] = []

        def watch(task_id: str, callback: Callable[[], None], *_: Any, **__: Any) -> Callable[[], None]:
            wishes.append(callback)
            return lambda: None

        store = SqlResults(lambda: other.engine, watch)
        task = system.submit("hold", 1)
        got: list[Any] = []
        waiting = [
            threading.Thread(target=lambda: got.append(store.wait_for_result(task.id, WAIT_S)))
            for _ in range(20)
        ]
        for thread in waiting:
            thread.start()
        until(lambda: len(wishes) == 20, WAIT_S)
        reads = Reads(other)
        bench.gate.set()
        until(task.ready, WAIT_S)
        assert (reads.count, got) == (0, [])
        for wish in wishes:
            wish()
        for thread in waiting:
            thread.join(WAIT_S)
        assert got == ["held"] * 20


def test_slow_callbacks_hold_up_nobody_who_waits(bench: Bench) -> None:
    with bench.system() as system:
        release = threading.Event()
        stuck: list[Any] = []

        def slow(value: Any) -> None:
            stuck.append(value)
            release.wait(WAIT_S)

        for number in range(8):
            system.submit("square", number).then(slow)
        until(lambda: len(stuck) == 4, WAIT_S)  # every thread for callbacks is taken
        assert asyncio.run(system.submit("square", 9).aget(WAIT_S)) == 81
        held = system.submit("hold", 0)
        threading.Timer(0.5, bench.gate.set).start()
        assert held.get(WAIT_S) == "held"
        release.set()
        until(lambda: len(stuck) == 8, WAIT_S)


def test_a_thread_that_waits_gets_the_result_of_what_ends_within_the_grace_of_a_stop(bench: Bench) -> None:
    system = bench.system(concurrency=1).start()
    running, queued = system.submit("hold", 1), system.submit("square", 2)
    until(lambda: running.state is TaskState.RUNNING, WAIT_S)
    got: list[Any] = []

    def wait(task: Any) -> None:
        try:
            got.append(task.get(WAIT_S))
        except EngineStopped as exc:
            got.append(type(exc))

    waiting = [threading.Thread(target=wait, args=(task,)) for task in (running, queued)]
    for thread in waiting:
        thread.start()
    until(lambda: len(system._watcher._watched) == 2, WAIT_S)  # pyright: ignore[reportPrivateUsage] - both are past the first moments
    threading.Timer(0.3, bench.gate.set).start()
    system.stop(timeout=WAIT_S)
    for thread in waiting:
        thread.join(WAIT_S)
    assert got.count("held") == got.count(EngineStopped) == 1


@pytest.mark.parametrize("payload", [7, "long " * 60_000, None], ids=["small", "large", "nothing"])
def test_the_result_of_what_has_ended_takes_two_reads_at_most(bench: Bench, payload: Any) -> None:
    with bench.system() as system:
        task = system.submit("echo", payload)
        assert task.get(WAIT_S) == payload
        other = bench.system(handlers=False)
        reads = Reads(other)
        assert other.result(task.id).get(WAIT_S) == payload
        assert reads.count <= 2 or isinstance(payload, str)
