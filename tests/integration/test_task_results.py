"""Results: one set of tests for both stores, and the handle on a task, from here and from elsewhere."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from strataflow import (
    AsyncResult,
    Conflict,
    EngineConfig,
    EngineStopped,
    MemoryResults,
    NotFound,
    ResultStore,
    SqlResults,
    TaskFailed,
    TaskFailure,
    TaskState,
    TaskSystem,
    WaitTimeout,
    WorkflowEngine,
)
from strataflow.services.tasks.values import Progress
from tests.integration.kit import until
from tests.integration.task_kit import ROOT, WAIT_S, Bench, benched

MISSING = "018f0000-0000-7000-8000-000000000001"


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    with benched(db_url) as made:
        yield made


# --- one set of tests for every store


class Happenings(Protocol):
    """Makes tasks come to something, in whatever way the store learns of it."""

    store: ResultStore

    def waiting(self) -> str: ...
    def succeeded(self, result: Any) -> str: ...
    def failed(self) -> str: ...
    def cancelled(self) -> str: ...
    def soon(self, result: Any) -> str: ...
    def halfway(self) -> str: ...
    def age(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.now = 1000.0
        self.memory = MemoryResults(lambda: self.now)
        self.store: ResultStore = self.memory
        self._count = 0

    def _put(self, state: str, **values: Any) -> str:
        self._count += 1
        self.memory.put(f"task-{self._count}", state, **values)
        return f"task-{self._count}"

    def waiting(self) -> str:
        return self._put("queued")

    def succeeded(self, result: Any) -> str:
        return self._put("succeeded", result=result)

    def failed(self) -> str:
        return self._put(
            "failed", error=TaskFailure("task.ValueError", "attempt 1 is broken", "Traceback", 1)
        )

    def cancelled(self) -> str:
        return self._put("cancelled")

    def soon(self, result: Any) -> str:
        task_id = self._put("running")
        threading.Timer(0.1, lambda: self.memory.put(task_id, "succeeded", result=result)).start()
        return task_id

    def halfway(self) -> str:
        return self._put("running", progress=Progress(0.5, "half"))

    def age(self) -> None:
        self.now += 3600


class InDatabase:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.system = bench.system()
        self.system.register("half", self._half)
        self.store: ResultStore = SqlResults.of(self.system.start().engine)

    def _half(self, ctx: Any, payload: Any) -> None:
        ctx.progress(0.5, "half")
        self.bench.gate.wait(WAIT_S)

    def waiting(self) -> str:
        return self.system.submit("square", 1, queue="nobody").id

    def _ended(self, task: AsyncResult) -> str:
        assert task.wait(WAIT_S)
        return task.id

    def succeeded(self, result: Any) -> str:
        return self._ended(self.system.submit("echo", result))

    def failed(self) -> str:
        return self._ended(self.system.submit("fail", None, retries=0))

    def cancelled(self) -> str:
        task_id = self.waiting()
        self.system.cancel(task_id)
        return task_id

    def soon(self, result: Any) -> str:
        return self.system.submit_later("echo", result, 0.1).id

    def halfway(self) -> str:
        task = self.system.submit("half")
        until(lambda: task.progress.message)
        return task.id

    def age(self) -> None:
        time.sleep(0.01)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def happenings(request: pytest.FixtureRequest) -> Iterator[Happenings]:
    """Give a store and the way to make things happen in it."""
    if request.param == "memory":
        yield InMemory()
        return
    fixture = {"sqlite": "migrated_sqlite_url", "postgres": "migrated_pg_url"}[request.param]
    with benched(request.getfixturevalue(fixture)) as bench:
        yield InDatabase(bench)


@pytest.mark.row("M-22")
def test_a_store_gives_the_state_and_the_result(happenings: Happenings) -> None:
    store = happenings.store
    done, waiting = happenings.succeeded({"a": [1, None]}), happenings.waiting()
    assert store.state(done) is TaskState.SUCCEEDED
    assert store.result(done) == {"a": [1, None]}
    assert store.error(done) is None
    assert store.progress(done).fraction == 1.0
    assert store.state(waiting) is TaskState.QUEUED
    assert store.progress(waiting).fraction == 0.0
    with pytest.raises(Conflict, match="no result yet"):
        store.result(waiting)


@pytest.mark.row("M-22")
def test_a_store_gives_the_error_of_what_failed(happenings: Happenings) -> None:
    store = happenings.store
    failed, cancelled = happenings.failed(), happenings.cancelled()
    error = store.error(failed)
    assert error is not None
    assert (error.code, error.message, error.attempt) == ("task.ValueError", "attempt 1 is broken", 1)
    assert (error.traceback or "").startswith("Traceback")
    for task_id, state in ((failed, TaskState.FAILED), (cancelled, TaskState.CANCELLED)):
        assert store.state(task_id) is state
        for ask in (store.result, store.wait_for_result):
            with pytest.raises(TaskFailed) as found:
                ask(task_id)
            assert (found.value.task_id, found.value.task_state) == (task_id, state)
    assert store.error(cancelled) is None


@pytest.mark.row("M-22")
def test_a_store_gives_the_progress_of_what_runs(happenings: Happenings) -> None:
    found = happenings.store.progress(happenings.halfway())
    assert (found.fraction, found.message) == (0.5, "half")


@pytest.mark.row("M-22")
def test_a_store_waits_for_a_result(happenings: Happenings) -> None:
    store = happenings.store
    assert store.wait_for_result(happenings.soon(7), WAIT_S) == 7
    assert store.wait_for_result(happenings.succeeded(8)) == 8
    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        store.wait_for_result(happenings.waiting(), 0.1)
    assert 0.1 <= time.monotonic() - began < 5


@pytest.mark.row("M-22")
def test_a_store_knows_what_it_has_and_forgets_what_has_ended(happenings: Happenings) -> None:
    store = happenings.store
    done, waiting = happenings.succeeded(1), happenings.waiting()
    assert store.size() == 2
    assert store.exists(done)
    assert store.remove(done)
    assert not store.exists(done)
    assert not store.remove(done)
    with pytest.raises(Conflict):
        store.remove(waiting)
    assert store.size() == 1
    for ask in (store.state, store.result, store.error, store.progress, store.wait_for_result):
        with pytest.raises(NotFound):
            ask(done)
    assert not store.exists(MISSING)


@pytest.mark.row("M-22")
def test_a_store_cleans_up_what_ended_long_ago(happenings: Happenings) -> None:
    store = happenings.store
    old, failed, waiting = happenings.succeeded(1), happenings.failed(), happenings.waiting()
    assert store.cleanup_expired(600) == 0
    happenings.age()
    if isinstance(happenings, InMemory):
        young = happenings.succeeded(2)
        assert store.cleanup_expired(600) == 2
        assert store.exists(young)
    else:
        assert store.cleanup_expired(0.005) == 2
    assert not store.exists(old)
    assert not store.exists(failed)
    assert store.exists(waiting)


# --- the handle


@pytest.mark.row("M-23")
def test_a_result_tells_state_readiness_value_and_error(bench: Bench) -> None:
    with bench.system() as system:
        hold = system.submit("hold", 1)
        until(lambda: hold.state is TaskState.RUNNING)
        assert (hold.ready(), hold.successful(), hold.failed(), hold.error) == (False, False, False, None)
        with pytest.raises(WaitTimeout, match="still running"):
            hold.get(0.05)
        assert not hold.wait(0.05)
        bench.gate.set()
        assert hold.get(WAIT_S) == "held"
        assert (hold.ready(), hold.successful(), hold.failed()) == (True, True, False)
        bad = system.submit("fail", None, retries=0)
        assert bad.wait(WAIT_S)
        assert (bad.ready(), bad.successful(), bad.failed()) == (True, False, True)
        with pytest.raises(TaskFailed, match="attempt 1 is broken"):
            bad.get()
        assert str(bad.error) == "attempt 1 is broken [task.ValueError]"
        assert system.result(hold.id) == hold
        assert len({hold, system.result(hold.id), bad}) == 2


@pytest.mark.row("M-23")
def test_callbacks_are_called_once_also_when_late_and_their_errors_do_no_harm(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    threads: set[str] = set()

    def note(value: Any) -> None:
        threads.add(threading.current_thread().name)
        told.append(value)

    def broken(_: Any) -> None:
        raise RuntimeError("a broken callback")

    with bench.system() as system, caplog.at_level(logging.ERROR):
        hold = system.submit("hold", 1)
        hold.then(note, broken).then(broken).then(note)
        bad = system.submit("fail", None, retries=0)
        bad.then(broken, lambda error: note(error.code))
        until(lambda: told == ["task_failed"])
        bench.gate.set()
        until(lambda: len(told) == 3)
        assert told[1:] == ["held", "held"]
        hold.then(note)  # it has ended long ago
        bad.then(None, note)
        until(lambda: len(told) == 5)
        assert "held" in told[3:]
        system.result(MISSING).then(None, lambda error: note(error.code))
        until(lambda: "not_found" in told)
        time.sleep(0.05)
        assert len(told) == 6
    assert all(name.startswith("strataflow-callbacks") for name in threads)
    assert "a broken callback" in caplog.text


@pytest.mark.row("M-23")
def test_a_result_is_revoked(bench: Bench) -> None:
    with bench.system(concurrency=1) as system:
        running, queued = system.submit("hold", 1), system.submit("echo", 2)
        until(lambda: running.state is TaskState.RUNNING)
        for task in (queued, running):
            assert task.revoke("not needed")
            assert task.wait(WAIT_S)
            assert task.state is TaskState.CANCELLED
            assert not task.revoke()
        assert ("cancelled", 1) in until(lambda: bench.calls if len(bench.calls) > 1 else None)
    assert 2 not in bench.calls


@pytest.mark.row("M-23")
def test_a_result_is_awaited(bench: Bench) -> None:
    with bench.system() as system:

        async def main() -> None:
            tasks = [system.submit("square", number) for number in range(100)]
            assert await asyncio.gather(*tasks) == [number * number for number in range(100)]
            bad = system.submit("fail", None, retries=0)
            with pytest.raises(TaskFailed):
                await bad.aget(WAIT_S)
            hold = system.submit("hold", 1)
            with pytest.raises(WaitTimeout):
                await hold.aget(0.05)
            waiting = asyncio.ensure_future(hold.aget())
            await asyncio.sleep(0.05)
            bench.gate.set()
            assert await waiting == "held"
            with pytest.raises(NotFound):
                await system.result(MISSING)

        asyncio.run(main())


def test_who_awaits_is_told_when_the_system_stops(bench: Bench) -> None:
    system = bench.system()
    system.start()
    later = system.submit_later("echo", 1, 60)

    async def main() -> None:
        waiting = asyncio.ensure_future(later.aget())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(system.stop)
        with pytest.raises(EngineStopped):
            await waiting

    asyncio.run(main())


@pytest.mark.row("M-23")
def test_a_result_works_in_another_process_and_after_a_restart(bench: Bench) -> None:
    with bench.system() as system:
        done, bad = system.submit("square", 7), system.submit("fail", None, retries=0)
        assert done.wait(WAIT_S)
        assert bad.wait(WAIT_S)
        code = (
            "import sys; from strataflow import TaskSystem; system = TaskSystem(sys.argv[1]);"
            "print(system.result(sys.argv[2]).get(10), system.result(sys.argv[3]).error); system.stop()"
        )
        command = [sys.executable, "-c", code, bench.url, done.id, bad.id]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
        assert found.stdout.strip() == "49 attempt 1 is broken [task.ValueError]"
        assert found.stderr == ""
    other = bench.system(handlers=False)
    assert other.result(done.id).get(5) == 49
    told: list[Any] = []
    other.result(done.id).then(told.append)
    until(lambda: told == [49])


def test_waiting_for_a_task_of_another_process_asks_seldom(bench: Bench) -> None:
    with bench.system() as system:
        watcher = bench.system(handlers=False)
        task = system.submit("hold", 1)
        looked = 0
        read = watcher.engine.database.read

        def counted() -> Any:
            nonlocal looked
            looked += 1
            return read()

        watcher.engine.database.read = counted  # pyright: ignore[reportAttributeAccessIssue] - counts
        handles = [watcher.result(task.id) for _ in range(20)]
        told: list[Any] = []
        for handle in handles:
            handle.then(told.append)
        time.sleep(2.0)
        before = looked
        bench.gate.set()
        until(lambda: len(told) == 20)
        assert before < 30  # one look for all of them, less and less often
        assert told == ["held"] * 20


def test_children_are_the_runs_that_a_task_started(bench: Bench) -> None:
    with bench.system() as system:
        task = system.submit("square", 1)
        assert task.get(WAIT_S) == 1
        assert task.children == []
        assert system.get_task(task.id).parent_id is None


def test_a_result_without_a_system_can_only_be_asked() -> None:
    store = MemoryResults()
    store.put("a", "running")
    result = AsyncResult("a", store)
    assert result.state is TaskState.RUNNING
    threading.Timer(0.05, lambda: store.put("a", "succeeded", result=5)).start()
    assert asyncio.run(result.aget(5)) == 5
    with pytest.raises(Exception, match="no task system"):
        result.revoke()


def test_a_store_over_a_client_reads_what_an_engine_wrote(bench: Bench) -> None:
    with bench.system() as system:
        task = system.submit("square", 5)
        assert task.wait(WAIT_S)
    with WorkflowEngine(bench.url, config=EngineConfig(executes=False, tune_gc=False)) as client:
        assert SqlResults.of(client).wait_for_result(task.id, 5) == 25


def test_a_retried_task_is_waited_for_again(bench: Bench) -> None:
    with bench.system() as system:
        task = system.submit("fail", 1, retries=0)
        assert task.wait(WAIT_S)
        assert task.failed()
        system.retry(task.id)
        assert task.get(WAIT_S) == 2


def test_systems_of_one_database_wait_for_each_others_tasks(bench: Bench) -> None:
    with bench.system() as worker:
        client = TaskSystem(bench.url, config=worker.engine.config)
        began = time.monotonic()
        assert client.submit("square", 3).get(WAIT_S) == 9
        assert time.monotonic() - began < 5
        client.stop()
