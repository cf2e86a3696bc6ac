"""The running parts of one engine, put together: threads, loops, writer, caches; and how they start and stop.

Threads of a process: the writer (all transactions), the event loop (evaluation and executors), a bounded pool for
synchronous executors, two readers, and the loops of heartbeat, scheduler, recovery, ears and announcer.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from ..executors.registry import ExecutorRegistry
from ..executors.threads import WorkerThreads
from ..repositories.database import Database
from ..repositories.records import TERMINAL_INSTANCE_STATES, MessageRow
from ..repositories.url import DatabaseUrl
from ..repositories.values import read_checkpoint
from .batching import BatchReport, ClaimedTask
from .catalog import Catalog
from .config import EngineConfig
from .dispatch import Dispatcher
from .heartbeat import Heartbeat
from .joint import JointTransactions
from .loops import Loop
from .membership import Membership
from .observers import BatchObserver, Observers
from .outputs import OutputReader
from .plans import PlanCache
from .probe import Probe
from .recovery import RecoveryManager
from .scheduler import TaskScheduler
from .schedules import Scheduler
from .spawning import child_of
from .state_manager import StateManager
from .stored_secrets import StoredSecrets
from .surroundings import Surroundings
from .values import Values
from .waiters import Waiters
from .wakeup import READY, Announcer, Ears
from .watermarks import Watermarks
from .webhooks import Webhooks, egress_of
from .writer import GroupCommitWriter

if TYPE_CHECKING:
    from .spans import SpanSender
    from .telemetry import MetricsCollector

__all__ = ["Parts", "tune_collector"]

log: Final = logging.getLogger("strataflow.assembly")
#: What Python sets by itself, 3.11 to 3.14.
_DEFAULT_THRESHOLDS: Final = {(700, 10, 10), (2000, 10, 10), (2000, 10, 0)}


class Parts:
    """Everything that lives between `start` and `stop`, put together."""

    def __init__(
        self,
        url: DatabaseUrl,
        registry: ExecutorRegistry,
        config: EngineConfig,
        metrics: MetricsCollector | None,
    ) -> None:
        egress = egress_of(config.egress_allow)  # what may be refused comes before what must be closed
        self.config = config
        self.database = Database(url)
        self.plans = PlanCache()
        self.outputs = OutputReader(self.database)
        self.values = Values(
            self.database,
            find_flow=lambda name, version: self.catalog.find_flow(name, version),  # noqa: PLW0108 - made below
            secret=config.secret or StoredSecrets(),
        )
        self.catalog = Catalog(self.database, registry, self.plans, executes=config.executes)
        self.announcer = Announcer(url, enabled=config.notify)
        self.pool = WorkerThreads(config.threads)
        self.metrics = metrics
        self.spans = self._make_spans()
        watching: tuple[BatchObserver | None, ...] = (metrics, self.spans)
        told = [each for each in watching if each is not None]
        self._observers = Observers(*told) if told else None
        self.scheduler = self._make_scheduler(registry)
        self.heartbeat = self._join(url)
        self.writer = GroupCommitWriter(
            url, self.plans, self._membership, self.scheduler.executors, self.scheduler
        )
        self.state_manager = StateManager(self.database, self.writer)
        self.waiters = Waiters(self.database)
        self.dispatcher = self.scheduler.dispatcher = self._make_dispatcher(registry)
        self.ears = Ears(url, self._heard, enabled=config.notify)
        self.recovery = RecoveryManager(
            config,
            self.database,
            membership=self._membership,
            submit=self.writer.submit,
            plan_of=self.catalog.plan,
            others_alive=self._others_alive,
        )
        self.schedules = Scheduler(self.database, self.catalog, self.writer.submit)
        self.webhooks = Webhooks(self.database, egress, poll_s=config.poll_s)
        #: What an engine that executes does beside its tasks, each on a thread of its own.
        self.background = (
            Loop("recovery", self.recovery.run_once, config.recovery_s),
            Loop("schedules", self.schedules.run_once, config.poll_s),
            Loop("watermarks", Watermarks(self.database).run_once, config.recovery_s),
            self.webhooks.loop,
        )
        #: Loops that others run beside this engine, and that its health depends on.
        self.beside: tuple[Loop, ...] = ()
        self.loop_thread = _LoopThread()
        self.probe = Probe(self)

    def _join(self, url: DatabaseUrl) -> Heartbeat:
        try:
            return Heartbeat(
                config=self.config,
                database=self.database,
                url=url,
                release=_release(),
                executors=self.scheduler.executors,
                on_loss=self._lost,
            )
        except BaseException:  # nobody will stop what has not begun
            self.database.close()
            raise

    def _make_spans(self) -> SpanSender | None:
        if self.config.tracing is None:
            return None
        from .spans import SpanSender

        return SpanSender(self.config.tracing, self.database)

    def _make_scheduler(self, registry: ExecutorRegistry) -> TaskScheduler:
        return TaskScheduler(
            self.config,
            self.database,
            registry,
            self.plans,
            self.values,
            poke=lambda: self.writer.poke(),  # noqa: PLW0108 - the writer is made later, from this
            submit=lambda pending: self.writer.submit(pending),  # noqa: PLW0108 - the same
            lost=self._lose,
            load_plan=self._load_plan,
            ended=lambda ids: self.waiters.ended(ids),  # noqa: PLW0108 - the same
            announcer=self.announcer,
            observers=self._observers,
            state_manager=lambda: self.state_manager,
        )

    def _make_dispatcher(self, registry: ExecutorRegistry) -> Dispatcher:
        tracing = self.config.tracing
        return Dispatcher(
            registry,
            self.values,
            self.pool,
            self.writer.submit,
            self._load_checkpoint,
            spawn=self._child,
            joint=JointTransactions(self.database, self.plans, self._recorded),
            hooks=self.config.hooks,
            surroundings=Surroundings(tracing) if tracing is not None or self.config.log_attempts else None,
        )

    @property
    def engine_id(self) -> str:
        """Id of the current membership."""
        return self.heartbeat.membership.id

    def _lose(self, member: Membership) -> None:
        self.heartbeat.lose(member)

    def _membership(self) -> Membership:
        return self.heartbeat.membership

    def loop_ages(self) -> dict[str, float]:
        """Seconds since each loop that runs here last came round without an error; of the writer, for its batch."""
        now = time.monotonic()
        found = {"heartbeat": self.heartbeat.last_progress}
        found["writer"] = self.writer.began_at if self.writer.working else now
        found |= {loop.name: loop.last_progress for loop in self.beside}
        if self.config.executes:
            found["scheduler"] = self.scheduler.loop.last_progress
            found |= {loop.name: loop.last_progress for loop in self.background}
        return {name: max(0.0, now - at) for name, at in found.items()}

    def start(self) -> None:
        """Start the threads, the writer first."""
        self.loop_thread.start()
        self.dispatcher.bind(self.loop_thread.loop)
        self.scheduler.membership_of = self._membership
        self.writer.start()
        if self.spans is not None:
            self.spans.start()
        self.announcer.start()
        self.heartbeat.start()
        if self.config.executes:
            for loop in self.background:
                loop.start()
            self.scheduler.start()
        self.ears.start()
        if self.metrics is not None:
            self.metrics.attach(self.probe)

    def stop(self, grace_s: float) -> None:
        """Claiming first, then running work, then the writer, then the lease, the database last."""
        steps: tuple[Callable[[], object], ...] = (
            self._detach,
            self.scheduler.stop_claiming,
            *(loop.stop for loop in self.background),
            self.webhooks.close,
            self.ears.stop,
            self.scheduler.stop,
            lambda: self._end_work(grace_s),
            lambda: self.writer.stop(timeout_s=10.0),
            *((self.spans.stop,) if self.spans is not None else ()),
            self.announcer.stop,
            self.heartbeat.stop,
            self.waiters.stop,
            self.dispatcher.close,
            self.loop_thread.stop,
            self.pool.close,
            self.database.close,
        )
        first: Exception | None = None
        for (
            step
        ) in steps:  # each is tried: a sign-off that fails must not leave threads and connections behind
            try:
                step()
            except Exception as exc:
                log.exception("a step of stopping failed", extra={"action": "stop_failed"})
                first = first or exc
        if first is not None:
            raise first

    def _detach(self) -> None:
        if self.metrics is not None:
            self.metrics.detach(self.probe)

    def _end_work(self, grace_s: float) -> None:
        if not self._quiet_within(grace_s):
            self.loop_thread.call(self.dispatcher.release_all)
            self._quiet_within(5.0)

    def _quiet_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.writer.working or self.scheduler.busy or self.dispatcher.running:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def _child(self, task: ClaimedTask, target: str | Mapping[str, Any], inputs: Any, key: str) -> MessageRow:
        tracing = self.config.tracing
        labels = tracing.labels() if tracing is not None else {}
        return child_of(self.catalog, task, target, inputs, key, labels=labels)

    def _recorded(self, report: BatchReport) -> None:
        """A task's own transaction has been committed: what follows from it is ready, or the instance has ended."""
        if self._observers is not None:
            self._observers.record_batch(report, held=self.scheduler.held)
        self.scheduler.wake()
        self.announcer.announce(READY)
        ended = [
            decision.instance.id
            for _, decision in report.decisions
            if decision.instance is not None and decision.instance.state in TERMINAL_INSTANCE_STATES
        ]
        if ended:
            self.waiters.ended(ended)

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
        if self.scheduler.heard(hint):
            self.waiters.poke()

    def _others_alive(self, alive: bool) -> None:  # noqa: FBT001 - a callback
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


def tune_collector() -> None:
    """Make garbage collections fewer and later; a threshold that somebody has set is left alone.

    The hot path makes many short-lived rows and hardly any cycles: looking for them took up to a third of its time.
    """
    if gc.get_threshold() in _DEFAULT_THRESHOLDS:
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
