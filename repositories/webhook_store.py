"""Webhooks and their deliveries. A delivery is claimed for a while and by a number: a claim that is lost comes back.

Each function is one short transaction, or part of the caller's. Nothing is locked while anybody sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, delete, func, insert, literal_column, select, update

from .database import Database, clock, insert_into
from .feed import write_notice
from .readmodels import page_size
from .webhook_tables import DELIVERIES, WEBHOOKS

__all__ = [
    "Claimed",
    "DeliveryRow",
    "WebhookRow",
    "add_delivery",
    "add_webhook",
    "advance",
    "change_sealed",
    "change_webhook",
    "claim",
    "count_deliveries",
    "delete_deliveries",
    "delete_old",
    "delete_webhook",
    "deliveries",
    "delivery",
    "disable",
    "due",
    "failing",
    "now_of",
    "older_than",
    "redeliver",
    "settle",
    "webhook",
    "webhooks",
]

_AT_ONCE: Final = 1_000
#: What is counted of a webhook's deliveries in one state.
_COUNTED: Final = 10_000


@dataclass(slots=True, frozen=True)
class WebhookRow:
    """A webhook as it is stored."""

    id: str
    name: str
    url: str
    events: str
    definition: str | None
    state: str
    problem: str | None
    sealed: str
    version: int
    old_sealed: str | None
    old_until: int | None
    cursor: int
    failing_since: int | None
    created_at: int
    updated_at: int
    created_by: str


@dataclass(slots=True, frozen=True)
class DeliveryRow:
    """A delivery as people see it."""

    id: str
    webhook_id: str
    seq: int | None
    event: str
    body: str
    state: str
    attempts: int
    due_at: int
    status: int | None
    error: str | None
    created_at: int
    ended_at: int | None


@dataclass(slots=True, frozen=True)
class Claimed:
    """An attempt that is ours until its time is over."""

    id: str
    body: str
    attempts: int


_WEBHOOK: Final = [WEBHOOKS.c[name] for name in WebhookRow.__slots__]
_DELIVERY: Final = [DELIVERIES.c[name] for name in DeliveryRow.__slots__]
_ENABLED: Final = WEBHOOKS.c.state == "enabled"
#: A literal: for a value that is bound, SQLite does not use a partial index.
_PENDING: Final = DELIVERIES.c.state == literal_column("'pending'")
_DEAD: Final = DELIVERIES.c.state == literal_column("'dead'")


def now_of(connection: Connection) -> int:
    """The database's clock in microseconds."""
    now: int = connection.execute(select(clock(connection))).scalar_one()
    return now


# --- webhooks


def add_webhook(connection: Connection, row: WebhookRow, most: int) -> str | None:
    """Store a webhook; gives why not: `taken`, or `full` when there are `most` already."""
    count: int = connection.execute(select(func.count()).select_from(WEBHOOKS)).scalar_one()
    if count >= most:
        return "full"
    values = {name: getattr(row, name) for name in WebhookRow.__slots__}
    made = insert_into(connection, WEBHOOKS).values(**values)
    unique = made.on_conflict_do_nothing(index_elements=["name"]).returning(WEBHOOKS.c.id)
    return None if connection.execute(unique).first() is not None else "taken"


def webhooks(connection: Connection, limit: int, after: str | None = None) -> list[WebhookRow]:
    """Webhooks by name; `after` is the last name seen."""
    page = select(*_WEBHOOK).order_by(WEBHOOKS.c.name).limit(page_size(limit))
    if after is not None:
        page = page.where(WEBHOOKS.c.name > after)
    return [WebhookRow(*row) for row in connection.execute(page)]


def webhook(connection: Connection, name: str, *, locked: bool = False) -> WebhookRow | None:
    """One webhook; locked until the transaction ends, when it is to be changed."""
    found = select(*_WEBHOOK).where(WEBHOOKS.c.name == name)
    row = connection.execute(found.with_for_update() if locked else found).first()
    return None if row is None else WebhookRow(*row)


def change_webhook(connection: Connection, webhook_id: str, **values: Any) -> None:
    """Change columns of one."""
    connection.execute(
        update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id).values(**values, updated_at=clock(connection))
    )


def change_sealed(connection: Connection, row: WebhookRow, values: Mapping[str, str]) -> None:
    """Put other sealed forms of the same secrets in their place, unless others have been made meanwhile."""
    same = (WEBHOOKS.c.id == row.id) & (WEBHOOKS.c.version == row.version)
    connection.execute(update(WEBHOOKS).where(same).values(**values))


def delete_webhook(connection: Connection, name: str) -> str | None:
    """Delete one; gives its id. Its deliveries are left to `delete_deliveries`."""
    gone = delete(WEBHOOKS).where(WEBHOOKS.c.name == name).returning(WEBHOOKS.c.id)
    found: str | None = connection.execute(gone).scalar()
    return found


def disable(connection: Connection, webhook_id: str, problem: str) -> bool:
    """Disable one that does not work, and tell it as an event; False when it was before."""
    mine = (WEBHOOKS.c.id == webhook_id) & _ENABLED
    change = (
        update(WEBHOOKS).where(mine).values(state="disabled", problem=problem, updated_at=clock(connection))
    )
    name: str | None = connection.execute(change.returning(WEBHOOKS.c.name)).scalar()
    if name is not None:
        write_notice(connection, "webhook.disabled", name, {"webhook": name, "problem": problem})
    return name is not None


# --- what the feed has for them


def due(connection: Connection) -> list[tuple[WebhookRow, int | None]]:
    """Every enabled webhook, and when its next delivery is due: one look at an index each."""
    first = (
        select(func.min(DELIVERIES.c.due_at))
        .where(DELIVERIES.c.webhook_id == WEBHOOKS.c.id, _PENDING)
        .scalar_subquery()
    )
    rows = connection.execute(select(*_WEBHOOK, first).where(_ENABLED).order_by(WEBHOOKS.c.id))
    found = [tuple(row) for row in rows]
    return [(WebhookRow(*values[:-1]), values[-1]) for values in found]


def advance(
    connection: Connection, webhook_id: str, old: int, new: int, made: Iterable[Mapping[str, Any]]
) -> bool:
    """Move a webhook's cursor and add the deliveries of what lies between; False when somebody else has moved it.

    Each of `made` has `id`, `seq`, `event` and `body`.
    """
    mine = (WEBHOOKS.c.id == webhook_id) & (WEBHOOKS.c.cursor == old) & _ENABLED
    if connection.execute(update(WEBHOOKS).where(mine).values(cursor=new)).rowcount != 1:
        return False
    now = now_of(connection)
    rows = [_new(webhook_id, now) | dict(each) for each in made]
    if rows:
        connection.execute(insert(DELIVERIES), rows)
    return True


def add_delivery(connection: Connection, webhook_id: str, *, made: Mapping[str, Any]) -> None:
    """Add one that is no event's."""
    row = _new(webhook_id, now_of(connection)) | {"seq": None} | dict(made)
    connection.execute(insert(DELIVERIES).values(**row))


def _new(webhook_id: str, now: int) -> dict[str, Any]:
    return {
        "webhook_id": webhook_id,
        "state": "pending",
        "attempts": 0,
        "due_at": now,
        "created_at": now,
    }


# --- attempts


def claim(connection: Connection, webhook_id: str, token: str, *, most: int, lease_us: int) -> list[Claimed]:
    """Take deliveries that are due, at most so many; whoever does not `settle` them in time loses them again."""
    now = now_of(connection)
    ready = (
        select(DELIVERIES.c.id)
        .where(DELIVERIES.c.webhook_id == webhook_id, _PENDING, DELIVERIES.c.due_at <= now)
        .order_by(DELIVERIES.c.due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(ready).scalars())
    if not ids:
        return []
    taken = (
        update(DELIVERIES)
        .where(DELIVERIES.c.id.in_(ids))
        .values(due_at=now + lease_us, claim=token, attempts=DELIVERIES.c.attempts + 1)
        .returning(DELIVERIES.c.id, DELIVERIES.c.body, DELIVERIES.c.attempts)
    )
    return sorted((Claimed(*row) for row in connection.execute(taken)), key=lambda each: each.id)


def settle(
    connection: Connection, webhook_id: str, delivery_id: str, token: str, values: Mapping[str, Any]
) -> bool:
    """Record what became of an attempt; False, and nothing is written, when it is not ours any more."""
    mine = (DELIVERIES.c.id == delivery_id) & (DELIVERIES.c.claim == token) & _PENDING
    done = connection.execute(update(DELIVERIES).where(mine).values(claim=None, **values)).rowcount == 1
    if done and values.get("state") == "delivered":
        well = (WEBHOOKS.c.id == webhook_id) & WEBHOOKS.c.failing_since.is_not(None)
        connection.execute(update(WEBHOOKS).where(well).values(failing_since=None))
    return done


def failing(connection: Connection, webhook_id: str) -> int | None:
    """Note that an attempt has failed; gives since when none has succeeded. None: the webhook is gone."""
    since = func.coalesce(WEBHOOKS.c.failing_since, clock(connection))
    note = update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id).values(failing_since=since)
    found: int | None = connection.execute(note.returning(WEBHOOKS.c.failing_since)).scalar()
    return found


# --- looking at them


def delivery(connection: Connection, webhook_id: str, delivery_id: str) -> DeliveryRow | None:
    """One delivery."""
    found = select(*_DELIVERY).where(DELIVERIES.c.id == delivery_id, DELIVERIES.c.webhook_id == webhook_id)
    row = connection.execute(found).first()
    return None if row is None else DeliveryRow(*row)


def deliveries(
    connection: Connection,
    webhook_id: str,
    *,
    state: str | None,
    event: str | None,
    before: str | None,
    limit: int,
) -> list[DeliveryRow]:
    """Deliveries of one webhook, the newest first; `before` is the last id seen."""
    page = select(*_DELIVERY).where(DELIVERIES.c.webhook_id == webhook_id)
    wanted = {DELIVERIES.c.state: state, DELIVERIES.c.event: event}
    for column, value in wanted.items():
        if value is not None:
            page = page.where(column == value)
    if before is not None:
        page = page.where(DELIVERIES.c.id < before)
    rows = connection.execute(page.order_by(DELIVERIES.c.id.desc()).limit(page_size(limit)))
    return [DeliveryRow(*row) for row in rows]


def count_deliveries(connection: Connection, webhook_id: str, state: str) -> int:
    """How many there are in a state, counted up to ten thousand."""
    which = {"pending": _PENDING, "dead": _DEAD}.get(state, DELIVERIES.c.state == state)
    some = select(DELIVERIES.c.id).where(DELIVERIES.c.webhook_id == webhook_id, which).limit(_COUNTED)
    counted: int = connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()
    return counted


def redeliver(connection: Connection, webhook_id: str, delivery_id: str | None = None) -> int:
    """Have one that has ended delivered again, or, without an id, a thousand dead ones; gives how many."""
    again = update(DELIVERIES).values(
        state="pending", attempts=0, due_at=clock(connection), ended_at=None, claim=None
    )
    if delivery_id is not None:
        mine = (DELIVERIES.c.webhook_id == webhook_id) & (DELIVERIES.c.id == delivery_id)
        return connection.execute(again.where(mine, DELIVERIES.c.state != "pending")).rowcount
    dead = select(DELIVERIES.c.id).where(DELIVERIES.c.webhook_id == webhook_id, _DEAD)
    some = dead.order_by(DELIVERIES.c.id).limit(_AT_ONCE).scalar_subquery()
    return connection.execute(again.where(DELIVERIES.c.id.in_(some))).rowcount


# --- growing old


def delete_deliveries(connection: Connection, webhook_id: str) -> int:
    """Delete deliveries of one webhook, at most a thousand; gives how many."""
    return _delete(connection, DELIVERIES.c.webhook_id == webhook_id, DELIVERIES.c.id)


def delete_old(database: Database, before: int) -> int:
    """Delete deliveries made before an instant, whatever became of them, at most a thousand; gives how many."""
    with database.write() as connection:
        return _delete(connection, DELIVERIES.c.created_at < before, DELIVERIES.c.created_at)


def older_than(connection: Connection, before: int) -> bool:
    """Is there a delivery that was made before an instant?"""
    oldest: int | None = connection.execute(select(func.min(DELIVERIES.c.created_at))).scalar()
    return oldest is not None and oldest < before


def _delete(connection: Connection, which: ColumnElement[bool], order: ColumnElement[Any]) -> int:
    table: Table = DELIVERIES
    some = select(table.c.id).where(which).order_by(order).limit(_AT_ONCE).scalar_subquery()
    return connection.execute(delete(table).where(table.c.id.in_(some))).rowcount
