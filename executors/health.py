"""Asks the executors that have a `health_check` how they are, all at once and with a bound."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Final

from .entry import ExecutorEntry, Hook
from .errors import AttemptTimeout
from .invoke import UserCall, call_bounded
from .threads import WorkerThreads

__all__ = ["OK", "check_health"]

OK: Final = "ok"


async def check_health(entries: Sequence[ExecutorEntry], timeout_s: float) -> dict[str, str]:
    """Name → "ok", or in words what is wrong; no answer within `timeout_s` seconds is wrong too."""
    asked = [(entry.name, entry.health_check) for entry in entries if entry.health_check is not None]
    pool = WorkerThreads(max(1, len(asked)), name="strataflow-health")
    try:
        answers = await asyncio.gather(*(_ask(check, pool, timeout_s) for _, check in asked))
    finally:
        pool.close()
    return dict(zip((name for name, _ in asked), answers, strict=True))


async def _ask(check: Hook, pool: WorkerThreads, timeout_s: float) -> str:
    try:
        answer = await call_bounded(UserCall(check, (), inspect.iscoroutinefunction(check)), pool, timeout_s)
    except AttemptTimeout:
        return f"no answer within {timeout_s:g} s"
    except Exception as exc:  # noqa: BLE001  # user code: what it raises is the report
        return f"{type(exc).__name__}: {exc}"
    if answer is None or answer is True:
        return OK
    return "the health check answered False" if answer is False else str(answer)
