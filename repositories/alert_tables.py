"""Tables of alerts, of their rules, and of who watches. Part of `tables`; nothing on the hot path knows them."""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, Table, Text, text

from .columns import ID, PATH, Base, big, col, key_col, one_of, partial

__all__ = ["ALERTS", "ALERT_RULES", "ALERT_STATES", "DUTIES", "OPEN", "SEVERITIES"]

ALERT_STATES: Final = frozenset({"raised", "acknowledged", "resolved"})
SEVERITIES: Final = frozenset({"info", "warning", "critical"})
#: The rule that an alert is not over yet, as the indexes have it.
OPEN: Final = one_of("state", ALERT_STATES - {"resolved"})


class AlertRule(Base, table=True):
    """A rule as somebody has set it; one that nobody has touched has no row."""

    __tablename__: Any = "alert_rules"
    name: str = key_col(PATH)
    kind: str = col(Text())
    enabled: int = col(Integer())
    severity: str = col(Text())
    #: What the kind takes, as a JSON object.
    settings: str = col(Text())
    updated_at: int = big()
    updated_by: str = col(Text())

    __table_args__: Any = (
        CheckConstraint("enabled IN (0, 1)", name="alert_rules_enabled"),
        CheckConstraint(one_of("severity", SEVERITIES), name="alert_rules_severity"),
    )


class Alert(Base, table=True):
    """Something that somebody should look at: open until its cause is gone, or somebody says so."""

    __tablename__: Any = "alerts"
    id: str = key_col(ID)
    rule: str = col(PATH)
    kind: str = col(Text())
    #: What it is about; with the rule it is unique among those that are open.
    subject: str = col(PATH)
    severity: str = col(Text())
    state: str = col(Text())
    #: What is the matter, and what to do next.
    message: str = col(Text())
    #: The same as a JSON object.
    details: str = col(Text())
    #: How often the cause was seen, or has happened.
    count: int = col(BigInteger())
    #: The last happening that was counted; 0 where nothing happens, but is.
    counted: int = col(BigInteger(), default="0")
    #: The process that alone can see whether the cause is gone.
    owner: str | None = col(ID, null=True)
    first_at: int = big()
    last_at: int = big()
    #: Since when the cause is not seen any more.
    clear_at: int | None = big(null=True)
    acknowledged_at: int | None = big(null=True)
    acknowledged_by: str | None = col(Text(), null=True)
    resolved_at: int | None = big(null=True)
    #: Who or what resolved it.
    resolved_by: str | None = col(Text(), null=True)

    __table_args__: Any = (
        Index(
            "alerts_one_open",
            "rule",
            "subject",
            unique=True,
            postgresql_where=text(OPEN),
            sqlite_where=text(OPEN),
        ),
        Index("alerts_subject", "rule", "subject", "id"),
        partial("alerts_open", "id", where=OPEN),
        partial("alerts_resolved", "resolved_at", where="resolved_at IS NOT NULL"),
        CheckConstraint(one_of("state", ALERT_STATES), name="alerts_state"),
        CheckConstraint(one_of("severity", SEVERITIES), name="alerts_severity"),
        CheckConstraint("(state = 'resolved') = (resolved_at IS NOT NULL)", name="alerts_resolved_at"),
    )


class Duty(Base, table=True):
    """What one process at a time does for all that share the database; anybody's when the time is over."""

    __tablename__: Any = "duties"
    name: str = key_col(Text())
    holder: str = col(ID)
    until: int = big()
    #: When it was done last.
    done_at: int = big()


ALERT_RULES: Final = cast("Table", vars(AlertRule)["__table__"])
ALERTS: Final = cast("Table", vars(Alert)["__table__"])
DUTIES: Final = cast("Table", vars(Duty)["__table__"])
