"""Limits that compose: which counters a task uses, and whether they let it begin now. Pure.

A counter is a row of `limits`: of everything (`*`), of a queue, an executor, a definition, a node, a key, a pool or a
mutex group. A task takes all of its counters with its claim or none, holds none while it is blocked, and gives back
exactly what it took on every way out of `running`: tasks with crossed limits cannot wait for each other for ever.

Who waits goes before who comes: while tasks are blocked on a counter, a task that has not waited joins them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..repositories.records import LimitRow, TaskRow
from .plan import LimitRule, Plan, PlanNode, Rate
from .rows import memo_of

if TYPE_CHECKING:
    from ..repositories.records import QueueRow

__all__ = [
    "GLOBAL",
    "NO_CONTROL",
    "RATE",
    "Control",
    "Ledger",
    "Refusal",
    "Want",
    "counters_of",
    "held_by",
    "is_limited",
]

#: Before a counter's name in `blocked_on`: a timer wakes the task when the rate has room, not a task that ends.
RATE: Final = "~"
#: The counter of every executor's task of the database.
GLOBAL: Final = "*"


@dataclass(slots=True, frozen=True)
class Control:
    """What people have set, as of one number of the `control` setting: counters with numbers, and queues."""

    epoch: int
    #: Names of the counters that somebody has set.
    names: frozenset[str] = frozenset()
    queues: Mapping[str, QueueRow] = field(default_factory=dict["str", "QueueRow"])

    @property
    def paused(self) -> frozenset[str]:
        """Queues of which nothing is taken."""
        return frozenset(name for name, row in self.queues.items() if row.state == "paused")


#: Nothing is set.
NO_CONTROL: Final = Control(-1)


@dataclass(slots=True, frozen=True)
class Want:
    """One counter that a task must take."""

    name: str
    weight: int = 1
    #: What the definition says; numbers that a person has set override it.
    concurrency: int | None = None
    rate: Rate | None = None
    #: A pool that nobody has sized lets nobody in: an unlimited GPU would be a surprise.
    sized: bool = True


@dataclass(slots=True, frozen=True)
class Refusal:
    """The counter that did not let a task begin; `until` is when its rate will, where that is known."""

    name: str
    reason: str
    until: int | None = None


def is_limited(plan: Plan, row: TaskRow, control: Control) -> bool:
    """May any counter apply to this task? Quick, and true rather once too often."""
    if plan.limited:
        return True
    names = control.names
    return bool(names) and (
        GLOBAL in names
        or f"queue:{row.queue}" in names
        or f"executor:{row.executor}" in names
        or f"definition:{plan.name}" in names
    )


def counters_of(plan: Plan, node: PlanNode | None, row: TaskRow, control: Control) -> list[Want]:
    """Every counter that the task must take to begin, by name."""
    set_by_people = (
        GLOBAL,
        f"queue:{row.queue}",
        f"executor:{row.executor}",
        f"definition:{plan.name}",
    )
    wants = {name: Want(name) for name in set_by_people if name in control.names}
    for rule in (plan.limits, node.limits if node is not None else None):
        if rule is not None:
            wants |= {want.name: want for want in _wants(rule, row)}
    return [wants[name] for name in sorted(wants)]


def _wants(rule: LimitRule, row: TaskRow) -> Iterable[Want]:
    found: dict[str, Any] = memo_of(row).get("limits") or {}
    if rule.concurrency is not None or rule.rate is not None:
        key = found.get("key")
        name = rule.name if key is None else f"{rule.name}:{key}"
        yield Want(name, 1, rule.concurrency, rule.rate)
    for group in found.get("mutex", ()):
        yield Want(f"mutex:{group}", 1, 1)
    for pool, weight in rule.pools:
        yield Want(f"pool:{pool}", weight, sized=False)


def held_by(row: TaskRow) -> list[tuple[str, int]]:
    """What the task took with its claim."""
    return [(name, weight) for name, weight in json.loads(row.holds)] if row.holds else []


class Ledger:
    """Counters while one instance folds: what it changes is seen by itself, and by others when `commit` is called."""

    def __init__(self, rows: dict[str, LimitRow], ask: Callable[[tuple[str, ...]], None]) -> None:
        """`rows` were read under their locks; `ask` is called for others and does not return."""
        self._rows = rows
        self._changed: dict[str, LimitRow] = {}
        self._ask = ask
        #: Counters that have room again, and tasks that wait for it.
        self.freed: set[str] = set()

    def need(self, names: Iterable[str]) -> None:
        """Ask for all of these at once that are not at hand."""
        missing = tuple(sorted(name for name in set(names) if name not in self._rows))
        if missing:
            self._ask(missing)

    def edit(self, name: str) -> LimitRow:
        """A counter, ready to be changed."""
        row = self._changed.get(name)
        if row is None:
            self.need((name,))
            row = self._changed[name] = self._rows[name].copy()
        return row

    def take(self, wants: list[Want], now: int, *, waited: bool) -> Refusal | None:
        """Take all, or say which one refuses; who has `waited` on a counter before need not queue behind others."""
        self.need(want.name for want in wants)
        for want in wants:
            row = self._changed.get(want.name) or self._rows[want.name]
            refusal = _refusal(row, want, now, waited=waited)
            if refusal is not None:
                return refusal
        for want in wants:
            row = self.edit(want.name)
            row.used += want.weight
            row.updated_at = now
            rate = _rate_of(row, want)
            if rate is not None:
                row.full_at = max(row.full_at, now) + rate.period // rate.count
        return None

    def give(self, held: Iterable[tuple[str, int]], now: int) -> None:
        """Give back what a task took."""
        taken = list(held)
        self.need(name for name, _ in taken)
        for name, weight in taken:
            row = self.edit(name)
            row.used -= weight
            row.updated_at = now
            if row.waiting:
                self.freed.add(name)

    def wait(self, blocked_on: str, by: int) -> None:
        """One task more, or less, is blocked on a counter."""
        row = self.edit(blocked_on.removeprefix(RATE))
        row.waiting += by
        if by < 0 and row.waiting:
            self.freed.add(row.name)  # the next in line may fit where this one did not

    def commit(self) -> list[str]:
        """Let the next instance of the batch see the changes; the names of what was changed."""
        self._rows.update(self._changed)
        return list(self._changed)


def _rate_of(row: LimitRow, want: Want) -> Rate | None:
    if row.explicit:
        if row.rate_count is None or row.rate_period is None:
            return None
        return Rate(row.rate_count, row.rate_period, row.burst or 1)
    return want.rate


def _refusal(row: LimitRow, want: Want, now: int, *, waited: bool) -> Refusal | None:
    limit = row.concurrency if row.explicit else want.concurrency
    if limit is None and not want.sized and not row.explicit:
        reason = (
            f"nobody has said how large {want.name} is; `strataflow limits set {want.name} --concurrency N`"
        )
        return Refusal(want.name, reason)
    if limit is not None and row.used + want.weight > limit:
        return Refusal(want.name, f"{want.name}: {row.used} of {limit} in use")
    rate = _rate_of(row, want)
    if rate is not None:
        interval = rate.period // rate.count
        free_at = row.full_at - (rate.burst - 1) * interval
        ahead = 0 if waited else row.waiting
        if free_at > now or ahead:
            until = max(free_at, now + interval) + ahead * interval  # a place of its own in the line
            return Refusal(want.name, f"{want.name}: its rate is used up", until)
    if row.waiting and not waited:
        return Refusal(want.name, f"{want.name}: {row.waiting} wait before it")
    return None
