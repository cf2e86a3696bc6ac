"""Kills the process at a chosen statement: before it, after it, before the COMMIT that follows, or just after that.

Every statement of the writer's connection and every write of the short transactions is counted. `{"match": REGEX,
"nth": k, "when": …}` means the k-th statement whose text matches. On Postgres statements travel in a pipeline: before
the process dies "after" something, the pipeline is synchronised, so that the server has really done it.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from typing import Any

from sqlalchemy import Engine, event

from strataflow.repositories import dialect

__all__ = ["WHENS", "Fault", "install"]

WHENS = ("before", "after", "before_commit", "after_commit")
READS = re.compile(r"\s*(SELECT|PRAGMA|BEGIN|ROLLBACK)", re.IGNORECASE)


class Fault:
    """Counts statements and strikes once."""

    def __init__(self, match: str, nth: int, when: str) -> None:
        self._match = re.compile(match, re.IGNORECASE)
        self._nth = nth
        self._when = when
        self._lock = threading.Lock()
        self._armed: set[int] = set()
        #: Matching statements seen.
        self.count = 0

    def before(self, sql: str) -> bool:
        """A statement is about to be sent; True when it is the one."""
        me = threading.get_ident()
        if sql == "COMMIT" and me in self._armed and self._when == "before_commit":
            strike()
        if not self._match.search(sql):
            return False
        with self._lock:
            self.count += 1
            hit = self.count == self._nth
        if not hit:
            return False
        if self._when == "before" or (sql == "COMMIT" and self._when == "before_commit"):
            strike()
        self._armed.add(me)
        return True

    def strikes_after(self, sql: str, *, hit: bool) -> bool:
        """A statement has been handed over: is this the moment?"""
        if hit and self._when == "after":
            return True
        return sql == "COMMIT" and self._when == "after_commit" and threading.get_ident() in self._armed


def strike() -> None:
    """Die as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def install(values: dict[str, Any]) -> Fault:
    """Put the fault between the engine and both databases, for the rest of this process's life."""
    fault = Fault(values.get("match", "."), values["nth"], values["when"])
    _wrap_postgres(fault)
    _wrap_sqlite(fault)
    _watch_short_transactions(fault)
    return fault


def _wrap_postgres(fault: Fault) -> None:
    original = dialect.PostgresConnection._execute

    def execute(self: Any, sql: str, params: Any = None) -> Any:
        hit = fault.before(sql)
        result = original(self, sql, params)
        if fault.strikes_after(sql, hit=hit):
            pipeline = self._raw._pipeline
            if pipeline is not None:
                pipeline.sync()
            strike()
        return result

    dialect.PostgresConnection._execute = execute


class _Raw:
    """A sqlite3 connection that tells the fault of every statement."""

    def __init__(self, raw: Any, fault: Fault) -> None:
        self._raw = raw
        self._fault = fault

    def execute(self, sql: str, *args: Any) -> Any:
        return self._told(sql, lambda: self._raw.execute(sql, *args))

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._told(sql, lambda: self._raw.executemany(sql, rows))

    def _told(self, sql: str, work: Any) -> Any:
        hit = self._fault.before(sql)
        result = work()
        if self._fault.strikes_after(sql, hit=hit):
            strike()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def _wrap_sqlite(fault: Fault) -> None:
    original = dialect.SqliteConnection.__init__

    def init(self: Any, url: Any, raw: Any = None) -> None:
        original(self, url, raw)
        self._raw = _Raw(self._raw, fault)

    dialect.SqliteConnection.__init__ = init


def _watch_short_transactions(fault: Fault) -> None:
    hits = threading.local()

    def before(_c: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
        hits.hit = not READS.match(sql) and fault.before(sql)

    def after(_c: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
        if fault.strikes_after(sql, hit=getattr(hits, "hit", False)):
            strike()

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
