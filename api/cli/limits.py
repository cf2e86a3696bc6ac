"""`limits`: how many tasks run at a time and how fast they begin; what is held, who waits, and what somebody set."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import reading
from .options import DB_DEFAULT, Db, Json, make_options
from .output import emit_json, emit_list, note, print_table, say
from .usage import usage_errors

if TYPE_CHECKING:
    from ...services.limits import LimitView
    from ...services.ports import Limits

__all__ = ["add_to"]

Name = Annotated[
    str,
    typer.Argument(
        metavar="COUNTER",
        help="'*', queue:NAME, executor:NAME, definition:NAME, node:DEFINITION/NODE, group:…, pool:… or mutex:….",
    ),
]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("limits", "How many tasks run at a time, and how fast they begin.")
    group(list_, "limits list --kind pool", name="list")
    group(set_, "limits set executor:http.request --concurrency 20 --rate 50/s --burst 10", name="set")
    group(unset, "limits unset executor:http.request")


@contextmanager
def _limits(db: str) -> Generator[Limits]:

    with usage_errors(), reading(make_options(db)) as services:
        yield services.limits


def list_(
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="KIND", help="queue, executor, definition, node, group, pool or mutex."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")] = 200,
    after: Annotated[
        str, typer.Option("--after", metavar="COUNTER", help="Only behind this one: the next page.")
    ] = "",
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """List the counters that somebody has set, or that tasks hold or wait for.

    Numbers that nobody set come from the definition of a task that uses the counter now.
    """
    with _limits(db) as limits:
        found = limits.list(kind=kind, after=after, limit=limit + 1)
    if json:
        emit_list(each.as_json() for each in found[:limit])
        return
    columns = ["COUNTER", "USED", "OF", "WAITING", "RATE", "SET BY"]
    print_table(columns, map(_row, found[:limit]), right=columns[1:4])
    if len(found) > limit:
        note(f"There are more; go on with --after '{found[limit - 1].name}'.")


def _row(each: LimitView) -> list[Any]:
    burst = f", {each.burst} at once" if each.burst is not None and each.burst > 1 else ""
    return [
        each.name,
        str(each.used),
        "" if each.concurrency is None else str(each.concurrency),
        str(each.waiting),
        f"{each.rate}{burst}" if each.rate else "",
        each.set_by or "",
    ]


def set_(
    name: Name,
    *,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=0, metavar="N", help="Most that run at once, or a pool's size."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="RATE", help="How many begin in a time: 50/s, 100/10s.")
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option("--burst", min=1, metavar="N", help="How many of them may begin at once after a pause."),
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Set the numbers of a counter; they override what definitions say, from the next task on.

    What runs already is not stopped. All numbers are set anew: one that is not given is without a limit.
    """
    with _limits(db) as limits:
        found = limits.set(name, concurrency=concurrency, rate=rate, burst=burst)
    if json:
        emit_json(found.as_json())
        return
    said = [f"at most {found.concurrency} at a time"] if found.concurrency else []
    said += ["nothing begins"] if found.concurrency == 0 else []
    said += [f"{found.rate} begin"] if found.rate else []
    say(f"{found.name}: {', '.join(said)}.")


def unset(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Take back what somebody set for a counter: what definitions say counts again."""
    with _limits(db) as limits:
        gone = limits.unset(name)
    if json:
        emit_json({"name": name, "unset": gone})
    else:
        say(f"{name}: {'taken back' if gone else 'nobody had set it'}.")
