"""`explain`: why an instance, or one of its tasks, is not running."""

from __future__ import annotations

from typing import Annotated

import typer

from .commands import Adder
from .door import reading
from .options import DB_DEFAULT, Db, Id, Json, make_options
from .output import clean, emit_json, note, say

__all__ = ["add_to"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(explain, "explain 01a1fb96 'settle[3].charge'")


def explain(
    id_: Id,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="A task, as `tasks` shows it.")] = None,
    *,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Say why an instance is not running, or one of its tasks.

    In one sentence, then every reason: dependencies, timers, signals, a missing executor, a dead engine, who paused it.
    """
    with reading(make_options(db)) as services:
        instance_id = services.executions.resolve(id_)
        found = services.explainer.explain(instance_id, task)
    if json:
        emit_json(found.as_json())
        return
    say(clean(found.sentence))
    for reason in found.reasons[1:]:
        note(f"  {clean(reason.text)}")
    if found.more:
        note("  … there are more unfinished tasks than were looked at.")
