"""The page of alerts says what the code does: every rule with its defaults, and an example that runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from strataflow.services.alerts.kinds import HARMLESS, KINDS, checked_settings
from strataflow.services.explain_model import _ORDER

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")


def said(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_rule_is_listed_as_it_is_shipped(kind: Any) -> None:
    settings = ", ".join(f"`{field.name}` {said(field.default)}" for field in kind.fields)
    assert f"| `{kind.name}` | {kind.about} | {kind.severity} | {settings} |" in PAGE


def test_every_setting_is_explained() -> None:
    table = PAGE.partition("| setting | what it says |")[2].partition("\n\n")[0]
    names = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[1] if row else "")
    }
    assert names == {field.name for kind in KINDS.values() for field in kind.fields}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_what_is_shipped_is_within_its_own_bounds(kind: Any) -> None:
    given = {field.name: field.default for field in kind.fields}
    assert checked_settings(kind, given) == (given, [])


def test_reasons_that_are_ignored_are_reasons_of_explain() -> None:
    assert set(HARMLESS) <= set(_ORDER)


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from strataflow.repositories.migrate import upgrade

    monkeypatch.chdir(tmp_path)
    upgrade("sqlite:///alerts.db")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/alerts.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"#\s(.+)$", example, re.MULTILINE)
