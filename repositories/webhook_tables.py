"""Tables of webhooks and of what is to be delivered to them. Part of `tables`; nothing on the hot path knows them."""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, Text
from sqlmodel import Field

from .columns import ID, PATH, Base, big, col, key_col, one_of, partial

__all__ = ["DELIVERIES", "DELIVERY_STATES", "WEBHOOKS", "WEBHOOK_STATES"]

WEBHOOK_STATES: Final = frozenset({"enabled", "disabled"})
DELIVERY_STATES: Final = frozenset({"pending", "delivered", "dead"})


class Webhook(Base, table=True):
    """Who is told of which events, and how far they have been told."""

    __tablename__: Any = "webhooks"
    id: str = key_col(ID)
    name: str = col(PATH)
    url: str = col(Text())
    #: Patterns of event names, as a JSON list.
    events: str = col(Text())
    #: Name of a definition; None takes the events of all.
    definition: str | None = col(Text(), null=True)
    state: str = col(Text())
    #: Why the engine has disabled it.
    problem: str | None = col(Text(), null=True)
    #: The signing secret and the one before it, sealed.
    sealed: str = col(Text())
    version: int = col(Integer())
    old_sealed: str | None = col(Text(), null=True)
    #: Until when the one before signs too.
    old_until: int | None = big(null=True)
    #: Every event up to this number has its delivery.
    cursor: int = big()
    #: Since when no delivery has succeeded.
    failing_since: int | None = big(null=True)
    created_at: int = big()
    updated_at: int = big()
    created_by: str = col(Text())

    __table_args__: Any = (
        Index("webhooks_name", "name", unique=True),
        CheckConstraint(one_of("state", WEBHOOK_STATES), name="webhooks_state"),
    )


class Delivery(Base, table=True):
    """One event for one webhook; its id is the receiver's means to know it again."""

    __tablename__: Any = "deliveries"
    id: str = key_col(ID)
    webhook_id: str = col(ID)
    #: The event's number; None for a test.
    seq: int | None = Field(sa_column=Column(BigInteger(), nullable=True))
    event: str = col(Text())
    #: What is sent, to the byte, each time.
    body: str = col(Text())
    state: str = col(Text())
    attempts: int = col(Integer(), default="0")
    #: When it is tried next; while somebody tries, when the attempt is taken for lost.
    due_at: int = big()
    #: The attempt that is under way, or was the last.
    claim: str | None = col(ID, null=True)
    #: What the last attempt was answered, or why it was not.
    status: int | None = col(Integer(), null=True)
    error: str | None = col(Text(), null=True)
    created_at: int = big()
    ended_at: int | None = big(null=True)

    __table_args__: Any = (
        Index("deliveries_event", "webhook_id", "seq", unique=True),
        Index("deliveries_created", "created_at"),
        Index("deliveries_of", "webhook_id", "id"),
        partial("deliveries_due", "webhook_id", "due_at", where="state = 'pending'"),
        partial("deliveries_dead", "webhook_id", "id", where="state = 'dead'"),
        CheckConstraint(one_of("state", DELIVERY_STATES), name="deliveries_state"),
    )


WEBHOOKS: Final = cast("Table", vars(Webhook)["__table__"])
DELIVERIES: Final = cast("Table", vars(Delivery)["__table__"])
