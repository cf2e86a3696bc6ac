"""How routes are written: a router of guarded routes, what each needs, and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict

from ...engine.durations import parse_duration
from .gate import NEED, Caller, GuardedRoute, caller_of
from .problems import Refused

__all__ = [
    "MAX_PAGE",
    "Body",
    "Called",
    "Page",
    "Size",
    "instant_of",
    "needs",
    "page_of",
    "router_of",
    "seconds_of",
]

MAX_PAGE: Final = 500
_MICROSECONDS: Final = 1_000_000
Called = Annotated[Caller, Depends(caller_of)]
Size = Annotated[int, Query(alias="limit", ge=1, le=MAX_PAGE, description="Entries of a page.")]
Row = TypeVar("Row")


class Body(BaseModel):
    """A body: what it does not name is refused."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel):
    """A page of a list."""

    items: list[Any]
    #: Give it as `after` to go on; null: this was the last page.
    next: str | None = None


def router_of(tag: str) -> APIRouter:
    """A router whose routes cannot be made without saying what they need."""
    return APIRouter(tags=[tag], route_class=GuardedRoute)


def needs(scope: str) -> dict[str, Any]:
    """What a route's decorator is given: the scope in its OpenAPI entry, which is also what the gate asks for."""
    return {NEED: scope}


def page_of(
    found: Iterable[Row], size: int, entry: Callable[[Row], Any], cursor: Callable[[Row], str]
) -> Page:
    """The first of them as a page; `cursor` is where the next one begins behind."""
    rows: Iterator[Row] = iter(found)
    some = list(islice(rows, size))
    more = len(some) == size and next(rows, None) is not None
    return Page(items=[entry(row) for row in some], next=cursor(some[-1]) if more else None)


def seconds_of(text: str, pointer: str) -> float:
    """The seconds of a duration such as `30s`. Raises Refused with where it stands."""
    try:
        return parse_duration(text) / _MICROSECONDS
    except ValueError as exc:
        raise Refused(422, "request", f"{pointer}: {exc}") from exc


def instant_of(moment: datetime | None) -> int | None:
    """An instant in microseconds; without a zone it is UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * _MICROSECONDS)
