"""What the read side gives to API, CLI and recovery: frozen records, and the small parts all views share.

Whole task rows stay `records.TaskRow`; everything else that leaves `views.py` is defined here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, literal_column, tuple_

from .errors import RepositoryError
from .records import ACTIVE_INSTANCE_STATES, EngineRole, EngineState, InstanceState, JournalRow, LogRow
from .tables import INSTANCES

__all__ = [
    "ACTIVE",
    "EngineView",
    "HeldTask",
    "HistoryRow",
    "InstanceSummary",
    "InstanceView",
    "LogEntry",
    "PrefixAmbiguous",
    "PrefixUnknown",
    "QueueDepth",
    "UnclaimableTask",
    "beyond",
    "chunks",
    "columns_of",
    "page_size",
    "uuid_range",
    "uuid_text",
]

#: No view gives more rows than this at once, whatever was asked for.
MAX_PAGE: Final = 10_000
#: Keys in one IN list; SQLite binds 32,766 values, Postgres 65,535.
_KEYS_AT_ONCE: Final = 1000
_HEX: Final = re.compile(r"[0-9a-f]{1,32}")


class PrefixUnknown(RepositoryError):
    """No instance has an id that begins like this."""

    def __init__(self, prefix: str) -> None:
        super().__init__(f"no instance has an id that begins with {prefix!r}")
        self.prefix = prefix


class PrefixAmbiguous(RepositoryError):
    """Several instances have ids that begin like this: write more of the id."""

    def __init__(self, prefix: str, candidates: Sequence[str]) -> None:
        super().__init__(f"several instances have ids that begin with {prefix!r}: {', '.join(candidates)}, …")
        self.prefix = prefix
        self.candidates = tuple(candidates)


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """One run as lists show it, without payloads."""

    id: str
    definition_id: str
    name: str
    version: int
    state: InstanceState
    key: str | None
    gen: int
    sweeps: int
    reason: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    parent_id: str | None
    parent_path: str | None
    mutex: str | None
    labels: dict[str, str]
    start_at: int | None
    expires_at: int | None
    #: The root task's error object as JSON text.
    error: str | None

    @property
    def cursor(self) -> tuple[int, str]:
        """What `views.instances(before=…)` takes to go on behind this row."""
        return self.created_at, self.id


@dataclass(frozen=True, slots=True)
class InstanceView(InstanceSummary):
    """One run with its payloads; those kept in `blobs` are named by their key."""

    inputs: str | None
    inputs_ref: str | None
    #: The root task's output; records.TaskRow says what `output_ref` may hold.
    output: str | None
    output_ref: str | None


@dataclass(frozen=True, slots=True)
class HistoryRow(JournalRow):
    """One transition with its number."""

    #: Follows commit order within an instance; gaps are normal.
    seq: int


@dataclass(frozen=True, slots=True)
class LogEntry(LogRow):
    """One log line with its number."""

    #: Follows commit order within an instance; gaps are normal.
    seq: int


@dataclass(frozen=True, slots=True)
class EngineView:
    """One process that claims or writes, dead ones included."""

    id: str
    role: EngineRole
    state: EngineState
    #: Number of the last batch it committed.
    batch: int
    #: By the database's clock.
    lease_until: int
    host: str
    pid: int
    boot_id: str | None
    lock_file: str | None
    executors: tuple[str, ...]
    slots: int
    release: str
    started_at: int
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class HeldTask:
    """A running task with the fencing token of its holder."""

    instance_id: str
    path: str
    attempt: int
    engine: str
    started_at: int | None

    @property
    def cursor(self) -> tuple[str, str]:
        """What `after=` takes to go on behind this row."""
        return self.instance_id, self.path


@dataclass(frozen=True, slots=True)
class UnclaimableTask:
    """A ready task that nobody here can run."""

    instance_id: str
    path: str
    executor: str
    queue: str
    ready_at: int


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many tasks of a queue are ready and since when the oldest waits."""

    queue: str
    ready: int
    oldest_ready_at: int


#: Written out like the predicate of the index `instances_active`: with parameters neither database would use it.
ACTIVE: Final = INSTANCES.c.state.in_(
    [literal_column(f"'{state}'") for state in sorted(ACTIVE_INSTANCE_STATES)]
)


def page_size(limit: int) -> int:
    """Bound a page."""
    return max(0, min(limit, MAX_PAGE))


def columns_of(table: Table, record: type[Any]) -> list[Column[Any]]:
    """Give a record's columns in the order of its fields."""
    return [table.c[field.name] for field in fields(record)]


def chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    """Split distinct keys into parts that fit one statement."""
    distinct = list(dict.fromkeys(keys))
    for start in range(0, len(distinct), _KEYS_AT_ONCE):
        yield distinct[start : start + _KEYS_AT_ONCE]


def beyond(
    columns: Sequence[Column[Any]], after: Sequence[Any], *, descending: bool = False
) -> ColumnElement[bool]:
    """Give the rows behind a cursor in the order of these columns."""
    row, last = tuple_(*columns), tuple_(*after, types=[column.type for column in columns])
    return row < last if descending else row > last


def uuid_text(text: str) -> str | None:
    """Give an id as the tables hold it; None for what is no UUID, which Postgres would refuse."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def uuid_range(prefix: str) -> tuple[str, str] | None:
    """Give the least and the greatest id with this beginning, hyphens or not; None when no id can begin so."""
    digits = prefix.lower().replace("-", "")
    if not _HEX.fullmatch(digits):
        return None
    return str(uuid.UUID(digits.ljust(32, "0"))), str(uuid.UUID(digits.ljust(32, "f")))
