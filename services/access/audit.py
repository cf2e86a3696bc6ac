"""The audit log of one database. Entries that come while others are written are written together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from ...engine.translate import engine_errors
from ...repositories import access_store
from ...repositories.database import Database

__all__ = ["AuditLog"]

#: True: somebody has written it; False: it is this one's turn to write.
_Turn = Future[bool]


class AuditLog:
    """One caller at a time writes for all that wait, itself among them: a transaction for many calls, and no thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: list[tuple[Mapping[str, Any], _Turn]] = []
        self._is_writing = False

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add an entry; it is durable when this returns. Raises DatabaseUnavailable."""
        turn: _Turn = Future()
        with self._lock:
            self._waiting.append((entry, turn))
            mine, self._is_writing = not self._is_writing, True
        if mine or not turn.result():
            self._write_all(turn)

    def _write_all(self, mine: _Turn) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        others = [turn for _, turn in batch if turn is not mine]
        try:
            with engine_errors():
                access_store.write_audit(self._database, [entry for entry, _ in batch])
        except BaseException as exc:
            for turn in others:
                turn.set_exception(exc)
            raise
        else:
            for turn in others:
                turn.set_result(True)
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        with self._lock:
            if not self._waiting:
                self._is_writing = False
                return
            following = self._waiting[0][1]
        following.set_result(False)
