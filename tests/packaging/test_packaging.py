"""What is built is what is in the tree, and it does not mind what the user's folders are called (ADR 1)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("api", "services", "engine", "executors", "repositories", "migrations")
DATA = {".css", ".graphql", ".html", ".js", ".json", ".mako", ".sql", ".svg", ".txt"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command away from this process's settings and give what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, kind: str, out: Path) -> Path:
    """Build without isolation: the build backend of this environment, no network."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out, source, cwd=out)
    (made,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def names(wheel: Path) -> set[str]:
    """Give the files in a wheel, its metadata aside."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a build reads, so that no leftover of an earlier build takes part."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("facade", *LAYERS):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from the tree."""
    made = build(tree, "wheel", tmp_path_factory.mktemp("wheel"))
    shutil.rmtree(tree / "build", ignore_errors=True)
    return made


@pytest.fixture(scope="module")
def wheel_from_sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist, and a wheel from what is in it."""
    sdist = build(tree, "sdist", tmp_path_factory.mktemp("sdist"))
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel-from-sdist"))


def test_the_sdist_builds_the_same_wheel(wheel: Path, wheel_from_sdist: Path) -> None:
    assert names(wheel) == names(wheel_from_sdist)


def test_the_wheel_has_every_file_of_the_tree_under_one_name(wheel: Path, tree: Path) -> None:
    expected: set[str] = set()
    for folder in ("facade", *LAYERS):
        for path in (tree / folder).rglob("*"):
            if path.suffix in {".py", *DATA} or path.name == "py.typed":
                inside = path.relative_to(tree / folder)
                expected.add(str(Path("strataflow", "" if folder == "facade" else folder, inside)))
    assert names(wheel) == expected


def test_data_files_are_in_the_wheel(wheel: Path) -> None:
    packed = names(wheel)
    assert "strataflow/py.typed" in packed
    assert "strataflow/migrations/script.py.mako" in packed
    assert any(re.fullmatch(r"strataflow/migrations/versions/0001_\w+\.py", name) for name in packed)


def test_a_new_subpackage_is_found_without_being_named(tree: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tree, tmp_path / "tree")
    (copy / "engine" / "brand_new" / "deeper").mkdir(parents=True)
    (copy / "engine" / "brand_new" / "deeper" / "module.py").write_text("")
    (copy / "api" / "static").mkdir(exist_ok=True)
    (copy / "api" / "static" / "brand-new.css").write_text("")
    packed = names(build(copy, "wheel", tmp_path))
    assert {"strataflow/engine/brand_new/deeper/module.py", "strataflow/api/static/brand-new.css"} <= packed


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment that borrows the dependencies of this one; give its Python."""
    home = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    # Every dependency of this environment, except the .pth files: one of them is the editable install.
    borrowed = tmp_path_factory.mktemp("borrowed")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "strataflow" not in entry.name and entry.suffix != ".pth":
            (borrowed / entry.name).symlink_to(entry)
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    install = ["install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=home)
    return python


USE = """
import importlib, importlib.metadata, importlib.resources, pkgutil, sys
import strataflow

assert strataflow.__file__.startswith(sys.prefix), strataflow.__file__
assert strataflow.__version__ == importlib.metadata.version("strataflow")
for layer in sys.argv[1:]:
    importlib.import_module(f"strataflow.{layer}")
for module in ("engine.plan", "engine.outcomes", "executors.base", "repositories.records", "repositories.migrate"):
    importlib.import_module(f"strataflow.{module}")
files = importlib.resources.files("strataflow.migrations")
assert (files / "script.py.mako").is_file()
assert "engine" not in sys.modules and "executors" not in sys.modules
print("undisturbed")
"""


def test_folders_of_the_user_do_not_disturb(installed: Path, tmp_path: Path) -> None:
    for name in LAYERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('the {name} of the user')\n")
    (tmp_path / "use.py").write_text(textwrap.dedent(USE))
    assert run(installed, "use.py", *LAYERS, cwd=tmp_path) == "undisturbed\n"


def test_the_wheel_migrates_a_database(installed: Path, tmp_path: Path) -> None:
    script = "from strataflow.repositories.migrate import upgrade; upgrade('sqlite:///new.db')"
    run(installed, "-c", script, cwd=tmp_path)
    assert (tmp_path / "new.db").stat().st_size > 0


def test_the_console_script_is_installed(installed: Path) -> None:
    script = installed.with_name("strataflow")
    assert "from strataflow.api.cli import main" in script.read_text()
