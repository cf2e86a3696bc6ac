"""A second opinion on cron: slow, dumb, and written without a look at the engine's.

It walks real minutes and looks at what the zone's clock shows. A shift is noticed as a person would notice it: the
clock shows something else than a minute more. Nothing here knows folds, gaps or offsets, and nothing is imported that
could share a mistake with the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = 60
HOUR = 3600
DAY = 86_400
MICROS = 1_000_000

_MONTHS = {name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_WEEKDAYS = {name: n for n, name in enumerate("sun mon tue wed thu fri sat".split())}
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def _field(text: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    """The numbers of a field that is known to be right."""
    found: set[int] = set()
    for item in text.lower().split(","):
        span, _, step = item.partition("/")
        if span == "*":
            span = f"{low}-{high}"
        left, _, right = span.partition("-")
        start = names[left] if left in names else int(left)
        stop = names[right] if right in names else int(right or start)
        if right == "sun" and start:
            stop = 7
        found.update(number for number in range(start, stop + 1) if (number - start) % int(step or 1) == 0)
    return found


class Cron:
    """A cron text as a question to a wall clock."""

    def __init__(self, text: str) -> None:
        minute, hour, day, month, weekday = _SHORTHANDS.get(text.lower(), text).split()
        self.minutes = _field(minute, 0, 59, {})
        self.hours = _field(hour, 0, 23, {})
        self.months = _field(month, 1, 12, _MONTHS)
        self.weekdays = {number % 7 for number in _field(weekday, 0, 7, _WEEKDAYS)}
        rest = [item for item in day.split(",") if item not in {"L", "l"}]
        self.last = len(rest) < day.count(",") + 1
        self.days = _field(",".join(rest), 1, 31, {}) if rest else set[int]()
        self.either = day[0] != "*" and weekday[0] != "*"
        self.all_hours = self.hours == set(range(24))

    def on(self, day: date) -> bool:
        """Does any time of this date match?"""
        if day.month not in self.months:
            return False
        by_date = day.day in self.days or (self.last and (day + timedelta(days=1)).day == 1)
        by_weekday = day.isoweekday() % 7 in self.weekdays
        return (by_date or by_weekday) if self.either else (by_date and by_weekday)

    def at(self, wall: datetime) -> bool:
        """Does this wall clock match?"""
        return wall.minute in self.minutes and wall.hour in self.hours and self.on(wall)

    def ever(self) -> bool:
        """Does any day match? The calendar repeats after 400 years; month and day do after 8 without a weekday."""
        start = date(2000, 1, 1)
        return any(self.on(start + timedelta(days=n)) for n in range(366 * 41))


@dataclass(frozen=True)
class Row:
    """A real minute: when it is, what the clock shows, whether it has shown that before, and what it left out."""

    instant: int
    wall: datetime
    repeated: bool
    skipped: tuple[datetime, ...]


def walk(zone: ZoneInfo, first: int, last: int) -> list[Row]:
    """The minutes from `first` to `last`, in seconds since 1970."""
    rows: list[Row] = []
    minute = timedelta(minutes=1)
    # A day before, to know which times have been shown already.
    highest = previous = datetime.fromtimestamp(first - 26 * HOUR, zone).replace(tzinfo=None)
    for instant in range(first - 26 * HOUR + MINUTE, last + 1, MINUTE):
        wall = datetime.fromtimestamp(instant, zone).replace(tzinfo=None)
        skipped: list[datetime] = []
        missing = previous + minute
        while missing < wall:
            skipped.append(missing)
            missing += minute
        if instant >= first:
            rows.append(Row(instant, wall, wall <= highest, tuple(skipped)))
        previous, highest = wall, max(highest, wall)
    return rows


def firings(cron: Cron, rows: list[Row]) -> list[int]:
    """The instants at which a cron fires, in microseconds."""
    if cron.all_hours:
        return [row.instant * MICROS for row in rows if cron.at(row.wall)]
    return [
        row.instant * MICROS
        for row in rows
        if (not row.repeated and cron.at(row.wall)) or any(map(cron.at, row.skipped))
    ]


def shifts(zone: ZoneInfo, year: int) -> list[int]:
    """The first minutes, in seconds, after each shift of the clock within a year."""
    found: list[int] = []
    start, stop = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (year, year + 1))
    for hour in range(start, stop, HOUR):
        if _shown(zone, hour + HOUR) - _shown(zone, hour) != timedelta(hours=1):
            minutes = range(hour + MINUTE, hour + HOUR + 1, MINUTE)
            found += [
                m for m in minutes if _shown(zone, m) - _shown(zone, m - MINUTE) != timedelta(minutes=1)
            ]
    return found


def _shown(zone: ZoneInfo, instant: int) -> datetime:
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None)
