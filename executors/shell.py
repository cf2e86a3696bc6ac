"""The domain `shell`: one command on this machine.

It runs with all rights of the engine's process and inherits its environment: a definition from elsewhere must
not reach this executor (the registry's `allow`).
"""

from __future__ import annotations

import json
import os
import signal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from .base import Json, TaskContext
from .domain import ExecutorDomain
from .errors import ExecutorError, NonRetryable, storable_text
from .fields import BuiltinConfig, Text, json_text
from .processes import Finished, OutputOverflow, run_process

__all__ = ["shell"]

shell: Final = ExecutorDomain("shell")

#: Bytes that each of stdout and stderr may have.
OUTPUT_CAP: Final = 10_000_000
_TAIL_CAP: Final = 2048
#: Variables of this process that a command must not see: master keys, secrets, passwords in URLs, tokens (R10).
_KEPT_BACK: Final = ("STRATAFLOW_MASTER_KEYS", "STRATAFLOW_SECRET_", "STRATAFLOW_DB", "STRATAFLOW_TOKEN")


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be passed to a process")
    return text


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError("the name of an environment variable is not empty and has no '='")
    return _no_nul(name)


Argument = Annotated[Text, AfterValidator(_no_nul)]
Variable = Annotated[str, AfterValidator(_variable)]


class RunConfig(BuiltinConfig):
    #: A line for `/bin/sh -c`; never put untrusted values in it, use `argv` or `env`.
    command: Annotated[str, AfterValidator(_no_nul)] | None = None
    #: A program and its arguments, without a shell.
    argv: list[Argument] | None = Field(default=None, min_length=1)
    cwd: Annotated[str, AfterValidator(_no_nul)] | None = None
    #: Added to the engine's own environment.
    env: dict[Variable, Argument] = Field(default_factory=dict[str, str])
    #: Written to stdin: a text verbatim, any other value as compact JSON. Absent or null: stdin is empty.
    input: Any = None
    parse: Literal["text", "json", "lines"] | None = None

    @model_validator(mode="after")
    def _one_command(self) -> Self:
        if (self.command is None) == (self.argv is None):
            raise ValueError("exactly one of 'command' and 'argv' is required")
        return self


class NotStarted(ExecutorError):
    """Raised when the command could not be started."""


class ExitStatus(ExecutorError):
    """Raised when the command ended with another code than 0; details: code, stderr (its end)."""


class OutputTooLarge(NonRetryable):
    """Raised when the command wrote more than 10 MB to stdout or stderr."""


class BadOutput(ExecutorError):
    """Raised when `parse` is json and stdout is none."""


@shell.executor("run", config=RunConfig)
async def run(ctx: TaskContext, config: RunConfig) -> Json:
    """Run a command in its own process group; return {code, stdout, stderr} or the parsed stdout."""
    argv = config.argv or ["/bin/sh", "-c", config.command or ""]
    stdin = None if config.input is None else json_text(config.input).encode("utf-8", "surrogatepass")
    env = _environment(ctx, config)
    try:
        finished = await run_process(argv, cwd=config.cwd, env=env, stdin=stdin, cap=OUTPUT_CAP)
    except OutputOverflow as exc:
        raise OutputTooLarge(
            f"{exc}; write large results to a file or a store, and return its name"
        ) from None
    except OSError as exc:
        # What is missing or forbidden stays so; a lack of memory or processes may pass.
        lasting = isinstance(exc, (FileNotFoundError, PermissionError, NotADirectoryError))
        place = f" in {config.cwd}" if config.cwd else ""
        raise NotStarted(f"cannot start {argv[0]!r}{place}: {exc.strerror}", retryable=not lasting) from exc
    if finished.code != 0:
        raise _exit_status(finished)
    return _result(finished, config)


def _environment(ctx: TaskContext, config: RunConfig) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_BACK)}
    return {
        **ours,
        "STRATAFLOW_IDEMPOTENCY_KEY": ctx.idempotency_key,
        "STRATAFLOW_INSTANCE_ID": ctx.instance_id,
        "STRATAFLOW_PATH": ctx.path,
        "STRATAFLOW_ATTEMPT": str(ctx.attempt),
        **config.env,
    }


def _exit_status(finished: Finished) -> ExitStatus:
    tail = storable_text(_decode(finished.stderr), _TAIL_CAP, keep_end=True)
    if finished.code > 0:
        told = f"the command ended with exit code {finished.code}"
    else:
        told = f"the command was ended by {_signal_name(-finished.code)}"
    last = tail.strip().rpartition("\n")[2]
    return ExitStatus(f"{told}: {last}" if last else told, details={"code": finished.code, "stderr": tail})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _result(finished: Finished, config: RunConfig) -> Json:
    text = _decode(finished.stdout)
    if config.parse is None:
        return {"code": finished.code, "stdout": text, "stderr": _decode(finished.stderr)}
    if config.parse == "text":
        return text.removesuffix("\n")
    if config.parse == "lines":
        return text.removesuffix("\n").split("\n") if text else []
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        excerpt = storable_text(text, _TAIL_CAP)
        raise BadOutput(f"stdout is not JSON: {exc}", details={"stdout": excerpt}) from None


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")
