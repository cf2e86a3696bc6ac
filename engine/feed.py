"""EventFeed: what happens, in order, to whoever asks; read from the database, so that it is the same in every process.

A cursor is a number. A reader that goes on from the cursor it was given last sees every committed event after it, once
and in order, across its own restarts (RELIABILITY I27). Nothing is pushed: a reader that stops costs nobody anything.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final

from ..repositories import feed, views
from ..repositories.database import Database
from ..repositories.feed import Entry, Horizon
from ..repositories.readmodels import LogEntry
from ..repositories.records import InstanceState
from ..repositories.records import TaskState as NodeState
from .translate import engine_errors

__all__ = ["EVENTS", "Event", "EventFeed", "EventPage", "LinePage", "fits", "unknown_pattern"]

#: Every name there is.
EVENTS: Final = (
    *(f"instance.{state}" for state in InstanceState),
    *(f"task.{state}" for state in NodeState),
    "task.progress",
    "engine.started",
    "engine.stopped",
    "engine.offline",
    "queue.high",
    "queue.normal",
    "webhook.disabled",
    "alert.raised",
    "alert.acknowledged",
    "alert.resolved",
)
#: Pauses of a follower: after news, and at most.
_SHORTEST_S: Final = 0.02
_LONGEST_S: Final = 0.5
#: How long one `read` waits for transactions that were writing when it came, and its pause between looks.
_PATIENCE_S: Final = 1.0
_LOOK_S: Final = 0.005
_PAGE: Final = 500


@dataclass(slots=True, frozen=True)
class Event:
    """One thing that happened."""

    #: Its place in the feed; the cursor to go on from.
    seq: int
    #: `instance.completed`, `task.running`, `task.progress`, `engine.offline`, `queue.high`, …
    name: str
    #: Microseconds since 1970, by the database's clock.
    at: int
    instance_id: str | None = None
    #: Name of the instance's definition.
    definition: str | None = None
    queue: str | None = None
    #: The task; None for an event of the instance, an engine or a queue.
    path: str | None = None
    attempt: int = 0
    from_state: str | None = None
    state: str | None = None
    reason: str = ""
    #: The engine that wrote it, or that it is about.
    engine: str | None = None
    #: Progress: `fraction`, `message`. Queues: `depth`, `high`. Engines: `host`, `pid`.
    data: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(slots=True, frozen=True)
class EventPage:
    """Events in order, and where to go on; the cursor also passes what the filter left out."""

    events: tuple[Event, ...]
    cursor: int
    #: There is more already.
    more: bool
    #: Events behind the cursor that was asked for, up to this number, were deleted before they could be read; 0: none.
    lost: int = 0


@dataclass(slots=True, frozen=True)
class LinePage:
    """Log lines in order, and where to go on."""

    lines: tuple[LogEntry, ...]
    cursor: int
    #: There is more already.
    more: bool
    #: The instance's state before they were read; None: there is no such instance.
    state: InstanceState | None


def unknown_pattern(pattern: str) -> str | None:
    """Say what is wrong with a pattern that no event can fit."""
    if any(fnmatchcase(name, pattern) for name in EVENTS):
        return None
    close = get_close_matches(pattern, EVENTS, n=1)
    hint = (
        f" Did you mean {close[0]}?"
        if close
        else " Names are instance.STATE, task.STATE, and "
        + ", ".join(
            name for name in EVENTS if name.partition(".")[0] in {"engine", "queue", "webhook", "alert"}
        )
        + ", task.progress."
    )
    return f"no event fits {pattern!r}.{hint}"


class EventFeed:
    """Reads events. Safe to share between threads; a follower is one thread's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cursor(self) -> int:
        """Where the feed stands now: what begins after this call comes behind it."""
        with engine_errors(), self._database.read() as connection:
            return feed.horizon(connection).last

    def read(
        self, after: int, *, names: Sequence[str] = (), instance_id: str | None = None, limit: int = _PAGE
    ) -> EventPage:
        """Give the next events behind a cursor, 0 for all that the database still has.

        `names` are patterns such as `task.*`; an event that fits one is given. A page may be empty and its cursor move.
        A transaction that writes for longer than a second, anywhere on the server, holds back what came after it.
        """
        upto = self._final(time.monotonic() + _PATIENCE_S)
        if upto <= after:
            return EventPage((), after, more=False)
        with engine_errors(), self._database.read() as connection:
            found = feed.entries(connection, after, upto, limit)
            gone = (
                feed.deleted_upto(connection) if after > 0 else 0
            )  # later: what went meanwhile is missed too
        more = len(found) >= limit
        cursor = found[-1].seq if more else max(after, upto)
        events = [event for entry in found if (event := _event(entry)) is not None]
        wanted = tuple(event for event in events if fits(event, names, instance_id))
        return EventPage(wanted, cursor, more, gone if gone > after else 0)

    def lines(
        self,
        instance_id: str,
        after: int,
        *,
        path: str | None = None,
        level: str | None = None,
        limit: int = _PAGE,
    ) -> LinePage:
        """Give the next log lines of an instance behind a cursor; none that fits is ever passed over.

        `path` and `level` as `views.logs` takes them. When the state is a terminal one, its last lines are among these,
        or behind them.
        """
        with engine_errors(), self._database.read() as connection:
            state = views.state_of(connection, instance_id)
        upto = self._final(time.monotonic() + _PATIENCE_S, instance_id)
        with engine_errors(), self._database.read() as connection:
            found = views.logs(connection, instance_id, path=path, level=level, after=after, limit=limit)
        lines = tuple(line for line in found if line.seq <= upto)
        more = len(found) >= limit or len(lines) < len(found)
        cursor = max(after, upto) if not more else lines[-1].seq if lines else after
        return LinePage(lines, cursor, more, state)

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

    def _final(self, deadline: float, logs_of: str | None = None) -> int:
        """The last number below which nothing can appear any more."""
        with engine_errors(), self._database.read() as connection:
            seen = now = feed.horizon(connection, logs_of)
            while not _is_final(seen, now):
                if time.monotonic() > deadline:
                    return 0
                time.sleep(_LOOK_S)
                now = feed.horizon(connection)
        return seen.last


def _is_final(seen: Horizon, now: Horizon) -> bool:
    return seen.quiet or now.ended >= seen.begun


def fits(
    event: Event, names: Sequence[str] = (), instance_id: str | None = None, queue: str | None = None
) -> bool:
    """Is it of this instance, of this queue or of a run in it, and does its name fit one of these patterns?"""
    if instance_id is not None and event.instance_id != instance_id:
        return False
    if queue is not None and event.queue != queue:
        return False
    return not names or any(fnmatchcase(event.name, pattern) for pattern in names)


def _event(entry: Entry) -> Event | None:
    """What an entry tells; the root of an instance tells nothing that the instance does not."""
    if entry.kind == "journal":
        if entry.path == "":
            return None
        kind = "instance" if entry.path is None else "task"
        return _of_instance(entry, f"{kind}.{entry.state}", entry.text, None)
    if entry.kind == "progress":
        fraction, message = json.loads(entry.text)
        return _of_instance(entry, "task.progress", "", {"fraction": fraction, "message": message})
    body: dict[str, Any] = json.loads(entry.text)
    kind, _, _ = entry.kind.partition(".")
    return Event(
        entry.seq,
        entry.kind,
        entry.at,
        queue=entry.subject if kind == "queue" else None,
        engine=entry.subject if kind == "engine" else None,
        data=body,
    )


def _of_instance(entry: Entry, name: str, reason: str, data: dict[str, Any] | None) -> Event:
    return Event(
        entry.seq,
        name,
        entry.at,
        entry.instance_id,
        entry.name,
        entry.queue,
        entry.path,
        entry.attempt,
        entry.from_state,
        entry.state,
        reason,
        entry.engine,
        data,
    )
