"""Webhooks of the caller's namespace, and their deliveries. Signing secrets are in the answer that makes them only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Path, Query

from ....services.webhooks import NewWebhook, WebhookSpec
from ..models import webhooks as models
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
from .secrets import vault_errors

__all__ = ["router"]

router: Final = router_of("webhooks")
Name = Annotated[str, Path(description="A webhook's name.", max_length=128, examples=["billing"])]
DeliveryId = Annotated[UUID, Path(alias="id", description="A delivery's id, the header `webhook-id`.")]
State = Literal["pending", "delivered", "dead"]


@router.post(
    "/webhooks",
    status_code=201,
    openapi_extra=needs("admin:webhooks", secret=True),
    response_model=models.NewWebhook,
)
def create_webhook(body: models.WebhookWish, caller: Called) -> dict[str, Any]:
    """Make a webhook. Its signing secret is in this answer and in no other."""
    spec = WebhookSpec(body.name, body.url, body.events, body.definition)
    with vault_errors():
        return _made(caller.services.webhooks.create(spec, caller.principal.who))


@router.get("/webhooks", openapi_extra=needs("read:webhooks"))
def list_webhooks(caller: Called, size: Size = 100, after: After = None) -> Page[models.Webhook]:
    """List webhooks by name."""
    place = place_of(after, str)
    found = caller.services.webhooks.list(place[0] if place else None)
    return page_of(found, size, asdict, lambda each: cursor_of(each.name))


@router.get("/webhooks/{name}", openapi_extra=needs("read:webhooks"), response_model=models.Webhook)
def get_webhook(name: Name, caller: Called) -> dict[str, Any]:
    """Give one webhook, with how many deliveries wait and were given up."""
    return asdict(caller.services.webhooks.get(name))


@router.patch("/webhooks/{name}", openapi_extra=needs("admin:webhooks"), response_model=models.Webhook)
def change_webhook(name: Name, body: models.WebhookChange, caller: Called) -> dict[str, Any]:
    """Change where a webhook goes or what it is told of; `"definition": null` takes all of them."""
    given = {field: getattr(body, field) for field in body.model_fields_set}
    return asdict(caller.services.webhooks.update(name, **given))


@router.delete("/webhooks/{name}", status_code=204, openapi_extra=needs("admin:webhooks"))
def delete_webhook(name: Name, caller: Called) -> None:
    """Delete a webhook and its deliveries."""
    caller.services.webhooks.delete(name)


@router.post("/webhooks/{name}/enable", openapi_extra=needs("admin:webhooks"), response_model=models.Webhook)
def enable_webhook(name: Name, caller: Called) -> dict[str, Any]:
    """Tell it of what happens from now on, and of what waited when it was disabled."""
    return asdict(caller.services.webhooks.enable(name))


@router.post("/webhooks/{name}/disable", openapi_extra=needs("admin:webhooks"), response_model=models.Webhook)
def disable_webhook(name: Name, caller: Called) -> dict[str, Any]:
    """Send it nothing until it is enabled: events pass, what is made already waits."""
    return asdict(caller.services.webhooks.disable(name))


@router.post(
    "/webhooks/{name}/rotate",
    status_code=201,
    openapi_extra=needs("admin:webhooks", secret=True),
    response_model=models.NewWebhook,
)
def rotate_webhook_secret(name: Name, body: models.SecretRotation, caller: Called) -> dict[str, Any]:
    """Make a new signing secret; it is in this answer and in no other. Both sign while they overlap."""
    overlap = seconds_of(body.overlap, "/body/overlap")
    with vault_errors():
        return _made(caller.services.webhooks.rotate(name, overlap))


@router.post(
    "/webhooks/{name}/test",
    status_code=202,
    openapi_extra=needs("admin:webhooks"),
    response_model=models.Delivery,
)
def test_webhook(name: Name, caller: Called) -> dict[str, Any]:
    """Send it a `webhook.test`; look at the delivery to see what came of it."""
    return asdict(caller.services.webhooks.test(name))


@router.post(
    "/webhooks/{name}/redeliver",
    status_code=202,
    openapi_extra=needs("admin:webhooks"),
    response_model=models.Redelivered,
)
def redeliver_dead(name: Name, caller: Called) -> dict[str, Any]:
    """Send again everything that was given up, each under its id."""
    return {"redelivered": caller.services.webhooks.redeliver_dead(name)}


@router.get("/webhooks/{name}/deliveries", openapi_extra=needs("read:webhooks"))
def list_deliveries(
    name: Name,
    caller: Called,
    *,
    state: Annotated[State | None, Query(description="`dead` is what was given up.")] = None,
    event: Annotated[str | None, Query(description="Name of the event.", max_length=100)] = None,
    size: Size = 100,
    after: After = None,
) -> Page[models.Delivery]:
    """List deliveries, the newest first."""
    place = place_of(after, UUID)
    before = place[0] if place else None
    found = caller.services.webhooks.deliveries(name, state=state, event=event, before=before)
    return page_of(found, size, asdict, lambda each: cursor_of(each.id))


@router.get(
    "/webhooks/{name}/deliveries/{id}", openapi_extra=needs("read:webhooks"), response_model=models.Delivery
)
def get_delivery(name: Name, delivery_id: DeliveryId, caller: Called) -> dict[str, Any]:
    """Give one delivery, with what is sent."""
    return asdict(caller.services.webhooks.delivery(name, str(delivery_id)))


@router.post(
    "/webhooks/{name}/deliveries/{id}/redeliver",
    status_code=202,
    openapi_extra=needs("admin:webhooks"),
    response_model=models.Delivery,
)
def redeliver(name: Name, delivery_id: DeliveryId, caller: Called) -> dict[str, Any]:
    """Send one again that was delivered or given up, under the same id."""
    return asdict(caller.services.webhooks.redeliver(name, str(delivery_id)))


def _made(made: NewWebhook) -> dict[str, Any]:
    return {**asdict(made.webhook), "secret": made.secret}
