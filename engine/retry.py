"""Retry policy and backoff, pure: jitter is a hash of (instance, path, attempt), so that a decision can be replayed."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import Final

from ..executors.base import TaskError
from .plan import RetryPolicy

__all__ = ["CRASH_BUDGET", "backoff", "matches", "retry_delay"]

#: Attempts of one task that may die with their engine before it counts as poison.
CRASH_BUDGET: Final = 5


def retry_delay(policy: RetryPolicy, error: TaskError, failures: int, key: str) -> int | None:
    """Microseconds until the next attempt, or None when there is none.

    `failures` counts the failed attempts including this one; `key` seeds the jitter. Order of judgement: never,
    retryable, on, retries left (DSL rule 20).
    """
    if matches(policy.never, error) or not error.retryable:
        return None
    if policy.on and not matches(policy.on, error):
        return None
    return backoff(policy, failures, key) if failures <= policy.max else None


def matches(patterns: tuple[str, ...], error: TaskError) -> bool:
    """True when a pattern names the error's class, one of its bases, `domain.*` or `*` (DSL rule 25)."""
    codes = (error.code, *error.codes)
    return any(fnmatchcase(code, pattern) for pattern in patterns for code in codes)


def backoff(policy: RetryPolicy, failures: int, key: str) -> int:
    """Delay in microseconds before retry number `failures`, from 1."""
    if policy.backoff == "fixed":
        delay = float(policy.delay)
    elif policy.backoff == "linear":
        delay = float(policy.delay) * failures
    else:
        # The exponent is bounded: beyond it every sensible policy has met max_delay.
        delay = float(policy.delay) * policy.factor ** min(failures - 1, 64)
    delay = min(delay, float(policy.max_delay))
    if policy.jitter:
        share = int.from_bytes(hashlib.sha256(f"{key}#{failures}".encode()).digest()[:8], "big") / 2**64
        delay *= 1.0 + policy.jitter * (2.0 * share - 1.0)
    return max(0, min(round(delay), policy.max_delay))
