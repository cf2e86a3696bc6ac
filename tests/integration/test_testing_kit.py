"""strataflow.testing: the page's examples run, and each assertion fails when it should."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from strataflow import DefinitionError
from strataflow.repositories.clock import now_us
from strataflow.testing import (
    Result,
    assert_completed,
    assert_failed,
    assert_never_ran,
    assert_path,
    assert_skipped,
    crash_everywhere,
    run_definition,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def document(nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"dsl": "1", "name": "kit", "nodes": nodes, **more}


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_page_run(code: str) -> None:
    assert "assert" in code
    exec(compile(code, "docs/testing.md", "exec"), {})


@pytest.fixture(scope="module")
def result() -> Result:
    """A run with a failure, a skip and a wait of a year."""
    nodes = {
        "a": {"run": "m.ok"},
        "skip": {"when": "{{ false }}", "run": "m.ok"},
        "bad": {"run": "m.bad", "needs": ["w"], "on_error": [{"continue": True}]},
        "w": {"wait": {"for": "365d"}, "needs": ["a"]},
    }
    return run_definition(document(nodes), mocks={"m.ok": 1, "m.bad": ValueError("no")})


def test_assertions_hold(result: Result) -> None:
    assert_completed(result)
    assert_path(result, "a", "w", "bad")
    assert_skipped(result, "skip")
    assert_never_ran(result, "skip")
    assert result.states["bad"] == "failed"


@pytest.mark.parametrize(
    "broken",
    [
        assert_failed,
        lambda found: assert_path(found, "bad", "a"),
        lambda found: assert_skipped(found, "a"),
        lambda found: assert_never_ran(found, "a"),
    ],
)
def test_assertions_fail_with_the_whole_story(result: Result, broken: Any) -> None:
    with pytest.raises(AssertionError, match="completed: output"):
        broken(result)


def test_skipped_time_is_given_back(result: Result) -> None:
    """What runs later in the same process has the time of day again."""
    assert_path(result, "w")
    assert now_us() - time.time_ns() // 1000 < 86_400_000_000


def test_errors_are_those_of_the_engine() -> None:
    failed = run_definition(document({"a": {"run": "m.bad"}}), mocks={"m.bad": ValueError("no")})
    assert_failed(failed, "m.ValueError")
    with pytest.raises(AssertionError, match=r"not m\.Other"):
        assert_failed(failed, "m.Other")
    with pytest.raises(DefinitionError, match=r"m\.unknown"):
        run_definition(document({"a": {"run": "m.unknown"}}))


def test_a_crash_that_changes_the_result_is_found(tmp_path: Path) -> None:
    """An executor that remembers outside the database that it ran gives another result the second time."""
    marker = tmp_path / "ran"

    def once(ctx: Any, config: Any) -> str:
        again = marker.exists()
        marker.touch()
        return "again" if again else "first"

    with pytest.raises(AssertionError, match="changed the result"):
        crash_everywhere(document({"a": {"run": "m.once"}}), mocks={"m.once": once})
