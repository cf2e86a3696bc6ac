"""Wrong input of users is refused at once, with an error that names what is wrong; nothing is half accepted."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from strataflow import NotFound, TaskConfig, TaskContext, TaskSystem, WaitTimeout, task_builder
from tests.integration.task_kit import WAIT_S, quick


@pytest.fixture
def system(db_url: str) -> Any:
    made = TaskSystem(db_url, config=quick())
    made.register("echo", lambda payload: payload)
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"expires": -5}, "expires must lie between"),
        ({"expires": 1e18}, "expires must lie between"),
        ({"expires": float("nan")}, "expires is a number"),
        ({"queue": ""}, "a queue's name is"),
        ({"queue": "two words"}, "a queue's name is"),
        ({"key": ""}, "a key is text"),
        ({"key": "x" * 513}, "a key is text"),
        ({"tags": [f"t{n}" for n in range(51)]}, "at most 50 tags, not 51"),
        ({"never": ["a b!"]}, "'never' names exceptions"),
        ({"delay": -1}, "delay must lie between"),
        ({"delay": "5"}, "delay is a number"),
        ({"timeout": 0}, "timeout must lie between"),
        ({"retries": -1}, "max_retries must lie between"),
    ],
)
def test_options_out_of_bounds_are_value_errors_that_name_them(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TaskSystem("sqlite:///never-opened.db").submit("echo", 1, **options)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"concurrency": 0}, ValueError, "concurrency is a whole number from 1"),
        ({"concurrency": True}, ValueError, "concurrency is a whole number from 1"),
        ({"concurrency": 2.5}, ValueError, "concurrency is a whole number from 1"),
        ({"defaults": {"timeout": 3}}, TypeError, "defaults are a TaskConfig"),
        ({"missing_handler_s": -1}, ValueError, "missing_handler_s is 0 seconds or more"),
        ({"queues": ()}, ValueError, "at least one queue"),
        ({"queues": ("a b",)}, ValueError, "a queue's name is"),
    ],
)
def test_a_system_checks_what_it_is_told(given: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        TaskSystem("sqlite:///never-opened.db", **given)


def test_one_queue_may_be_given_by_its_name_alone(db_url: str) -> None:
    with TaskSystem(db_url, config=quick(), queues="slow") as system:
        system.register("echo", lambda payload: payload)
        assert system.submit("echo", 1, queue="slow").get(WAIT_S) == 1


def test_a_name_alone_is_no_list_of_tasks(system: TaskSystem) -> None:
    for call in (system.submit_batch, system.chain, system.group, lambda given: system.chord(given, "echo")):
        wrongs: list[Any] = ["echo", task_builder("echo").build(), {"echo": 1}, None]
        for wrong in wrongs:
            with pytest.raises(TypeError, match="tasks are given as a list"):
                call(wrong)
    with pytest.raises(TypeError, match="tasks are given as a list"):
        system.submit_batch("echo", atomic=True)
    assert system.pending() == []


def test_a_builder_that_was_not_built_and_a_function_are_no_tasks(system: TaskSystem) -> None:
    with pytest.raises(ValueError, match=r"call its build\(\)"):
        system.submit(task_builder("echo"))  # pyright: ignore[reportArgumentType] - wrong on purpose
    with pytest.raises(ValueError, match="a task's name is text"):
        system.submit(print)  # pyright: ignore[reportArgumentType] - wrong on purpose


def test_the_decorator_without_a_name_says_what_to_write(system: TaskSystem) -> None:
    with pytest.raises(TypeError, match=r'write @system.handler\("name"\)'):

        @system.handler  # pyright: ignore[reportArgumentType] - wrong on purpose
        def forgotten(payload: Any) -> None: ...


def test_the_payload_may_be_given_by_name(system: TaskSystem) -> None:
    with system:
        assert system.submit("echo", payload={"a": 1}).get(WAIT_S) == {"a": 1}


def test_a_handler_of_the_context_alone_gets_it_and_one_of_nothing_nothing(system: TaskSystem) -> None:
    def lonely(ctx: TaskContext) -> int:
        return ctx.attempt

    system.register("lonely", lonely)
    system.register("nothing", lambda: "called")
    system.register("optional", lambda context, payload="none": [context.attempt, payload])
    with system:
        assert system.submit("lonely", "payload").get(WAIT_S) == 1
        assert system.submit("nothing", "payload").get(WAIT_S) == "called"
        assert system.submit("optional", "payload").get(WAIT_S) == [1, "payload"]


def test_ids_that_nothing_has_give_one_error_whatever_is_asked(system: TaskSystem) -> None:
    unknown = system.result("01a1fd82-2c83-704f-b77c-d06bd94256be")
    for call in (lambda: unknown.state, lambda: unknown.get(1), unknown.revoke, lambda: unknown.error):
        with pytest.raises(NotFound, match="there is no task 01a1fd82"):
            call()
    with pytest.raises(NotFound, match="there is no task nope"):
        system.result("nope").get(1)
    for wrong in (None, 5):
        with pytest.raises(TypeError, match="the id of a task is text"):
            system.result(wrong)  # pyright: ignore[reportArgumentType] - wrong on purpose


def test_a_callback_that_cannot_be_called_is_refused(system: TaskSystem) -> None:
    task = system.submit("echo", 1)
    for wrong in ("text", 5):
        with pytest.raises(TypeError, match="a callback is a function"):
            task.then(wrong)  # pyright: ignore[reportArgumentType] - wrong on purpose
        with pytest.raises(TypeError, match="a callback is a function"):
            task.then(None, wrong)  # pyright: ignore[reportArgumentType] - wrong on purpose


def test_a_wait_that_was_too_short_says_how_long_it_was(system: TaskSystem) -> None:
    task = system.submit("echo", 1)
    with pytest.raises(WaitTimeout, match=r"is still queued after 0\.07 s"):
        asyncio.run(task.aget(0.07))
    with pytest.raises(WaitTimeout, match=r"is still queued after 0\.07 s"):
        task.get(0.07)


def test_a_stop_is_told_a_number_of_seconds(system: TaskSystem) -> None:
    system.start()
    for wrong in (-1, "5", float("nan")):
        with pytest.raises(ValueError, match="timeout is 0 seconds or more"):
            system.stop(timeout=wrong)  # pyright: ignore[reportArgumentType] - wrong on purpose
    assert system.running
    assert system.submit("echo", 2).get(WAIT_S) == 2


def test_a_started_system_that_nothing_refers_to_says_that_it_stops(
    db_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "strataflow.tasks"):
        TaskSystem(db_url, config=quick()).start()
        gc.collect()
        assert "keep it in a variable" in caplog.text
        caplog.clear()
        idle = TaskSystem(db_url, config=quick(), defaults=TaskConfig(timeout=5))
        idle.submit("echo", 1)
        del idle
        gc.collect()
        assert caplog.text == ""
