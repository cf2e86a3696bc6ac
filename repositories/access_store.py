"""Keys, the audit log, and answers kept for repeated requests. Each function is one short transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, update

from .access_tables import API_KEYS, AUDIT, REQUESTS
from .database import Database, clock, draw_numbers, insert_into
from .readmodels import page_size

__all__ = [
    "AuditRow",
    "KeyRow",
    "StoredAnswer",
    "add_key",
    "answer_request",
    "audit_entries",
    "begin_request",
    "delete_old",
    "find_key",
    "keys",
    "reopen_request",
    "revoke_key",
    "succeed_key",
    "write_audit",
]

_AT_ONCE: Final = 1_000


@dataclass(slots=True, frozen=True)
class KeyRow:
    """A key as it is stored."""

    id: str
    name: str
    hash: str
    scopes: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    successor: str | None


@dataclass(slots=True, frozen=True)
class AuditRow:
    """One entry of the audit log."""

    seq: int
    at: int
    key_id: str | None
    who: str
    action: str
    target: str
    outcome: str
    status: int
    request_id: str


@dataclass(slots=True, frozen=True)
class StoredAnswer:
    """What is known of an earlier request under the same idempotency key."""

    fingerprint: str
    #: The id of what the request makes.
    made: str
    #: None while it is being answered.
    status: int | None
    headers: str | None
    body: str | None
    #: It is the caller's to answer.
    mine: bool


def add_key(
    database: Database, key_id: str, name: str, *, digest: str, scopes: str, lifetime_us: int | None
) -> KeyRow:
    """Store a new key."""
    with database.write() as connection:
        now: int = connection.execute(select(clock(connection))).scalar_one()
        row = KeyRow(
            key_id, name, digest, scopes, now, now + lifetime_us if lifetime_us else None, None, None
        )
        values = {field: getattr(row, field) for field in KeyRow.__slots__}
        connection.execute(insert(API_KEYS).values(**values))
    return row


def find_key(database: Database, key_id: str) -> tuple[KeyRow | None, int]:
    """A key, and the database's clock."""
    with database.read() as connection:
        row = connection.execute(select(*API_KEYS.columns).where(API_KEYS.c.id == key_id)).first()
        now: int = connection.execute(select(clock(connection))).scalar_one()
    return (None if row is None else KeyRow(*row)), now


def keys(database: Database, limit: int, after: str | None = None) -> list[KeyRow]:
    """Keys in the order of their making; `after` is the last id seen."""
    page = select(*API_KEYS.columns).order_by(API_KEYS.c.id).limit(page_size(limit))
    if after is not None:
        page = page.where(API_KEYS.c.id > after)
    with database.read() as connection:
        return [KeyRow(*row) for row in connection.execute(page)]


def revoke_key(database: Database, key_id: str) -> bool:
    """Make a key worthless now; False when it is unknown or was revoked before."""
    with database.write() as connection:
        mine = (API_KEYS.c.id == key_id) & API_KEYS.c.revoked_at.is_(None)
        return (
            connection.execute(update(API_KEYS).where(mine).values(revoked_at=clock(connection))).rowcount
            == 1
        )


def succeed_key(database: Database, key_id: str, successor: str, overlap_us: int) -> bool:
    """Let a key end when `overlap_us` is over, or sooner if it would; another has taken its place."""
    with database.write() as connection:
        now: int = connection.execute(select(clock(connection))).scalar_one()
        found = connection.execute(
            select(API_KEYS.c.expires_at).where(
                API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None), API_KEYS.c.successor.is_(None)
            )
        ).first()
        if found is None:
            return False
        end = min(now + overlap_us, found[0]) if found[0] is not None else now + overlap_us
        change = update(API_KEYS).where(API_KEYS.c.id == key_id).values(successor=successor, expires_at=end)
        connection.execute(change)
    return True


def write_audit(database: Database, entries: Sequence[Mapping[str, Any]]) -> None:
    """Add entries; `seq` and `at` are given here."""
    with database.write() as connection:
        numbers = draw_numbers(connection, len(entries))
        now: int = connection.execute(select(clock(connection))).scalar_one()
        rows = [{**entry, "seq": seq, "at": now} for seq, entry in zip(numbers, entries, strict=True)]
        connection.execute(insert(AUDIT), rows)


def audit_entries(database: Database, limit: int, before: int | None = None) -> list[AuditRow]:
    """Entries, the newest first; `before` is the last `seq` seen."""
    page = select(*AUDIT.columns).order_by(AUDIT.c.seq.desc()).limit(page_size(limit))
    if before is not None:
        page = page.where(AUDIT.c.seq < before)
    with database.read() as connection:
        return [AuditRow(*row) for row in connection.execute(page)]


def begin_request(
    database: Database, key_id: str, idempotency_key: str, fingerprint: str, *, made: str, abandoned_us: int
) -> StoredAnswer:
    """Claim an idempotency key, or tell what is known of the first request under it.

    One that has had no answer for `abandoned_us` is taken over, with the id that it had: its process is gone.
    """
    mine = (REQUESTS.c.key_id == key_id) & (REQUESTS.c.idempotency_key == idempotency_key)
    columns = (
        REQUESTS.c.fingerprint,
        REQUESTS.c.made,
        REQUESTS.c.status,
        REQUESTS.c.headers,
        REQUESTS.c.body,
    )
    with database.write() as connection:
        values = {
            "key_id": key_id,
            "idempotency_key": idempotency_key,
            "fingerprint": fingerprint,
            "made": made,
        }
        new = insert_into(connection, REQUESTS).values(**values, at=clock(connection))
        claimed = new.on_conflict_do_nothing(index_elements=["key_id", "idempotency_key"])
        if connection.execute(claimed.returning(REQUESTS.c.key_id)).first() is not None:
            return StoredAnswer(fingerprint, made, None, None, None, mine=True)
        old = mine & REQUESTS.c.status.is_(None) & (REQUESTS.c.fingerprint == fingerprint)
        stale = old & (REQUESTS.c.at < clock(connection) - abandoned_us)
        taken = connection.execute(update(REQUESTS).where(stale).values(at=clock(connection))).rowcount == 1
        found = connection.execute(select(*columns).where(mine)).one()
    return StoredAnswer(*found, mine=taken)


def answer_request(
    database: Database, key_id: str, idempotency_key: str, *, status: int, headers: str, body: str
) -> None:
    """Keep the answer for whoever asks again."""
    mine = (REQUESTS.c.key_id == key_id) & (REQUESTS.c.idempotency_key == idempotency_key)
    with database.write() as connection:
        connection.execute(update(REQUESTS).where(mine).values(status=status, headers=headers, body=body))


def reopen_request(database: Database, key_id: str, idempotency_key: str, abandoned_us: int) -> None:
    """Let the request be tried again at once; what it makes keeps its id, because some of it may have been done."""
    mine = (REQUESTS.c.key_id == key_id) & (REQUESTS.c.idempotency_key == idempotency_key)
    with database.write() as connection:
        connection.execute(update(REQUESTS).where(mine).values(at=clock(connection) - abandoned_us - 1))


def delete_old(database: Database, *, requests_before: int, audit_before: int) -> bool:
    """Delete some of the answers and audit entries older than these instants; is there more?"""
    more = False
    with database.write() as connection:
        for table, before in ((AUDIT, audit_before), (REQUESTS, requests_before)):
            old = (
                select(table.c.at).where(table.c.at < before).order_by(table.c.at).limit(_AT_ONCE).subquery()
            )
            last: int | None = connection.execute(select(func.max(old.c.at))).scalar_one()
            if last is not None:
                gone = connection.execute(delete(table).where(table.c.at <= last)).rowcount
                more = more or gone >= _AT_ONCE
    return more
