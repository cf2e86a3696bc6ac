"""Why a task is not let in: the limit that refuses it, who holds it, and queues that somebody paused. For `explain`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..engine.limits import NO_CONTROL, RATE, Want, counters_of, held_by
from ..engine.outputs import iso
from ..engine.rows import node_of
from ..repositories import limitviews, queueviews
from ..repositories.records import LimitRow, QueueRow, TaskRow, TaskState
from .limits import numbers_of

if TYPE_CHECKING:
    from ..engine.plan import Plan

__all__ = ["Pace", "Said", "read_pace"]

#: Holders that are named, and counters that are looked at.
_HOLDERS: Final = 5
_COUNTERS: Final = 20


@dataclass(slots=True, frozen=True)
class Said:
    """One reason: kind, text, until when, details."""

    kind: str
    text: str
    until: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True, frozen=True)
class Pace:
    """Queues and counters as they were read."""

    queues: dict[str, QueueRow]
    counters: dict[str, LimitRow]
    holders: dict[str, list[TaskRow]]

    def paused(self, row: TaskRow) -> Said | None:
        """The reason of a task whose queue somebody paused."""
        queue = self.queues.get(row.queue)
        if queue is None or queue.state != "paused" or row.executor is None:
            return None
        why = queue.reason or "no reason given"
        text = (
            f"{row.path} waits in queue {row.queue}, which is paused ({why}); "
            f"`strataflow queues resume {row.queue}`"
        )
        return Said("queue_paused", text, details={"queue": row.queue, "reason": queue.reason})

    def refused(self, plan: Plan, row: TaskRow) -> Said:
        """The reason of a blocked task: which counter, its numbers, who holds it."""
        name = (row.blocked_on or "").removeprefix(RATE)
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
            return Said("pool", f"{row.path} waits for {name}: {size}", details=details)
        if (row.blocked_on or "").startswith(RATE):
            until = iso(row.wake_at)
            text = f"{row.path} waits for {name}: its rate {numbers.rate} is used up until {until}"
            return Said("limit", text, until, details)
        return Said("limit", _full(row, numbers.concurrency, counter, want, details), details=details)


def _full(
    row: TaskRow, most: int | None, counter: LimitRow, want: Want | None, details: dict[str, Any]
) -> str:
    size = f"{counter.used} of {most} in use" if most is not None else f"{counter.used} in use"
    weight = f", and it needs {want.weight}" if want is not None and want.weight > 1 else ""
    names = [f"{each['instance']}/{each['path']}" for each in details["holders"]]
    held = f", held by {', '.join(names)}" if names else ""
    others = counter.waiting - 1
    line = f"; {others} more {'waits' if others == 1 else 'wait'} for it" if others > 0 else ""
    return f"{row.path} waits for {counter.name}: {size}{weight}{held}{line}"


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
    names = list(dict.fromkeys(blocked))[:_COUNTERS]
    counters = {name: row for name in names if (row := limitviews.limit(connection, name)) is not None}
    holders: dict[str, list[TaskRow]] = {}
    for name in counters:
        found = queueviews.holding_tasks(connection, name, limit=2 * _HOLDERS)
        # a database may compare without regard to case
        holders[name] = [row for _, row in found if name in dict(held_by(row))][:_HOLDERS]
    return Pace({row.name: row for row in limitviews.queues(connection)}, counters, holders)
