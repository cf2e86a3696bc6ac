"""In which order a worker takes from its queues: as they were listed, and within one by priority and age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ...repositories.records import TaskRow

__all__ = ["ListedOrder"]

_FIRST: Final = -1


@dataclass(slots=True)
class ListedOrder:
    """A claim strategy: nothing of a queue while there is something in one that was listed before it."""

    queues: Sequence[str]
    #: The head of every queue is looked at anyway.
    window: int = 0
    _rank: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._rank = {name: place for place, name in enumerate(dict.fromkeys(self.queues))}

    def order(self, ready: Sequence[TaskRow]) -> Sequence[TaskRow]:
        """By queue; they come by priority and age, which holds within a queue. What runs no handler goes first."""
        return sorted(ready, key=lambda row: self._rank.get(row.queue, _FIRST))
