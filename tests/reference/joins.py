"""When a map or a parallel has come out, given how its children ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Join"]


@dataclass(frozen=True, slots=True)
class Join:
    """What a join asks for, in numbers of children."""

    total: int
    need: str
    #: Successes that meet it; for `all`, `first` and `none` the word decides.
    successes: int
    tolerate: int
    keep: bool

    @classmethod
    def of(cls, said: Any, total: int) -> Self:
        """Read the short or the long form."""
        fields: dict[str, Any] = said if isinstance(said, dict) else {"need": said or "all"}
        need = fields.get("need", "all")
        successes = {"all": total, "any": 1, "first": 1, "majority": total // 2 + 1, "none": 0}.get(need)
        if successes is None:  # a number, or a percentage that is rounded up
            successes = need if isinstance(need, int) else -(-total * int(need[:-1]) // 100)
        tolerate = fields.get("tolerate", 0)
        if isinstance(tolerate, str):
            tolerate = total * int(tolerate[:-1]) // 100
        keep = fields.get("rest", "keep" if need == "none" else "cancel") == "keep"
        word = need if need in {"all", "first", "none"} else "number"
        return cls(total, word, successes, tolerate, keep)

    def verdict(self, ends: Sequence[bool]) -> bool | None:
        """Met, not to be met any more, or open, given the ends so far in their order: True is a success."""
        good, bad = sum(ends), len(ends) - sum(ends)
        if self.need == "none":
            return True
        if self.need == "first":
            return ends[0] if ends else (None if self.total else False)
        if self.need == "all":
            return False if bad > self.tolerate else True if len(ends) == self.total else None
        return True if good >= self.successes else False if self.total - bad < self.successes else None
