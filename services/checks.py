"""What `doctor` says about one thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Check", "Level", "many", "worst"]

Level = Literal["ok", "warn", "fail"]


@dataclass(slots=True, frozen=True)
class Check:
    """One thing that was looked at: how it stands, and what to do if it does not stand well."""

    name: str
    level: Level
    message: str
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of `strataflow doctor --json`."""
        return {"name": self.name, "status": self.level, "message": self.message, "hint": self.hint}


def many(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def worst(checks: Iterable[Check]) -> Level:
    """The level of the whole."""
    found = {check.level for check in checks}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"
