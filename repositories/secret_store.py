"""The secrets store: sealed texts by name, and the identity of the database they belong to. Nothing here opens one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from .control_tables import SETTINGS
from .database import Database, clock, insert_into
from .readmodels import page_size
from .secret_tables import SECRETS

__all__ = [
    "SealedRow",
    "SecretRow",
    "delete_secret",
    "given_store_id",
    "put_secret",
    "read_sealed",
    "replace_sealed",
    "sealed_under_others",
    "secret",
    "secrets_page",
    "store_id",
]

#: In `settings`: a random number that tells this database's sealed texts from another's.
_IDENTITY: Final = "vault_id"


@dataclass(slots=True, frozen=True)
class SecretRow:
    """A secret without its value."""

    name: str
    version: int
    key_id: str
    created_at: int
    updated_at: int
    created_by: str
    updated_by: str


@dataclass(slots=True, frozen=True)
class SealedRow:
    """A sealed value, for whoever holds the master key."""

    name: str
    version: int
    sealed: str


_PUBLIC: Final = [SECRETS.c[name] for name in SecretRow.__slots__]
_SEALED: Final = [SECRETS.c[name] for name in SealedRow.__slots__]


def store_id(connection: Connection) -> str | None:
    """Identity of this database's sealed texts; None before the first."""
    found = connection.scalar(select(SETTINGS.c.value).where(SETTINGS.c.name == _IDENTITY))
    return None if found is None else str(found)


def given_store_id(connection: Connection) -> str:
    """The same in a write transaction, made if there is none; whoever else asks waits for the end of it."""
    made = insert_into(connection, SETTINGS).values(name=_IDENTITY, value=secrets.randbits(62))
    connection.execute(made.on_conflict_do_nothing(index_elements=["name"]))
    locked = select(SETTINGS.c.value).where(SETTINGS.c.name == _IDENTITY).with_for_update()
    return str(connection.execute(locked).scalar_one())


def put_secret(
    database: Database, name: str, who: str, seal: Callable[[str, int], tuple[str, str]]
) -> SecretRow:
    """Store a value; `seal` gives sealed text and key id for the database's identity and the value's version."""
    with database.write() as connection:
        identity = given_store_id(connection)  # also the lock: two writers of one name take turns
        old = connection.execute(select(SECRETS.c.version).where(SECRETS.c.name == name)).first()
        version = 1 if old is None else old[0] + 1
        sealed, key_id = seal(identity, version)
        values = {
            "sealed": sealed,
            "key_id": key_id,
            "version": version,
            "updated_at": clock(connection),
            "updated_by": who,
        }
        if old is None:
            values |= {"name": name, "created_at": clock(connection), "created_by": who}
            connection.execute(insert(SECRETS).values(**values))
        else:
            connection.execute(update(SECRETS).where(SECRETS.c.name == name).values(**values))
        return SecretRow(*connection.execute(select(*_PUBLIC).where(SECRETS.c.name == name)).one())


def secret(database: Database, name: str) -> SecretRow | None:
    """One secret, without its value."""
    with database.read() as connection:
        row = connection.execute(select(*_PUBLIC).where(SECRETS.c.name == name)).first()
    return None if row is None else SecretRow(*row)


def secrets_page(database: Database, limit: int, after: str | None = None) -> list[SecretRow]:
    """Secrets by name, without their values; `after` is the last name seen."""
    page = select(*_PUBLIC).order_by(SECRETS.c.name).limit(page_size(limit))
    if after is not None:
        page = page.where(SECRETS.c.name > after)
    with database.read() as connection:
        return [SecretRow(*row) for row in connection.execute(page)]


def read_sealed(connection: Connection, names: Iterable[str]) -> dict[str, SealedRow]:
    """The sealed values of those names that are there."""
    rows = connection.execute(select(*_SEALED).where(SECRETS.c.name.in_(sorted(names))))
    return {row[0]: SealedRow(*row) for row in rows}


def sealed_under_others(connection: Connection, key_id: str, after: str, limit: int) -> list[SealedRow]:
    """Values sealed under another master key than this one, by name."""
    page = select(*_SEALED).where(SECRETS.c.key_id != key_id, SECRETS.c.name > after)
    return [SealedRow(*row) for row in connection.execute(page.order_by(SECRETS.c.name).limit(limit))]


def replace_sealed(connection: Connection, old: SealedRow, sealed: str, key_id: str) -> bool:
    """Put another sealed form of the same value in its place; False when it was set anew meanwhile."""
    same = (SECRETS.c.name == old.name) & (SECRETS.c.sealed == old.sealed)
    return connection.execute(update(SECRETS).where(same).values(sealed=sealed, key_id=key_id)).rowcount == 1


def delete_secret(database: Database, name: str) -> bool:
    """Delete a secret; False when there is none."""
    with database.write() as connection:
        return connection.execute(delete(SECRETS).where(SECRETS.c.name == name)).rowcount == 1
