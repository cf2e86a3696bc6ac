"""What the write transaction asks of a database connection; `dialect.py` has one for each database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["Connection", "Row"]

Row = tuple[Any, ...]


class Connection(Protocol):
    """One connection of one thread, outside any transaction between calls of `begin` and `commit`."""

    @property
    def dialect(self) -> str:
        """`postgresql` or `sqlite`."""
        ...

    def begin(self) -> None:
        """Open a write transaction (READ COMMITTED; IMMEDIATE on SQLite)."""
        ...

    def commit(self) -> None:
        """Make it durable; returns after the database said so."""
        ...

    def rollback(self) -> None:
        """Drop the transaction; never raises."""
        ...

    def pipeline(self) -> AbstractContextManager[Any]:
        """Statements inside travel together where the database can do that."""
        ...

    def run(self, name: str, params: Mapping[str, Any] | None = None) -> Any:
        """Start a named statement; `rows` gives what it returned."""
        ...

    def rows(self, handle: Any) -> list[Row]:
        """What a statement returned."""
        ...

    def many(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Run a bulk statement with one value per row in each column."""
        ...

    def fence(self, engine_id: str, batch: int, ttl: int) -> Any:
        """Renew the lease and leave the receipt `batch`; no row comes back when the engine is not alive."""
        ...

    def clock(self) -> Any:
        """Read the database's clock, in microseconds; a statement of its own, after the locks."""
        ...

    def lock_instances(self, ids: Sequence[str]) -> Any:
        """Lock instance rows in id order, waiting; rows are instance columns."""
        ...

    def read_tasks(self, ids: Sequence[str], paths: Sequence[str]) -> Any:
        """Read task rows by primary key, without locks."""
        ...

    def peek_ready(
        self, queues: Sequence[str], executors: Sequence[str], limit: int, total: int
    ) -> tuple[Any, Any]:
        """Lock (skipping) the instances at the head of the ready index, then read those tasks: two handles."""
        ...

    def peek_blocked(
        self, counters: Sequence[str], queues: Sequence[str], executors: Sequence[str], limit: int
    ) -> tuple[Any, Any]:
        """The same for tasks that are blocked on these counters."""
        ...

    def lock_limits(self, names: Sequence[str]) -> Any:
        """Lock counters in name order; rows are limit columns."""
        ...

    def peek_due(self, limit: int) -> tuple[Any, Any]:
        """The same for tasks whose `wake_at` has come."""
        ...

    def close(self) -> None:
        """Close; an open transaction is rolled back."""
        ...
