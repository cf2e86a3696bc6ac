"""Reads and locks the counters of limits for one transaction, and knows what people have set. For `transaction`.

What certainly will be needed is locked once, in the order of the names, after the instances and before deciding
(DESIGN section 3a, step 3). What a fold finds out later is locked then; that is rare, and two transactions that wait
for each other over it are told so by the database and try again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..repositories.batch import Batch
from ..repositories.errors import Retryable
from ..repositories.records import LimitRow, TaskRow
from .limits import NO_CONTROL, Control, Counted, Kept, counters_of, held_by, is_limited
from .plan import Plan
from .rows import node_of
from .starting import runs_executor

__all__ = ["Counters"]

#: A counter that nobody uses may be deleted between making and locking it.
_TRIES: Final = 3


class Counters:
    """One per writer; `begin` starts it anew for each transaction."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._now = 0
        self._dirty: dict[str, None] = {}
        self.control: Control = NO_CONTROL
        self._kept: dict[str, Kept] = {}
        self.rows = Counted(self._kept)

    def begin(self, epoch: int, now: int) -> None:
        """A new transaction: nothing is locked; read what people have set if that has changed."""
        self._now = now
        self.rows = Counted(self._kept)
        self._dirty = {}
        for name in [name for name, kept in self._kept.items() if kept.until <= now]:
            del self._kept[name]
        if epoch != self.control.epoch:
            names, queues = self._batch.read_control()
            self.control = Control(epoch, frozenset(names), {queue.name: queue for queue in queues})

    def foresee(self, tasks: Iterable[tuple[Plan, TaskRow]]) -> None:
        """Lock what claims and ends of these tasks will need."""
        names: set[str] = set()
        for plan, row in tasks:
            if row.holds is not None:
                names.update(name for name, _ in held_by(row))
            elif row.blocked_on is not None or (runs_executor(row) and is_limited(plan, row, self.control)):
                names.update(want.name for want in counters_of(plan, node_of(plan, row), row, self.control))
        self.lock(names)

    def lock(self, names: Iterable[str]) -> None:
        """Lock counters that are not locked yet."""
        wanted = set(names)
        for _ in range(_TRIES):
            missing = sorted(wanted - self.rows.keys())
            if not missing:
                return
            for row in self._batch.lock_limits(missing, self._now):
                self.rows[row.name] = row
        raise Retryable(f"counters {', '.join(sorted(wanted))} could not be locked")

    def note(self, names: Iterable[str]) -> None:
        """These were changed by a fold that is done."""
        self._dirty.update(dict.fromkeys(names))

    def changed(self) -> list[LimitRow]:
        """Final images, one per counter."""
        return [self.rows.final(name) for name in sorted(self._dirty)]
