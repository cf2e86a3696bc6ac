"""The `schedule` of a definition becomes a schedule of the database when its version becomes the active one.

It is named `definition:<name>` and follows the active version: another version's schedule takes its place, a version
without one ends it. What has fired is not fired again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..repositories import schedule_store
from ..repositories.schedule_rows import ScheduleRow
from .firing import jitter_of, trigger_of
from .membership import new_id
from .payload import encode

if TYPE_CHECKING:
    from ..repositories.database import Database
    from .plan import Plan, ScheduleRule

__all__ = ["adopt", "name_of"]

_TIMES = ("cron", "every", "timezone", "start_at", "end_at", "jitter")


def name_of(definition: str) -> str:
    """The name of the schedule that a definition says itself."""
    return f"definition:{definition}"


def adopt(database: Database, definition: str, plan: Plan | None) -> None:
    """Make the stored schedule that of the active version; `plan` is None when there is none."""
    rule = plan.schedule if plan is not None else None
    name = name_of(definition)
    with database.read() as connection:
        if rule is None and schedule_store.schedule(connection, name) is None:
            return
    with database.write() as connection:
        if rule is None:
            schedule_store.remove_schedule(connection, name)
            return
        now = schedule_store.now_of(connection)
        wanted = _row(definition, name, rule, now)
        if schedule_store.add_schedule(connection, wanted):
            return
        old = schedule_store.lock_schedule(connection, name)
        if old is None:
            schedule_store.add_schedule(connection, wanted)
            return
        values = _changes(old, wanted)
        if values:
            schedule_store.change_schedule(connection, old.id, **values, updated_at=now)


def _changes(old: ScheduleRow, wanted: ScheduleRow) -> dict[str, object]:
    """What differs; the next firing is counted anew only when the times have changed."""
    if old.state == "paused":
        wanted = replace(wanted, state="paused", next_at=None)
    same_times = all(getattr(old, name) == getattr(wanted, name) for name in _TIMES)
    kept = {"id", "created_at", "updated_at", "runs", "skips", "fired_until" if same_times else "id"}
    if same_times:
        kept |= {"next_at", "state"}
    return {
        name: getattr(wanted, name)
        for name in wanted.__slots__
        if name not in kept and getattr(old, name) != getattr(wanted, name)
    }


def _row(definition: str, name: str, rule: ScheduleRule, now: int) -> ScheduleRow:
    row = ScheduleRow(
        id=new_id(),
        name=name,
        definition=definition,
        version=None,
        origin="definition",
        state="active",
        cron=rule.cron,
        every=rule.every,
        at=None,
        timezone=rule.timezone,
        overlap=rule.overlap,
        misfire=rule.misfire,
        catch_up=rule.catch_up,
        jitter=rule.jitter,
        cooldown=0,
        start_at=rule.start_at,
        end_at=rule.end_at,
        inputs=None if rule.inputs is None else encode(rule.inputs.source),
        queue=None,
        priority=None,
        fired_until=now,
        next_at=None,
        runs=0,
        skips=0,
        problem=None,
        created_at=now,
        updated_at=now,
    )
    following = trigger_of(row).next_after(now)
    return replace(
        row,
        next_at=None if following is None else following + jitter_of(row, following),
        state="active" if following is not None else "ended",
    )
