"""Runs that nobody has registered, and the three sleepers."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from strataflow import DefinitionError, InputError
from strataflow.services.adhoc import run_ad_hoc
from tests.integration.kit import Doc, Flow
from tests.support.cli import Cli

SLEEPERS = Path(__file__).parents[2] / "examples" / "sleepers"


def test_an_ad_hoc_run_gives_its_id_and_is_checked_like_any_other(flow: Flow) -> None:
    spec: Doc = {
        "dsl": "1",
        "name": "once",
        "inputs": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "nodes": {"a": {"run": "t.echo", "with": "{{ inputs.n }}"}},
    }
    task_id = run_ad_hoc(flow.engine, spec, {"n": 5})
    flow.started.append(task_id)
    assert flow.wait(task_id).output == {"a": 5}
    with pytest.raises(InputError):
        run_ad_hoc(flow.engine, spec, {"n": "five"})
    with pytest.raises(DefinitionError):
        run_ad_hoc(flow.engine, {"meta": {"title": "x"}, "steps": [{"action": "t.echo", "what": 1}]})


def spans(flow: Flow, name: str) -> list[tuple[int, int]]:
    """When each sleeper began and ended, as it is stored."""
    task_id = run_ad_hoc(flow.engine, SLEEPERS / f"{name}.yaml", {"seconds": 0.15})
    flow.started.append(task_id)
    assert flow.wait(task_id).state == "completed"
    rows = [row for row in flow.tasks(task_id).values() if row.executor == "core.sleep"]
    return sorted((row.started_at or 0, row.ended_at or 0) for row in rows)


@pytest.mark.row("A-34")
def test_three_sleepers_in_a_row_take_their_sum_and_side_by_side_their_longest(flow: Flow) -> None:
    assert len(spans(flow, "single")) == 1
    serial = spans(flow, "serial")
    assert len(serial) == 3
    assert all(before[1] <= after[0] for before, after in pairwise(serial))
    side_by_side = spans(flow, "parallel")
    assert len(side_by_side) == 3
    assert max(begin for begin, _ in side_by_side) < min(end for _, end in side_by_side)


def test_convert_writes_the_definition_of_a_step_list(tmp_path: Path) -> None:
    cli = Cli(f"sqlite:///{tmp_path / 'a.db'}", tmp_path)
    text = cli("convert", SLEEPERS / "serial.yaml").out
    document = json.loads(text)
    assert list(document["nodes"]) == ["first", "second", "third"]
    (tmp_path / "serial.json").write_text(text)
    cli("validate", tmp_path / "serial.json")
    (tmp_path / "bad.json").write_text(json.dumps({"steps": [{"action": "core.noop", "twist": 1}]}))
    assert "/steps/0/twist" in cli("convert", tmp_path / "bad.json", code=2).err
