"""Models of API keys and the audit log."""

from __future__ import annotations

from pydantic import Field

from ..routing import Answer, Body
from .common import Instant

__all__ = ["AuditEntry", "Key", "KeyWish", "NewKey", "Rotation"]


class KeyWish(Body):
    """A key to make."""

    name: str = Field(description="What it is called.", examples=["ci"])
    scopes: list[str] = Field(
        description="What it may do: `verb:resource`, either of them `*`.",
        examples=[["read:*", "start:instances"]],
        max_length=100,
    )
    expires_in: str | None = Field(default=None, description="How long it lives.", examples=["90d"])


class Rotation(Body):
    """How a key is replaced."""

    overlap: str = Field(default="1h", description="How long the old one stays good.", examples=["1h"])
    expires_in: str | None = Field(default=None, description="How long the new one lives.", examples=["90d"])


class Key(Answer):
    """A key, without its secret."""

    id: str = Field(description="Its id.")
    name: str = Field(description="What it is called.")
    scopes: list[str] = Field(description="What it may do.")
    created_at: Instant
    expires_at: Instant
    state: str = Field(description="`active`, `expired` or `revoked`.")
    successor: str | None = Field(description="The key that takes its place.")


class NewKey(Key):
    """A key with its secret."""

    token: str = Field(description="What callers send. It is in this answer and in no other.")


class AuditEntry(Answer):
    """A privileged or denied call."""

    seq: int = Field(description="Its number.")
    at: Instant
    key_id: str | None = Field(description="The key that it was made with.")
    who: str = Field(description="What the key is called.")
    action: str = Field(description="The scope that it needed.", examples=["start:instances"])
    target: str = Field(description="What was called.")
    outcome: str = Field(description="`done`, `failed` or `denied`.")
    status: int = Field(description="The answer's status.")
    request_id: str = Field(description="Under which the server's log has it.")
