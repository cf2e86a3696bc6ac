"""The feed: journal, reported progress and notices in the order of their numbers, up to where that order is final.

Numbers are drawn before the commit, so a later number may be visible first (RELIABILITY F19). On SQLite writers take
turns, and what is visible is final. On Postgres every writer has a transaction id before it draws a number; hence, when
a number was seen and all transactions that ran then have ended, whatever lies below it is visible or never comes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, Final
from typing import cast as typed

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    Table,
    Text,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
)

from .database import clock, draw_numbers, insert_into
from .feed_tables import NOTICES
from .readmodels import page_size
from .tables import INSTANCES, JOURNAL, LOGS

__all__ = [
    "PROGRESS_LEVEL",
    "Entry",
    "Horizon",
    "delete_notices",
    "deleted_upto",
    "entries",
    "horizon",
    "note_deleted",
    "write_notice",
]

#: Level of the log lines that keep the course of a task's progress.
PROGRESS_LEVEL: Final = "progress"
#: Notices that one transaction deletes.
_DELETED: Final = 1_000
#: One row of `notices` is none: its `at` is the highest number of the feed that was ever deleted.
_MARK: Final = 0


def _select(*columns: Any) -> Select[Any]:
    """A page of one table, in the order of an entry's fields."""
    return typed("Select[Any]", select(*columns))


_OF: Final = (INSTANCES.c.id, INSTANCES.c.name, INSTANCES.c.queue)
_JOURNAL: Final = _select(
    JOURNAL.c.seq,
    literal("journal"),
    JOURNAL.c.at,
    *_OF,
    JOURNAL.c.path,
    JOURNAL.c.attempt,
    JOURNAL.c.from_state,
    JOURNAL.c.to_state,
    JOURNAL.c.reason,
    JOURNAL.c.engine,
).join_from(JOURNAL, INSTANCES, INSTANCES.c.id == JOURNAL.c.instance_id)
_PROGRESS: Final = (
    _select(
        LOGS.c.seq,
        literal("progress"),
        LOGS.c.at,
        *_OF,
        LOGS.c.path,
        LOGS.c.attempt,
        null(),
        literal("running"),
        LOGS.c.message,
    )
    .join_from(LOGS, INSTANCES, INSTANCES.c.id == LOGS.c.instance_id)
    .where(LOGS.c.level == literal_column("'progress'"))
)
_NOTICES: Final = _select(
    NOTICES.c.seq,
    NOTICES.c.kind,
    NOTICES.c.at,
    *[null() for _ in range(4)],
    literal(0),
    null(),
    null(),
    NOTICES.c.body,
    null(),
    NOTICES.c.subject,
)


@dataclass(slots=True, frozen=True)
class Horizon:
    """The last number that one snapshot shows, and which transactions had not ended then."""

    last: int
    #: No transaction before this one runs any more.
    ended: int
    #: No transaction from this one on had begun.
    begun: int

    @property
    def quiet(self) -> bool:
        """Nobody was writing."""
        return self.ended >= self.begun


@dataclass(slots=True, frozen=True)
class Entry:
    """One row of the feed; what does not fit its kind is None."""

    seq: int
    #: `journal`, `progress`, or the kind of a notice.
    kind: str
    at: int
    instance_id: str | None = None
    name: str | None = None
    queue: str | None = None
    #: None is the instance itself.
    path: str | None = None
    attempt: int = 0
    from_state: str | None = None
    state: str | None = None
    #: Why, or the text of a progress line, or the body of a notice.
    text: str = ""
    engine: str | None = None
    subject: str | None = None


def horizon(connection: Connection, logs_of: str | None = None) -> Horizon:
    """What can be seen now, in one snapshot; with the log lines of an instance, if one is named.

    What was deleted counts as seen: the horizon never goes back.
    """
    tops = [
        _top(JOURNAL),
        _top(LOGS, LOGS.c.level == literal_column("'progress'")),
        _top(NOTICES),
        func.coalesce(_deleted_upto(), 0),
    ]
    if logs_of is not None:
        tops.append(_top(LOGS, LOGS.c.instance_id == logs_of))
    if connection.dialect.name == "sqlite":
        return Horizon(max(connection.execute(select(*tops)).one()), 0, 0)
    now = func.pg_current_snapshot()
    edges = [
        cast(cast(edge(now), Text()), BigInteger()) for edge in (func.pg_snapshot_xmin, func.pg_snapshot_xmax)
    ]
    *seen, ended, begun = connection.execute(select(*tops, *edges)).one()
    return Horizon(max(seen), ended, begun)


def entries(connection: Connection, after: int, upto: int, limit: int) -> list[Entry]:
    """Give a page of the feed in the order of its numbers: more than `after`, at most `upto`."""
    size = page_size(limit)
    found = [
        [Entry(*row) for row in connection.execute(_between(page, seq, after, upto).limit(size))]
        for page, seq in ((_JOURNAL, JOURNAL.c.seq), (_PROGRESS, LOGS.c.seq), (_NOTICES, NOTICES.c.seq))
    ]
    return list(islice(merge(*found, key=attrgetter("seq")), size))


def write_notice(connection: Connection, kind: str, subject: str, body: Mapping[str, Any]) -> None:
    """Add a notice to a write transaction."""
    (seq,) = draw_numbers(connection, 1)
    text = json.dumps(dict(body), separators=(",", ":"))
    connection.execute(
        insert(NOTICES).values(seq=seq, kind=kind, subject=subject, body=text, at=clock(connection))
    )


def delete_notices(connection: Connection, before: int) -> int:
    """Delete notices older than an instant, the oldest first, at most a thousand; gives how many."""
    old = (
        select(NOTICES.c.seq)
        .where(NOTICES.c.seq > _MARK)
        .order_by(NOTICES.c.seq)
        .limit(_DELETED)
        .scalar_subquery()
    )
    gone = delete(NOTICES).where(NOTICES.c.seq.in_(old), NOTICES.c.at < before).returning(NOTICES.c.seq)
    numbers = connection.execute(gone).scalars().all()
    note_deleted(connection, max(numbers, default=0))
    return len(numbers)


def note_deleted(connection: Connection, upto: int) -> None:
    """Remember in a write transaction which number of the feed, at most, it deletes: readers behind it are told."""
    if upto <= 0:
        return
    mark = insert_into(connection, NOTICES).values(seq=_MARK, kind="mark", subject="", body="{}", at=upto)
    connection.execute(
        mark.on_conflict_do_update(
            index_elements=[NOTICES.c.seq], set_={"at": upto}, where=NOTICES.c.at < upto
        )
    )


def deleted_upto(connection: Connection) -> int:
    """Give the highest number of the feed that was ever deleted: who has read up to it has missed nothing."""
    return connection.execute(select(func.coalesce(_deleted_upto(), 0))).scalar_one()


def _deleted_upto() -> ScalarSelect[int]:
    return select(NOTICES.c.at).where(NOTICES.c.seq == _MARK).scalar_subquery()


def _top(table: Table, *only: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.coalesce(func.max(table.c.seq), 0)).where(*only).scalar_subquery()


def _between(page: Select[Any], seq: Column[int], after: int, upto: int) -> Select[Any]:
    return page.where(seq > after, seq <= upto).order_by(seq)
