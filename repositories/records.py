"""Persisted vocabulary: the states, and the rows as the engine sees them.

The lowest layer, so that everybody may import it without a cycle. It knows no rule: which change of state is legal
stands in `engine/states.py`. Instants are integers: microseconds since 1970 UTC by the database's clock. Payloads are
canonical JSON text (`engine/payload.py` encodes them).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import Final, Self

__all__ = [
    "ACTIVE_INSTANCE_STATES",
    "TERMINAL_INSTANCE_STATES",
    "TERMINAL_TASK_STATES",
    "BlobRow",
    "EngineRole",
    "EngineState",
    "InstanceRow",
    "InstanceState",
    "JournalRow",
    "LogRow",
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
    #: Why the scope starts nothing new: `failed`, `cancelled` or `completed`; None while open.
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
    """The committed value of one variable of one scope."""

    instance_id: str
    scope: str
    name: str
    gen: int
    value: str | None
    value_ref: str | None


@dataclass(slots=True, frozen=True)
class LogRow:
    """One log line of one attempt."""

    instance_id: str
    path: str
    attempt: int
    at: int
    level: str
    message: str


TASK_COLUMNS: Final = tuple(f.name for f in fields(TaskRow))
INSTANCE_COLUMNS: Final = tuple(f.name for f in fields(InstanceRow))
JOURNAL_COLUMNS: Final = tuple(f.name for f in fields(JournalRow))
#: All values at once: copying a row is on the hot path, and `dataclasses.replace` is ten times slower.
_TASK_VALUES: Final = attrgetter(*TASK_COLUMNS)
_INSTANCE_VALUES: Final = attrgetter(*INSTANCE_COLUMNS)
