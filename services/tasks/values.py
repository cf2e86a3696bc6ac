"""What the task system gives out: progress, counts and statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

from .states import TaskState

__all__ = [
    "Progress",
    "ProgressNote",
    "QueueDepth",
    "TaskStatistics",
    "Workers",
]


@dataclass(slots=True, frozen=True)
class Progress:
    """How far a task says it is; 1 when it has succeeded."""

    #: 0 to 1.
    fraction: float = 0.0
    message: str | None = None


@dataclass(slots=True, frozen=True)
class ProgressNote(Progress):
    """What a task said on its way."""

    attempt: int = 0
    #: Microseconds since 1970.
    at: int = 0


@dataclass(slots=True, frozen=True)
class Workers:
    """Attempts that may run at a time on all live processes of the database, and how many do."""

    total: int
    active: int
    #: Live processes that execute.
    processes: int

    @property
    def idle(self) -> int:
        """What is free."""
        return max(0, self.total - self.active)


@dataclass(slots=True, frozen=True)
class QueueDepth:
    """Tasks of one queue."""

    queue: str
    #: Ready, or held back by a limit.
    pending: int
    running: int
    #: An attempt failed, and the next one has not come.
    retrying: int


@dataclass(slots=True, frozen=True)
class TaskStatistics:
    """Counts of the tasks that were submitted since an instant, from the database.

    `submitted` is the sum of `succeeded`, `failed`, `cancelled`, `expired`, `running` and `pending`.
    """

    #: Microseconds since 1970; 0 is everything that is kept.
    since: int = 0
    submitted: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    running: int = 0
    #: Not begun, or between two attempts.
    pending: int = 0
    #: Of the pending ones, those whose time has not come.
    delayed: int = 0
    #: Attempts that failed and were followed by another one.
    retried: int = 0
    #: Attempts that took longer than their timeout.
    timed_out: int = 0
    #: Seconds from the first attempt's start to the end, of those that succeeded; None when there is none.
    mean_duration: float | None = None
    #: Counts by state, every state included.
    by_state: dict[TaskState, int] = field(default_factory=dict[TaskState, int])
