"""I14: limits hold at every moment of the history, and the counters say what running and blocked tasks say."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

from .database import Recorded, Run
from .report import Report

__all__ = ["counters_agree", "never_exceeded"]


def counters_agree(recorded: Recorded, report: Report) -> None:
    """What is in use is what running tasks hold; who waits is who is blocked."""
    used, waiting = Counter[str](), Counter[str]()
    for run in recorded.runs:
        for row in run.tasks.values():
            used.update(dict(json.loads(row["holds"] or "[]")))
            if row["blocked_on"] is not None:
                waiting[row["blocked_on"].removeprefix("~")] += 1
    for name in {*recorded.limits, *used, *waiting}:
        row = recorded.limits.get(name, {"used": 0, "waiting": 0})
        found = (row["used"], row["waiting"])
        expected = (used[name], waiting[name])
        report.expect("I14", found == expected, ("", None), f"{name} counts {found}, rows say {expected}")


def never_exceeded(recorded: Recorded, report: Report) -> None:
    """Fold all claims and ends in the order of their numbers, per counter that a definition bounds."""
    bounds: dict[str, int] = {}
    changes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for run in recorded.runs:
        for path, row in run.tasks.items():
            for name, bound in _bounded(run, path, row.get("memo")):
                if not recorded.limits.get(name, {}).get("explicit"):
                    bounds[name] = bound
                    changes[name] += _steps(run, path)
    for name, steps in changes.items():
        inside = most = 0
        for _, step in sorted(steps):
            inside += step
            most = max(most, inside)
        report.expect(
            "I14", most <= bounds[name], ("", None), f"{name}: {most} at once, {bounds[name]} are allowed"
        )


def _bounded(run: Run, path: str, memo: str | None) -> list[tuple[str, int]]:
    """Counters of a task that its definition bounds, with their bounds."""
    from .database import address_of

    node = run.plan.nodes.get(address_of(path))
    if node is None or node.executor is None:
        return []
    known = json.loads(memo or "{}").get("limits") or {}
    found: list[tuple[str, int]] = [(f"mutex:{group}", 1) for group in known.get("mutex", ())]
    for rule in (run.plan.limits, node.limits):
        if rule is not None and rule.concurrency is not None:
            key = known.get("key") if rule is node.limits else None
            found.append((rule.name if key is None else f"{rule.name}:{key}", rule.concurrency))
    return found


def _steps(run: Run, path: str) -> list[tuple[int, int]]:
    """+1 where an attempt begins, -1 where it stops running; claims that only evaluate have no attempt."""
    found: list[tuple[int, int]] = []
    for entry in run.history().get(path, ()):
        if entry.attempt > 0 and entry.to_state == "running":
            found.append((entry.seq, 1))
        elif found and found[-1][1] == 1 and entry.from_state == "running":
            found.append((entry.seq, -1))
    return found
