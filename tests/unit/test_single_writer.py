"""One write path: who may set a state, found in the text of the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("facade", "api", "services", "engine", "executors", "repositories", "migrations")

#: The functions that may set `.state`: the overlay's, which ask the tables; the reader, which turns text into the
#: enum.
WRITERS = {
    "engine/draft.py:_shift",
    "engine/draft.py:move_instance",
    "engine/draft.py:taken_over",
    "repositories/batch.py:task_of",
    "repositories/batch.py:instance_of",
}
#: Jobs of the pool, errors that name a state, schedules, definitions, an application: other things, with their own.
OTHERS = (
    "executors/threads.py",
    "engine/errors.py",
    "engine/adopting.py",
    "engine/catalog.py",
    "services/schedules.py",
    "services/remote/problems.py",
    "repositories/relations.py",
    "api/rest/app.py",
)
#: Statements that write state columns stand here and nowhere else.
STATEMENTS = (
    "repositories/statements.py",
    "repositories/rare_statements.py",
    "repositories/engines.py",
    # whole runs that have ended, in and out: no state changes
    "repositories/retention.py",
    "repositories/transfer.py",
)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def assignments(name: str, tree: ast.Module) -> Iterator[str]:
    """Give the functions that assign to `.state`, or to it by name through `setattr` or `replace(…, state=…)`."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if _sets_state(node):
                yield f"{name}:{function.name}"


def _sets_state(node: ast.AST) -> bool:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = [part for target in node.targets for part in ast.walk(target) if isinstance(part, ast.expr)]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call):
        named = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if named == "replace":
            return any(keyword.arg == "state" for keyword in node.keywords)
        if named in {"setattr", "__setattr__"}:
            return any(isinstance(arg, ast.Constant) and arg.value == "state" for arg in node.args)
    return any(isinstance(target, ast.Attribute) and target.attr == "state" for target in targets)


@pytest.mark.row("X-05", "X-06")
def test_only_the_overlay_sets_a_state() -> None:
    found = {place for name, tree in modules() if name not in OTHERS for place in assignments(name, tree)}
    assert found == WRITERS


@pytest.mark.row("X-05", "X-06")
def test_every_change_of_state_in_the_overlay_writes_its_journal_row() -> None:
    """The functions that set a state call `_journal`; nothing else makes a journal row."""
    tree = ast.parse((ROOT / "engine" / "draft.py").read_text())
    callers = {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "_journal"
    }
    assert callers == {"_shift", "move_instance", "begin", "taken_over", "note_instance"}
    makers = {
        name
        for name, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "JournalRow"
    }
    assert makers == {"engine/draft.py"}


@pytest.mark.row("X-06")
def test_statements_on_the_tables_of_the_state_stand_in_one_place() -> None:
    """`insert`, `update` and `delete` of tasks, instances and journal are built in the repositories only."""
    found: set[str] = set()
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
                "insert",
                "update",
                "delete",
                "Bulk",
            }:
                names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
                if names & {"TASKS", "INSTANCES", "JOURNAL"}:
                    found.add(name)
    assert found <= set(STATEMENTS)


@pytest.mark.parametrize(
    "code",
    [
        "def f(row):\n    row.state = 1",
        "def f(row):\n    row.x, row.state = 1, 2",
        "def f(row):\n    row.state: int = 1",
        "def f(row):\n    setattr(row, 'state', 1)",
        "def f(row):\n    object.__setattr__(row, 'state', 1)",
        "def f(row):\n    return dataclasses.replace(row, state=1)",
        "async def f(row):\n    row.state = 1",
    ],
)
def test_what_counts_as_setting_a_state(code: str) -> None:
    assert list(assignments("m", ast.parse(code))) == ["m:f"]
