"""Persisted vocabulary: the states, and the rows as the engine sees them.

The lowest layer, so that everybody may import it without a cycle. It knows no rule: which change of state is legal
stands in `engine/states.py`. Instants are integers: microseconds since 1970 UTC by the database's clock. Payloads are
canonical JSON text (`engine/payload.py` encodes them).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from operator import attrgetter
from typing import Final, Self

__all__ = [
    "ACTIVE_INSTANCE_STATES",
    "TERMINAL_INSTANCE_STATES",
    "TERMINAL_TASK_STATES",
    "BlobRow",
    "DefinitionState",
    "EngineRole",
    "EngineState",
    "InstanceRow",
    "InstanceState",
    "JournalRow",
    "LabelRow",
    "LimitRow",
    "LogRow",
    "MessageRow",
    "QueueRow",
    "SignalRow",
    "TaskRow",
    "TaskState",
    "VarRow",
]


class InstanceState(StrEnum):
    """State of one run of a definition (DESIGN section 5)."""

    QUEUED = "queued"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class TaskState(StrEnum):
    """State of one node made real in one instance (DESIGN section 5)."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    RETRYING = "retrying"
    PAUSED = "paused"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class DefinitionState(StrEnum):
    """`active` is what a name alone means; `deprecated` still starts when it is named; `archived` starts no more."""

    DRAFT = "draft"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"


class EngineState(StrEnum):
    """`alive` holds leases; `dead` was declared so by another engine; `stopped` left by itself and owns nothing."""

    ALIVE = "alive"
    DEAD = "dead"
    STOPPED = "stopped"


class EngineRole(StrEnum):
    """`engine` claims and executes; `client` (command line, API process) writes but never claims."""

    ENGINE = "engine"
    CLIENT = "client"


TERMINAL_INSTANCE_STATES: Final = frozenset(
    {
        InstanceState.COMPLETED,
        InstanceState.FAILED,
        InstanceState.CANCELLED,
        InstanceState.EXPIRED,
    }
)
ACTIVE_INSTANCE_STATES: Final = frozenset(InstanceState) - TERMINAL_INSTANCE_STATES
TERMINAL_TASK_STATES: Final = frozenset(
    {
        TaskState.COMPLETED,
        TaskState.FAILED,
        TaskState.SKIPPED,
        TaskState.CANCELLED,
        TaskState.EXPIRED,
    }
)


@dataclass(slots=True)
class InstanceRow:
    """One run of a definition: the row that is locked for everything the run owns."""

    #: UUIDv7 as text.
    id: str
    #: The immutable definition version this run is pinned to.
    definition_id: str
    #: Name and version of that definition, repeated here for lists.
    name: str
    version: int
    state: InstanceState
    #: Idempotency key of the start, unique per definition name; None without one.
    key: str | None
    #: Generation; raised by rollback. Rows of an older generation count as absent.
    gen: int
    #: How many scopes of this run still have rows to sweep; while above 0 a claim also looks at the scopes.
    sweeps: int
    #: Inputs as JSON text; None when they are kept in `blobs` under `inputs_ref`.
    inputs: str | None
    inputs_ref: str | None
    #: Why the state is what it is, when that is not plain: who cancelled, why it was set aside.
    reason: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    #: The flow task that started this run, and how many runs stand above it.
    parent_id: str | None = None
    parent_path: str | None = None
    depth: int = 0
    #: At most one live run per definition name and mutex.
    mutex: str | None = None
    #: JSON object of texts; `labels` rows repeat them for filters.
    labels: str | None = None
    #: Not before; and when it has not begun by then, it expires.
    start_at: int | None = None
    expires_at: int | None = None
    #: Raised with every write of a variable.
    vars_rev: int = 0
    #: Queue and priority of its tasks whose nodes say none.
    queue: str | None = None
    priority: int | None = None
    #: The instant of the schedule's firing that started it.
    scheduled_for: int | None = None

    def copy(self) -> Self:
        """The same values in a row of its own."""
        return type(self)(*_INSTANCE_VALUES(self))


@dataclass(slots=True)
class TaskRow:
    """One node made real in one instance, addressed by `(instance_id, path)`.

    A scope (the instance itself at path '', a map, a group, a map item with nodes) is a task row too; it alone uses
    `open, total, next, width, done, failed, skipped, closed, cursor`.
    """

    instance_id: str
    path: str
    #: Path of the scope that owns this row; None for the root.
    scope: str | None
    #: Executor name; None for a control node, which needs no executor slot.
    executor: str | None
    gen: int
    state: TaskState
    #: Number of the last claim, from 1; 0 before the first. Never reused. With `engine` the fencing token.
    attempt: int
    #: Failed attempts that count against `retry.max`.
    failures: int
    #: Attempts that ended because their engine died.
    crashes: int
    #: The engine that holds the row; set exactly while `running`.
    engine: str | None
    queue: str
    #: Higher runs first.
    priority: int
    #: Since when the row may be claimed; set exactly while `queued`.
    ready_at: int | None
    #: When an engine must look at the row: timer, backoff, deadline, sweep.
    wake_at: int | None
    #: Dependencies that have not ended yet; used while `pending`.
    remaining: int
    #: Child rows that have not come to rest.
    open: int
    #: Map: number of items, fixed by the expansion.
    total: int | None
    #: Map: index of the next item to make.
    next: int
    #: Map: how many items may be unfinished at a time (`concurrency`); None without a limit.
    width: int | None
    #: Map: items ended completed, failed, skipped.
    done: int
    failed: int
    skipped: int
    #: Why the scope starts nothing new: `failed`, `expired`, `cancelled`, `terminated`, `completed`; `handling` and
    #: `ending` while a handler or `finally` runs; None while open. On an ended row: `late`, `handled`, `continued`,
    #: `undo`, `undone`.
    closed: str | None
    #: Last path that the sweep of a closed scope has handled.
    cursor: str | None
    #: Result as JSON text; None when null, absent, or kept in `blobs` under `output_ref`.
    output: str | None
    #: Hash of a large output; `@items` or `@leaves` for an output that is read from the child rows.
    output_ref: str | None
    #: Error object as JSON text.
    error: str | None
    started_at: int | None
    ended_at: int | None
    #: What a claim that runs no executor evaluates: None = the beginning, `output`, `turn`, `check`, `handler`.
    phase: str | None = None
    #: After this instant the node fails with `deadline`.
    deadline_at: int | None = None
    #: Name of the signal it waits for, or `@vars` for a condition.
    awaits: str | None = None
    #: JSON object of what only few rows need (`engine/rows.py` names the keys).
    memo: str | None = None
    #: Map, parallel: children that failed and count as met all the same (`continue`).
    excused: int = 0
    #: The limit that refused it, and since when it would have been ready; both set exactly while `blocked`.
    blocked_on: str | None = None
    blocked_at: int | None = None
    #: What it took of limits when it was claimed, as JSON `[[name, weight], …]`; given back when it stops running.
    holds: str | None = None

    def copy(self) -> Self:
        """The same values in a row of its own."""
        return type(self)(*_TASK_VALUES(self))


@dataclass(slots=True, frozen=True)
class JournalRow:
    """One transition. `seq` is drawn by the database and follows commit order within an instance."""

    instance_id: str
    #: None for a transition of the instance itself.
    path: str | None
    gen: int
    attempt: int
    #: None when the row is born with this transition.
    from_state: str | None
    to_state: str
    reason: str
    at: int
    #: The engine that wrote it.
    engine: str | None


@dataclass(slots=True, frozen=True)
class BlobRow:
    """A payload kept apart: a large value under its SHA-256, or one page of a map's items."""

    instance_id: str
    key: str
    body: str


@dataclass(slots=True, frozen=True)
class VarRow:
    """One writer's value of one variable of one scope; the highest `rev` is the variable's value."""

    instance_id: str
    scope: str
    name: str
    #: Path of the `set` that wrote it; '' for a loop's variable, of which only the last value is kept.
    writer: str
    #: The instance's `vars_rev` with this write.
    rev: int
    gen: int
    value: str | None
    value_ref: str | None


@dataclass(slots=True, frozen=True)
class SignalRow:
    """A message to an instance, parked until a wait takes it."""

    instance_id: str
    #: Given by the sender: the same id again is the same signal.
    id: str
    name: str
    value: str | None
    value_ref: str | None
    at: int
    #: Path of the wait that took it.
    consumed_by: str | None = None
    #: Drawn by the database; 0 before it is written.
    seq: int = 0


@dataclass(slots=True, frozen=True)
class MessageRow:
    """What one instance's transaction tells another instance; deleted by the transaction that applies it."""

    #: The instance it is for; it need not exist yet.
    instance_id: str
    #: Unique per target: who says it, and which time.
    source: str
    #: `start`, `ended`, `cancel`, `terminate`, `wake`.
    kind: str
    body: str
    at: int


@dataclass(slots=True, frozen=True)
class LabelRow:
    """One label of one instance."""

    instance_id: str
    name: str
    value: str


@dataclass(slots=True, frozen=True)
class LogRow:
    """One log line of one attempt."""

    instance_id: str
    path: str
    attempt: int
    at: int
    level: str
    message: str


@dataclass(slots=True)
class LimitRow:
    """One counter: of a queue, an executor, a node, a key, a pool, a mutex group."""

    name: str
    #: How much may be held at once; None = any amount. Only what a person has set; else the node's own number counts.
    concurrency: int | None = None
    #: At most so many begin per period (microseconds), so many of them at once.
    rate_count: int | None = None
    rate_period: int | None = None
    burst: int | None = None
    #: 1 when a person has set the numbers: they override what definitions say.
    explicit: int = 0
    #: What running tasks hold together.
    used: int = 0
    #: Tasks that are blocked on it.
    waiting: int = 0
    #: When the rate's bucket is full again (microseconds): the state of a generic cell rate algorithm.
    full_at: int = 0
    updated_at: int = 0

    def copy(self) -> Self:
        """The same values in a row of its own."""
        return replace(self)


@dataclass(slots=True, frozen=True)
class QueueRow:
    """What a person has set for a queue; a queue without a row is active and without a bound."""

    name: str
    state: str = "active"
    #: Most ready tasks; a start whose first tasks would go beyond is refused.
    max_size: int | None = None
    reason: str | None = None
    updated_at: int = 0


TASK_COLUMNS: Final = tuple(f.name for f in fields(TaskRow))
INSTANCE_COLUMNS: Final = tuple(f.name for f in fields(InstanceRow))
JOURNAL_COLUMNS: Final = tuple(f.name for f in fields(JournalRow))
#: All values at once: copying a row is on the hot path, and `dataclasses.replace` is ten times slower.
_TASK_VALUES: Final = attrgetter(*TASK_COLUMNS)
_INSTANCE_VALUES: Final = attrgetter(*INSTANCE_COLUMNS)
