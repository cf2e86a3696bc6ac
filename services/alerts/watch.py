"""Evaluates the rules, round by round: one process at a time for all, and each process for what only it can see.

Who evaluates holds the duty `alerts` in the database for a few rounds; when it dies, the next one that looks takes it.
What a round found is written in one transaction, which asks for the duty once more: two never raise the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ...engine.membership import new_id
from ...repositories import alert_store, views
from ...repositories.errors import RepositoryError
from .applying import Applied, apply, resolve
from .ends import look_at_failures, look_at_rates
from .fleet import look_at_engines, look_at_queues, look_at_server
from .going import GoingRuns
from .kinds import KINDS, seconds_of
from .looking import Look
from .own import OwnFacts
from .rules import rules_in
from .telling import Teller

if TYPE_CHECKING:
    from ...engine.workflow_engine import WorkflowEngine
    from ...repositories.alert_store import AlertRow
    from ...repositories.database import Session
    from ..explain import Explainer
    from .model import AlertHook, Rule

__all__ = ["DUTY", "Watch"]

log: Final = logging.getLogger("strataflow.alerts")
DUTY: Final = "alerts"
#: Rounds for which who evaluates keeps the duty.
_ROUNDS: Final = 3
_LEAST_LEASE_S: Final = 1.0
#: Between two looks for alerts that were resolved long ago, and how long those are kept.
_TIDY_S: Final = 3_600.0
_KEPT_US: Final = 30 * 86_400_000_000
_US: Final = 1_000_000
_SHARED: Final = frozenset(kind.name for kind in KINDS.values() if not kind.own)
_OWN: Final = frozenset(kind.name for kind in KINDS.values() if kind.own)


class Watch:
    """Watches one database for one process. `run_once` is one round; a background loop calls it."""

    def __init__(
        self,
        engine: WorkflowEngine,
        explainer: Explainer,
        *,
        every_s: float,
        hooks: Sequence[AlertHook] = (),
    ) -> None:
        self._engine = engine
        self._database = engine.database
        self._explainer = explainer
        self._lease_us = int(max(_LEAST_LEASE_S, every_s * _ROUNDS) * _US)
        self._me = new_id()
        self._going, self._own = GoingRuns(), OwnFacts()
        self._teller = Teller(engine.database, hooks)
        #: Rule and subject of what is not raised yet, and since when it has been so.
        self._since: dict[tuple[str, str], float] = {}
        self._tidied = time.monotonic()

    def run_once(self) -> None:
        """One round. Raises RepositoryError when the database cannot be asked."""
        self._look_at_myself()
        if self._holds_duty():
            self._look_for_all()
            self._tidy()
        self._teller.run_once()

    def close(self) -> None:
        """Leave the duty to others."""
        with self._database.write() as session:
            alert_store.give_up_duty(session, DUTY, self._me)

    # --- one for all

    def _holds_duty(self) -> bool:
        with self._database.read() as session:
            found, now = alert_store.duty(session, DUTY), views.now(session)
        if found is not None and found[0] != self._me and found[1] >= now:
            return False
        with self._database.write() as session:
            return alert_store.take_duty(session, DUTY, self._me, self._lease_us)

    def _look_for_all(self) -> None:
        look = self._begin(_SHARED, None)
        checks: tuple[Callable[[Look], None], ...] = (
            look_at_failures,
            look_at_rates,
            self._going.look,
            look_at_queues,
            look_at_engines,
            look_at_server,
        )
        for check in checks:
            _careful(check, look)
        self._write(look, _SHARED, None)

    # --- each for itself

    def _look_at_myself(self) -> None:
        me, pools = self._engine.parts.engine_id, self._database.connections()
        look = self._begin(_OWN, me)
        look.pools = pools  # as they were before this had to wait for one itself
        _careful(self._own.look, look)
        if any(look.found.values()) or any(look.open.values()):
            self._write(look, _OWN, me)

    # --- both

    def _begin(self, kinds: frozenset[str], owner: str | None) -> Look:
        with self._database.read() as session:
            rules = [rule for rule in rules_in(session) if rule.kind in kinds]
            rows = alert_store.open_alerts(session, owner=owner, kinds=kinds)
            found, now = alert_store.duty(session, DUTY), views.now(session)
        return Look(
            database=self._database,
            now=now,
            rules=rules,
            open=_by_rule(rows),
            done_at=found[2] if found is not None and owner is None else 0,
            explainer=self._explainer,
            engine=self._engine,
        )

    def _write(self, look: Look, kinds: frozenset[str], owner: str | None) -> None:
        due = self._due(look)
        with self._database.write() as session:
            if owner is None and not alert_store.take_duty(
                session, DUTY, self._me, self._lease_us, done=True
            ):
                return  # somebody else has it since
            rows = alert_store.open_alerts(session, owner=owner, kinds=kinds)
            gone = alert_store.gone_owners(session) if owner is None else []
            applied = apply(session, look, due, rows, owner)
            applied += _of_the_gone(session, gone, look.now)
        for each in applied:
            each.log(log)
            self._teller.tell_now(each.event, each.row, each.why or None, look.now)

    def _due(self, look: Look) -> dict[str, set[str]]:
        """By rule, the subjects of which the cause has held long enough."""
        now = time.monotonic()
        due: dict[str, set[str]] = {}
        seen = set[tuple[str, str]]()
        for rule in look.rules:
            wait = _hold_s(rule)
            for finding in look.found.get(rule.name, ()):
                key = (rule.name, finding.subject)
                seen.add(key)
                if now - self._since.setdefault(key, now) >= wait:
                    due.setdefault(rule.name, set()).add(finding.subject)
        names = {rule.name for rule in look.rules}
        for key in [key for key in self._since if key[0] in names and key not in seen]:
            del self._since[key]
        return due

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied < _TIDY_S:
            return
        self._tidied = time.monotonic()
        with self._database.read() as session:
            before = views.now(session) - _KEPT_US
        alert_store.delete_resolved(self._database, before)


def _careful(check: Callable[[Look], None], look: Look) -> None:
    """One look that fails must not keep others from theirs; the database being away is everybody's trouble."""
    try:
        check(look)
    except RepositoryError:
        raise
    except Exception:
        log.exception("a look for causes of alerts failed", extra={"action": "alert_look_failed"})


def _by_rule(rows: Sequence[AlertRow]) -> dict[str, list[AlertRow]]:
    found: dict[str, list[AlertRow]] = {}
    for row in rows:
        found.setdefault(row.rule, []).append(row)
    return found


def _hold_s(rule: Rule) -> float:
    return seconds_of(rule.settings, "hold") if "hold" in rule.settings else 0.0


def _of_the_gone(session: Session, rows: Sequence[AlertRow], now: int) -> list[Applied]:
    return [resolve(session, row, now, "its process has ended") for row in rows]
