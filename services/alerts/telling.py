"""Tells the hooks of this process of every alert, whoever raised it, once.

What this process raises itself is told at once; the rest comes from the feed, which a long transaction may hold back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ...engine.outputs import iso
from ...repositories import alert_store, feed
from .model import Alert
from .service import notice_of

if TYPE_CHECKING:
    from ...repositories.alert_store import AlertRow
    from ...repositories.database import Database
    from ...repositories.feed import Horizon
    from .model import AlertHook

__all__ = ["Teller"]

log: Final = logging.getLogger("strataflow.alerts")
_PAGE: Final = 500


class Teller:
    """Calls hooks for what happens from now on; what a hook raises is logged. Without hooks nothing is read."""

    def __init__(self, database: Database, hooks: Sequence[AlertHook]) -> None:
        self._database = database
        self._hooks = tuple(hooks)
        self._cursor = 0
        #: Event and alert that were told before the feed has come to them.
        self._told = set[tuple[str, str]]()
        #: A place in the feed that may not be final yet.
        self._seen: Horizon | None = None
        if self._hooks:
            with database.read() as session:
                self._cursor = feed.horizon(session).last

    def run_once(self) -> None:
        """Tell what has become final since the round before."""
        if not self._hooks:
            return
        with self._database.read() as session:
            now = feed.horizon(session)
            seen = self._seen if self._seen is not None and not now.quiet else now
            if not seen.quiet and now.ended < seen.begun:
                self._seen = seen  # a transaction that ran when it was seen has not ended yet
                return
            self._seen = None if now.quiet else now
            notices = alert_store.notices(session, self._cursor, seen.last, _PAGE)
        for seq, at, kind, subject, text in notices:
            self._cursor = seq
            if (kind, subject) in self._told:
                self._told.remove((kind, subject))
            else:
                self._tell(kind, at, subject, json.loads(text))
        if len(notices) < _PAGE:
            self._cursor = max(self._cursor, seen.last)

    def tell_now(self, event: str, row: AlertRow, by: str | None, now: int) -> None:
        """Tell of a change that this process has just committed."""
        if self._hooks:
            self._told.add((event, row.id))
            self._tell(event, now, row.id, notice_of(event, row, by=by).body)

    def _tell(self, kind: str, at: int, subject: str, body: Mapping[str, Any]) -> None:
        alert = Alert(
            kind, subject, body["rule"], body["subject"], body["severity"], body["text"], body, iso(at) or ""
        )
        for hook in self._hooks:
            try:
                hook(alert)
            except Exception:
                name = getattr(hook, "__name__", type(hook).__name__)
                log.exception("a hook failed", extra={"action": "hook_failed", "hook": name})
