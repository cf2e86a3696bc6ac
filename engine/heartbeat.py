"""Keeps this engine's lease: registers, renews on a thread and connection of its own, notices its loss."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from ..repositories import engines
from ..repositories.database import Database
from ..repositories.records import EngineRole
from ..repositories.url import DatabaseUrl
from .config import EngineConfig
from .loops import Loop
from .membership import Membership

__all__ = ["Heartbeat"]

log: Final = logging.getLogger("strataflow.heartbeat")


class Heartbeat:
    """Owns the current `Membership`. After a loss a new one is registered: ids are never used again."""

    def __init__(
        self,
        *,
        config: EngineConfig,
        database: Database,
        url: DatabaseUrl,
        release: str,
        executors: Callable[[], frozenset[str]],
        on_loss: Callable[[], None],
    ) -> None:
        self._config = config
        self._database = database
        self._url = url
        self._release = release
        self._executors = executors
        self._on_loss = on_loss
        self._lock = threading.RLock()
        self._advertised: frozenset[str] = frozenset()
        self._dropped = False
        self._renewed_at = 0.0
        self.membership = self._register()
        self._loop = Loop("heartbeat", self._beat, min(1.0, config.lease.ttl_s / 4))

    @property
    def last_progress(self) -> float:
        """When it last came round without an error, by `time.monotonic()`."""
        return self._loop.last_progress

    def start(self) -> None:
        """Begin to renew."""
        self._loop.start()

    def stop(self) -> None:
        """Sign off; everything this engine held must have been given back."""
        self._loop.stop()
        with self._lock:
            try:
                engines.stop(self._database, self.membership.id)
            finally:  # without its lock others see at once that it is gone
                self.membership.close()

    def lose(self, membership: Membership) -> None:
        """The database says this membership is dead: drop everything, register anew. Idempotent per membership."""
        with self._lock:
            if self.membership is not membership:
                return
            log.error("engine %s lost its lease", membership.id, extra={"action": "lease_lost"})
            membership.lost.set()
            self._on_loss()
            membership.close()
            self.membership = self._register()
            self._dropped = False

    def _register(self) -> Membership:
        member = Membership(self._url, executes=self._config.executes, lease=self._config.lease)
        begun = time.monotonic()
        self._advertised = self._executors() if self._config.executes else frozenset()
        row = engines.EngineRow(
            id=member.id,
            role=EngineRole.ENGINE if self._config.executes else EngineRole.CLIENT,
            host=member.host,
            pid=member.pid,
            release=self._release,
            boot_id=member.boot_id,
            lock_file=member.lock_file,
            executors=tuple(sorted(self._advertised)),
            slots=self._config.slots if self._config.executes else 0,
        )
        try:
            engines.register(self._database, row, member.lease.ttl)
        except BaseException:
            member.close()
            raise
        member.renewed(begun)
        self._renewed_at = begun
        return member

    def _beat(self) -> float | None:
        member = self.membership
        begun = time.monotonic()
        if not member.trusted and not self._dropped:
            # The lease ran out unrenewed (database away, process stopped): others may run our tasks by now.
            self._dropped = True
            log.error("engine %s cannot renew its lease", member.id, extra={"action": "lease_untrusted"})
            self._on_loss()
        if begun - self._renewed_at < self._config.lease.ttl_s / 3 and member.trusted:
            return None
        if not engines.renew(self._database, member.id, member.lease.ttl):
            self.lose(member)
            return None
        member.renewed(begun)
        self._renewed_at = begun
        self._dropped = False
        self._advertise(member)
        return None

    def _advertise(self, member: Membership) -> None:
        now = self._executors() if self._config.executes else frozenset[str]()
        if now != self._advertised:
            engines.advertise(self._database, member.id, sorted(now), self._config.slots)
            self._advertised = now
