"""`events`: what happens on a database, as it happens or from a cursor on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import reading
from .errors import INTERRUPTED, OK, UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options
from .output import clean, console, emit_line, emit_list, local_time
from .stopping import stop_signals

if TYPE_CHECKING:
    import threading

    from ...engine.feed import Event
    from ...services.ports import Feed

__all__ = ["add_to"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(events, "events --name task.failed --name 'engine.*' --follow")


def events(
    *,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", metavar="PATTERN", help="Only events that fit, such as task.*; may be repeated."
        ),
    ] = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="ID", help="Only of this instance.")
    ] = None,
    after: Annotated[
        int | None, typer.Option("--after", min=0, metavar="CURSOR", help="Only after this event.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after so many.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until stopped.")
    ] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> int:
    """Show what happened, in order: states of instances and tasks, progress, engines that come and go, full queues.

    Without --after it is all that the database still has, or, with --follow, what comes from now on. The number in
    front of an event is a cursor: who goes on --after it misses nothing and sees nothing twice. `--json --follow`
    gives an event per line.
    """
    with stop_signals() as stop, reading(make_options(db)) as services:
        if instance is not None:
            instance = services.executions.resolve(instance)
        wanted: dict[str, Any] = {"names": _checked(name or []), "instance_id": instance}
        feed = services.feed
        found = feed.follow(after, **wanted, stop=stop) if follow else _stored(feed, after or 0, wanted, stop)
        _show(found, limit, json=json, lines=follow)
    return INTERRUPTED if stop.is_set() else OK


def _checked(names: list[str]) -> list[str]:
    from ...engine.feed import unknown_pattern

    for pattern in names:
        problem = unknown_pattern(pattern)
        if problem is not None:
            raise UsageProblem(f"--name: {problem}")
    return names


def _stored(feed: Feed, after: int, wanted: dict[str, Any], stop: threading.Event) -> Iterator[Event]:
    more = True
    while more and not stop.is_set():
        page = feed.read(after, **wanted)
        yield from page.events
        after, more = page.cursor, page.more


def _show(found: Iterator[Event], limit: int | None, *, json: bool, lines: bool) -> None:
    from itertools import islice

    chosen = islice(found, limit)
    if json and not lines:
        emit_list(map(_as_json, chosen))
        return
    for event in chosen:
        if json:
            emit_line(_as_json(event))
        else:
            _print(event)


def _as_json(event: Event) -> dict[str, Any]:
    from ...engine.outputs import iso

    return {**event.as_dict(), "at": iso(event.at)}


def _print(event: Event) -> None:
    from rich.text import Text

    where = " ".join(part for part in (event.definition, event.instance_id, event.path) if part)
    about = event.queue if event.name.startswith("queue.") else where or event.engine
    attempt = f" #{event.attempt}" if event.attempt > 1 else ""
    data = ", ".join(f"{key} {value}" for key, value in (event.data or {}).items() if value is not None)
    line = Text.assemble(
        (f"{event.seq:>8}  {local_time(event.at).partition(' ')[2]}  ", "dim"),
        (f"{event.name:20}", "red" if event.state == "failed" or event.name == "engine.offline" else "bold"),
        f"  {about}{attempt}",
        (clean(f"  {event.reason or data}"), "dim"),
    )
    console().print(line, soft_wrap=True)
