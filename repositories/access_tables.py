"""Tables of who may do what through an API, and of what was done: keys, the audit log, answers to repeated requests.

Part of `tables`. None of them belongs to an instance, and the engine reads none.
"""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text
from sqlmodel import Field

from .columns import ID, Base, big, col, key_col

__all__ = ["API_KEYS", "AUDIT", "REQUESTS"]


class ApiKey(Base, table=True):
    """A credential. Its secret is never stored: only the hash of it."""

    __tablename__: Any = "api_keys"
    id: str = key_col(ID)
    name: str = col(Text())
    #: SHA-256 of the secret, in hex; the secret has 256 random bits, so that no slow hash is needed.
    hash: str = col(Text())
    #: What it may do, as a JSON list of `verb:resource`.
    scopes: str = col(Text())
    created_at: int = big()
    expires_at: int | None = big(null=True)
    revoked_at: int | None = big(null=True)
    #: The key that takes its place: both are good until this one expires.
    successor: str | None = col(ID, null=True)


class Audit(Base, table=True):
    """A privileged call, or one that was denied."""

    __tablename__: Any = "audit"
    seq: int = Field(sa_column=Column(BigInteger(), primary_key=True, autoincrement=False))
    at: int = big()
    #: Key of the caller; None: nobody was recognised.
    key_id: str | None = col(ID, null=True)
    who: str = col(Text())
    #: `verb:resource`.
    action: str = col(Text())
    target: str = col(Text())
    #: `done`, `denied` or `failed`.
    outcome: str = col(Text())
    status: int = col(Integer())
    request_id: str = col(Text())

    __table_args__: Any = (Index("audit_at", "at"),)


class Request(Base, table=True):
    """The answer to a write that came with an idempotency key."""

    __tablename__: Any = "requests"
    key_id: str = key_col(Text())
    idempotency_key: str = key_col(Text())
    #: Hash of method, path and body: the same key for another request is a mistake.
    fingerprint: str = col(Text())
    #: The id of what this request makes: one that is answered anew after a crash makes the same again.
    made: str = col(ID)
    #: None while the first is being answered.
    status: int | None = col(Integer(), null=True)
    headers: str | None = col(Text(), null=True)
    body: str | None = col(Text(), null=True)
    at: int = big()

    __table_args__: Any = (Index("requests_at", "at"),)


API_KEYS: Final = cast("Table", vars(ApiKey)["__table__"])
AUDIT: Final = cast("Table", vars(Audit)["__table__"])
REQUESTS: Final = cast("Table", vars(Request)["__table__"])
