"""From exceptions to one clear message on stderr and an exit code. No command handles errors itself.

| code | when |
|---|---|
| 0 | done, completed |
| 1 | the instance failed or was cancelled; or something went wrong that is not the caller's |
| 2 | bad usage, invalid definition or inputs, not found, not allowed at the server |
| 130 | interrupted; what was started goes on later |
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn, Protocol, cast, runtime_checkable

import typer
from typer.core import TyperGroup

from .output import debugging, note

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "OK",
    "USAGE",
    "CommandFailed",
    "CommandGroup",
    "UsageProblem",
    "code_of",
    "message_of",
]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

#: Codes of engine errors that are the caller's. By name, so that no engine is imported for a usage error.
_USAGE_CODES: Final = frozenset(
    {
        "definition",
        "expression",
        "forbidden",
        "inputs",
        "not_found",
        "payload",
        "request",
        "schedule",
        "unauthenticated",
    }
)


@runtime_checkable
class _ParserProblem(Protocol):
    """What the command line's parser raises. By shape: typer brings a parser of its own, or click's, by its version."""

    exit_code: int

    def format_message(self) -> str: ...


class UsageProblem(Exception):
    """Raised by a command for what its caller wrote; `hint` says what to write instead."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)


class CommandFailed(Exception):
    """Raised by a command that could not do what it was asked, through no fault of its caller."""


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
        """Run one command line; never returns."""
        given = list(sys.argv[1:] if args is None else args)
        _take_debug(given)
        _tolerant_stdout()
        try:
            found: Any = super().main(
                given,
                prog_name=prog_name or "strataflow",
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except (Exception, KeyboardInterrupt) as exc:
            if debugging() and not isinstance(exc, _ParserProblem | UsageProblem):
                raise
            sys.exit(_report(exc))
        sys.exit(found if isinstance(found, int) else OK)


def _take_debug(args: list[str]) -> None:
    """`--debug` may stand anywhere; worker processes hear of it through the environment."""
    end = args.index("--") if "--" in args else len(args)
    if "--debug" in args[:end]:
        args.remove("--debug")
        os.environ["STRATAFLOW_DEBUG"] = "1"


def _tolerant_stdout() -> None:
    """A terminal that cannot show a character shows `?` instead of ending the command."""
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        cast("Any", sys.stdout).reconfigure(errors="replace")


def _report(exc: BaseException) -> int:
    if isinstance(exc, BrokenPipeError):
        # Whoever read our output has left: the interpreter must not complain while it closes stdout.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(exc, KeyboardInterrupt | typer.Abort):
        note("Interrupted.")
        return INTERRUPTED
    if not message_of(exc):
        return code_of(exc)  # the help has been printed instead
    label = "\x1b[1;31merror:\x1b[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else "error:"
    note(f"{label} {message_of(exc)}")
    return code_of(exc)


def message_of(exc: BaseException) -> str:
    """What went wrong, and what to do about it."""
    if isinstance(exc, _ParserProblem):
        context = getattr(exc, "ctx", None)
        where = context.command_path if context is not None else "strataflow"
        text = exc.format_message().rstrip(".")
        return f"{text}. See `{where} --help`." if text else ""
    if isinstance(exc, UsageProblem | CommandFailed) or _is_expected(exc):
        return str(exc)
    return (
        f"unexpected {type(exc).__name__}: {exc}. This is a defect of strataflow or of what it runs on; "
        "the same command with STRATAFLOW_DEBUG=1 shows where it happened."
    )


def code_of(exc: BaseException) -> int:
    """The exit code of an error."""
    if isinstance(exc, _ParserProblem):
        return exc.exit_code
    if isinstance(exc, UsageProblem) or getattr(exc, "code", None) in _USAGE_CODES or _is_registry_error(exc):
        return USAGE
    return FAILED


def _is_registry_error(exc: BaseException) -> bool:
    from ...executors.errors import RegistryError

    return isinstance(exc, RegistryError)


def _is_expected(exc: BaseException) -> bool:
    from ...engine.errors import EngineError

    return isinstance(exc, EngineError) or _is_registry_error(exc)
