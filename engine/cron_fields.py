"""The text of a cron schedule, read into sets of numbers; every refusal says what to write instead.

    minute        0-59     *  5  0,30  8-18  */15  8-18/2
    hour          0-23
    day of month  1-31     and L, the last day of the month
    month         1-12     or jan-dec, in any case
    weekday       0-7      or sun-sat, in any case; 0 and 7 are Sunday

`@yearly @annually @monthly @weekly @daily @midnight @hourly` stand for five fields. A range runs upwards; only a name
may close it over the week's end (`sat-sun`). A step needs `*` or a range before it.

The two day fields, as in Vixie cron: when neither begins with `*`, a day matches if either field matches; otherwise
both must. So `0 0 13 * fri` fires on every 13th and on every Friday, `0 0 */2 * fri` on Fridays with an odd date.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from .errors import EngineError

__all__ = ["CronFields", "InvalidSchedule", "read_fields"]


class InvalidSchedule(EngineError):
    """Raised when a schedule cannot be read, or could never fire; nothing was stored."""

    code: ClassVar[str] = "schedule"

    def __init__(self, message: str, *, hint: str | None = None, field: str = "cron") -> None:
        super().__init__(message, hint=hint)
        #: The argument of `read_trigger` that is wrong.
        self.field = field


@dataclass(frozen=True, slots=True)
class CronFields:
    """A cron text in numbers. At least one date matches, which is checked when it is read."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    #: The last day of the month matches too, whatever its number.
    last_day: bool
    months: frozenset[int]
    #: 0 is Sunday, 6 is Saturday.
    weekdays: frozenset[int]
    #: A day matches by its date or by its weekday; otherwise by both.
    either_day: bool

    @property
    def every_hour(self) -> bool:
        """True when the hour field names all hours, however it is spelt."""
        return len(self.hours) == 24


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five fields: its name in messages, its bounds, and the names that stand for numbers."""

    name: str
    low: int
    high: int
    #: How many different values there are, and so the longest step; Sunday has two numbers.
    size: int
    names: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


_MINUTE: Final = _Field("minute", 0, 59, 60)
_HOUR: Final = _Field("hour", 0, 23, 24)
_DAY: Final = _Field("day of month", 1, 31, 31)
_MONTH: Final = _Field("month", 1, 12, 12, tuple("jan feb mar apr may jun jul aug sep oct nov dec".split()))
_WEEKDAY: Final = _Field("weekday", 0, 7, 7, tuple("sun mon tue wed thu fri sat".split()))

_ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ITEM: Final = re.compile(r"(?:(\*)|([0-9]+|[a-z]+)(?:-([0-9]+|[a-z]+))?)(?:/([0-9]+))?", re.IGNORECASE)
_MONTH_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
#: Sixty minutes as a list take 169 characters; nobody writes that much in every field.
_MAX_LENGTH: Final = 500
_FORM: Final = "Write minute, hour, day of month, month and weekday, e.g. '30 6 * * mon-fri'."


def read_fields(text: str) -> CronFields:
    """The numbers of a cron text. Raises InvalidSchedule."""
    if len(text) > _MAX_LENGTH:
        raise InvalidSchedule(
            f"a cron text has at most {_MAX_LENGTH} characters, not {len(text)}.", hint=_FORM
        )
    parts = _expand(text).split()
    if len(parts) != 5:
        raise InvalidSchedule(
            f"{text!r} has {len(parts)} fields, a cron text has 5.", hint=_form_for(len(parts))
        )
    minute, hour, day, month, weekday = parts
    days, last_day = _days(day)
    months = _values(_MONTH, month)
    weekdays = frozenset(number % 7 for number in _values(_WEEKDAY, weekday))
    either_day = not (day.startswith("*") or weekday.startswith("*"))
    if not (last_day or any(min(days) <= _MONTH_LENGTHS[month - 1] for month in months)):
        if not either_day:
            raise InvalidSchedule(
                f"{text!r} never fires: none of its months has a day {min(days)}.",
                hint="Write another day of month, or L for the last one.",
            )
        # What is left of "either" is the weekday alone; looking for such a date would take until the year 9999.
        days, either_day = _DAY.all, False
    return CronFields(
        _values(_MINUTE, minute), _values(_HOUR, hour), days, last_day, months, weekdays, either_day
    )


def _expand(text: str) -> str:
    stripped = text.strip()
    if not stripped.startswith("@"):
        return stripped
    if stripped.lower() not in _ALIASES:
        known = ", ".join(_ALIASES)
        raise InvalidSchedule(
            f"{text!r} is no known schedule.", hint=f"Write five fields, or one of {known}."
        )
    return _ALIASES[stripped.lower()]


def _form_for(count: int) -> str:
    return f"{_FORM} Seconds and years cannot be given; for seconds use `every`." if count > 5 else _FORM


def _days(text: str) -> tuple[frozenset[int], bool]:
    """The numbers of the day field, and whether the last day is meant too."""
    items = text.split(",")
    numbers = [item for item in items if item.upper() != "L"]
    last_day = len(numbers) < len(items)
    return (_values(_DAY, ",".join(numbers)) if numbers else frozenset()), last_day


def _values(field: _Field, text: str) -> frozenset[int]:
    return frozenset(number for item in text.split(",") for number in _item(field, item))


def _item(field: _Field, text: str) -> range:
    """One item of a list: `*`, a value or a range, the first and last with an optional step."""
    found = _ITEM.fullmatch(text)
    if not found:
        raise _refused(
            field, text, "is not understood", "Write *, 5, 1-5, */10, 1-30/10, or a list of these."
        )
    star, first, last, step = found.groups()
    if step and not (star or last):
        hint = f"Write {first}-{field.high}/{step} or */{step}."
        raise _refused(field, text, "has a step without a range", hint)
    low, high = (field.low, field.high) if star else _bounds(field, text, first, last)
    return range(low, high + 1, _step(field, text, step) if step else 1)


def _bounds(field: _Field, text: str, first: str, last: str | None) -> tuple[int, int]:
    low = _number(field, text, first)
    high = _number(field, text, last) if last else low
    if field is _WEEKDAY and last and last.lower() == "sun" and low:
        high = 7  # `sat-sun` is plain to every reader
    if low > high:
        hint = f"Split it in two: {first}-{field.high},{field.low}-{last}."
        raise _refused(field, text, "runs backwards", hint)
    return low, high


def _number(field: _Field, text: str, word: str) -> int:
    if word.lower() in field.names:
        # Months count from 1, weekdays from 0: the first name has the lowest number.
        return field.low + field.names.index(word.lower())
    if not word.isdigit():
        known = f" or {', '.join(field.names)}" if field.names else ""
        raise _refused(
            field, text, f"has an unknown name {word!r}", f"Write {field.low}-{field.high}{known}."
        )
    # Leading zeros aside, more than two digits are out of every range; int() of thousands of them is slow.
    number = int(word.lstrip("0")[:3] or "0")
    if not field.low <= number <= field.high:
        raise _refused(field, text, "is out of range", f"Write {field.low} to {field.high}.")
    return number


def _step(field: _Field, text: str, word: str) -> int:
    step = int(word.lstrip("0")[:3] or "0")
    if not 1 <= step <= field.size:
        hint = f"Write a step of 1 to {field.size}; for an interval that crosses hours or days use `every`."
        raise _refused(field, text, "has a step out of range", hint)
    return step


def _refused(field: _Field, text: str, what: str, hint: str) -> InvalidSchedule:
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return InvalidSchedule(f"the {field.name} {shown!r} {what}.", hint=hint)
