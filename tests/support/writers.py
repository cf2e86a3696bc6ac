"""An engine with a writer's connection of its own, for tests that run write transactions by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from strataflow.repositories import engines
from strataflow.repositories.batch import Batch, Changes, ClaimWish, Opening
from strataflow.repositories.connection import Connection
from strataflow.repositories.database import Database
from strataflow.repositories.dialect import connect
from strataflow.repositories.engines import EngineRow
from strataflow.repositories.records import EngineRole, TaskRow, TaskState
from strataflow.repositories.url import DatabaseUrl
from tests.support.rows import instance_id, new_id, task

TTL = 30_000_000
ONE, TWO, THREE = (instance_id(n) for n in (1, 2, 3))
WISH = ClaimWish(("default", "slow"), ("a.x",), 10)


@dataclass
class Writer:
    """An engine with a writer's connection of its own."""

    url: str
    database: Database
    engine_id: str = field(default_factory=new_id)
    number: int = 0

    def __post_init__(self) -> None:
        row = EngineRow(self.engine_id, EngineRole.ENGINE, "here", 1, "1")
        engines.register(self.database, row, TTL)
        self.connection: Connection = connect(DatabaseUrl.parse(self.url))
        self.batch = Batch(self.connection)

    def open(self, *ids: str, keys: list[tuple[str, str]] | None = None, **more: Any) -> Opening:
        self.number += 1
        return self.batch.open(
            engine_id=self.engine_id,
            batch=self.number,
            ttl=TTL,
            instance_ids=ids,
            task_keys=keys or [],
            **more,
        )

    def do(self, changes: Changes, *ids: str, **more: Any) -> Opening:
        """Run a whole transaction."""
        try:
            opening = self.open(*ids, **more)
            self.batch.write(changes)
        except BaseException:
            self.batch.rollback()
            raise
        return opening


def ready(number: int, path: str, **values: Any) -> TaskRow:
    """Make a task that `WISH` would claim."""
    return task(number, path, TaskState.QUEUED, executor="a.x", **values)


@contextmanager
def beside(writer: Writer, work: Callable[[], Any], *, waits: bool = True) -> Iterator[Future[Any]]:
    """Run `work` on another thread, and come back when it waits for a lock that this one holds."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        if waits and writer.connection.dialect == "postgresql":
            with psycopg.connect(writer.url, autocommit=True) as looking:
                _until_somebody_waits(looking, future)
        yield future


def _until_somebody_waits(looking: psycopg.Connection[Any], future: Future[Any]) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 0.8  # less than lock_timeout
    while time.monotonic() < deadline and not future.done():
        row = looking.execute(waiting).fetchone()
        if row and row[0]:
            return
        time.sleep(0.002)
    pytest.fail("nobody waited for the lock")
