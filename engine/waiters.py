"""Who waits for instances to end: woken in process at once, by a hint from elsewhere soon, by polling in any case."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final

from ..repositories import views
from ..repositories.database import Database
from ..repositories.records import TERMINAL_INSTANCE_STATES
from .errors import EngineStopped, NotFound
from .translate import engine_errors

__all__ = ["Waiters"]

_FIRST_S: Final = 0.02
_LONGEST_S: Final = 0.5
#: Instances that ended here lately: one may end before anybody waits for it.
_REMEMBERED: Final = 10_000


class Waiters:
    """Blocks callers until an instance has ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._waiting: dict[str, int] = {}
        self._ended: dict[str, None] = {}
        self._pokes = 0
        self._stopped = False

    def ended(self, instance_ids: Iterable[str]) -> None:
        """This process ended these instances."""
        with self._changed:
            for instance_id in instance_ids:
                self._ended[instance_id] = None
            while len(self._ended) > _REMEMBERED:
                del self._ended[next(iter(self._ended))]
            if self._waiting:
                self._changed.notify_all()

    def forget(self, instance_id: str) -> None:
        """The instance has not ended after all: it was taken back."""
        with self._changed:
            self._ended.pop(instance_id, None)

    def poke(self) -> None:
        """Something changed elsewhere: look."""
        with self._changed:
            if self._waiting:
                self._pokes += 1
                self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody wait any longer: they get EngineStopped."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self, instance_id: str, timeout_s: float | None) -> bool:
        """True when it has ended, False after the timeout. Raises NotFound, EngineStopped."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            self._waiting[instance_id] = self._waiting.get(instance_id, 0) + 1
        try:
            return self._wait(instance_id, deadline)
        finally:
            with self._changed:
                self._waiting[instance_id] -= 1
                if not self._waiting[instance_id]:
                    del self._waiting[instance_id]

    def _wait(self, instance_id: str, deadline: float | None) -> bool:
        pause, seen = _FIRST_S, self._pokes
        first = True
        while True:
            # What ends here is told; the database is asked for what ends elsewhere, and not before it had a moment.
            if instance_id in self._ended or (not first and self._has_ended(instance_id)):
                return True
            first = False
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            with self._changed:
                if self._stopped:
                    raise EngineStopped(f"the engine stopped while instance {instance_id} was waited for.")
                if instance_id not in self._ended and self._pokes == seen:
                    self._changed.wait(pause if left is None else min(pause, left))
                seen = self._pokes
            pause = min(_LONGEST_S, pause * 1.5)

    def _has_ended(self, instance_id: str) -> bool:
        with engine_errors(), self._database.read() as connection:
            state = views.state_of(connection, instance_id)
        if state is None:
            raise NotFound(
                f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
            )
        return state in TERMINAL_INSTANCE_STATES
