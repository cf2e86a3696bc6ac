"""One write transaction as a sequence of typed calls; the caller decides between reading and writing.

Knows the order of locks and statements, knows no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

from .connection import Connection
from .errors import Fenced
from .records import (
    BlobRow,
    InstanceRow,
    InstanceState,
    JournalRow,
    LabelRow,
    LimitRow,
    LogRow,
    MessageRow,
    QueueRow,
    SignalRow,
    TaskRow,
    TaskState,
    VarRow,
)
from .statements import bulk_statements

__all__ = ["Batch", "Changes", "CheckpointRow", "ClaimWish", "Opening", "ProgressRow"]

#: Parked signals of one name that one decision looks at.
_PARKED: Final = 1_000
_BULK: Final = bulk_statements()
#: Tasks blocked on one counter that one look takes in: few fit, and whoever lets one in looks again.
_BLOCKED: Final = 16
#: Looking a state up by its text is several times cheaper than calling the enum.
_TASK_STATES: Final = {state.value: state for state in TaskState}
_INSTANCE_STATES: Final = {state.value: state for state in InstanceState}
_COLUMNS: Final = {name: (bulk.columns, attrgetter(*bulk.columns)) for name, bulk in _BULK.items()}


@dataclass(slots=True, frozen=True)
class CheckpointRow:
    """The value a task saved for its next attempt."""

    instance_id: str
    path: str
    attempt: int
    at: int
    value: str


@dataclass(slots=True, frozen=True)
class ProgressRow:
    """How far an attempt says it is."""

    instance_id: str
    path: str
    attempt: int
    at: int
    fraction: float
    message: str | None


@dataclass(slots=True, frozen=True)
class ClaimWish:
    """What an engine would take: at most `limit` ready tasks of these queues and executors."""

    queues: tuple[str, ...]
    executors: tuple[str, ...]
    limit: int
    #: Counters of limits that have room: tasks blocked on them are looked at, too.
    counters: tuple[str, ...] = ()
    #: Ready tasks of all queues together; `limit` is what one queue gives at most. 0 = the same.
    total: int = 0


@dataclass(slots=True)
class Opening:
    """What the first round trip brought: everything read under the locks."""

    now: int
    instances: dict[str, InstanceRow]
    tasks: list[TaskRow]
    #: Ready tasks whose instance is locked by this transaction, in the order in which they are to be claimed.
    ready: list[TaskRow]
    #: Ready tasks whose instance another engine holds at this moment.
    ready_elsewhere: list[TaskRow]
    due: list[TaskRow]
    #: How often people have changed queues and limits.
    epoch: int = 0


#: Makes an empty list: `list` itself, because calling `list[X]` takes twice as long, and this is done often.
_empty: Final[Callable[[], Any]] = list


@dataclass(slots=True)
class Changes:
    """The final images of one transaction: one write per row, one journal row per transition."""

    new_instances: list[InstanceRow] = field(default_factory=_empty)
    instances: list[InstanceRow] = field(default_factory=_empty)
    new_leaves: list[TaskRow] = field(default_factory=_empty)
    new_scopes: list[TaskRow] = field(default_factory=_empty)
    leaves: list[TaskRow] = field(default_factory=_empty)
    scopes: list[TaskRow] = field(default_factory=_empty)
    #: Rows that got another place in their queue: no other statement writes the priority of a row that exists.
    moved: list[TaskRow] = field(default_factory=_empty)
    journal: list[JournalRow] = field(default_factory=_empty)
    blobs: list[BlobRow] = field(default_factory=_empty)
    vars: list[VarRow] = field(default_factory=_empty)
    logs: list[LogRow] = field(default_factory=_empty)
    checkpoints: list[CheckpointRow] = field(default_factory=_empty)
    progress: list[ProgressRow] = field(default_factory=_empty)
    signals: list[SignalRow] = field(default_factory=_empty)
    #: Signals that a wait took: (instance, signal, path of the wait).
    consumed: list[tuple[str, str, str]] = field(default_factory=_empty)
    #: Counters of limits, one image each.
    limits: list[LimitRow] = field(default_factory=_empty)
    messages: list[MessageRow] = field(default_factory=_empty)
    #: Messages that were applied: (instance, source).
    delivered: list[tuple[str, str]] = field(default_factory=_empty)
    labels: list[LabelRow] = field(default_factory=_empty)
    #: Keys that are free again: (definition name, kind, key, instance).
    released: list[tuple[str, str, str, str]] = field(default_factory=_empty)
    #: (instance, path): rows at and below it go, with what belongs to them but journal and logs.
    prunes: list[tuple[str, str]] = field(default_factory=_empty)
    #: (instance, path): values of variables that were written, or lived, at or below it go.
    unset: list[tuple[str, str]] = field(default_factory=_empty)
    #: (instance, path): pages of lists that belong to rows at or below it go.
    unlisted: list[tuple[str, str]] = field(default_factory=_empty)
    #: (source instance, target instance, path): ended rows below it are taken over.
    copies: list[tuple[str, str, str]] = field(default_factory=_empty)

    def extend(self, other: Changes) -> None:
        """Add another instance's changes."""
        for name in Changes.__slots__:
            getattr(self, name).extend(getattr(other, name))

    def parts(self) -> Iterable[tuple[str, Sequence[Any]]]:
        """Statement name and rows, in the order in which they are written."""
        return (
            ("instance_new", self.new_instances),
            ("instance_set", self.instances),
            ("leaf_set", self.leaves),
            ("scope_set", self.scopes),
            ("scope_new", self.new_scopes),
            ("leaf_new", self.new_leaves),
            ("task_moved", self.moved),
            ("blob_new", self.blobs),
            ("var_set", self.vars),
            ("journal", self.journal),
            ("log_new", self.logs),
            ("checkpoint_set", self.checkpoints),
            ("progress_set", self.progress),
            ("signal_new", self.signals),
            ("limit_set", self.limits),
            ("message_new", self.messages),
            ("label_new", self.labels),
        )

    def tuples(self) -> Iterable[tuple[str, Sequence[tuple[str, ...]]]]:
        """Statement name and bare values, in the order of the statement's columns; written after the rows."""
        return (
            ("signal_taken", self.consumed),
            ("message_end", self.delivered),
            ("key_end", self.released),
        )


def task_of(row: Sequence[Any]) -> TaskRow:
    """A task row from its columns."""
    task = TaskRow(*row)
    task.state = _TASK_STATES[task.state]
    return task


def instance_of(row: Sequence[Any]) -> InstanceRow:
    """An instance row from its columns."""
    instance = InstanceRow(*row)
    instance.state = _INSTANCE_STATES[instance.state]
    return instance


def _turn(row: TaskRow) -> tuple[int, int]:
    """Who is taken first: higher priority, then who has been ready longer."""
    return -row.priority, row.blocked_at or row.ready_at or 0


def _last_of_each(rows: Sequence[Any], keys: Sequence[str]) -> Sequence[Any]:
    """One statement may touch a row once: the latest image wins."""
    return list({tuple(getattr(row, key) for key in keys): row for row in rows}.values())


class Batch:
    """One open write transaction on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def open(
        self,
        *,
        engine_id: str,
        batch: int,
        ttl: int,
        instance_ids: Sequence[str],
        task_keys: Sequence[tuple[str, str]],
        new_keys: Sequence[tuple[str, str, str, str]] = (),
        claim: ClaimWish | None = None,
        due_limit: int = 0,
    ) -> Opening:
        """Begin, fence, lock and read: one round trip on Postgres. Raises Fenced when this engine is not alive."""
        db = self._db
        with db.pipeline():
            db.begin()
            fence = db.fence(engine_id, batch, ttl)
            if new_keys:
                self.insert_keys(new_keys)
            locked = db.lock_instances(instance_ids) if instance_ids else None
            due = db.peek_due(due_limit) if due_limit else None
            ready = self._peek_ready(claim) if claim else None
            blocked = self._peek_blocked(claim)
            clock = db.clock()
            epoch = db.run("setting_get", {"name": "control"})
            tasks = db.read_tasks(*zip(*task_keys, strict=True)) if task_keys else None
            if not db.rows(fence):
                raise Fenced(f"engine {engine_id} is no longer alive in the database")
            instances = self._instances(locked, due and due[0], ready and ready[0], blocked and blocked[0])
            ready_rows = [task_of(row) for row in db.rows(ready[1])] if ready else []
            if blocked:  # a blocked row may be met twice when a counter is named twice; it is claimed once
                ready_rows += [task_of(row) for row in db.rows(blocked[1])]
                ready_rows.sort(key=_turn)
            found = db.rows(epoch)
            return Opening(
                now=db.rows(clock)[0][0],
                instances=instances,
                tasks=[task_of(row) for row in db.rows(tasks)] if tasks is not None else [],
                ready=[task for task in ready_rows if task.instance_id in instances],
                ready_elsewhere=[task for task in ready_rows if task.instance_id not in instances],
                due=[task_of(row) for row in db.rows(due[1]) if row[0] in instances] if due else [],
                epoch=found[0][0] if found else 0,
            )

    def _peek_ready(self, claim: ClaimWish) -> tuple[Any, Any]:
        return self._db.peek_ready(claim.queues, claim.executors, claim.limit, claim.total or claim.limit)

    def _peek_blocked(self, claim: ClaimWish | None) -> tuple[Any, Any] | None:
        if claim is None or not claim.counters:
            return None
        limit = min(claim.limit, _BLOCKED)
        return self._db.peek_blocked(claim.counters, claim.queues, claim.executors, limit)

    def read_control(self) -> tuple[list[str], list[QueueRow]]:
        """What people have set: names of counters, and queues."""
        names, queues = self._db.run("limits_set"), self._db.run("queues_get")
        return [row[0] for row in self._db.rows(names)], [QueueRow(*row) for row in self._db.rows(queues)]

    def lock_limits(self, names: Sequence[str], now: int) -> list[LimitRow]:
        """Lock these counters in the order of their names; absent ones are made. Names are sorted by the caller."""
        with self._db.pipeline():
            self._db.many("limit_new", {"name": names, "updated_at": [now] * len(names)})
            return [LimitRow(*row) for row in self._db.rows(self._db.lock_limits(names))]

    def queue_depth(self, queue: str, limit: int) -> int:
        """How many tasks stand in a queue, ready or blocked on its own limit; counted up to `limit`."""
        waiting = self._db.rows(self._db.run("limit_waiting", {"name": f"queue:{queue}"}))
        params = {"queue": queue, "limit": limit, "param_1": 0}
        ready = self._db.rows(self._db.run("queue_depth", params))[0][0]
        return ready + (waiting[0][0] if waiting else 0)

    def _instances(self, *handles: Any) -> dict[str, InstanceRow]:
        found: dict[str, InstanceRow] = {}
        for handle in handles:
            if handle is not None:
                for row in self._db.rows(handle):
                    found[row[0]] = instance_of(row)
        return found

    def insert_keys(self, keys: Sequence[tuple[str, str, str, str]]) -> None:
        """Insert-first of `(name, kind, key, instance)`: an existing key stays as it is."""
        names, kinds, texts, ids = zip(*keys, strict=True)
        self._db.many("key_new", {"name": names, "kind": kinds, "key": texts, "instance_id": ids})

    def key_owner(self, name: str, kind: str, key: str) -> str | None:
        """The instance that holds a key, or None."""
        found = self._db.rows(self._db.run("key_get", {"name": name, "kind": kind, "key": key}))
        return found[0][0] if found else None

    def read_signals(self, keys: Sequence[tuple[str, str]]) -> list[SignalRow]:
        """Parked signals of `(instance, name)`, in the order of their arrival, at most 1,000 a name."""
        found: list[SignalRow] = []
        for instance_id, name in keys:
            params = {"id": instance_id, "name": name, "limit": _PARKED, "param_1": 0}
            found += [SignalRow(*row) for row in self._db.rows(self._db.run("signals_get", params))]
        return found

    def signal_exists(self, instance_id: str, signal_id: str) -> bool:
        """Has a signal of this id arrived, taken or not?"""
        params = {"id": instance_id, "signal": signal_id}
        return bool(self._db.rows(self._db.run("signal_get", params)))

    def read_awaiting(self, keys: Sequence[tuple[str, str]]) -> list[TaskRow]:
        """Rows that wait for `(instance, what)`."""
        found: list[TaskRow] = []
        for instance_id, awaits in keys:
            params = {"id": instance_id, "awaits": awaits}
            found += [task_of(row) for row in self._db.rows(self._db.run("awaiting_get", params))]
        return found

    def read_children(
        self, instance_id: str, scope: str, states: Sequence[str], after: str, limit: int
    ) -> list[TaskRow]:
        """Ended rows that `scope` owns, in these states, in path order behind `after`; fewer than `limit`: no more."""
        wanted, found = set(states), list[TaskRow]()
        while len(found) < limit:
            params = {
                "id": instance_id,
                "scope": scope,
                "after": after or scope,
                "high": scope + "]",
                "limit": limit,
                "param_1": 0,
            }
            page = [task_of(row) for row in self._db.rows(self._db.run("children_get", params))]
            found += [row for row in page if row.state.value in wanted]
            if len(page) < limit:
                break
            after = page[-1].path
        return found[:limit]

    def first_queued(self, name: str, mutex: str) -> str | None:
        """The oldest instance that waits for a mutex."""
        found = self._db.rows(
            self._db.run("queued_get", {"name": name, "mutex": mutex, "limit": 1, "param_1": 0})
        )
        return found[0][0] if found else None

    def read_blob(self, instance_id: str, key: str) -> str | None:
        """A payload kept apart."""
        found = self._db.rows(self._db.run("blob_get", {"id": instance_id, "key": key}))
        return found[0][0] if found else None

    def read_tasks(self, keys: Sequence[tuple[str, str]]) -> list[TaskRow]:
        """Task rows by primary key; absent ones are truly absent, for their instances are locked."""
        if not keys:
            return []
        ids, paths = zip(*keys, strict=True)
        return [task_of(row) for row in self._db.rows(self._db.read_tasks(ids, paths))]

    def open_under(self, instance_id: str, low: str, high: str, limit: int) -> list[TaskRow]:
        """Unfinished tasks with `low < path < high`, in path order, at most `limit`."""
        params = {"id": instance_id, "low": low, "high": high, "limit": limit, "param_1": 0}
        return [task_of(row) for row in self._db.rows(self._db.run("open_under", params))]

    def write(self, changes: Changes, *, commit: bool = True) -> None:
        """Write everything, then commit: one round trip on Postgres."""
        with self._db.pipeline():
            self._drop(changes)
            for name, rows in changes.parts():
                if rows:
                    upsert = _BULK[name].kind == "upsert"
                    once = _last_of_each(rows, _BULK[name].keys) if upsert else rows
                    columns, values = _COLUMNS[name]
                    self._db.many(name, dict(zip(columns, zip(*map(values, once), strict=True), strict=True)))
            for name, values in changes.tuples():
                if values:
                    self._db.many(name, dict(zip(_COLUMNS[name][0], zip(*values, strict=True), strict=True)))
            for source, target, path in changes.copies:
                for what in ("tasks", "vars", "blobs"):
                    params = {"source": source, "target": target, "prefix": path}
                    self._db.run(f"copy_{what}", params)
            if commit:
                self._db.commit()

    def _drop(self, changes: Changes) -> None:
        """What is taken back goes before anything is written, which may be the same again."""
        for instance_id, path in changes.prunes:
            for what in ("tasks", "checkpoints", "progress", "blobs", "vars"):
                self._db.run(f"prune_{what}", {"id": instance_id, "prefix": path})
        for what, places in (("unset_vars", changes.unset), ("prune_blobs", changes.unlisted)):
            for instance_id, path in places:
                self._db.run(what, {"id": instance_id, "prefix": path})

    def rollback(self) -> None:
        """Drop the transaction; never raises."""
        self._db.rollback()
