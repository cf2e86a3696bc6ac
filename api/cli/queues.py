"""`queues`, `pending`: what waits to be taken, in which order, and what holds it up."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ...services.checks import many
from .commands import Adder
from .door import reading, running
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options
from .output import (
    brief,
    clean,
    emit_json,
    emit_list,
    local_time,
    note,
    print_table,
    say,
    short,
    show_warnings,
)
from .usage import by_whom, usage_errors

if TYPE_CHECKING:
    from ...services.ports import Queues
    from ...services.queues import Entry, Moved, QueueView

__all__ = ["add_to"]

_ROWS: Final = 100

Name = Annotated[str, typer.Argument(metavar="NAME", help="The queue's name.")]
EntryText = Annotated[
    str, typer.Argument(metavar="ENTRY", help="ID, or ID/TASK where a run has several tasks in the queue.")
]
Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="Kept with what it is about, for others to read."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("queues", "What waits to be taken: look, pause, bound, put in order, clear.")
    group(list_, "queues list", name="list")
    group(show, "queues show mail --state blocked")
    group(pause, "queues pause mail --reason 'provider is down'")
    group(resume, "queues resume mail")
    group(set_, "queues set mail --max-size 1000", name="set")
    group(unset, "queues unset mail")
    group(purge, "queues purge mail --include-delayed")
    group(move, "queues move mail 01a1fb96 --to 0")
    group(reorder, "queues reorder mail 01a1fb96 01a1fb97/settle[3]")
    group(remove, "queues remove mail 01a1fb96")
    add(pending, "pending --queue mail --limit 20")


@contextmanager
def _queues(db: str, *, acting: bool = False) -> Generator[Queues]:

    if acting:
        show_warnings()
    with usage_errors(), (running if acting else reading)(make_options(db)) as services:
        yield services.queues


def list_(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List the queues with how many tasks of each are where.

    Ready tasks can be taken, blocked ones wait for a limit, delayed ones for a time: a start, or another try.
    """
    with _queues(db) as queues:
        found = queues.list()
    if json:
        emit_list(each.as_json() for each in found)
    else:
        _print_queues(found)


def _print_queues(found: Sequence[QueueView]) -> None:
    columns = ["QUEUE", "STATE", "READY", "RUNNING", "BLOCKED", "DELAYED", "OLDEST", "MAX", "LIMIT"]
    print_table(columns, map(_queue_row, found), right=columns[2:8])
    for each in found:
        if each.state == "paused":
            note(f"{each.name} is paused: {clean(each.reason or 'no reason given')}")


def _queue_row(each: QueueView) -> list[Any]:
    limit = each.limit
    held = "" if limit is None else f"{limit.used}/{'-' if limit.concurrency is None else limit.concurrency}"
    rate = f" {limit.rate}" if limit is not None and limit.rate else ""
    return [
        each.name,
        each.state,
        str(each.ready),
        str(each.running),
        str(each.blocked),
        str(each.delayed),
        "" if each.oldest_s is None else f"{each.oldest_s:.0f} s",
        "" if each.max_size is None else str(each.max_size),
        held + rate,
    ]


def show(
    name: Name,
    *,
    state: Annotated[
        str, typer.Option("--state", metavar="STATE", help="ready, blocked, running or delayed.")
    ] = "ready",
    limit: Limit = _ROWS,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Show one queue and what stands in it, in the order in which it is taken."""
    from ...services.queues import STATES, entry_json

    if state not in STATES:
        raise UsageProblem(f"--state: there is no state {state!r}; take one of {', '.join(STATES)}.")
    with _queues(db) as queues:
        found = queues.get(name)
        entries = queues.entries(name, state=state, limit=limit)
    if json:
        listed = [entry_json(entry, place) for place, entry in enumerate(entries)]
        emit_json({"queue": found.as_json(), "entries": listed})
        return
    _print_queues([found])
    if entries:
        say("")
        _print_entries(entries)


def _print_entries(entries: Sequence[Entry], *, queue: bool = False) -> None:
    columns = ["PLACE", "ENTRY", "PRIORITY", "SINCE", *(["QUEUE"] if queue else []), "WORKFLOW", "EXECUTOR"]
    rows = [_entry_row(place, entry, queue=queue) for place, entry in enumerate(entries)]
    print_table(columns, rows, right=["PLACE", "PRIORITY"])


def _entry_row(place: int, entry: Entry, *, queue: bool) -> list[Any]:
    executor = entry.executor or ""
    return [
        str(place),
        f"{short(entry.instance_id)}/{entry.path}" if entry.path else short(entry.instance_id),
        str(entry.priority),
        local_time(entry.at),
        *([entry.queue or "control"] if queue else []),
        entry.name,
        f"{executor} waits for {entry.blocked_on}" if entry.blocked_on else executor,
    ]


def pending(
    *,
    queue: Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Only of this queue.")] = None,
    limit: Limit = _ROWS,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """List ready tasks in the order in which they would be taken, of one queue or of all."""
    from ...services.queues import entry_json

    with _queues(db) as queues:
        found = queues.pending(queue, limit)
    if json:
        emit_list(entry_json(entry, place) | {"queue": entry.queue} for place, entry in enumerate(found))
    else:
        _print_entries(found, queue=True)


def pause(name: Name, *, reason: Reason = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Take nothing of a queue.

    What runs goes on, starts are accepted and wait. `explain` and `doctor` show the reason with your name.
    """
    with _queues(db) as queues:
        found = queues.pause(name, by_whom(reason, "paused"))
    _say_queue(found, json=json)


def resume(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Let a queue be taken again."""
    with _queues(db) as queues:
        found = queues.resume(name)
    _say_queue(found, json=json)


def _say_queue(found: QueueView, *, json: bool) -> None:
    if json:
        emit_json(found.as_json())
        return
    bound = "" if found.max_size is None else f", holds at most {found.max_size}"
    bound += "" if found.mark is None else f", full at {found.mark}"
    say(f"{found.name} is {found.state}{bound}; {many(found.ready, 'task')} ready.")


def set_(
    name: Name,
    *,
    max_size: Annotated[
        int | None,
        typer.Option("--max-size", min=0, metavar="N", help="Refuse starts that would make it longer."),
    ] = None,
    unbounded: Annotated[bool, typer.Option("--unbounded", help="Take the bound away.")] = False,
    mark: Annotated[
        int | None,
        typer.Option("--mark", min=1, metavar="N", help="So many are too many: `events` tells queue.high."),
    ] = None,
    no_mark: Annotated[
        bool, typer.Option("--no-mark", help="Four fifths of the bound again, if it has one.")
    ] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Bound a queue, or mark how full it may become before somebody is told.

    A start whose first tasks would go beyond it is refused with a clear error. How many of a queue run at a time is a
    limit: `strataflow limits set queue:NAME --concurrency N`.
    """
    if (max_size is not None and unbounded) or (mark is not None and no_mark):
        raise UsageProblem("give a number, or take it away.")
    if max_size is None and mark is None and not unbounded and not no_mark:
        raise UsageProblem("give --max-size N, --unbounded, --mark N or --no-mark.")
    with _queues(db) as queues:
        if max_size is not None or unbounded:
            queues.set_max_size(name, max_size)
        if mark is not None or no_mark:
            queues.set_mark(name, mark)
        found = queues.get(name)
    _say_queue(found, json=json)


def unset(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Forget what was set for a queue: it is active then, without a bound."""
    with _queues(db) as queues:
        gone = queues.unset(name)
    if json:
        emit_json({"queue": name, "unset": gone})
    else:
        say(f"{name}: {'forgotten' if gone else 'nothing was set'}.")


def purge(
    name: Name,
    *,
    include_delayed: Annotated[
        bool,
        typer.Option("--include-delayed", help="Also what is tried again later, or starts at a later time."),
    ] = False,
    reason: Reason = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Cancel every run of a single task that stands in a queue, ready or blocked.

    Tasks of larger runs stay and are counted: a queue is no reason to break a run; `strataflow cancel` ends one.
    """
    with _queues(db, acting=True) as queues:
        why = by_whom(reason, f"queue {name} purged")
        found = queues.purge(name, include_delayed=include_delayed, reason=why)
    if json:
        emit_json({"queue": name} | asdict(found))
        return
    say(f"{name}: {many(found.cancelled, 'run')} cancelled.")
    if found.left:
        note(f"{many(found.left, 'task')} of larger runs stay.")
    for instance_id, problem in list(found.refused.items())[:20]:
        note(f"  {short(instance_id)}: {brief(problem)}")


def move(
    name: Name,
    entry: EntryText,
    *,
    to: Annotated[int, typer.Option("--to", min=0, metavar="N", help="Its new place; 0 is the front.")] = 0,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Give an entry another place in its queue, the front if none is said.

    It takes the priority that the place needs. Places are those of this moment: what is started later with a higher
    priority still goes before.
    """
    with _queues(db, acting=True) as queues:
        found = queues.move(name, entry, to)
    _say_moved(name, found, json=json)


def reorder(
    name: Name,
    entries: Annotated[
        list[str], typer.Argument(metavar="ENTRY...", help="What comes first, in this order.")
    ],
    *,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Put entries at the front of a queue, in this order; the others follow as they stood."""
    with _queues(db, acting=True) as queues:
        found = queues.reorder(name, entries)
    _say_moved(name, found, json=json)


def _say_moved(name: str, found: Moved, *, json: bool) -> None:
    if json:
        emit_json({"queue": name, "moved": found.moved, "ignored": list(found.ignored)})
        return
    say(f"{name}: {found.moved} moved.")
    for entry in found.ignored:
        note(f"  {entry} was taken or ended meanwhile.")


def remove(
    name: Name, entry: EntryText, *, reason: Reason = None, db: Db = DB_DEFAULT, json: Json = False
) -> None:
    """Take one entry out of a queue: its run is cancelled. A run with other tasks is refused."""
    with _queues(db, acting=True) as queues:
        instance_id = queues.remove(name, entry, by_whom(reason, f"removed from queue {name}"))
    if json:
        emit_json({"queue": name, "id": instance_id, "removed": True})
    else:
        say(f"{short(instance_id)} is cancelled.")
