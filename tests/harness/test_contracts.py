"""The import contracts catch what they forbid: each is broken on purpose in a copy of the layers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import link_tree

ROOT = Path(__file__).resolve().parents[2]

PLANTED = {
    "repositories/planted_up.py": ("layers", "from ..engine import planted\n"),
    "executors/planted_sideways.py": ("layers", "from ..repositories import planted\n"),
    "migrations/planted.py": ("migrations", "from strataflow.engine import planted\n"),
    "services/planted.py": ("facade", "import strataflow\n"),
    "engine/planted_sql.py": ("sql", "import sqlite3\n"),
    "services/planted_orm.py": ("sql", "from sqlmodel import SQLModel\n"),
    "executors/planted_graph.py": ("graph", "import networkx\n"),
    "services/planted_cron.py": ("cron", "from apscheduler.triggers.cron import CronTrigger\n"),
    "executors/planted_text.py": ("expressions", "import jinja2.sandbox\n"),
    "engine/planted_terminal.py": ("terminal", "import rich.table\n"),
    "api/planted_trace.py": ("telemetry", "from opentelemetry import trace\n"),
    "services/planted_http.py": ("http", "from fastapi import Request\n"),
    "api/rest/planted_graph.py": ("graphql", "import strawberry\n"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Make empty layers with the contracts of the repository."""
    for folder in ("facade", *link_tree.LAYERS):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
        (tmp_path / folder / "planted.py").write_text("")
    for part in ("cli", "graphql", "live", "rest"):
        (tmp_path / "api" / part).mkdir()
        (tmp_path / "api" / part / "__init__.py").write_text("")
    (tmp_path / "facade" / "__main__.py").write_text("")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken(root: Path) -> set[str]:
    """Give the names of the contracts that do not hold."""
    links = link_tree.make(root)
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(links), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    names = set(re.findall(r"(?m)^(.+?) BROKEN", done.stdout))
    assert bool(names) == bool(done.returncode)
    return names


def names_by_id() -> dict[str, str]:
    """Read the names of the contracts."""
    text = (ROOT / "pyproject.toml").read_text()
    return dict(re.findall(r'(?m)^id = "(.+)"\nname = "(.+)"', text))


def test_empty_layers_break_nothing(copy: Path) -> None:
    assert broken(copy) == set()


def test_owners_may_use_what_they_own(copy: Path) -> None:
    (copy / "engine" / "graph.py").write_text("import networkx\n")
    (copy / "engine" / "cron.py").write_text("import apscheduler\n")
    (copy / "repositories" / "tables.py").write_text("import sqlmodel, psycopg\n")
    (copy / "api" / "cli" / "run.py").write_text(
        "import typer\nimport strataflow\nfrom ...engine import graph\n"
    )
    (copy / "api" / "graphql" / "query.py").write_text("import strawberry\nimport fastapi\n")
    assert broken(copy) == set()


@pytest.mark.parametrize("path", PLANTED)
def test_a_planted_import_breaks_its_contract(copy: Path, path: str) -> None:
    contract, source = PLANTED[path]
    (copy / path).write_text(source)
    assert broken(copy) == {names_by_id()[contract]}


def test_every_contract_is_broken_here() -> None:
    assert {contract for contract, _ in PLANTED.values()} == names_by_id().keys()
