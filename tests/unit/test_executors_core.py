"""The domains `core` and `python`, and the registry a process starts with."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strataflow.executors.builtin import builtin_domains, default_registry
from strataflow.executors.errors import (
    ConfigRefused,
    ExecutorDisabled,
    ExecutorError,
    error_from_exception,
)
from strataflow.executors.fields import seconds_of
from strataflow.executors.invoke import invoke
from strataflow.executors.threads import WorkerThreads
from tests.unit.test_executors_base import Notes, context

REGISTRY = default_registry(entry_points=False)
WAIT_S = 10


def run(name: str, config: Any = None, *, attempt: int = 1, notes: Notes | None = None) -> Any:
    """Run one attempt of a built-in executor."""

    async def main() -> Any:
        pool = WorkerThreads(1)
        try:
            ctx = context(attempt, port=notes)
            return await invoke(REGISTRY.get_executor(name), ctx, config, pool=pool, timeout_s=WAIT_S)
        finally:
            pool.close()

    return asyncio.run(main())


def code_of(name: str, config: Any = None, *, attempt: int = 1) -> tuple[str, bool]:
    """Give the code of the error of an attempt, and if it is worth another."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # every class is looked at
        run(name, config, attempt=attempt)
    error = error_from_exception(caught.value, name.partition(".")[0])
    return error.code, error.retryable


@pytest.mark.parametrize("value", [None, {}, {"a": [1, "{{ x }}"]}, [1], "text", 0])
def test_noop_returns_its_with(value: Any) -> None:
    assert run("core.noop", value) == value


def test_sleep_sleeps_and_returns_nothing() -> None:
    assert run("core.sleep", {"seconds": 0}) is None


def test_sleep_ends_when_it_is_cancelled() -> None:
    entry = REGISTRY.get_executor("core.sleep")

    async def main() -> None:
        task = asyncio.create_task(invoke(entry, context(), {"seconds": 3600}, pool=WorkerThreads(1)))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"message": "held"}, ("info", "held")),
        ({"message": "held", "level": "error"}, ("error", "held")),
        ({"message": {"n": [1, "é"]}}, ("info", '{"n":[1,"é"]}')),
        ({"message": None}, ("info", "null")),
    ],
)
def test_log_keeps_one_line(config: Any, line: tuple[str, str]) -> None:
    notes = Notes()
    assert run("core.log", config, notes=notes) is None
    assert notes.lines == [line]


@pytest.mark.parametrize(
    ("config", "attempt", "code"),
    [
        ({}, 1, ("core.Failed", True)),
        (None, 9, ("core.Failed", True)),
        ({"code": "Boom", "retryable": False}, 1, ("core.Boom", False)),
        ({"code": "bank.Declined"}, 1, ("bank.Declined", True)),
        ({"attempts": 2}, 2, ("core.Failed", True)),
    ],
)
def test_fail_fails(config: Any, attempt: int, code: tuple[str, bool]) -> None:
    assert code_of("core.fail", config, attempt=attempt) == code


@pytest.mark.parametrize(("attempts", "attempt"), [(0, 1), (2, 3)])
def test_fail_succeeds_after_its_attempts(attempts: int, attempt: int) -> None:
    assert run("core.fail", {"attempts": attempts}, attempt=attempt) == {"attempt": attempt}


def test_fail_tells_its_message() -> None:
    with pytest.raises(ExecutorError, match="as planned"):
        run("core.fail", {"message": "as planned"})


@pytest.mark.parametrize(
    ("name", "config", "pointer"),
    [
        ("core.sleep", {}, "/seconds"),
        ("core.sleep", {"seconds": -1}, "/seconds"),
        ("core.sleep", {"seconds": "5"}, "/seconds"),
        ("core.sleep", {"seconds": True}, "/seconds"),
        ("core.sleep", {"seconds": float("inf")}, "/seconds"),
        ("core.log", {}, "/message"),
        ("core.log", {"message": "x", "level": "loud"}, "/level"),
        ("core.fail", {"attempts": -1}, "/attempts"),
        ("core.fail", {"attempts": 1.5}, "/attempts"),
        ("core.fail", {"code": ""}, "/code"),
        ("core.fail", {"mesage": ""}, "/mesage"),
        ("python.call", {}, "/function"),
        ("python.call", {"function": "no_colon"}, "/function"),
        ("python.call", {"function": "m:f", "args": [1]}, "/args"),
    ],
)
def test_configs_that_do_not_fit(name: str, config: Any, pointer: str) -> None:
    assert [found for found, _ in REGISTRY.config_problems(name, config)] == [pointer]
    assert code_of(name, config) == ("config", False)


HELPER = """
import threading

def add(a, b=1):
    return {"sum": a + b, "thread": threading.get_ident()}

async def later(a):
    return {"sum": a, "thread": threading.get_ident()}

class Shelf:
    @staticmethod
    def top(*, n):
        return n

def boom():
    raise ValueError("wrong")

TABLE = {}
"""


@pytest.fixture
def _helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "called_by_test.py").write_text(HELPER)
    (tmp_path / "broken_by_test.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("called_by_test", None)


@pytest.mark.usefixtures("_helper")
def test_call_runs_a_function_in_a_thread_and_a_coroutine_on_the_loop() -> None:
    here = threading.get_ident()
    answer = run("python.call", {"function": "called_by_test:add", "args": {"a": 2}})
    assert answer["sum"] == 3
    assert answer["thread"] != here
    answer = run("python.call", {"function": "called_by_test:later", "args": {"a": 2}})
    assert answer == {"sum": 2, "thread": here}


@pytest.mark.usefixtures("_helper")
@pytest.mark.parametrize(
    ("function", "args", "answer"),
    [
        ("called_by_test:Shelf.top", {"n": 4}, 4),
        ("builtins:dict", {"a": 1}, {"a": 1}),
        ("os.path:join", None, None),
    ],
)
def test_call_finds_members_and_builtins(function: str, args: Any, answer: Any) -> None:
    if args is None:
        assert code_of("python.call", {"function": function}) == ("python.BadArguments", False)
    else:
        assert run("python.call", {"function": function, "args": args}) == answer


@pytest.mark.usefixtures("_helper")
@pytest.mark.parametrize(
    ("config", "code", "told"),
    [
        ({"function": "no_such_thing:f"}, "python.FunctionNotFound", "no module named 'no_such_thing'"),
        ({"function": "called_by_test:nothing"}, "python.FunctionNotFound", "has no 'nothing'"),
        (
            {"function": "called_by_test:TABLE"},
            "python.FunctionNotFound",
            "is a dict, which cannot be called",
        ),
        ({"function": "broken_by_test:f"}, "python.FunctionNotFound", "raised ZeroDivisionError"),
        ({"function": "called_by_test:add"}, "python.BadArguments", "missing a required argument: 'a'"),
        ({"function": "called_by_test:add", "args": {"z": 1}}, "python.BadArguments", "missing"),
    ],
)
def test_call_tells_what_it_cannot_call(config: Any, code: str, told: str) -> None:
    with pytest.raises(ExecutorError, match=told) as caught:
        run("python.call", config)
    error = error_from_exception(caught.value, "python")
    assert (error.code, error.retryable) == (code, False)


@pytest.mark.usefixtures("_helper")
def test_an_error_of_the_function_is_its_own() -> None:
    assert code_of("python.call", {"function": "called_by_test:boom"}) == ("python.ValueError", True)


def test_the_built_in_executors() -> None:
    names = {entry.name: entry for entry in REGISTRY.list_executors()}
    assert set(names) == {
        "core.fail", "core.log", "core.noop", "core.sleep", "http.request", "python.call", "shell.run"
    }  # fmt: skip
    assert {name for name, entry in names.items() if entry.inline} == {"core.fail", "core.log", "core.noop"}
    assert all(entry.description for entry in names.values())
    assert all(
        entry.config_schema["type"] == "object" for name, entry in names.items() if name != "core.noop"
    )
    assert [domain.name for domain in builtin_domains()] == ["core", "http", "python", "shell"]


def test_local_code_can_be_switched_off() -> None:
    registry = default_registry(allow_local_code=False, entry_points=False)
    assert [entry.name for entry in registry.list_executors("core")] != []
    for name in ("shell.run", "python.call"):
        with pytest.raises(ExecutorDisabled, match="allow_local_code=True"):
            registry.get_executor(name)


def test_plugins_are_loaded_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "strataflow.executors.registry.ExecutorRegistry.load_entry_points", lambda _: asked.append("yes")
    )
    default_registry(entry_points=False)
    assert asked == []
    default_registry()
    assert asked == ["yes"]


@pytest.mark.parametrize(
    "text",
    [
        "250ms",
        "30s",
        "1h30m",
        "2d",
        "PT5M",
        "P1DT2H",
        "P2W",
        "PT1.5S",
        "1m1m",
        "",
        "5",
        "s",
        "PT",
        "P",
        "1h 2m",
        "-1s",
    ],
)
def test_durations_are_those_of_the_dsl(text: str) -> None:
    from strataflow.engine.durations import parse_duration

    try:
        expected: float | None = parse_duration(text) / 1_000_000
    except ValueError:
        expected = None
    try:
        found: float | None = seconds_of(text)
    except ValueError:
        found = None
    assert found == (expected if expected is None else pytest.approx(expected))


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ["httpx", "pydantic", "jsonschema", "asyncio"]
    look = f"import sys, strataflow.executors as x; print([m for m in {heavy} if m in sys.modules]); x.TaskContext"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    look = "import sys, strataflow.executors as x; x.default_registry(entry_points=False)"
    look += "; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    import strataflow.executors as package

    assert sorted(package.__all__) == package.__all__
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = package.nothing_here


def test_a_refused_config_is_an_executor_error() -> None:
    with pytest.raises(ConfigRefused, match="/seconds: this key is required"):
        run("core.sleep")
