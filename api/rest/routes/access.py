"""API keys and the audit log of the caller's namespace."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import Field

from ....engine.outputs import iso
from ....repositories import access_store
from ....repositories.access_store import AuditRow
from ....services.access.keys import KeyService, NewKey
from ..routing import Body, Called, Page, Size, needs, page_of, router_of, seconds_of

__all__ = ["router"]

router: Final = router_of("access")
KeyId = Annotated[str, Path(alias="id", description="A key's id.")]


class KeyWish(Body):
    """A key to make."""

    name: str = Field(examples=["ci"])
    scopes: list[str] = Field(examples=[["read:*", "start:instances"]], max_length=100)
    expires_in: str | None = Field(default=None, description="How long it lives.", examples=["90d"])


class Rotation(Body):
    """How a key is replaced."""

    overlap: str = Field(default="1h", description="How long the old one stays good.")
    expires_in: str | None = Field(default=None, description="How long the new one lives.")


@router.post("/keys", status_code=201, openapi_extra=needs("admin:keys"))
def create(body: KeyWish, caller: Called) -> dict[str, Any]:
    """Make a key. The token is in this answer and in no other."""
    return _made(_keys(caller).create(body.name, body.scopes, _lifetime(body.expires_in)))


@router.get("/keys", openapi_extra=needs("read:keys"))
def listed(caller: Called, size: Size = 100, after: str | None = None) -> Page:
    """List keys in the order of their making."""
    return page_of(_keys(caller).list(after), size, asdict, lambda each: each.id)


@router.get("/keys/{id}", openapi_extra=needs("read:keys"))
def shown(key_id: KeyId, caller: Called) -> dict[str, Any]:
    """Give one key, without its secret."""
    return asdict(_keys(caller).get(key_id))


@router.post("/keys/{id}/rotate", status_code=201, openapi_extra=needs("admin:keys"))
def rotate(key_id: KeyId, body: Rotation, caller: Called) -> dict[str, Any]:
    """Make a key that takes another's place; both are good while they overlap."""
    overlap = seconds_of(body.overlap, "/body/overlap")
    return _made(_keys(caller).rotate(key_id, overlap, _lifetime(body.expires_in)))


@router.delete("/keys/{id}", openapi_extra=needs("admin:keys"))
def revoke(key_id: KeyId, caller: Called) -> dict[str, Any]:
    """Make a key worthless at once; it stays listed."""
    return asdict(_keys(caller).revoke(key_id))


@router.get("/audit", openapi_extra=needs("read:audit"))
def audit(caller: Called, size: Size = 100, after: Annotated[int | None, Query(ge=1)] = None) -> Page:
    """List privileged and denied calls, the newest first."""
    rows = access_store.audit_entries(caller.services.database, size + 1, after)
    return page_of(rows, size, _audited, lambda each: str(each.seq))


def _keys(caller: Called) -> KeyService:
    return KeyService(caller.services.database, caller.principal.namespace)


def _made(made: NewKey) -> dict[str, Any]:
    return {**asdict(made.key), "token": made.token}


def _audited(row: AuditRow) -> dict[str, Any]:
    return {**asdict(row), "at": iso(row.at)}


def _lifetime(text: str | None) -> float | None:
    return None if text is None else seconds_of(text, "/body/expires_in")
