"""API keys and the audit log of the caller's namespace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Path, Query

from ....engine.outputs import iso
from ....repositories import access_store
from ....repositories.access_store import AuditRow
from ....services.access.keys import KeyService, NewKey
from ....services.access.scopes import checked_scopes, exceeding
from ..gate import Caller
from ..models import access as models
from ..problems import Refused
from ..routing import (
    After,
    Called,
    Page,
    Size,
    cursor_of,
    needs,
    page_of,
    place_of,
    router_of,
    seconds_of,
)

__all__ = ["router"]

router: Final = router_of("access")
KeyId = Annotated[str, Path(alias="id", description="A key's id.")]


@router.post(
    "/keys", status_code=201, openapi_extra=needs("admin:keys", secret=True), response_model=models.NewKey
)
def create_key(body: models.KeyWish, caller: Called) -> dict[str, Any]:
    """Make a key, with no scope that the caller's own has not. The token is in this answer and in no other."""
    _check_held(caller, body.scopes)
    return _made(_keys(caller).create(body.name, body.scopes, _lifetime(body.expires_in)))


@router.get("/keys", openapi_extra=needs("read:keys"))
def list_keys(caller: Called, size: Size = 100, after: After = None) -> Page[models.Key]:
    """List keys in the order of their making."""
    place = place_of(after, UUID)
    return page_of(
        _keys(caller).list(place[0] if place else None), size, asdict, lambda each: cursor_of(each.id)
    )


@router.get("/keys/{id}", openapi_extra=needs("read:keys"), response_model=models.Key)
def get_key(key_id: KeyId, caller: Called) -> dict[str, Any]:
    """Give one key, without its secret."""
    return asdict(_keys(caller).get(key_id))


@router.post(
    "/keys/{id}/rotate",
    status_code=201,
    openapi_extra=needs("admin:keys", secret=True),
    response_model=models.NewKey,
)
def rotate_key(key_id: KeyId, body: models.Rotation, caller: Called) -> dict[str, Any]:
    """Make a key that takes another's place; both are good while they overlap."""
    overlap = seconds_of(body.overlap, "/body/overlap")
    _check_held(caller, _keys(caller).get(key_id).scopes)  # its token would be the caller's
    return _made(_keys(caller).rotate(key_id, overlap, _lifetime(body.expires_in)))


@router.delete("/keys/{id}", openapi_extra=needs("admin:keys"), response_model=models.Key)
def revoke_key(key_id: KeyId, caller: Called) -> dict[str, Any]:
    """Make a key worthless at once; it stays listed."""
    return asdict(_keys(caller).revoke(key_id))


@router.get("/audit", openapi_extra=needs("read:audit"))
def list_audit(
    caller: Called,
    size: Size = 100,
    after: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="`next` of the page before.")] = None,
) -> Page[models.AuditEntry]:
    """List privileged and denied calls, the newest first."""
    rows = access_store.audit_entries(caller.services.database, size + 1, after)
    return page_of(rows, size, _audited, lambda each: str(each.seq))


def _keys(caller: Called) -> KeyService:
    return KeyService(caller.services.database, caller.principal.namespace)


def _check_held(caller: Caller, scopes: Iterable[str]) -> None:
    """Nobody makes a key that may do more than their own. Raises Refused."""
    more = exceeding(checked_scopes(scopes), caller.principal.scopes)
    if more:
        detail = f"the key {caller.principal.who!r} may not give away {', '.join(more)}."
        raise Refused(403, "forbidden", detail, hint="A key has no scope that its maker's key has not.")


def _made(made: NewKey) -> dict[str, Any]:
    return {**asdict(made.key), "token": made.token}


def _audited(row: AuditRow) -> dict[str, Any]:
    return {**asdict(row), "at": iso(row.at)}


def _lifetime(text: str | None) -> float | None:
    return None if text is None else seconds_of(text, "/body/expires_in")
