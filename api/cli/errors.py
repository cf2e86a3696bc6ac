"""From exceptions to one clear message on stderr and an exit code. No command handles errors itself.

| code | when |
|---|---|
| 0 | done, completed |
| 1 | the instance failed or was cancelled; or anything went wrong that is not the caller's |
| 2 | bad usage, invalid definition or inputs, not found |
| 130 | interrupted; what was started goes on later |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click
from typer.core import TyperGroup

__all__ = ["FAILED", "INTERRUPTED", "OK", "USAGE", "CommandGroup", "UsageProblem", "code_of", "message_of"]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


class UsageProblem(Exception):
    """Raised by a command for what its caller wrote; `hint` says what to write instead."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)


class CommandGroup(TyperGroup):
    """Runs a command and ends the process with its code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> NoReturn:
        """Never returns."""
        try:
            found: Any = super().main(
                args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except Exception as exc:
            if _debugging(args):
                raise
            sys.exit(_report(exc))
        sys.exit(found if isinstance(found, int) else OK)


def _debugging(args: Sequence[str] | None) -> bool:
    return "--debug" in (sys.argv if args is None else args) or os.environ.get(
        "STRATAFLOW_DEBUG", ""
    ) not in {"", "0"}


def _report(exc: Exception) -> int:
    if isinstance(exc, BrokenPipeError):
        # Whoever read our output has left; do not let the interpreter complain while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    print(f"strataflow: {message_of(exc)}", file=sys.stderr)
    return code_of(exc)


def message_of(exc: Exception) -> str:
    """What went wrong and what to do about it."""
    if isinstance(exc, click.UsageError):
        context = exc.ctx
        where = context.command_path if context is not None else "strataflow"
        return f"{exc.format_message()} See `{where} --help`."
    if isinstance(exc, click.ClickException):
        return exc.format_message()
    if _is_expected(exc):
        return str(exc)
    return (
        f"unexpected {type(exc).__name__}: {exc} This is a defect of strataflow or of its surroundings; "
        "run the command again with STRATAFLOW_DEBUG=1 to see where it happened."
    )


def code_of(exc: Exception) -> int:
    """The exit code of an error."""
    if isinstance(exc, click.ClickException):
        return exc.exit_code
    return USAGE if isinstance(exc, UsageProblem) or _code_name(exc) in _USAGE_CODES else FAILED


#: Codes of engine errors that are the caller's; compared by name, so that no engine is imported for a usage error.
_USAGE_CODES: Final = frozenset({"definition", "inputs", "payload", "expression", "not_found", "registry"})


def _code_name(exc: Exception) -> str:
    from ...executors.errors import RegistryError

    if isinstance(exc, RegistryError):
        return "registry"
    return str(getattr(exc, "code", ""))


def _is_expected(exc: Exception) -> bool:
    from ...engine.errors import EngineError
    from ...executors.errors import RegistryError

    return isinstance(exc, EngineError | RegistryError | UsageProblem)
