"""The overlay on which one instance's events fold: rows as read, rows as changed, and what is to be written.

A draft never does I/O. A row that was not read raises `NeedRows`; the caller reads it and folds again from the start,
which is cheap because it is rare. Every change of state goes through `move`, which asks the table of `states.py` and
writes the journal row: one journal row per transition, one final image per row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..repositories.batch import Changes
from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    BlobRow,
    InstanceRow,
    InstanceState,
    JournalRow,
    LimitRow,
    TaskRow,
    TaskState,
)
from .errors import NotFound
from .limits import NO_CONTROL, RATE, Control, Ledger, Refusal, held_by
from .outcomes import Payload
from .plan import Plan
from .states import InstanceEvent, TaskEvent, next_instance_state, next_task_state

__all__ = ["SWEEP_LIMIT", "Ask", "Draft", "NeedRows", "Snapshot", "Terms", "under"]

#: A question to the database beside rows: its kind and arguments.
Ask = tuple[str, ...]
#: States in which a row may carry a timer.
_TIMED = frozenset(
    {TaskState.QUEUED, TaskState.BLOCKED, TaskState.WAITING, TaskState.RETRYING, TaskState.PAUSED}
)
#: How a row ends without an output, whatever it was about to give (DSL rule 9).
_WITHOUT_OUTPUT = TERMINAL_TASK_STATES - {TaskState.COMPLETED}
#: Rows that one transaction may stop, skip or make beyond the ones an event concerns.
SWEEP_LIMIT = 1_000


def under(scope: str, path: str) -> bool:
    """Does `path` lie in the scope at path `scope` (at any depth)?"""
    if not scope:
        return path != ""
    return len(path) > len(scope) and path.startswith(scope) and path[len(scope)] in ".[#!"


@dataclass(slots=True)
class Snapshot:
    """What was read under the instance's lock. A path that maps to None is truly absent."""

    instance: InstanceRow | None
    tasks: dict[str, TaskRow | None] = field(default_factory=dict[str, TaskRow | None])
    #: Unfinished rows below a scope, by (scope path, last path handled).
    sweeps: dict[tuple[str, str], list[TaskRow]] = field(default_factory=dict[tuple[str, str], list[TaskRow]])
    #: Answers to the rarer questions, by question (`Transaction.answering.py`).
    answers: dict[Ask, Any] = field(default_factory=dict["Ask", "Any"])


@dataclass(slots=True, frozen=True)
class Terms:
    """The facts of a transaction that a decision may use."""

    #: The database's clock, read under the locks, in microseconds.
    now: int
    #: The engine that writes.
    engine: str
    #: May this engine execute (an engine), or does it only write (a client)?
    executes: bool = True
    executors: frozenset[str] = frozenset()
    #: Queues whose tasks it may take; None = every queue.
    queues: frozenset[str] | None = None
    #: Executor slots that may be given to tasks of this instance without asking the ready index.
    slots: int = 0
    #: What people have set for limits and queues.
    control: Control = NO_CONTROL
    #: Counters that were read under their locks; shared by all instances of the transaction.
    limits: dict[str, LimitRow] = field(default_factory=dict["str", "LimitRow"])
    #: Ready tasks of this priority wait for a slot: a lower one may not overtake. None = nobody waits.
    floor: int | None = None


class NeedRows(Exception):
    """What was not read: `keys` are paths, `sweep` is (scope path, last path handled), `ask` any other question.

    `limits` are names of counters.
    """

    def __init__(
        self,
        keys: tuple[str, ...] = (),
        sweep: tuple[str, str] | None = None,
        ask: Ask | None = None,
        limits: tuple[str, ...] = (),
    ) -> None:
        super().__init__(keys, sweep, ask, limits)
        self.keys = keys
        self.sweep = sweep
        self.ask = ask
        self.limits = limits


def _ask_limits(names: tuple[str, ...]) -> None:
    raise NeedRows(limits=names)


class Draft:
    """One instance while its events fold."""

    def __init__(self, plan: Plan, snapshot: Snapshot, terms: Terms) -> None:
        self.plan = plan
        self.terms = terms
        self.now = terms.now
        self.slots = terms.slots
        self.changes = Changes()
        #: Rows this engine holds after the transaction: to be executed.
        self.claimed: list[TaskRow] = []
        #: (path, attempt) of running tasks that are asked to stop.
        self.stopped: list[tuple[str, int]] = []
        self._snapshot = snapshot
        self._instance = snapshot.instance.copy() if snapshot.instance else None
        self._instance_is_new = False
        self._rows: dict[str, TaskRow] = {}
        self._new: set[str] = set()
        self._counted: set[str] = set()
        #: Counters of limits, as this fold leaves them.
        self.limits = Ledger(terms.limits, _ask_limits)

    # --- reading

    @property
    def instance(self) -> InstanceRow:
        """The instance, ready to be changed. Raises NotFound."""
        if self._instance is None:
            raise NotFound("there is no such instance.")
        return self._instance

    @property
    def has_instance(self) -> bool:
        """Does the instance exist, stored or begun in this fold?"""
        return self._instance is not None

    def is_new(self, path: str) -> bool:
        """Is the row born in this fold?"""
        return path in self._new

    def peek(self, path: str) -> TaskRow | None:
        """The row if it is at hand; never asks for more."""
        return self._rows.get(path) or self._snapshot.tasks.get(path)

    def row(self, path: str) -> TaskRow | None:
        """The row as it stands in this fold; None when it does not exist."""
        found = self._rows.get(path)
        if found is not None:
            return found
        found = self._stored(path)
        if found is not None and self.instance.gen and self._is_stale(found):
            return None
        return found

    def _stored(self, path: str) -> TaskRow | None:
        try:
            return self._snapshot.tasks[path]
        except KeyError:
            if self._instance_is_new:
                return None
            raise NeedRows((path,)) from None

    def _is_stale(self, row: TaskRow) -> bool:
        """A row older than its scope was made before the scope was taken back: it counts as absent."""
        if row.scope is None:
            return False
        scope = self.row(row.scope)
        return scope is None or row.gen < scope.gen

    def rows(self, paths: Iterable[str]) -> dict[str, TaskRow | None]:
        """Many rows at once: those that were not read are asked for together."""
        wanted = list(paths)
        missing = [p for p in wanted if p not in self._rows and p not in self._snapshot.tasks]
        if missing and not self._instance_is_new:
            raise NeedRows(tuple(missing))
        return {path: self.row(path) for path in wanted}

    def ask(self, question: Ask) -> Any:
        """What the database holds beside rows; read under the same lock."""
        try:
            return self._snapshot.answers[question]
        except KeyError:
            raise NeedRows(ask=question) from None

    def changed(self) -> Iterable[TaskRow]:
        """Rows as they stand in this fold, those that were changed only."""
        return self._rows.values()

    def known(self, path: str) -> TaskRow:
        """The row, which must exist."""
        found = self.row(path)
        if found is None:
            raise LookupError(f"task {path!r} of instance {self.instance.id} has no row")
        return found

    def descendants(self, scope: str, after: str) -> tuple[list[TaskRow], str | None]:
        """Unfinished rows below `scope` beyond `after`, parents first, and where to go on (None = at the end)."""
        read = self._snapshot.sweeps.get((scope, after))
        if read is None:
            if self._instance_is_new:
                read = []
            else:
                raise NeedRows(sweep=(scope, after))
        last = read[-1].path if len(read) >= SWEEP_LIMIT else None
        paths = {row.path for row in read} | set(self._rows)
        for row in read:
            self._snapshot.tasks.setdefault(row.path, row)
        wanted = sorted(p for p in paths if p > after and (last is None or p <= last) and under(scope, p))
        rows = [row for p in wanted if (row := self.row(p)) and row.state not in TERMINAL_TASK_STATES]
        return rows, last

    # --- changing

    def begin(self, instance: InstanceRow, reason: str) -> None:
        """Make the instance row; its tasks are known to be absent."""
        self._instance = instance
        self._instance_is_new = True
        self._journal(None, 0, None, instance.state, reason)

    def edit(self, path: str, *, counters: bool = False) -> TaskRow:
        """The row, ready to be changed; `counters` when its scope fields change."""
        row = self._rows.get(path)
        if row is None:
            row = self._rows[path] = self.known(path).copy()
        if counters:
            self._counted.add(path)
        return row

    def born(self, row: TaskRow, event: TaskEvent, reason: str, *, scope_row: bool = False) -> TaskRow:
        """Insert a row with its first transition; `row.state` is set here."""
        old = self._stored(row.path) if self.instance.gen else None
        if old is not None:  # made anew in a higher generation: its attempts go on counting
            row.attempt += old.attempt  # 1 when it is claimed as it is born
            self._counted.add(row.path)
        else:
            self._new.add(row.path)
        self._rows[row.path] = row
        if scope_row:
            self._counted.add(row.path)
        self._shift(row, None, event, reason)
        return row

    def taken_over(self, row: TaskRow, reason: str, *, completed: bool) -> TaskRow:
        """Insert a row that ended in another run; `completed` whatever it was there."""
        if completed:
            row.state = TaskState.COMPLETED
        self._new.add(row.path)
        self._counted.add(row.path)
        self._rows[row.path] = row
        self._journal(row.path, row.attempt, None, row.state, reason)
        return row

    def note_instance(self, reason: str) -> None:
        """A transition of the instance that leaves its state as it is."""
        self._journal(None, 0, self.instance.state, self.instance.state, reason)

    def move(self, row: TaskRow, event: TaskEvent, reason: str) -> TaskRow:
        """Change a row's state by an event. Raises IllegalTransition before anything is changed."""
        next_task_state(row.state, event, label=f"{row.instance_id}/{row.path}")
        row = self.edit(row.path)
        self._shift(row, row.state, event, reason)
        return row

    def _shift(self, row: TaskRow, old: TaskState | None, event: TaskEvent, reason: str) -> None:
        new = next_task_state(old, event, label=row.path)
        if row.holds is not None or row.blocked_on is not None:
            self._leave_limits(row)
        row.state = new
        row.ready_at = (row.blocked_at or self.now) if new is TaskState.QUEUED else None
        row.engine = self.terms.engine if new is TaskState.RUNNING else None
        row.ended_at = self.now if new in TERMINAL_TASK_STATES else None
        if new in _WITHOUT_OUTPUT:
            row.output = row.output_ref = None
        if row.cursor is None or row.closed is None:  # else a sweep goes on, whatever its scope's state
            row.wake_at = None
        if row.awaits is not None and new is not TaskState.WAITING:
            row.awaits = None
            self._counted.add(row.path)
        # what a claim only evaluates is no attempt: an attempt ends once
        self._journal(row.path, row.attempt if row.phase is None else 0, old, new, reason)

    def _leave_limits(self, row: TaskRow) -> None:
        """Whatever the way out of `running` or `blocked` is: give back what it took, leave the line."""
        if row.holds is not None:
            self.limits.give(held_by(row), self.now)
            row.holds = None
        if row.blocked_on is not None:
            self.limits.wait(row.blocked_on, -1)
            row.blocked_on = None
        self._counted.add(row.path)

    def block(self, row: TaskRow, refusal: Refusal) -> None:
        """Take a ready task out of the ready index until a limit has room."""
        since = row.blocked_at or row.ready_at or self.now
        row = self.move(row, TaskEvent.BLOCK, refusal.reason)
        row.blocked_at = since
        row.blocked_on = refusal.name if refusal.until is None else RATE + refusal.name
        row.wake_at = refusal.until
        self._counted.add(row.path)
        self.limits.wait(row.blocked_on, 1)

    def stay_blocked(self, row: TaskRow, refusal: Refusal) -> None:
        """Another limit refuses it now: it waits there, without a change of state."""
        row = self.edit(row.path, counters=True)
        if row.blocked_on is not None:
            self.limits.wait(row.blocked_on, -1)
        row.blocked_on = refusal.name if refusal.until is None else RATE + refusal.name
        row.wake_at = refusal.until
        self.limits.wait(row.blocked_on, 1)

    def move_instance(self, event: InstanceEvent, reason: str) -> None:
        """Change the instance's state by an event. Raises IllegalTransition before anything is changed."""
        instance = self.instance
        old = instance.state
        new = next_instance_state(old, event, label=instance.id)
        instance.state = new
        if new is InstanceState.RUNNING:
            instance.started_at = instance.started_at or self.now
        instance.ended_at = self.now if new in TERMINAL_INSTANCE_STATES else None
        self._journal(None, 0, old, new, reason)

    def _journal(self, path: str | None, attempt: int, old: str | None, new: str, reason: str) -> None:
        instance = self.instance
        self.changes.journal.append(
            JournalRow(
                instance.id, path, instance.gen, attempt, old, new, reason, self.now, self.terms.engine
            )
        )

    def store(self, payload: Payload) -> tuple[str | None, str | None]:
        """Columns (text, ref) of a payload; a large one goes to `blobs` once."""
        if payload.ref is None:
            return payload.text, None
        self.changes.blobs.append(BlobRow(self.instance.id, payload.ref, payload.text or ""))
        return None, payload.ref

    def _arm_deadline(self, row: TaskRow) -> None:
        """A row looks at its deadline when nothing wakes it sooner; a cancelled run at the end of its grace."""
        at, open_ = row.deadline_at, row.closed is None or (row.scope is None and row.closed == "cancelled")
        if at is None or not open_ or row.cursor is not None or row.state not in _TIMED:
            return
        row.wake_at = at if row.wake_at is None else min(at, row.wake_at)

    # --- result

    def finished(self) -> Changes:
        """Everything that is to be written, each row once."""
        changes = self.changes
        if self._instance_is_new:
            changes.new_instances.append(self.instance)
        elif self._instance != self._snapshot.instance:
            changes.instances.append(self.instance)
        base: Mapping[str, TaskRow | None] = self._snapshot.tasks
        for path, row in self._rows.items():
            if row.deadline_at is not None:
                self._arm_deadline(row)
            counted = path in self._counted
            if path in self._new:
                (changes.new_scopes if counted else changes.new_leaves).append(row)
            elif row != base.get(path):
                (changes.scopes if counted else changes.leaves).append(row)
        return changes
