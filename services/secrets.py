"""Secrets of one namespace: set, listed, deleted, brought under a new master key. No call gives a value (R10)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ..engine.errors import InputError, NotFound, Problem
from ..engine.outputs import iso
from ..engine.stored_secrets import PURPOSE
from ..engine.translate import engine_errors
from ..engine.vault import Place, Vault, VaultError, key_id_of
from ..engine.webhooks import PURPOSE as WEBHOOK
from ..repositories import secret_store, webhook_store
from ..repositories.database import Database
from ..repositories.secret_store import SecretRow

__all__ = ["LONGEST", "SecretService", "SecretView"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
#: Bytes of a value in UTF-8.
LONGEST: Final = 65_536
_PAGE: Final = 500
#: Values that one transaction brings under another key.
_AT_ONCE: Final = 100


@dataclass(slots=True, frozen=True)
class SecretView:
    """A secret as people see it: everything but its value."""

    name: str
    #: 1 for its first value, one more for each that follows.
    version: int
    #: Id of the master key under which it is sealed.
    key_id: str
    created_at: str
    updated_at: str
    created_by: str
    updated_by: str


class SecretService:
    """Use cases of the secrets store. `vault` gives the master keys, anew for each call."""

    def __init__(self, database: Database, vault: Callable[[], Vault] = Vault.from_environment) -> None:
        self._database = database
        self._vault = vault

    def put(self, name: str, value: str, who: str) -> SecretView:
        """Store a value under a name; engines use it for attempts that begin a few seconds later.

        Raises InputError, and VaultError without a master key.
        """
        if problems := [*_name_problems(name), *_value_problems(value)]:
            raise InputError(problems)
        vault = self._vault()

        def seal(store: str, version: int) -> tuple[str, str]:
            sealed = vault.seal(value, Place(store, PURPOSE, name, version))
            return sealed, key_id_of(sealed)

        with engine_errors():
            return _view(secret_store.put_secret(self._database, name, who, seal))

    def get(self, name: str) -> SecretView:
        """One secret, without its value. Raises NotFound."""
        with engine_errors():
            row = None if _name_problems(name) else secret_store.secret(self._database, name)
        if row is None:
            raise _unknown(name)
        return _view(row)

    def list(self, after: str | None = None) -> Iterator[SecretView]:
        """Every secret by name, without its value; `after` is the last name seen."""
        if after is not None and _name_problems(after):
            raise InputError([Problem("/after", "wrong_value", "this is no name that a page ended with", "")])
        while True:
            with engine_errors():
                page = secret_store.secrets_page(self._database, _PAGE, after)
            yield from map(_view, page)
            if len(page) < _PAGE:
                return
            after = page[-1].name

    def delete(self, name: str) -> None:
        """Delete a secret: attempts that read it fail from a few seconds later on. Raises NotFound."""
        with engine_errors():
            gone = not _name_problems(name) and secret_store.delete_secret(self._database, name)
        if not gone:
            raise _unknown(name)

    def rewrap(self) -> int:
        """Bring every value under the newest master key; gives how many were not. May be repeated at any time.

        Raises VaultError without a master key, and for a value whose own key is not here; what was done stays done.
        """
        vault = self._vault()
        if vault.key_id is None:
            raise VaultError("there is no master key.", hint="`strataflow secrets new-master-key` makes one.")
        done, after = self._rewrap_webhooks(vault), ""
        while True:
            with engine_errors(), self._database.write() as session:
                store = secret_store.given_store_id(session)
                page = secret_store.sealed_under_others(session, vault.key_id, after, _AT_ONCE)
                for row in page:
                    sealed = vault.rewrap(row.sealed, Place(store, PURPOSE, row.name, row.version))
                    done += secret_store.replace_sealed(session, row, sealed, vault.key_id)
            if len(page) < _AT_ONCE:
                return done
            after = page[-1].name

    def _rewrap_webhooks(self, vault: Vault) -> int:
        """Bring signing secrets of webhooks, which are few, under the newest key; gives how many were not."""
        done = 0
        with engine_errors(), self._database.write() as session:
            store = secret_store.given_store_id(session)
            for row in webhook_store.webhooks(session, _PAGE):
                changed: dict[str, str] = {}
                held = (("sealed", row.sealed, row.version), ("old_sealed", row.old_sealed, row.version - 1))
                for column, sealed, version in held:
                    if sealed is not None and key_id_of(sealed) != vault.key_id:
                        changed[column] = vault.rewrap(sealed, Place(store, WEBHOOK, row.id, version))
                if changed:
                    webhook_store.change_sealed(session, row, changed)
                done += len(changed)
        return done


def _view(row: SecretRow) -> SecretView:
    created, updated = iso(row.created_at) or "", iso(row.updated_at) or ""
    return SecretView(row.name, row.version, row.key_id, created, updated, row.created_by, row.updated_by)


def _name_problems(name: str) -> list[Problem]:
    if _NAME.fullmatch(name):
        return []
    hint = "It has 1 to 128 letters, digits, '_', '.' and '-', and begins with one of the first three."
    return [Problem("/name", "wrong_value", "this is no name of a secret", hint)]


def _value_problems(value: str) -> list[Problem]:
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        return [Problem("/value", "wrong_value", "the value is no Unicode text", "Pack bytes in base64.")]
    if 1 <= length <= LONGEST:
        return []
    return [Problem("/value", "wrong_value", f"a value has 1 to {LONGEST} bytes, not {length}", "")]


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"there is no secret {name[:128]!r}.", hint="`strataflow secrets list` shows what there is."
    )
