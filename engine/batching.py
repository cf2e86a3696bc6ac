"""What goes into a transaction and what comes out of it: events with their senders, wishes, the report. Data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..repositories.batch import ClaimWish
from ..repositories.records import InstanceRow, MessageRow, TaskRow
from .decide import Decision
from .errors import EngineError
from .events import Applied, Event
from .plan import Plan
from .strategy import ClaimStrategy

__all__ = ["BatchReport", "ClaimedTask", "Pending", "Standing", "Wishes"]

Done = Callable[["Applied | EngineError"], None]


@dataclass(slots=True)
class Pending:
    """An event on its way, and whom to tell."""

    event: Event
    done: Done | None = None


@dataclass(slots=True, frozen=True)
class Wishes:
    """What the scheduler wants of this batch beside the events."""

    #: May new rows be claimed by this engine? False for clients, and while an engine stops.
    executes: bool = False
    claim: ClaimWish | None = None
    #: Due timers to promote, at most.
    due: int = 0
    #: Executor slots that are free, those of the batch's outcomes included.
    slots: int = 0
    #: Tasks with two crashes that may be claimed: they run one at a time per engine.
    suspects: int = 1
    #: Highest priority that the last peek left waiting; None when nobody waited.
    floor: int | None = None
    #: Queues that this engine serves; None = every queue.
    queues: frozenset[str] | None = None
    #: In which order the ready tasks that were found are taken; None = by priority, then by age.
    strategy: ClaimStrategy | None = None


@dataclass(slots=True, frozen=True)
class Standing:
    """Who writes: the engine's id, its batch number (the receipt), its lease time in microseconds, its role."""

    engine_id: str
    batch: int
    ttl: int
    executes: bool
    executors: frozenset[str]


@dataclass(slots=True)
class ClaimedTask:
    """A task this engine holds: everything its execution needs without asking the database for the row again."""

    plan: Plan
    instance: InstanceRow
    row: TaskRow


@dataclass(slots=True)
class BatchReport:
    """What a committed batch did; hints for the loops, the rows are the truth."""

    now: int
    #: Answers for the batch's events, in their order; None where the event waits for its plan.
    answers: list[tuple[Pending, Applied | EngineError]] = field(
        default_factory=list["tuple[Pending, Applied | EngineError]"]
    )
    #: Events whose definition is not loaded: definition id → events.
    unplanned: dict[str, list[Pending]] = field(default_factory=dict[str, list[Pending]])
    claimed: list[ClaimedTask] = field(default_factory=list[ClaimedTask])
    #: (instance, path, attempt) of running tasks that are asked to stop.
    stopped: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    #: Rows this batch wrote, by instance, for the value cache and for listeners.
    decisions: list[tuple[Plan, Decision]] = field(default_factory=list[tuple[Plan, Decision]])
    #: Priority of the best ready task that stays unclaimed as far as this batch saw; None = none seen.
    waiting: int | None = None
    #: True when the ready index was looked at.
    peeked: bool = False
    ready_elsewhere: tuple[str, ...] = ()
    #: Earliest `wake_at` that this batch wrote.
    wake_at: int | None = None
    #: Counters of limits that have room again while tasks wait for them.
    freed: set[str] = field(default_factory=set[str])
    #: Queues that somebody has paused.
    paused: frozenset[str] = frozenset()
    #: What this batch told other instances: to be submitted at once, or found by whoever looks.
    messages: list[MessageRow] = field(default_factory=list[MessageRow])
    #: How long the transaction took, its commit included; 0.0 where nobody measured.
    seconds: float = 0.0
