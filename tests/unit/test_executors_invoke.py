"""How one attempt runs: on the loop, in a thread, in time, cancelled, with its optional methods."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from strataflow.executors import coroutines
from strataflow.executors import invoke as invoking
from strataflow.executors.base import TaskContext, TaskError
from strataflow.executors.entry import make_entry
from strataflow.executors.errors import (
    AttemptCancelled,
    AttemptTimeout,
    ConfigRefused,
    ExecutorError,
    error_from_exception,
)
from strataflow.executors.invoke import invoke, invoke_inline
from strataflow.executors.threads import WorkerThreads
from tests.unit.test_executors_base import context

WAIT_S = 10
Runner = Callable[..., Any]


@pytest.fixture
def pool() -> Iterator[WorkerThreads]:
    threads = WorkerThreads(2)
    yield threads
    threads.close()


@pytest.fixture
def run(pool: WorkerThreads) -> Runner:
    """Run one attempt on a loop of its own."""

    def attempt(
        executor: object, config: Any = None, *, ctx: TaskContext | None = None, **options: Any
    ) -> Any:
        schema = options.pop("schema", None)
        entry = make_entry("test.run", executor, config=schema, inline=options.pop("inline", False))
        return asyncio.run(invoke(entry, ctx or context(), config, pool=pool, **options))

    return attempt


def test_async_executors_run_on_the_loop_and_others_in_a_thread(run: Runner) -> None:
    async def on_loop(_ctx: TaskContext, config: Any) -> Any:
        return config, threading.get_ident()

    def in_thread(_ctx: TaskContext, config: Any) -> Any:
        return config, threading.get_ident()

    here = threading.get_ident()
    assert run(on_loop, {"n": 1}) == ({"n": 1}, here)
    config, thread = run(in_thread, {"n": 2})
    assert config == {"n": 2}
    assert thread != here


@pytest.mark.parametrize("timeout_s", [None, WAIT_S])
def test_a_plain_function_may_return_a_coroutine(run: Runner, timeout_s: float | None) -> None:
    async def later() -> int:
        return threading.get_ident()

    def soon(_ctx: TaskContext, _config: Any) -> Awaitable[int]:
        return later()

    assert run(soon, timeout_s=timeout_s) == threading.get_ident()


def test_an_inline_executor_is_called_on_the_loop_itself(run: Runner) -> None:
    def quick(_ctx: TaskContext, config: Any) -> Any:
        return config, threading.get_ident()

    assert run(quick, 1, inline=True) == (1, threading.get_ident())
    entry = make_entry("test.run", quick, inline=True)
    assert invoke_inline(entry, context(), 2) == (2, threading.get_ident())


def test_a_config_that_does_not_fit_is_refused_before_user_code(run: Runner) -> None:
    entered: list[Any] = []

    def execute(_ctx: TaskContext, config: Any) -> None:
        entered.append(config)

    with pytest.raises(ConfigRefused, match="/n: must be of type integer"):
        run(execute, {"n": "x"}, schema={"properties": {"n": {"type": "integer"}}})
    assert entered == []


def raiser(exc: BaseException, *, is_async: bool) -> Callable[..., Any]:
    async def on_loop(_ctx: TaskContext, _config: Any) -> None:
        raise exc

    def in_thread(_ctx: TaskContext, _config: Any) -> None:
        raise exc

    return on_loop if is_async else in_thread


@pytest.mark.parametrize("timeout_s", [None, WAIT_S])
@pytest.mark.parametrize("is_async", [True, False])
def test_an_ordinary_exception_arrives_as_it_is(
    *, run: Runner, is_async: bool, timeout_s: float | None
) -> None:
    raised = KeyError("x")
    with pytest.raises(KeyError) as caught:
        run(raiser(raised, is_async=is_async), timeout_s=timeout_s)
    assert caught.value is raised


@pytest.mark.parametrize("timeout_s", [None, WAIT_S])
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("exc", [SystemExit(1), asyncio.CancelledError(), AttemptCancelled("by myself")])
def test_what_would_end_more_than_the_attempt_becomes_a_failure(
    *, run: Runner, exc: BaseException, is_async: bool, timeout_s: float | None
) -> None:
    with pytest.raises(ExecutorError) as caught:
        run(raiser(exc, is_async=is_async), timeout_s=timeout_s)
    assert caught.value.code == type(exc).__name__


@pytest.mark.parametrize("timeout_s", [None, WAIT_S])
@pytest.mark.parametrize("is_async", [True, False])
def test_the_stored_traceback_begins_in_user_code(
    run: Runner, *, is_async: bool, timeout_s: float | None
) -> None:
    with pytest.raises(KeyError) as caught:
        run(raiser(KeyError("x"), is_async=is_async), timeout_s=timeout_s)
    trace = error_from_exception(caught.value, "test").traceback or ""
    assert re.findall(r", in (\w+)", trace) == ["on_loop" if is_async else "in_thread"]


@pytest.mark.parametrize("exc", [StopIteration(1), SystemExit(1), asyncio.CancelledError()])
def test_an_inline_executor_cannot_end_the_loop(run: Runner, exc: BaseException) -> None:
    with pytest.raises(ExecutorError) as caught:
        run(raiser(exc, is_async=False), inline=True)
    assert caught.value.code == type(exc).__name__


@pytest.mark.row("A-18")
def test_a_blocking_executor_stops_nobody(pool: WorkerThreads) -> None:
    stuck, running = threading.Event(), threading.Semaphore(0)

    def block(_ctx: TaskContext, _config: Any) -> None:
        running.release()
        stuck.wait(WAIT_S)

    def plain(_ctx: TaskContext, config: Any) -> Any:
        return config

    async def on_loop(_ctx: TaskContext, config: Any) -> Any:
        return config

    async def main() -> None:
        blocking = [
            asyncio.create_task(invoke(make_entry("a.b", block), context(), None, pool=pool, timeout_s=0.3))
            for _ in range(2)
        ]
        for _ in blocking:
            await asyncio.to_thread(running.acquire, timeout=WAIT_S)
        # Both threads are taken: coroutines go on, and plain functions once the blocked attempts timed out.
        assert await invoke(make_entry("a.c", on_loop), context(), 1, pool=pool) == 1
        assert await invoke(make_entry("a.d", plain), context(), 2, pool=pool) == 2
        for task in blocking:
            with pytest.raises(AttemptTimeout):
                await task

    asyncio.run(main())
    stuck.set()


def test_a_timeout_ends_a_thread_at_once_and_tells_it(run: Runner, pool: WorkerThreads) -> None:
    ctx, ended = context(), threading.Event()

    def wait(ctx: TaskContext, _config: Any) -> str:
        ctx.wait_cancelled(WAIT_S)
        ended.set()
        return "late"

    with pytest.raises(AttemptTimeout, match=r"0\.3 s"):
        run(wait, ctx=ctx, timeout_s=0.3)
    assert ctx.cancelled
    assert ended.wait(WAIT_S)
    assert pool.busy == 0


def test_a_timeout_cancels_a_coroutine_after_telling_it(run: Runner) -> None:
    ctx, seen = context(), list[bool]()

    async def wait(ctx: TaskContext, _config: Any) -> None:
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            seen.append(ctx.cancelled)

    with pytest.raises(AttemptTimeout):
        run(wait, ctx=ctx, timeout_s=0.02)
    assert seen == [True]


@pytest.mark.parametrize("is_async", [True, False])
def test_no_time_left_means_no_call(*, run: Runner, is_async: bool) -> None:
    with pytest.raises(AttemptTimeout):
        run(raiser(ValueError(), is_async=is_async), timeout_s=0)


def test_the_timeout_goes_on_for_a_coroutine_that_a_function_returned(run: Runner) -> None:
    def soon(_ctx: TaskContext, _config: Any) -> Awaitable[None]:
        return asyncio.sleep(WAIT_S)

    with pytest.raises(AttemptTimeout, match=r"0\.05 s"):
        run(soon, timeout_s=0.05)


@pytest.mark.parametrize("by_timeout", [True, False])
def test_a_coroutine_that_ignores_its_cancellation_is_left_behind(
    pool: WorkerThreads,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    by_timeout: bool,
) -> None:
    monkeypatch.setattr(coroutines, "GRACE_S", 0.02)
    began, told = threading.Event(), list[str]()

    async def stubborn(_ctx: TaskContext, _config: Any) -> None:
        began.set()
        for _ in range(2):
            try:
                await asyncio.sleep(WAIT_S)
            except asyncio.CancelledError:
                told.append("cancelled")

    timeout_s = 0.02 if by_timeout else WAIT_S
    start = invoke(make_entry("a.b", stubborn), context(), None, pool=pool, timeout_s=timeout_s)
    error = AttemptTimeout if by_timeout else asyncio.CancelledError
    with caplog.at_level(logging.WARNING), pytest.raises(error):
        _ = asyncio.run(start) if by_timeout else cancelled(start, began)
    assert [getattr(record, "action", None) for record in caplog.records] == ["coroutine_left_behind"]
    # The loop's end cancelled it once more, and then nothing holds it.
    assert told == ["cancelled", "cancelled"]
    assert not coroutines._left_behind


def test_a_cancellation_during_the_end_of_a_timeout_wins(pool: WorkerThreads) -> None:
    ending = threading.Event()

    async def slow_end(_ctx: TaskContext, _config: Any) -> None:
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            ending.set()
            await asyncio.sleep(WAIT_S)

    start = invoke(make_entry("a.b", slow_end), context(), None, pool=pool, timeout_s=0.02)
    with pytest.raises(asyncio.CancelledError):
        cancelled(start, ending)


async def failing_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(WAIT_S))
        group.create_task(asyncio.wait_for(asyncio.sleep(WAIT_S), 0.01))


@pytest.mark.parametrize("timeout_s", [None, WAIT_S])
def test_user_code_may_use_every_part_of_asyncio(run: Runner, timeout_s: float | None) -> None:
    async def busy(_ctx: TaskContext, _config: Any) -> list[Any]:
        answers: list[Any] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(WAIT_S)
        with pytest.raises(ExceptionGroup):
            await failing_group()
        stray = asyncio.create_task(asyncio.sleep(WAIT_S))
        asyncio.get_running_loop().call_soon(stray.cancel)
        with pytest.raises(asyncio.CancelledError):
            await stray
        answers.append(await asyncio.gather(asyncio.sleep(0, "a"), asyncio.to_thread(str, 1)))
        queue: asyncio.Queue[int] = asyncio.Queue()
        asyncio.get_running_loop().call_later(0.001, queue.put_nowait, 7)
        answers.append(await queue.get())
        return answers

    assert run(busy, timeout_s=timeout_s) == [["a", "1"], 7]


def test_a_stray_cancellation_is_none_even_after_a_failed_group(run: Runner) -> None:
    async def stray(_ctx: TaskContext, _config: Any) -> None:
        with pytest.raises(ExceptionGroup):
            await failing_group()
        raise asyncio.CancelledError

    with pytest.raises(ExecutorError):
        run(stray, timeout_s=WAIT_S)


def test_a_timeout_leaves_the_task_as_it_was(pool: WorkerThreads) -> None:
    async def sleep(_ctx: TaskContext, _config: Any) -> None:
        await asyncio.sleep(WAIT_S)

    async def main() -> int:
        with pytest.raises(AttemptTimeout):
            await invoke(make_entry("a.b", sleep), context(), None, pool=pool, timeout_s=0.01)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("does", ["returns", "raises"])
def test_what_a_coroutine_does_after_its_timeout_is_dropped(run: Runner, does: str) -> None:
    async def late(_ctx: TaskContext, _config: Any) -> str:
        try:
            await asyncio.sleep(WAIT_S)
        except asyncio.CancelledError:
            if does == "raises":
                raise ValueError("late") from None
        return "late"

    with pytest.raises(AttemptTimeout):
        run(late, timeout_s=0.01)


def cancelled(start: Coroutine[Any, Any, Any], began: threading.Event) -> Any:
    """Begin an attempt, cancel it, and return what it gave."""

    async def main() -> Any:
        task = asyncio.create_task(start)
        await asyncio.to_thread(began.wait, WAIT_S)
        task.cancel()
        return await task

    return asyncio.run(main())


@pytest.mark.parametrize("timeout_s", [None, WAIT_S])
@pytest.mark.parametrize("is_async", [True, False])
def test_cancelling_ends_the_attempt(*, pool: WorkerThreads, is_async: bool, timeout_s: float | None) -> None:
    ctx, began, ended = context(), threading.Event(), threading.Event()

    async def on_loop(_ctx: TaskContext, _config: Any) -> None:
        began.set()
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            ended.set()

    def in_thread(ctx: TaskContext, _config: Any) -> None:
        began.set()
        ctx.wait_cancelled(WAIT_S)
        ended.set()

    entry = make_entry("a.b", on_loop if is_async else in_thread)
    with pytest.raises(asyncio.CancelledError):
        cancelled(invoke(entry, ctx, None, pool=pool, timeout_s=timeout_s), began)
    assert ctx.cancelled
    assert ended.wait(WAIT_S)


@pytest.mark.parametrize("timeout_s", [None, WAIT_S])
def test_work_that_was_done_despite_the_cancellation_counts(
    pool: WorkerThreads, timeout_s: float | None
) -> None:
    began = threading.Event()

    async def finish(_ctx: TaskContext, _config: Any) -> str:
        began.set()
        try:
            await asyncio.sleep(WAIT_S)
        except asyncio.CancelledError:
            return "charged"
        return "never"

    start = invoke(make_entry("a.b", finish), context(), None, pool=pool, timeout_s=timeout_s)
    assert cancelled(start, began) == "charged"


@pytest.mark.parametrize("is_async", [True, False])
def test_an_executor_may_stop_when_it_sees_that_it_should(*, run: Runner, is_async: bool) -> None:
    ctx = context()
    ctx.request_cancel()
    with pytest.raises(AttemptCancelled, match="as asked"):
        run(raiser(AttemptCancelled("as asked"), is_async=is_async), ctx=ctx)


class Told:
    """An executor that keeps what it is told."""

    def __init__(self, does: Callable[[], Any]) -> None:
        self.does = does
        self.told: list[tuple[Any, ...]] = []

    def execute(self, ctx: TaskContext, _config: Any) -> Any:
        self.told.append(("execute", ctx.attempt))
        return self.does()

    def on_retry(self, _ctx: TaskContext, error: TaskError | None) -> None:
        self.told.append(("on_retry", error and error.code))

    def on_success(self, _ctx: TaskContext, result: Any) -> None:
        self.told.append(("on_success", result))

    def on_failure(self, _ctx: TaskContext, error: TaskError) -> None:
        self.told.append(("on_failure", error.code))

    def cleanup(self, ctx: TaskContext) -> None:
        self.told.append(("cleanup", ctx.attempt))


class AsyncTold:
    """The same with coroutines."""

    def __init__(self, does: Callable[[], Any]) -> None:
        self.plain = Told(does)
        self.told = self.plain.told

    async def execute(self, ctx: TaskContext, config: Any) -> Any:
        answer = self.plain.execute(ctx, config)
        return await answer if inspect.isawaitable(answer) else answer

    async def on_retry(self, ctx: TaskContext, error: TaskError | None) -> None:
        self.plain.on_retry(ctx, error)

    async def on_success(self, ctx: TaskContext, result: Any) -> None:
        self.plain.on_success(ctx, result)

    async def on_failure(self, ctx: TaskContext, error: TaskError) -> None:
        self.plain.on_failure(ctx, error)

    async def cleanup(self, ctx: TaskContext) -> None:
        self.plain.cleanup(ctx)


@pytest.mark.parametrize("kind", [Told, AsyncTold])
def test_optional_methods_of_a_success(run: Runner, kind: type[Told | AsyncTold]) -> None:
    executor = kind(lambda: 7)
    assert run(executor) == 7
    assert executor.told == [("execute", 1), ("on_success", 7), ("cleanup", 1)]


@pytest.mark.parametrize("kind", [Told, AsyncTold])
def test_optional_methods_of_a_retry_that_fails(run: Runner, kind: type[Told | AsyncTold]) -> None:
    executor = kind(lambda: 1 // 0)
    previous = TaskError(code="test.Boom", message="x")
    with pytest.raises(ZeroDivisionError):
        run(executor, ctx=context(2), previous_error=previous)
    assert executor.told == [
        ("on_retry", "test.Boom"),
        ("execute", 2),
        ("on_failure", "test.ZeroDivisionError"),
        ("cleanup", 2),
    ]


def test_an_attempt_after_a_crash_is_a_retry_without_an_error(run: Runner) -> None:
    executor = Told(lambda: None)
    run(executor, ctx=context(3))
    assert executor.told[0] == ("on_retry", None)


def test_a_failing_optional_method_changes_nothing(run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy:
        def execute(self, _ctx: TaskContext, _config: Any) -> int:
            return 7

        def on_success(self, _ctx: TaskContext, _result: Any) -> None:
            raise RuntimeError("oops")

        async def cleanup(self, _ctx: TaskContext) -> None:
            raise SystemExit

    assert run(Clumsy()) == 7
    assert [getattr(record, "hook", None) for record in caplog.records] == ["on_success", "cleanup"]


def test_an_optional_method_is_bounded(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoking, "HOOK_TIMEOUT_S", 0.02)
    stuck = threading.Event()

    class Slow:
        def execute(self, ctx: TaskContext, _config: Any) -> bool:
            return ctx.cancelled

        def on_retry(self, _ctx: TaskContext, _error: TaskError | None) -> None:
            stuck.wait(WAIT_S)

    assert run(Slow(), ctx=context(2)) is False
    stuck.set()


def test_cleanup_waits_for_a_function_that_was_left_behind(pool: WorkerThreads) -> None:
    began, stuck, cleaned = threading.Event(), threading.Event(), threading.Event()

    class Held:
        def execute(self, _ctx: TaskContext, _config: Any) -> None:
            began.set()
            stuck.wait(WAIT_S)

        def cleanup(self, _ctx: TaskContext) -> None:
            cleaned.set()

    with pytest.raises(asyncio.CancelledError):
        cancelled(invoke(make_entry("a.b", Held()), context(), None, pool=pool), began)
    assert not cleaned.is_set()
    stuck.set()
    assert cleaned.wait(WAIT_S)


def test_a_timeout_is_a_failure_to_the_optional_methods(run: Runner) -> None:
    executor = AsyncTold(lambda: asyncio.sleep(WAIT_S))
    with pytest.raises(AttemptTimeout):
        run(executor, timeout_s=0.02)
    assert executor.told == [("execute", 1), ("on_failure", "timeout"), ("cleanup", 1)]


def test_a_cancelled_attempt_is_cleaned_up_but_has_not_failed(pool: WorkerThreads) -> None:
    began = threading.Event()

    def begin() -> Awaitable[None]:
        began.set()
        return asyncio.sleep(WAIT_S)

    executor = AsyncTold(begin)
    with pytest.raises(asyncio.CancelledError):
        cancelled(invoke(make_entry("a.b", executor), context(), None, pool=pool), began)
    assert executor.told == [("execute", 1), ("cleanup", 1)]
