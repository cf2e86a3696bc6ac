"""docs/security.md names tests that there are, and says something of every rule."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
RULES = [f"R{number}" for number in range(1, 18)]


def rows() -> dict[str, str]:
    found = [line for line in PAGE.splitlines() if re.match(r"\| R\d+ ", line)]
    return {line.split()[1]: line for line in found}


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_is_there() -> None:
    named = TEST.findall(PAGE)
    assert len(named) > 40
    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(ROOT / file)]
    assert missing == []


def test_every_rule_has_tests_or_is_said_to_have_none() -> None:
    assert list(rows()) == RULES
    for rule, row in rows().items():
        assert TEST.search(row) or "not built" in row, rule


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:api|engine|executors|repositories|services)/[\w/]+\.py)`", PAGE)
    assert len(named) > 15
    assert [file for file in named if not (ROOT / file).is_file()] == []


def test_what_is_said_of_the_supply_chain_is_true() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8") + (ROOT / "Makefile").read_text(encoding="utf-8")
    assert ("pip-audit" in ci) != ("`pip-audit` runs nowhere" in PAGE)
    for lock in ROOT.glob("requirements*.lock"):
        assert "--hash=sha256:" in lock.read_text(encoding="utf-8"), lock.name
