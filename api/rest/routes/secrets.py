"""The secrets store of the caller's namespace: written and listed, never read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import Field, SecretStr

from ....engine.vault import VaultError
from ....services.secrets import LONGEST, SecretService
from ..problems import Refused
from ..routing import Body, Called, Page, Size, needs, page_of, router_of

__all__ = ["router", "vault_errors"]

router: Final = router_of("secrets")
Name = Annotated[str, Path(description="What definitions call it: `{{ secrets.NAME }}`.", max_length=128)]


class SecretWish(Body):
    """A value to keep."""

    value: SecretStr = Field(
        description="Any text; no call gives it back.", min_length=1, max_length=LONGEST, examples=["s3cr3t"]
    )


@contextmanager
def vault_errors() -> Generator[None]:
    """Turn what the vault cannot do into an answer: it is the server that lacks a key."""
    try:
        yield
    except VaultError as exc:
        raise Refused(503, exc.code, exc.message, hint=exc.hint or "") from exc


@router.get("/secrets", openapi_extra=needs("read:secrets"))
def listed(caller: Called, size: Size = 100, after: str | None = None) -> Page:
    """List names, versions and dates; values are in no answer."""
    return page_of(_secrets(caller).list(after), size, asdict, lambda each: each.name)


@router.put("/secrets/{name}", openapi_extra=needs("admin:secrets"))
def put(name: Name, body: SecretWish, caller: Called) -> dict[str, Any]:
    """Store a value, or another in its place; runs use it a few seconds later. Sealed with the master key."""
    with vault_errors():
        return asdict(_secrets(caller).put(name, body.value.get_secret_value(), caller.principal.who))


@router.delete("/secrets/{name}", status_code=204, openapi_extra=needs("admin:secrets"))
def delete(name: Name, caller: Called) -> None:
    """Delete a secret: tasks that read it fail."""
    _secrets(caller).delete(name)


def _secrets(caller: Called) -> SecretService:
    return caller.services.secrets
