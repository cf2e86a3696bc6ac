"""Invariants of the rows as they stand: shapes, counters, causes of progress, ends, map items."""

from __future__ import annotations

import re

from .database import TERMINAL_TASKS, Row, Run, address_of
from .report import Report

__all__ = ["cause_of_progress", "counters", "ended_is_at_rest", "items_of_maps", "shapes"]

INDEX = re.compile(r"\[(\d+)\]$")


def cause_of_progress(run: Run, report: Report) -> None:
    """I1: a run has ended, or something will move it: a ready, running or backing-off task, a timer, a sweep."""
    moving = any(
        row["state"] in {"queued", "running", "retrying"}
        or row["wake_at"] is not None
        or row["awaits"] is not None
        or (row["state"] == "waiting" and "child" in (row["memo"] or ""))
        for row in run.tasks.values()
    )
    report.expect("I1", run.ended or moving, (run.id, None), "unfinished, and nothing will ever move it")
    report.expect("I1", "" in run.tasks, (run.id, None), "no root task")


def shapes(run: Run, report: Report) -> None:
    """I7: what a state requires of its row, and what it forbids."""
    for path, row in run.tasks.items():
        where, state = (run.id, path), row["state"]
        report.expect(
            "I7", (state == "running") == (row["engine"] is not None), where, f"{state} by {row['engine']}"
        )
        report.expect(
            "I7", (state == "queued") == (row["ready_at"] is not None), where, f"{state}, ready_at set?"
        )
        ended = row["ended_at"] is not None
        report.expect("I7", (state in TERMINAL_TASKS) == ended, where, f"{state}, ended_at {row['ended_at']}")
        if state == "failed":
            report.expect("I7", row["error"] is not None, where, "failed without an error")
        if state == "running" and row["executor"] is not None:
            report.expect("I7", row["attempt"] >= 1, where, "running without an attempt")


def counters(run: Run, report: Report) -> None:
    """I8: counters say what the children say; nothing pending waits for nothing."""
    children = run.children()
    for path, row in run.tasks.items():
        where = (run.id, path)
        own = [c for c in children.get(path, []) if c["gen"] >= row["gen"]]
        restless = sum(1 for c in own if c["state"] not in TERMINAL_TASKS or c["open"] > 0)
        report.expect(
            "I8", row["open"] == restless, where, f"open is {row['open']}, of {len(own)} {restless} are"
        )
        node = run.plan.nodes.get(address_of(path))
        if node is not None and node.is_fan:
            items = [c for c in own if not c["path"].startswith(f"{path}!")]  # a handler is no item
            found = {
                "done": sum(1 for c in items if c["state"] == "completed"),
                "skipped": sum(1 for c in items if c["state"] == "skipped"),
                "failed": sum(1 for c in items if c["state"] in {"failed", "expired"}),
            }
            for name, count in found.items():
                report.expect(
                    "I8", row[name] == count, where, f"{name} is {row[name]}, of the items {count} are"
                )
        if row["state"] == "pending" and row["wake_at"] is None:
            _pending(run, row, report)


def _pending(run: Run, row: Row, report: Report) -> None:
    where = (run.id, row["path"])
    report.expect("I8", row["remaining"] > 0, where, "pending, and waits for nothing")
    node = run.plan.nodes.get(address_of(row["path"]))
    scope = run.tasks.get(row["scope"])
    if node is None or node.groups or scope is None or scope["closed"] or run.row["sweeps"]:
        return
    prefix = f"{row['scope']}." if row["scope"] else ""
    open_ = sum(1 for e in node.deps if _state(run, prefix + e.node) not in TERMINAL_TASKS)
    report.expect(
        "I8", row["remaining"] == open_, where, f"remaining is {row['remaining']}, {open_} have not ended"
    )


def _state(run: Run, path: str) -> str | None:
    row = run.tasks.get(path)
    return None if row is None else row["state"]


def ended_is_at_rest(run: Run, report: Report) -> None:
    """I11: of an ended run nothing runs, waits or is timed; how it ended is what its root says."""
    if not run.ended:
        return
    root = run.tasks.get("")
    report.expect("I11", root is not None, (run.id, None), "no root task")
    for path, row in run.tasks.items():
        where = (run.id, path)
        report.expect("I11", row["state"] in TERMINAL_TASKS, where, f"{row['state']} in an ended run")
        report.expect("I11", row["wake_at"] is None, where, "a timer in an ended run")
    report.expect("I11", run.row["sweeps"] == 0, (run.id, None), "ended with rows to sweep")
    if root is not None and run.row["state"] != "cancelled":
        good = root["state"] == "completed"
        message = f"{run.row['state']}, its root is {root['state']}"
        report.expect("I11", good == (run.row["state"] == "completed"), (run.id, None), message)


def items_of_maps(run: Run, report: Report) -> None:
    """I19: the items of a map exist once each, in order, and all of them unless the map closed before."""
    children = run.children()
    for path, row in run.tasks.items():
        node = run.plan.nodes.get(address_of(path))
        if node is None or node.kind != "map" or row["total"] is None or run.absent(row):
            continue
        where = (run.id, path)
        own = [c for c in children.get(path, []) if c["gen"] >= row["gen"]]
        found = sorted(int(m[1]) for c in own if (m := INDEX.search(c["path"])))
        wanted = list(range(row["next"]))
        report.expect("I19", found == wanted, where, f"rows for {len(found)} items, {row['next']} were made")
        stored = run.items.get(path, 0)
        report.expect(
            "I19", stored == row["total"], where, f"{row['total']} items, {stored} in the stored list"
        )
        whole = node.join.need == "all" and node.join.need_percent is None
        met = row["state"] == "completed" and row["error"] is None  # else a handler completed it
        if met and whole:
            report.expect(
                "I19", row["next"] == row["total"], where, f"joined {row['next']} of {row['total']} items"
            )
            seen = row["done"] + row["failed"] + row["skipped"]
            report.expect("I19", seen == row["total"], where, f"joined after {seen} of {row['total']} ends")
        elif row["closed"] is None and row["state"] == "waiting":
            report.expect("I19", row["open"] > 0, where, "an open map with no open item")
