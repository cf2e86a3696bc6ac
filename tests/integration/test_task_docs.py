"""What docs/tasks.md shows is done here, and the programs of examples/tasks are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from strataflow.services.tasks.config import PRIORITIES, TaskConfig
from strataflow.services.tasks.states import TaskState

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples" / "tasks"


def section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "guide"}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/tasks.md, block {number + 1}", "exec"), names)
    names["system"].stop()


def test_the_guide_names_every_option_with_its_default() -> None:
    rows = {
        name: default
        for names, default in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", section("Options"), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    config = TaskConfig()
    for name in TaskConfig.__dataclass_fields__:
        assert name in rows, name
        shown, value = rows[name].strip("`"), getattr(config, name)
        if isinstance(value, float | int) and name != "priority":
            assert float(shown) == value, name
        elif value in (None, ()):
            assert shown == "none", name
    assert rows["queue"].strip("`") == config.queue
    assert PRIORITIES[rows["priority"].strip("`")] == config.priority
    for name, number in PRIORITIES.items():
        assert f"`{name}` {number}" in section("Options")


def test_the_guide_names_every_state() -> None:
    assert re.findall(r"^\| `(\w+)` \|", section("States"), re.MULTILINE) == [
        "pending",
        "queued",
        "running",
        "retrying",
        "succeeded",
        "failed",
        "cancelled",
        "expired",
    ]
    assert len(TaskState) == 8


EXPECTED = [
    ("chain", ["loaded {'rows': 2, 'total': 25}", "failed in step3_load"]),
    ("chord", ["orders: north 50, south 50, east 40, west 40; 180 in all"]),
    ("priorities", ["an alarm > a payment > an order > another order > a report > a newsletter"]),
    ("progress", ["result {'rows': 20, 'begun_at': 10}", "reports 20"]),
    ("schedules", ["by itself: the second at ", "by hand: the day at ", "nightly has run 1 times"]),
]


@pytest.mark.parametrize(("name", "expected"), EXPECTED)
def test_an_example_runs_and_says_what_it_should(tmp_path: Path, name: str, expected: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    for text in expected:
        assert text in ran.stdout


def test_every_example_is_run() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(each for each, _ in EXPECTED)
