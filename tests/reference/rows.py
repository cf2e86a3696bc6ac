"""What a run of the reference consists of: its tasks, what expressions see where, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.reference.shape import ENDED, Doc
from tests.reference.values import Error

__all__ = ["Place", "Prediction", "Row", "World", "join_path", "under"]


@dataclass(frozen=True, slots=True)
class World:
    """What surrounds a run: how attempts end (None: well), and the definitions that it can start."""

    oracle: Callable[[str, str, int], Error | None]
    flows: Mapping[str, Doc] = field(default_factory=dict[str, Doc])


@dataclass(slots=True)
class Row:
    """One task."""

    path: str
    state: str = "queued"
    output: Any = None
    error: Error | None = None
    #: An attempt is under way: whoever closes the scope lets it end.
    busy: bool = False
    #: The scope was closed meanwhile.
    told: bool = False
    continued: bool = False
    #: It is a task of an executor.
    executor: bool = False
    #: The body that takes it back, and what that can read.
    undo: tuple[Doc, Place] | None = None
    stats: dict[str, int] | None = None
    branch: int | str | None = None

    @property
    def over(self) -> bool:
        return self.state in ENDED

    @property
    def lost(self) -> bool:
        """It failed and nobody said that this is fine."""
        return self.state in {"failed", "cancelled"} and not self.continued

    def view(self) -> dict[str, Any]:
        """What expressions can read of it."""
        error = {"code": self.error.code} if self.error and self.state == "failed" else None
        return {
            "state": self.state,
            "output": self.output,
            "error": error,
            "path": self.path,
            "stats": self.stats,
            "branch": self.branch,
        }


@dataclass(frozen=True, slots=True)
class Prediction:
    """How a run ended under one schedule."""

    state: str
    output: Any
    error: str | None
    rows: dict[str, Row]
    reached: Counter[str]


@dataclass(frozen=True, slots=True)
class Place:
    """What an expression can read where it stands."""

    roots: dict[str, Any]
    #: Path of every node that is in sight, by its name.
    paths: dict[str, str] = field(default_factory=dict[str, str])
    variables: tuple[dict[str, Any], ...] = ()

    def knows(self, **roots: Any) -> Place:
        return Place(self.roots | roots, self.paths, self.variables)

    def told(self, error: Error | None) -> Place:
        """Add the error as a handler sees it."""
        return self.knows(error={"code": error.code} if error else None)

    def owns_variables(self) -> Place:
        return Place(self.roots, self.paths, ({}, *self.variables))

    def sees(self, path: str, nodes: Mapping[str, Doc]) -> Place:
        return Place(self.roots, self.paths | {name: join_path(path, name) for name in nodes}, self.variables)


def join_path(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def under(path: str, scope: str, *, itself: bool = False) -> bool:
    """Whether a path lies inside the scope of another."""
    if path == scope:
        return itself
    return not scope or (path.startswith(scope) and path[len(scope)] in ".[#!")
