"""In which order an engine takes ready tasks: an extension point. Priority and age decide where nobody says else.

A strategy sees the tasks that a look at the ready index brought, and gives them back in the order in which they are to
be taken; it takes none away. It runs in the writer's thread for every look, so it must be quick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..repositories.records import TaskRow

__all__ = ["ClaimStrategy", "FairShare"]


class ClaimStrategy(Protocol):
    """Orders ready tasks. `window` is how many of each queue it wants to see at least, beyond the free slots."""

    window: int

    def order(self, ready: Sequence[TaskRow]) -> Sequence[TaskRow]:
        """The same tasks, first those to be taken first; they come by priority, then by age."""
        ...


@dataclass(slots=True)
class FairShare:
    """Takes turns between queues, within the same priority: a queue with a thousand tasks holds up none with one.

    Give every tenant a queue of its own. The turns go on from look to look.
    """

    window: int = 0
    _last: str = ""

    def order(self, ready: Sequence[TaskRow]) -> Sequence[TaskRow]:
        """Round robin over the queues, from the one behind the last that had a turn."""
        by_priority: dict[int, dict[str, deque[TaskRow]]] = {}
        for row in ready:
            by_priority.setdefault(row.priority, {}).setdefault(row.queue, deque()).append(row)
        ordered: list[TaskRow] = []
        for priority in sorted(by_priority, reverse=True):
            queues = by_priority[priority]
            names = sorted(queues, key=lambda name: (name <= self._last, name))
            while names:
                for name in list(names):
                    ordered.append(queues[name].popleft())
                    if not queues[name]:
                        names.remove(name)
        if ordered:
            self._last = ordered[0].queue
        return ordered
