"""Invariants of the journal: what may follow what, who wrote it, and that it adds up to the rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from strataflow.engine.states import INSTANCE_TRANSITIONS, TASK_TRANSITIONS

from .database import TERMINAL_TASKS, Engine, Journal, Recorded, Run, address_of
from .report import Report

__all__ = [
    "one_attempt_after_the_other",
    "one_outcome",
    "order_of_dependencies",
    "published_edges",
    "replay",
    "stopped_means_stopped",
    "terminal_is_final",
    "written_by_the_holder",
]

TASK_EDGES = {(old, new) for old, row in TASK_TRANSITIONS.items() for new in row.values()}
INSTANCE_EDGES = {(old, new) for old, row in INSTANCE_TRANSITIONS.items() for new in row.values()}
STARTED = frozenset({"queued", "running", "waiting", "retrying"})
#: What ends a running task whoever holds it: somebody has terminated the run, or its grace is over.
GIVEN_UP = ("cancelled", "terminated")
#: What an engine may write about a task that another, dead one held: never that it went well.
AFTER_DEATH = frozenset({"queued", "failed", "retrying", "cancelled"})


def one_outcome(run: Run, report: Report) -> None:
    """I2: an attempt ends once; a task ends once per generation."""
    for path, entries in run.history().items():
        left = Counter((e.gen, e.attempt) for e in entries if e.from_state == "running" and e.attempt)
        for (gen, attempt), count in left.items():
            report.expect(
                "I2", count == 1, (run.id, path), f"attempt {attempt} (gen {gen}) ended {count} times"
            )
        ends = Counter(e.gen for e in entries if e.to_state in TERMINAL_TASKS)
        for gen, count in ends.items():
            report.expect("I2", count == 1, (run.id, path), f"{count} terminal outcomes in generation {gen}")


def order_of_dependencies(run: Run, report: Report) -> None:
    """I3: nothing starts before every outcome it needs is recorded; nothing is skipped without a reason."""
    ends: dict[str, list[tuple[int, str]]] = defaultdict(list)  # one per generation
    for entry in run.journal:
        if entry.path is not None and entry.to_state in TERMINAL_TASKS:
            ends[entry.path].append((entry.seq, entry.to_state))
    for path, entries in run.history().items():
        node = run.plan.nodes.get(address_of(path))
        scope = (run.tasks.get(path) or {}).get("scope")
        if node is None or not node.deps or node.groups or scope is None:
            continue
        prefix = f"{scope}." if scope else ""
        first = next((e for e in entries if e.to_state in STARTED), None)
        if first is not None:
            for edge in node.deps:
                end = _last_before(ends[prefix + edge.node], first.seq)
                went_on = (run.tasks.get(prefix + edge.node) or {}).get("closed") == "continued"
                good = end is not None and (end[1] in edge.on or (went_on and "completed" in edge.on))
                holds = end is not None and good
                message = f"{first.to_state} at {first.seq}, but {edge.node} ended {end}"
                report.expect("I3", holds, (run.id, path), message)
        skipped = next((e for e in entries if e.to_state == "skipped" and e.from_state != "running"), None)
        if skipped is not None:
            met = [(_last_before(ends[prefix + edge.node], skipped.seq), edge) for edge in node.deps]
            unmet = any(end is not None and end[1] not in edge.on for end, edge in met)
            report.expect("I3", unmet, (run.id, path), "skipped although every dependency may still hold")


def _last_before(ends: list[tuple[int, str]], seq: int) -> tuple[int, str] | None:
    return next((end for end in reversed(ends) if end[0] < seq), None)


def replay(run: Run, report: Report) -> None:
    """I4: folding the journal from nothing gives exactly the rows."""
    history = run.history()
    where = (run.id, None)
    forgotten = {path for path in set(history) - set(run.tasks) if "#" in path}  # old turns of a loop
    taken = tuple(p for p, entries in history.items() if entries[0].reason.startswith("taken over from "))
    copied = {p for p in run.tasks if p not in history and any(p.startswith(each) for each in taken)}
    differ = set(history) ^ set(run.tasks) ^ forgotten ^ copied
    report.expect("I4", not differ, where, f"paths differ: {differ}")
    for path, entries in history.items():
        row = run.tasks.get(path)
        if row is None or path in taken:
            continue
        last = entries[-1]
        # what a claim only evaluates is no attempt
        claims = [e for e in entries if e.to_state == "running" and e.attempt]
        holder = last.engine if last.to_state == "running" else None
        ended = last.at if last.to_state in TERMINAL_TASKS else None
        attempt = max(e.attempt for e in entries)
        folded = {"state": last.to_state, "attempt": attempt, "engine": holder, "ended_at": ended}
        node = run.plan.nodes.get(address_of(path))
        if node is not None and node.kind == "flow":  # its attempts are its children
            del folded["attempt"]
        if row["executor"] is not None:
            folded["started_at"] = claims[-1].at if claims else None
        if last.to_state == "queued":
            folded["ready_at"] = last.at
        for name, value in folded.items():
            message = f"{name} is {row[name]!r}, the journal says {value!r}"
            report.expect("I4", row[name] == value, (run.id, path), message)
    own = [e for e in run.journal if e.path is None]
    report.expect("I4", bool(own), where, "the instance has no journal")
    if own:
        ended = own[-1].at if run.ended else None
        started = next((e.at for e in own if e.to_state == "running"), None)
        folded = {
            "state": own[-1].to_state,
            "created_at": own[0].at,
            "started_at": started,
            "ended_at": ended,
        }
        for name, value in folded.items():
            message = f"{name} is {run.row[name]!r}, the journal says {value!r}"
            report.expect("I4", run.row[name] == value, where, message)


def one_attempt_after_the_other(run: Run, report: Report) -> None:
    """I5: attempts of an executor's task are claimed 1, 2, 3, …; control nodes have none."""
    for path, entries in run.history().items():
        claimed = [e.attempt for e in entries if e.to_state == "running"]
        row, node = run.tasks.get(path), run.plan.nodes.get(address_of(path))
        if not claimed or row is None or (node is not None and node.kind == "flow"):
            continue  # attempts of a flow are its children
        if row["executor"] is not None:  # claims that only evaluate count as none
            claimed = [attempt for attempt in claimed if attempt]
        wanted = list(range(1, len(claimed) + 1)) if row["executor"] is not None else [0] * len(claimed)
        report.expect("I5", claimed == wanted, (run.id, path), f"attempts claimed in the order {claimed}")


def written_by_the_holder(run: Run, recorded: Recorded, report: Report) -> None:
    """I6: an outcome comes from the attempt that holds the task; a dead engine writes nothing any more."""
    for path, entries in run.history().items():
        holder: Journal | None = None
        for entry in entries:
            if entry.from_state == "running":
                _leaves_running(run, path, holder, entry, recorded.engines, report)
            holder = entry if entry.to_state == "running" else None
    for entry in run.journal:
        engine = recorded.engines.get(entry.engine or "")
        if (
            engine is not None
            and engine.state == "dead"
            and engine.ended_at is not None
            and _fenced_kind(entry)
        ):
            message = f"{entry.to_state} written by engine {engine.id} after it was declared dead"
            report.expect("I6", entry.at <= engine.ended_at, (run.id, entry.path), message)


def _fenced_kind(entry: Journal) -> bool:
    """A start inside a caller's own transaction is the one write that needs no fence: it only inserts."""
    return entry.from_state is not None or entry.to_state == "running"


def _leaves_running(
    run: Run, path: str, holder: Journal | None, entry: Journal, engines: dict[str, Engine], report: Report
) -> None:
    where = (run.id, path)
    report.expect(
        "I6", holder is not None, where, f"{entry.to_state} at {entry.seq} without a claim before it"
    )
    if holder is None:
        return
    message = f"attempt {entry.attempt} ended, attempt {holder.attempt} holds the task"
    report.expect("I6", entry.attempt == holder.attempt, where, message)
    if entry.engine == holder.engine or (entry.to_state, entry.reason) == GIVEN_UP:
        return
    owner = engines.get(holder.engine or "")
    gone = owner is not None and owner.state != "alive" and (owner.ended_at or 0) <= entry.at
    lease = "nobody knows" if owner is None else f"{owner.state}, ended at {owner.ended_at}"
    message = (
        f"{entry.to_state} by {entry.engine} at {entry.at} while {holder.engine} ({lease}) held the lease"
    )
    report.expect("I6", gone, where, message)
    message = f"{entry.to_state} ({entry.reason}) by {entry.engine}, claimed by {holder.engine}"
    report.expect("I6", entry.to_state in AFTER_DEATH, where, message)


def terminal_is_final(run: Run, report: Report) -> None:
    """I9: nothing leaves a terminal state within its generation."""
    last: dict[str | None, Journal] = {}
    for entry in run.journal:
        before = last.get(entry.path)
        if before is not None and before.gen == entry.gen:
            message = f"{before.to_state} at {before.seq}, then {entry.from_state} → {entry.to_state}"
            final = before.to_state in TERMINAL_TASKS or entry.from_state in TERMINAL_TASKS
            report.expect("I9", not final, (run.id, entry.path), message)
        last[entry.path] = entry


def published_edges(run: Run, report: Report) -> None:
    """I10: every step is an edge of the published tables, and begins where the last one ended."""
    by_path: dict[str | None, list[Journal]] = defaultdict(list)
    for entry in run.journal:
        by_path[entry.path].append(entry)
    for path, entries in by_path.items():
        edges = INSTANCE_EDGES if path is None else TASK_EDGES
        where = (run.id, path)
        first = entries[0]
        report.expect("I10", first.from_state is None, where, f"begins at {first.from_state}")
        for entry in entries:
            step = (entry.from_state, entry.to_state)
            if entry.reason.startswith(("taken over from ", "migrated from ")):
                continue  # a row that ended in another run; the same state under another version
            report.expect("I10", step in edges, where, f"{entry.from_state} → {entry.to_state} is no edge")
        for before, after in pairwise(entries):
            message = f"{before.to_state} at {before.seq}, then {after.from_state} → {after.to_state}"
            anew = after.from_state is None and after.gen > before.gen
            report.expect("I10", anew or before.to_state == after.from_state, where, message)
            report.expect("I10", before.at <= after.at, where, f"{after.seq} is older than {before.seq}")


def stopped_means_stopped(run: Run, report: Report) -> None:
    """I12: after an acknowledged cancel nothing of the run is claimed any more."""
    asked = next((e.seq for e in run.journal if e.path is None and e.to_state == "cancelling"), None)
    if asked is None:
        return
    back = next(
        (e.seq for e in run.journal if e.path is None and e.seq > asked and e.to_state == "running"), None
    )
    claims = [
        e
        for e in run.journal
        if e.seq > asked and (back is None or e.seq < back) and e.to_state == "running" and e.path
        if "!" not in e.path  # what ends a run: handlers, undo, finally
    ]
    paths = [e.path for e in claims[:5]]
    report.expect("I12", not claims, (run.id, None), f"claimed after the cancel: {paths}")
