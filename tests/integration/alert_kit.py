"""What tests of alerts share: a watch that comes round when it is told to, and what it raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import update

from strataflow import Alert, MonitoringService
from strataflow.engine.feed import Event, EventFeed
from strataflow.repositories import alert_store
from strataflow.repositories.database import Database
from strataflow.repositories.tables import ALERTS, DUTIES
from strataflow.services.alerts.model import AlertView
from strataflow.services.alerts.service import AlertService
from strataflow.services.alerts.watch import Watch
from strataflow.services.explain import Explainer
from tests.integration.kit import Flow

HOUR_US = 3_600_000_000


class Watched:
    """A flow, its alerts, and watches over it."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.alerts = AlertService(flow.database)
        self.told: list[Alert] = []
        self.watch = self.another(self.told.append)

    def another(self, *hooks: Callable[[Alert], object], every_s: float = 15.0) -> Watch:
        """One more, as another process would have it."""
        engine = self.flow.engine
        explainer = Explainer(engine.database, engine.parts.catalog)
        return Watch(engine, explainer, every_s=every_s, hooks=hooks)

    def rule(self, name: str, **more: Any) -> None:
        """Set a rule; what is a setting is given as such."""
        fields = {key: more.pop(key) for key in ("kind", "enabled", "severity") if key in more}
        self.alerts.rules.put(name, "tests", settings=more, **fields)

    def only(self, *names: str) -> None:
        """Switch off every other rule."""
        for rule in self.alerts.rules.list():
            if rule.name not in names:
                self.alerts.rules.put(rule.name, "tests", enabled=False, settings=rule.settings)

    def round(self) -> list[AlertView]:
        """Let it come round; gives what is open."""
        self.watch.run_once()
        return self.open()

    def open(self) -> list[AlertView]:
        return list(self.alerts.list(states=("raised", "acknowledged")))

    def all(self) -> list[AlertView]:
        return list(self.alerts.list())

    def events(self) -> list[Event]:
        """What the feed says of alerts."""
        found: list[Event] = []
        feed, cursor = EventFeed(self.flow.database), 0
        while True:
            page = feed.read(cursor, names=["alert.*"])
            found += page.events
            if not page.more:
                return found
            cursor = page.cursor


def age(database: Database, **columns: Any) -> None:
    """Change columns of every alert, to move time."""
    with database.write() as session:
        session.execute(update(ALERTS).values(**columns))


def end_duty(database: Database) -> None:
    """Let the time of whoever watches be over, as if it had died a while ago."""
    with database.write() as session:
        session.execute(update(DUTIES).values(until=0))


def holder(database: Database) -> str | None:
    with database.read() as session:
        found = alert_store.duty(session, "alerts")
    return None if found is None else found[0]


def monitoring(flow: Flow) -> MonitoringService:
    return MonitoringService.of(flow.engine)
