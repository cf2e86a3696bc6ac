"""Back-pressure by waiting: who submits to a full queue waits for room instead of being refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from strataflow import QueueFull, TaskSystem, task_builder
from strataflow.services.queues import QueueService
from strataflow.services.tasks.room import patiently, tries
from tests.integration.kit import until
from tests.integration.task_kit import WAIT_S, Bench, benched


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    with benched(db_url) as made:
        yield made


def bounded(system: TaskSystem, size: int, queue: str = "default") -> TaskSystem:
    QueueService(system.engine.database, system.engine).set_max_size(queue, size)
    return system


def in_thread(call: Any) -> tuple[threading.Thread, list[Any]]:
    given: list[Any] = []

    def run() -> None:
        try:
            given.append(call())
        except QueueFull as exc:
            given.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, given


@pytest.mark.row("M-09")
def test_a_task_waits_for_room_and_is_submitted_when_there_is_some(bench: Bench) -> None:
    with bounded(bench.system(concurrency=1), 1) as system:
        held = system.submit("hold", 0)
        until(lambda: ("hold", 0) in bench.calls, WAIT_S)
        system.submit("square", 2)  # fills the queue
        waits = [
            in_thread(lambda: system.submit("square", 3, wait_for_room=WAIT_S)),
            in_thread(lambda: system.submit(task_builder("square").payload(4).build(), wait_for_room=WAIT_S)),
            in_thread(lambda: system.submit_later("square", 5, 0.0, wait_for_room=WAIT_S)),
            in_thread(lambda: system.chain([("square", 6)], wait_for_room=WAIT_S)),
            in_thread(lambda: system.chain([("square", 2), "square"], wait_for_room=WAIT_S)),
        ]
        with pytest.raises(QueueFull):
            system.submit("square", 9)
        bench.gate.set()
        results: list[Any] = []
        for thread, given in waits:
            thread.join(WAIT_S)
            results.append(given[0].get(WAIT_S))
        assert results == [9, 16, 25, 36, 16]
        assert held.get(WAIT_S) == "held"


@pytest.mark.row("M-09")
def test_waiting_ends_with_the_refusal(bench: Bench) -> None:
    system = bounded(bench.system(), 1)
    kept = system.submit("square", 1)
    for call in (
        lambda: system.submit("square", 2, wait_for_room=0.1),
        lambda: system.submit("square", 2, wait_for_room=0),
        lambda: system.submit("square", 2, wait_for_room=None),
        lambda: system.chain(["square", "square"], wait_for_room=0.1),
    ):
        with pytest.raises(QueueFull, match="'default' is full: it holds 1 tasks"):
            call()
    batch = system.submit_batch([("square", 2), ("square", 3)], wait_for_room=0.1)
    assert [type(error) for error in batch.errors.values()] == [QueueFull, QueueFull]
    assert [each.id for each in system.pending()] == [kept.id]


@pytest.mark.row("M-09", "M-24")
def test_a_batch_larger_than_its_queue_is_submitted_as_room_comes(bench: Bench) -> None:
    with bounded(bench.system(concurrency=2), 5) as system:
        tasks: list[Any] = [("square", n) for n in range(40)]
        tasks.insert(7, ("square", object()))
        tasks.insert(11, ("square", 100, {"queue": "other"}))
        batch = system.submit_batch(tasks, wait_for_room=2 * WAIT_S)
        assert list(batch.errors) == [7]
        mine = [each for n, each in enumerate(batch.items) if n not in {7, 11}]
        assert [each.result.get(WAIT_S) for each in mine if each.result] == [n * n for n in range(40)]


def test_many_producers_wait_and_none_is_lost_or_doubled(bench: Bench) -> None:
    with bounded(bench.system(concurrency=4), 3) as system:

        def produce(number: int) -> list[int]:
            handles = [system.submit("square", number * 10 + n, wait_for_room=2 * WAIT_S) for n in range(10)]
            return [each.get(2 * WAIT_S) for each in handles]

        threads = [in_thread(lambda number=number: produce(number)) for number in range(4)]
        for thread, _ in threads:
            thread.join(3 * WAIT_S)
        assert [given[0] for _, given in threads] == [
            [(number * 10 + n) ** 2 for n in range(10)] for number in range(4)
        ]
        assert sorted(bench.calls) == list(range(40))


def test_who_waits_does_not_ask_all_the_time(bench: Bench) -> None:
    system = bounded(bench.system(), 1)
    system.submit("square", 1)
    asked = 0
    start = system.engine.start_now

    def counted(*args: Any, **options: Any) -> str:
        nonlocal asked
        asked += 1
        return start(*args, **options)

    system.engine.start_now = counted  # pyright: ignore[reportAttributeAccessIssue] - counts
    with pytest.raises(QueueFull):
        system.submit("square", 2, wait_for_room=1.5)
    assert 2 <= asked <= 20


def test_what_cannot_wait_says_so(bench: Bench) -> None:
    system = bench.system()
    with system.engine.database.write() as connection, pytest.raises(TypeError, match="past the bound"):
        system.submit("square", 1, connection=connection, wait_for_room=1)
    with pytest.raises(TypeError, match="past the bound"):
        system.submit_batch([("square", 1)], atomic=True, wait_for_room=1)
    for wrong in (-1, float("inf"), "1", True):
        with pytest.raises(ValueError, match="wait_for_room is a number of seconds"):
            system.submit("square", 1, wait_for_room=wrong)  # pyright: ignore[reportArgumentType] - wrong on purpose


def test_pauses_grow_are_jittered_and_keep_to_the_time() -> None:
    now, pauses = 0.0, list[float]()

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    chances = [0.0, 1.0] * 50
    given = list(tries(10.0, clock=lambda: now, sleep=sleep, chance=chances.pop))
    assert given == [False] * (len(given) - 1) + [True]
    assert now == pytest.approx(10.0)
    assert pauses[0] < 0.04
    assert max(pauses) <= 1.5
    assert len(pauses) < 25
    assert list(tries(0.0, sleep=sleep)) == [True]


def test_only_a_full_queue_is_waited_for() -> None:
    tried: list[int] = []

    def broken() -> None:
        tried.append(1)
        raise KeyError("other")

    with pytest.raises(KeyError):
        patiently(60.0, broken)
    assert tried == [1]
