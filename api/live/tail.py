"""The newest stretch of the feed, kept in memory for all who read at its end; and one event with its text."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from ...engine.feed import Event
from ...engine.outputs import iso

__all__ = ["Item", "Sent", "Stretch", "Tail"]

#: Events that are kept for those who are nearly at the end.
KEPT: Final = 2_000
_SEQ: Final = attrgetter("seq")


@dataclass(slots=True, frozen=True)
class Item:
    """Something with a place in an order and its text as JSON."""

    seq: int
    text: str


class Sent:
    """An event, and its JSON, made once for all who get it."""

    __slots__ = ("_text", "event", "seq")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.seq = event.seq
        self._text: str | None = None

    @property
    def text(self) -> str:
        """As `GET /events` gives it: ASCII, one line."""
        if self._text is None:
            self._text = json.dumps({**self.event.as_dict(), "at": iso(self.event.at)}, separators=(",", ":"))
        return self._text


@dataclass(slots=True, frozen=True)
class Stretch:
    """Events in order behind one cursor, and where to go on."""

    events: Sequence[Sent]
    cursor: int
    #: There is more already.
    more: bool
    #: What was deleted before it could be read; see `EventPage.lost`.
    lost: int = 0


@dataclass(slots=True, frozen=True)
class Tail:
    """All events behind `start` up to `end`; never changed, but replaced, so that any thread may read it."""

    start: int
    end: int
    events: tuple[Sent, ...] = field(default=())

    def plus(self, events: Sequence[Sent], end: int) -> Tail:
        """With what came behind it, and without the oldest."""
        found = (*self.events, *events)
        if len(found) <= KEPT:
            return Tail(self.start, end, found)
        return Tail(found[-KEPT - 1].seq, end, found[-KEPT:])

    def behind(self, cursor: int, limit: int) -> Stretch | None:
        """What comes behind a cursor; None when that lies before the tail."""
        if cursor < self.start:
            return None
        first = bisect_right(self.events, cursor, key=_SEQ)
        some = self.events[first : first + limit]
        if first + limit < len(self.events):
            return Stretch(some, some[-1].seq, more=True)
        return Stretch(some, max(cursor, self.end), more=False)
