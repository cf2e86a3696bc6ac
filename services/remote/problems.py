"""Answers that are problems (RFC 9457) become the errors that the same call raises on a database of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from ...engine import errors
from ...engine.errors import EngineError, Problem

__all__ = [
    "Forbidden",
    "NotUnderstood",
    "ServerFailed",
    "TooFast",
    "Unauthenticated",
    "Unreached",
    "error_of",
]

_HOW: Final = (
    "Put one into STRATAFLOW_TOKEN, or name a file with --token-file; `strataflow keys create` makes it."
)
_LATER: Final = "It may be starting; try again."
#: What a balancer answers whose server is away.
_GATEWAY: Final = frozenset({502, 503, 504})
_NAMED: Final = re.compile(r"definition '(.*)' has \d+ problem")


class Unauthenticated(EngineError):
    """Raised when the server does not know the token."""

    code = "unauthenticated"


class Forbidden(EngineError):
    """Raised when the token may not do this; the hint names the scope that it needs."""

    code = "forbidden"


class TooFast(EngineError):
    """Raised when the server goes on refusing because too much is asked of it."""

    code = "rate"


class ServerFailed(EngineError):
    """Raised for an error of the server's own; the message has the id under which its log knows it."""

    code = "server"


class Unreached(errors.DatabaseUnavailable):
    """Raised when something answers in the server's place."""


class NotUnderstood(EngineError):
    """Raised for an answer that no Strataflow of this release gives: another service, or another release."""

    code = "request"


class _Illegal(errors.IllegalTransition):
    """An illegal transition as the server tells it."""

    def __init__(self, message: str) -> None:
        errors.Conflict.__init__(self, message)
        self.entity = self.state = self.event = self.id = ""


def _vault(message: str, *, hint: str | None = None) -> EngineError:
    from ...engine.vault import VaultError

    return VaultError(message, hint=hint)


_PLAIN: Final[dict[str, Callable[..., EngineError]]] = {
    **{
        kind.code: kind
        for kind in (
            errors.NotFound,
            errors.Conflict,
            errors.QueueFull,
            errors.SchemaError,
            errors.DatabaseUnavailable,
            errors.EngineStopped,
            errors.WaitTimeout,
            Unauthenticated,
            Forbidden,
        )
    },
    "vault": _vault,
}


def error_of(status: int, body: bytes, url: str) -> EngineError:
    """The error that an answer tells of; `url` is the server's, for answers that are not its."""
    problem = _object(body)
    if problem is None or "code" not in problem:
        if status in _GATEWAY:
            return Unreached(
                f"what stands at {url} does not reach a server: it answers {status}.", hint=_LATER
            )
        return NotUnderstood(
            f"{url} answers {status}, and not as Strataflow does.",
            hint="Is it the address of `strataflow serve`, without /api/v1?",
        )
    code, detail = str(problem["code"]), str(problem.get("detail", ""))
    if status == 404 and detail == "Not Found":
        return NotUnderstood(
            f"the server {url} does not know this call.", hint="It may be of an older release."
        )
    hint: str | None = _HOW if code == Unauthenticated.code else problem.get("hint")
    if status >= 500 and code not in _PLAIN:
        known = f" Its log has it as {problem.get('request_id')}." if code == "internal" else ""
        return ServerFailed(f"the server says {status}, {code}: {detail}{known}", hint=hint)
    return _error(code, detail, hint, [*map(_problem, problem.get("errors") or ())])


def _error(code: str, detail: str, hint: str | None, problems: Sequence[Problem]) -> EngineError:
    pointer = problems[0].pointer if problems else ""
    if code in _PLAIN:
        return _PLAIN[code](detail, hint=hint)
    if code in _POINTING:
        found = _POINTING[code](detail, pointer=pointer)
        found.hint = hint
        return found
    if code in _MANY:
        return _MANY[code](detail, problems)
    lines = "".join(f"\n  {each}" for each in problems if each.message not in detail)
    return errors.RequestError(detail + lines, pointer=pointer, hint=hint)


def _definition(detail: str, problems: Sequence[Problem]) -> EngineError:
    named = _NAMED.match(detail)
    return errors.DefinitionError(problems, name=named.group(1) if named else None)


def _inputs(_: str, problems: Sequence[Problem]) -> EngineError:
    """What is wrong with a body stands there where it stands in what a service is given."""
    return errors.InputError([replace(each, pointer=each.pointer.removeprefix("/body")) for each in problems])


#: Errors that say where; and those whose words are made anew.
_POINTING: Final[dict[str, Callable[..., EngineError]]] = {
    "payload": errors.PayloadError,
    "expression": errors.ExpressionError,
}
_MANY: Final[dict[str, Callable[[str, Sequence[Problem]], EngineError]]] = {
    "definition": _definition,
    "inputs": _inputs,
    "illegal_transition": lambda detail, _: _Illegal(detail),
    "too_many_requests": lambda detail, _: TooFast(detail),
}


def _problem(found: dict[str, Any]) -> Problem:
    return Problem(
        found.get("pointer", ""),
        found.get("code", ""),
        found.get("detail", ""),
        found.get("hint"),
        found.get("severity", "error"),
    )


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
