"""What starts by itself: schedules whose time has come, fired once per (schedule, instant) whatever number of engines.

A firing is one transaction on the schedule's locked row: the firing's own row, the schedule's next instant, and a
message that asks for the start. The start itself enters like any message between runs; a crash between the two loses
nothing and doubles nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from ..repositories import schedule_store, views
from ..repositories.records import MessageRow
from ..repositories.schedule_rows import FiringRow, ScheduleRow
from .batching import Pending
from .errors import EngineError
from .expressions import parse_template
from .firing import Due, decide_due
from .messages import event_of, start_message
from .outputs import iso
from .starts import StartOptions, prepare_start

if TYPE_CHECKING:
    from ..repositories.database import Database, Session
    from .catalog import Catalog
    from .events import StartInstance

__all__ = ["Scheduler", "derived_id", "rendered"]

log: Final = logging.getLogger("strataflow.schedules")
#: Schedules that one round fires; the next round follows at once when there may be more.
_ROUND: Final = 50
#: A new schedule, or one that was changed, is noticed after this time at the latest, in seconds.
_LOOK_S: Final = 1.0
#: Of many missed instants only the last are kept in the history.
_MISSED_KEPT: Final = 100


def derived_id(*parts: object) -> str:
    """An id that is the same for the same parts: what is asked for twice is made once."""
    digest = bytearray(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80  # version 8: made by its application
    digest[8] = (digest[8] & 0x3F) | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(slots=True)
class _Round:
    """One transaction: its connection and instant, and what it asks for.

    Messages are submitted after the commit, and found by any engine if this one dies first.
    """

    connection: Session
    now: int
    messages: list[MessageRow] = field(default_factory=list[MessageRow])

    @property
    def starts(self) -> int:
        """How many runs it asks for."""
        return sum(1 for message in self.messages if message.kind == "start")

    def written(
        self,
        row: ScheduleRow,
        at: int,
        kind: str,
        *,
        instance_id: str | None = None,
        reason: str | None = None,
    ) -> FiringRow:
        """Note what became of an instant."""
        outcome = "skipped" if instance_id is None else "started"
        found = FiringRow(row.id, at, kind, outcome, instance_id, self.now, reason)
        schedule_store.put_firing(self.connection, found)
        return found

    def send(self, message: MessageRow) -> None:
        """Ask another run, or for one."""
        schedule_store.send(self.connection, message)
        self.messages.append(message)


class Scheduler:
    """Fires the schedules of one database; also by hand."""

    def __init__(self, database: Database, catalog: Catalog, submit: Callable[[Pending], None]) -> None:
        self._database = database
        self._catalog = catalog
        self._submit = submit

    def run_once(self) -> float | None:
        """One round of the engine's schedule loop; the seconds until it should come round again."""
        with self._database.read() as connection:
            due = schedule_store.next_firing(connection)
            now = views.now(connection)
        if due is None:
            return _LOOK_S
        if due > now:
            return min(_LOOK_S, (due - now) / 1_000_000)
        self._warm(now)
        self.fire_due()
        return 0.0

    def _warm(self, now: int) -> None:
        """Compile what will be started before anything is locked."""
        with self._database.read() as connection:
            due = [row for row in schedule_store.schedules(connection) if (row.next_at or now + 1) <= now]
        for name in {_reference(row) for row in due[:_ROUND]}:
            with suppress(EngineError):  # the firing itself says what is wrong
                self._catalog.find(name)

    def fire_due(self) -> int:
        """Fire what is due; how many firings were started."""
        with self._database.write() as connection:
            round_ = _Round(connection, schedule_store.now_of(connection))
            for row in schedule_store.due_schedules(connection, round_.now, _ROUND):
                self._fire_safely(round_, row)
        self._deliver(round_.messages)
        return round_.starts

    def _fire_safely(self, round_: _Round, row: ScheduleRow) -> None:
        """A schedule that cannot be read must not stop the others: it says why, and is looked at by a person."""
        try:
            due = decide_due(row, round_.now)
        except EngineError as exc:
            log.warning("schedule %s cannot go on: %s", row.name, exc, extra={"action": "schedule_failed"})
            values = {"next_at": None, "state": "ended", "problem": str(exc), "updated_at": round_.now}
            schedule_store.change_schedule(round_.connection, row.id, **values)
            return
        self._apply(round_, row, due)

    def _apply(self, round_: _Round, row: ScheduleRow, due: Due) -> None:
        kept = due.missed[-_MISSED_KEPT:]
        missed = [FiringRow(row.id, at, "timer", "missed", None, round_.now, "it was late") for at in kept]
        schedule_store.add_firings(round_.connection, missed)
        before = round_.starts
        found = [self._fire(round_, row, at, "timer") for at in due.fire]
        runs = round_.starts - before  # an instant that has fired before is not counted again
        skips = sum(1 for firing in found if firing.outcome != "started")
        last = found[-1] if found else None
        schedule_store.change_schedule(
            round_.connection,
            row.id,
            fired_until=due.until,
            next_at=due.next_at,
            state="ended" if due.next_at is None else row.state,
            runs=row.runs + runs,
            skips=row.skips + skips + len(due.missed),
            problem=last.reason if last is not None else row.problem,
            updated_at=round_.now,
        )

    # --- one firing

    def _fire(
        self, round_: _Round, row: ScheduleRow, at: int, kind: str, *, overlap: str | None = None
    ) -> FiringRow:
        """Decide one instant on the locked schedule: start it, or say why not. An instant that has fired is left."""
        known = schedule_store.firing(round_.connection, row.id, at)
        if known is not None and known.outcome == "started":
            return known
        policy = overlap or row.overlap
        if row.cooldown and overlap is None:
            last = schedule_store.last_start(round_.connection, row.id)
            if last is not None and at - last < row.cooldown:
                return round_.written(row, at, kind, reason="too soon after the last start")
        watches = policy in {"skip", "cancel"}
        live = schedule_store.live_runs(round_.connection, row.id) if watches else []
        if live and policy == "skip":
            return round_.written(row, at, kind, reason=f"{live[-1]} has not ended")
        try:
            event = self._start_of(round_.connection, row, at, policy)
        except EngineError as exc:
            log.warning("schedule %s cannot start: %s", row.name, exc, extra={"action": "firing_failed"})
            return round_.written(row, at, kind, reason=str(exc))
        if isinstance(event, str):
            return round_.written(row, at, kind, reason=event)
        body = json.dumps({"reason": f"schedule {row.name} started its next run"})
        for each in live:
            round_.send(MessageRow(each, f"cancel:schedule:{row.id}:{at}", "cancel", body, round_.now))
        round_.send(start_message(event, f"schedule:{row.id}:{at}", round_.now))
        return round_.written(row, at, kind, instance_id=event.instance_id)

    def trial(self, row: ScheduleRow, at: int) -> None:
        """Prepare the start of an instant and forget it. Raises what would keep the schedule from starting it."""
        self._prepared(row, at, row.overlap)

    def _start_of(self, connection: Session, row: ScheduleRow, at: int, policy: str) -> StartInstance | str:
        """The start of one instant, or why there is nothing to start."""
        name, event = self._prepared(row, at, policy)
        if event.key is not None:
            holder = views.instance_by_key(connection, name, event.key)
            if holder is not None:
                return f"its key {event.key!r} has started {holder.id}"
        return replace(event, instance_id=derived_id("schedule", row.id, at))

    def _prepared(self, row: ScheduleRow, at: int, policy: str) -> tuple[str, StartInstance]:
        """The definition's name, and the start. Raises EngineError."""
        registered = self._catalog.find(_reference(row))
        plan = self._catalog.plan(registered.id)
        inputs = rendered(row.inputs, {"instance": {"scheduled_for": iso(at)}})
        queued = policy == "queue"
        options = StartOptions(
            mutex=f"schedule:{row.id}" if queued else None,
            on_duplicate="queue" if queued else None,
            labels={"schedule": row.name},
            queue=row.queue,
            priority=row.priority,
            scheduled_for=at,
        )
        return registered.name, prepare_start(registered, plan, inputs, options)

    def _deliver(self, messages: Iterable[MessageRow]) -> None:
        for message in messages:
            self._submit(Pending(event_of(message)))

    # --- by hand

    def trigger(self, name: str, *, force: bool = False) -> FiringRow | None:
        """Fire a schedule now, under its overlap policy unless forced; None when there is no such schedule."""
        with self._database.write() as connection:
            row = schedule_store.lock_schedule(connection, name)
            if row is None:
                return None
            round_ = _Round(connection, schedule_store.now_of(connection))
            found = self._fire(round_, row, round_.now, "manual", overlap="allow" if force else None)
            started = found.outcome == "started"
            counts = {"runs": row.runs + 1} if started else {"skips": row.skips + 1}
            schedule_store.change_schedule(connection, row.id, updated_at=round_.now, **counts)
        self._deliver(round_.messages)
        return found

    def backfill(self, name: str, instants: Iterable[int]) -> list[FiringRow] | None:
        """Fire these past instants that have not fired; side by side, or one by one under overlap `queue`."""
        with self._database.write() as connection:
            row = schedule_store.lock_schedule(connection, name)
            if row is None:
                return None
            round_ = _Round(connection, schedule_store.now_of(connection))
            overlap = "queue" if row.overlap == "queue" else "allow"
            found = [self._fire(round_, row, at, "backfill", overlap=overlap) for at in instants]
            runs = row.runs + round_.starts
            schedule_store.change_schedule(connection, row.id, runs=runs, updated_at=round_.now)
        self._deliver(round_.messages)
        return found


def _reference(row: ScheduleRow) -> str:
    return row.definition if row.version is None else f"{row.definition}@{row.version}"


def rendered(text: str | None, roots: dict[str, Any]) -> Any:
    """Inputs as JSON text, with their templates evaluated. Raises EngineError."""
    if text is None:
        return {}
    template, problems = parse_template(json.loads(text))
    if template is None:
        raise EngineError(f"its inputs cannot be read: {problems[0].message}")
    return template.render(roots)
