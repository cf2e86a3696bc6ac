"""Limits that compose: which counters a task uses, and whether they let it begin now. Pure.

A counter is a row of `limits`: of everything (`*`), of a queue, an executor, a definition, a node, a key, a pool or a
mutex group. A task takes all of its counters with its claim or none, holds none while it is blocked, and gives back
exactly what it took on every way out of `running`: tasks with crossed limits cannot wait for each other for ever.

Who waits goes before who comes: while tasks are blocked on a counter, a task that has not waited joins them. Two kinds
of tasks would still be passed by for ever, so room is kept for them: for one that needs more of a counter than others,
always; for one that needs several counters at once, during the last fifth of each doubling of the time it has waited.
"""

from __future__ import annotations

import json
from collections import Counter
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
    "Counted",
    "Kept",
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
#: Room is kept so long (microseconds) for one that nobody has looked at again: it may be gone.
_KEPT: Final = 5_000_000
Turn = tuple[int, int, str, str]


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
    #: Who wants it, in the order of the line: priority, since when it waits, instance, path.
    turn: Turn = (0, 0, "", "")


@dataclass(slots=True, frozen=True)
class Refusal:
    """The counter that did not let a task begin; `until` is when its rate will, where that is known."""

    name: str
    reason: str
    until: int | None = None
    #: There is room, only others wait before it.
    passable: bool = False
    #: It needs more than there is: no task that ends will let it in.
    never: bool = False


@dataclass(slots=True, frozen=True)
class Kept:
    """Room of one counter that nobody behind `turn` may take until then."""

    turn: Turn
    weight: int
    until: int


class Counted(dict[str, LimitRow]):
    """Counters of one transaction.

    What one instance gives back, others may take from the next transaction on: the journal is written instance by
    instance, and limits hold at every prefix of it.
    """

    def __init__(self, kept: dict[str, Kept]) -> None:
        super().__init__()
        #: Known to this engine alone, and lost with it.
        self.kept = kept
        #: What instances of this transaction have given back, by counter.
        self.given: Counter[str] = Counter()

    def final(self, name: str) -> LimitRow:
        """The image that is written."""
        row = self[name].copy()
        row.used -= self.given[name]
        return row


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
    since = row.ready_at if row.blocked_at is None else row.blocked_at
    turn = (-row.priority, since or 0, row.instance_id, row.path)
    wants = {name: Want(name, turn=turn) for name in set_by_people if name in control.names}
    for rule in (plan.limits, node.limits if node is not None else None):
        if rule is not None:
            wants |= {want.name: want for want in _wants(rule, row, turn)}
    return [wants[name] for name in sorted(wants)]


def _wants(rule: LimitRule, row: TaskRow, turn: Turn) -> Iterable[Want]:
    found: dict[str, Any] = memo_of(row).get("limits") or {}
    if rule.concurrency is not None or rule.rate is not None:
        key = None if rule.key is None else found.get("key")  # the node's; its definition has none
        name = rule.name if key is None else f"{rule.name}:{key}"
        yield Want(name, 1, rule.concurrency, rule.rate, turn=turn)
    for group in found.get("mutex", ()):
        yield Want(f"mutex:{group}", 1, 1, turn=turn)
    for pool, weight in rule.pools:
        yield Want(f"pool:{pool}", weight, sized=False, turn=turn)


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
        self._given: Counter[str] = Counter()
        #: What is kept as this fold leaves it; None: no longer.
        self._kept: dict[str, Kept | None] = {}
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
            refusal = _refusal(row, want, now, waited=waited, kept=self._kept_before(want, now))
            if refusal is not None:
                if refusal.passable:  # who waits may not be takeable now: a look at the whole line decides
                    self.freed.add(want.name)
                self._keep(wants, want, refusal, now)
                return refusal
        for want in wants:
            row = self.edit(want.name)
            row.used += want.weight
            if (kept := self._kept_of(want.name)) is not None and kept.turn == want.turn:
                self._kept[want.name] = None
            row.updated_at = now
            rate = _rate_of(row, want)
            if rate is not None:
                row.full_at = max(row.full_at, now) + rate.period // rate.count
        return None

    def _kept_of(self, name: str) -> Kept | None:
        if name in self._kept:
            return self._kept[name]
        return self._rows.kept.get(name) if isinstance(self._rows, Counted) else None

    def _kept_before(self, want: Want, now: int) -> int:
        """How much of a counter is kept for one that stands before this one."""
        kept = self._kept_of(want.name)
        return kept.weight if kept is not None and kept.until > now and kept.turn < want.turn else 0

    def _keep(self, wants: list[Want], refused: Want, refusal: Refusal, now: int) -> None:
        """Keep room for one that was refused, if it would be passed by for ever else."""
        if refusal.until is not None or refusal.never:
            return
        if refused.weight > 1:
            self._keep_one(refused, now + _KEPT, now)
        since = refused.turn[1]
        if len(wants) > 1 and (until := _insists_until(since, now)):
            for want in wants:
                self._keep_one(want, until, now)

    def _keep_one(self, want: Want, until: int, now: int) -> None:
        kept = self._kept_of(want.name)
        if kept is None or kept.until <= now or kept.turn >= want.turn:
            self._kept[want.name] = Kept(want.turn, want.weight, until)

    def give(self, held: Iterable[tuple[str, int]], now: int) -> None:
        """Give back what a task took."""
        taken = list(held)
        self.need(name for name, _ in taken)
        for name, weight in taken:
            row = self.edit(name)
            row.used -= weight
            self._given[name] += weight
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
        """Let the next instance of the batch see what was taken; the names of what was changed."""
        self._rows.update(self._changed)
        if isinstance(self._rows, Counted):
            for name, weight in self._given.items():
                self._rows[name].used += weight
            self._rows.given.update(self._given)
            for name, kept in self._kept.items():
                if kept is None:
                    self._rows.kept.pop(name, None)
                else:
                    self._rows.kept[name] = kept
        return list(self._changed)


def _rate_of(row: LimitRow, want: Want) -> Rate | None:
    if row.explicit:
        if row.rate_count is None or row.rate_period is None:
            return None
        return Rate(row.rate_count, row.rate_period, row.burst or 1)
    return want.rate


def _insists_until(since: int, now: int) -> int | None:
    """The end of the last fifth of the present doubling of the time waited; None before that fifth."""
    waited = max(1, now - since)
    doubling = 1 << (waited.bit_length() - 1)
    return since + 2 * doubling if waited >= doubling + doubling * 4 // 5 else None


def _refusal(row: LimitRow, want: Want, now: int, *, waited: bool, kept: int) -> Refusal | None:
    found = _no_room(row, want, kept) or _no_rate(row, want, now, waited=waited)
    if found is None and row.waiting and not waited:
        return Refusal(want.name, f"{want.name}: {row.waiting} wait before it", passable=True)
    return found


def _no_room(row: LimitRow, want: Want, kept: int) -> Refusal | None:
    name, limit = want.name, row.concurrency if row.explicit else want.concurrency
    if limit is None:
        if want.sized or row.explicit:
            return None
        reason = f"nobody has said how large {name} is; `strataflow limits set {name} --concurrency N`"
        return Refusal(name, reason, never=True)
    if want.weight > max(1, limit):
        return Refusal(name, f"it needs {want.weight} of {name}, which has {limit}", never=True)
    if row.used + want.weight > limit:
        return Refusal(name, f"{name}: {row.used} of {limit} in use", never=limit == 0)
    if row.used + want.weight + kept > limit:
        return Refusal(name, f"{name}: {row.used} of {limit} in use, {kept} kept for one that waits longer")
    return None


def _no_rate(row: LimitRow, want: Want, now: int, *, waited: bool) -> Refusal | None:
    rate = _rate_of(row, want)
    if rate is None:
        return None
    interval = rate.period // rate.count
    free_at = row.full_at - (rate.burst - 1) * interval
    ahead = 0 if waited else row.waiting
    if free_at <= now and not ahead:
        return None
    until = max(free_at, now + interval) + ahead * interval  # a place of its own in the line
    return Refusal(want.name, f"{want.name}: its rate is used up", until)
