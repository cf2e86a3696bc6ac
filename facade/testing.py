"""A testing kit for workflows: mocked executors, a clock that skips, the path taken, and crashes at every commit.

Everything runs on a temporary SQLite file in this process. Whenever nothing is ready or running, time jumps to the next
timer: a wait of thirty days takes milliseconds.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from strataflow.engine.config import EngineConfig
from strataflow.engine.workflow_engine import WorkflowEngine
from strataflow.executors.base import TaskContext
from strataflow.executors.builtin import default_registry
from strataflow.executors.registry import ExecutorRegistry
from strataflow.repositories import views
from strataflow.repositories.clock import skip
from strataflow.repositories.dialect import SqliteConnection
from strataflow.repositories.readmodels import HistoryRow
from strataflow.repositories.records import TERMINAL_TASK_STATES

__all__ = [
    "Call",
    "CrashReport",
    "Harness",
    "Result",
    "assert_completed",
    "assert_failed",
    "assert_never_ran",
    "assert_path",
    "assert_skipped",
    "crash_everywhere",
    "run_definition",
]

_LOOK_S: Final = 0.002
_KEY: Final = "crash_everywhere"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a mocked executor."""

    path: str
    attempt: int
    config: Any


@dataclass(slots=True)
class Result:
    """How a run ended, and what it did on the way."""

    instance_id: str
    state: str
    output: Any
    error: dict[str, Any] | None
    #: State of every task, by path.
    states: dict[str, str]
    #: Paths in the order in which they ended.
    path: list[str]
    history: list[HistoryRow]
    _calls: dict[str, list[Call]] = field(default_factory=dict[str, list[Call]])

    def calls(self, executor: str) -> list[Call]:
        """Calls of a mocked executor, in order."""
        return list(self._calls.get(executor, []))

    def story(self) -> str:
        """The run as a table, for messages."""
        lines = [f"{self.state}: output {_short(self.output)}, error {_short(self.error)}"]
        width = max((len(path) for path in self.states), default=0)
        lines += [f"  {path or '(root)':<{width}}  {state}" for path, state in self.states.items()]
        return "\n".join(lines)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 200 else text[:197] + "..."


class Harness:
    """An engine with mocks and a skipping clock, for dialogues longer than one run.

    Use it in a `with` block. A mock is a value to return, an exception to raise, a function of (ctx, config), sync or
    async, or a list of these that is consumed call by call.
    """

    def __init__(self, mocks: Mapping[str, Any] | None = None, *, file: Path | None = None) -> None:
        self._folder = None if file is not None else tempfile.TemporaryDirectory(prefix="strataflow-test-")
        where = file if file is not None else Path(cast("Any", self._folder).name) / "test.db"
        self._calls: dict[str, list[Call]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._skipped = 0
        config = EngineConfig(poll_s=0.02, tune_gc=False, missing_executor_s=None)
        self.engine: Final = WorkflowEngine(
            f"sqlite:///{where}", registry=self._registry(mocks or {}), config=config
        )
        self._clock = threading.Thread(target=self._skip_time, name="strataflow-test-clock", daemon=True)

    def _registry(self, mocks: Mapping[str, Any]) -> ExecutorRegistry:
        registry = default_registry()
        for name, mock in mocks.items():
            registry.register_executor(name, self._mocked(name, mock), replace=True)
        return registry

    def _mocked(self, name: str, mock: Any) -> Callable[..., Any]:
        script: list[Any] | None = list(cast("Iterable[Any]", mock)) if isinstance(mock, list) else None
        if script is not None and not script:
            raise ValueError(f"the list of mocks for {name!r} is empty")

        async def executor(ctx: TaskContext, config: Any) -> Any:
            """Play the mock."""
            with self._lock:
                made = self._calls.setdefault(name, [])
                made.append(Call(ctx.path, ctx.attempt, config))
                step: Any = cast("Any", mock) if script is None else script[min(len(made), len(script)) - 1]
            if isinstance(step, Exception):
                raise step
            if not callable(step):
                return step
            found: Any = step(ctx, config)
            return await found if inspect.isawaitable(found) else found

        return executor

    def __enter__(self) -> Self:
        self.engine.start()
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._clock.join()
        self.engine.stop(grace_s=1.0)
        skip(-self._skipped)
        self._skipped = 0
        if self._folder is not None:
            self._folder.cleanup()

    # --- talking to runs

    def start(self, definition: Any, inputs: Any = None, *, key: str | None = None) -> str:
        """Start a run; gives its id. Raises DefinitionError, InputError."""
        return self.engine.start_now(definition, inputs, key=key)

    def signal(self, instance_id: str, name: str, payload: Any = None) -> None:
        """Send a signal."""
        asyncio.run(self.engine.signal_workflow(instance_id, name, payload))

    def cancel(self, instance_id: str) -> None:
        """Cancel a run."""
        asyncio.run(self.engine.cancel_workflow(instance_id))

    def wait(self, instance_id: str, timeout_s: float = 30.0) -> Result:
        """Wait for the end of a run. Raises WaitTimeout."""
        status = self.engine.wait_now(instance_id, timeout_s)
        with self.engine.database.read() as connection:
            rows = list(views.all_tasks(connection, instance_id))
        history = _whole_history(self.engine, instance_id)
        ended = [row.path for row in history if row.to_state in TERMINAL_TASK_STATES and row.path]
        states = {row.path: row.state.value for row in rows}
        with self._lock:
            calls = {name: list(made) for name, made in self._calls.items()}
        return Result(
            instance_id, status.state.value, status.output, status.error, states, ended, history, calls
        )

    # --- time

    def _skip_time(self) -> None:
        while not self._stop.wait(_LOOK_S):
            left = self._until_next_timer()
            if left is not None:
                skip(left + 1)
                self._skipped += left + 1
                self.engine.scheduler.wake()

    def _until_next_timer(self) -> int | None:
        """Microseconds to the next timer when nothing else can happen; None when something can."""
        parts = self.engine.parts
        if self.engine.scheduler.busy or parts.writer.backlog:
            return None
        with self.engine.database.read() as connection:
            if views.queues_ready(connection):
                return None
            wake, now = views.next_wake(connection), views.now(connection)
        if wake is None or wake <= now or self.engine.scheduler.busy:
            return None
        return wake - now


def _whole_history(engine: WorkflowEngine, instance_id: str) -> list[HistoryRow]:
    found: list[HistoryRow] = []
    while True:
        page = engine.state_manager.get_state_history(instance_id, after=found[-1].seq if found else 0)
        found += page
        if len(page) < 1_000:
            return found


def run_definition(
    definition: Any,
    inputs: Any = None,
    *,
    mocks: Mapping[str, Any] | None = None,
    signals: Sequence[tuple[str, Any]] = (),
    timeout_s: float = 30.0,
) -> Result:
    """Run a definition to its end with mocked executors; `signals` are sent at its start, to be taken when waited for.

    Raises DefinitionError, InputError, and WaitTimeout when it has not ended after `timeout_s` real seconds.
    """
    with Harness(mocks) as harness:
        instance_id = harness.start(definition, inputs)
        for name, payload in signals:
            harness.signal(instance_id, name, payload)
        return harness.wait(instance_id, timeout_s)


# --- assertions


def assert_completed(result: Result) -> None:
    """The run completed."""
    assert result.state == "completed", f"the run did not complete\n{result.story()}"


def assert_failed(result: Result, code: str | None = None) -> None:
    """The run failed, with this error code where one is given."""
    assert result.state == "failed", f"the run did not fail\n{result.story()}"
    found = (result.error or {}).get("code")
    assert code is None or found == code, f"it failed with {found}, not {code}\n{result.story()}"


def assert_path(result: Result, *paths: str) -> None:
    """These tasks ended in this order; others may have ended between them."""
    left = list(paths)
    for path in result.path:
        if left and path == left[0]:
            left.pop(0)
    assert not left, f"{left[0]!r} did not end in that order; the order was {result.path}\n{result.story()}"


def assert_skipped(result: Result, *paths: str) -> None:
    """These tasks were skipped."""
    for path in paths:
        assert result.states.get(path) == "skipped", f"{path!r} was not skipped\n{result.story()}"


def assert_never_ran(result: Result, *paths: str) -> None:
    """These tasks were never begun: skipped, cancelled before their turn, or not reached."""
    began = {row.path for row in result.history if row.to_state == "running" and row.attempt}
    for path in paths:
        # a node whose `when` is false is claimed to find that out
        assert path not in began or result.states.get(path) == "skipped", f"{path!r} ran\n{result.story()}"


# --- crashes


@dataclass(frozen=True, slots=True)
class CrashReport:
    """How often a definition was killed and came to the same end."""

    commits: int
    crashes: int


def crash_everywhere(
    definition: Any,
    inputs: Any = None,
    *,
    mocks: Mapping[str, Any] | None = None,
    sample: int = 1,
) -> CrashReport:
    """Kill the process right before and right after every commit (or every `sample`-th), and recover each time.

    Each run is a forked process that dies without cleaning up; then an engine in this process goes on with the same
    file. State, output and the states of all tasks must be those of a run without a crash. POSIX only.

    Raises AssertionError naming the commit, with both runs.
    """
    with tempfile.TemporaryDirectory(prefix="strataflow-crash-") as name:
        folder = Path(name)
        commits = _run_and_die(folder / "count.db", definition, inputs, mocks, None)
        expected = _recovered(folder / "count.db", definition, inputs, mocks)
        crashes = 0
        for commit in range(1, commits + 1, sample):
            for after in (False, True):
                file = folder / f"{commit}-{after}.db"
                _run_and_die(file, definition, inputs, mocks, (commit, after))
                _compare(expected, _recovered(file, definition, inputs, mocks), commit, after)
                crashes += 1
        return CrashReport(commits, crashes)


def _run_and_die(
    file: Path, definition: Any, inputs: Any, mocks: Mapping[str, Any] | None, at: tuple[int, bool] | None
) -> int:
    """Run in a forked process, to its death at a commit or to its end; gives how many commits there were."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(told)
            count = _count_commits(at)
            with Harness(mocks, file=file) as harness:
                harness.wait(harness.start(definition, inputs, key=_KEY))
                os.write(tell, str(count[0]).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(told) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return int(text or 0)


def _count_commits(at: tuple[int, bool] | None) -> list[int]:
    """Count every commit of this process; die at one of them."""
    count, real = [0], SqliteConnection.commit

    def commit(self: SqliteConnection) -> None:
        count[0] += 1
        if at == (count[0], False):
            os._exit(9)
        real(self)
        if at == (count[0], True):
            os._exit(9)

    SqliteConnection.commit = commit
    return count


def _recovered(file: Path, definition: Any, inputs: Any, mocks: Mapping[str, Any] | None) -> Result:
    with Harness(mocks, file=file) as harness:
        return harness.wait(harness.start(definition, inputs, key=_KEY))


def _compare(expected: Result, found: Result, commit: int, after: bool) -> None:  # noqa: FBT001 - private
    same = (expected.state, expected.output, expected.states) == (found.state, found.output, found.states)
    when = "after" if after else "before"
    assert same, (
        f"a crash {when} commit {commit} changed the result\n"
        f"without a crash:\n{expected.story()}\nwith it:\n{found.story()}"
    )
