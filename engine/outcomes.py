"""What executing a claimed task may yield: a closed set (DESIGN section 3, step 6)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..executors.base import TaskError

__all__ = [
    "Cancelled",
    "Chose",
    "Entered",
    "Expanded",
    "Failed",
    "Limited",
    "Outcome",
    "Payload",
    "Received",
    "Released",
    "RetryLater",
    "Skipped",
    "Started",
    "Succeeded",
    "Suspended",
    "Turned",
    "is_internal",
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
class Limited:
    """Which counters a task with evaluated limits uses: the text of its key, the names of its mutex groups."""

    key: str | None
    mutex: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Suspended:
    """A `wait`: come back after `delay` microseconds, or at the instant `until`, or when what it `awaits` comes.

    `timeout` counts from the first suspension. `seen` is how far the evaluation looked: the highest `seq` of a signal,
    or the instance's `vars_rev`; what came since makes the wait look again.
    """

    delay: int | None = None
    until: int | None = None
    awaits: str | None = None
    timeout: int | None = None
    seen: int = 0


@dataclass(slots=True, frozen=True)
class Received:
    """A `wait` takes this parked signal; `output` is what the node makes of its payload."""

    signal_id: str
    output: Payload = NULL


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
    """A list was evaluated: how many items, in pages of JSON text; `concurrency` as evaluated.

    A loop's `for` has pages, its `times` none; a parallel's `total` is its number of branches.
    """

    total: int
    pages: tuple[str, ...]
    concurrency: int | None = None
    #: Keys of the items, in pages like them; empty without `key`.
    keys: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Turned:
    """A `while` or `until` was evaluated: does the loop turn (again)?"""

    again: bool


@dataclass(slots=True, frozen=True)
class Chose:
    """A switch's case: "0", "1", …, "else", or None when no case holds."""

    case: str | None


@dataclass(slots=True, frozen=True)
class Started:
    """A flow's child instance, to be started with these inputs."""

    child_id: str
    definition_id: str
    name: str
    version: int
    inputs: Payload
    detach: bool = False
    #: Labels that it has beside its definition's.
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, frozen=True)
class Entered:
    """A group's `when` was true: its nodes may start."""


@dataclass(slots=True, frozen=True)
class Released:
    """The engine gives the task back unharmed (shutdown); costs nothing."""

    reason: str = "released"


Outcome = (
    Succeeded
    | Failed
    | RetryLater
    | Limited
    | Suspended
    | Received
    | Skipped
    | Cancelled
    | Expanded
    | Turned
    | Chose
    | Started
    | Entered
    | Released
)


def is_internal(outcome: Outcome) -> bool:
    """Did the attempt fail because of the engine itself?"""
    return isinstance(outcome, Failed) and outcome.error.code == "internal"
