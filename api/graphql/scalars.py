"""Scalars beyond GraphQL's own: instants, whole numbers of any size, JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NewType

import strawberry
from strawberry.scalars import JSON

from ...engine.durations import parse_duration
from ...engine.errors import RequestError
from ...engine.outputs import iso

__all__ = ["SCALARS", "BigInt", "Instant", "Json", "at", "duration_s", "micros", "moment"]

Json = JSON
Instant = NewType("Instant", str)
BigInt = NewType("BigInt", int)


def _instant(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    datetime.fromisoformat(text)
    return text


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError("a whole number of at most 63 bits")
    return value


SCALARS: Final[dict[object, Any]] = {
    Instant: strawberry.scalar(
        name="Instant",
        description="An instant as ISO 8601, `2026-01-31T12:00:00.000000Z`. Without a zone it is UTC.",
        serialize=lambda value: value,
        parse_value=_instant,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A whole number that may need more than 32 bits.",
        serialize=lambda value: value,
        parse_value=_whole,
    ),
}


def at(microseconds: int | None) -> Instant | None:
    """An instant as it is given."""
    text = iso(microseconds)
    return None if text is None else Instant(text)


def moment(text: Instant | None) -> datetime | None:
    """An instant that somebody gave."""
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def micros(text: Instant | None) -> int | None:
    """An instant that somebody gave, in microseconds."""
    found = moment(text)
    return None if found is None else int(found.timestamp() * 1_000_000)


def duration_s(text: str | None, pointer: str) -> float | None:
    """The seconds of a duration such as `30s`. Raises RequestError with where it stands."""
    if text is None:
        return None
    try:
        return parse_duration(text) / 1_000_000
    except ValueError as exc:
        raise RequestError(f"{exc}", pointer=pointer, hint="Such as 30s or 5m.") from exc
