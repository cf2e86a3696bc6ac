"""The examples run on both databases, and what they say about real input is true."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
import sysconfig
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strataflow import ExecutorError, TaskContext, WorkflowEngine, WorkflowStatus
from strataflow.executors import default_registry

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CENSUS = EXAMPLES / "stdlib_census"
ACME = EXAMPLES / "acme_users"


@pytest.fixture(autouse=True)
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own: examples write into the current one."""
    folder = tmp_path / "away"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def census(url: str, **inputs: Any) -> WorkflowStatus:
    """Run the census and give its last status."""
    registry = default_registry(entry_points=False)
    registry.import_module(str(CENSUS / "census.py"))
    with WorkflowEngine(url, registry=registry) as engine:
        return engine.wait_now(engine.start_now(CENSUS / "workflow.json", inputs), 50)


def test_the_census_knows_the_standard_library(db_url: str, away: Path) -> None:
    status = census(db_url, only=["ast", "json*", "marshal", "dis", "opcode"], top=3)
    assert status.state == "completed", status.error
    source = (Path(sysconfig.get_path("stdlib")) / "ast.py").read_text(encoding="utf-8")
    assert status.output["modules"]["skipped"] == 1  # marshal is compiled into the interpreter
    assert status.output["modules"]["completed"] == status.output["modules"]["total"] - 1 >= 8
    assert status.output["not_parsed"] == []
    report = (away / "census-report.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| ast \| (\d+) \| (\d+) \|$", report, flags=re.MULTILINE)
    assert int(row[0]) > 100
    assert int(row[1]) == len(source.splitlines())
    assert status.output["totals"]["functions"] > len(re.findall(r"^ *def ", source, re.MULTILINE)) > 100


def test_the_census_counts_what_a_walk_finds(db_url: str) -> None:
    status = census(db_url, only=["ast"])
    tree = ast.parse((Path(sysconfig.get_path("stdlib")) / "ast.py").read_bytes())
    counted = {
        "classes": sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        "functions": sum(isinstance(node, ast.FunctionDef) for node in ast.walk(tree)),
    }
    assert {name: status.output["totals"][name] for name in counted} == counted
    assert status.output["longest_function"]["name"].startswith("ast.")


def test_modules_that_are_too_new_are_left_out(db_url: str, away: Path, tmp_path: Path) -> None:
    code = Path(folder_with(tmp_path / "code", good=40, bad=0))
    (code / "newer.py").write_text("match 1:\n    case 1:\n        pass\n")
    assert census(db_url, folder=str(code)).output["modules"]["completed"] == 41
    status = census(db_url, folder=str(code), minor=9)
    assert status.output["not_parsed"] == ["newer"]
    assert "read as Python 3.9" in (away / "census-report.md").read_text(encoding="utf-8")


def folder_with(path: Path, *, good: int, bad: int) -> str:
    """Write some modules, of which the last do not parse."""
    path.mkdir()
    for number in range(good):
        (path / f"good{number}.py").write_text(f"import os\n\n\ndef f{number}():\n    return os\n")
    for number in range(bad):
        (path / f"wrong{number}.py").write_text("def (:\n")
    return str(path)


def test_a_census_tolerates_a_few_files_that_do_not_parse(db_url: str, tmp_path: Path) -> None:
    status = census(db_url, folder=folder_with(tmp_path / "code", good=99, bad=2))
    assert status.state == "completed", status.error
    assert status.output["modules"]["failed"] == 2
    assert status.output["totals"]["functions"] == 99
    assert status.output["not_parsed"] == ["wrong0", "wrong1"]


def test_a_census_of_too_many_broken_files_fails(db_url: str, tmp_path: Path, away: Path) -> None:
    status = census(db_url, folder=folder_with(tmp_path / "code", good=8, bad=2))
    assert status.state == "failed"
    assert status.error["code"] == "join"
    assert "DoesNotParse" in str(status.error["cause"])
    assert not (away / "census-report.md").exists()


def test_a_census_of_nothing_says_so(db_url: str) -> None:
    status = census(db_url, only=["no_such_module"])
    assert status.state == "failed"
    assert status.error["code"] == "census.NothingFound"
    assert "no_such_module" in status.error["message"]


def test_an_attempt_that_dies_after_its_effect_creates_nobody_twice(
    db_url: str, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ACME / "src"))
    from acme_users import executors  # pyright: ignore[reportMissingImports] - an example, not a dependency

    def create(ctx: TaskContext, config: Any) -> Any:
        found = executors.create(ctx, config)
        if ctx.attempt == 1:
            raise ExecutorError("the connection was lost after the commit")
        return found

    registry = default_registry(entry_points=False)
    registry.register_executor_domain(executors.user)
    registry.register_executor("user.creator", create, config=executors.CreatorConfig, replace=True)
    people = [{"name": f"User {n}", "email": f"user{n}@acme.example"} for n in range(12)]
    with WorkflowEngine(db_url, registry=registry) as engine:
        status = engine.wait_now(engine.start_now(ACME / "workflow.json", {"users": people}), 50)
    assert status.state == "completed", status.error
    assert len(status.output["created"]) == 12
    with closing(sqlite3.connect(away / "users.db")) as db:
        (count,) = db.execute("SELECT count(*) FROM users").fetchone()
    assert count == 12
    messages = [json.loads(file.read_text())["to"] for file in (away / "outbox").glob("*.json")]
    assert sorted(messages) == sorted(person["email"] for person in people)
