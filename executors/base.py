"""The executor interface: what other packages implement, and what they are given.

This layer knows neither SQL nor graphs. An executor is a function or an object with `execute`; it is named
`domain.name`. It receives a `TaskContext` and its configuration and returns a JSON value, or raises.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["ContextPort", "ExecutionContext", "Json", "TaskContext", "TaskError", "TaskTransaction"]

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict with text keys."""


@dataclass(slots=True, frozen=True)
class TaskError:
    """One failed attempt, ready to be stored.

    `code` is `<domain>.<Class>` of the raised exception or an engine code (DSL rule 25); `codes` are all
    codes a pattern may match: the class itself and its bases within the domain.
    """

    code: str
    message: str
    codes: tuple[str, ...] = ()
    retryable: bool = True
    details: Json = None
    traceback: str | None = None


class ContextPort(Protocol):
    """What a context asks of the engine that runs the attempt. Every write is fenced by (engine, attempt)."""

    def log(self, level: str, message: str) -> None:
        """Keep one line; written at the latest with the attempt's outcome."""
        ...

    def progress(self, fraction: float, message: str | None) -> None:
        """Publish progress; coalesced, so that a tight loop does not flood the database."""
        ...

    def save_checkpoint(self, value: Json) -> None:
        """Block until the checkpoint is committed."""
        ...

    def load_checkpoint(self) -> Json:
        """The last committed checkpoint of any attempt of this task, or None."""
        ...

    def heartbeat(self, details: Json) -> None:
        """A sign of life; `details` are kept for the next attempt, coalesced."""
        ...

    def last_heartbeat(self) -> Json:
        """Details of the last sign of life of any attempt of this task, or None."""
        ...

    def spawn(self, target: str | Mapping[str, Any], inputs: Json, key: str | None) -> str:
        """Block until the child run is asked for, and give its id."""
        ...

    def transaction(self) -> AbstractContextManager[TaskTransaction]:
        """A transaction whose commit is the attempt's success."""
        ...

    def trace_headers(self) -> Mapping[str, str]:
        """What carries the trace to another service; empty where nobody traces."""
        ...


class TaskTransaction:
    """An open transaction on the engine's database: the task's own SQL, committed together with its completion."""

    __slots__ = ("connection", "value")

    def __init__(self, connection: Any) -> None:
        #: A SQLAlchemy connection; the block commits it, or rolls it back when it raises.
        self.connection = connection
        #: The attempt's result.
        self.value: Json = None

    def result(self, value: Json) -> None:
        """Say what the task gives; null when nothing is said."""
        self.value = value


class TaskContext:
    """What one attempt knows about itself, and what it may ask.

    Safe to use from the executor's thread or coroutine. `cancelled` turns true when the attempt should stop:
    the instance was cancelled, the attempt timed out, or the engine lost its lease.
    """

    __slots__ = (
        "_cancel",
        "_port",
        "attempt",
        "deadline_s",
        "definition_name",
        "definition_version",
        "engine_id",
        "executor",
        "instance_id",
        "instance_key",
        "path",
    )

    def __init__(
        self,
        *,
        instance_id: str,
        path: str,
        attempt: int,
        executor: str,
        engine_id: str,
        definition_name: str,
        definition_version: int,
        instance_key: str | None,
        deadline_s: float | None,
        port: ContextPort,
        cancel: threading.Event,
    ) -> None:
        self.instance_id = instance_id
        self.path = path
        #: From 1; raised at every claim.
        self.attempt = attempt
        self.executor = executor
        self.engine_id = engine_id
        self.definition_name = definition_name
        self.definition_version = definition_version
        self.instance_key = instance_key
        #: When the attempt times out, on the clock of `time.monotonic()`; None without a timeout.
        self.deadline_s = deadline_s
        self._port = port
        self._cancel = cancel

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task; hand it to services that deduplicate."""
        return f"{self.instance_id}/{self.path}"

    @property
    def cancelled(self) -> bool:
        """True when the attempt should stop; its result will not be used."""
        return self._cancel.is_set()

    def request_cancel(self) -> None:
        """Turn `cancelled` true, for ever. Called by whoever ends the attempt; an executor only reads it."""
        self._cancel.set()

    def wait_cancelled(self, timeout_s: float) -> bool:
        """Block for `timeout_s` seconds or until cancelled; True when cancelled. For synchronous executors."""
        return self._cancel.wait(timeout_s)

    def log(self, message: str, level: str = "info") -> None:
        """Store a line with this task: `debug, info, warning` or `error`."""
        self._port.log(level, message)

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Publish how far the work is: `fraction` is clamped to 0..1. Visible from outside during the run."""
        self._port.progress(min(1.0, max(0.0, float(fraction))), message)

    def save_checkpoint(self, value: Json) -> None:
        """Keep `value` durably for the next attempt of this task; returns after the commit."""
        self._port.save_checkpoint(value)

    def load_checkpoint(self) -> Json:
        """The last value saved by any attempt of this task, or None."""
        return self._port.load_checkpoint()

    def heartbeat(self, details: Json = None) -> None:
        """Say that the attempt is alive. Where its node sets `heartbeat`, an attempt silent for longer is stopped.

        Progress, checkpoints and log lines are signs of life too. The last `details` are handed to the next attempt.
        """
        self._port.heartbeat(details)

    def spawn(self, target: str | Mapping[str, Any], inputs: Json = None, *, key: str | None = None) -> str:
        """Start a run that this task is the parent of, and give its id; nobody waits for it. Returns after the commit.

        `target` is the name of a stored definition (`shop.refund` or `shop.refund@2`), or a `run` node whose
        configuration is `inputs`. A repeated attempt finds the children of the one before: by `key`, else by their
        order. Raises what a start raises, and StaleLease when this attempt no longer holds its task.
        """
        return self._port.spawn(target, inputs, key)

    def transaction(self) -> AbstractContextManager[TaskTransaction]:
        """Do SQL of your own on the engine's database, committed together with this task's completion, or not at all.

        Leaving the block is the attempt's success with what `result` was given; the executor's return value does not
        count then. For synchronous executors; on SQLite it may take at most five seconds. Raises StaleLease, and
        rolls back, when this attempt no longer holds its task.
        """
        return self._port.transaction()

    def trace_headers(self) -> Mapping[str, str]:
        """Headers by which what another service does belongs to this attempt's trace; empty where nobody traces.

        They name the span that is current here, such as one that the executor has opened itself.
        """
        return self._port.trace_headers()

    @property
    def last_heartbeat(self) -> Json:
        """The `details` of the last heartbeat of any attempt of this task, or None."""
        return self._port.last_heartbeat()


ExecutionContext = TaskContext
"""The name the seeds use."""

ExecutorFunction = Callable[[TaskContext, Any], Json | Awaitable[Json]]


class Executor(Protocol):
    """A class-based executor; only `execute` is required. See `ExecutorRegistry.register_executor`."""

    def execute(self, ctx: TaskContext, config: Any) -> Json | Awaitable[Json]: ...


ConfigSchema = Mapping[str, Any]
