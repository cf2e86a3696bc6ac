"""WorkflowEngine, the Python API: one object that starts, runs and watches workflows on one database.

It owns a thread with an event loop (executors), the writer's thread, and the loops of heartbeat, scheduler, recovery
and notifications. Methods are coroutines that may be awaited on any loop; `run` and the `with` statement are the
synchronous way in. Everything durable goes through `StateManager`; this file only delegates.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ..executors.builtin import default_registry
from ..executors.registry import ExecutorRegistry
from ..repositories import views
from ..repositories.database import Database
from ..repositories.gateways import InstanceRepository
from ..repositories.migrate import require_current
from ..repositories.records import InstanceState, TaskRow
from ..repositories.url import DatabaseUrl
from .assembly import Parts, tune_collector
from .catalog import DefinitionSource, Registered
from .config import EngineConfig
from .control import Control
from .errors import EngineStopped, NotFound, WaitTimeout, WorkflowFailed
from .events import Applied, StartInstance
from .feed import EventFeed
from .outputs import OutputReader
from .recovery import RecoveryManager
from .scheduler import TaskScheduler
from .start_inside import start_inside
from .starts import StartOptions, prepare_start
from .state_manager import StateManager
from .status import WorkflowStatus, status_of
from .translate import engine_errors

if TYPE_CHECKING:
    from .telemetry import MetricsCollector

__all__ = ["DEFAULT_URL", "WorkflowEngine"]

DEFAULT_URL: Final = "sqlite:///strataflow.db"
Definition = DefinitionSource | Registered


class WorkflowEngine(Control):
    """A workflow engine on one database.

    `executes=False` (in `config`) makes a client: it starts, watches and cancels, and claims nothing. Use it as a
    context manager, or call `start` and `stop`; both are idempotent.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        registry: ExecutorRegistry | None = None,
        config: EngineConfig | None = None,
        metrics: MetricsCollector | None = None,
    ) -> None:
        with engine_errors():
            self.url: Final = DatabaseUrl.parse(url)
        self.config: Final = config or EngineConfig()
        self.registry: Final = registry if registry is not None else default_registry()
        self._parts: Parts | None = None
        self._metrics = metrics
        self._guard = threading.RLock()

    # --- life

    def start(self) -> Self:
        """Open the database and begin. Raises SchemaError, DatabaseUnavailable."""
        with self._guard, engine_errors():
            if self._parts is None:
                require_current(self.url)
                if self.config.tune_gc:
                    tune_collector()
                self._parts = Parts(self.url, self.registry, self.config, self._metrics)
                self._parts.start()
        return self

    def stop(self, *, grace_s: float | None = None) -> None:
        """Stop claiming, let running tasks end within the grace, give the rest back unharmed, sign off."""
        with self._guard, engine_errors():
            parts, self._parts = self._parts, None
            if parts is not None:
                parts.stop(self.config.grace_s if grace_s is None else grace_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def parts(self) -> Parts:
        """The running parts. Raises EngineStopped before `start` and after `stop`."""
        if self._parts is None:
            raise EngineStopped(
                "the engine is not running.", hint="Call start(), or use it in a `with` block."
            )
        return self._parts

    @property
    def database(self) -> Database:
        """The database this engine works on."""
        return self.parts.database

    @property
    def state_manager(self) -> StateManager:
        """The one write path."""
        return self.parts.state_manager

    @property
    def feed(self) -> EventFeed:
        """What happens on the database, in order, whoever does it."""
        return EventFeed(self.parts.database)

    @property
    def scheduler(self) -> TaskScheduler:
        """What this engine takes, and when."""
        return self.parts.scheduler

    @property
    def recovery(self) -> RecoveryManager:
        """What brings interrupted tasks back."""
        return self.parts.recovery

    # --- definitions

    def register(self, definition: DefinitionSource, *, activate: bool = False) -> Registered:
        """Check and store a definition. Raises DefinitionError with every problem."""
        with engine_errors():
            return self.parts.catalog.register(definition, activate=activate)

    # --- instances

    async def start_workflow(
        self,
        definition: Definition,
        inputs: Any = None,
        *,
        key: str | None = None,
        connection: Any = None,
        options: StartOptions | None = None,
    ) -> str:
        """Start a run and return its id; it is durable then, and nothing of it has run yet.

        `definition` is a document, JSON text, a path, `name`, `name@3` or what `register` returned. With `key` a second
        start of the same definition name returns the first instance; `options` says that and more. With `connection`
        (psycopg, sqlite3 or SQLAlchemy) the start is part of the caller's transaction: it counts when that commits.

        Raises: DefinitionError, InputError, NotFound, PayloadError, Conflict.
        """
        prepared = await asyncio.to_thread(self._prepare, definition, inputs, key, options)
        if connection is not None:
            with engine_errors():
                return start_inside(connection, self.url, self.parts.plans, prepared, self.parts.engine_id)
        return (await asyncio.wrap_future(self.scheduler.schedule_task(prepared))).instance_id

    def start_now(
        self,
        definition: Definition,
        inputs: Any = None,
        *,
        key: str | None = None,
        options: StartOptions | None = None,
    ) -> str:
        """`start_workflow` for synchronous callers."""
        prepared = self._prepare(definition, inputs, key, options)
        return self.scheduler.schedule_task(prepared).result().instance_id

    def submit_start(
        self,
        definition: Definition,
        inputs: Any = None,
        *,
        key: str | None = None,
        options: StartOptions | None = None,
    ) -> Future[Applied]:
        """Start without waiting for the commit; the future's `instance_id` is durable once it is there."""
        return self.scheduler.schedule_task(self._prepare(definition, inputs, key, options))

    def start_in_transaction(
        self,
        connection: Any,
        definition: Definition,
        inputs: Any = None,
        *,
        key: str | None = None,
        options: StartOptions | None = None,
    ) -> str:
        """`start_workflow(connection=…)` for synchronous callers."""
        with engine_errors():
            prepared = self._prepare(definition, inputs, key, options)
            return start_inside(connection, self.url, self.parts.plans, prepared, self.parts.engine_id)

    def _prepare(
        self, definition: Definition, inputs: Any, key: str | None, options: StartOptions | None
    ) -> StartInstance:
        with engine_errors():
            chosen = options or StartOptions()
            if key is not None:
                chosen = replace(chosen, key=key)
            if self.config.tracing is not None:
                chosen = chosen.beside(self.config.tracing.labels())
            registered = self._registered(definition)
            return prepare_start(registered, self.parts.catalog.plan(registered.id), inputs, chosen)

    def _registered(self, definition: Definition) -> Registered:
        if isinstance(definition, Registered):
            return self.parts.catalog.current(definition)
        if isinstance(definition, str) and not definition.lstrip().startswith("{"):
            try:
                return self.parts.catalog.find(definition)
            except NotFound as exc:
                if _looks_like_a_path(definition):
                    hint = f"Text is the name of a stored definition; for a file pass Path({definition!r})."
                    raise NotFound(exc.message, hint=hint) from None
                raise
        return self.parts.catalog.register(definition)

    async def get_workflow_status(self, instance_id: str) -> WorkflowStatus:
        """The stored status. Raises NotFound."""
        return await asyncio.to_thread(self.status, instance_id)

    def status(self, instance_id: str) -> WorkflowStatus:
        """`get_workflow_status` for synchronous callers."""
        parts = self.parts
        with engine_errors(), parts.database.read() as connection:
            view = views.instance(connection, instance_id)
            if view is None:
                raise NotFound(
                    f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
                )
            plan = parts.catalog.plan(view.definition_id)
            root = views.task(connection, instance_id, "")
            return status_of(connection, OutputReader(parts.database), view, plan, root)

    async def wait(self, instance_id: str, timeout: float | None = None) -> WorkflowStatus:  # noqa: ASYNC109 - the state outlives it
        """Wait until the instance has ended, in whatever process. Raises WaitTimeout after `timeout` seconds."""
        return await asyncio.to_thread(self.wait_now, instance_id, timeout)

    def wait_now(self, instance_id: str, timeout: float | None = None) -> WorkflowStatus:
        """`wait` for synchronous callers."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ended = self.parts.waiters.wait(instance_id, left)
            status = self.status(instance_id)
            if status.ended:
                return status
            if not ended:
                message = f"instance {instance_id} is still {status.state} after {timeout} s."
                raise WaitTimeout(message, hint="It goes on.")
            self.parts.waiters.forget(instance_id)  # it was taken back since

    def run(
        self,
        definition: Definition,
        inputs: Any = None,
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Start, wait, and return the output. Raises WorkflowFailed with the status, or WaitTimeout."""
        status = self.wait_now(self.start_now(definition, inputs, key=key), timeout)
        if status.state is not InstanceState.COMPLETED:
            detail = f": {status.error['message']}" if status.error else ""
            raise WorkflowFailed(f"instance {status.id} ended {status.state}{detail}", status=status)
        return status.output

    def get_pending_tasks(self, limit: int = 100) -> list[TaskRow]:
        """Ready tasks in the order in which they would be claimed."""
        return self.scheduler.get_pending_tasks(limit)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Block until no unfinished instance is left; False after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = 0.01
        while deadline is None or time.monotonic() < deadline:
            with engine_errors():
                if InstanceRepository(self.database).unfinished() == 0:
                    return True
            time.sleep(pause)
            pause = min(0.25, pause * 1.3)
        return False


def _looks_like_a_path(text: str) -> bool:
    return text.endswith((".json", ".yaml", ".yml")) or "/" in text or "\\" in text
