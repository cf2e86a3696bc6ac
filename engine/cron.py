"""When a schedule fires: by cron text, by interval, or once. Pure: no clock, no I/O but the time zone's file.

Instants are microseconds since 1970, UTC. What a cron text may say stands in `cron_fields`; APScheduler finds the next
matching date on a calendar without time zones, and everything about zones is decided here:

| | hour field names some hours | hour field names all hours (`*`, `0-23`) |
|---|---|---|
| a local time is skipped | fires at the instant of the shift | does not fire |
| a local time comes twice | fires the first time | fires both times |

So `30 2 * * *` fires once on every day: on the day that has no 2:30, when the clock jumps; all times in one gap, and a
regular one at its end, are one firing. And `*/15 * * * *` fires every fifteen minutes of real time, as people expect of
it and as Vixie cron does. `*/2` does not name all hours: its 2:00 is not lost in spring and not doubled in autumn.

An interval counts real time from its anchor, `start_at` or 1970, so it does not depend on when it is asked.
The calendar begins with 1970 and ends with 9998.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, cast
from zoneinfo import ZoneInfo

from .cron_fields import CronFields, InvalidSchedule, read_fields

__all__ = ["CronTrigger", "IntervalTrigger", "InvalidSchedule", "OnceTrigger", "Trigger", "read_trigger"]

#: The shortest interval, a second.
_MIN_EVERY: Final = 1_000_000

_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_BEFORE_ALL: Final = -(2**63)
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger(ABC):
    """A rule of firing; immutable, and equal to another one that was read from the same arguments."""

    #: No firing before it, or after it; both may fire themselves.
    start_at: int | None = None
    end_at: int | None = None

    def next_after(self, after: int) -> int | None:
        """The first firing strictly later than `after`; None when there is none any more."""
        floor = after if self.start_at is None else max(after, self.start_at - 1)
        found = self._next(floor)
        if found is None or (self.end_at is not None and found > self.end_at):
            return None
        if found <= floor:
            # A caller that loops until "now" would never come back.
            raise RuntimeError(f"{self!r} does not advance: {found} is not later than {floor}")
        return found

    def upcoming(self, after: int, count: int) -> list[int]:
        """The next firings after `after`, at most `count`."""
        return self.between(after, None, count)

    def between(self, after: int, until: int | None, limit: int) -> list[int]:
        """The firings with `after` < t <= `until`, the first `limit` of them; without `until` there is no end."""
        found: list[int] = []
        while len(found) < limit:
            following = self.next_after(after)
            if following is None or (until is not None and following > until):
                break
            found.append(following)
            after = following
        return found

    @abstractmethod
    def _next(self, after: int) -> int | None:
        """The first firing after `after`, without regard to the bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceTrigger(Trigger):
    """Fires at one instant."""

    at: int

    def _next(self, after: int) -> int | None:
        return self.at if self.at > after else None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalTrigger(Trigger):
    """Fires at its anchor (`start_at` or 1970) and every `every` microseconds of real time from there."""

    every: int

    def _next(self, after: int) -> int | None:
        anchor = self.start_at or 0
        return anchor + ((after - anchor) // self.every + 1) * self.every


class _Calendar(Protocol):
    """What is used of APScheduler: the first match at or after a time, by a calendar that knows no zones."""

    def get_next_fire_time(self, previous_fire_time: None, now: datetime) -> datetime | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CronTrigger(Trigger):
    """Fires when the clocks of a zone match a cron text; see the module on clock shifts.

    A wall is what such a clock shows, as microseconds since it showed the beginning of 1970.
    """

    cron: str
    timezone: str
    #: The hour field names all hours: firings follow real time.
    every_hour: bool = field(repr=False, compare=False)
    #: The zone's clock and the calendars of which the earliest match counts.
    zone: ZoneInfo = field(repr=False, compare=False)
    calendars: tuple[_Calendar, ...] = field(repr=False, compare=False)

    def _next(self, after: int) -> int | None:
        after = max(after, -1)
        if after >= _END:
            return None
        found = self._by_real_time(after + 1) if self.every_hour else self._by_wall(after)
        return found if found is not None and found < _END else None

    def _by_wall(self, after: int) -> int | None:
        """The next firing when every matching wall fires exactly once."""
        offset = self._offset(after)
        wall = after + offset
        earlier, later = self._offsets(wall)
        if offset == later < earlier:
            # The second pass of a repeated time: all of it has fired in the first.
            wall = self._shift(wall) + earlier - 1
        match = self._match(wall + 1)
        if match is None:
            return None
        earlier, later = self._offsets(match)
        return self._shift(match) if earlier < later else match - earlier

    def _by_real_time(self, since: int) -> int | None:
        """The first instant, `since` or later, at which the zone's clock shows a matching wall."""
        offset = self._offset(since)
        match = self._match(since + offset)
        if match is None:
            return None
        earlier, later = self._offsets(since + offset)
        if offset == earlier > later:
            # The first pass of a repeated time: what it has no more, the second may have.
            shift = self._shift(since + offset)
            if match >= shift + earlier:
                return self._by_real_time(shift)
        earlier, later = self._offsets(match)
        if earlier < later:
            # Nobody sees this wall. The shift is later than `since`, so this ends.
            return self._by_real_time(self._shift(match))
        return match - earlier if match - earlier >= since else match - later

    def _match(self, wall: int) -> int | None:
        """The first matching wall, this one or later. Whether any clock shows it is not asked."""
        now = _EPOCH + timedelta(microseconds=wall)
        found = [match for each in self.calendars if (match := each.get_next_fire_time(None, now))]
        return (min(found) - _EPOCH) // _MICROSECOND if found else None

    def _offset(self, instant: int) -> int:
        """How far the zone's clock is ahead of UTC at an instant."""
        here = (_EPOCH + timedelta(microseconds=instant)).astimezone(self.zone)
        return (here.utcoffset() or timedelta()) // _MICROSECOND

    def _offsets(self, wall: int) -> tuple[int, int]:
        """The offset before and after the shift that a wall is near to; equal for nearly every wall.

        The first is smaller for a skipped wall and larger for a repeated one (PEP 495).
        """
        shown = (_EPOCH + timedelta(microseconds=wall)).replace(tzinfo=self.zone)
        both = (shown.utcoffset(), shown.replace(fold=1).utcoffset())
        before, after = ((offset or timedelta()) // _MICROSECOND for offset in both)
        return before, after

    def _shift(self, wall: int) -> int:
        """The instant at which the clock shifts and thereby skips this wall or begins to repeat it."""
        offsets = self._offsets(wall)
        low, high = wall - max(offsets), wall - min(offsets)
        before = self._offset(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(middle) == before:
                low = middle
            else:
                high = middle
        return high


def read_trigger(
    *,
    cron: str | None = None,
    every: int | None = None,
    at: int | None = None,
    timezone: str = "UTC",
    start_at: int | None = None,
    end_at: int | None = None,
) -> Trigger:
    """The trigger of a schedule: exactly one of `cron`, `every` (microseconds) and `at` says when it fires.

    `start_at` and `end_at` bound the firings, inclusively. What is returned fires at least once.

    Raises:
        InvalidSchedule: its hint says what to write instead.
    """
    zone = _zone(timezone)
    if sum(given is not None for given in (cron, every, at)) != 1:
        hint = "Give `cron` for a calendar, `every` for an interval, or `at` for a single run."
        raise InvalidSchedule("a schedule has exactly one of `cron`, `every` and `at`.", hint=hint)
    trigger: Trigger
    if cron is not None:
        trigger = _cron_trigger(cron, zone, start_at, end_at)
    elif every is not None:
        if every < _MIN_EVERY:
            raise InvalidSchedule(
                "an interval is a second at least.", hint="Write e.g. '1s' or '5m'.", field="every"
            )
        trigger = IntervalTrigger(every=every, start_at=start_at, end_at=end_at)
    else:
        trigger = OnceTrigger(at=at or 0, start_at=start_at, end_at=end_at)
    if trigger.next_after(_BEFORE_ALL) is None:
        hint = "Let `start_at` be earlier or `end_at` later."
        raise InvalidSchedule(
            "the schedule never fires between its start and its end.", hint=hint, field="end_at"
        )
    return trigger


def _zone(name: str) -> ZoneInfo:
    try:
        # `localtime` is another zone on every machine; two engines would disagree about one schedule.
        if name != "localtime":
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    raise InvalidSchedule(
        f"{name[:80]!r} is no known time zone.",
        hint="Write a name of the IANA database like 'Europe/Berlin', or 'UTC'.",
        field="timezone",
    )


def _cron_trigger(cron: str, zone: ZoneInfo, start_at: int | None, end_at: int | None) -> CronTrigger:
    fields = read_fields(cron)
    dates = _words(fields.days, 31, "last" if fields.last_day else "")
    # Names, because numbers mean other days to APScheduler: its week begins with Monday as 0.
    weekdays = ",".join(_WEEKDAYS[number] for number in sorted(fields.weekdays))
    pairs = [(dates, "*"), ("*", weekdays)] if fields.either_day else [(dates, weekdays)]
    return CronTrigger(
        cron=cron,
        timezone=zone.key,
        every_hour=fields.every_hour,
        zone=zone,
        calendars=tuple(_calendar(fields, days, weekdays) for days, weekdays in pairs),
        start_at=start_at,
        end_at=end_at,
    )


def _calendar(fields: CronFields, days: str, weekdays: str) -> _Calendar:
    from apscheduler.triggers.cron import CronTrigger as Calendar  # pyright: ignore[reportMissingTypeStubs] - has none

    made = Calendar(
        minute=_words(fields.minutes, 60),
        hour=_words(fields.hours, 24),
        day=days,
        month=_words(fields.months, 12),
        day_of_week=weekdays,
        timezone=UTC,
    )
    return cast("_Calendar", made)


def _words(numbers: frozenset[int], count: int, more: str = "") -> str:
    """The list of a field in APScheduler's spelling; all its numbers are `*`, which it finds faster."""
    if len(numbers) == count:
        return "*"
    return ",".join([*map(str, sorted(numbers)), *([more] if more else [])])
