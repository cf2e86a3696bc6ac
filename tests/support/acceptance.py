"""Collects which acceptance rows a run has proven.

A test names the rows it proves: `@pytest.mark.row("X-12", "X-27")`. With `--acceptance FILE` the run writes one record
for each such test: its rows, the database it ran on (`sqlite`, `postgres` or none) and its outcome. What counts as
proven is decided from that file by `acceptance_report.py`.

Under xdist the workers send what they collected and the controller writes the file, so that a test whose worker died
appears as `missing` instead of not at all.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROWS_FILE = Path(__file__).resolve().parents[1] / "acceptance_rows.toml"
DATABASES = ("sqlite", "postgres")
#: Fixtures that tie a test to Postgres without the parameter of `db_url`, and to SQLite likewise.
FIXTURES = {
    "pg_server": "postgres",
    "pg_url": "postgres",
    "migrated_pg_url": "postgres",
    "pg_databases": "postgres",
    "sqlite_url": "sqlite",
    "migrated_sqlite_url": "sqlite",
}

Collected = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One acceptance row: its id, the part of the work that owns it, and what it says."""

    id: str
    owner: str
    title: str


def load_rows(path: Path = ROWS_FILE) -> dict[str, Row]:
    """Read the rows in order of their ids."""
    table: dict[str, dict[str, str]] = tomllib.loads(path.read_text())
    rows = [Row(row, owner, title) for owner, titles in table.items() for row, title in titles.items()]
    return {row.id: row for row in sorted(rows, key=lambda row: row.id)}


@dataclass
class Recorder:
    """What a run collected and what became of it."""

    rows: dict[str, Row]
    collected: Collected = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)

    def collect(self, item: pytest.Item) -> None:
        """Note a test's rows and its database.

        Raises:
            pytest.UsageError: the mark names no row, or one that does not exist.
        """
        names: list[str] = []
        for mark in item.iter_markers("row"):
            if not mark.args or mark.kwargs:
                message = f"{item.nodeid}: row() takes one or more row ids"
                raise pytest.UsageError(message)
            names += mark.args
        if not names:
            return
        unknown = sorted({str(name) for name in names} - self.rows.keys())
        if unknown:
            message = f"{item.nodeid}: no acceptance row {', '.join(unknown)} (see {ROWS_FILE.name})"
            raise pytest.UsageError(message)
        self.collected[item.nodeid] = {"rows": sorted(set(names)), "databases": databases(item)}

    def note(self, report: pytest.TestReport) -> None:
        """Fold the report of one phase into the test's outcome; the worst phase counts."""
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "failed"
        elif report.passed and report.when != "call":
            return
        else:
            outcome = report.outcome
        if outcome != "passed" or report.nodeid not in self.outcomes:
            self.outcomes[report.nodeid] = outcome

    def result(self) -> list[dict[str, Any]]:
        """Give one record per test that carries rows."""
        return [
            {"test": test, **facts, "outcome": self.outcomes.get(test, "missing")}
            for test, facts in sorted(self.collected.items())
        ]


KEY = pytest.StashKey[Recorder]()


def databases(item: pytest.Item) -> list[str]:
    """Give the databases a test runs on, by the parameter of `db_url` or by the fixtures it asks for itself."""
    callspec = getattr(item, "callspec", None)
    chosen = callspec.params.get("db_url") if callspec is not None else None
    if chosen is not None:
        return [chosen]
    asked: set[str] = set(getattr(item, "fixturenames", ()))
    return sorted({database for name, database in FIXTURES.items() if name in asked})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--acceptance FILE`."""
    group = parser.getgroup("acceptance rows")
    group.addoption("--acceptance", metavar="FILE", help="write which tests proved which acceptance rows")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and a recorder."""
    config.addinivalue_line("markers", "row(id, ...): the acceptance rows that this test proves")
    config.stash[KEY] = Recorder(load_rows())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check every mark, whether or not a result file is wanted."""
    for item in items:
        config.stash[KEY].collect(item)


class _Results:
    """The hooks that need a result: registered in the one process that sees every report."""

    def __init__(self, recorder: Recorder, path: Path) -> None:
        self.recorder = recorder
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note each phase."""
        self.recorder.note(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker collected."""
        workeroutput: dict[str, Any] = getattr(node, "workeroutput", {})
        self.recorder.collected |= workeroutput.get("acceptance_rows", {})

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.recorder.result(), indent=1) + "\n")


class _Worker:
    """The hook of an xdist worker."""

    def __init__(self, recorder: Recorder, workeroutput: dict[str, Any]) -> None:
        self.recorder = recorder
        self.workeroutput = workeroutput

    def pytest_sessionfinish(self) -> None:
        """Send what this worker collected."""
        self.workeroutput["acceptance_rows"] = self.recorder.collected


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Choose this process's part: writing the result, or sending to who writes it."""
    config = session.config
    workeroutput: dict[str, Any] | None = getattr(config, "workeroutput", None)
    path: str | None = config.getoption("acceptance")
    if workeroutput is not None:
        config.pluginmanager.register(_Worker(config.stash[KEY], workeroutput))
    elif path:
        config.pluginmanager.register(_Results(config.stash[KEY], Path(path)))
