"""Why one task that has a row is where it is: one reason for each state. For `explain`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ..engine.outputs import iso
from ..engine.plan import PlanNode, address_of
from ..engine.rows import VARS, memo_of
from ..engine.starting import runs_executor
from ..repositories.records import TERMINAL_INSTANCE_STATES, TaskRow, TaskState
from .explain_model import START_WORKER, Reason, short

if TYPE_CHECKING:
    from ..engine.plan import WaitRule
    from ..repositories.readmodels import EngineView
    from .explain_facts import Facts

__all__ = ["reason_of"]

#: An engine with a free slot that serves a queue takes a task sooner than this (microseconds).
_SOON: Final = 3_000_000


def reason_of(facts: Facts, row: TaskRow) -> Reason | None:  # noqa: PLR0911 - one case a state
    """What an unfinished task waits for; None for a container: what is inside it says more."""
    node = facts.plan.nodes.get(address_of(row.path))
    match row.state:
        case TaskState.PENDING:
            return None if node is None else facts.waits_for_nodes(row.path, node)
        case TaskState.QUEUED:
            return _queued(facts, row)
        case TaskState.BLOCKED:
            return _parked(facts, row) or facts.pace.paused(row) or _blocked(facts, row)
        case TaskState.RUNNING:
            return _running(facts, row)
        case TaskState.RETRYING:
            return _retrying(facts, row, node)
        case TaskState.PAUSED:
            return Reason("paused", row.path, f"{row.path} is parked: its instance is paused")
        case TaskState.WAITING:
            return None if node is None or row.closed is not None else _waiting(facts, row, node)
        case _:
            return None


def _parked(facts: Facts, row: TaskRow) -> Reason | None:
    """A pause rewrites nothing: what was ready before is parked by the first engine that meets it."""
    if not facts.is_paused:
        return None
    return Reason("paused", row.path, f"{row.path} is ready, but its instance is paused")


def _queued(facts: Facts, row: TaskRow) -> Reason:
    parked = _parked(facts, row) or facts.pace.paused(row)
    if parked is not None:
        return parked
    since, alive = iso(row.ready_at), facts.fleet.alive
    if not alive:
        text = f"no engine runs on this database ({row.path} is ready since {since}); {START_WORKER}"
        return Reason("no_engine", row.path, text)
    if not runs_executor(row):
        text = f"{row.path} is ready since {since} to be evaluated: an engine takes it at any moment"
        return Reason("due", row.path, text, details={"since": since})
    able = facts.fleet.able(row.executor)
    return _slot(facts, row, able) if able else _no_executor(facts, row)


def _no_executor(facts: Facts, row: TaskRow) -> Reason:
    since, last = iso(row.ready_at), iso(facts.fleet.last_with(row.executor))
    before = f"the last one that had it ended at {last}" if last else "no known engine ever had it"
    text = (
        f"no live engine has the executor {row.executor} that {row.path} needs (ready since {since}; {before}); "
        "start a worker that has it: `strataflow worker --import MODULE`"
    )
    details = {"executor": row.executor, "since": since, "last_engine_ended": last}
    return Reason("no_executor", row.path, text, details=details)


def _slot(facts: Facts, row: TaskRow, able: list[EngineView]) -> Reason:
    busy = facts.fleet.busy([each.id for each in able])
    used, slots = sum(busy.values()), sum(each.slots for each in able)
    since = iso(row.ready_at)
    details = {"queue": row.queue, "since": since, "used": used, "slots": slots}
    ready = f"{row.path} is ready since {since}"
    crashed = ""
    if row.crashes:
        times = "once" if row.crashes == 1 else f"{row.crashes} times"
        crashed = f" (its engine died {times} while it ran)"
    if any(busy.get(each.id, 0) < each.slots for each in able):
        if row.ready_at is None or facts.now - row.ready_at < _SOON:
            return Reason("slot", row.path, f"{ready} and is taken at any moment{crashed}", details=details)
        text = (
            f"{ready}{crashed}, and no engine takes it although {len(able)} with its executor "
            f"{'has' if len(able) == 1 else 'have'} free slots: perhaps none serves queue {row.queue}; "
            f"`strataflow worker --queue {row.queue}`"
        )
        return Reason("not_served", row.path, text, details=details)
    text = f"{ready}{crashed} and waits for a free slot in queue {row.queue}: {used} of {slots} in use"
    return Reason("slot", row.path, text, details=details)


def _blocked(facts: Facts, row: TaskRow) -> Reason:
    found = facts.pace.refused(facts.plan, row, facts.now)
    if facts.fleet.alive:
        return found
    text = f"{found.text}; and no engine runs on this database: {START_WORKER}"
    return Reason(found.kind, row.path, text, found.until, found.details)


def _running(facts: Facts, row: TaskRow) -> Reason:
    engine = facts.fleet.find(row.engine)
    if engine is None or facts.fleet.is_gone(engine):
        return _dead_engine(facts, row, engine)
    where = f"{engine.host}, process {engine.pid}"
    details = {"engine": engine.id, "attempt": row.attempt}
    if row.closed == "cancelled":
        text = f"{row.path} was told to stop and still runs (attempt {row.attempt}) on {where}"
    elif not runs_executor(row):
        text = f"{row.path} is being evaluated on {where}"
    else:
        text = f"{row.path} is running since {iso(row.started_at)} (attempt {row.attempt}) on {where}"
    return Reason("running", row.path, text, details=details)


def _dead_engine(facts: Facts, row: TaskRow, engine: EngineView | None) -> Reason:
    where = f" ({engine.host}, process {engine.pid})" if engine is not None else ""
    until = iso(engine.lease_until) if engine is not None and engine.lease_until > facts.now else None
    text = f"{row.path} was running on engine {row.engine}{where}, which is gone; "
    if facts.fleet.alive:
        latest = f", at {until} at the latest" if until else ""
        text += f"another engine takes it over soon{latest}"
    else:
        text += f"no engine runs that could take it over: {START_WORKER}"
    details = {"engine": row.engine, "attempt": row.attempt}
    return Reason("dead_engine", row.path, text, until, details)


def _retrying(facts: Facts, row: TaskRow, node: PlanNode | None) -> Reason:
    error = json.loads(row.error) if row.error else {"code": "an error", "message": ""}
    code, message = error["code"], short(str(error["message"]))
    most = node.retry.max if node is not None else None
    details = {"code": code, "attempt": row.attempt, "retry": row.failures, "of": most}
    which = f"retry {row.failures} of {most}" if most else f"attempt {row.attempt} failed"
    said = f" ({message})" if message else ""
    text = f"{row.path} is tried again at {iso(row.wake_at)} after {code}{said}, {which}"
    return facts.timer(row, "backoff", text, details)


def _waiting(facts: Facts, row: TaskRow, node: PlanNode) -> Reason | None:
    if node.kind == "flow":
        return _child(facts, row)
    if node.kind == "loop" and row.open == 0 and row.wake_at is not None:
        turn = f"{row.path} begins its next turn at {iso(row.wake_at)}"
        return facts.timer(row, "timer", turn, {"turns": row.next})
    if node.kind != "wait" or node.wait is None:
        return None
    if row.awaits is None:
        return facts.timer(row, "timer", f"{row.path} waits until {iso(row.wake_at)}")
    said = _condition(facts, row, node.wait) if row.awaits == VARS else _signal(facts, row, node.wait)
    if row.wake_at is not None and row.wake_at <= facts.now:
        return facts.timer(row, said.kind, said.text, said.details)
    return said


def _condition(facts: Facts, row: TaskRow, wait: WaitRule) -> Reason:
    source = short(str(wait.template.source)) if wait.template is not None else ""
    limit = facts.timeout_of(row)
    look = iso(row.wake_at) if wait.every is not None and iso(row.wake_at) != limit else None
    text = f"{row.path} waits until its condition `{source}` holds"
    text += f"; looked at with every change of a variable{f' and at {look}' if look else ''}"
    text += f", at most until {limit}" if limit else ""
    return Reason("condition", row.path, text, iso(row.wake_at), {"condition": source, "timeout_at": limit})


def _signal(facts: Facts, row: TaskRow, wait: WaitRule) -> Reason:
    limit = facts.timeout_of(row)
    text = f"{row.path} waits for the signal {row.awaits!r}{f', at most until {limit}' if limit else ''}"
    details: dict[str, object] = {"signal": row.awaits}
    sent = facts.unmatched(row.awaits or "") if wait.match is not None else 0
    if sent:
        text += f" ({sent} of that name came, and its `match` takes none of them)"
        details["unmatched"] = sent
    text += f"; `strataflow signal {facts.view.id} {row.awaits}` sends it"
    return Reason("signal", row.path, text, limit, details)


def _child(facts: Facts, row: TaskRow) -> Reason:
    child = memo_of(row).get("child")
    state = facts.child_state(child)
    details = {"child": child, "state": state}
    text = f"{row.path} waits for its run {child}, which "
    if state is None or state in TERMINAL_INSTANCE_STATES:
        text += "has not begun yet" if state is None else f"has ended {state}"
        if not facts.fleet.alive:
            said = f"{text}, and no engine runs on this database; {START_WORKER}"
            return Reason("no_engine", row.path, said, details=details)
        return Reason("child", row.path, f"{text}: an engine looks at it at any moment", details=details)
    text += f"is {state}; `strataflow explain {child}` says why"
    return Reason("child", row.path, text, iso(row.wake_at), details)
