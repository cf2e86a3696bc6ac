"""Alerts, their rules, and who watches. Each function is one short transaction, or part of the caller's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, delete, func, literal_column, select, update

from .alert_tables import ALERT_RULES, ALERT_STATES, ALERTS, DUTIES
from .database import Database, clock, insert_into
from .feed import write_notice
from .feed_tables import NOTICES
from .readmodels import chunks, page_size, uuid_text
from .records import EngineState
from .tables import ENGINES

__all__ = [
    "MOST_OPEN",
    "AlertRow",
    "Notice",
    "RuleRow",
    "add",
    "alert",
    "alerts",
    "change",
    "count_rules",
    "delete_resolved",
    "delete_rule",
    "duty",
    "give_up_duty",
    "gone_owners",
    "last_resolved",
    "notices",
    "open_alerts",
    "put_rule",
    "rules",
    "take_duty",
    "tell",
]

#: Open alerts that one evaluation looks at.
MOST_OPEN: Final = 2_000
_DELETED: Final = 1_000
#: Literals: for values that are bound, SQLite does not use a partial index.
_OPEN: Final = ALERTS.c.state.in_(
    [literal_column(f"'{state}'") for state in sorted(ALERT_STATES - {"resolved"})]
)


@dataclass(slots=True, frozen=True)
class RuleRow:
    """A rule as somebody has set it."""

    name: str
    kind: str
    enabled: int
    severity: str
    settings: str
    updated_at: int
    updated_by: str


@dataclass(slots=True, frozen=True)
class AlertRow:
    """An alert as it is stored; `alert_tables.py` says what each field is."""

    id: str
    rule: str
    kind: str
    subject: str
    severity: str
    state: str
    message: str
    details: str
    count: int
    counted: int
    owner: str | None
    first_at: int
    last_at: int
    clear_at: int | None = None
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    resolved_at: int | None = None
    resolved_by: str | None = None


@dataclass(slots=True, frozen=True)
class Notice:
    """What the feed says of an alert."""

    kind: str
    alert_id: str
    body: Mapping[str, Any]


_RULE: Final = [ALERT_RULES.c[name] for name in RuleRow.__slots__]
_ALERT: Final = [ALERTS.c[name] for name in AlertRow.__slots__]


# --- rules


def rules(connection: Connection, limit: int) -> list[RuleRow]:
    """Rules that somebody has set, by name."""
    page = select(*_RULE).order_by(ALERT_RULES.c.name).limit(page_size(limit))
    return [RuleRow(*row) for row in connection.execute(page)]


def count_rules(connection: Connection) -> int:
    """How many there are."""
    found: int = connection.execute(select(func.count()).select_from(ALERT_RULES)).scalar_one()
    return found


def put_rule(connection: Connection, row: RuleRow) -> None:
    """Store a rule, in the place of one of the same name."""
    values = {name: getattr(row, name) for name in RuleRow.__slots__}
    values["updated_at"] = clock(connection)
    made = insert_into(connection, ALERT_RULES).values(**values)
    del values["name"]
    connection.execute(made.on_conflict_do_update(index_elements=["name"], set_=values))


def delete_rule(connection: Connection, name: str) -> bool:
    """Forget what somebody has set; False when nobody had."""
    return connection.execute(delete(ALERT_RULES).where(ALERT_RULES.c.name == name)).rowcount == 1


# --- alerts


def alert(connection: Connection, alert_id: str, *, locked: bool = False) -> AlertRow | None:
    """One alert; locked until the transaction ends, when it is to be changed."""
    found = select(*_ALERT).where(ALERTS.c.id == uuid_text(alert_id))
    row = connection.execute(found.with_for_update() if locked else found).first()
    return None if row is None else AlertRow(*row)


def alerts(
    connection: Connection,
    limit: int,
    *,
    before: str | None = None,
    states: Collection[str] = (),
    rule: str | None = None,
    subject: str | None = None,
    severity: str | None = None,
) -> list[AlertRow]:
    """A page of alerts, the newest first; `before` is the last id seen."""
    page = select(*_ALERT)
    if states and "resolved" not in states:
        page = page.where(_OPEN)
    if states and frozenset(states) != ALERT_STATES - {"resolved"}:
        page = page.where(ALERTS.c.state.in_(sorted(states)))
    for column, value in ((ALERTS.c.rule, rule), (ALERTS.c.subject, subject), (ALERTS.c.severity, severity)):
        if value is not None:
            page = page.where(column == value)
    if before is not None:
        page = page.where(ALERTS.c.id < before)
    return _all(connection, page.order_by(ALERTS.c.id.desc()).limit(page_size(limit)))


def open_alerts(connection: Connection, *, owner: str | None, kinds: Collection[str]) -> list[AlertRow]:
    """Alerts of these kinds that are not over; of one process, or of none in particular. The oldest first."""
    mine: ColumnElement[bool] = ALERTS.c.owner == owner if owner is not None else ALERTS.c.owner.is_(None)
    page = select(*_ALERT).where(_OPEN, mine, ALERTS.c.kind.in_(sorted(kinds)))
    return _all(connection, page.order_by(ALERTS.c.id).limit(MOST_OPEN))


def gone_owners(connection: Connection) -> list[AlertRow]:
    """Open alerts of processes that have ended: nobody else can see whether their cause is gone."""
    alive = select(ENGINES.c.id).where(ENGINES.c.state == literal_column(f"'{EngineState.ALIVE}'"))
    gone = select(*_ALERT).where(_OPEN, ALERTS.c.owner.is_not(None), ALERTS.c.owner.not_in(alive))
    return _all(connection, gone.order_by(ALERTS.c.id).limit(MOST_OPEN))


def last_resolved(connection: Connection, rule: str, subject: str) -> int:
    """When the last alert of a rule on a subject was resolved; 0 when there has been none."""
    page = select(ALERTS.c.resolved_at).where(ALERTS.c.rule == rule, ALERTS.c.subject == subject)
    found: int | None = connection.execute(page.order_by(ALERTS.c.id.desc()).limit(1)).scalar()
    return found or 0


def add(connection: Connection, row: AlertRow) -> bool:
    """Store an alert; False when one of its rule and subject is open."""
    values = {name: getattr(row, name) for name in AlertRow.__slots__}
    made = insert_into(connection, ALERTS).values(**values)
    unique: Any = made.on_conflict_do_nothing(
        index_elements=[ALERTS.c.rule, ALERTS.c.subject], index_where=_OPEN
    )
    return connection.execute(unique.returning(ALERTS.c.id)).first() is not None


def change(connection: Connection, alert_id: str, **values: Any) -> bool:
    """Change columns of an alert that is open; False when it is not."""
    mine = update(ALERTS).where(ALERTS.c.id == alert_id, _OPEN).values(**values)
    return connection.execute(mine).rowcount == 1


def tell(connection: Connection, notice: Notice) -> None:
    """Add a notice to the feed, in the transaction that makes it true."""
    write_notice(connection, notice.kind, notice.alert_id, notice.body)


def notices(
    connection: Connection, after: int, upto: int, limit: int
) -> list[tuple[int, int, str, str, str]]:
    """What the feed says of alerts between two of its numbers: number, instant, event, alert, body."""
    own = NOTICES.c
    page = (
        select(own.seq, own.at, own.kind, own.subject, own.body)
        .where(own.seq > after, own.seq <= upto, own.kind.like("alert.%"))
        .order_by(own.seq)
        .limit(page_size(limit))
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(page)]


def delete_resolved(database: Database, before: int) -> int:
    """Delete alerts that were resolved before an instant, at most a thousand; gives how many."""
    old = (
        select(ALERTS.c.id)
        .where(ALERTS.c.resolved_at.is_not(None), ALERTS.c.resolved_at < before)
        .order_by(ALERTS.c.resolved_at)
        .limit(_DELETED)
    )
    with database.read() as connection:
        found = list(connection.scalars(old))
    for part in chunks(found):
        with database.write() as connection:
            connection.execute(delete(ALERTS).where(ALERTS.c.id.in_(part)))
    return len(found)


def _all(connection: Connection, page: Select[Any]) -> list[AlertRow]:
    return [AlertRow(*row) for row in connection.execute(page)]


# --- duties


def duty(connection: Connection, name: str) -> tuple[str, int, int] | None:
    """Who does it, until when, and when it was done last."""
    page = select(DUTIES.c.holder, DUTIES.c.until, DUTIES.c.done_at).where(DUTIES.c.name == name)
    row = connection.execute(page).first()
    return None if row is None else (row[0], row[1], row[2])


def take_duty(connection: Connection, name: str, holder: str, lease_us: int, *, done: bool = False) -> bool:
    """Take a duty for a while, or keep it; False when somebody else has it. With `done` it counts as done now."""
    now: int = connection.execute(select(clock(connection))).scalar_one()
    free = (DUTIES.c.name == name) & ((DUTIES.c.holder == holder) | (DUTIES.c.until < now))
    values: dict[str, Any] = {"holder": holder, "until": now + lease_us}
    if done:
        values["done_at"] = now
    if connection.execute(update(DUTIES).where(free).values(**values)).rowcount == 1:
        return True
    if connection.execute(select(DUTIES.c.name).where(DUTIES.c.name == name)).first() is not None:
        return False
    first = insert_into(connection, DUTIES).values(**{"name": name, "done_at": 0, **values})
    taken = first.on_conflict_do_nothing(index_elements=["name"]).returning(DUTIES.c.name)
    return connection.execute(taken).first() is not None


def give_up_duty(connection: Connection, name: str, holder: str) -> None:
    """Leave a duty to whoever looks next."""
    connection.execute(update(DUTIES).where(DUTIES.c.name == name, DUTIES.c.holder == holder).values(until=0))
