"""Webhooks: tells others of events by HTTP. A loop of every engine that executes; any number of them share the work.

Each round: what attempts came to is recorded; the feed is read behind the cursors of the webhooks, and every event that
fits becomes one delivery in the transaction that moves the cursor; deliveries that are due are claimed and sent. A
claim is good for a while: what an engine that died had under way is sent again by another, under the same id.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from ..executors.egress import Egress
from ..repositories import webhook_store
from ..repositories.database import Database, Session
from ..repositories.secret_store import store_id
from ..repositories.webhook_store import WebhookRow
from .errors import RequestError
from .feed import Event, EventFeed
from .loops import Loop
from .membership import new_id
from .outputs import iso
from .vault import Place, Vault, VaultError
from .webhook_sending import Answer, Message, Sender

__all__ = ["OWN_EVENTS", "PAUSES_S", "PURPOSE", "Webhooks", "body_of", "egress_of"]

log: Final = logging.getLogger("strataflow.webhooks")
#: What signing secrets are sealed for.
PURPOSE: Final = "webhook"
#: Events about webhooks go to no webhook: one that fails would be told of its failure for ever.
OWN_EVENTS: Final = "webhook."
#: The pauses between attempts; a tenth more or less is drawn. All of them together take a day.
PAUSES_S: Final[tuple[float, ...]] = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)
_JITTER: Final = 0.1
#: An attempt that has not been recorded after so long is anybody's.
LEASE_S: Final = 60.0
#: No success for so long disables a webhook.
_HOPELESS_S: Final = 5 * 86_400.0
#: Deliveries that were made so long ago are deleted, whatever became of them.
_KEPT_S: Final = 14 * 86_400.0
#: Attempts of one engine at a time, and of those to one webhook.
_AT_ONCE: Final = 32
_PER_WEBHOOK: Final = 8
#: Pages of the feed that one round reads.
_PAGES: Final = 20
#: How often an engine looks when there is no webhook.
_IDLE_S: Final = 3.0
#: Between two looks for old deliveries, and between two complaints about one webhook.
_TIDY_S: Final = 60.0
_GONE: Final = 410
_BUSY: Final = frozenset({429, 503})
_US: Final = 1_000_000


def egress_of(allowed: Iterable[str] | None) -> Egress:
    """Where webhooks may go; None reads the environment. Raises RequestError for what is no network."""
    try:
        return Egress.from_environment() if allowed is None else Egress(allowed)
    except ValueError as exc:
        raise RequestError(f"{exc}.", pointer="/egress_allow") from None


def body_of(kind: str, at: int, data: Mapping[str, Any]) -> str:
    """The text of a message, in the form that Standard Webhooks recommend."""
    body = {"type": kind, "timestamp": iso(at), "data": dict(data)}
    return json.dumps(body, separators=(",", ":"))


class Webhooks:
    """Makes deliveries of events and sends them. `run_once` is one round; `loop` calls it."""

    def __init__(
        self,
        database: Database,
        egress: Egress,
        *,
        poll_s: float,
        vault: Callable[[], Vault] = Vault.from_environment,
    ) -> None:
        self._database = database
        self._feed = EventFeed(database)
        self._vault = vault
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._flying: Counter[str] = Counter()
        self._tidied = time.monotonic()
        self._complained: dict[str, float] = {}
        self._sender = Sender(egress, self._answered)
        self.loop: Final = Loop("webhooks", self.run_once, poll_s)

    def close(self) -> None:
        """Cut short what is under way and give it back: others send it, at once and under the same id."""
        self.loop.stop()
        self._sender.stop()
        self._record()

    def run_once(self) -> float | None:
        """One round; gives the pause until the next."""
        self._record()
        with self._database.read() as session:
            due = webhook_store.due(session)
        if due:
            self._pump([webhook for webhook, _ in due])
            with self._database.read() as session:  # anew: what was just made is due
                due, now = webhook_store.due(session), webhook_store.now_of(session)
                identity = store_id(session) or ""
            for webhook, at in due:
                if at is not None and at <= now:
                    self._send_due(webhook, identity, now)
        self._tidy()
        return self._poll_s if due else max(self._poll_s, _IDLE_S)

    # --- from the feed

    def _pump(self, webhooks: list[WebhookRow]) -> None:
        """Turn events behind the cursors into deliveries; of engines that do the same one moves each cursor."""
        places = {webhook.id: webhook.cursor for webhook in webhooks}
        patterns: dict[str, list[str]] = {webhook.id: json.loads(webhook.events) for webhook in webhooks}
        for _ in range(_PAGES):
            mine = [webhook for webhook in webhooks if webhook.id in places]
            after = min(places.values(), default=None)
            if after is None:
                return
            page = self._feed.read(after)
            if page.cursor <= after:
                return
            with self._database.write() as session:
                for webhook in mine:
                    old = places[webhook.id]
                    if old >= page.cursor:
                        continue
                    new = [event for event in page.events if event.seq > old]
                    made = [_made(event) for event in new if _fits(webhook, patterns[webhook.id], event)]
                    if webhook_store.advance(session, webhook.id, old, page.cursor, made):
                        places[webhook.id] = page.cursor
                    else:  # somebody else has moved it, or it is disabled now
                        del places[webhook.id]
            if not page.more:
                return

    # --- sending

    def _send_due(self, webhook: WebhookRow, identity: str, now: int) -> None:
        free = min(_PER_WEBHOOK - self._flying[webhook.id], _AT_ONCE - self._flying.total())
        if free <= 0:
            return
        try:
            secrets = self._secrets(webhook, identity, now)
        except VaultError as exc:  # not claimed: another engine may have the key
            self._complain(webhook, exc)
            return
        token = new_id()
        with self._database.write() as session:
            claimed = webhook_store.claim(session, webhook.id, token, most=free, lease_us=int(LEASE_S * _US))
        with self._lock:
            self._flying[webhook.id] += len(claimed)
        for each in claimed:
            body = each.body.encode()
            self._sender.send(Message(webhook.id, each.id, token, each.attempts, webhook.url, secrets, body))

    def _secrets(self, webhook: WebhookRow, identity: str, now: int) -> tuple[str, ...]:
        vault = self._vault()
        newest = vault.open(webhook.sealed, Place(identity, PURPOSE, webhook.id, webhook.version))
        if webhook.old_sealed is None or webhook.old_until is None or webhook.old_until <= now:
            return (newest,)
        place = Place(identity, PURPOSE, webhook.id, webhook.version - 1)
        return (newest, vault.open(webhook.old_sealed, place))

    def _complain(self, webhook: WebhookRow, exc: VaultError) -> None:
        now = time.monotonic()
        if self._complained.get(webhook.id, 0.0) <= now:
            self._complained[webhook.id] = now + _TIDY_S
            text = "webhook %s cannot be signed here: %s"
            log.warning(text, webhook.name, exc, extra={"action": "webhook_unsigned"})

    # --- what became of it

    def _answered(self, answer: Answer) -> None:
        """Called on the sender's thread."""
        with self._lock:
            self._answers.append(answer)
            self._flying[answer.message.webhook_id] -= 1
        self.loop.wake()

    def _record(self) -> None:
        """Record answers in one transaction; they are kept until it has been committed."""
        with self._lock:
            answers = list(self._answers)
        if not answers:
            return
        with self._database.write() as session:
            now = webhook_store.now_of(session)
            for answer in answers:
                self._settle(session, answer, now)
        with self._lock:
            del self._answers[: len(answers)]

    def _settle(self, session: Session, answer: Answer, now: int) -> None:
        message, status = answer.message, answer.status
        values: dict[str, Any] = {"status": status, "error": answer.error}
        problem: str | None = None
        if answer.released:
            values = {"due_at": now, "attempts": message.attempts - 1}
        elif status is not None and 200 <= status < 300:
            values |= {"state": "delivered", "ended_at": now}
        elif status == _GONE:
            values |= {"state": "dead", "ended_at": now}
            problem = "the receiver answered 410: it wants no more"
        elif message.attempts > len(PAUSES_S):
            values |= {"state": "dead", "ended_at": now}
        else:
            values |= {"due_at": now + int(_pause_s(message.attempts, answer) * _US)}
        if not webhook_store.settle(session, message.webhook_id, message.delivery_id, message.token, values):
            return
        if not answer.released and values.get("state") != "delivered":
            since = webhook_store.failing(session, message.webhook_id)
            if since is not None and now - since > _HOPELESS_S * _US:
                problem = problem or f"no delivery has succeeded for {int(_HOPELESS_S // 86_400)} days"
        if problem is not None and webhook_store.disable(session, message.webhook_id, problem):
            text = "a webhook is disabled: %s"
            log.warning(text, problem, extra={"action": "webhook_disabled", "webhook": message.webhook_id})

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied < _TIDY_S:
            return
        self._tidied = time.monotonic()
        with self._database.read() as session:
            before = webhook_store.now_of(session) - int(_KEPT_S * _US)
            if not webhook_store.older_than(session, before):
                return
        if webhook_store.delete_old(self._database, before):
            self._tidied -= _TIDY_S  # there may be more


def _fits(webhook: WebhookRow, patterns: list[str], event: Event) -> bool:
    if event.name.startswith(OWN_EVENTS):
        return False
    if webhook.definition is not None and event.definition != webhook.definition:
        return False
    return any(fnmatchcase(event.name, pattern) for pattern in patterns)


def _made(event: Event) -> dict[str, Any]:
    body = body_of(event.name, event.at, event.as_dict())
    return {"id": new_id(), "seq": event.seq, "event": event.name, "body": body}


def _pause_s(attempts: int, answer: Answer) -> float:
    """Until the next attempt; a busy receiver that asks for more gets it, up to the longest pause."""
    pause = PAUSES_S[attempts - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    if answer.status in _BUSY and answer.retry_after_s is not None:
        return max(pause, min(answer.retry_after_s, PAUSES_S[-1]))
    return pause
