"""Who is told of a server's events by HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..webhooks import DeliveryView, NewWebhook, WebhookSpec, WebhookView
from .client import Remote, at
from .records import duration, revive

__all__ = ["RemoteWebhooks"]


class RemoteWebhooks:
    """As `WebhookService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def create(self, spec: WebhookSpec, who: str) -> NewWebhook:
        """Make a webhook; the server notes the key as who did it. Raises InputError, Conflict."""
        return _new(self._remote.send("POST", "/webhooks", asdict(spec), keyed=False))

    def list(self) -> Iterator[WebhookView]:
        """Webhooks by name."""
        return (revive(WebhookView, each) for each in self._remote.pages("/webhooks"))

    def get(self, name: str) -> WebhookView:
        """One webhook, with counts. Raises NotFound."""
        return revive(WebhookView, self._remote.get(at("webhooks", name)))

    def update(self, name: str, **given: Any) -> WebhookView:
        """Change what is given. Raises NotFound, InputError."""
        return revive(WebhookView, self._remote.send("PATCH", at("webhooks", name), given))

    def delete(self, name: str) -> None:
        """Delete a webhook and its deliveries. Raises NotFound."""
        self._remote.send("DELETE", at("webhooks", name))

    def enable(self, name: str) -> WebhookView:
        """Tell it of what happens from now on. Raises NotFound."""
        return revive(WebhookView, self._remote.send("POST", at("webhooks", name, "enable")))

    def disable(self, name: str) -> WebhookView:
        """Send it nothing until it is enabled. Raises NotFound."""
        return revive(WebhookView, self._remote.send("POST", at("webhooks", name, "disable")))

    def rotate(self, name: str, overlap_s: float = 86_400.0) -> NewWebhook:
        """Make a new signing secret. Raises NotFound."""
        body = {"overlap": duration(overlap_s)}
        return _new(self._remote.send("POST", at("webhooks", name, "rotate"), body, keyed=False))

    def test(self, name: str) -> DeliveryView:
        """Have an engine send it a `webhook.test`. Raises NotFound."""
        return revive(DeliveryView, self._remote.send("POST", at("webhooks", name, "test")))

    def deliveries(
        self, name: str, *, state: str | None = None, event: str | None = None
    ) -> Iterator[DeliveryView]:
        """Deliveries of a webhook, the newest first. Raises NotFound, InputError."""
        query = {"state": state, "event": event}
        found = self._remote.pages(at("webhooks", name, "deliveries"), query)
        return (revive(DeliveryView, each) for each in found)

    def redeliver(self, name: str, delivery_id: str) -> DeliveryView:
        """Send one again, under its id. Raises NotFound."""
        path = at("webhooks", name, "deliveries", delivery_id, "redeliver")
        return revive(DeliveryView, self._remote.send("POST", path))

    def redeliver_dead(self, name: str) -> int:
        """Send again everything that was given up; gives how many. Raises NotFound."""
        return int(self._remote.send("POST", at("webhooks", name, "redeliver"))["redelivered"])


def _new(found: dict[str, Any]) -> NewWebhook:
    return NewWebhook(revive(WebhookView, found), found["secret"])
