"""The domain `core`: executors without an outside effect, for glue, tests and demonstrations."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from pydantic import Field

from .base import Json, TaskContext
from .domain import ExecutorDomain
from .errors import ExecutorError
from .fields import BuiltinConfig, json_text

__all__ = ["core"]

core: Final = ExecutorDomain("core")

#: A hundred years in seconds: longer is a mistake.
_LONGEST_S: Final = 100 * 365 * 86_400


class SleepConfig(BuiltinConfig):
    seconds: float = Field(ge=0, le=_LONGEST_S)


class LogConfig(BuiltinConfig):
    message: Any
    level: Literal["debug", "info", "warning", "error"] = "info"


class FailConfig(BuiltinConfig):
    code: str = Field(default="Failed", min_length=1, max_length=200)
    message: str = "core.fail was asked to fail"
    retryable: bool = True
    #: How many attempts fail; None: every one.
    attempts: int | None = Field(default=None, ge=0)


@core.executor("noop", inline=True)
def noop(_ctx: TaskContext, config: Json) -> Json:
    """Do nothing; return `with` as it is."""
    return config


@core.executor("sleep", config=SleepConfig)
async def sleep(_ctx: TaskContext, config: SleepConfig) -> None:
    """Hold a slot for some seconds; a `wait` node holds none and survives a restart."""
    await asyncio.sleep(config.seconds)


@core.executor("log", config=LogConfig, inline=True)
def log(ctx: TaskContext, config: LogConfig) -> None:
    """Keep one line in the task's log; a message that is no text is kept as compact JSON."""
    ctx.log(json_text(config.message), config.level)


@core.executor("fail", config=FailConfig, inline=True)
def fail(ctx: TaskContext, config: FailConfig) -> Json:
    """Fail the first `attempts` attempts, or always; then return the attempt's number."""
    if config.attempts is None or ctx.attempt <= config.attempts:
        raise ExecutorError(config.message, code=config.code, retryable=config.retryable)
    return {"attempt": ctx.attempt}
