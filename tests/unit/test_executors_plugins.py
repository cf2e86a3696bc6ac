"""Domains from entry points and from modules named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strataflow.executors.errors import DuplicateExecutor, InvalidExecutor
from strataflow.executors.registry import ExecutorRegistry

DOMAIN = """
from strataflow.executors.registry import ExecutorDomain

bank = ExecutorDomain("bank")
also_bank = bank

@bank.executor("{name}")
def run(ctx, config):
    return "{name}"
"""


@pytest.fixture(autouse=True)
def _own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test imported, and let its folder be the current one."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def publish(folder: Path, distribution: str, points: dict[str, str], **modules: str) -> None:
    """Install a distribution with entry points and modules into `folder`, and find it from now on."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[strataflow.executors]", *lines, ""]))
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@pytest.fixture
def registry() -> ExecutorRegistry:
    return ExecutorRegistry()


def test_an_entry_point_may_name_a_domain_a_module_or_a_mapping(
    registry: ExecutorRegistry, tmp_path: Path
) -> None:
    mapping = "def send(ctx, config): ...\nexecutors = {'send': send}\n"
    points = {"bank": "one_bank:bank", "mail": "one_mail:executors"}
    publish(tmp_path, "one", points, one_bank=DOMAIN.format(name="charge"), one_mail=mapping)
    module = DOMAIN.format(name="open").replace('"bank"', '"branch"')
    publish(tmp_path, "two", {"branch": "two_branch"}, two_branch=module)
    assert registry.load_entry_points() == []
    names = [entry.name for entry in registry.list_executors()]
    assert names == ["bank.charge", "branch.open", "mail.send"]


def test_broken_and_duplicate_plugins_are_reported_together_by_name(
    registry: ExecutorRegistry, tmp_path: Path
) -> None:
    bank = DOMAIN.format(name="charge")
    publish(tmp_path, "first", {"bank": "first_bank:bank"}, first_bank=bank)
    extra = bank + "\n@bank.executor('refund')\ndef refund(ctx, config): ...\n"
    publish(tmp_path, "second", {"bank": "second_bank:bank"}, second_bank=extra)
    broken = {
        "absent": "no_such_module:domain",
        "exits": "third_exits:domain",
        "raises": "third_raises:domain",
        "wrong": "first_bank:run",
        "misnamed": "first_bank:bank",
        "Bad": "third_map:executors",
        "needy": "third_needy:needy",
    }
    needy = (
        "from strataflow.executors.registry import ExecutorDomain\nneedy = ExecutorDomain('needy')\n"
        "@needy.executor('one')\nclass One:\n    def __init__(self, url): ...\n"
        "    def execute(self, ctx, config): ...\n"
        "@needy.executor('two')\ndef two(ctx, config): ...\n"
    )
    publish(
        tmp_path,
        "third",
        broken,
        third_exits="raise SystemExit(3)",
        third_raises="raise ValueError('half written')",
        third_map="executors = {}",
        third_needy=needy,
    )
    problems = registry.load_entry_points()
    assert registry.problems == problems
    told = {problem.name: str(problem) for problem in problems}
    assert set(told) == {
        "absent", "exits", "raises", "wrong", "misnamed", "Bad", "needy.one", "bank.charge"
    }  # fmt: skip
    assert "ModuleNotFoundError" in told["absent"]
    assert "SystemExit: 3" in told["exits"]
    assert "ValueError: half written" in told["raises"]
    assert "must name an ExecutorDomain" in told["wrong"]
    assert "must be the domain's name, 'bank'" in told["misnamed"]
    assert "is no domain name" in told["Bad"]
    assert "cannot be created without arguments" in told["needy.one"]
    assert "bank.charge is registered already" in told["bank.charge"]
    assert "[entry point bank = second_bank:bank (second 1.0)]" in told["bank.charge"]
    assert [entry.name for entry in registry.list_executors()] == ["bank.charge", "bank.refund", "needy.two"]
    assert registry.get_executor("bank.charge").call.__module__ == "first_bank"


def test_a_dotted_module_in_the_current_folder(registry: ExecutorRegistry, tmp_path: Path) -> None:
    package = tmp_path / "flows"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bank.py").write_text(DOMAIN.format(name="charge"))
    assert [entry.name for entry in registry.import_module("flows.bank")] == ["bank.charge"]
    # Once more changes nothing: a module may be named twice, or be a plugin too.
    assert [entry.name for entry in registry.import_module("flows.bank")] == ["bank.charge"]


@pytest.mark.parametrize(
    "text", ["work/bank_tasks.py", "{folder}/work/bank_tasks.py", "./work/bank_tasks.py"]
)
def test_a_file_by_its_path(registry: ExecutorRegistry, tmp_path: Path, text: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "helper_of_bank.py").write_text("NAME = 'bank'\n")
    module = "import helper_of_bank\n" + DOMAIN.format(name="charge").replace('"bank"', "helper_of_bank.NAME")
    (tmp_path / "work" / "bank_tasks.py").write_text(module)
    entries = registry.import_module(text.format(folder=tmp_path))
    assert [entry.name for entry in entries] == ["bank.charge"]
    # Under its own name, so that `python.call` and pickles find its functions.
    assert sys.modules["bank_tasks"].bank is sys.modules["bank_tasks"].also_bank
    registry.import_module("work/bank_tasks.py")
    assert len(registry.list_executors()) == 1


@pytest.mark.parametrize("name", ["json.py", "http.py", "pytest.py", "my-tasks.py"])
def test_a_file_never_stands_in_for_another_module(
    registry: ExecutorRegistry, tmp_path: Path, name: str
) -> None:
    known = dict(sys.modules)
    (tmp_path / name).write_text(DOMAIN.format(name="charge"))
    registry.import_module(f"./{name}")
    registry.import_module(f"./{name}")
    stem = name.removesuffix(".py")
    assert sys.modules.get(stem) is known.get(stem)
    assert [entry.name for entry in registry.list_executors()] == ["bank.charge"]


def test_two_files_of_one_name_are_two_modules(registry: ExecutorRegistry, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tasks_of.py").write_text(DOMAIN.format(name=f"charge_{folder}"))
    registry.import_module("a/tasks_of.py")
    registry.import_module("b/tasks_of.py")
    assert [entry.name for entry in registry.list_executors()] == ["bank.charge_a", "bank.charge_b"]


@pytest.mark.parametrize(
    ("files", "text", "told"),
    [
        ({}, "no_such_module", r"no module named 'no_such_module'; install it or put it into"),
        ({}, "no_such.py", r"there is no file no_such\.py"),
        ({}, "not a module", "is neither a module's dotted name nor the path"),
        ({}, "", "is neither"),
        ({"fine_file.py": "x = 1"}, "fine_file", "has no ExecutorDomain"),
        ({"needs_more.py": "import no_such_helper"}, "needs_more", "no module named 'no_such_helper'"),
        ({"half_file.py": "def ("}, "half_file.py", "cannot import half_file.py: SyntaxError"),
        (
            {"exits_file.py": "raise SystemExit(2)"},
            "exits_file.py",
            "cannot import exits_file.py: SystemExit: 2",
        ),
        (
            {"mute_file.py": DOMAIN.format(name="Bad Name")},
            "mute_file.py",
            "'bank.Bad Name' is no executor name",
        ),
    ],
)
def test_what_cannot_be_imported_is_told(
    registry: ExecutorRegistry, tmp_path: Path, files: dict[str, str], text: str, told: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidExecutor, match=told):
        registry.import_module(text)


def test_a_broken_file_can_be_mended_and_imported(registry: ExecutorRegistry, tmp_path: Path) -> None:
    (tmp_path / "mended.py").write_text("raise ValueError")
    with pytest.raises(InvalidExecutor):
        registry.import_module("mended.py")
    (tmp_path / "mended.py").write_text(DOMAIN.format(name="charge"))
    assert len(registry.import_module("mended.py")) == 1


def test_names_taken_by_an_import_are_refused(registry: ExecutorRegistry, tmp_path: Path) -> None:
    registry.register_executor("bank.charge", lambda ctx, config: None)  # noqa: ARG005
    (tmp_path / "other_bank.py").write_text(DOMAIN.format(name="charge"))
    with pytest.raises(DuplicateExecutor, match=r"bank\.charge is registered already"):
        registry.import_module("other_bank.py")
