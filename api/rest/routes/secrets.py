"""The secrets store of the caller's namespace: written and listed, never read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import Path

from ....engine.vault import VaultError
from ..models import secrets as models
from ..problems import Refused
from ..routing import After, Called, Page, Size, cursor_of, needs, page_of, place_of, router_of

__all__ = ["router", "vault_errors"]

router: Final = router_of("secrets")
Name = Annotated[
    str,
    Path(description="What definitions call it: `{{ secrets.NAME }}`.", max_length=128, examples=["bank"]),
]


@contextmanager
def vault_errors() -> Generator[None]:
    """Turn what the vault cannot do into an answer: it is the server that lacks a key."""
    try:
        yield
    except VaultError as exc:
        raise Refused(503, exc.code, exc.message, hint=exc.hint or "") from exc


@router.get("/secrets", openapi_extra=needs("read:secrets"))
def list_secrets(caller: Called, size: Size = 100, after: After = None) -> Page[models.Secret]:
    """List names, versions and dates; values are in no answer."""
    place = place_of(after, str)
    found = caller.services.secrets.list(place[0] if place else None)
    return page_of(found, size, asdict, lambda each: cursor_of(each.name))


@router.put(
    "/secrets/{name}", openapi_extra=needs("admin:secrets", secret=True), response_model=models.Secret
)
def put_secret(name: Name, body: models.SecretWish, caller: Called) -> dict[str, Any]:
    """Store a value, or another in its place; runs use it a few seconds later. Sealed with the master key."""
    with vault_errors():
        return asdict(caller.services.secrets.put(name, body.value.get_secret_value(), caller.principal.who))


@router.delete("/secrets/{name}", status_code=204, openapi_extra=needs("admin:secrets"))
def delete_secret(name: Name, caller: Called) -> None:
    """Delete a secret: tasks that read it fail."""
    caller.services.secrets.delete(name)
