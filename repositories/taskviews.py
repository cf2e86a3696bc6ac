"""Read models of tasks across runs: for lists that somebody looks through. Plain reads, never locks.

`tasks` has no index by state or time: runs are walked by when they were made, newest first, some hundred at a time, and
their tasks are found by their primary key. One call walks so many runs and no more; then it says where to go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, false, func, null, or_, select, tuple_

from .batch import task_of
from .readmodels import ACTIVE, page_size, uuid_text
from .records import TERMINAL_TASK_STATES, InstanceState, TaskRow, TaskState
from .tables import INSTANCES, JOURNAL, LABELS, TASKS

__all__ = ["Attempt", "ListedTask", "TaskFilter", "attempts", "listed_tasks"]

Cursor = tuple[int, str, str]
#: Runs that are walked in one statement, and in one call.
_RUNS: Final = 500
_STEPS: Final = 20
_BEGINNING: Final = TaskState.RUNNING.value


@dataclass(slots=True, frozen=True)
class TaskFilter:
    """Which tasks: everything that is given must hold."""

    states: frozenset[TaskState] = frozenset()
    queue: str | None = None
    executor: str | None = None
    #: Name of a node; of a map its items too.
    node: str | None = None
    instance_id: str | None = None
    #: Name of the definition.
    name: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    #: Names of labels that the run has, whatever they say.
    label_names: tuple[str, ...] = ()
    #: Only what an executor runs; no maps, groups, waits.
    executed: bool = False
    #: When the run was made, in microseconds.
    created_after: int | None = None
    created_before: int | None = None

    def of_tasks(self) -> list[ColumnElement[bool]]:
        """What a task must meet."""
        own = TASKS.c
        found: list[ColumnElement[bool]] = [own.path != ""]
        for column, value in ((own.queue, self.queue), (own.executor, self.executor)):
            if value is not None:
                found.append(column == value)
        if self.states:
            found.append(own.state.in_([state.value for state in self.states]))
        if self.executed:
            found.append(own.executor.is_not(None))
        if self.node is not None:
            found.append(_named(self.node))
        return found

    def of_runs(self) -> list[ColumnElement[bool]]:
        """What its run must meet; a task that has not ended is one of a live run."""
        run = INSTANCES.c
        found: list[ColumnElement[bool]] = []
        if self.states and not self.states & TERMINAL_TASK_STATES:
            found.append(ACTIVE)
        if self.name is not None:
            found.append(run.name == self.name)
        if self.instance_id is not None:
            known = uuid_text(self.instance_id)
            found.append(false() if known is None else run.id == known)
        if self.created_after is not None:
            found.append(run.created_at >= self.created_after)
        if self.created_before is not None:
            found.append(run.created_at < self.created_before)
        return [*found, *self._labelled()]

    def _labelled(self) -> list[ColumnElement[bool]]:
        own = LABELS.c
        pairs = [select(own.instance_id).where(own.name == n, own.value == v) for n, v in self.labels]
        names = [select(own.instance_id).where(own.name == name) for name in self.label_names]
        return [INSTANCES.c.id.in_(each) for each in (*pairs, *names)]


def _named(node: str) -> ColumnElement[bool]:
    """The last part of the path is this name, or an item of it: `settle`, `a.settle`, `settle[3]`."""
    path = TASKS.c.path
    plain = func.rtrim(path, "0123456789]")  # 'settle[3]' → 'settle['
    ends = (path, plain)
    texts = (node, f"{node}[")
    return or_(
        *(
            or_(end == text, end.endswith(f".{text}", autoescape=True))
            for end, text in zip(ends, texts, strict=True)
        )
    )


@dataclass(slots=True, frozen=True)
class ListedTask:
    """A task with what its run is called."""

    row: TaskRow
    name: str
    version: int
    instance_state: InstanceState
    created_at: int

    @property
    def cursor(self) -> Cursor:
        """What `after=` takes to go on behind this row."""
        return self.created_at, self.row.instance_id, self.row.path


def listed_tasks(
    connection: Connection, where: TaskFilter, *, limit: int = 100, after: Cursor | None = None
) -> tuple[list[ListedTask], Cursor | None]:
    """Give a page of tasks, those of the newest run first, of a run in path order; and where the next one begins.

    A page may hold fewer than `limit`, or none, while there is a next one. What tasks gave is not read.
    """
    found: list[ListedTask] = []
    for _ in range(_STEPS):
        runs = _runs(connection, where, after)
        if not runs:
            return found, None
        found += _tasks(connection, where, runs[:_RUNS], after, limit + 1 - len(found))
        if len(found) > limit:
            return found[:limit], found[limit - 1].cursor
        if len(runs) <= _RUNS:
            return found, None
        created_at, instance_id = runs[_RUNS]
        after = created_at, instance_id, ""
    return found, after


def _runs(connection: Connection, where: TaskFilter, after: Cursor | None) -> list[tuple[int, str]]:
    """Some runs, the newest first, from that of the cursor on; one more than are walked at a time."""
    keys = (INSTANCES.c.created_at, INSTANCES.c.id)
    page = select(*keys).where(*where.of_runs())
    if after is not None:
        page = page.where(tuple_(*keys) <= tuple_(*after[:2], types=[key.type for key in keys]))
    page = page.order_by(*(key.desc() for key in keys)).limit(_RUNS + 1)
    return [(row[0], row[1]) for row in connection.execute(page)]


def _tasks(
    connection: Connection, where: TaskFilter, runs: list[tuple[int, str]], after: Cursor | None, limit: int
) -> list[ListedTask]:
    run, own = INSTANCES.c, TASKS.c
    columns: list[Any] = [run.name, run.version, run.state, run.created_at]
    columns += [null().label(each.name) if each is own.output else each for each in TASKS.columns]
    page = select(*columns).select_from(TASKS.join(INSTANCES, run.id == own.instance_id))
    page = page.where(own.instance_id.in_([instance_id for _, instance_id in runs]), *where.of_tasks())
    if after is not None:
        page = page.where(or_(own.instance_id != after[1], own.path > after[2]))
    page = page.order_by(run.created_at.desc(), run.id.desc(), own.path).limit(page_size(limit))
    return [
        ListedTask(task_of(row[4:]), row[0], row[1], InstanceState(row[2]), row[3])
        for row in connection.execute(page)
    ]


@dataclass(slots=True, frozen=True)
class Attempt:
    """One attempt of a task, from its journal."""

    attempt: int
    started_at: int
    ended_at: int | None
    #: The task's state after it; None while it runs.
    ended: str | None
    reason: str | None
    engine: str | None


def attempts(connection: Connection, instance_id: str, path: str, *, limit: int = 100) -> list[Attempt]:
    """Give the last attempts of a task, oldest first."""
    own = JOURNAL.c
    mine = and_(own.instance_id == uuid_text(instance_id), own.path == path)
    begun = select(own.seq).where(mine, own.to_state == _BEGINNING).order_by(own.seq.desc())
    first = connection.execute(begun.limit(page_size(limit))).scalars().all()
    if not first:
        return []
    rows = select(own.attempt, own.to_state, own.at, own.reason, own.engine).where(mine, own.seq >= first[-1])
    found: list[Attempt] = []
    for attempt, state, at, reason, engine in connection.execute(rows.order_by(own.seq)):
        if state == _BEGINNING:
            found.append(Attempt(attempt, at, None, None, None, engine))
        elif found and found[-1].ended is None:
            last = found[-1]
            found[-1] = Attempt(last.attempt, last.started_at, at, state, reason, last.engine)
    return found
