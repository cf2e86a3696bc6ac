"""Alerts across processes: who evaluates is killed and another goes on; the commands; worker and serve watch."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strataflow.repositories.database import Database
from strataflow.services.alerts.service import AlertService
from tests.integration.alert_kit import holder
from tests.integration.kit import until
from tests.support.cli import Cli

FAIL: dict[str, Any] = {"a": {"run": "core.fail", "with": {"message": "no such account", "retryable": False}}}
#: A process that watches a database until it is killed.
WATCH = """
import sys, threading
from strataflow.services.container import Options, running
with running(Options(url=sys.argv[1], watches=True, watch_s=0.1, notify=False)):
    print("up", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def ran(db_url: str, tmp_path: Path) -> Iterator[Cli]:
    """Give the command line on a new database."""
    with closing(Cli(db_url, tmp_path)) as made:
        yield made


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    with closing(Database(db_url)) as made:
        yield made


def watching(url: str) -> subprocess.Popen[str]:
    """Start one and wait until it does."""
    process = subprocess.Popen([sys.executable, "-c", WATCH, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_another_goes_on_when_who_evaluates_is_killed(ran: Cli, database: Database) -> None:
    alerts = AlertService(database)
    first = watching(ran.url)
    second = None
    try:
        killed = until(lambda: holder(database))
        second = watching(ran.url)
        assert holder(database) == killed
        ran("run", ran.flow(FAIL, name="pay"), code=1)
        until(lambda: list(alerts.list(rule="run_failed")))
        first.send_signal(signal.SIGKILL)
        first.wait()
        until(lambda: holder(database) != killed)
        ran("run", ran.flow(FAIL, name="ship"), code=1)
        until(lambda: len(list(alerts.list(rule="run_failed"))) == 2)
        found = list(alerts.list(rule="run_failed"))
        assert [(each.subject, each.count) for each in found] == [("ship", 1), ("pay", 1)]
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.communicate()


def test_a_worker_watches(ran: Cli, database: Database) -> None:
    worker = ran.spawn("worker")
    until(lambda: holder(database))
    worker.send_signal(signal.SIGTERM)
    worker.communicate()
    assert worker.returncode == 0


# --- the commands


def alerted(ran: Cli, database: Database) -> Any:
    """Let a run fail, and a process raise its alert; gives what is listed."""
    ran("run", ran.flow(FAIL, name="pay"), code=1)
    process = watching(ran.url)
    try:
        until(lambda: list(AlertService(database).list()))
    finally:
        process.kill()
        process.communicate()
    (found,) = [each for each in ran("alerts", "list", "--json").json if each["rule"] == "run_failed"]
    return found


def test_alerts_are_listed_shown_acknowledged_and_resolved(ran: Cli, database: Database) -> None:
    alert = alerted(ran, database)
    assert (alert["subject"], alert["state"]) == ("pay", "raised")
    assert "no such account" in ran("alerts", "list").out
    assert "strataflow retry" in ran("alerts", "show", alert["id"]).out
    assert ran("alerts", "ack", alert["id"], "--json").json["state"] == "acknowledged"
    assert "acknowledged" in ran("alerts", "show", alert["id"]).out
    assert ran("alerts", "list", "--severity", "critical", "--json").json == []
    assert "resolved" in ran("alerts", "resolve", alert["id"]).out
    assert ran("alerts", "list", "--rule", "run_failed", "--json").json == []
    assert ran("alerts", "list", "--all", "--subject", "pay", "--json").json[0]["id"] == alert["id"]
    assert "is resolved" in ran("alerts", "ack", alert["id"], code=None).err
    assert "there is no alert" in ran("alerts", "show", "nothing", code=None).err


def test_rules_are_changed_added_and_made_what_they_were(ran: Cli) -> None:
    assert "failure_rate" in ran("alerts", "rules").out
    ran("alerts", "set-rule", "failure_rate", "--set", "share=0.2", "--set", "window=1h")
    ran("alerts", "set-rule", "failure_rate", "--severity", "info", "--off")
    rules = {each["name"]: each for each in ran("alerts", "rules", "--json").json}
    changed = rules["failure_rate"]
    assert (changed["settings"]["share"], changed["settings"]["window"]) == (0.2, "1h")
    assert (changed["severity"], changed["enabled"], changed["default"]) == ("info", False, False)
    own = ran("alerts", "set-rule", "bills", "--kind", "queue_depth", "--set", "depth=7", "--json").json
    assert (own["kind"], own["settings"]["depth"]) == ("queue_depth", 7)
    assert "as it was shipped" in ran("alerts", "reset-rule", "failure_rate").out
    assert "deleted" in ran("alerts", "reset-rule", "bills").out
    assert "share: must lie" in ran("alerts", "set-rule", "failure_rate", "--set", "share=2", code=None).err
    assert "assigns nothing" in ran("alerts", "set-rule", "failure_rate", "--set", "share", code=2).err
    assert "there is no rule" in ran("alerts", "reset-rule", "bills", code=None).err
