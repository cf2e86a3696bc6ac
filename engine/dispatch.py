"""The life of one execution: claimed → values at hand → evaluated → executed → outcome submitted.

Runs on the engine's event loop; only loading of values and synchronous executors leave it. Whatever user code does,
exactly one outcome per attempt is submitted, unless the engine has lost the task (then nothing is).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from ..executors.base import TaskContext, TaskError
from ..executors.entry import ExecutorEntry
from ..executors.errors import AttemptCancelled, AttemptTimeout, UnknownExecutor, error_from_exception
from ..executors.invoke import invoke, invoke_inline
from ..executors.registry import ExecutorRegistry
from ..executors.threads import WorkerThreads
from ..repositories.records import MessageRow
from .attempt_bounds import AttemptSilent, deadline_first, limit_s, watched
from .context import AttemptPort
from .errors import ExpressionError, PayloadError
from .evaluate import Evaluator, Ready, as_payload, failed_expression, reshape
from .events import TaskEnded
from .hooks import RunHooks, hooked
from .joint import JointTransactions
from .lookups import Missing, Wanted
from .outcomes import Cancelled, Failed, Outcome, Released, Started, Succeeded
from .plan import address_of
from .secrets import Mask
from .surroundings import Surrounding, Surroundings
from .transaction import ClaimedTask, Pending
from .values import Values

__all__ = ["Dispatcher", "Running"]

log: Final = logging.getLogger("strataflow.dispatch")
#: Rounds of reading without a task that went on.
_TRIES: Final = 50
Key = tuple[str, str, int]


@dataclass(slots=True)
class Running:
    """One attempt in execution."""

    task: ClaimedTask
    cancel: threading.Event
    port: AttemptPort | None = None
    job: asyncio.Task[None] | None = None
    #: The engine is shutting down: the attempt goes back unharmed.
    released: bool = False
    #: Its span, and what its log lines say of it; None unless somebody wants to know.
    around: Surrounding | None = None


class Dispatcher:
    """Executes claimed tasks on one event loop."""

    def __init__(
        self,
        registry: ExecutorRegistry,
        values: Values,
        pool: WorkerThreads,
        submit: Callable[[Pending], None],
        load_checkpoint: Callable[[str, str], str | None],
        *,
        spawn: Callable[[ClaimedTask, str | Mapping[str, Any], Any, str], MessageRow],
        joint: JointTransactions,
        hooks: RunHooks | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._hooks, self._spawn, self._joint = hooks, spawn, joint
        self._surroundings = surroundings
        self._registry = registry
        self._values = values
        self._evaluator = Evaluator(values)
        self._pool = pool
        self._submit = submit
        self._load_checkpoint = load_checkpoint
        self._reader = ThreadPoolExecutor(max_workers=2, thread_name_prefix="strataflow-reader")
        self._running: dict[Key, Running] = {}
        self._loading: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop on which everything here runs."""
        self._loop = loop

    @property
    def running(self) -> list[Running]:
        """Attempts in execution."""
        return list(self._running.values())

    def accept(self, claimed: list[ClaimedTask]) -> None:
        """Begin tasks this engine holds now. Called from the writer's thread, after the commit."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._begin, claimed)

    def stop_tasks(self, stopped: list[tuple[str, str, int]]) -> None:
        """Ask running attempts to stop; thread-safe."""
        loop = self._loop
        if loop is not None and stopped and not loop.is_closed():
            loop.call_soon_threadsafe(self._stop, stopped)

    def _begin(self, claimed: list[ClaimedTask]) -> None:
        cold: list[tuple[ClaimedTask, Wanted]] = []
        for task in claimed:
            running = Running(task, threading.Event())
            self._running[_key(task)] = running
            try:
                wanted = self._evaluator.wanted(task)
            except Exception as exc:
                log.exception("evaluating failed", extra={"action": "evaluate_failed"})
                self._end(running, Failed(_internal(exc)))
                continue
            if not self._try(running, wanted, loaded=False):
                cold.append((task, wanted))
        if cold:
            loading = asyncio.ensure_future(self._load_and_begin(cold))
            self._loading.add(loading)  # the loop itself holds only a weak reference
            loading.add_done_callback(self._loading.discard)

    def _try(self, running: Running, wanted: Wanted, *, loaded: bool) -> bool:
        """Evaluate and begin; False when values must be read first."""
        task = running.task
        try:
            found = self._evaluator.evaluate(task, wanted, loaded=loaded)
        except Missing:
            return False
        except Exception as exc:
            log.exception("evaluating failed", extra={"action": "evaluate_failed"})
            found = Failed(_internal(exc))
        if self._surroundings is not None and isinstance(found, Started):
            found = replace(found, labels=self._surroundings.child_labels(task))
        if isinstance(found, Ready):
            self._execute(running, found)
        else:
            self._end(running, found)
        return True

    async def _load_and_begin(self, cold: list[tuple[ClaimedTask, Wanted]]) -> None:
        loop = asyncio.get_running_loop()
        todo, tries = cold, 0
        while tries < _TRIES:
            before, tries = len(todo), tries + 1
            try:
                await loop.run_in_executor(self._reader, self._values.load, [wanted for _, wanted in todo])
            except ExpressionError as exc:
                todo = await self._load_one_by_one(todo, exc)
            except Exception:
                log.exception("reading values failed", extra={"action": "load_failed"})
                await asyncio.sleep(0.2)
                continue
            todo = [
                (task, wanted)
                for task, wanted in todo
                if (running := self._running.get(_key(task))) and not self._try(running, wanted, loaded=True)
            ]
            if not todo:
                return
            if len(todo) < before:  # many tasks may want more than memory holds at once: they go on in parts
                tries = 0
        log.error("values cannot be had", extra={"action": "load_failed", "tasks": len(todo)})
        for task, _ in todo:
            self._end_key(
                task, Failed(TaskError("internal", "its values could not be read", retryable=False))
            )

    async def _load_one_by_one(
        self, todo: list[tuple[ClaimedTask, Wanted]], cause: ExpressionError
    ) -> list[tuple[ClaimedTask, Wanted]]:
        """A value is too large for an expression: only the task that asked for it fails."""
        if len(todo) == 1:
            self._end_key(todo[0][0], failed_expression(cause))
            return []
        loop, left = asyncio.get_running_loop(), list[tuple[ClaimedTask, Wanted]]()
        for task, wanted in todo:
            try:
                await loop.run_in_executor(self._reader, self._values.load, [wanted])
                left.append((task, wanted))
            except ExpressionError as exc:
                self._end_key(task, failed_expression(exc))
        return left

    def _end_key(self, task: ClaimedTask, outcome: Outcome) -> None:
        running = self._running.get(_key(task))
        if running is not None:
            self._end(running, outcome)

    # --- user code

    def _execute(self, running: Running, ready: Ready) -> None:
        task = running.task
        try:
            entry = self._registry.get_executor(task.row.executor or "")
        except UnknownExecutor as exc:
            self._end(running, Failed(TaskError("no_executor", str(exc), retryable=False)))
            return
        context = self._context(running, entry)
        mask, around = Mask(ready.roots.get("secrets")), None
        if self._surroundings is not None:
            around = running.around = self._surroundings.begin(task, mask)
        if running.port is not None:
            running.port.begin(partial(self._outcome_of, running, ready), mask, around)
        if entry.inline and entry.hooks is None and self._hooks is None:
            call = invoke_inline if around is None else partial(around.context.run, invoke_inline)
            try:
                result = call(entry, context, ready.config)
            except Exception as exc:  # noqa: BLE001 - user code may raise anything: it becomes the outcome
                self._end(running, self._failure(running, entry, exc))
            else:
                self._finish(running, ready, result)
            return
        job = self._run(running, entry, context, ready)
        running.job = asyncio.create_task(job, context=around.context if around is not None else None)
        running.job.add_done_callback(lambda job: self._never_began(running, job))

    def _never_began(self, running: Running, job: asyncio.Task[None]) -> None:
        """A job that was stopped before its first step has run nothing, its own ending included."""
        running.job = None  # it points back, and is over: without the circle all of it goes at once (ADR 7)
        if job.cancelled():
            self._end(running, Released("released by its engine") if running.released else Cancelled())
        running.port = None

    async def _run(self, running: Running, entry: ExecutorEntry, context: TaskContext, ready: Ready) -> None:
        timeout_s = limit_s(running.task)
        node = running.task.plan.nodes[address_of(running.task.row.path)]
        try:
            call = invoke(entry, context, ready.config, pool=self._pool, timeout_s=timeout_s)
            if self._hooks is not None:
                call = hooked(self._hooks, context, self._pool, call)
            if node.heartbeat is None or running.port is None:
                result = await call
            else:
                result = await watched(call, running.port, node.heartbeat / 1_000_000)
        except AttemptSilent as exc:
            running.cancel.set()
            self._end(running, Failed(TaskError("heartbeat", str(exc))))
        except asyncio.CancelledError:
            self._end(running, Released("released by its engine") if running.released else Cancelled())
        except Exception as exc:  # noqa: BLE001 - user code may raise anything: it becomes the outcome
            self._end(running, self._failure(running, entry, exc))
        else:
            self._finish(running, ready, result)

    def _failure(self, running: Running, entry: ExecutorEntry, exc: Exception) -> Outcome:
        if isinstance(exc, AttemptCancelled):
            return Released("released by its engine") if running.released else Cancelled()
        if isinstance(exc, AttemptTimeout):
            if deadline_first(running.task):
                return Failed(
                    TaskError("deadline", "the node did not end within its deadline", retryable=False)
                )
            return Failed(TaskError("timeout", str(exc)))
        error = error_from_exception(exc, entry.domain, mask=running.port.mask if running.port else str)
        if error.traceback and running.port is not None:
            running.port.log("error", error.traceback)
        return Failed(error)

    def _finish(self, running: Running, ready: Ready, result: Any) -> None:
        recorded = running.port is not None and running.port.recorded
        self._end(running, Succeeded() if recorded else self._outcome_of(running, ready, result))

    def _outcome_of(self, running: Running, ready: Ready, result: Any) -> Outcome:
        node = running.task.plan.nodes[address_of(running.task.row.path)]
        try:
            return Succeeded(as_payload(reshape(node, ready.roots, result)))
        except ExpressionError as exc:
            return failed_expression(exc)
        except PayloadError as exc:
            where = f" at {exc.pointer}" if exc.pointer else ""
            return Failed(TaskError("output", f"{exc}{where}", retryable=False))

    def _context(self, running: Running, entry: ExecutorEntry) -> TaskContext:
        task = running.task
        row, instance = task.row, task.instance
        engine = row.engine or ""
        port = running.port = AttemptPort(
            instance_id=instance.id,
            path=row.path,
            attempt=row.attempt,
            engine=engine,
            submit=self._submit,
            load=self._load_checkpoint,
            spawn=partial(self._spawn, task),
            joint=partial(self._joint.open, task),
        )
        bound_s = limit_s(task)
        deadline = time.monotonic() + bound_s if bound_s is not None else None
        return TaskContext(
            instance_id=instance.id,
            path=row.path,
            attempt=row.attempt,
            executor=entry.name,
            engine_id=engine,
            definition_name=instance.name,
            definition_version=instance.version,
            instance_key=instance.key,
            deadline_s=deadline,
            port=port,
            cancel=running.cancel,
        )

    def _end(self, running: Running, outcome: Outcome) -> None:
        """Submit the outcome, unless this engine has lost the task meanwhile."""
        task = running.task
        if self._running.pop(_key(task), None) is None:
            return
        if running.around is not None:
            running.around.ended(outcome)
        row = task.row
        if running.port is not None:
            running.port.flush_progress()
        logs = running.port.take_logs() if running.port is not None else ()
        self._submit(
            Pending(TaskEnded(row.instance_id, row.path, row.attempt, row.engine or "", outcome, logs))
        )

    # --- stopping

    def _stop(self, stopped: list[tuple[str, str, int]]) -> None:
        for key in stopped:
            running = self._running.get(key)
            if running is not None and not running.cancel.is_set():
                running.cancel.set()
                if running.job is not None:
                    running.job.cancel()
                else:  # its values are still being read
                    self._end(running, Cancelled())

    def release_all(self) -> None:
        """Give every running task back; call on the loop. Those in threads are left behind."""
        for running in self.running:
            running.released = True
            running.cancel.set()
            if running.job is not None:
                running.job.cancel()
            else:
                self._end(running, Released("released by its engine"))

    def drop_soon(self) -> None:
        """`drop_all` on the loop; thread-safe, and before anything that is accepted from now on."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.drop_all)

    def drop_all(self) -> None:
        """This engine lost its lease: stop everything and submit nothing. Call on the loop."""
        for running in self.running:
            self._running.pop(_key(running.task), None)
            if running.around is not None:
                running.around.ended(None)
            running.cancel.set()
            if running.job is not None:
                running.job.cancel()

    def close(self) -> None:
        """Stop the readers; nothing may be accepted afterwards."""
        self._reader.shutdown(
            wait=True, cancel_futures=True
        )  # a read under way would outlive the pool it came from


def _internal(exc: Exception) -> TaskError:
    return TaskError("internal", f"{type(exc).__name__}: {exc}", retryable=False)


def _key(task: ClaimedTask) -> Key:
    return task.row.instance_id, task.row.path, task.row.attempt
