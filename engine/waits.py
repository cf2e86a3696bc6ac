"""Waits: for a time, a signal, a condition over variables. Pure; called by `attempts` and `lifecycle`.

A wait holds nothing: its row is `waiting` with a timer or the name of what it awaits. Whoever evaluated says how far
it looked (`seen`); what came in between, under the lock, makes the wait look again, so nothing is missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..repositories.records import TERMINAL_INSTANCE_STATES, SignalRow, TaskRow, TaskState
from .errors import Conflict, NotFound
from .events import Applied, SignalInstance
from .outcomes import Received, Suspended
from .plan import PlanNode
from .rows import VARS, error_text, memo_of, node_of, remember
from .states import TaskEvent

if TYPE_CHECKING:
    from .draft import Draft
    from .ripple import Ripple

__all__ = ["look_again", "received", "signalled", "suspended", "wait_due"]


def suspended(ripple: Ripple, row: TaskRow, outcome: Suspended) -> None:
    """A wait begins, or goes on because what came did not match."""
    draft = ripple.draft
    if ripple.is_stopped(row):
        ripple.ended(draft.move(row, TaskEvent.CANCEL, "scope closed"))
        return
    row = draft.edit(row.path, counters=True)
    draft.move(row, TaskEvent.SUSPEND, _for_what(outcome))
    row.phase = "check" if outcome.awaits is not None else "wait"
    if outcome.timeout is not None and "timeout_at" not in memo_of(row):
        remember(row, timeout_at=draft.now + outcome.timeout)
    at = outcome.until if outcome.delay is None else draft.now + outcome.delay
    timeout_at = memo_of(row).get("timeout_at")
    row.wake_at = min((t for t in (at, timeout_at) if t is not None), default=None)
    row.awaits = outcome.awaits
    if _came_since(draft, outcome):
        ripple.evaluate(row, "check", "it came meanwhile")


def _for_what(outcome: Suspended) -> str:
    if outcome.awaits is None:
        return "timer"
    return "condition" if outcome.awaits == VARS else f"signal {outcome.awaits}"


def _came_since(draft: Draft, outcome: Suspended) -> bool:
    if outcome.awaits is None:
        return False
    if outcome.awaits == VARS:
        return draft.instance.vars_rev != outcome.seen
    # one of this fold has no number yet
    return any(signal.seq > outcome.seen or signal.seq == 0 for signal in _parked(draft, outcome.awaits))


def _parked(draft: Draft, name: str) -> list[SignalRow]:
    """Signals of a name that no wait has taken, as they stand in this fold."""
    changes = draft.changes
    taken = {signal_id for _, signal_id, _ in changes.consumed}
    stored = cast("list[SignalRow]", draft.ask(("signals", name)))
    fresh = [signal for signal in changes.signals if signal.name == name]
    return [signal for signal in (*stored, *fresh) if signal.id not in taken]


def received(ripple: Ripple, row: TaskRow, outcome: Received) -> None:
    """A wait takes a signal, unless another wait was quicker."""
    draft = ripple.draft
    node = node_of(ripple.plan, row)
    name = node.wait.signal if node is not None and node.wait is not None else None
    row = draft.edit(row.path, counters=True)
    if not any(signal.id == outcome.signal_id for signal in _parked(draft, name or "")):
        ripple.evaluate(row, "check", "another wait took the signal")
        return
    draft.changes.consumed.append((row.instance_id, outcome.signal_id, row.path))
    row.output, row.output_ref = draft.store(outcome.output)
    ripple.ended(draft.move(row, TaskEvent.SUCCEED, f"signal {name}"))


def wait_due(ripple: Ripple, row: TaskRow, node: PlanNode) -> None:
    """The wait's timer: it is over, it timed out, or its condition is looked at again."""
    draft = ripple.draft
    timeout_at = memo_of(row).get("timeout_at")
    row = draft.edit(row.path, counters=True)
    if row.closed is not None:
        row.wake_at = None
    elif timeout_at is not None and timeout_at <= draft.now:
        remember(row, timeout=(node.wait is not None and node.wait.on_timeout is not None) or None)
        row.wake_at = row.awaits = None
        row.error = error_text(
            "timeout", f"{node.name or row.path!r} waited in vain", node=node.name, path=row.path, attempt=0
        )
        ripple.failures.fail(row, "timeout")
    elif row.awaits is not None:
        ripple.evaluate(row, "check", "time to look again")
    elif node.output is not None:
        ripple.evaluate(row, "output", "timer over")
    else:
        ripple.ended(draft.move(row, TaskEvent.SUCCEED, "timer over"))


def look_again(ripple: Ripple, awaits: str) -> None:
    """Waits for this signal, or conditions over variables, are evaluated anew."""
    draft = ripple.draft
    stored = cast("list[TaskRow]", draft.ask(("awaiting", awaits)))
    paths = dict.fromkeys(row.path for row in (*stored, *draft.changed()) if row.awaits == awaits)
    for path in paths:
        row = draft.row(path)
        if row is not None and row.awaits == awaits and row.state is TaskState.WAITING and row.closed is None:
            ripple.evaluate(row, "check", "variables changed" if awaits == VARS else f"signal {awaits}")


def signalled(ripple: Ripple, event: SignalInstance) -> Applied:
    """Keep the signal for whoever waits, or will wait, for it; the same id again changes nothing."""
    draft = ripple.draft
    if not draft.has_instance:
        raise NotFound(f"there is no instance {event.instance_id}.")
    if draft.instance.state in TERMINAL_INSTANCE_STATES:
        raise Conflict(
            f"instance {event.instance_id} has ended {draft.instance.state}: nobody will take a signal.",
            hint="`strataflow status` shows how it ended.",
        )
    known = any(signal.id == event.signal_id for signal in draft.changes.signals)
    if known or draft.ask(("signal", event.signal_id)):
        return Applied("existing", event.instance_id)
    text, ref = draft.store(event.payload)
    draft.changes.signals.append(
        SignalRow(event.instance_id, event.signal_id, event.name, text, ref, draft.now)
    )
    look_again(ripple, event.name)
    return Applied("accepted", event.instance_id)
