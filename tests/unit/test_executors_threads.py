"""The thread pool for synchronous user code."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from strataflow.executors.errors import ExecutorError
from strataflow.executors.threads import WorkerThreads

WAIT_S = 10


@pytest.fixture
def pool() -> Iterator[WorkerThreads]:
    threads = WorkerThreads(2)
    yield threads
    threads.close()


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for what another thread is about to do."""
    ends_at = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < ends_at:
        time.sleep(0.001)
    return condition()


def test_calls_run_in_daemon_threads_within_the_bound(pool: WorkerThreads) -> None:
    both = threading.Barrier(2)

    def meet() -> tuple[bool, str]:
        both.wait(WAIT_S)
        return threading.current_thread().daemon, threading.current_thread().name

    async def main() -> list[tuple[bool, str]]:
        return await asyncio.gather(*(pool.submit(meet).future for _ in range(20)))

    met = asyncio.run(main())
    assert all(daemon for daemon, _ in met)
    assert len({name for _, name in met}) == 2


def test_a_thread_that_is_free_is_used_again(pool: WorkerThreads) -> None:
    async def main() -> set[int]:
        return {await pool.submit(threading.get_ident).future for _ in range(5)}

    assert len(asyncio.run(main())) == 1
    assert pool.busy == 0


def test_an_abandoned_thread_gives_its_place_to_another(pool: WorkerThreads) -> None:
    stuck, running = threading.Event(), threading.Semaphore(0)

    def block() -> None:
        running.release()
        stuck.wait(WAIT_S)

    async def main() -> list[str]:
        jobs = [pool.submit(block) for _ in range(2)]
        waiting = [pool.submit(str, number) for number in range(3)]
        assert all([await asyncio.to_thread(running.acquire, timeout=WAIT_S) for _ in jobs])
        assert not any(job.future.done() for job in waiting)
        assert [pool.abandon(job) for job in jobs] == [True, True]
        assert pool.abandoned == 2
        return [await job.future for job in waiting]

    assert asyncio.run(main()) == ["0", "1", "2"]
    stuck.set()
    assert eventually(lambda: pool.abandoned == 0)
    assert pool.busy == 0


def test_a_job_abandoned_in_the_queue_never_runs(pool: WorkerThreads) -> None:
    stuck, ran = threading.Event(), threading.Event()

    async def main() -> None:
        jobs = [pool.submit(stuck.wait, WAIT_S) for _ in range(2)]
        queued = pool.submit(ran.set)
        assert not pool.abandon(queued)
        stuck.set()
        await asyncio.gather(*(job.future for job in jobs))
        await asyncio.gather(*(pool.submit(int).future for _ in range(4)))

    asyncio.run(main())
    assert not ran.is_set()
    assert pool.busy == 0


def test_what_waits_for_an_abandoned_call_runs_in_its_thread(pool: WorkerThreads) -> None:
    stuck, running = threading.Event(), threading.Event()
    idents: list[int] = []

    def block() -> None:
        idents.append(threading.get_ident())
        running.set()
        stuck.wait(WAIT_S)

    async def main() -> None:
        job = pool.submit(block, late=lambda: idents.append(threading.get_ident()))
        await asyncio.to_thread(running.wait, WAIT_S)
        pool.abandon(job)

    asyncio.run(main())
    assert len(idents) == 1
    stuck.set()
    assert eventually(lambda: len(idents) == 2)
    assert idents[0] == idents[1]


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), StopIteration(1), GeneratorExit()])
def test_what_would_end_more_than_the_call_becomes_a_failure(
    pool: WorkerThreads, raised: BaseException
) -> None:
    def leave() -> None:
        raise raised

    async def main() -> str:
        with pytest.raises(ExecutorError) as caught:
            await pool.submit(leave).future
        assert caught.value.__cause__ is raised
        assert await pool.submit(int).future == 0
        return caught.value.code or ""

    assert asyncio.run(main()) == type(raised).__name__


def test_context_variables_are_copied_into_the_thread(pool: WorkerThreads) -> None:
    tenant = contextvars.ContextVar("tenant", default="none")

    def look() -> str:
        found = tenant.get()
        tenant.set("changed")
        return found

    async def main() -> tuple[str, str]:
        tenant.set("acme")
        return await pool.submit(look).future, tenant.get()

    assert asyncio.run(main()) == ("acme", "acme")


def test_an_idle_thread_holds_neither_arguments_nor_results(pool: WorkerThreads) -> None:
    class Big:
        pass

    async def main() -> weakref.ref[Big]:
        big = Big()
        assert await pool.submit(lambda value: value, big).future is big
        return weakref.ref(big)

    seen = asyncio.run(main())
    gc.collect()
    assert eventually(lambda: seen() is None)


def test_a_result_for_a_closed_loop_is_dropped(pool: WorkerThreads) -> None:
    go, running = threading.Event(), threading.Event()

    def block() -> None:
        running.set()
        go.wait(WAIT_S)

    async def main() -> None:
        pool.submit(block)
        await asyncio.to_thread(running.wait, WAIT_S)

    asyncio.run(main())
    go.set()
    assert eventually(lambda: pool.busy == 0)
    assert asyncio.run(_two(pool)) == [0, 0]


async def _two(pool: WorkerThreads) -> list[int]:
    return list(await asyncio.gather(pool.submit(int).future, pool.submit(int).future))


def test_several_loops_may_share_a_pool(pool: WorkerThreads) -> None:
    with ThreadPoolExecutor(4) as loops:
        answers = list(loops.map(lambda _: asyncio.run(_two(pool)), range(8)))
    assert answers == [[0, 0]] * 8


def test_a_closed_pool_ends_its_threads_and_takes_nothing_more() -> None:
    pool = WorkerThreads(2, name="closing")
    asyncio.run(_two(pool))
    pool.close()
    pool.close()
    assert eventually(lambda: not any(t.name.startswith("closing") for t in threading.enumerate()))

    async def main() -> None:
        pool.submit(int)

    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(main())


def test_a_system_without_threads_is_a_retryable_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerThreads(1)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ExecutorError, match="no further thread") as caught:
                pool.submit(int)
        assert caught.value.retryable
        assert await pool.submit(int).future == 0

    asyncio.run(main())
    pool.close()


def test_a_pool_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        WorkerThreads(0)
