"""How long an attempt may take, and how long it may be silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from ..repositories.records import TaskRow
from .context import AttemptPort
from .plan import address_of
from .transaction import ClaimedTask

__all__ = ["AttemptSilent", "deadline_first", "limit_s", "watched"]


class AttemptSilent(Exception):
    """An attempt gave no sign of life for longer than its node's `heartbeat`."""


async def watched(call: Coroutine[Any, Any, Any], port: AttemptPort, silence_s: float) -> Any:
    """Await an attempt for as long as it gives signs of life. Raises AttemptSilent."""
    job = asyncio.ensure_future(call)
    try:
        while True:
            left = silence_s - (time.monotonic() - port.last_sign)
            if left <= 0:
                raise AttemptSilent(f"no sign of life for {silence_s:g} s")
            done, _ = await asyncio.wait({job}, timeout=left)
            if done:
                return job.result()
    finally:
        if not job.done():
            job.cancel()
            await asyncio.wait({job})


def limit_s(task: ClaimedTask) -> float | None:
    """How long an attempt may take: the node's `timeout`, or what is left of its `deadline`."""
    timeout = task.plan.nodes[address_of(task.row.path)].timeout
    left = _left(task.row)
    limits = [limit for limit in (timeout, left) if limit is not None]
    return min(limits) / 1_000_000 if limits else None


def deadline_first(task: ClaimedTask) -> bool:
    """Is it the node's `deadline` that an attempt meets first, not its `timeout`?"""
    timeout, left = task.plan.nodes[address_of(task.row.path)].timeout, _left(task.row)
    return left is not None and (timeout is None or left <= timeout)


def _left(row: TaskRow) -> int | None:
    if row.deadline_at is None or row.started_at is None:
        return None
    return max(0, row.deadline_at - row.started_at)
