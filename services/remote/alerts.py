"""Alerts of a server, and the rules that raise them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from ...engine.errors import NotFound
from ...repositories.readmodels import uuid_text
from ..alerts.model import AlertView, Rule
from .client import Remote, at
from .records import revive

__all__ = ["RemoteAlerts", "RemoteRules"]


class RemoteRules:
    """As `RuleBook`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def list(self) -> list[Rule]:
        """Every rule by name."""
        return [revive(Rule, each) for each in self._remote.pages("/alerts/rules")]

    def get(self, name: str) -> Rule:
        """One rule. Raises NotFound."""
        return revive(Rule, self._remote.get(at("alerts", "rules", name)))

    def put(
        self,
        name: str,
        who: str,
        *,
        kind: str | None = None,
        enabled: bool = True,
        severity: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Rule:
        """Set a rule, all of it; who it was is the token's owner. Raises RequestError."""
        del who
        body = {"kind": kind, "enabled": enabled, "severity": severity, "settings": dict(settings or {})}
        return revive(Rule, self._remote.send("PUT", at("alerts", "rules", name), body))

    def reset(self, name: str) -> Rule | None:
        """Make a shipped rule what it was, and give it; delete one that was added. Raises NotFound."""
        self._remote.send("DELETE", at("alerts", "rules", name))
        return next((rule for rule in self.list() if rule.name == name), None)


class RemoteAlerts:
    """As `AlertService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.rules: Final = RemoteRules(remote)

    def list(
        self,
        *,
        states: Collection[str] = (),
        rule: str | None = None,
        subject: str | None = None,
        severity: str | None = None,
    ) -> Iterator[AlertView]:
        """Alerts, the newest first."""
        given = {"state": sorted(states), "rule": rule, "subject": subject, "severity": severity}
        query = {name: value for name, value in given.items() if value}
        for each in self._remote.pages("/alerts", query):
            yield revive(AlertView, each)

    def get(self, alert_id: str) -> AlertView:
        """One alert. Raises NotFound."""
        return revive(AlertView, self._remote.get(at("alerts", _known(alert_id))))

    def acknowledge(self, alert_id: str, who: str) -> AlertView:
        """Say that somebody sees to it; who is the token's owner. Raises NotFound, Conflict."""
        del who
        return revive(AlertView, self._remote.send("POST", at("alerts", _known(alert_id), "acknowledge")))

    def resolve(self, alert_id: str, who: str) -> AlertView:
        """Say that it is over; who is the token's owner. Raises NotFound, Conflict."""
        del who
        return revive(AlertView, self._remote.send("POST", at("alerts", _known(alert_id), "resolve")))


def _known(alert_id: str) -> str:
    """The id of an alert. Raises NotFound for what is none, in the words of a database."""
    found = uuid_text(alert_id)
    if found is None:
        hint = "`strataflow alerts list --all` shows what there is."
        raise NotFound(f"there is no alert {alert_id[:80]}.", hint=hint)
    return found
