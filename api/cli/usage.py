"""What a service refuses because of how it was asked is bad usage on the command line: exit code 2."""

from __future__ import annotations

import getpass
from collections.abc import Generator
from contextlib import contextmanager

from .errors import UsageProblem

__all__ = ["by_whom", "usage_errors"]


@contextmanager
def usage_errors() -> Generator[None]:
    """Turn an EngineError that has no code of its own, or that a schedule cannot be, into a UsageProblem."""
    from ...engine.errors import EngineError

    try:
        yield
    except EngineError as exc:
        if type(exc) is not EngineError and exc.code != "schedule":
            raise
        raise UsageProblem(exc.message, hint=exc.hint) from exc


def by_whom(reason: str | None, what: str) -> str:
    """A reason with the name of the user: others will read it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{reason} ({user})" if reason else f"{what} by {user}"
