"""`TaskSystem`: register handlers, submit tasks, ask for them. Durable by the engine; there is no second queue."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from ...engine.config import EngineConfig
from ...engine.errors import EngineStopped, NotFound
from ...engine.payload import decode
from ...engine.translate import engine_errors
from ...engine.workflow_engine import DEFAULT_URL
from ...executors.base import TaskContext, TaskError
from ...executors.builtin import default_registry
from ...executors.errors import UnknownExecutor
from ...repositories import task_reports, views
from ...repositories.records import TERMINAL_INSTANCE_STATES
from ..results import SqlResults
from . import compositions
from .async_result import AsyncResult
from .config import Execution, Task, TaskConfig, as_task, as_tasks, configured, queue_name
from .definitions import TaskDefinitions
from .handlers import executor_of, wrapped
from .monitoring import Monitoring
from .ordering import ListedOrder
from .process import Process
from .room import checked_wait
from .scheduling import TaskSchedule, TaskSchedules, split
from .submitting import Batch, BatchItem, Start, Submitter
from .watching import Watcher

if TYPE_CHECKING:
    from ...engine.errors import EngineError
    from ...engine.workflow_engine import WorkflowEngine
    from ...executors.registry import ExecutorRegistry

__all__ = ["TaskSystem"]

H = TypeVar("H")
log: Final = logging.getLogger("strataflow.tasks")
#: Attempts that run at a time where nobody says a number.
CONCURRENCY: Final = 16


class TaskSystem(Monitoring):
    """Handlers, and the tasks for them, on one database.

    `queues` are those this process serves, the first before the others, None is all; it submits to any. `concurrency`
    is how many attempts run at a time. `defaults` holds for what a task does not say. Use it as a context manager, or
    call `start` and `stop`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        queues: Sequence[str] | None = ("default",),
        concurrency: int = CONCURRENCY,
        defaults: TaskConfig | None = None,
        missing_handler_s: float | None = 60.0,
        config: EngineConfig | None = None,
        registry: ExecutorRegistry | None = None,
    ) -> None:
        """`config` has what else an engine may be told; a task waits `missing_handler_s` for a worker that knows it.

        Raises TypeError and ValueError for what cannot be, DatabaseUnavailable for a URL of no supported database.
        """
        _check(concurrency, defaults, missing_handler_s)
        if queues is not None:
            queues = [queue_name(each) for each in ([queues] if isinstance(queues, str) else queues)]
        self.defaults: Final = defaults or TaskConfig()
        self._registry: Final = registry if registry is not None else default_registry(entry_points=False)
        base = config or EngineConfig()
        strategy = ListedOrder(queues) if queues is not None and len(queues) > 1 else None
        settings = replace(
            base,
            strategy=base.strategy or strategy,
            slots=concurrency,
            threads=concurrency,
            queues=None if queues is None else tuple(queues),
            missing_executor_s=missing_handler_s,
        )
        self._process: Final = Process(url, self._registry, settings)
        self._definitions: Final = TaskDefinitions()
        self._submitter: Final = Submitter(self._definitions)
        self._watcher: Final = Watcher(partial(_ended, self._process), self._process.listener)
        self._handlers: dict[str, object] = {}
        super().__init__(
            self._process.engine, self._definitions, SqlResults(self._process.engine, self._watcher.watch)
        )
        self._schedules: Final = TaskSchedules(
            self._process.engine, self._definitions, partial(_handle, weakref.ref(self)), self.results.exists
        )
        weakref.finalize(self, _close, self._watcher, self._process, weakref.ref(self))

    # --- life

    @property
    def engine(self) -> WorkflowEngine:
        """The engine behind it, for everything else that may be done to a run."""
        return self._process.engine()

    @property
    def running(self) -> bool:
        """Is it started?"""
        return self._process.running

    def start(self) -> Self:
        """Begin to execute, what was submitted before too. Again does nothing; after `stop` it begins again."""
        self._process.start()
        return self

    def stop(self, *, graceful: bool = True, timeout: float | None = None) -> None:
        """Take nothing new, let running tasks end for up to `timeout` seconds, keep everything else.

        Not `graceful` waits for nothing: what runs is told to stop and begins again with the next start, or elsewhere.
        Raises ValueError for a timeout that is no number of seconds.
        """
        if timeout is not None and not (_is_number(timeout) and timeout >= 0):
            raise ValueError(f"timeout is 0 seconds or more, not {timeout!r}")
        self._watcher.stop()
        self._process.stop(timeout if graceful else 0.0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- handlers

    def register(self, name: str, handler: object, *, replace: bool = False) -> None:
        """Let tasks of this name be handled: by a function of (ctx, payload) or (payload), or a class with `execute`.

        Raises DuplicateExecutor for a name that is taken, InvalidExecutor for what cannot be called.
        """
        Task(name)
        executor = wrapped(name, handler, self._watcher.poke, partial(_last_error, self._process))
        self._registry.register_executor(executor_of(name), executor, description=name, replace=replace)
        self._handlers[name] = handler

    def handler(self, name: str, *, replace: bool = False) -> Callable[[H], H]:
        """`register` as a decorator."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - `@system.handler` alone
            raise TypeError('handlers have a name: write @system.handler("name")')

        def declare(handler: H) -> H:
            self.register(name, handler, replace=replace)
            return handler

        return declare

    def unregister(self, name: str) -> bool:
        """Handle tasks of this name no more; what runs goes on. False when nothing was registered."""
        found = self._handlers.pop(name, None)
        try:
            self._registry.unregister_executor(executor_of(name))
        except UnknownExecutor:
            return False
        return found is not None

    def handlers(self) -> Mapping[str, object]:
        """What is registered here, by task name."""
        return dict(sorted(self._handlers.items()))

    # --- submitting

    def submit(
        self,
        task: str | Task,
        /,
        payload: Any = None,
        *,
        connection: Any = None,
        wait_for_room: float | None = None,
        **options: Any,
    ) -> AsyncResult:
        """Keep a task durably and give its handle. The options are those of `TaskConfig`.

        With `connection` (psycopg, sqlite3 or SQLAlchemy) it is part of the caller's transaction. A full queue is
        waited for up to `wait_for_room` seconds.
        Raises TypeError and ValueError for bad options, InputError for a payload that is no JSON, QueueFull.
        """
        patience = checked_wait(wait_for_room)
        if connection is not None and wait_for_room is not None:
            raise TypeError(
                "a task of your own transaction is inserted past the bound: it does not wait for room"
            )
        made = self._made(task, payload, options)
        return self._submit(self._submitter.prepare(self.engine, made), connection, patience)

    def _made(self, task: str | Task, payload: Any, options: Mapping[str, Any]) -> Task:
        if not isinstance(task, Task):
            return Task(task, payload, configured(self.defaults, options))
        if payload is not None:
            raise TypeError("a Task has its payload already")
        return Task(task.name, task.payload, configured(task.config, options))

    def submit_later(self, name: str, payload: Any, delay: float, **options: Any) -> AsyncResult:
        """Submit a task that begins no sooner than in so many seconds."""
        return self.submit(name, payload, delay=delay, **options)

    def submit_at(self, name: str, payload: Any, when: datetime, **options: Any) -> AsyncResult:
        """Submit a task that begins no sooner than at an instant; without a zone it is UTC."""
        return self.submit(name, payload, eta=when, **options)

    def submit_batch(
        self, tasks: Iterable[Any], *, atomic: bool = False, wait_for_room: float | None = None
    ) -> Batch:
        """Submit many: each a Task, a name, (name, payload) or (name, payload, options).

        Those that are refused are reported one by one, the others are submitted. Full queues are waited for up to
        `wait_for_room` seconds in all. `atomic` submits all in one transaction or, if one is refused, none, and
        raises; a queue's bound is not looked at then.
        """
        patience = checked_wait(wait_for_room)
        if atomic:
            if wait_for_room is not None:
                raise TypeError("an atomic batch is inserted past the bound: it does not wait for room")
            accepted = self._submitter.start_all(self.engine, tasks, self.defaults)
            return Batch(tuple(BatchItem(n, self.result(each)) for n, each in enumerate(accepted)))
        answers = self._submitter.start_many(
            self._process.engine, tasks, self.defaults, wait_for_room=patience
        )
        return Batch(tuple(self._item(number, each) for number, each in enumerate(answers)))

    def spawn(
        self, ctx: TaskContext, name: str, payload: Any = None, *, key: str | None = None, **options: Any
    ) -> AsyncResult:
        """Within a handler: submit a task that the running one is the parent of; nobody waits for it.

        A repeated attempt finds what the one before has spawned: by `key`, else by their order. It stands in the queue
        `default` with priority `normal`; the other options are those that say how a handler is called.
        """
        allowed = {"retries", *Execution.__slots__}
        if other := sorted(set(options) - allowed):
            raise TypeError(f"{other[0]!r} cannot be said of a spawned task")
        task = Task(name, payload, configured(self.defaults, options))
        definition = self._submitter.prepare(self.engine, task).definition
        target = f"{definition.name}@{definition.version}"
        return self.result(ctx.spawn(target, {"payload": payload}, key=key))

    def _item(self, number: int, answer: str | EngineError) -> BatchItem:
        if isinstance(answer, str):
            return BatchItem(number, self.result(answer))
        return BatchItem(number, error=answer)

    def _submit(self, start: Start, connection: Any = None, patience: float = 0.0) -> AsyncResult:
        return self.result(
            self._submitter.start(self._process.engine, start, connection, wait_for_room=patience)
        )

    # --- compositions

    def chain(
        self, steps: Iterable[Any], *, wait_for_room: float | None = None, **options: Any
    ) -> AsyncResult:
        """One task after the other, each with the result of the one before; a failure ends it and names the step.

        One step is a plain task. Options are eta, delay, expires, queue, priority, tags and key of the whole.
        Raises ValueError for no step, and QueueFull when the first has no room within `wait_for_room` seconds.
        """
        tasks = self._tasks(steps)
        if len(tasks) == 1:
            return self.submit(tasks[0], wait_for_room=wait_for_room, **options)
        return self._compose(compositions.chain(tasks), options, checked_wait(wait_for_room))

    def group(self, tasks: Iterable[Any], **options: Any) -> AsyncResult:
        """Tasks side by side; gives the list of their results in order. One that fails fails the group."""
        return self._compose(compositions.group(self._tasks(tasks)), options)

    def chord(self, tasks: Iterable[Any], callback: Any, **options: Any) -> AsyncResult:
        """Tasks side by side, then a callback with all results in order; gives what the callback returned."""
        last = as_task(callback, self.defaults)
        return self._compose(compositions.chord(self._tasks(tasks), last), options)

    def _tasks(self, given: Iterable[Any]) -> list[Task]:
        return as_tasks(given, self.defaults)

    def _compose(
        self, composition: compositions.Composition, options: Mapping[str, Any], patience: float = 0.0
    ) -> AsyncResult:
        allowed = {"eta", "delay", "expires", "expires_in", "run_at", "queue", "priority", "tags", "key"}
        if other := sorted(set(options) - allowed):
            raise TypeError(f"{other[0]!r} is said of the tasks of a composition, not of the whole")
        config = configured(TaskConfig(), options)
        return self._submit(self._submitter.compose(self.engine, composition, config), None, patience)

    # --- schedules

    def schedule(
        self, task: str | Task, /, payload: Any = None, *, name: str | None = None, **options: Any
    ) -> TaskSchedule:
        """Submit a task again and again, or at one instant: by `cron`, `every_s` or `at`, in every process.

        The schedule's `name` is the task's where it is not given. Other options are `timezone`, `overlap`, `misfire`,
        `catch_up`, `jitter_s`, `cooldown_s`, `start_at` and `end_at`, and of the task `queue`, `priority` and those
        that say how a handler is called. Texts in the payload may be templates that read `instance.scheduled_for`.
        Raises InvalidSchedule for times that cannot be, Conflict for a name that is taken, and what `submit` raises.
        """
        times, rest = split(options)
        return self._schedules.create(self._made(task, payload, rest), name, times)

    def schedules(self) -> list[TaskSchedule]:
        """Every schedule of a task, by name."""
        return self._schedules.list()

    def get_schedule(self, name: str) -> TaskSchedule:
        """A handle on a schedule, whoever made it. Raises NotFound."""
        self._schedules.service(name)
        return TaskSchedule(name, self._schedules)

    def unschedule(self, name: str) -> bool:
        """Delete a schedule; tasks that it started stay. False when there is none."""
        try:
            TaskSchedule(name, self._schedules).remove()
        except NotFound:
            return False
        return True

    # --- results

    def result(self, task_id: str) -> AsyncResult:
        """A handle on a task, whoever submitted it; nothing is read yet."""
        return AsyncResult(task_id, self.results, self)

    def children(self, task_id: str) -> list[AsyncResult]:
        """Tasks that this one started, oldest first."""
        return [self.result(each) for each in self._children(task_id)]

    def watch(
        self,
        task_id: str,
        callback: Callable[[], None],
        dropped: Callable[[], None] | None = None,
        *,
        quick: bool = False,
    ) -> Callable[[], None]:
        """Call back once when a task has ended, or `dropped` when the system stops first."""
        return self._watcher.watch(task_id, callback, dropped, quick=quick)


def _check(concurrency: Any, defaults: Any, missing_handler_s: Any) -> None:
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= 10_000:
        raise ValueError(f"concurrency is a whole number from 1 to 10000, not {concurrency!r}")
    if defaults is not None and not isinstance(defaults, TaskConfig):
        raise TypeError(f"defaults are a TaskConfig, not {defaults!r}")
    if missing_handler_s is not None and not (_is_number(missing_handler_s) and missing_handler_s >= 0):
        raise ValueError(f"missing_handler_s is 0 seconds or more, or None, not {missing_handler_s!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _close(watcher: Watcher, process: Process, system: weakref.ref[TaskSystem]) -> None:
    """What nobody stopped is stopped when nobody can use it any more, or the interpreter ends."""
    if process.running and system() is None:
        log.warning(
            "a task system that was started is stopped, because nothing refers to it any more: keep it in a variable",
            extra={"action": "forgotten"},
        )
    watcher.stop()
    process.stop(0.0)


def _handle(system: weakref.ref[TaskSystem], task_id: str) -> AsyncResult:
    """A handle that does not keep the system alive by itself."""
    found = system()
    if found is None:
        raise EngineStopped("the task system of this schedule is gone.", hint="Keep it in a variable.")
    return found.result(task_id)


def _ended(process: Process, ids: Iterable[str]) -> set[str]:
    """Which of these are over; what does not exist never will be, and counts too."""
    wanted = list(ids)
    with engine_errors(), process.engine().database.read() as connection:
        states = task_reports.states_of(connection, wanted)
    return {each for each in wanted if states.get(each) in {None, *TERMINAL_INSTANCE_STATES}}


def _last_error(process: Process, ctx: TaskContext) -> TaskError | None:
    """Why the attempt before this one failed; None when it ended with its engine."""
    with engine_errors(), process.engine().database.read() as connection:
        row = views.task(connection, ctx.instance_id, ctx.path)
    error: dict[str, Any] = decode(row.error) if row is not None and row.error else {}
    if error.get("attempt") != ctx.attempt - 1:
        return None
    return TaskError(str(error["code"]), str(error["message"]), details=error.get("details"))
