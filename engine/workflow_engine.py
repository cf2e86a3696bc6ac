"""WorkflowEngine, the Python API: one object that starts, runs and watches workflows on one database.

It owns a thread with an event loop (executors), the writer's thread, and the loops of heartbeat, scheduler, recovery
and notifications. Methods are coroutines that may be awaited on any loop; `run` and the `with` statement are the
synchronous way in. Everything durable goes through `StateManager`; this file only delegates.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Final, Self

from ..executors.builtin import default_registry
from ..executors.registry import ExecutorRegistry
from ..executors.threads import WorkerThreads
from ..repositories import views
from ..repositories.database import Database
from ..repositories.migrate import require_current
from ..repositories.records import InstanceState, TaskRow
from ..repositories.url import DatabaseUrl
from ..repositories.values import read_checkpoint
from .catalog import Catalog, DefinitionSource, Registered
from .config import EngineConfig
from .dispatch import Dispatcher
from .errors import EngineError, EngineStopped, NotFound, WaitTimeout, WorkflowFailed
from .events import Applied, CancelInstance, StartInstance
from .evaluate import as_payload
from .heartbeat import Heartbeat
from .inputs import prepare_inputs
from .loops import Loop
from .membership import Membership, new_id
from .outputs import OutputReader
from .plans import PlanCache
from .recovery import RecoveryManager
from .scheduler import TaskScheduler
from .start_inside import start_inside
from .state_manager import StateManager
from .status import WorkflowStatus, status_of
from .translate import engine_errors
from .values import Values
from .waiters import Waiters
from .wakeup import Announcer, Ears
from .writer import GroupCommitWriter

__all__ = ["DEFAULT_URL", "WorkflowEngine"]

DEFAULT_URL: Final = "sqlite:///strataflow.db"
Definition = DefinitionSource | Registered
#: What Python sets by itself, 3.11 to 3.14.
_DEFAULT_THRESHOLDS: Final = {(700, 10, 10), (2000, 10, 10), (2000, 10, 0)}


class WorkflowEngine:
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
    ) -> None:
        with engine_errors():
            self.url: Final = DatabaseUrl.parse(url)
        self.config: Final = config or EngineConfig()
        self.registry: Final = registry if registry is not None else default_registry()
        self._parts: _Parts | None = None
        self._guard = threading.RLock()

    # --- life

    def start(self) -> Self:
        """Open the database and begin. Raises SchemaError, DatabaseUnavailable."""
        with self._guard, engine_errors():
            if self._parts is None:
                require_current(self.url)
                if self.config.tune_gc:
                    _tune_collector()
                self._parts = _Parts(self)
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
    def parts(self) -> _Parts:
        """The running parts. Raises EngineStopped before `start` and after `stop`."""
        if self._parts is None:
            raise EngineStopped("the engine is not running.", hint="Call start(), or use it in a `with` block.")
        return self._parts

    @property
    def database(self) -> Database:
        return self.parts.database

    @property
    def state_manager(self) -> StateManager:
        return self.parts.state_manager

    @property
    def scheduler(self) -> TaskScheduler:
        return self.parts.scheduler

    @property
    def recovery(self) -> RecoveryManager:
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
    ) -> str:
        """Start a run and return its id; it is durable then, and nothing of it has run yet.

        `definition` is a document, JSON text, a path, `name`, `name@3` or what `register` returned. With `key` a second
        start of the same definition name returns the first instance. With `connection` (psycopg, sqlite3 or SQLAlchemy)
        the start is part of the caller's transaction: it counts when that commits.

        Raises: DefinitionError, InputError, NotFound, PayloadError, Conflict.
        """
        prepared = await asyncio.to_thread(self._prepare, definition, inputs, key)
        if connection is not None:
            with engine_errors():
                return start_inside(connection, self.url, self.parts.plans, prepared, self.parts.engine_id)
        return (await self.state_manager.apply(prepared)).instance_id

    def start_now(self, definition: Definition, inputs: Any = None, *, key: str | None = None) -> str:
        """`start_workflow` for synchronous callers."""
        prepared = self._prepare(definition, inputs, key)
        return self.state_manager.apply_now(prepared).instance_id

    def start_in_transaction(
        self, connection: Any, definition: Definition, inputs: Any = None, *, key: str | None = None
    ) -> str:
        """`start_workflow(connection=…)` for synchronous callers."""
        with engine_errors():
            prepared = self._prepare(definition, inputs, key)
            return start_inside(connection, self.url, self.parts.plans, prepared, self.parts.engine_id)

    def _prepare(self, definition: Definition, inputs: Any, key: str | None) -> StartInstance:
        with engine_errors():
            registered = self._registered(definition)
            self.parts.catalog.plan(registered.id)
            prepared = prepare_inputs(registered.inputs, {} if inputs is None else inputs)
            if key is not None and (not key or len(key) > 512 or "\x00" in key):
                raise EngineError("a start key is text of 1 to 512 characters without NUL.")
            return StartInstance(new_id(), registered.id, as_payload(prepared), key)

    def _registered(self, definition: Definition) -> Registered:
        if isinstance(definition, Registered):
            return definition
        if isinstance(definition, str) and not definition.lstrip().startswith("{"):
            return self.parts.catalog.find(definition)
        return self.parts.catalog.register(definition)

    async def get_workflow_status(self, instance_id: str) -> WorkflowStatus:
        """The stored status. Raises NotFound."""
        return await asyncio.to_thread(self.status, instance_id)

    def status(self, instance_id: str) -> WorkflowStatus:
        """`get_workflow_status` for synchronous callers."""
        parts = self.parts
        with engine_errors():
            with parts.database.read() as connection:
                view = views.instance(connection, instance_id)
                root = views.task(connection, instance_id, "") if view is not None else None
            if view is None:
                raise NotFound(f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is.")
            plan = parts.catalog.plan(view.definition_id)
            with parts.database.read() as connection:
                return status_of(connection, OutputReader(parts.database), view, plan, root)

    async def wait(self, instance_id: str, timeout: float | None = None) -> WorkflowStatus:
        """Wait until the instance has ended, in whatever process. Raises WaitTimeout after `timeout` seconds."""
        return await asyncio.to_thread(self.wait_now, instance_id, timeout)

    def wait_now(self, instance_id: str, timeout: float | None = None) -> WorkflowStatus:
        """`wait` for synchronous callers."""
        if not self.parts.waiters.wait(instance_id, timeout):
            state = self.status(instance_id).state
            raise WaitTimeout(f"instance {instance_id} is still {state} after {timeout} s.", hint="It goes on.")
        return self.status(instance_id)

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

    async def cancel_workflow(self, instance_id: str, reason: str = "cancelled by its user") -> Applied:
        """Ask an instance to stop; returns when that is durable. Raises NotFound, IllegalTransition."""
        event = CancelInstance(instance_id, reason)
        answer = await self.state_manager.update_workflow_state(instance_id, event)
        self.parts.waiters.poke()
        return answer

    def get_pending_tasks(self, limit: int = 100) -> list[TaskRow]:
        """Ready tasks in the order in which they would be claimed."""
        return self.scheduler.get_pending_tasks(limit)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Block until no unfinished instance is left; False after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = 0.01
        while deadline is None or time.monotonic() < deadline:
            with engine_errors(), self.database.read() as connection:
                if views.unfinished_count(connection) == 0:
                    return True
            time.sleep(pause)
            pause = min(0.25, pause * 1.3)
        return False


class _Parts:
    """Everything that lives between `start` and `stop`, put together."""

    def __init__(self, engine: WorkflowEngine) -> None:
        config, url = engine.config, engine.url
        self.config = config
        self.database = Database(url)
        self.plans = PlanCache()
        self.values = Values(self.database)
        self.catalog = Catalog(self.database, engine.registry, self.plans, executes=config.executes)
        self.announcer = Announcer(url, enabled=config.notify)
        self.pool = WorkerThreads(config.threads)
        self.scheduler = TaskScheduler(
            config,
            self.database,
            engine.registry,
            self.plans,
            self.values,
            poke=lambda: self.writer.poke(),
            submit=lambda pending: self.writer.submit(pending),
            lost=lambda: self.heartbeat.lose(self.heartbeat.membership),
            load_plan=self._load_plan,
            ended=lambda ids: self.waiters.ended(ids),
            announcer=self.announcer,
        )
        self.heartbeat = Heartbeat(
            config, self.database, url, _release(), self.scheduler.executors, self._lost
        )
        self.writer = GroupCommitWriter(
            url, self.plans, self._membership, self.scheduler.executors, self.scheduler
        )
        self.state_manager = StateManager(self.database, self.writer)
        self.waiters = Waiters(self.database)
        self.dispatcher = Dispatcher(
            engine.registry, self.values, self.pool, self.writer.submit, self._load_checkpoint
        )
        self.scheduler.dispatcher = self.dispatcher
        self.ears = Ears(url, self._heard, enabled=config.notify)
        self.recovery = RecoveryManager(
            config,
            self.database,
            membership=self._membership,
            submit=self.writer.submit,
            plan_of=self.catalog.plan,
            others_alive=self._others_alive,
        )
        self.recovery_loop = Loop("recovery", self.recovery.run_once, config.recovery_s)
        self.loop_thread = _LoopThread()

    @property
    def engine_id(self) -> str:
        return self.heartbeat.membership.id

    def _membership(self) -> Membership:
        return self.heartbeat.membership

    def start(self) -> None:
        self.loop_thread.start()
        self.dispatcher.bind(self.loop_thread.loop)
        self.scheduler.membership_of = self._membership
        self.writer.start()
        self.announcer.start()
        self.heartbeat.start()
        if self.config.executes:
            self.recovery_loop.start()
            self.scheduler.start()
        self.ears.start()

    def stop(self, grace_s: float) -> None:
        """Claiming first, then running work, then the writer, then the lease, the database last."""
        self.scheduler.stop_claiming()
        self.recovery_loop.stop()
        self.ears.stop()
        self.scheduler.stop()
        if not self._quiet_within(grace_s):
            self.loop_thread.call(self.dispatcher.release_all)
            self._quiet_within(5.0)
        self.writer.stop(timeout_s=10.0)
        self.announcer.stop()
        self.heartbeat.stop()
        self.waiters.stop()
        self.dispatcher.close()
        self.loop_thread.stop()
        self.pool.close()
        self.database.close()

    def _quiet_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.scheduler.busy or self.dispatcher.running:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def _lost(self) -> None:
        """The lease is gone or not to be trusted: stop everything that runs; nothing of it is reported."""
        self.scheduler.forget_held()
        self.loop_thread.call(self.dispatcher.drop_all)

    def _load_plan(self, definition_id: str, pendings: list[Any]) -> None:
        self.catalog.load_later(definition_id, pendings, self.writer.submit, self.scheduler.wake)

    def _load_checkpoint(self, instance_id: str, path: str) -> str | None:
        with self.database.read() as connection:
            return read_checkpoint(connection, instance_id, path)

    def _heard(self, hint: str) -> None:
        self.scheduler.heard(hint)
        self.waiters.poke()

    def _others_alive(self, alive: bool) -> None:
        self.scheduler.others_alive = alive


class _LoopThread:
    """The event loop on which executors run."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name="strataflow-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, function: Callable[[], None]) -> None:
        """Run a function on the loop, soon."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Cancel what is left, then end the thread."""
        if not self._thread.is_alive():
            return
        done = threading.Event()

        async def finish() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=2.0)
            await self.loop.shutdown_asyncgens()
            done.set()

        asyncio.run_coroutine_threadsafe(finish(), self.loop)
        done.wait(5.0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5.0)
        if not self._thread.is_alive():
            self.loop.close()


def _release() -> str:
    """The version of this package that runs, for the engine's row."""
    try:
        return version("strataflow")
    except PackageNotFoundError:
        return "unknown"


def _tune_collector() -> None:
    """Fewer, later garbage collections: the hot path makes many short-lived rows and hardly any cycles, and the
    default threshold spends a third of its time looking for them. A threshold somebody has set is left alone."""
    if gc.get_threshold() in _DEFAULT_THRESHOLDS:
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
