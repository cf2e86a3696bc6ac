"""Why a task is not let in: the limit that refuses it, who holds it, and queues that somebody paused. For `explain`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..engine.limits import NO_CONTROL, RATE, Want, counters_of, held_by
from ..engine.outputs import iso
from ..engine.rows import node_of
from ..repositories import limitviews, queueviews
from ..repositories.records import LimitRow, QueueRow, TaskRow, TaskState
from .explain_model import Reason
from .limits import numbers_of

if TYPE_CHECKING:
    from ..engine.plan import Plan

__all__ = ["Pace", "read_pace"]

#: Holders that are named, and counters that are looked at.
_HOLDERS: Final = 5
_COUNTERS: Final = 20
_ROOM: Final = "it has room again, and an engine lets the next ones in at any moment"


@dataclass(slots=True, frozen=True)
class Pace:
    """Queues and counters as they were read."""

    queues: dict[str, QueueRow]
    counters: dict[str, LimitRow]
    holders: dict[str, list[TaskRow]]
    #: Counters that tasks wait for and that were not read: there are too many.
    unread: frozenset[str] = frozenset()

    def paused(self, row: TaskRow) -> Reason | None:
        """The reason of a task whose queue somebody paused."""
        queue = self.queues.get(row.queue)
        if queue is None or queue.state != "paused" or row.executor is None:
            return None
        why = queue.reason or "no reason given"
        text = (
            f"{row.path} waits in queue {row.queue}, which is paused ({why}); "
            f"`strataflow queues resume {row.queue}`"
        )
        return Reason("queue_paused", row.path, text, details={"queue": row.queue, "reason": queue.reason})

    def refused(self, plan: Plan, row: TaskRow, now: int) -> Reason:
        """The reason of a blocked task: which counter, its numbers, who holds it."""
        name = (row.blocked_on or "").removeprefix(RATE)
        if name in self.unread:
            return Reason("limit", row.path, f"{row.path} waits for {name}", details={"counter": name})
        counter = self.counters.get(name) or LimitRow(name)
        wants = counters_of(plan, node_of(plan, row), row, NO_CONTROL)
        want = next((each for each in wants if each.name == name), None)
        numbers = numbers_of(counter, want)
        details = {
            "counter": name,
            "used": counter.used,
            "waiting": counter.waiting,
            "concurrency": numbers.concurrency,
            "rate": numbers.rate,
            "set_by": numbers.set_by,
            "holders": [_holder(name, each) for each in self.holders.get(name, ())],
            "since": iso(row.blocked_at),
        }
        if want is not None and not want.sized and not counter.explicit:
            size = f"nobody has said how large {name} is; `strataflow limits set {name} --concurrency N`"
            return Reason("pool", row.path, f"{row.path} waits for {name}: {size}", details=details)
        if (row.blocked_on or "").startswith(RATE):
            until = iso(row.wake_at)
            if row.wake_at is not None and row.wake_at <= now:
                return Reason("limit", row.path, f"{row.path} waits for {name}: {_ROOM}", details=details)
            text = f"{row.path} waits for {name}: its rate {numbers.rate} is used up until {until}"
            return Reason("limit", row.path, text, until, details)
        return Reason(
            "limit", row.path, _full(row, numbers.concurrency, counter, want, details), details=details
        )


def _full(
    row: TaskRow, most: int | None, counter: LimitRow, want: Want | None, details: dict[str, Any]
) -> str:
    needs = want.weight if want is not None else 1
    if most is None or counter.used + needs <= most:
        return f"{row.path} waits for {counter.name}: {_ROOM}"
    size = f"{counter.used} of {most} in use"
    weight = f", and it needs {needs}" if needs > 1 else ""
    names = [f"{each['instance']}/{each['path']}" for each in details["holders"]]
    held = f", held by {', '.join(names)}" if names else ""
    others = counter.waiting - 1
    line = f"; {others} more {'waits' if others == 1 else 'wait'} for it" if others > 0 else ""
    more = f"; `strataflow limits set {shlex.quote(counter.name)} --concurrency N` lets more in"
    hint = more if counter.explicit else ""
    return f"{row.path} waits for {counter.name}: {size}{weight}{held}{line}{hint}"


def _holder(counter: str, row: TaskRow) -> dict[str, Any]:
    weight = dict(held_by(row)).get(counter, 1)
    since = iso(row.started_at)
    return {"instance": row.instance_id, "path": row.path, "weight": weight, "since": since}


def read_pace(connection: Any, rows: Iterable[TaskRow]) -> Pace:
    """Read what concerns these tasks; of many counters some, each with a few tasks that hold it."""
    waiting = [row for row in rows if row.state in {TaskState.QUEUED, TaskState.BLOCKED}]
    if not waiting:
        return Pace({}, {}, {})
    blocked = [row.blocked_on.removeprefix(RATE) for row in waiting if row.blocked_on is not None]
    every = list(dict.fromkeys(blocked))
    names = every[:_COUNTERS]
    counters = {name: row for name in names if (row := limitviews.limit(connection, name)) is not None}
    holders: dict[str, list[TaskRow]] = {}
    for name in counters:
        found = queueviews.holding_tasks(connection, name, limit=2 * _HOLDERS)
        # a database may compare without regard to case
        holders[name] = [row for _, row in found if name in dict(held_by(row))][:_HOLDERS]
    queues = {row.name: row for row in limitviews.queues(connection)}
    return Pace(queues, counters, holders, frozenset(every[_COUNTERS:]))
