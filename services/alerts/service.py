"""Alerts as people deal with them: listed, acknowledged, resolved."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from ...engine.errors import Conflict, NotFound
from ...engine.translate import engine_errors
from ...repositories import alert_store, views
from ...repositories.alert_store import AlertRow, Notice
from ...repositories.database import Database, Session
from .model import AlertView, view_of
from .rules import RuleBook

__all__ = ["AlertService", "notice_of"]

_PAGE: Final = 500


class AlertService:
    """Use cases of alerts on one database; `rules` has those of their rules."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.rules: Final = RuleBook(database)

    def list(
        self,
        *,
        states: Collection[str] = (),
        rule: str | None = None,
        subject: str | None = None,
        severity: str | None = None,
        before: str | None = None,
    ) -> Iterator[AlertView]:
        """Alerts, the newest first, in the states that are named, or in all; `before` is the last id seen."""
        given: dict[str, Any] = {"states": states, "rule": rule, "subject": subject, "severity": severity}
        while True:
            with engine_errors(), self._database.read() as session:
                page = alert_store.alerts(session, _PAGE, before=before, **given)
            yield from map(view_of, page)
            if len(page) < _PAGE:
                return
            before = page[-1].id

    def get(self, alert_id: str) -> AlertView:
        """One alert. Raises NotFound."""
        with engine_errors(), self._database.read() as session:
            return view_of(_given(alert_store.alert(session, alert_id), alert_id))

    def acknowledge(self, alert_id: str, who: str) -> AlertView:
        """Say that somebody sees to it: it stays open, and is not raised anew. Raises NotFound, Conflict."""
        with engine_errors(), self._database.write() as session:
            row, now = _open(session, alert_id), views.now(session)
            if row.state == "raised":
                values = {"state": "acknowledged", "acknowledged_at": now, "acknowledged_by": who}
                alert_store.change(session, row.id, **values)
                alert_store.tell(session, notice_of("alert.acknowledged", row, by=who))
        return self.get(alert_id)

    def resolve(self, alert_id: str, who: str) -> AlertView:
        """Say that it is over. While its cause goes on it is raised anew. Raises NotFound, Conflict."""
        with engine_errors(), self._database.write() as session:
            row, now = _open(session, alert_id), views.now(session)
            alert_store.change(session, row.id, state="resolved", resolved_at=now, resolved_by=who)
            alert_store.tell(session, notice_of("alert.resolved", row, by=who))
        return self.get(alert_id)


def notice_of(event: str, row: AlertRow, *, by: str | None = None) -> Notice:
    """What the feed says of an alert, and hence webhooks, streams and hooks."""
    body: dict[str, Any] = {
        "alert": row.id,
        "rule": row.rule,
        "kind": row.kind,
        "subject": row.subject,
        "severity": row.severity,
        "text": row.message,
        "by": by,
    }
    return Notice(event, row.id, body)


def _given(row: AlertRow | None, alert_id: str) -> AlertRow:
    if row is None:
        raise NotFound(
            f"there is no alert {alert_id[:80]}.", hint="`strataflow alerts list --all` shows what there is."
        )
    return row


def _open(session: Session, alert_id: str) -> AlertRow:
    row = _given(alert_store.alert(session, alert_id, locked=True), alert_id)
    if row.state == "resolved":
        raise Conflict(f"alert {row.id} is resolved.", hint="It is raised anew if its cause comes back.")
    return row
