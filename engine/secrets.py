"""Secrets: named values that never stand in a definition or a database (DSL rule 26).

They are resolved when an attempt begins, for the executor's eyes only; what is stored and shown keeps the reference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from .errors import ExpressionError

__all__ = ["Secrets", "secret_as_written", "secret_from_environment"]

#: Gives the value of a secret. Raises LookupError or ExpressionError for one that does not exist.
Secrets = Callable[[str], Any]
_PREFIX: Final = "STRATAFLOW_SECRET_"


def secret_from_environment(name: str) -> str:
    """The environment variable `STRATAFLOW_SECRET_<NAME>`, as written or in capitals. Raises ExpressionError."""
    for variable in (_PREFIX + name, _PREFIX + name.upper()):
        value = os.environ.get(variable)
        if value is not None:
            return value
    raise ExpressionError(
        f"there is no secret {name!r}; set the environment variable {_PREFIX}{name.upper()}", reason="config"
    )


def secret_as_written(name: str) -> str:
    """Where nothing executes, a secret stays its reference."""
    return f"{{{{ secrets.{name} }}}}"
