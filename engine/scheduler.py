"""What an engine takes, and when: slots, priorities, timers, waking up (DESIGN section 4, items 4 to 6).

The scheduler never touches the database on the hot path: it tells the writer what to claim beside the next batch, and
learns from the batch's report what this engine now holds. Between batches it sleeps; a hint from another process, a
due timer or the poll interval wakes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Final

from ..executors.registry import ExecutorRegistry
from ..repositories import views
from ..repositories.batch import ClaimWish
from ..repositories.database import Database
from ..repositories.errors import RepositoryError
from ..repositories.gateways import TaskRepository
from ..repositories.limitviews import counters_with_room, paused_queues
from ..repositories.readmodels import HeldTask
from ..repositories.records import TERMINAL_INSTANCE_STATES, MessageRow, TaskRow
from ..repositories.values import pending_messages
from .config import EngineConfig
from .dispatch import Dispatcher
from .events import Applied, RollbackInstance, StartInstance, TaskEnded
from .loops import Loop
from .membership import Membership
from .messages import event_of
from .observers import Observers
from .outcomes import Released
from .plans import PlanCache
from .rows import CONTROL_QUEUE
from .starting import runs_executor
from .state_manager import StateManager
from .transaction import BatchReport, ClaimedTask, Pending, Wishes
from .values import Values
from .wakeup import READY, Announcer, OwnCommits

__all__ = ["TaskScheduler"]

log: Final = logging.getLogger("strataflow.scheduler")
#: Rows of the ready index that are looked at per free slot: some belong to instances locked elsewhere.
_PEEK_PER_SLOT: Final = 4
_MAX_PEEK: Final = 1_000
_DUE_LIMIT: Final = 500
_BREATH_S: Final = 0.002
_PAGE: Final = 1_000
#: Messages between instances that one look finds.
_MESSAGES: Final = 200
Key = tuple[str, str, int]


class TaskScheduler:
    """Implements the writer's `Listener` for one engine."""

    def __init__(
        self,
        config: EngineConfig,
        database: Database,
        registry: ExecutorRegistry,
        plans: PlanCache,
        values: Values,
        *,
        poke: Callable[[], None],
        submit: Callable[[Pending], None],
        lost: Callable[[Membership], None],
        load_plan: Callable[[str, list[Pending]], None],
        ended: Callable[[list[str]], None],
        announcer: Announcer,
        observers: Observers | None,
        state_manager: Callable[[], StateManager],
    ) -> None:
        self._config = config
        self._database = database
        self._registry = registry
        self._plans = plans
        self._values = values
        self._poke = poke
        self._submit = submit
        self._lost = lost
        self._load_plan = load_plan
        self._ended = ended
        self._announcer = announcer
        self._observers = observers
        self._state_manager = state_manager
        self._tasks = TaskRepository(database)
        self.dispatcher: Dispatcher | None = None
        self.membership_of: Callable[[], Membership] | None = None
        #: Attempts of executors this engine holds; each uses a slot.
        self._held: dict[Key, TaskRow] = {}
        #: Batches of this process, and how many of them had been committed when a hint was last heard.
        self._own = OwnCommits()
        #: Everything this engine holds, control nodes included.
        self._mine: set[Key] = set()
        self._compare = False
        self._forget = False
        self._look = True
        self._look_due = True
        self._waiting: int | None = None
        #: Counters of limits that may have room for tasks blocked on them; queues that somebody paused.
        self._freed: set[str] = set()
        self._paused: frozenset[str] = frozenset()
        self._next_wake: int | None = None
        self._queues: tuple[str, ...] = (CONTROL_QUEUE, *(config.queues or ("default",)))
        self._served = frozenset(config.queues) if config.queues is not None else None
        self.accepting = config.executes
        #: True while other processes may be interested in what this one does.
        self.others_alive = True
        self.loop = Loop("scheduler", self._come_round, config.poll_s)

    # --- life

    def start(self) -> None:
        """Begin to look for work; a client never does."""
        if self._config.executes:
            self.loop.start()

    def stop_claiming(self) -> None:
        """Take nothing new; what runs goes on."""
        self.accepting = False

    def stop(self) -> None:
        """End the scheduler's own loop."""
        self.loop.stop()

    @property
    def held(self) -> int:
        """Executor slots in use."""
        return len(self._held)

    @property
    def busy(self) -> bool:
        """Does this engine hold any task, control nodes included?"""
        return bool(self._mine)

    def executors(self) -> frozenset[str]:
        """What this process can execute now."""
        return frozenset(entry.name for entry in self._registry.list_executors())

    def wake(self) -> None:
        """Something may be ready: look now."""
        self._look = self._look_due = True
        self._poke()

    def heard(self, hint: str) -> bool:
        """A hint from another process; False when it was only this process's own commit that was noticed."""
        if self._database.url.dialect == "sqlite":
            own, asks = self._own.noticed()
            if asks:
                self.loop.wake()
            return not own
        if hint == READY:
            self.loop.wake()
        return True

    def _come_round(self) -> float | None:
        """Cheap reads first: an idle engine must not write."""
        early = self._own.early()
        if early is not None:
            return early
        held = list(self._held)  # before the snapshot: what was claimed after it would seem to be nobody's
        with self._database.read() as connection:
            found = views.queues_ready(connection)
            wake = views.next_wake(connection)
            now = views.now(connection) if wake is not None else 0
            stopped = views.asked_to_stop(connection, held) if held else []
            told = pending_messages(connection, _MESSAGES)
            room, self._paused = counters_with_room(connection), paused_queues(connection)
        if stopped and self.dispatcher is not None:
            self.dispatcher.stop_tasks(stopped)  # another process cancelled them: nobody else tells us
        self._deliver(told)
        if self._config.queues is None:
            self._queues = tuple(sorted({CONTROL_QUEUE, "default", *found, *self._plans.queues()}))
        if found or room:
            self._look = True
        self._next_wake = wake
        due = wake is not None and wake <= now
        self._freed |= room
        if found or due or room or self._compare:
            self._look_due = due
            self._poke()
        if wake is None:
            return None
        return min(self._config.poll_s, max(0.001, (wake - now) / 1_000_000))

    def _deliver(self, messages: Iterable[MessageRow]) -> None:
        """Submit what instances told each other; what another process applies meanwhile is applied once."""
        for message in messages:
            self._submit(Pending(event_of(message)))

    # --- the writer's listener

    @property
    def breath_s(self) -> float:
        """SQLite has one write lock and no queue for it: a busy writer would starve the others."""
        return _BREATH_S if self.others_alive and self._database.url.dialect == "sqlite" else 0.0

    def wishes(self, pendings: list[Pending]) -> Wishes:
        """What to claim and promote beside these events."""
        if self._forget:
            self._forget_now()
        if not self.accepting or self.membership_of is None:
            return Wishes()
        if self._compare:
            self._compare_with_database(self.membership_of())
        ending = sum(
            1
            for pending in pendings
            if isinstance(pending.event, TaskEnded)
            and (pending.event.instance_id, pending.event.path, pending.event.attempt) in self._held
        )
        free = max(0, self._config.slots - len(self._held) + ending)
        look = self._look or self._waiting is not None
        claim = None
        if look and free:
            self._look = False
            # Rows of instances that another engine holds are skipped, so look at more when there is another one.
            peek = min(_MAX_PEEK, max(8, free * _PEEK_PER_SLOT if self.others_alive else free))
            served = tuple(queue for queue in self._queues if queue not in self._paused)
            strategy = self._config.strategy
            each = peek if strategy is None else max(peek, strategy.window)
            total = peek if strategy is None else min(_MAX_PEEK, each * len(served))
            freed = tuple(sorted(self._freed))
            claim = ClaimWish(served, tuple(self.executors()), each, freed, total)
            self._freed = set()
        due = _DUE_LIMIT if self._look_due else 0
        self._look_due = False
        suspects = 0 if any(row.crashes >= 2 for row in self._held.values()) else 1
        return Wishes(
            executes=True,
            claim=claim,
            due=due,
            slots=free,
            floor=self._waiting,
            suspects=suspects,
            queues=self._served,
            strategy=self._config.strategy,
        )

    def committed(self, report: BatchReport) -> None:
        """Account for what a batch did, and hand over what it claimed."""
        self._own.committed()
        self._account(report)
        ended = self._remember(report)
        if report.claimed:
            self.execute_task(*report.claimed)
        if report.stopped and self.dispatcher is not None:
            self.dispatcher.stop_tasks(report.stopped)
        if report.messages:
            self._deliver(report.messages)
        if self._observers is not None:
            self._observers.record_batch(report, held=len(self._held))
        if ended:
            self._ended(ended)
        if self.others_alive and (report.waiting is not None or report.freed or ended or report.stopped):
            self._announcer.announce(READY)
        self._plan_next(report)

    def _account(self, report: BatchReport) -> None:
        held = self._held
        self._paused = report.paused
        if report.freed:
            self._freed |= report.freed
            self._look = True
            self._poke()
        for pending, _ in report.answers:
            event = pending.event
            if isinstance(event, TaskEnded):
                key = (event.instance_id, event.path, event.attempt)
                held.pop(key, None)
                self._mine.discard(key)
        for task in report.claimed:
            self._mine.add(_key(task))
            if runs_executor(task.row):
                held[_key(task)] = task.row

    def _remember(self, report: BatchReport) -> list[str]:
        ended: list[str] = []
        for plan, decision in report.decisions:
            instance = decision.instance
            if instance is None:
                continue
            if instance.state in TERMINAL_INSTANCE_STATES:
                ended.append(instance.id)
                self._values.forget(instance.id)
                self._plans.forget(instance.id)
                continue
            self._plans.note(instance.id, plan.definition_id)
            changes = decision.changes
            if self._config.executes and (changes.leaves or changes.scopes or changes.new_leaves):
                self._values.keep(
                    instance.id, instance.gen, (*changes.leaves, *changes.scopes, *changes.new_leaves)
                )
        return ended

    def _plan_next(self, report: BatchReport) -> None:
        if report.peeked:
            self._waiting = report.waiting
        elif report.waiting is not None:
            self._waiting = max(
                report.waiting, self._waiting if self._waiting is not None else report.waiting
            )
        wake = report.wake_at
        if wake is not None and (self._next_wake is None or wake < self._next_wake):
            self._next_wake = wake
            self.loop.wake()
        free = self._config.slots - len(self._held)
        if self.accepting and self._waiting is not None and free > 0 and not report.ready_elsewhere:
            self._poke()
        elif report.ready_elsewhere:
            self._look = True
            self._poke()

    def fenced(self, member: Membership) -> None:
        """The database says this membership is dead."""
        self._lost(member)
        self._forget_now()
        if self._observers is not None:
            self._observers.record_fenced()

    def forget_held(self) -> None:
        """What this engine held is lost or was stopped; any thread may say so, the writer's forgets between batches."""
        self._forget = self._compare = True
        self._poke()

    def _forget_now(self) -> None:
        """On the writer's thread: a batch in flight may have claimed more, which must stop too."""
        self._forget = False
        self._held.clear()
        self._mine.clear()
        self._compare = True
        if self.dispatcher is not None:
            self.dispatcher.drop_soon()

    def unplanned(self, definition_id: str, pendings: list[Pending]) -> None:
        """Load the plan that these events wait for."""
        self._load_plan(definition_id, pendings)

    def reconnected(self) -> None:
        """The writer's connection was lost and is back."""
        self._compare = True
        self._poke()

    def _compare_with_database(self, membership: Membership) -> None:
        self._compare = False
        try:
            self._release_unknown(membership)
        except RepositoryError:
            log.warning(
                "held tasks cannot be compared yet", exc_info=True, extra={"action": "compare_failed"}
            )
            self._compare = True  # the batch goes on: its outcomes must not be lost with this look

    def _release_unknown(self, membership: Membership) -> None:
        """Give back rows that the database gives to this engine and that nothing here executes.

        A commit whose answer was lost claimed them. Runs on the writer's thread, so no batch is in flight.
        """
        after: tuple[str, str] | None = None
        while True:
            with self._database.read() as connection:
                page = views.running_of(connection, membership.id, after=after)
            for held in page:
                if (held.instance_id, held.path, held.attempt) not in self._mine:
                    self._resubmit(held)
            if len(page) < _PAGE:
                return
            after = page[-1].cursor

    def _resubmit(self, held: HeldTask) -> None:
        outcome = Released("its claim was never heard of")
        self._submit(Pending(TaskEnded(held.instance_id, held.path, held.attempt, held.engine, outcome)))

    # --- the names of the seed

    def get_pending_tasks(self, limit: int = 100) -> list[TaskRow]:
        """Ready tasks in the order in which they would be claimed."""
        return self._tasks.pending(limit)

    def schedule_task(self, event: StartInstance) -> Future[Applied]:
        """Make a run's first tasks ready; the future holds the start's answer, after the commit."""
        return self._state_manager().submit(event)

    def execute_task(self, *tasks: ClaimedTask) -> None:
        """Begin tasks that this engine holds now."""
        if self.dispatcher is not None:
            self.dispatcher.accept(list(tasks))

    def retry_task(self, instance_id: str, *nodes: str, reason: str = "retried") -> Future[Applied]:
        """Try again what failed in an ended instance, or the given nodes and all that follows from them."""
        return self._state_manager().submit(RollbackInstance(instance_id, reason, nodes))


def _key(task: ClaimedTask) -> Key:
    return task.row.instance_id, task.row.path, task.row.attempt
