"""What executing a claimed task may yield: a closed set (DESIGN section 3, step 6)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..executors.base import TaskError

__all__ = [
    "Cancelled",
    "Expanded",
    "Failed",
    "Outcome",
    "Payload",
    "Released",
    "RetryLater",
    "Skipped",
    "Succeeded",
    "Suspended",
]


@dataclass(slots=True, frozen=True)
class Payload:
    """Encoded JSON text, or None for null; `ref` is set when the text goes to `blobs` under that hash."""

    text: str | None = None
    ref: str | None = None


NULL = Payload()


@dataclass(slots=True, frozen=True)
class Succeeded:
    """The attempt's result. `vars` are the variables a `set` node wrote: name → payload."""

    output: Payload = NULL
    vars: dict[str, Payload] = field(default_factory=dict[str, Payload])


@dataclass(slots=True, frozen=True)
class Failed:
    """The attempt failed; whether it is tried again is decided by the node's retry policy."""

    error: TaskError


@dataclass(slots=True, frozen=True)
class RetryLater:
    """The executor asked to be called again after `delay` microseconds; costs no retry."""

    delay: int
    reason: str


@dataclass(slots=True, frozen=True)
class Suspended:
    """A `wait`: come back after `delay` microseconds."""

    delay: int


@dataclass(slots=True, frozen=True)
class Skipped:
    """`when` was false."""

    reason: str = "when"


@dataclass(slots=True, frozen=True)
class Cancelled:
    """The attempt stopped because it was asked to."""

    reason: str = "cancelled"


@dataclass(slots=True, frozen=True)
class Expanded:
    """A map's list: how many items, in pages of JSON text; `concurrency` as evaluated."""

    total: int
    pages: tuple[str, ...]
    concurrency: int | None = None


@dataclass(slots=True, frozen=True)
class Entered:
    """A group's `when` was true: its nodes may start."""


@dataclass(slots=True, frozen=True)
class Released:
    """The engine gives the task back unharmed (shutdown); costs nothing."""

    reason: str = "released"


Outcome = Succeeded | Failed | RetryLater | Suspended | Skipped | Cancelled | Expanded | Entered | Released
