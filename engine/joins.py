"""When a map's join is met or can no longer be met (DSL rule 17); pure arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from .plan import JoinRule

__all__ = ["Verdict", "verdict"]

Verdict = Literal["met", "impossible"]


def verdict(rule: JoinRule, *, total: int, good: int, bad: int) -> Verdict | None:
    """Decide at the first moment it is certain; None while it is open.

    `good` counts completed, skipped and excused items, `bad` the other failed and cancelled ones. `all` waits for
    every item, because its output holds every item; `first` is decided by whichever ends first; the others stop
    waiting as soon as enough succeeded.
    """
    if rule.need == "all" and rule.need_percent is None:
        if bad > _tolerated(rule, total):
            return "impossible"
        return "met" if good + bad == total else None
    if rule.need == "first" and rule.need_percent is None:
        return "impossible" if bad or not total else "met" if good else None
    need = _needed(rule, total)
    if good >= need:
        return "met"
    return "impossible" if total - bad < need else None


def _needed(rule: JoinRule, total: int) -> int:
    if rule.need_percent is not None:
        return math.ceil(_share(rule.need_percent, total))
    match rule.need:
        case "any":
            return 1
        case "majority":
            return total // 2 + 1
        case "none":
            return 0
        case number:
            return int(number)


def _tolerated(rule: JoinRule, total: int) -> int:
    if rule.tolerate_percent is not None:
        return math.floor(_share(rule.tolerate_percent, total))
    return rule.tolerate


@lru_cache(maxsize=1024)
def _share(percent: float, total: int) -> Fraction:
    """A percentage of the total, exactly: in floating point 0.07 % of 10,000 is more than 7."""
    return Fraction(repr(percent)) * total / 100
