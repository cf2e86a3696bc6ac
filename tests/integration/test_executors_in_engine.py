"""Executors of every kind in the engine: none stops another, and whatever goes wrong is stored and says what to do."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from strataflow import DefinitionError, EngineConfig, ExecutorDomain, Lease, TaskContext
from strataflow.repositories import views
from strataflow.repositories.records import InstanceState
from tests.integration.kit import WAIT_S, Flow, until


class Hooked:
    """An executor with every optional method; it notes what is called."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def execute(self, ctx: TaskContext, config: Any) -> Any:
        self.seen.append(f"execute {ctx.attempt}")
        if ctx.attempt == 1:
            raise ValueError("first")
        return config

    def on_retry(self, ctx: TaskContext, error: Any) -> None:
        self.seen.append("on_retry")

    def on_success(self, ctx: TaskContext, result: Any) -> None:
        self.seen.append(f"on_success {result}")
        raise RuntimeError("a hook's error harms nobody")

    def on_failure(self, ctx: TaskContext, error: Any) -> None:
        self.seen.append(f"on_failure {error.code}")

    def cleanup(self, ctx: TaskContext) -> None:
        self.seen.append("cleanup")


@pytest.mark.row("A-18", "X-22")
def test_functions_coroutines_and_classes_run_side_by_side(flow: Flow) -> None:
    hooked = Hooked()
    flow.registry.register_executor("u.hooked", hooked)
    nodes = {
        "sync": {"run": "t.later", "with": 1},
        "async": {"run": "t.echo", "with": 2},
        "class": {"run": "u.hooked", "with": 3, "retry": {"max": 1, "delay": "1ms"}},
        "inline": {"run": "core.noop", "with": 4},
    }
    assert flow.run(nodes).output == {"sync": 1, "async": 2, "class": 3, "inline": 4}
    first = ["execute 1", "on_failure u.ValueError", "cleanup"]
    assert hooked.seen == [*first, "on_retry", "execute 2", "on_success 3", "cleanup"]


@pytest.mark.row("A-18")
def test_a_blocking_executor_stops_nobody(flow: Flow) -> None:
    blocked = flow.start({"a": {"run": "t.block", "with": {"gate": "g", "give": 1}}})
    until(lambda: flow.probe.calls)
    assert flow.run({"b": {"run": "t.echo", "with": 2}, "c": {"run": "t.later", "with": 3}}).output == {
        "b": 2,
        "c": 3,
    }
    assert flow.state(blocked, "a") == "running"
    flow.probe.gate("g").set()
    assert flow.wait(blocked).output == {"a": 1}


@pytest.mark.row("M-16")
@pytest.mark.parametrize("is_async", [True, False])
def test_an_exception_is_stored_with_class_message_and_traceback(flow: Flow, *, is_async: bool) -> None:
    def boom(ctx: TaskContext, config: Any) -> Any:
        raise KeyError("the key \x00 \ud800")

    async def aboom(ctx: TaskContext, config: Any) -> Any:
        return boom(ctx, config)

    flow.registry.register_executor("u.boom", aboom if is_async else boom)
    instance = flow.start({"a": {"run": "u.boom"}})
    error = flow.wait(instance).error
    assert (error["code"], error["path"], error["attempt"]) == ("u.KeyError", "a", 1)
    assert "the key" in error["message"]
    with flow.database.read() as connection:
        lines = views.logs(connection, instance, level="error")
    assert len(lines) == 1
    assert "Traceback" in lines[0].message
    assert "in boom" in lines[0].message


def recursive() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


class Odd:
    """Cannot even be compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (lambda: {"a": [1, {"b": object()}]}, "/a/1/b"),
        (lambda: {"n": float("nan")}, "/n"),
        (lambda: [float("inf")], "/0"),
        (lambda: {"s": "lone \ud800"}, "/s"),
        (lambda: {"d": datetime.now(UTC)}, "/d"),
        (lambda: b"bytes", "bytes"),
        (lambda: {1: 2}, ""),
        (lambda: {1, 2}, "set"),
        (recursive, ""),
        (Odd, ""),
        (lambda: {"o": Odd()}, "/o"),
        (lambda: "x" * 17_000_000, "16,777,216"),
        (lambda: 10**5000, ""),
    ],
)
def test_what_is_no_json_fails_the_task_and_names_the_place(flow: Flow, give: Any, told: str) -> None:
    flow.probe.gives = {"it": give}
    status = flow.run({"a": {"run": "t.give", "with": "it", "retry": {"max": 3, "delay": "1ms"}}})
    assert status.state is InstanceState.FAILED
    assert (status.error["code"], status.error["attempt"]) == ("output", 1)
    assert told in status.error["message"]


@pytest.mark.parametrize("give", [lambda: "nul \x00", lambda: "y" * 10_000_000, lambda: (1, 2), lambda: None])
def test_odd_json_is_kept_exactly(flow: Flow, give: Any) -> None:
    flow.probe.gives = {"it": give}
    value = give()
    assert flow.run({"a": {"run": "t.give", "with": "it"}}).output == {
        "a": list(value) if isinstance(value, tuple) else value
    }


@pytest.mark.parametrize("kind", [SystemExit, StopIteration, KeyboardInterrupt])
def test_exceptions_that_end_more_than_a_task_end_the_task_only(
    flow: Flow, kind: type[BaseException]
) -> None:
    async def leave(ctx: TaskContext, config: Any) -> Any:
        raise kind

    def leave_thread(ctx: TaskContext, config: Any) -> Any:
        raise kind

    domain = ExecutorDomain("u")
    domain.add("leave", leave)
    domain.add("leave_thread", leave_thread)
    domain.add("leave_inline", leave_thread, inline=True)
    flow.registry.register_executor_domain(domain)
    for name in domain.names():
        assert flow.run({"a": {"run": name}}).state is InstanceState.FAILED
    assert flow.run({"a": {"run": "t.echo", "with": 1}}).output == {"a": 1}


# --- names


@pytest.mark.row("A-08", "X-23", "A-22")
def test_an_unknown_executor_is_refused_before_anything_is_stored(flow: Flow) -> None:
    with pytest.raises(DefinitionError) as caught:
        flow.run({"a": {"run": "t.ecko"}, "b": {"run": "core.sleep", "with": {"seconds": "long"}}})
    found = {problem.pointer: problem for problem in caught.value.problems}
    assert "t.echo" in str(found["/nodes/a/run"])
    assert any(pointer.startswith("/nodes/b/with") for pointer in found)
    with flow.database.read() as connection:
        assert views.instances(connection) == []


@pytest.mark.row("M-12", "X-22")
def test_an_executor_that_went_away_fails_its_task_by_name_without_retry(flow: Flow) -> None:
    flow.open(missing_executor_s=0.3, lease=Lease(ttl_s=1.2, margin_s=0.2))
    flow.registry.register_executor("u.gone", lambda _ctx, _config: 1)
    nodes = {
        "hold": {"run": "t.gate", "with": {"gate": "g"}},
        "a": {"run": "u.gone", "needs": ["hold"], "retry": {"max": 5, "delay": "1ms"}},
    }
    instance = flow.start(nodes)
    until(lambda: flow.probe.calls)
    flow.registry.unregister_executor("u.gone")
    flow.probe.gate("g").set()
    error = flow.wait(instance).error
    assert (error["code"], error["path"]) == ("no_executor", "a")
    assert "u.gone" in error["message"]
    assert flow.tasks(instance)["a"].attempt == 0


def test_an_executor_that_comes_back_in_time_runs(flow: Flow) -> None:
    flow.open(missing_executor_s=None)
    flow.registry.register_executor("u.back", lambda _ctx, _config: 1)
    nodes = {"hold": {"run": "t.gate", "with": {"gate": "g"}}, "a": {"run": "u.back", "needs": ["hold"]}}
    instance = flow.start(nodes)
    until(lambda: flow.probe.calls)
    entry = flow.registry.unregister_executor("u.back")
    flow.probe.gate("g").set()
    until(lambda: flow.state(instance, "a") == "queued")
    flow.registry.register_executor("u.back", entry.call)
    assert flow.wait(instance).output == {"a": 1}


# --- what a task may say while it runs


@pytest.mark.parametrize("is_async", [True, False])
def test_lines_progress_and_checkpoints_are_readable_while_it_runs(flow: Flow, *, is_async: bool) -> None:
    saved, go = threading.Event(), threading.Event()

    def work(ctx: TaskContext, config: Any) -> Any:
        before = ctx.load_checkpoint()
        ctx.log("a line \x00 \ud800", "warning")
        ctx.save_checkpoint({"at": ctx.attempt})
        ctx.progress(0.5, "half")
        saved.set()
        return before

    def sync(ctx: TaskContext, config: Any) -> Any:
        before = work(ctx, config)
        go.wait(WAIT_S)
        if ctx.attempt == 1:
            raise ValueError("again")
        return before

    async def coroutine(ctx: TaskContext, config: Any) -> Any:
        import asyncio

        before = work(ctx, config)
        await asyncio.to_thread(go.wait, WAIT_S)
        if ctx.attempt == 1:
            raise ValueError("again")
        return before

    flow.registry.register_executor("u.work", coroutine if is_async else sync)
    instance = flow.start({"a": {"run": "u.work", "retry": {"max": 1, "delay": "1ms"}}})
    assert saved.wait(WAIT_S)

    def progress() -> Any:
        with flow.database.read() as connection:
            return views.progress(connection, instance)

    (row,) = until(progress)
    assert (row.path, row.attempt, row.fraction, row.message) == ("a", 1, 0.5, "half")
    with flow.database.read() as connection:
        assert [line.level for line in views.logs(connection, instance)] == ["warning"]
    assert flow.state(instance, "a") == "running"
    go.set()
    assert flow.wait(instance).output == {"a": {"at": 1}}


def test_bad_settings_are_refused_by_name() -> None:
    for fields in ({"slots": 0}, {"threads": 0}, {"poll_s": 0.0}, {"queues": ()}, {"recovery_s": 0.0}):
        with pytest.raises(ValueError, match=next(iter(fields))):
            EngineConfig(**fields)  # pyright: ignore[reportArgumentType] - wrong on purpose
