"""Runs every invariant over a database. Their numbers are those of the reliability notes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from . import history, limits, rows
from .database import Recorded, read_database
from .report import Report, Violation

__all__ = ["INVARIANTS", "check", "examine", "judge"]

INVARIANTS: Final = {
    "I1": "every acknowledged start has one run, which has ended or has a cause of progress",
    "I2": "an attempt has at most one outcome, a task at most one end per generation",
    "I3": "nothing starts before what it needs has ended",
    "I4": "the journal, folded from nothing, gives the rows",
    "I5": "attempts are claimed 1, 2, 3, … and never twice",
    "I6": "an outcome comes from the attempt and the engine that hold the task",
    "I7": "a row has the shape of its state",
    "I8": "counters agree with the rows they count",
    "I9": "terminal states are final",
    "I10": "every transition is an edge of the published tables and begins where the last one ended",
    "I11": "an ended run is at rest, and ended as its root did",
    "I12": "after a cancel nothing is claimed",
    "I14": "limits are never exceeded, and their counters agree with the rows",
    "I19": "map items exist once each and completely",
}


def check(url: str, acknowledged: Iterable[str] = ()) -> list[Violation]:
    """Give every violation in the database; `acknowledged` are instances whose start was confirmed to somebody."""
    return examine(url, acknowledged).violations


def examine(url: str, acknowledged: Iterable[str] = ()) -> Report:
    """Like `check`, with the number of evaluations."""
    return judge(read_database(url), acknowledged)


def judge(recorded: Recorded, acknowledged: Iterable[str] = ()) -> Report:
    """Judge rows that were read already."""
    report = Report()
    known = {run.id for run in recorded.runs}
    for instance_id in acknowledged:
        report.expect(
            "I1", instance_id in known, (instance_id, None), "acknowledged, and there is no such run"
        )
    for (name, key), instance_id in recorded.keys.items():
        report.expect("I1", instance_id in known, (instance_id, None), f"key {key!r} of {name} names no run")
    for table, instance_id in recorded.orphans:
        report.expect("I1", False, (instance_id, None), f"rows of {table} without a run")
    limits.counters_agree(recorded, report)
    limits.never_exceeded(recorded, report)
    for run in recorded.runs:
        history.one_outcome(run, report)
        history.order_of_dependencies(run, report)
        history.replay(run, report)
        history.one_attempt_after_the_other(run, report)
        history.written_by_the_holder(run, recorded, report)
        history.terminal_is_final(run, report)
        history.published_edges(run, report)
        history.stopped_means_stopped(run, report)
        rows.cause_of_progress(run, report)
        rows.shapes(run, report)
        rows.counters(run, report)
        rows.ended_is_at_rest(run, report)
        rows.items_of_maps(run, report)
    return report
