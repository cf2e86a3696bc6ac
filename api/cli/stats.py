"""`stats`: how much was done, how fast, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import reading
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options, seconds_of
from .output import emit_json, local_time, note, print_table, say

if TYPE_CHECKING:
    from ...services.statistics import EngineLoad, QueueFigures, Statistics

__all__ = ["add_to"]

_COLUMNS = (
    "QUEUE STARTED RUNNING COMPLETED FAILED CANCELLED EXPIRED RETRIED TIMED-OUT MEAN P95 5M 15M 60M".split()
)


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(stats, "stats --queue mail --since 24h")


def stats(
    *,
    queue: Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Only of this queue.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DURATION", help="Only what began within this time: 24h.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Count from now on; nothing is deleted.")] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Show what tasks came to, per queue and in all: how many, how long they took, how many ended lately; and engines.

    Counted from the tasks themselves, of the newest 10,000 runs. A task counts when it has begun; times are those of
    its last attempt; 5M, 15M and 60M are how many ended within so many minutes.
    """
    if reset and (queue is not None or since is not None):
        raise UsageProblem("--reset concerns all queues and takes no other option.")
    window = seconds_of(since, "--since")
    with reading(make_options(db)) as services:
        if reset:
            _say_reset(services.statistics.reset(), json=json)
            return
        found = services.statistics.read(queue=queue, window_s=window)
    if json:
        emit_json(found.as_json())
    else:
        _print(found)


def _say_reset(instant: str, *, json: bool) -> None:
    if json:
        emit_json({"since": instant})
    else:
        say(f"Counting from {local_time(instant)} on.")


def _print(found: Statistics) -> None:
    print_table(_COLUMNS, map(_row, (*found.queues, found.total)), right=_COLUMNS[1:])
    if found.engines:
        say("")
        print_table(
            ["ENGINE", "WHERE", "USED", "SLOTS"], map(_engine, found.engines), right=["USED", "SLOTS"]
        )
    else:
        note("No engine runs on this database.")
    if found.since is not None:
        note(f"What began since {local_time(found.since)}.")
    if not found.whole:
        note("There are more runs than were looked at: these are the newest.")


def _row(each: QueueFigures) -> list[Any]:
    counts = (
        each.started,
        each.running,
        each.completed,
        each.failed,
        each.cancelled,
        each.expired,
        each.retried,
        each.timed_out,
    )
    times = (each.mean_s, each.p95_s)
    return [
        "in all" if each.queue == "*" else each.queue,
        *map(str, counts),
        *("" if value is None else f"{value:.3f} s" for value in times),
        *map(str, (each.last_5, each.last_15, each.last_60)),
    ]


def _engine(each: EngineLoad) -> list[Any]:
    return [each.id, f"{each.host}, process {each.pid}", str(each.used), str(each.slots)]
