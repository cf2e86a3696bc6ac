"""Long waits: a call that answers when something has ended, or when its time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Query
from starlette.concurrency import run_in_threadpool

from ...engine.errors import WaitTimeout
from .problems import Refused
from .routing import Called, seconds_of

__all__ = ["Wait", "wait_for", "wait_for_instance"]

#: Nobody waits longer than this in one call.
_LONGEST_S: Final = 60.0
_FIRST_S: Final = 0.02
_LATER_S: Final = 0.5
Wait = Annotated[
    str | None,
    Query(description="Wait so long for its end before answering, at most 60s.", examples=["30s"]),
]


async def wait_for_instance(caller: Called, instance_id: str, text: str) -> None:
    """Wait until a run has ended, or until the time is over. Raises NotFound, Refused."""
    seconds = seconds_of(text, "/query/wait")
    engine = caller.services.engine
    if engine is None:
        raise Refused(503, "stopped", "this process has no engine.")
    try:
        await engine.wait(instance_id, min(seconds, _LONGEST_S))
    except WaitTimeout:
        return  # the answer says how it stands


async def wait_for(ended: Callable[[], bool], text: str) -> None:
    """Wait until this holds, or until the time is over: asked seldomer the longer it takes."""
    until = time.monotonic() + min(seconds_of(text, "/query/wait"), _LONGEST_S)
    pause = _FIRST_S
    while not await run_in_threadpool(ended):
        left = until - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, _LATER_S)
