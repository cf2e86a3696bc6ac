"""Secrets: named values that never stand in a definition or a database (DSL rule 26).

They are resolved when an attempt begins, for the executor's eyes only; what is stored and shown keeps the reference.
What the executor then says about its failure, and what it logs, goes through a `Mask` before it is written.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus

from .errors import ExpressionError

__all__ = [
    "Mask",
    "SecretUnavailable",
    "Secrets",
    "looked_up",
    "secret_as_written",
    "secret_from_environment",
    "secret_from_nowhere",
]

#: Gives the value of a secret. Raises LookupError or ExpressionError for one that does not exist.
Secrets = Callable[[str], Any]
_PREFIX: Final = "STRATAFLOW_SECRET_"
#: What stands in the place of a secret.
_STARS: Final = "***"
#: Shorter texts are no secrets, and stand in every other word.
_SHORTEST: Final = 4
#: A shorter piece of a packed value, or line of a long one, may well stand there by itself.
_SHORTEST_PART: Final = 8


class SecretUnavailable(ExpressionError):
    """Raised when a secret is there and cannot be opened; with other keys, or on another engine, it may be."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message, reason="vault")
        self.lasting = lasting


def secret_from_nowhere(name: str) -> str:
    """Where the environment is not this namespace's own. Raises ExpressionError."""
    raise ExpressionError(
        f"there is no secret {name!r}; this process serves several namespaces, and gives none of them its environment: "
        f"`strataflow secrets set {name}` stores it",
        reason="config",
    )


def secret_from_environment(name: str) -> str:
    """The environment variable `STRATAFLOW_SECRET_<NAME>`, as written or in capitals. Raises ExpressionError."""
    for variable in (_PREFIX + name, _PREFIX + name.upper()):
        value = os.environ.get(variable)
        if value is not None:
            return value
    raise ExpressionError(
        f"there is no secret {name!r}; `strataflow secrets set {name}` stores one, or set the environment variable "
        f"{_PREFIX}{name.upper()}",
        reason="config",
    )


def secret_as_written(name: str) -> str:
    """Where nothing executes, a secret stays its reference."""
    return f"{{{{ secrets.{name} }}}}"


def looked_up(secret: Secrets, name: str) -> Any:
    """The value that a getter gives. Raises ExpressionError for a secret that does not exist."""
    try:
        return secret(name)
    except LookupError:
        raise ExpressionError(
            f"there is no secret {name!r}; the getter in EngineConfig.secret does not know it",
            reason="config",
        ) from None


class Mask:
    """Takes the values of an attempt's secrets out of texts: as they are, and as they are quoted or packed."""

    def __init__(self, secrets: Mapping[str, Any] | None) -> None:
        self._pattern: re.Pattern[str] | None = None
        if not secrets:
            return
        forms = {form for text in _texts(secrets) if len(text) >= _SHORTEST for form in _forms(text)}
        if forms:
            longest_first = sorted(forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return text if self._pattern is None else self._pattern.sub(_STARS, text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in cast("Mapping[str, Any]", value).values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in cast("list[Any]", value):
            yield from _texts(each)


def _forms(text: str) -> Iterator[str]:
    """How a text may stand in another one: itself, in a JSON text, a repr, a URL, in base64, line by line."""
    yield text
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    data = text.encode("utf-8", "surrogatepass")
    yield from (quote(data), quote(data, safe=""), quote_plus(data))
    yield from _packed(data)
    yield from (line for line in text.splitlines() if len(line) >= _SHORTEST_PART)


def _packed(data: bytes) -> Iterator[str]:
    """In base64, behind any number of other bytes: the characters that its own bytes decide alone."""
    for before in range(3):
        first, last = (0, 2, 3)[before], (before + len(data)) * 8 // 6
        for encode in (b64encode, urlsafe_b64encode):
            part = encode(bytes(before) + data).decode()[first:last]
            if len(part) >= _SHORTEST_PART:
                yield part
