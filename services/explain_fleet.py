"""Which engines could do something about it: who lives, who has an executor, who has room. For `explain`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.membership import FileLock, boot_id
from ..repositories.records import EngineRole, EngineState

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..repositories.readmodels import EngineView

__all__ = ["Fleet"]


@dataclass(slots=True)
class Fleet:
    """The engines of one database as they were read."""

    engines: list[EngineView]
    now: int
    #: Does the file lock alone decide, not the clock (SQLite)?
    locks_decide: bool
    #: Gives how many slots some engines use; asked only where it matters.
    busy: Callable[[Collection[str]], dict[str, int]]
    _gone: dict[str, bool] = field(default_factory=dict[str, bool])

    @property
    def alive(self) -> list[EngineView]:
        """Engines that execute, and live as far as can be seen from here."""
        return [each for each in self.engines if each.role == EngineRole.ENGINE and not self.is_gone(each)]

    def find(self, engine_id: str | None) -> EngineView | None:
        """One engine by its id."""
        return next((each for each in self.engines if each.id == engine_id), None)

    def able(self, executor: str | None) -> list[EngineView]:
        """Engines that live and have an executor."""
        return [each for each in self.alive if executor in each.executors]

    def last_with(self, executor: str | None) -> int | None:
        """When the last engine that had an executor ended; None when none is known."""
        ends = [
            each.ended_at or min(each.lease_until, self.now)
            for each in self.engines
            if executor in each.executors
        ]
        return max(ends, default=None)

    def is_gone(self, engine: EngineView) -> bool:
        """Is its process gone? Judged as recovery will judge it, and nothing is changed by looking."""
        if engine.state is not EngineState.ALIVE:
            return True
        if engine.id not in self._gone:
            self._gone[engine.id] = self._looks_gone(engine)
        return self._gone[engine.id]

    def _looks_gone(self, engine: EngineView) -> bool:
        if engine.lock_file is not None and engine.boot_id is not None and engine.boot_id == boot_id():
            path = Path(engine.lock_file)
            free = _is_free(path)
            if free:
                return True
            if self.locks_decide:
                return not path.exists()
        return engine.lease_until < self.now


def _is_free(path: Path) -> bool:
    """Could the lock of this file be taken? False also where this process may not look."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        taken = lock.take()
    except OSError:
        return False
    if taken:
        lock.free(remove=False)
    return taken
