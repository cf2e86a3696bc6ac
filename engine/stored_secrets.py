"""Secrets from the database's store, for the attempts of one engine: read where reading may block, kept for seconds.

A name that the store has is the store's alone: when it cannot be opened, the attempt fails, and no value of an
environment variable takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..repositories.database import Session
from ..repositories.secret_store import SealedRow, read_sealed, store_id
from .lookups import Missing
from .secrets import SecretUnavailable, secret_from_environment
from .vault import Place, Vault, VaultError

__all__ = ["PURPOSE", "StoredSecrets"]

#: What the store's values are sealed for.
PURPOSE: Final = "secret"
#: How long a value is used without a look: a new one holds after so long.
_KEPT_S: Final = 2.0


@dataclass(slots=True, repr=False)
class _Known:
    """What was found under a name."""

    until: float
    #: None: the store does not have it.
    value: str | None = None
    problem: VaultError | None = None


class StoredSecrets:
    """Gives values by name: calling it does no I/O and raises Missing, `load` reads. Thread-safe.

    It knows as many names as definitions read; values are replaced, and never listed.
    """

    def __init__(
        self,
        vault: Callable[[], Vault] = Vault.from_environment,
        *,
        kept_s: float = _KEPT_S,
        otherwise: Callable[[str], str] = secret_from_environment,
    ) -> None:
        self._vault = vault
        self._otherwise = otherwise
        self._kept_s = kept_s
        self._known: dict[str, _Known] = {}

    def __call__(self, name: str) -> Any:
        """The store's value, else that of `otherwise`.

        Raises:
            Missing: it must be read first.
            SecretUnavailable: the store has it, and it cannot be opened here.
            ExpressionError: nobody has it.
        """
        found = self._known.get(name)
        if found is None or found.until < time.monotonic():
            raise Missing(f"secrets.{name}")
        if found.problem is not None:
            raise SecretUnavailable(str(found.problem), lasting=found.problem.lasting)
        return self._otherwise(name) if found.value is None else found.value

    def load(self, session: Session, names: Iterable[str]) -> None:
        """Read those that are not known, or no longer. Blocks."""
        soon = time.monotonic() + self._kept_s / 2
        wanted = {name for name in names if name not in self._known or self._known[name].until < soon}
        if not wanted:
            return
        rows = read_sealed(session, wanted)
        vault: Vault | VaultError | None = self._opened() if rows else None
        identity = (store_id(session) or "") if rows else ""
        for name in wanted:
            found = _Known(time.monotonic() + self._kept_s)
            if name in rows and vault is not None:
                _open(found, rows[name], vault, identity)
            self._known[name] = found

    def _opened(self) -> Vault | VaultError:
        """Anew each time: a file of keys may have got another one."""
        try:
            return self._vault()
        except VaultError as exc:
            return exc


def _open(found: _Known, row: SealedRow, vault: Vault | VaultError, identity: str) -> None:
    if isinstance(vault, VaultError):
        found.problem = vault
        return
    try:
        found.value = vault.open(row.sealed, Place(identity, PURPOSE, row.name, row.version))
    except VaultError as exc:
        found.problem = exc
