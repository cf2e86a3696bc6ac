"""What an explanation is made of: reasons, their order, and how lists of names are said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

__all__ = ["START_WORKER", "Explanation", "Reason", "by_weight", "listed", "short"]

#: Reasons whose sentence says most, first.
_ORDER: Final = (
    "ended",
    "paused",
    "cancelling",
    "compensating",
    "mutex",
    "start_at",
    "queue_paused",
    "pool",
    "no_executor",
    "dead_engine",
    "no_engine",
    "not_served",
    "limit",
    "running",
    "signal",
    "child",
    "condition",
    "timer",
    "backoff",
    "room",
    "due",
    "slot",
    "never",
    "dependencies",
)
#: What to do where nobody executes.
START_WORKER: Final = "`strataflow worker` starts one"
#: Names that a sentence lists.
_NAMED: Final = 10
_LONGEST: Final = 160


@dataclass(slots=True, frozen=True)
class Reason:
    """One thing that is waited for."""

    kind: str
    #: The task it holds up; '' for the whole instance.
    path: str
    text: str
    #: Instant (ISO 8601) at which it ends by itself, where that is known.
    until: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True, frozen=True)
class Explanation:
    """Why an instance, or a task, is where it is."""

    instance_id: str
    state: str
    sentence: str
    reasons: tuple[Reason, ...]
    #: True when there were more unfinished tasks than were looked at.
    more: bool = False

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        return {
            "id": self.instance_id,
            "state": self.state,
            "sentence": self.sentence,
            "reasons": [asdict(reason) for reason in self.reasons],
            "more": self.more,
        }


def by_weight(reason: Reason) -> int:
    """Sort key: what says most stands first."""
    return _ORDER.index(reason.kind)


def listed(names: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; of many the first ten and how many more there are."""
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} {word} {len(names) - _NAMED:,} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def short(text: str) -> str:
    """A text of somebody else's as a part of one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
