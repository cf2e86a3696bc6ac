"""Webhooks of one namespace: made, changed, switched, rotated, tried; and what became of their deliveries."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..engine.errors import Conflict, InputError, NotFound, Problem
from ..engine.feed import EventFeed
from ..engine.membership import new_id
from ..engine.outputs import iso
from ..engine.translate import engine_errors
from ..engine.vault import Place, Vault
from ..engine.webhook_signature import new_signing_secret
from ..engine.webhooks import OWN_EVENTS, PURPOSE, body_of, egress_of
from ..executors.egress import Egress
from ..repositories import webhook_store
from ..repositories.database import Database, Session
from ..repositories.secret_store import given_store_id
from ..repositories.webhook_store import DeliveryRow, WebhookRow
from ..repositories.webhook_tables import DELIVERY_STATES
from .webhook_checks import name_problems, spec_problems

__all__ = ["KEEP", "DeliveryView", "NewWebhook", "WebhookService", "WebhookSpec", "WebhookView"]

_PAGE: Final = 500
#: Webhooks of one namespace: each is looked at in every round of every engine.
_MOST: Final = 200
_US: Final = 1_000_000
#: In a change: leave it as it is.
KEEP: Final[Any] = object()


@dataclass(slots=True, frozen=True)
class WebhookSpec:
    """Who wants to be told of what."""

    name: str
    url: str
    #: Patterns of event names, such as `instance.*`.
    events: Sequence[str]
    #: Only of runs of this definition; None of all.
    definition: str | None = None


@dataclass(slots=True, frozen=True)
class WebhookView:
    """A webhook as people see it: without its secret."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    definition: str | None
    #: `enabled` or `disabled`.
    state: str
    #: Why an engine has disabled it.
    problem: str | None
    #: Since when no delivery has succeeded.
    failing_since: str | None
    #: How often its secret was made; until when the one before signs too.
    secret_version: int
    old_secret_until: str | None
    #: Deliveries that wait, and that were given up; counted up to 10,000. None in a list.
    pending: int | None
    dead: int | None
    created_at: str | None
    updated_at: str | None
    created_by: str


@dataclass(slots=True, frozen=True, repr=False)
class NewWebhook:
    """A webhook and its signing secret, which cannot be had again."""

    webhook: WebhookView
    secret: str


@dataclass(slots=True, frozen=True)
class DeliveryView:
    """A delivery as people see it."""

    #: The header `webhook-id` of each attempt.
    id: str
    webhook: str
    #: Number of the event; None for a test.
    seq: int | None
    event: str
    #: `pending`, `delivered` or `dead`.
    state: str
    attempts: int
    #: When it is tried next; None when it has ended.
    due_at: str | None
    #: What the last attempt was answered, or why it was not.
    status: int | None
    error: str | None
    created_at: str | None
    ended_at: str | None
    #: What is sent; None in a list.
    body: Any = None


class WebhookService:
    """Use cases of webhooks. `vault` gives the master keys, anew for each call; `egress` says where they may go."""

    def __init__(
        self,
        database: Database,
        vault: Callable[[], Vault] = Vault.from_environment,
        egress: Egress | None = None,
    ) -> None:
        self._database = database
        self._vault = vault
        self._egress = egress

    # --- webhooks

    def create(self, spec: WebhookSpec, who: str) -> NewWebhook:
        """Make a webhook: it is told of what happens from now on.

        Raises InputError, Conflict for a taken name, VaultError without a master key.
        """
        problems = [*name_problems(spec.name), *self._problems(spec.url, spec.events, spec.definition)]
        if problems:
            raise InputError(problems)
        webhook_id, secret, vault = new_id(), new_signing_secret(), self._vault()
        cursor = EventFeed(self._database).cursor()
        with engine_errors(), self._database.write() as session:
            sealed = vault.seal(secret, Place(given_store_id(session), PURPOSE, webhook_id, 1))
            now = webhook_store.now_of(session)
            row = WebhookRow(
                id=webhook_id,
                name=spec.name,
                url=spec.url,
                events=json.dumps(list(spec.events)),
                definition=spec.definition,
                state="enabled",
                problem=None,
                sealed=sealed,
                version=1,
                old_sealed=None,
                old_until=None,
                cursor=cursor,
                failing_since=None,
                created_at=now,
                updated_at=now,
                created_by=who,
            )
            refused = webhook_store.add_webhook(session, row, _MOST)
        if refused == "taken":
            raise Conflict(f"there is a webhook {spec.name!r} already.", hint="Take another name.")
        if refused is not None:
            raise Conflict(f"there are {_MOST} webhooks already.", hint="Delete one that nobody needs.")
        return NewWebhook(_view(row), secret)

    def list(self, after: str | None = None) -> Iterator[WebhookView]:
        """Every webhook by name; `after` is the last name seen."""
        if after is not None and name_problems(after):
            raise InputError([Problem("/after", "wrong_value", "this is no name that a page ended with")])
        while True:
            with engine_errors(), self._database.read() as session:
                page = webhook_store.webhooks(session, _PAGE, after)
            yield from map(_view, page)
            if len(page) < _PAGE:
                return
            after = page[-1].name

    def get(self, name: str) -> WebhookView:
        """One webhook, with counts. Raises NotFound."""
        with engine_errors(), self._database.read() as session:
            return _counted(session, _found(session, name))

    def update(
        self, name: str, *, url: str = KEEP, events: Sequence[str] = KEEP, definition: str | None = KEEP
    ) -> WebhookView:
        """Change what is given; deliveries that are made already go to the new URL. Raises NotFound, InputError."""
        with engine_errors(), self._database.write() as session:
            row = _found(session, name, locked=True)
            wanted: dict[str, Any] = {
                "url": row.url if url is KEEP else url,
                "events": json.loads(row.events) if events is KEEP else list(events),
                "definition": row.definition if definition is KEEP else definition,
            }
            if problems := self._problems(**wanted):
                raise InputError(problems)
            values = wanted | {"events": json.dumps(wanted["events"])}
            webhook_store.change_webhook(session, row.id, **values)
            return _counted(session, _found(session, name))

    def delete(self, name: str) -> None:
        """Delete a webhook and its deliveries. Raises NotFound."""
        with engine_errors():
            with self._database.write() as session:
                webhook_id = None if name_problems(name) else webhook_store.delete_webhook(session, name)
            if webhook_id is None:
                raise _unknown(name)
            gone = 1
            while gone:
                with self._database.write() as session:
                    gone = webhook_store.delete_deliveries(session, webhook_id)

    def enable(self, name: str) -> WebhookView:
        """Tell it of what happens from now on, and of what waited when it was disabled; again changes nothing."""
        cursor = EventFeed(self._database).cursor()
        with engine_errors(), self._database.write() as session:
            row = _found(session, name, locked=True)
            if row.state == "disabled":
                webhook_store.change_webhook(
                    session, row.id, state="enabled", problem=None, failing_since=None, cursor=cursor
                )
            return _counted(session, _found(session, name))

    def disable(self, name: str) -> WebhookView:
        """Send it nothing: events pass, what is made already waits. Raises NotFound."""
        with engine_errors(), self._database.write() as session:
            row = _found(session, name, locked=True)
            webhook_store.change_webhook(session, row.id, state="disabled")
            return _counted(session, _found(session, name))

    def rotate(self, name: str, overlap_s: float = 86_400.0) -> NewWebhook:
        """Make a new signing secret; messages are signed with the old one too for `overlap_s` seconds.

        Raises NotFound, VaultError without a master key.
        """
        if not 0 <= overlap_s <= 366 * 86_400:
            raise InputError([Problem("/overlap", "wrong_value", "secrets overlap for 0 s to 366 days")])
        secret, vault = new_signing_secret(), self._vault()
        with engine_errors(), self._database.write() as session:
            row = _found(session, name, locked=True)
            place = Place(given_store_id(session), PURPOSE, row.id, row.version + 1)
            webhook_store.change_webhook(
                session,
                row.id,
                sealed=vault.seal(secret, place),
                version=row.version + 1,
                old_sealed=row.sealed,
                old_until=webhook_store.now_of(session) + int(overlap_s * _US),
            )
            return NewWebhook(_counted(session, _found(session, name)), secret)

    def test(self, name: str) -> DeliveryView:
        """Send it a `webhook.test`, whatever its patterns. Raises NotFound, and Conflict while it is disabled."""
        with engine_errors(), self._database.write() as session:
            row = _found(session, name)
            if row.state != "enabled":
                raise Conflict(f"the webhook {name!r} is disabled.", hint="Enable it first.")
            kind, delivery_id = f"{OWN_EVENTS}test", new_id()
            body = body_of(kind, webhook_store.now_of(session), {"webhook": row.name})
            made = {"id": delivery_id, "event": kind, "body": body}
            webhook_store.add_delivery(session, row.id, made=made)
            found = webhook_store.delivery(session, row.id, delivery_id)
        return _delivered(row, found, delivery_id)

    # --- deliveries

    def deliveries(
        self, name: str, *, state: str | None = None, event: str | None = None, before: str | None = None
    ) -> Iterator[DeliveryView]:
        """Deliveries of a webhook, the newest first; `before` is the last id seen. Raises NotFound, InputError."""
        if state is not None and state not in DELIVERY_STATES:
            hint = f"States: {', '.join(sorted(DELIVERY_STATES))}."
            raise InputError([Problem("/state", "wrong_value", f"there is no state {state!r}", hint)])
        if event is not None and not event.isprintable():
            raise InputError([Problem("/event", "wrong_value", "this is no name of an event")])
        last = None if before is None else _uuid(before)
        if before is not None and last is None:
            raise InputError([Problem("/after", "wrong_value", "this is no id that a page ended with")])
        with engine_errors(), self._database.read() as session:
            row = _found(session, name)
        return self._pages(row, state, event, last)

    def _pages(
        self, row: WebhookRow, state: str | None, event: str | None, before: str | None
    ) -> Iterator[DeliveryView]:
        while True:
            with engine_errors(), self._database.read() as session:
                page = webhook_store.deliveries(
                    session, row.id, state=state, event=event, before=before, limit=_PAGE
                )
            yield from (_delivery(row, each) for each in page)
            if len(page) < _PAGE:
                return
            before = page[-1].id

    def delivery(self, name: str, delivery_id: str) -> DeliveryView:
        """One delivery, with what is sent. Raises NotFound."""
        with engine_errors(), self._database.read() as session:
            row, wanted = _found(session, name), _uuid(delivery_id)
            found = None if wanted is None else webhook_store.delivery(session, row.id, wanted)
        return _delivered(row, found, delivery_id)

    def redeliver(self, name: str, delivery_id: str) -> DeliveryView:
        """Send one again that was delivered or given up, under its id; one that waits stays so. Raises NotFound."""
        self.delivery(name, delivery_id)
        with engine_errors(), self._database.write() as session:
            row = _found(session, name)
            webhook_store.redeliver(session, row.id, _uuid(delivery_id))
        return self.delivery(name, delivery_id)

    def redeliver_dead(self, name: str) -> int:
        """Send again everything that was given up, each under its id; gives how many. Raises NotFound."""
        with engine_errors(), self._database.read() as session:
            row = _found(session, name)
        total, some = 0, 1
        while some:
            with engine_errors(), self._database.write() as session:
                some = webhook_store.redeliver(session, row.id)
            total += some
        return total

    def _problems(self, url: str, events: Sequence[str], definition: str | None) -> list[Problem]:
        egress = egress_of(None) if self._egress is None else self._egress
        return spec_problems(url, events, definition, egress)


def _found(session: Session, name: str, *, locked: bool = False) -> WebhookRow:
    row = None if name_problems(name) else webhook_store.webhook(session, name, locked=locked)
    if row is None:
        raise _unknown(name)
    return row


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"there is no webhook {name[:128]!r}.", hint="`strataflow webhooks list` shows what there is."
    )


def _uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _counted(session: Session, row: WebhookRow) -> WebhookView:
    pending, dead = (webhook_store.count_deliveries(session, row.id, state) for state in ("pending", "dead"))
    return _view(row, pending, dead)


def _view(row: WebhookRow, pending: int | None = None, dead: int | None = None) -> WebhookView:
    return WebhookView(
        id=row.id,
        name=row.name,
        url=row.url,
        events=tuple(json.loads(row.events)),
        definition=row.definition,
        state=row.state,
        problem=row.problem,
        failing_since=iso(row.failing_since),
        secret_version=row.version,
        old_secret_until=iso(row.old_until),
        pending=pending,
        dead=dead,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
        created_by=row.created_by,
    )


def _delivered(row: WebhookRow, found: DeliveryRow | None, delivery_id: str) -> DeliveryView:
    if found is None:
        raise NotFound(f"the webhook {row.name!r} has no delivery {delivery_id[:64]!r}.")
    return _delivery(row, found, body=json.loads(found.body))


def _delivery(row: WebhookRow, found: DeliveryRow, body: Any = None) -> DeliveryView:
    return DeliveryView(
        id=found.id,
        webhook=row.name,
        seq=found.seq,
        event=found.event,
        state=found.state,
        attempts=found.attempts,
        due_at=iso(found.due_at) if found.state == "pending" else None,
        status=found.status,
        error=found.error,
        created_at=iso(found.created_at),
        ended_at=iso(found.ended_at),
        body=body,
    )
