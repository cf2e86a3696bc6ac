"""Durations of the DSL: "1h30m", "250ms", "2d" or ISO 8601 ("PT5M"); bare numbers are refused (DSL rule 29)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_DURATION", "parse_duration"]

#: Hundred years, in microseconds: longer is a mistake.
MAX_DURATION: Final = 100 * 365 * 86_400 * 1_000_000

_UNITS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SHORT: Final = re.compile(r"(?:\d+(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"(\d+)(ms|s|m|h|d)")
_ISO: Final = re.compile(
    r"P(?=.)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,6})?)S)?)?"
)


def parse_duration(text: object) -> int:
    """Microseconds of a duration text. Raises ValueError with a sentence that says what is accepted."""
    if not isinstance(text, str):
        raise ValueError(f"a duration is text like '30s' or 'PT5M', not {text!r}")
    value = _parse(text)
    if value is None:
        raise ValueError(f"{text!r} is no duration; write e.g. '250ms', '30s', '1h30m', '2d' or 'PT5M'")
    if value > MAX_DURATION:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return value


def _parse(text: str) -> int | None:
    if len(text) > 64:
        return None
    if _SHORT.fullmatch(text):
        return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    found = _ISO.fullmatch(text)
    if not found:
        return None
    weeks, days, hours, minutes, seconds = (float(part) if part else 0.0 for part in found.groups())
    total = weeks * 604_800 + days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    return round(total * 1_000_000)
