"""Durations of the DSL: "1h30m", "250ms", "2d" or ISO 8601 ("PT5M"); bare numbers are refused (DSL rule 29).

Inside the engine a duration is a whole number of microseconds. Years and months are refused: they have no fixed length.
"""

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
_SHORT: Final = re.compile(r"(?:[0-9]+(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_ISO: Final = re.compile(
    r"P(?=.)(?:([0-9]+)W)?(?:([0-9]+)D)?"
    r"(?:T(?=.)(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)(?:[.,]([0-9]{1,6}))?S)?)?"
)
_ISO_UNITS: Final = (604_800_000_000, 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000)
_MAX_LENGTH: Final = 64


def parse_duration(text: object) -> int:
    """Microseconds of a duration text. Raises ValueError with a sentence that says what is accepted."""
    if not isinstance(text, str):
        shown = repr(text)[:_MAX_LENGTH]
        raise ValueError(f"a duration is text like '30s' or 'PT5M', not {shown}")  # noqa: TRY004 - one error for all
    value = _parse(text) if len(text) <= _MAX_LENGTH else None
    if value is None:
        shown = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"
        raise ValueError(f"{shown!r} is no duration; write e.g. '250ms', '30s', '1h30m', '2d' or 'PT5M'")
    if value > MAX_DURATION:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return value


def _parse(text: str) -> int | None:
    if _SHORT.fullmatch(text):
        return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    found = _ISO.fullmatch(text)
    if not found:
        return None
    *whole, fraction = found.groups()
    total = sum(int(part) * unit for part, unit in zip(whole, _ISO_UNITS, strict=True) if part)
    return total + (int(fraction.ljust(6, "0")) if fraction else 0)
