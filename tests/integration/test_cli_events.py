"""`strataflow events`, and what docs/events.md says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from strataflow.engine.feed import EVENTS
from tests.support.cli import Cli

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


@pytest.fixture
def ran(db_url: str, tmp_path: Path) -> Cli:
    """A database on which one run has ended."""
    cli = Cli(db_url, tmp_path)
    flow = {"dsl": "1", "name": "hello", "nodes": {"a": {"run": "core.noop", "with": 1}}}
    (tmp_path / "hello.json").write_text(json.dumps(flow))
    cli("run", tmp_path / "hello.json")
    return cli


@pytest.mark.row("M-31")
def test_everything_in_order_and_from_a_cursor_on(ran: Cli) -> None:
    found = ran("events", "--json").json
    names = [event["name"] for event in found]
    assert names[0] == "engine.started"
    assert names[-1] == "engine.stopped"
    assert [event["seq"] for event in found] == sorted({event["seq"] for event in found})
    done = names.index("task.completed")
    assert ran("events", "--after", found[done]["seq"], "--json").json == found[done + 1 :]
    assert ran("events", "--after", found[-1]["seq"], "--json").json == []
    only = ran("events", "--name", "instance.*", "--instance", found[done]["instance_id"], "--json").json
    assert only == [event for event in found if event["name"].startswith("instance.")]
    shown = ran("events", "--name", "task.completed").out
    assert re.search(
        rf"{found[done]['seq']}  [\d:]+  task\.completed +hello {found[done]['instance_id']} a", shown
    )


def test_following_gives_an_event_a_line(ran: Cli) -> None:
    stored = ran("events", "--json").json
    lines = ran("events", "--follow", "--after", "0", "--limit", "3", "--json").out.splitlines()
    assert [json.loads(line) for line in lines] == stored[:3]


def test_what_is_wrong_is_said(ran: Cli) -> None:
    refused = ran("events", "--name", "task.complete", code=2).err
    assert "no event fits 'task.complete'. Did you mean task.completed?" in refused
    assert "no instance has an id" in ran("events", "--instance", "ffff", code=2).err


def test_the_page_names_what_there_is() -> None:
    table = PAGE.partition("## Names")[2].partition("##")[0]
    named = set(re.findall(r"`((?:task|engine|queue)\.[a-z]+)`", table))
    assert named == {name for name in EVENTS if name.partition(".")[0] in {"engine", "queue"}} | {
        "task.progress"
    }


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    section = PAGE.partition("## From Python")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/events.md", "exec"), {})
