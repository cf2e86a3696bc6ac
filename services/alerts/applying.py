"""What findings make of the alerts that stand: raised once while open, resolved when the cause is gone."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from ...engine.membership import new_id
from ...repositories import alert_store
from ...repositories.alert_store import AlertRow
from ...repositories.database import Session
from .kinds import seconds_of
from .looking import Look
from .model import Finding, Rule
from .service import notice_of

__all__ = ["MOST", "Applied", "apply", "resolve"]

#: Open alerts of one rule; how many more there would be stands in one that is about all of them.
MOST: Final = 100
#: The subject of that one.
MORE: Final = "*"
_LONGEST: Final = 2_000
_US: Final = 1_000_000
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


@dataclass(slots=True, frozen=True)
class Applied:
    """A change that was made."""

    event: str
    row: AlertRow
    why: str = ""

    def log(self, log: logging.Logger) -> None:
        """Say it in the log, after the commit."""
        row = self.row
        extra = {
            "action": self.event.replace(".", "_"),
            "alert": row.id,
            "rule": row.rule,
            "subject": row.subject,
            "severity": row.severity,
        }
        if self.event == "alert.raised":
            log.log(_LEVELS[row.severity], "alert raised: %s", row.message, extra=extra)
        else:
            log.info("alert resolved (%s): %s", self.why, row.message, extra=extra)


@dataclass(slots=True, frozen=True)
class _Round:
    session: Session
    look: Look
    #: By rule, the subjects of which the cause has held long enough.
    due: Mapping[str, AbstractSet[str]]
    #: The process that alone can see what this round looked at.
    owner: str | None


def apply(
    session: Session,
    look: Look,
    due: Mapping[str, AbstractSet[str]],
    rows: Sequence[AlertRow],
    owner: str | None,
) -> list[Applied]:
    """Raise, go on with, and resolve alerts, in a write transaction; gives what was raised and resolved.

    A rule that could not be looked at leaves its alerts as they are.
    """
    done: list[Applied] = []
    this = _Round(session, look, due, owner)
    standing: dict[str, dict[str, AlertRow]] = {}
    for row in rows:
        standing.setdefault(row.rule, {})[row.subject] = row
    for rule in look.rules:
        known = standing.pop(rule.name, {})
        if not rule.enabled:
            done += [resolve(session, row, look.now, "its rule is off") for row in known.values()]
        elif rule.name in look.found:
            done += _apply_rule(this, rule, _bounded(look.found[rule.name], known), known)
    for known in standing.values():
        done += [resolve(session, row, look.now, "its rule is gone") for row in known.values()]
    return done


def resolve(session: Session, row: AlertRow, now: int, why: str) -> Applied:
    """Say in a write transaction that an alert is over."""
    alert_store.change(session, row.id, state="resolved", resolved_at=now, resolved_by=why)
    alert_store.tell(session, notice_of("alert.resolved", row, by=why))
    return Applied("alert.resolved", row, why)


def _apply_rule(
    this: _Round, rule: Rule, findings: Sequence[Finding], known: Mapping[str, AlertRow]
) -> list[Applied]:
    session, look, done = this.session, this.look, list[Applied]()
    due = this.due.get(rule.name, frozenset[str]())
    for finding in findings:
        row = known.get(finding.subject)
        if row is not None:
            _go_on(session, rule, row, finding, look.now)
        elif finding.subject in due or finding.subject == MORE:
            done += _raise(this, rule, finding)
    seen = {finding.subject for finding in findings}
    wait = int(seconds_of(rule.settings, "clear_after") * _US)
    for subject, row in known.items():
        if subject in seen:
            continue
        since = look.now if row.clear_at is None else row.clear_at
        if look.now - since >= wait:
            done.append(resolve(session, row, look.now, "its cause is gone"))
        elif row.clear_at is None:
            alert_store.change(session, row.id, clear_at=look.now)
    return done


def _bounded(findings: Sequence[Finding], known: Mapping[str, AlertRow]) -> list[Finding]:
    """As many as one rule may have open: those that are open already, then the first; and how many more there are."""
    if len(findings) <= MOST:
        return list(findings)
    ordered = sorted(findings, key=lambda finding: finding.subject not in known)
    more = len(ordered) - MOST
    text = f"There are {more:,} more like the {MOST} that have alerts of their own."
    return [*ordered[:MOST], Finding(MORE, text, {"more": more})]


def _raise(this: _Round, rule: Rule, finding: Finding) -> list[Applied]:
    session, now = this.session, this.look.now
    if finding.message is None:
        return []
    if finding.at and alert_store.last_resolved(session, rule.name, finding.subject) >= finding.at:
        return []  # what happened has been dealt with
    row = AlertRow(
        id=new_id(),
        rule=rule.name,
        kind=rule.kind,
        subject=finding.subject,
        severity=rule.severity,
        state="raised",
        message=finding.message[:_LONGEST],
        details=_details(finding),
        count=max(1, len(finding.happenings)),
        counted=max(finding.happenings, default=0),
        owner=this.owner,
        first_at=now,
        last_at=now,
    )
    if not alert_store.add(session, row):
        return []
    alert_store.tell(session, notice_of("alert.raised", row))
    return [Applied("alert.raised", row)]


def _go_on(session: Session, rule: Rule, row: AlertRow, finding: Finding, now: int) -> None:
    fresh = sum(number > row.counted for number in finding.happenings) if finding.happenings else 1
    values: dict[str, Any] = {"last_at": now, "clear_at": None, "severity": rule.severity}
    values["count"] = row.count + fresh
    if finding.happenings:
        values["counted"] = max(row.counted, *finding.happenings)
    if finding.message is not None:
        values |= {"message": finding.message[:_LONGEST], "details": _details(finding)}
    alert_store.change(session, row.id, **values)


def _details(finding: Finding) -> str:
    return json.dumps(dict(finding.details), separators=(",", ":"))
