"""`schedules`: what starts by itself. Shown before it is saved, paused, fired by hand, filled back."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import reading
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options, seconds_of
from .output import emit_json, emit_list, local_time, note, print_table, say, short
from .usage import usage_errors

if TYPE_CHECKING:
    from ...repositories.schedule_rows import FiringRow, ScheduleRow
    from ...services.ports import Schedules
    from ...services.schedules import ScheduleSpec

__all__ = ["add_to"]

_NEXT = 5
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Definition = Annotated[
    str, typer.Argument(metavar="DEFINITION", help="`name` for the active version, or `name@3`.")
]
Cron = Annotated[
    str | None, typer.Option("--cron", metavar="TEXT", help="Five fields, or @daily and the like.")
]
Every = Annotated[str | None, typer.Option("--every", metavar="DURATION", help="An interval: 90s, 1h30m.")]
At = Annotated[str | None, typer.Option("--at", metavar="INSTANT", help="Once: 2026-12-24T18:00:00+01:00.")]
Zone = Annotated[str, typer.Option("--timezone", metavar="ZONE", help="For --cron: Europe/Paris.")]
Overlap = Annotated[
    str,
    typer.Option(
        "--overlap", metavar="POLICY", help="While the last run goes on: allow, skip, queue, cancel."
    ),
]
Misfire = Annotated[
    str,
    typer.Option("--misfire", metavar="POLICY", help="Instants that were missed: skip, latest, all."),
]
CatchUp = Annotated[
    int, typer.Option("--catch-up", metavar="N", min=1, help="Most that --misfire all starts.")
]
Jitter = Annotated[
    str | None, typer.Option("--jitter", metavar="DURATION", help="Start up to so much later.")
]
Cooldown = Annotated[
    str | None,
    typer.Option("--cooldown", metavar="DURATION", help="Skip an instant so soon after the last start."),
]
Begin = Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="Not before this.")]
End = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Not after this.")]
Inputs = Annotated[
    str | None,
    typer.Option("--input", metavar="JSON", help="May read '{{ instance.scheduled_for }}' in its texts."),
]
Queue = Annotated[str | None, typer.Option("--queue", metavar="QUEUE", help="For tasks that say none.")]
Priority = Annotated[int | None, typer.Option("--priority", metavar="N", help="Higher runs first.")]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("schedules", "What starts by itself: cron, intervals, single moments.")
    group(list_, "schedules list", name="list")
    group(show, "schedules show nightly")
    group(create, "schedules create nightly billing --cron '15 2 * * *' --timezone Europe/Paris")
    group(update, "schedules update nightly billing --cron '15 3 * * *' --overlap skip")
    group(pause, "schedules pause nightly --reason 'month end'")
    group(resume, "schedules resume nightly")
    group(remove, "schedules remove nightly")
    group(trigger, "schedules trigger nightly --force")
    group(backfill, "schedules backfill nightly --from 2026-11-01 --to 2026-11-07")
    group(history, "schedules history nightly --limit 20")
    group(upcoming, "schedules next --cron '0 6 * * mon-fri' --timezone Europe/Paris", name="next")


@contextmanager
def _service(db: str) -> Generator[Schedules]:
    with usage_errors(), reading(make_options(db)) as services:
        yield services.schedules


def list_(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List the schedules."""
    from ...services.schedules import schedule_json

    with _service(db) as service:
        rows = service.list()
    if json:
        emit_list(map(schedule_json, rows))
        return
    print_table(
        ["NAME", "STARTS", "STATE", "WHEN", "NEXT", "RUNS"], [_line(row) for row in rows], right=["RUNS"]
    )
    if not rows:
        note("There is none yet: `strataflow schedules create --help`.")


def _line(row: ScheduleRow) -> list[Any]:
    version = "" if row.version is None else f"@{row.version}"
    return [
        row.name,
        f"{row.definition}{version}",
        row.state,
        _when(row),
        local_time(row.next_at) if row.next_at is not None else "",
        str(row.runs),
    ]


def _when(row: ScheduleRow) -> str:
    if row.cron is not None:
        return f"{row.cron} ({row.timezone})"
    if row.every is not None:
        return f"every {row.every / 1_000_000:g} s"
    return f"once at {local_time(row.at)}" if row.at is not None else ""


def show(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Show one schedule: its times, what comes next, what was last."""
    from ...services.schedules import schedule_json

    with _service(db) as service:
        row = service.get(name)
        coming = service.preview(name, _NEXT) if row.state == "active" else []
        last = service.history(name, limit=_NEXT)
    if json:
        emit_json({**schedule_json(row), "upcoming": _instants(coming), "history": [*map(_firing, last)]})
        return
    say(
        f"{row.name}: {_when(row)} starts {row.definition}; {row.state}, {row.runs} runs, {row.skips} skipped."
    )
    if row.problem:
        note(f"  {row.problem}")
    for at in coming:
        note(f"  next {local_time(at)}")
    _print_firings(last)


def create(  # noqa: PLR0917 - one parameter an option
    name: Name,
    definition: Definition,
    cron: Cron = None,
    every: Every = None,
    at: At = None,
    timezone: Zone = "UTC",
    overlap: Overlap = "allow",
    misfire: Misfire = "latest",
    catch_up: CatchUp = 100,
    jitter: Jitter = None,
    cooldown: Cooldown = None,
    begin: Begin = None,
    end: End = None,
    inputs: Inputs = None,
    queue: Queue = None,
    priority: Priority = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show when it would fire.")] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Save a schedule; it fires from now on, wherever a worker runs on this database.

    One of --cron, --every and --at says when. --dry-run shows the next times and saves nothing.
    """
    spec = _spec(locals())
    with _service(db) as service:
        if dry_run:
            _print_instants(service.preview(spec, 2 * _NEXT), json=json)
            return
        _print_saved(service.create(spec), json=json)


def update(  # noqa: PLR0917 - one parameter an option
    name: Name,
    definition: Definition,
    cron: Cron = None,
    every: Every = None,
    at: At = None,
    timezone: Zone = "UTC",
    overlap: Overlap = "allow",
    misfire: Misfire = "latest",
    catch_up: CatchUp = 100,
    jitter: Jitter = None,
    cooldown: Cooldown = None,
    begin: Begin = None,
    end: End = None,
    inputs: Inputs = None,
    queue: Queue = None,
    priority: Priority = None,
    *,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Replace what a schedule says; its history stays, and what has fired is not fired again."""
    spec = _spec(locals())
    with _service(db) as service:
        _print_saved(service.update(spec), json=json)


def _spec(given: dict[str, Any]) -> ScheduleSpec:
    from ...services.schedules import ScheduleSpec

    try:
        inputs = None if given["inputs"] is None else jsonlib.loads(given["inputs"])
    except ValueError as exc:
        raise UsageProblem(
            f"--input is not JSON: {exc}.", hint='Write --input \'{"name": "value"}\'.'
        ) from exc
    return ScheduleSpec(
        name=given["name"],
        definition=given["definition"],
        cron=given["cron"],
        every_s=seconds_of(given["every"], "--every"),
        at=_moment(given["at"], "--at"),
        timezone=given["timezone"],
        overlap=given["overlap"],
        misfire=given["misfire"],
        catch_up=given["catch_up"],
        jitter_s=seconds_of(given["jitter"], "--jitter") or 0.0,
        cooldown_s=seconds_of(given["cooldown"], "--cooldown") or 0.0,
        start_at=_moment(given["begin"], "--from"),
        end_at=_moment(given["end"], "--to"),
        inputs=inputs,
        queue=given["queue"],
        priority=given["priority"],
    )


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError as exc:
        raise UsageProblem(
            f"{option}: {text!r} is no instant.",
            hint="Write 2026-12-24T18:00:00+01:00; without a zone it is UTC.",
        ) from exc


def _print_saved(row: ScheduleRow, *, json: bool) -> None:
    from ...services.schedules import schedule_json

    if json:
        emit_json(schedule_json(row))
        return
    coming = f"next {local_time(row.next_at)}" if row.next_at is not None else row.state
    say(f"{row.name} starts {row.definition}: {_when(row)}, {coming}.")


def pause(
    name: Name,
    *,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Shown to others.")] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Fire nothing until it is resumed."""
    with _service(db) as service:
        _print_saved(service.pause(name, reason), json=json)


def resume(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Fire again, from now on; `backfill` fires what passed meanwhile."""
    with _service(db) as service:
        _print_saved(service.resume(name), json=json)


def remove(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Delete a schedule with its history; runs that it started stay."""
    with _service(db) as service:
        service.remove(name)
    if json:
        emit_json({"name": name, "removed": True})
    else:
        say(f"{name} is removed.")


def trigger(
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help="Whatever its overlap policy says.")] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Fire now, beside its times."""
    with _service(db) as service:
        found = service.trigger(name, force=force)
    if json:
        emit_json(_firing(found))
    else:
        _print_firings([found])


def backfill(
    name: Name,
    *,
    begin: Annotated[str, typer.Option("--from", metavar="INSTANT", help="First instant of the range.")],
    end: Annotated[str, typer.Option("--to", metavar="INSTANT", help="Last instant of the range.")],
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Fire the instants of a past range that have not fired.

    Side by side, or one after the other where the overlap policy is `queue`.
    """
    first, last = _moment(begin, "--from"), _moment(end, "--to")
    if first is None or last is None:
        raise UsageProblem("--from and --to are both wanted.")
    with _service(db) as service:
        found = service.backfill(name, first, last)
    if json:
        emit_list(map(_firing, found))
    else:
        _print_firings(found)


def history(
    name: Name,
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000)] = 20,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Show what became of its instants, newest first."""
    with _service(db) as service:
        found = service.history(name, limit=limit)
    if json:
        emit_list(map(_firing, found))
    else:
        _print_firings(found)


def upcoming(
    cron: Cron = None,
    every: Every = None,
    timezone: Zone = "UTC",
    *,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=1000)] = 10,
    json: Json = False,
) -> None:
    """Show when a cron text or an interval would fire; no database is needed."""
    import time

    from ...engine.cron import read_trigger

    seconds = seconds_of(every, "--every")
    interval = None if seconds is None else round(seconds * 1_000_000)
    with usage_errors():
        found = read_trigger(cron=cron, every=interval, timezone=timezone)
    _print_instants(found.upcoming(time.time_ns() // 1000, count), json=json)


def _instants(found: list[int]) -> list[str | None]:
    from ...engine.outputs import iso

    return [iso(at) for at in found]


def _print_instants(found: list[int], *, json: bool) -> None:
    if json:
        emit_list(_instants(found))
        return
    for at in found:
        say(local_time(at))


def _firing(row: FiringRow) -> dict[str, Any]:
    from ...engine.outputs import iso

    return {
        "at": iso(row.at),
        "kind": row.kind,
        "outcome": row.outcome,
        "instance": row.instance_id,
        "fired_at": iso(row.fired_at),
        "reason": row.reason,
    }


def _print_firings(rows: list[FiringRow]) -> None:
    lines = [
        [local_time(row.at), row.kind, row.outcome, short(row.instance_id or ""), row.reason or ""]
        for row in rows
    ]
    print_table(["AT", "KIND", "OUTCOME", "RUN", "WHY"], lines)
