"""What alerts are made of: rules, what a look at them finds, and alerts as people see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ...engine.outputs import iso
from ...repositories.alert_store import AlertRow

__all__ = ["STATES", "Alert", "AlertHook", "AlertView", "Finding", "Rule", "Severity", "lasting", "view_of"]

Severity = Literal["info", "warning", "critical"]
STATES: Final = ("raised", "acknowledged", "resolved")


@dataclass(slots=True, frozen=True)
class Rule:
    """What is looked for, and how bad it is."""

    name: str
    kind: str
    enabled: bool
    severity: str
    #: Everything that the kind takes, defaults included.
    settings: Mapping[str, Any]
    #: Nobody has changed it.
    default: bool
    about: str
    updated_at: str | None = None
    updated_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        return {**asdict(self), "settings": dict(self.settings)}


@dataclass(slots=True, frozen=True)
class Finding:
    """A cause that a rule has found, now."""

    subject: str
    #: What is the matter, and what to do next; None: as it was said when it was raised.
    message: str | None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: When it happened (microseconds); 0 for what is, and goes on.
    at: int = 0
    #: The numbers of what happened, each of which counts once.
    happenings: tuple[int, ...] = ()


@dataclass(slots=True, frozen=True)
class AlertView:
    """An alert as people see it."""

    id: str
    rule: str
    kind: str
    #: A definition, a run, a queue, an executor, an engine, a database.
    subject: str
    severity: str
    state: str
    #: What is the matter, and what to do next.
    text: str
    details: dict[str, Any]
    #: How often it happened; how often it was seen, for what is and goes on.
    count: int
    first_at: str | None
    last_at: str | None
    acknowledged_at: str | None
    acknowledged_by: str | None
    resolved_at: str | None
    resolved_by: str | None

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        return asdict(self)


@dataclass(slots=True, frozen=True)
class Alert:
    """What a hook is told."""

    #: `alert.raised`, `alert.acknowledged` or `alert.resolved`.
    event: str
    id: str
    rule: str
    subject: str
    severity: str
    text: str
    details: Mapping[str, Any]
    #: When it happened (ISO 8601).
    at: str


#: Called with every alert that is raised, acknowledged or resolved while the process watches.
AlertHook = Callable[[Alert], object]


def view_of(row: AlertRow) -> AlertView:
    """An alert as people see it."""
    return AlertView(
        row.id,
        row.rule,
        row.kind,
        row.subject,
        row.severity,
        row.state,
        row.message,
        json.loads(row.details),
        row.count,
        iso(row.first_at),
        iso(row.last_at),
        iso(row.acknowledged_at),
        row.acknowledged_by,
        iso(row.resolved_at),
        row.resolved_by,
    )


def lasting(seconds: float) -> str:
    """A time span as people say it: `40 s`, `5 min`, `3 h 20 min`, `2 d`."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        rest = minutes % 60
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d"
