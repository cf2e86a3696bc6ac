"""The acceptance plugin and its report: what counts as proven, and what is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import acceptance_report
from tests.support.acceptance import load_rows

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
import pytest

pytest_plugins = ["tests.support.acceptance"]

@pytest.fixture(params=["sqlite", "postgres"])
def db_url(request):
    return request.param

@pytest.fixture
def migrated_pg_url():
    return "postgres"
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a test module below the plugin and give the run and its records by test."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)

    def run_module(source: str, *options: str) -> tuple[pytest.RunResult, dict[str, dict[str, Any]]]:
        pytester.makepyfile(test_rows=f"import pytest\nrow = pytest.mark.row\n{source}")
        start = pytester.runpytest_subprocess if "-n" in options else pytester.runpytest_inprocess
        result = start("--strict-markers", "--acceptance", "out/result.json", *options)
        path = pytester.path / "out" / "result.json"
        records = json.loads(path.read_text()) if path.exists() else []
        return result, {record["test"].partition("::")[2]: record for record in records}

    return run_module


def proven(records: dict[str, dict[str, Any]], row: str) -> bool:
    """Weigh the records and look at one row."""
    evidence = acceptance_report.weigh(load_rows(), records.values())
    return next(e for e in evidence if e.row.id == row).why_open is None


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_records_rows_databases_and_outcomes(run: Any, options: tuple[str, ...]) -> None:
    result, records = run(
        """
@row("X-12", "X-27")
def test_both(db_url): pass

@row("X-19")
def test_pure(): pass

@row("X-22")
def test_fails(): assert False

def test_without_rows(): pass
""",
        *options,
    )
    result.assert_outcomes(passed=4, failed=1)
    assert {name: (r["rows"], r["databases"], r["outcome"]) for name, r in records.items()} == {
        "test_both[sqlite]": (["X-12", "X-27"], ["sqlite"], "passed"),
        "test_both[postgres]": (["X-12", "X-27"], ["postgres"], "passed"),
        "test_pure": (["X-19"], [], "passed"),
        "test_fails": (["X-22"], [], "failed"),
    }
    assert [row for row in load_rows() if proven(records, row)] == ["X-12", "X-19", "X-27"]


def test_a_row_with_a_test_on_one_database_only_is_open(run: Any) -> None:
    _, records = run(
        """
@row("X-12")
def test_one(migrated_pg_url): pass

@row("X-19")
def test_two(migrated_pg_url): pass

@row("X-19")
def test_three(db_url): pass
"""
    )
    assert records["test_one"]["databases"] == ["postgres"]
    assert not proven(records, "X-12")
    assert proven(records, "X-19")


def test_one_failure_among_several_tests_opens_the_row(run: Any) -> None:
    _, records = run(
        """
@row("X-12")
def test_one(db_url): assert db_url == "sqlite"

@row("X-12")
def test_two(): pass
"""
    )
    assert records["test_one[postgres]"]["outcome"] == "failed"
    assert not proven(records, "X-12")


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("@row('X-12')\n@pytest.mark.skip\ndef test_it(): pass", "skipped"),
        ("@row('X-12')\n@pytest.mark.xfail\ndef test_it(): assert False", "xfailed"),
        ("@row('X-12')\n@pytest.mark.xfail\ndef test_it(): pass", "failed"),
        ("@pytest.fixture\ndef broken(): assert False\n@row('X-12')\ndef test_it(broken): pass", "failed"),
        (
            "@pytest.fixture\ndef leaky():\n yield\n assert False\n@row('X-12')\ndef test_it(leaky): pass",
            "failed",
        ),
    ],
    ids=["skip", "xfail", "xpass", "setup", "teardown"],
)
def test_only_a_plain_pass_counts(run: Any, body: str, outcome: str) -> None:
    _, records = run(body)
    assert records["test_it"]["outcome"] == outcome
    assert not proven(records, "X-12")


def test_a_test_that_kills_its_worker_is_missing_or_failed(run: Any) -> None:
    _, records = run(
        """
import os
@row("X-12")
def test_dies(): os._exit(3)

@row("X-12")
def test_lives(): pass
""",
        "-n",
        "1",
    )
    assert records["test_dies"]["outcome"] in {"failed", "missing"}
    assert not proven(records, "X-12")


@pytest.mark.parametrize("mark", ["row('X-99')", "row()", "row", "row('X-12', database='sqlite')"])
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_mark_without_an_existing_row_is_an_error(run: Any, mark: str, options: tuple[str, ...]) -> None:
    result, _ = run(f"@pytest.mark.{mark}\ndef test_it(): pass\ndef test_other(): pass", *options)
    assert result.ret != 0
    assert "passed" not in result.parseoutcomes()


def test_there_are_172_rows_in_six_parts() -> None:
    rows = load_rows()
    assert len(rows) == 172
    counts = {owner: len(group) for owner, group in _by_owner(rows).items()}
    assert counts == {"apis": 9, "docs": 1, "language": 23, "remote": 57, "spine": 34, "tasks": 48}


def _by_owner(rows: Any) -> dict[str, list[acceptance_report.Evidence]]:
    return acceptance_report.by_owner(acceptance_report.weigh(rows, []))


@pytest.fixture
def result_file(tmp_path: Path) -> Any:
    """Write a result in which every row but one has a passing test without a database."""

    def write(without: str) -> Path:
        records = [
            {"test": f"tests/test_a.py::test_{row}", "rows": [row], "databases": [], "outcome": "passed"}
            for row in load_rows()
            if row != without
        ]
        path = tmp_path / "result.json"
        path.write_text(json.dumps(records))
        return path

    return write


def test_an_open_row_fails_its_owner_and_nobody_else(
    result_file: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, page = str(result_file("X-12")), tmp_path / "acceptance.md"
    assert acceptance_report.main([result, "--owner", "spine", "--write", str(page)]) == 1
    printed = capsys.readouterr().out
    assert "spine: 33 of 34 rows proven" in printed
    assert "open    X-12" in printed
    assert acceptance_report.main([result, "--owner", "tasks"]) == 0
    assert acceptance_report.main([result]) == 1
    first = page.read_text()
    assert "| spine | 33 | 1 |" in first
    acceptance_report.main([result, "--write", str(page)])
    assert page.read_text() == first


def test_an_unknown_owner_is_refused(result_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        acceptance_report.main([str(result_file("X-12")), "--owner", "nobody"])
    assert "choose from apis, docs, language, remote, spine, tasks" in capsys.readouterr().err
