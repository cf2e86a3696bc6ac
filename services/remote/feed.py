"""What happens on a server, in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

from ...engine.feed import Event, EventPage
from .client import PAGE, Remote
from .problems import NotUnderstood
from .records import revive

__all__ = ["RemoteFeed"]

_SHORTEST_S: Final = 0.1
_LONGEST_S: Final = 1.0
#: How long a follower goes on asking a server that does not answer: it may be starting anew.
_PATIENCE_S: Final = 30.0


class RemoteFeed:
    """As `EventFeed`, through a server: whoever goes on from the last cursor misses nothing and sees nothing twice."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def read(
        self, after: int, *, names: Sequence[str] = (), instance_id: str | None = None, limit: int = PAGE
    ) -> EventPage:
        """Give the next events behind a cursor, 0 for all that the database still has."""
        query = {"after": after, "name": list(names), "instance": instance_id, "limit": limit}
        found = self._remote.get("/events", query, patience_s=_PATIENCE_S)
        events = tuple(revive(Event, each) for each in found["items"])
        return EventPage(events, int(found["next"]), found["more"], found.get("lost", 0))

    def cursor(self) -> int:
        """Where the feed stands now: what begins after this call comes behind it."""
        with self._remote.lines("/events/stream", "text/event-stream") as lines:
            for line in lines:
                if line.startswith("id: "):
                    return int(line.removeprefix("id: "))
        raise NotUnderstood("the server's stream of events does not say where it stands.")

    def follow(
        self,
        after: int | None = None,
        *,
        names: Sequence[str] = (),
        instance_id: str | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """Give events as they come, for ever or until `stop` is set; from now on when no cursor is given."""
        ended = stop if stop is not None else threading.Event()
        cursor = self.cursor() if after is None else after
        pause = _SHORTEST_S
        while not ended.is_set():
            page = self.read(cursor, names=names, instance_id=instance_id)
            pause = _SHORTEST_S if page.cursor > cursor else min(_LONGEST_S, pause * 2)
            cursor = page.cursor
            yield from page.events
            if not page.more:
                ended.wait(pause)
