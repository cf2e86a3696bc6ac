"""The lock check finds what it is there to find, from the files alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools import lock

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = {
    "dependencies": ["Some.Thing>=2,<3", "nowhere>=1; sys_platform == 'none'"],
    "optional-dependencies": {"server": [], "otlp": [], "prometheus": [], "test": ["tester>=1"], "dev": []},
}
HASH = " \\\n    --hash=sha256:00"
RUNTIME = f"# a remark\nsome-thing==2.5{HASH} \\\n    --hash=sha256:11\n    # via strataflow\n"
DEVELOPMENT = f"{RUNTIME}tester==1.0{HASH}\n"


def test_the_locks_of_the_repository_fit() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [(ROOT / name).read_text() for name in (lock.RUNTIME, lock.DEVELOPMENT)]
    assert lock.problems(project, *texts) == []


def test_reads_pins_and_hashes() -> None:
    assert lock.read(RUNTIME) == {"some-thing": lock.Pin("2.5", 2)}
    assert lock.problems(PROJECT, RUNTIME, DEVELOPMENT) == []


@pytest.mark.parametrize(
    ("runtime", "development", "problem"),
    [
        (RUNTIME, RUNTIME, "requirements-dev.lock: tester is declared and not pinned"),
        (RUNTIME.replace("2.5", "3.0"), DEVELOPMENT, "requirements.lock: Some.Thing 3.0 is outside <3,>=2"),
        (f"{RUNTIME}bare==1\n", f"{DEVELOPMENT}bare==1{HASH}\n", "requirements.lock: bare has no hash"),
        (
            RUNTIME,
            DEVELOPMENT.replace("2.5", "2.6"),
            "requirements-dev.lock: some-thing 2.6 is 2.5 in requirements.lock",
        ),
        (f"{RUNTIME}more==1{HASH}\n", DEVELOPMENT, "requirements-dev.lock: more is missing"),
        (f"--extra-index-url x\n{RUNTIME}", DEVELOPMENT, "requirements.lock: names a place to fetch from"),
        (RUNTIME, f"{DEVELOPMENT}# see ftp://x\n", "requirements-dev.lock: names a place to fetch from"),
    ],
)
def test_finds(runtime: str, development: str, problem: str) -> None:
    assert problem in lock.problems(PROJECT, runtime, development)
