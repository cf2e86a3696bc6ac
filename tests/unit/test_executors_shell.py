"""`shell.run`: commands of this machine."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import strataflow.executors.shell as shell_module
from strataflow.engine.assembly import _new_loop
from strataflow.executors import processes
from strataflow.executors.base import TaskContext
from strataflow.executors.builtin import default_registry
from strataflow.executors.errors import AttemptTimeout, ConfigRefused, ExecutorError, error_from_exception
from strataflow.executors.invoke import invoke
from strataflow.executors.threads import WorkerThreads
from tests.unit.test_executors_base import context

RUN = default_registry(entry_points=False).get_executor("shell.run")
POOL = WorkerThreads(1)
WAIT_S = 10


def run(config: dict[str, Any], *, ctx: TaskContext | None = None, timeout_s: float | None = None) -> Any:
    """Run one command."""
    return asyncio.run(invoke(RUN, ctx or context(), config, pool=POOL, timeout_s=timeout_s))


def error_of(config: dict[str, Any]) -> Any:
    """Give the stored error of a command that fails."""
    with pytest.raises(ExecutorError) as caught:
        run(config)
    return error_from_exception(caught.value, "shell")


def test_a_command_gives_code_and_outputs() -> None:
    answer = run({"command": "echo out; echo err >&2"})
    assert answer == {"code": 0, "stdout": "out\n", "stderr": "err\n"}


def test_argv_runs_without_a_shell() -> None:
    assert run({"argv": ["printf", "%s|", "$HOME", "a b", 3, True]})["stdout"] == "$HOME|a b|3|true|"


@pytest.mark.parametrize(
    ("command", "parse", "answer"),
    [
        ("printf 'a\\n\\nb\\n'", "text", "a\n\nb"),
        ("printf 'a\\n\\nb\\n'", "lines", ["a", "", "b"]),
        ("true", "lines", []),
        ("true", "text", ""),
        ("""echo '{"n": [1, null]}'""", "json", {"n": [1, None]}),
    ],
)
def test_stdout_is_parsed_if_asked(command: str, parse: str, answer: Any) -> None:
    assert run({"command": command, "parse": parse}) == answer


def test_output_that_is_not_json_is_a_failure() -> None:
    error = error_of({"command": "echo nope", "parse": "json"})
    assert (error.code, error.retryable, error.details) == ("shell.BadOutput", True, {"stdout": "nope\n"})


@pytest.mark.parametrize(
    ("value", "read"), [("a\nb", "a\nb"), ({"n": 1}, '{"n":1}'), (0, "0"), ("", ""), (None, "")]
)
def test_input_is_written_to_stdin(value: Any, read: str) -> None:
    assert run({"command": "cat", "input": value})["stdout"] == read


def test_large_input_and_output_do_not_block_each_other() -> None:
    text = "0123456789" * 100_000
    assert run({"command": "cat", "input": text, "parse": "text"}) == text


def test_a_command_need_not_read_its_input() -> None:
    assert run({"command": "true", "input": "x" * 1_000_000})["code"] == 0


@pytest.mark.parametrize("command", ["true", "exit 7"])
def test_a_command_may_end_before_its_input_is_written(command: str) -> None:
    async def many() -> list[Any]:
        one = {"command": command, "input": "x"}
        alone = (invoke(RUN, context(), one, pool=POOL, timeout_s=None) for _ in range(20))
        return await asyncio.gather(*alone, return_exceptions=True)

    with asyncio.Runner(loop_factory=_new_loop) as runner:  # the engine's loop
        answers = runner.run(many())
    if command == "true":
        assert answers == [{"code": 0, "stdout": "", "stderr": ""}] * 20
    else:
        assert [error_from_exception(answer, "shell").code for answer in answers] == ["shell.ExitStatus"] * 20


def test_the_environment_is_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENGINE", "engine")
    monkeypatch.setenv("CHANGED", "before")
    names = [
        "FROM_ENGINE",
        "CHANGED",
        "NEW",
        *(f"STRATAFLOW_{x}" for x in ("INSTANCE_ID", "PATH", "ATTEMPT")),
    ]
    command = "; ".join(f'echo "${name}"' for name in [*names, "STRATAFLOW_IDEMPOTENCY_KEY"])
    env = {"CHANGED": "after", "NEW": 7}
    answer = run({"command": command, "env": env, "parse": "lines"}, ctx=context(3, path="a[1].b"))
    assert answer == ["engine", "after", "7", "0190-i", "a[1].b", "3", "0190-i/a[1].b"]


def test_what_a_command_must_not_see_of_the_engines_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = ("MASTER_KEYS", "MASTER_KEYS_FILE", "SECRET_BANK", "DB", "DB_FILE", "TOKEN", "TOKEN_FILE")
    for name in hidden:
        monkeypatch.setenv(f"STRATAFLOW_{name}", "canary")
    assert "canary" not in run({"command": "env", "parse": "text"})


def test_the_working_directory(tmp_path: Path) -> None:
    assert run({"command": "pwd -P", "cwd": str(tmp_path), "parse": "text"}) == str(tmp_path.resolve())


def test_a_non_zero_exit_is_a_retryable_failure_with_the_end_of_stderr() -> None:
    error = error_of({"command": "seq 100000 >&2; echo last words >&2; exit 3"})
    assert (error.code, error.retryable) == ("shell.ExitStatus", True)
    assert error.message == "the command ended with exit code 3: last words"
    assert error.details["code"] == 3
    assert error.details["stderr"].endswith("100000\nlast words\n")
    assert len(error.details["stderr"].encode()) <= 2048


def test_a_signal_is_told_by_its_name() -> None:
    error = error_of({"command": "kill -KILL $$"})
    assert (error.message, error.details["code"]) == ("the command was ended by SIGKILL", -9)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"argv": ["/no/such/program"]}, "cannot start '/no/such/program': No such file"),
        ({"argv": ["/etc/passwd"]}, "Permission denied"),
        ({"command": "true", "cwd": "/no/such/folder"}, "in /no/such/folder: No such file"),
    ],
)
def test_a_command_that_cannot_start(config: dict[str, Any], told: str) -> None:
    error = error_of(config)
    assert (error.code, error.retryable) == ("shell.NotStarted", False)
    assert told in error.message


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_too_much_output_ends_the_command(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    monkeypatch.setattr(shell_module, "OUTPUT_CAP", 2_000_000)
    error = error_of({"command": "yes" if stream == "stdout" else "yes >&2"})
    assert (error.code, error.retryable) == ("shell.OutputTooLarge", False)
    assert f"more than 2 MB to {stream}" in error.message


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run({"command": "printf '\\377a'"})["stdout"] == "\ufffda"


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({}, "/"),
        ({"command": "true", "argv": ["true"]}, "/"),
        ({"argv": []}, "/argv"),
        ({"command": "a\0b"}, "/command"),
        ({"argv": ["a\0b"]}, "/argv/0"),
        ({"command": "true", "env": {"A=B": "x"}}, "/env/A=B"),
        ({"command": "true", "env": {"A": ["x"]}}, "/env/A"),
        ({"command": "true", "parse": "xml"}, "/parse"),
        ({"cmd": "true", "command": "x"}, "/cmd"),
    ],
)
def test_configs_that_do_not_fit(config: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ConfigRefused) as caught:
        run(config)
    assert [found or "/" for found, _ in caught.value.problems] == [pointer]


def alive(pid: int) -> bool:
    """Tell if a process runs; what only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    """Wait for a process to end."""
    ends_at = time.monotonic() + WAIT_S
    while alive(pid) and time.monotonic() < ends_at:
        time.sleep(0.005)
    return not alive(pid)


def pids(file: Path, count: int) -> list[int]:
    """Wait for a command to tell its processes."""
    ends_at = time.monotonic() + WAIT_S
    while time.monotonic() < ends_at:
        words = file.read_text().split() if file.exists() else []
        if len(words) == count:
            return [int(word) for word in words]
        time.sleep(0.005)
    raise AssertionError("the command did not begin")


@pytest.mark.parametrize("timeout_s", [None, 600.0])
def test_cancelling_ends_the_whole_group(tmp_path: Path, timeout_s: float | None) -> None:
    told = tmp_path / "pids"
    command = f"sleep 600 & sleep 600 & echo $! $$ > {told}.new; mv {told}.new {told}; wait"

    async def main() -> list[int]:
        task = asyncio.create_task(
            invoke(RUN, context(), {"command": command}, pool=POOL, timeout_s=timeout_s)
        )
        begun = await asyncio.to_thread(pids, told, 2)
        assert all(map(alive, begun))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return begun

    assert all(map(gone, asyncio.run(main())))


def test_who_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "KILL_GRACE_S", 0.05)
    told = tmp_path / "pids"
    command = f"trap '' TERM; echo $$ > {told}; while :; do sleep 0.01; done"
    with pytest.raises(AttemptTimeout):
        run({"command": command}, timeout_s=0.5)
    (pid,) = pids(told, 1)
    assert gone(pid)


def test_a_command_may_end_in_good_order_on_sigterm(tmp_path: Path) -> None:
    told, ended = tmp_path / "pids", tmp_path / "ended"
    command = f"trap 'echo yes > {ended}; exit 0' TERM; echo $$ > {told}; while :; do sleep 0.01; done"

    async def main() -> None:
        task = asyncio.create_task(invoke(RUN, context(), {"command": command}, pool=POOL))
        await asyncio.to_thread(pids, told, 1)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert ended.read_text() == "yes\n"


def test_what_holds_the_output_after_the_command_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "DRAIN_S", 0.1)
    answer = run({"command": "sleep 600 & echo $!", "parse": "text"})
    assert gone(int(answer))


def test_many_commands_leave_no_descriptors_behind() -> None:
    async def main() -> None:
        for _ in range(3):
            await asyncio.gather(*(invoke(RUN, context(), {"command": "true"}, pool=POOL) for _ in range(4)))

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(main())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_commands_run_on_a_loop_in_any_thread() -> None:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(run({"command": "echo hi", "parse": "text"})))
    thread.start()
    thread.join(WAIT_S)
    assert answers == ["hi"]
