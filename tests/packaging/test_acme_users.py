"""A package with executors: built, installed beside Strataflow, found by its entry point, run from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACME = ROOT / "examples" / "acme_users"
LAYERS = ("facade", "api", "services", "engine", "executors", "repositories", "migrations")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a command away from this process's settings and give what it prints."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STRATAFLOW"))
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, out: Path) -> Path:
    """Build a wheel from a copy, without isolation: no network, and nothing left behind in the tree."""
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, source, cwd=out)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build Strataflow and the example."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "*.db*", "outbox")
    tree = tmp_path_factory.mktemp("tree")
    for name in LAYERS:
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tree / name)
    acme = shutil.copytree(ACME, tmp_path_factory.mktemp("acme") / "acme_users", ignore=ignore)
    return [build(source, tmp_path_factory.mktemp("wheel")) for source in (tree, acme)]


@pytest.fixture(scope="module")
def python(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install both into a new environment that borrows the dependencies of this one; give its Python."""
    home = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    borrowed = tmp_path_factory.mktemp("borrowed")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "strataflow" not in entry.name and entry.suffix != ".pth":
            (borrowed / entry.name).symlink_to(entry)
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    install = ["install", "--no-deps", "--no-index", "--quiet", *map(str, wheels)]
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=home)
    return python


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Give an empty folder, with nothing of the repository in it."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def onboard(python: Path, folder: Path, *more: str, code: int = 0) -> dict[str, Any]:
    """Run the workflow with the installed command and give its one JSON object."""
    command = [python.with_name("strataflow"), "run", ACME / "workflow.json", "--json"]
    given = more or ("--input", f"@{ACME / 'users.json'}")
    found: dict[str, Any] = json.loads(run(*command, *given, cwd=folder, code=code))
    return found


def users(folder: Path) -> list[tuple[str, str]]:
    """Read what the executors wrote, past the engine."""
    with closing(sqlite3.connect(folder / "users.db")) as db:
        return db.execute("SELECT lower(email), created_by FROM users ORDER BY 1").fetchall()


LISTING = """
from strataflow.executors import default_registry
registry = default_registry()
print([entry.name for entry in registry.list_executors("user")], registry.problems)
"""


def test_the_domain_is_found_by_its_entry_point(python: Path, empty: Path) -> None:
    assert run(python, "-c", LISTING, cwd=empty) == "['user.creator', 'user.notifier', 'user.validator'] []\n"


def test_the_workflow_runs_in_an_empty_folder(python: Path, empty: Path) -> None:
    done = onboard(python, empty)
    assert done["state"] == "completed", done["error"]
    assert done["output"]["created"] == ["ana@acme.example", "ben@acme.example"]
    assert done["output"]["failed"] == 1  # two records share an address: one of them is too late
    problems = {record["email"]: record["problems"] for record in done["output"]["refused"]}
    assert problems == {
        "nobody@acme.example": ["the name is missing"],
        "chen at acme": ["'chen at acme' is no e-mail address"],
    }
    assert [email for email, _ in users(empty)] == done["output"]["created"]
    assert all(key.startswith(f"{done['id']}/onboard[") for _, key in users(empty))
    messages = [json.loads(file.read_text()) for file in (empty / "outbox").glob("*.json")]
    assert sorted(message["to"] for message in messages) == [
        "admin@acme.example",
        "ana@acme.example",
        "ben@acme.example",
    ]


def test_a_second_run_refuses_users_that_exist(python: Path, empty: Path) -> None:
    onboard(python, empty)
    again = onboard(python, empty, code=1)
    assert again["state"] == "failed"
    assert "user.AddressInUse" in json.dumps(again["error"])
    assert len(users(empty)) == 2


def test_a_config_that_does_not_fit_is_refused_before_anything_runs(python: Path, empty: Path) -> None:
    wrong = {
        "dsl": "1",
        "name": "wrong",
        "nodes": {
            "create": {"run": "user.creator", "with": {"store": "users.db", "name": "", "email": "nobody"}},
            "check": {"run": "user.validator", "with": {"record": {}, "allowed_domains": ["a@b.c"]}},
        },
    }
    (empty / "wrong.json").write_text(json.dumps(wrong))
    command = [python.with_name("strataflow"), "validate", "wrong.json", "--json"]
    told = run(*command, cwd=empty, code=2)
    for pointer in ("/nodes/create/with/name", "/nodes/create/with/email", "/nodes/check/with"):
        assert pointer in told
    assert not (empty / "users.db").exists()


def test_a_repeated_attempt_creates_nobody_twice(python: Path, empty: Path) -> None:
    script = """
import sys
from pathlib import Path
from acme_users.store import UserStore
store = UserStore(Path("users.db"))
first = store.create(email="ana@acme.example", name="Ana", key="instance/onboard[0].create")
second = store.create(email="ana@acme.example", name="Ana", key="instance/onboard[0].create")
assert first == second and store.all() == [first]
"""
    run(python, "-c", script, cwd=empty)
