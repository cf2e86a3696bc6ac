"""Queues as people operate them: what stands in them, their settings, and the order in which they are taken.

A queue needs no row: it is there while tasks name it. Settings are durable when a call returns, with or without an
engine; what changes tasks or runs is an event and needs one (a client will do).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ..engine.errors import Conflict, EngineStopped, NotFound, RequestError
from ..engine.events import Event, MoveTask
from ..engine.outputs import iso
from ..engine.translate import engine_errors
from ..repositories import control_store, limitviews, queueviews, views, watermarks
from ..repositories.filters import InstanceFilter
from ..repositories.queueviews import QueueCounts, QueueEntry
from ..repositories.readmodels import PrefixAmbiguous, PrefixUnknown
from ..repositories.records import ACTIVE_INSTANCE_STATES, LimitRow, QueueRow
from ..repositories.watermarks import NO_MARK, Watermark
from .hints import tell_engines
from .limits import LimitView, numbers_of
from .operations import BulkAnswer, Operations
from .queue_order import Place, inserted, put_before
from .queue_purge import Purged, cancel_alone, is_alone, purge

if TYPE_CHECKING:
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.database import Database

__all__ = ["STATES", "Entry", "Moved", "QueueService", "QueueView", "checked_queue", "entry_json"]

Entry = QueueEntry
#: Which entries of a queue one may ask for.
STATES: Final = ("ready", "blocked", "running", "delayed")
#: A queue is reordered up to here: beyond it nobody reads the list.
FURTHEST: Final = 1_000
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_SHOWN: Final = 100
#: Nobody counts further; a database's integers end there.
_MOST: Final = 2**31 - 1
Cursor = tuple[int, int, str, str]


@dataclass(slots=True, frozen=True)
class QueueView:
    """One queue at one moment."""

    name: str
    state: str
    #: Why it is paused.
    reason: str | None
    ready: int
    running: int
    blocked: int
    #: Tasks that are tried again later, and starts that wait for their time.
    delayed: int
    #: Since when the ready task that waits longest is ready (ISO 8601), and how many seconds that is.
    oldest_at: str | None
    oldest_s: float | None
    max_size: int | None
    #: So many tasks are too many; since when it has held as many.
    mark: int | None
    above_since: str | None
    #: The counter `queue:NAME`, where there is one.
    limit: LimitView | None

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        return asdict(self)


@dataclass(slots=True, frozen=True)
class Moved:
    """How many entries have a new place, and which were taken or ended meanwhile."""

    moved: int
    ignored: tuple[str, ...] = ()


def entry_json(entry: QueueEntry, position: int | None = None) -> dict[str, Any]:
    """An entry as the command line and the API give it; `entry` is what moving and removing take."""
    return {
        "entry": f"{entry.instance_id}/{entry.path}" if entry.path else entry.instance_id,
        "position": position,
        "instance": entry.instance_id,
        "path": entry.path,
        "name": entry.name,
        "executor": entry.executor,
        "state": entry.state,
        "priority": entry.priority,
        "at": iso(entry.at),
        "blocked_on": entry.blocked_on,
    }


def _delayed(connection: Any, name: str | None, limit: int, after: Cursor | None) -> list[QueueEntry]:
    now = views.now(connection)
    found = queueviews.delayed_entries(connection, name, limit=limit, after=after)
    found += queueviews.starts_by_time(connection, now, queue=name, limit=limit, after=after)
    return sorted(found, key=lambda entry: (entry.at, entry.instance_id, entry.path))[:limit]


class QueueService:
    """The queues of one database. Without an engine it reads, pauses and bounds; with one it moves and cancels too."""

    def __init__(self, database: Database, engine: WorkflowEngine | None = None) -> None:
        self._database = database
        self._engine = engine

    # --- looking

    def list(self) -> list[QueueView]:
        """Every queue that has a setting or a task, and `default`, by name."""
        with engine_errors(), self._database.read() as connection:
            now = views.now(connection)
            counts = queueviews.queue_counts(connection, now)
            rows = {row.name: row for row in limitviews.queues(connection)}
            marks = {mark.queue: mark for mark in watermarks.watermarks(connection)}
            names = sorted(({"default", *counts, *rows, *marks}) - {""})
            limits = {name: limitviews.limit(connection, f"queue:{name}") for name in names}
        found = [
            _view(rows.get(name) or QueueRow(name), counts.get(name) or QueueCounts(), limits[name], now)
            for name in names
        ]
        return [_marked(view, marks.get(view.name)) for view in found]

    def get(self, name: str) -> QueueView:
        """One queue; one that nobody ever used is empty."""
        name = checked_queue(name)
        found = next((each for each in self.list() if each.name == name), None)
        return found or _view(QueueRow(name), QueueCounts(), None, 0)

    def entries(
        self, name: str, *, state: str = "ready", limit: int = _SHOWN, after: Cursor | None = None
    ) -> list[QueueEntry]:
        """Entries of a queue: `ready` in the order in which they are claimed, or one of the other STATES.

        `after` is the `cursor` of the last one seen.
        """
        return self._entries(checked_queue(name), state, limit, after)

    def _entries(self, name: str | None, state: str, limit: int, after: Cursor | None) -> list[QueueEntry]:
        if state not in STATES:
            raise RequestError(
                f"entries are {', '.join(STATES)}, not {state!r}.",
                pointer="/state",
                hint="Take one of these.",
            )
        with engine_errors(), self._database.read() as connection:
            if state == "running":
                return queueviews.running_entries(connection, name, limit, after)
            if state == "delayed":
                return _delayed(connection, name, limit, after)
            read = queueviews.ready_entries if state == "ready" else queueviews.blocked_entries
            return read(connection, name or "", limit=limit, after=after)

    def delayed(
        self, name: str | None, limit: int = _SHOWN, *, after: Cursor | None = None
    ) -> list[QueueEntry]:
        """Tasks in backoff and starts that wait for their time, those that come first first; of one queue or of all."""
        return self._entries(None if name is None else checked_queue(name), "delayed", limit, after)

    def active(self, limit: int = _SHOWN, *, after: Cursor | None = None) -> list[QueueEntry]:
        """Tasks that run now, of all queues."""
        return self._entries(None, "running", limit, after)

    def pending(
        self, name: str | None = None, limit: int = _SHOWN, *, after: Cursor | None = None
    ) -> list[QueueEntry]:
        """Ready tasks in the order in which they would be claimed, of one queue or of all."""
        if name is not None:
            return self.entries(name, limit=limit, after=after)
        with engine_errors(), self._database.read() as connection:
            names = [depth.queue for depth in views.queue_depths(connection)]
            found = [
                entry
                for each in names
                for entry in queueviews.ready_entries(connection, each, limit=limit, after=after)
            ]
        return sorted(found, key=lambda e: (-e.priority, e.at, e.instance_id, e.path))[:limit]

    # --- settings

    def pause(self, name: str, reason: str | None = None) -> QueueView:
        """Take nothing of it; what runs goes on. Starts are accepted."""
        return self._set(name, state="paused", reason=reason)

    def resume(self, name: str) -> QueueView:
        """Let it be taken again; idempotent."""
        return self._set(name, state="active")

    def set_max_size(self, name: str, max_size: int | None) -> QueueView:
        """Refuse starts that would put more tasks than this into it; None: any number."""
        if max_size is not None and not 0 <= max_size <= _MOST:
            raise RequestError(
                f"a queue holds 0 tasks or more, and at most {_MOST:,}, not {max_size}.", pointer="/max_size"
            )
        return self._set(name, max_size=max_size, unbounded=max_size is None)

    def set_mark(self, name: str, mark: int | None) -> QueueView:
        """So many tasks are too many: events `queue.high` and `queue.normal` tell. None: four fifths of its bound."""
        if mark is not None and not 1 <= mark <= _MOST:
            raise RequestError(
                f"a queue's mark is 1 task or more, and at most {_MOST:,}, not {mark}.", pointer="/mark"
            )
        with engine_errors():
            if mark is None:
                watermarks.unset_watermark(self._database, checked_queue(name))
            else:
                watermarks.set_watermark(self._database, checked_queue(name), mark)
        return self.get(name)

    def unset(self, name: str) -> bool:
        """Forget what was set for it: active, without a bound and a mark. False when there was nothing."""
        with engine_errors():
            unmarked = watermarks.unset_watermark(self._database, checked_queue(name))
            gone = control_store.unset_queue(self._database, checked_queue(name)) or unmarked
        tell_engines(self._database, self._engine)
        return gone

    def _set(self, name: str, **settings: Any) -> QueueView:
        with engine_errors():
            control_store.set_queue(self._database, checked_queue(name), **settings)
        tell_engines(self._database, self._engine)
        return self.get(name)

    # --- order

    def find(self, name: str, text: str) -> QueueEntry:
        """The ready entry that `ID` or `ID/PATH` means; the id may be its beginning. Raises NotFound, Conflict."""
        prefix, _, path = text.partition("/")
        with engine_errors(), self._database.read() as connection:
            try:
                instance_id = views.find_instance(connection, prefix).id
            except (PrefixUnknown, PrefixAmbiguous) as exc:
                raise NotFound(f"{exc}.", hint=f"`strataflow queues show {name}` lists them.") from exc
            found = queueviews.ready_of(connection, instance_id, checked_queue(name), FURTHEST)
        chosen = [entry for entry in found if not path or entry.path == path]
        if not chosen:
            raise NotFound(
                f"{text} does not stand ready in queue {name!r}.",
                hint=f"It may run already: `strataflow queues show {name}` lists what is ready.",
            )
        if len(chosen) > 1:
            raise Conflict(
                f"instance {instance_id} has several tasks in queue {name!r}: {chosen[0].path}, {chosen[1].path}, …",
                hint="Name one of them: ID/PATH.",
            )
        return chosen[0]

    def move(self, name: str, entry: str, position: int = 0) -> Moved:
        """Put an entry at a position, from 0 (the front), counted over the queue as it stands now."""
        if not 0 <= position <= FURTHEST:
            raise RequestError(
                f"a position is a number from 0 to {FURTHEST}, not {position}.", pointer="/position"
            )
        moving = self.find(name, entry)
        ahead = self._head(name, position + 2)
        others = [each for each in ahead if each.cursor != moving.cursor]
        return self._place(inserted(moving, others, position))

    def reorder(self, name: str, entries: Sequence[str]) -> Moved:
        """Put these entries at the front, in this order; the others follow as they stood."""
        if len(entries) > FURTHEST:
            raise RequestError(
                f"at most {FURTHEST} entries can be put in order at once, not {len(entries)}.",
                pointer="/entries",
            )
        wanted = [self.find(name, text) for text in entries]
        names = {entry.cursor for entry in wanted}
        if len(names) < len(wanted):
            raise RequestError(
                "an entry is named twice.",
                pointer="/entries",
                hint="Name each once, in the order you want.",
            )
        head = self._head(name, len(wanted) + 1)
        behind = next((each for each in head if each.cursor not in names), None)
        return self._place(put_before(wanted, None if behind is None else (-behind.priority, behind.at)))

    def _head(self, name: str, limit: int) -> list[QueueEntry]:
        return self.entries(name, limit=limit)

    def _place(self, places: list[Place]) -> Moved:
        events: list[Event] = [
            MoveTask(place.entry.instance_id, place.entry.path, place.priority, place.ready_at)
            for place in places
        ]
        futures = [self._running.state_manager.submit(event) for event in events]
        with engine_errors():
            answers = [future.result() for future in futures]
        ignored = [
            f"{place.entry.instance_id}/{place.entry.path}"
            for place, answer in zip(places, answers, strict=True)
            if answer.status != "accepted"
        ]
        if places:
            tell_engines(self._database, self._engine)
        return Moved(len(places) - len(ignored), tuple(ignored))

    # --- cancelling

    def purge(self, name: str, *, include_delayed: bool = False, reason: str | None = None) -> Purged:
        """Cancel the runs that consist of nothing but a task that stands in this queue, ready or blocked.

        Tasks of larger runs stay and are counted: taking one node out of a run is no business of its queue, and
        `strataflow cancel` ends such a run. `include_delayed` takes those in backoff, and starts that wait for their
        time, too.
        """
        name = checked_queue(name)
        why = reason or f"queue {name} was purged"
        return purge(self._running, name, reason=why, include_delayed=include_delayed)

    def remove(self, name: str, entry: str, reason: str | None = None) -> str:
        """Cancel the run of one entry and give its id. Raises Conflict when the run has other tasks."""
        found, engine = self.find(name, entry), self._running
        if not is_alone(engine.parts.catalog, found.definition_id):
            raise Conflict(
                f"{found.path} is one of several tasks of instance {found.instance_id}.",
                hint=f"`strataflow cancel {found.instance_id}` ends the whole run; `strataflow queues move` keeps it.",
            )
        cancel_alone(engine, [found.instance_id], reason or f"removed from queue {name}")
        return found.instance_id

    def cancel(self, instance_id: str, reason: str = "cancelled by its user") -> str:
        """Cancel one run, whether it is queued, delayed or running; gives the answer. Raises NotFound."""
        return Operations(self._running).cancel(instance_id, reason)

    def cancel_tag(self, tag: str, reason: str = "cancelled by its tag") -> Iterator[BulkAnswer]:
        """Cancel every live run with the label `tag:<tag>`, whatever the label's text."""
        operations, label = Operations(self._running), f"tag:{tag}"
        with engine_errors(), self._database.read() as connection:
            values = queueviews.label_values(connection, label)
        for value in values:
            where = InstanceFilter(states=ACTIVE_INSTANCE_STATES, labels={label: value})
            yield from operations.bulk("cancel", where, reason)

    @property
    def _running(self) -> WorkflowEngine:
        if self._engine is None:
            raise EngineStopped("this service was opened for reading only.")
        return self._engine


def checked_queue(name: str) -> str:
    """The name of a queue. Raises RequestError with what it should look like."""
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"{name!r} is no queue name.",
            pointer="/queue",
            hint="Use letters, digits, '_', '.' and '-', at most 63.",
        )
    return name


def _view(row: QueueRow, counts: QueueCounts, limit: LimitRow | None, now: int) -> QueueView:
    oldest = counts.oldest_ready_at
    return QueueView(
        name=row.name,
        state=row.state,
        reason=row.reason,
        ready=counts.ready,
        running=counts.running,
        blocked=counts.blocked,
        delayed=counts.delayed,
        oldest_at=iso(oldest),
        oldest_s=None if oldest is None else max(0.0, (now - oldest) / 1_000_000),
        max_size=row.max_size,
        mark=None,
        above_since=None,
        limit=None if limit is None else numbers_of(limit, None),
    )


def _marked(view: QueueView, mark: Watermark | None) -> QueueView:
    if mark is None:
        return view
    return replace(view, mark=mark.high if mark.high < NO_MARK else None, above_since=iso(mark.above_since))
