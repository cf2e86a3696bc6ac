"""Which instants of a schedule fire now, which are missed, and what comes next. Pure.

An instant is missed when a later one is due as well, or when it is late by more than a minute because no engine was
there. `misfire` says what becomes of missed ones: `skip` lets them go, `latest` fires the last, `all` fires up to
`catch_up` of them, the newest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .cron import read_trigger

if TYPE_CHECKING:
    from ..repositories.schedule_rows import ScheduleRow
    from .cron import Trigger

__all__ = ["LATE", "ROUND", "Due", "decide_due", "jitter_of", "trigger_of"]

#: Later than this an instant counts as missed, in microseconds.
LATE: Final = 60_000_000
#: Firings of one schedule in one round: each is written in the round's transaction.
ROUND: Final = 100
#: Instants that one round looks at; a schedule that slept longer needs more rounds.
_MANY: Final = 10_000


@dataclass(slots=True, frozen=True)
class Due:
    """What one round does with a schedule."""

    fire: tuple[int, ...]
    missed: tuple[int, ...]
    #: Every instant up to here is decided.
    until: int
    #: When to look again; None = it never fires again.
    next_at: int | None


def trigger_of(row: ScheduleRow) -> Trigger:
    """When the schedule fires. Raises InvalidSchedule."""
    return read_trigger(
        cron=row.cron,
        every=row.every,
        at=row.at,
        timezone=row.timezone,
        start_at=row.start_at,
        end_at=row.end_at,
    )


def jitter_of(row: ScheduleRow, instant: int) -> int:
    """How much later an instant starts: the same for the same instant, whichever engine asks."""
    if row.jitter <= 0:
        return 0
    digest = hashlib.sha256(f"{row.id}:{instant}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (row.jitter + 1)


def decide_due(row: ScheduleRow, now: int) -> Due:
    """The instants since `fired_until` whose time, jitter included, has come. Raises InvalidSchedule."""
    trigger = trigger_of(row)
    instants = trigger.between(row.fired_until, now, _MANY)
    due: list[int] = []
    for instant in instants:
        if instant + jitter_of(row, instant) > now:
            break  # in order: a later instant waits for an earlier one
        due.append(instant)
    more = len(due) == _MANY
    fire: tuple[int, ...] = () if more else _firing(row, due, now)
    if len(fire) > ROUND:  # the rest has its turn in the next round, which comes at once
        fire = fire[:ROUND]
        due = due[: due.index(max(fire)) + 1]
    until = due[-1] if due else row.fired_until
    chosen = set(fire)
    missed = tuple(instant for instant in due if instant not in chosen)
    following = trigger.next_after(until)
    return Due(fire, missed, until, None if following is None else following + jitter_of(row, following))


def _firing(row: ScheduleRow, due: list[int], now: int) -> tuple[int, ...]:
    if not due:
        return ()
    if row.misfire == "all":
        return tuple(due[-row.catch_up :])
    late = now - due[-1] - jitter_of(row, due[-1]) > LATE
    return () if late and row.misfire == "skip" else (due[-1],)
