"""Bodies and answers of webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..routing import Answer, Body

__all__ = [
    "Delivery",
    "NewWebhook",
    "Redelivered",
    "SecretRotation",
    "Webhook",
    "WebhookChange",
    "WebhookWish",
]

Patterns = Annotated[list[str], Field(examples=[["instance.completed", "instance.failed"]], max_length=50)]
Url = Annotated[str, Field(examples=["https://example.org/hooks/runs"], max_length=2000)]
Definition = Annotated[str | None, Field(description="Only runs of this definition.", max_length=512)]


class WebhookWish(Body):
    """A webhook to make."""

    name: str = Field(examples=["billing"])
    url: Url
    events: Patterns
    definition: Definition = None


class WebhookChange(Body):
    """What is to be changed of a webhook; what is not named stays."""

    url: Url = ""
    events: Patterns = Field(default_factory=list[str])
    definition: Definition = None


class SecretRotation(Body):
    """How a signing secret is replaced."""

    overlap: str = Field(default="1d", description="How long messages are signed with both.")


class Webhook(Answer):
    """A webhook, without its secret."""

    id: str
    name: str
    url: str
    events: list[str]
    definition: str | None
    state: Literal["enabled", "disabled"]
    problem: str | None = Field(description="Why an engine has disabled it.")
    failing_since: str | None = Field(description="Since when no delivery has succeeded.")
    secret_version: int = Field(description="How often its secret was made.")
    old_secret_until: str | None = Field(description="Until when the one before signs too.")
    pending: int | None = Field(description="Deliveries that wait, counted up to 10,000; null in a list.")
    dead: int | None = Field(description="Deliveries that were given up, counted likewise.")
    created_at: str | None
    updated_at: str | None
    created_by: str


class NewWebhook(Webhook):
    """A webhook and its signing secret, which cannot be had again."""

    secret: str = Field(description="`whsec_…`: what its messages are signed with.")


class Delivery(Answer):
    """One event for one webhook."""

    id: str = Field(description="The header `webhook-id` of each attempt.")
    webhook: str
    seq: int | None = Field(description="Number of the event; null for a test.")
    event: str
    state: Literal["pending", "delivered", "dead"]
    attempts: int
    due_at: str | None = Field(description="When it is tried next; null when it has ended.")
    status: int | None = Field(description="What the last attempt was answered.")
    error: str | None = Field(description="Why it was not.")
    created_at: str | None
    ended_at: str | None
    body: Any = Field(default=None, description="What is sent; null in a list.")


class Redelivered(Answer):
    """How many deliveries are sent again."""

    redelivered: int
