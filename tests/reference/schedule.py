"""Fibers that take turns in a random order: every way in which the nodes of a run may interleave is one seed."""

from __future__ import annotations

import random
import re
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["RIPPLE", "STEP", "VERDICT", "Fiber", "Schedule", "until"]

#: What happens in the same instant as the end of a task: first a scope learns its fate, then dependents are decided.
VERDICT, RIPPLE = 0, 1
#: What takes time, and may be overtaken.
STEP = 2


@dataclass(frozen=True, slots=True)
class Pause:
    """Where a fiber stands until a condition holds."""

    condition: Callable[[], bool]
    rank: int


@types.coroutine
def until(condition: Callable[[], bool], rank: int) -> Generator[Pause, None, None]:
    """Let others go first until the condition holds."""
    yield Pause(condition, rank)


@dataclass(slots=True)
class Fiber:
    """One line of execution, named by the path that it works at."""

    path: str
    work: Coroutine[Any, Any, Any]
    pause: Pause = Pause(lambda: True, VERDICT)
    done: bool = False

    def advance(self) -> None:
        """Run to the next pause, or to the end."""
        try:
            self.pause = self.work.send(None)
        except StopIteration:
            self.done = True

    def close(self) -> None:
        """End here."""
        self.work.close()
        self.done = True


@dataclass(slots=True)
class Schedule:
    """All fibers of a run, and the chance that picks the next one."""

    rng: random.Random
    fibers: list[Fiber] = field(default_factory=list[Fiber])
    #: Parts of the run that are slow in this schedule: nothing happens below them while it can elsewhere.
    slow: dict[str, int] = field(default_factory=dict[str, int])

    def _slowness(self, path: str) -> int:
        """How many of the scopes around a path, itself included, are slow."""
        parts = [path[: match.start()] for match in re.finditer(r"[.\[#!]", path)] + [path]
        return sum(self.slow.setdefault(part, self.rng.random() < 0.2) for part in parts)

    def spawn(self, path: str, work: Coroutine[Any, Any, Any]) -> Fiber:
        """Begin a fiber; it runs to its first pause at once."""
        fiber = Fiber(path, work)
        self.fibers.append(fiber)
        fiber.advance()
        return fiber

    def run(self) -> None:
        """Go on until nobody can."""
        while self.fibers:
            ready = [fiber for fiber in self.fibers if not fiber.done and fiber.pause.condition()]
            if not ready:
                return
            order = [(fiber.pause.rank, self._slowness(fiber.path)) for fiber in ready]
            first = min(order)
            self.rng.choice(
                [fiber for fiber, each in zip(ready, order, strict=True) if each == first]
            ).advance()
            self.fibers = [fiber for fiber in self.fibers if not fiber.done]
