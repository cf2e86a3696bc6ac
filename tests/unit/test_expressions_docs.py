"""docs/expressions.md says what the code does: complete lists, examples that run, the real limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from strataflow.engine import expressions, grammar, sandbox
from strataflow.engine.expressions import FILTERS, TESTS, parse_template
from strataflow.engine.jsonlang import filters, values

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "expressions.md").read_text(encoding="utf-8")
CELL = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"`` (.*?) ``|`([^`]+)`")


def rows(heading: str) -> list[list[str]]:
    """Cells of the rows of all tables of a section, without their headings."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"\|[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", section)
    return [
        [cell.replace("\\|", "|").strip() for cell in CELL.split(line.strip())[1:-1]]
        for table in tables
        for line in table.strip().split("\n")
    ]


def names(heading: str) -> list[str]:
    return [code for row in rows(heading) for code in re.findall(r"`([^`]+)`", row[0])]


def examples() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for heading in ("Text and values", "Reading data", "Operators", "Filters", "Tests"):
        for row in rows(heading):
            written, gives = (cell.strip("`") for cell in row[-2:])
            if "{{" in written:
                found.append((written, gives))
    return found


def test_the_list_of_filters_is_that_of_the_code() -> None:
    assert names("Filters") == sorted(FILTERS)


def test_the_list_of_tests_is_that_of_the_code() -> None:
    listed = names("Tests")
    assert len(listed) == len(set(listed))
    assert set(listed) == TESTS


def test_every_filter_and_test_has_an_example_that_uses_it() -> None:
    for heading in ("Filters", "Tests"):
        for row in rows(heading):
            own = re.findall(r"`([^`]+)`", row[0])
            assert any(name in row[2] for name in own), row[0]


@pytest.mark.parametrize(("written", "gives"), examples())
def test_examples_give_what_the_page_says(written: str, gives: str) -> None:
    data: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    template, problems = parse_template(written)
    assert problems == []
    assert template is not None
    result = template.render(data)
    assert result == json.loads(gives)
    assert json.dumps(result) == json.dumps(json.loads(gives))


def test_the_page_has_examples() -> None:
    assert len(examples()) > 80


def test_the_limits_are_those_of_the_code() -> None:
    documented = [int(row[1].replace(",", "")) for row in rows("Limits")]
    assert documented == [
        grammar.MAX_LENGTH,
        grammar.MAX_TOKENS,
        grammar.MAX_NESTING,
        sandbox.MAX_DEPTH,
        expressions.MAX_NESTING,
        values.MAX_TEXT,
        values.MAX_RESULT,
        values.MAX_WORK,
        values.MAX_INT_BITS,
        filters.MAX_ATTRIBUTE,
    ]
