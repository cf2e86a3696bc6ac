"""API keys: made, looked at, rotated, revoked, and recognised. A token is shown once, when it is made.

`sf1.NAMESPACE.ID.SECRET`: the namespace is part of the credential and of nothing else that a caller sends, so that no
request can speak for another one's (RELIABILITY R3). Only a hash of the secret is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ...engine.errors import InputError, NotFound, Problem
from ...engine.membership import new_id
from ...engine.outputs import iso
from ...engine.translate import engine_errors
from ...repositories import access_store
from ...repositories.access_store import KeyRow
from ...repositories.database import Database
from .scopes import checked_scopes

__all__ = ["KeyService", "KeyView", "NewKey", "Principal", "Token", "read_token"]

_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"sf1\.([a-z0-9][a-z0-9_-]{0,62})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")
_NAME: Final = re.compile(r"\S(.{0,98}\S)?")
_PAGE: Final = 500
_MICROSECONDS: Final = 1_000_000


@dataclass(slots=True, frozen=True)
class Token:
    """A token, taken apart; nothing of it is proven."""

    namespace: str
    key_id: str
    secret: str


@dataclass(slots=True, frozen=True)
class Principal:
    """Who calls, and what they may do."""

    namespace: str
    key_id: str | None
    who: str
    scopes: tuple[str, ...]
    #: Seconds until the key expires, when it was looked at.
    left_s: float | None = field(default=None, compare=False)


@dataclass(slots=True, frozen=True)
class KeyView:
    """A key as people see it."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    expires_at: str | None
    #: `active`, `expired` or `revoked`.
    state: str
    successor: str | None


@dataclass(slots=True, frozen=True)
class NewKey:
    """A key and its token; the token cannot be had again."""

    key: KeyView
    token: str


def read_token(text: str) -> Token | None:
    """Take a token apart; None when it is none."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else Token(found[1], str(uuid.UUID(found[2])), found[3])


class KeyService:
    """The keys of one namespace."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    def create(self, name: str, scopes: Iterable[str], lifetime_s: float | None = None) -> NewKey:
        """Make a key. Raises InputError."""
        if not _NAME.fullmatch(name) or not name.isprintable():
            problem = Problem(
                "/name",
                "wrong_value",
                "a name has 1 to 100 characters, and no control characters",
                "Such as: ci, dashboard.",
            )
            raise InputError([problem])
        if lifetime_s is not None and lifetime_s <= 0:
            raise InputError(
                [Problem("/expires_in", "wrong_value", "a key lives for more than 0 seconds", "")]
            )
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        found = json.dumps(checked_scopes(scopes))
        lifetime = None if lifetime_s is None else int(lifetime_s * _MICROSECONDS)
        with engine_errors():
            row = access_store.add_key(
                self._database, new_id(), name, digest=_hash(secret), scopes=found, lifetime_us=lifetime
            )
        token = f"sf1.{self._namespace}.{uuid.UUID(row.id).hex}.{secret}"
        return NewKey(_view(row, row.created_at), token)

    def list(self, after: str | None = None) -> Iterator[KeyView]:
        """Every key, in the order of their making; `after` is the last id seen."""
        while True:
            with engine_errors():
                page = access_store.keys(self._database, _PAGE, after)
                _, now = access_store.find_key(self._database, new_id())
            yield from (_view(row, now) for row in page)
            if len(page) < _PAGE:
                return
            after = page[-1].id

    def get(self, key_id: str) -> KeyView:
        """One key. Raises NotFound."""
        row, now = self._found(key_id)
        return _view(row, now)

    def revoke(self, key_id: str) -> KeyView:
        """Make a key worthless now; again changes nothing. Raises NotFound."""
        row, _ = self._found(key_id)
        with engine_errors():
            access_store.revoke_key(self._database, row.id)
        return self.get(row.id)

    def rotate(self, key_id: str, overlap_s: float, lifetime_s: float | None = None) -> NewKey:
        """Make a key that takes another's place, with its name and scopes; both are good for `overlap_s` seconds.

        Raises NotFound, and InputError for a key that is revoked, expired, or has been rotated before.
        """
        row, now = self._found(key_id)
        if _state(row, now) != "active" or row.successor is not None:
            message = (
                f"key {row.id} is {_state(row, now)}"
                if row.successor is None
                else f"key {row.id} has a successor"
            )
            raise InputError([Problem("/id", "wrong_state", message, "Make a new key.")])
        made = self.create(row.name, json.loads(row.scopes), lifetime_s)
        with engine_errors():
            if not access_store.succeed_key(
                self._database, row.id, made.key.id, int(overlap_s * _MICROSECONDS)
            ):
                access_store.revoke_key(self._database, made.key.id)
                raise InputError(
                    [Problem("/id", "wrong_state", f"key {row.id} has just been changed", "Look at it.")]
                )
        return made

    def authenticate(self, token: Token) -> Principal | None:
        """Who this is; None when the token is unknown, wrong, expired or revoked."""
        with engine_errors():
            row, now = access_store.find_key(self._database, token.key_id)
        known = row.hash if row is not None else _hash("")
        matches = hmac.compare_digest(known, _hash(token.secret))  # whatever is known, the same work is done
        if row is None or not matches or _state(row, now) != "active":
            return None
        left_s = None if row.expires_at is None else (row.expires_at - now) / _MICROSECONDS
        return Principal(self._namespace, row.id, row.name, tuple(json.loads(row.scopes)), left_s)

    def _found(self, key_id: str) -> tuple[KeyRow, int]:
        try:
            wanted = str(uuid.UUID(key_id))
        except ValueError:
            wanted = new_id()
        with engine_errors():
            row, now = access_store.find_key(self._database, wanted)
        if row is None:
            raise NotFound(f"there is no key {key_id!r}.", hint="`strataflow keys list` shows what there is.")
        return row, now


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _state(row: KeyRow, now: int) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"


def _view(row: KeyRow, now: int) -> KeyView:
    scopes: tuple[str, ...] = tuple(json.loads(row.scopes))
    created = iso(row.created_at)
    return KeyView(
        row.id, row.name, scopes, created or "", iso(row.expires_at), _state(row, now), row.successor
    )
