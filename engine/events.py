"""The events that enter the one write path: what happened, as data. `decide` turns them into transitions.

Every event concerns one instance. Ids and payloads are made by whoever submits the event; the database's clock is read
under the lock and given to `decide` beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .outcomes import NULL, Outcome, Payload

__all__ = [
    "Applied",
    "CancelInstance",
    "Claim",
    "Event",
    "ExecutorMissing",
    "LeaseExpired",
    "LogLineNote",
    "Note",
    "PauseInstance",
    "ResumeInstance",
    "RollbackInstance",
    "StartInstance",
    "TaskEnded",
    "TimerDue",
]


@dataclass(slots=True, frozen=True)
class StartInstance:
    """Begin a run of a definition. `key` makes it idempotent per definition name."""

    instance_id: str
    definition_id: str
    inputs: Payload
    key: str | None = None


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
    """Somebody wants the instance to stop."""

    instance_id: str
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
    """Take an ended instance back.

    `targets` (nodes of the definition's outermost scope) and everything that follows from them is decided again;
    without targets, whatever failed or was cancelled is.
    """

    instance_id: str
    reason: str
    targets: tuple[str, ...] = ()


Event = (
    StartInstance
    | TaskEnded
    | Note
    | Claim
    | TimerDue
    | LeaseExpired
    | ExecutorMissing
    | CancelInstance
    | PauseInstance
    | ResumeInstance
    | RollbackInstance
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
