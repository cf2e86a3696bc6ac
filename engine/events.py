"""The events that enter the one write path: what happened, as data. `decide` turns them into transitions.

Every event concerns one instance. Ids and payloads are made by whoever submits the event; the database's clock is read
under the lock and given to `decide` beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..repositories.records import MessageRow, TaskRow
from .outcomes import NULL, Outcome, Payload

__all__ = [
    "Applied",
    "CancelInstance",
    "ChildEnded",
    "Claim",
    "Event",
    "ExecutorMissing",
    "ForkInstance",
    "LeaseExpired",
    "LogLineNote",
    "MigrateInstance",
    "MoveTask",
    "Note",
    "PauseInstance",
    "ResumeInstance",
    "RollbackInstance",
    "SignalInstance",
    "StartInstance",
    "TaskEnded",
    "TerminateInstance",
    "TimerDue",
    "WakeInstance",
]


@dataclass(slots=True, frozen=True)
class StartInstance:
    """Begin a run of a definition. `key` makes it idempotent per definition name.

    `mutex`: at most one live run per definition name and mutex; `on_duplicate` says what a second start does.
    """

    instance_id: str
    definition_id: str
    inputs: Payload
    key: str | None = None
    mutex: str | None = None
    on_duplicate: Literal["return_existing", "reject", "queue"] = "return_existing"
    labels: tuple[tuple[str, str], ...] = ()
    #: Not before this instant; and expired when it has not begun by `expires_at` (microseconds).
    start_at: int | None = None
    expires_at: int | None = None
    #: Queue and priority of its tasks whose nodes say none.
    queue: str | None = None
    priority: int | None = None
    #: The instant of the schedule's firing that starts it.
    scheduled_for: int | None = None
    #: The flow task that starts it.
    parent_id: str | None = None
    parent_path: str | None = None
    depth: int = 0
    #: `source` of the message that asked for it; deleted with the start.
    message: str | None = None


@dataclass(slots=True, frozen=True)
class LogLineNote:
    """One log line: instant (microseconds, this machine's clock), level, text."""

    at: int
    level: str
    message: str


@dataclass(slots=True, frozen=True)
class TaskEnded:
    """An attempt's outcome, from the engine that holds the task."""

    instance_id: str
    path: str
    attempt: int
    engine: str
    outcome: Outcome
    logs: tuple[LogLineNote, ...] = ()


@dataclass(slots=True, frozen=True)
class Note:
    """Log lines, progress or a checkpoint of a running attempt; fenced like an outcome."""

    instance_id: str
    path: str
    attempt: int
    engine: str
    logs: tuple[LogLineNote, ...] = ()
    fraction: float | None = None
    message: str | None = None
    checkpoint: str | None = None
    #: Details of a heartbeat.
    beat: str | None = None
    #: A run that the attempt starts.
    spawned: MessageRow | None = None


@dataclass(slots=True, frozen=True)
class Claim:
    """This engine would take the ready task."""

    instance_id: str
    path: str


@dataclass(slots=True, frozen=True)
class TimerDue:
    """The task's `wake_at` has come."""

    instance_id: str
    path: str


@dataclass(slots=True, frozen=True)
class MoveTask:
    """Somebody gives a ready task another place in its queue: its priority, and since when it counts as ready.

    No transition, so it leaves no row in the journal. A task that is not queued any more is left as it is (`ignored`).
    """

    instance_id: str
    path: str
    priority: int
    #: Microseconds; of two tasks of the same priority the smaller one is taken first.
    ready_at: int


@dataclass(slots=True, frozen=True)
class LeaseExpired:
    """The engine that held this attempt is no longer alive."""

    instance_id: str
    path: str
    attempt: int
    engine: str


@dataclass(slots=True, frozen=True)
class ExecutorMissing:
    """No live engine has had the task's executor for longer than the grace."""

    instance_id: str
    path: str
    executor: str


@dataclass(slots=True, frozen=True)
class CancelInstance:
    """Somebody wants the instance to stop; what still runs after `grace` microseconds is given up."""

    instance_id: str
    reason: str
    grace: int | None = None
    message: str | None = None


@dataclass(slots=True, frozen=True)
class TerminateInstance:
    """End it now: running attempts are given up, no handler and no `finally` runs."""

    instance_id: str
    reason: str
    message: str | None = None


@dataclass(slots=True, frozen=True)
class SignalInstance:
    """A named message for the instance's waits; the same `signal_id` again is the same signal."""

    instance_id: str
    signal_id: str
    name: str
    payload: Payload = NULL


@dataclass(slots=True, frozen=True)
class ChildEnded:
    """The run that a flow task started has ended."""

    instance_id: str
    path: str
    child_id: str
    #: The child's final state.
    state: str
    output: Payload = NULL
    #: Error object of a child that did not complete, as JSON text.
    error: str | None = None
    message: str | None = None


@dataclass(slots=True, frozen=True)
class WakeInstance:
    """What a queued start waits for may be free now."""

    instance_id: str
    message: str | None = None


@dataclass(slots=True, frozen=True)
class ForkInstance:
    """Begin a run that takes over what another run has already done.

    `kept` are its finished rows of the outermost scope; everything below them is copied with them. `outputs` replaces
    outputs of kept nodes.
    """

    instance_id: str
    definition_id: str
    inputs: Payload
    source_id: str
    kept: tuple[TaskRow, ...]
    outputs: tuple[tuple[str, Payload], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, frozen=True)
class MigrateInstance:
    """Pin a run to another version of its definition; `engine/migration.py` says when that is safe."""

    instance_id: str
    definition_id: str
    reason: str


@dataclass(slots=True, frozen=True)
class PauseInstance:
    """Somebody wants the instance to take nothing new; what runs goes on."""

    instance_id: str
    reason: str


@dataclass(slots=True, frozen=True)
class ResumeInstance:
    """Somebody wants a paused instance to go on."""

    instance_id: str
    reason: str


@dataclass(slots=True, frozen=True)
class RollbackInstance:
    """Take an instance back.

    `targets` (task paths) and everything that follows from them is decided again; without targets, whatever failed
    or was cancelled is.
    """

    instance_id: str
    reason: str
    targets: tuple[str, ...] = ()
    #: First undo what will be decided again.
    compensate: bool = False


Event = (
    StartInstance
    | TaskEnded
    | Note
    | Claim
    | TimerDue
    | MoveTask
    | LeaseExpired
    | ExecutorMissing
    | CancelInstance
    | PauseInstance
    | ResumeInstance
    | RollbackInstance
    | TerminateInstance
    | SignalInstance
    | ChildEnded
    | WakeInstance
    | ForkInstance
    | MigrateInstance
)


@dataclass(slots=True, frozen=True)
class Applied:
    """What became of one event.

    `accepted`, `stale` (the sender no longer holds the task), `ignored` (nothing to do any more) or `existing` (a
    keyed start found `instance_id` already there).
    """

    status: str
    instance_id: str
    payload: Payload = field(default=NULL)
