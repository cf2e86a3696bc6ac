"""What one stream reads: its filter, its cursor, and what is told when the cursor lies where nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...engine.feed import fits
from .hub import Bell, Hub
from .tail import Item, Sent

__all__ = ["EventReader", "Reader", "Taken", "Wanted"]


@dataclass(slots=True, frozen=True)
class Wanted:
    """Which events a stream gives."""

    names: tuple[str, ...] = ()
    instance_id: str | None = None
    queue: str | None = None


@dataclass(slots=True, frozen=True)
class Taken:
    """What a reader gave, in order; `notices` are told before it."""

    items: Sequence[Item | Sent] = ()
    more: bool = False
    notices: Sequence[tuple[str, Mapping[str, Any]]] = field(default=())
    #: Nothing will come any more; what is told last.
    end: Mapping[str, Any] | None = None


class Reader(Protocol):
    """Reads in order from a cursor on, which moves with what it gives."""

    @property
    def cursor(self) -> int:
        """Where it stands: behind all that it has given or left out."""
        ...

    async def open(self) -> Taken:
        """Find the place to begin at; what has to be told of it. Raises EngineError."""
        ...

    async def take(self) -> Taken:
        """What there is now. Raises DatabaseUnavailable, and may be asked again."""
        ...

    async def wait(self, timeout_s: float) -> None:
        """Until there may be more, at most so long."""
        ...

    def close(self) -> None:
        """It is not asked any more."""
        ...


class EventReader:
    """Reads the feed through a hub."""

    def __init__(self, hub: Hub, wanted: Wanted, after: int | None) -> None:
        self._hub = hub
        self._wanted = wanted
        self._after = after
        self._cursor = after or 0
        #: How far losses have been told.
        self._told = 0
        self._bell = Bell()
        hub.join(self._bell)

    @property
    def cursor(self) -> int:
        """Where it stands."""
        return self._cursor

    async def open(self) -> Taken:
        """Find the place to begin at: now, or behind the cursor that was asked for. Raises DatabaseUnavailable."""
        if self._after == 0:
            return Taken()
        end = await self._hub.end()
        if self._after is None:
            self._cursor = end
            return Taken()
        if self._after <= end:
            return Taken()
        # it was given by another database, or by this one before it was put back to an earlier state
        self._cursor = end
        return Taken(notices=[("reset", {"cursor": end, "asked": self._after})])

    async def take(self) -> Taken:
        """What there is now, behind the cursor."""
        self._bell.mute()
        asked = self._cursor
        found = await self._hub.behind(asked)
        self._cursor = found.cursor
        wanted = self._wanted
        items = [
            sent for sent in found.events if fits(sent.event, wanted.names, wanted.instance_id, wanted.queue)
        ]
        notices: list[tuple[str, Mapping[str, Any]]] = []
        if found.lost > self._told:
            self._told = found.lost
            notices.append(("gap", {"cursor": asked, "deleted_upto": found.lost}))
        return Taken(items, found.more, notices)

    async def wait(self, timeout_s: float) -> None:
        """Until there is news."""
        await self._bell.heard(timeout_s)

    def close(self) -> None:
        """Leave the hub."""
        self._hub.leave(self._bell)
