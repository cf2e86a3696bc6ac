"""What a batch takes: an instance while it folds, ready tasks in their turn, starts unless their queue is full."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ..repositories.batch import Batch, Opening
from ..repositories.records import TaskRow
from .batching import BatchReport, Pending, Wishes
from .decide import Decision
from .draft import Snapshot
from .errors import QueueFull
from .events import Event, StartInstance
from .limits import Control
from .plan import Plan
from .rows import DEFAULT_QUEUE

__all__ = ["Work", "in_turn", "refuse_full"]


@dataclass(slots=True)
class Work:
    """One instance of the batch while it folds."""

    instance_id: str
    pending: list[Pending] = field(default_factory=list[Pending])
    events: list[Event] = field(default_factory=list[Event])
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(None))
    plan: Plan | None = None
    own_claims: int = 0
    internal: bool = False
    decision: Decision | None = None


def in_turn(opening: Opening, wishes: Wishes, control: Control) -> list[TaskRow]:
    """Ready tasks in the order in which they are to be taken, without those of paused queues."""
    ready = opening.ready
    if wishes.strategy is not None and ready:
        ready = list(wishes.strategy.order(ready))
    paused = control.paused
    return [row for row in ready if row.queue not in paused] if paused else ready


def refuse_full(batch: Batch, control: Control, works: dict[str, Work], report: BatchReport) -> None:
    """Starts that would put a task into a queue that is full, as somebody has set it, are refused.

    The tasks that stand in the queue are counted once a batch, up to its bound; what begins later (a successor, a
    delayed start) is never refused.
    """
    sized: Final = {name: row.max_size for name, row in control.queues.items() if row.max_size is not None}
    if not sized:
        return
    depths: Counter[str] = Counter()
    for work in list(works.values()):
        event = work.pending[0].event if work.pending else None
        if not isinstance(event, StartInstance) or work.plan is None or event.message is not None:
            continue
        wanted = Counter(queue for queue in _first_queues(work.plan, event) if queue in sized)
        for queue, count in wanted.items():
            bound = sized[queue]
            if queue not in depths:
                depths[queue] = batch.queue_depth(queue, bound + 1)
            if depths[queue] + count > bound:
                report.answers += [(pending, _full(queue, bound)) for pending in work.pending]
                del works[work.instance_id]
                break
        else:
            depths.update(wanted)


def _first_queues(plan: Plan, event: StartInstance) -> list[str]:
    if event.start_at is not None:
        return []
    first = (plan.root.nodes[name] for name in plan.root.roots)
    return [node.queue or event.queue or DEFAULT_QUEUE for node in first if node.executor is not None]


def _full(queue: str, bound: int) -> QueueFull:
    return QueueFull(
        f"queue {queue!r} is full: it holds {bound} tasks.",
        hint=f"Start it again later, or raise the bound: `strataflow queues set {queue} --max-size N`.",
    )
