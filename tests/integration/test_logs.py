"""What tasks log: read while they run and later, filtered, searched, exported, bounded, and deleted by age."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from strataflow import TaskContext
from strataflow.engine import context
from strataflow.repositories.readmodels import LogEntry
from strataflow.repositories.tables import INSTANCES, LOGS
from strataflow.services.execution_service import ExecutionService
from strataflow.services.log_retention import purge_logs
from tests.integration.kit import Doc, Flow, until, until_async
from tests.support.cli import Cli


@pytest.fixture
def flow(flow: Flow) -> Flow:
    """Give executors that talk."""

    async def lines(ctx: TaskContext, config: Any) -> None:
        for level, text in config["lines"]:
            ctx.log(text, level)
        if "gate" in config:
            await until_async(flow.probe.gate(config["gate"]).is_set)

    async def many(ctx: TaskContext, config: Any) -> None:
        for number in range(config["count"]):
            ctx.log(f"{number} {'x' * config.get('size', 0)}")
        if ctx.attempt <= config.get("fail", 0):
            raise RuntimeError("again")

    async def far(ctx: TaskContext, config: Any) -> None:
        for fraction, message in ((0, None), (0.5, "half"), (0.505, "half"), (0.5, "still"), (2, "still")):
            ctx.progress(fraction, message)

    flow.registry.register_executor_domain("say", {"lines": lines, "many": many, "far": far})
    return flow


@pytest.fixture
def cli(flow: Flow, tmp_path: Path) -> Iterator[Cli]:
    with closing(Cli(flow.url, tmp_path)) as made:
        yield made


def say(*lines: tuple[str, str], **more: Any) -> Doc:
    return {"run": "say.lines", "with": {"lines": [list(line) for line in lines], **more}}


def logs(flow: Flow, instance_id: str, **wanted: Any) -> list[LogEntry]:
    service = ExecutionService(flow.database, flow.engine.parts.catalog)
    return list(service.logs(instance_id, **wanted))


def said(flow: Flow, instance_id: str, **wanted: Any) -> list[str]:
    return [entry.message for entry in logs(flow, instance_id, **wanted)]


@pytest.mark.row("A-16")
def test_lines_are_read_while_the_task_runs_and_afterwards(flow: Flow, cli: Cli) -> None:
    hundred = [("info", f"line {number}") for number in range(100)]  # so many are written at once
    instance_id = flow.start({"a": say(*hundred, gate="g")})
    until(lambda: len(said(flow, instance_id)) == 100)
    assert flow.state(instance_id, "a") == "running"
    assert len(cli("logs", instance_id, "--json").json) == 100
    flow.probe.gate("g").set()
    assert flow.wait(instance_id).state == "completed"
    found = logs(flow, instance_id)
    assert [entry.message for entry in found] == [text for _, text in hundred]
    assert {(entry.instance_id, entry.path, entry.attempt, entry.level) for entry in found} == {
        (instance_id, "a", 1, "info")
    }


#: Two hours, in microseconds.
AGE = 7_200_000_000
LINES = (
    ("debug", "Connecting to BANK"),
    ("info", "connected, 100% done"),
    ("warning", "bank_account is low"),
    ("error", "Überweisung refused\nsecond line: BANK"),
)


@pytest.mark.row("X-42")
def test_lines_are_filtered_by_level_and_task_and_searched_in_any_case(flow: Flow) -> None:
    instance_id = flow.start({"a": say(*LINES), "b": say(("info", "other bank"))})
    flow.wait(instance_id)
    mine = {"path": "a"}
    assert said(flow, instance_id, **mine) == [text for _, text in LINES]
    assert said(flow, instance_id, path="b") == ["other bank"]
    assert said(flow, instance_id, level="warning") == [LINES[2][1], LINES[3][1]]
    texts = [text for _, text in LINES]
    searches = {
        "bank": [texts[0], texts[2], texts[3]],
        "CONNECT": [texts[0], texts[1]],
        "100%": [texts[1]],
        "0%": [texts[1]],
        "k_a": [texts[2]],
        "k a": [],
        "überWEISUNG": [texts[3]],
        "ÜBER": [texts[3]],
        "nothing": [],
    }
    for search, expected in searches.items():
        assert said(flow, instance_id, search=search, **mine) == expected, search
    assert said(flow, instance_id, search="bank", level="error", path="a") == [texts[3]]


@pytest.mark.row("X-42")
def test_lines_of_a_time_are_found_on_the_command_line_and_exported(flow: Flow, cli: Cli) -> None:
    instance_id = flow.start({"a": say(*LINES)})
    flow.wait(instance_id)
    first = logs(flow, instance_id)[0]
    with flow.database.write() as connection:
        old = first.at - 3_600_000_000
        connection.execute(
            update(LOGS).where(LOGS.c.instance_id == instance_id, LOGS.c.seq == first.seq).values(at=old)
        )
    found = cli("logs", instance_id, "--json").json
    assert [entry["message"] for entry in found] == [text for _, text in LINES]
    assert list(found[0]) == ["seq", "at", "path", "attempt", "level", "message"]
    for options, expected in {
        ("--since", "30m"): LINES[1:],
        ("--until", "30m"): LINES[:1],
        ("--since", found[1]["at"]): [
            line for line, e in zip(LINES, found, strict=True) if e["at"] >= found[1]["at"]
        ],
        ("--limit", "2"): LINES[:2],
        ("--search", "ÜBERWEISUNG"): LINES[3:],
        ("--search", "bank", "--level", "warning"): LINES[2:],
        ("--search", "bank", "--follow", "--limit", "1"): LINES[:1],
    }.items():
        texts = [entry["message"] for entry in cli("logs", instance_id, *options, "--json").json]
        assert texts == [text for _, text in expected], options
    shown = cli("logs", instance_id, "--search", "LOW").out
    assert shown.count("\n") == 1
    assert "bank_account is low" in shown
    for option in ("--since", "--until"):
        assert option in cli("logs", instance_id, option, "yesterday", code=2).err


def test_one_attempt_stores_so_many_lines_and_says_that_more_were_dropped(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_LOG_LINES", 40)
    instance_id = flow.start({"a": {"run": "say.many", "with": {"count": 300}}})
    flow.wait(instance_id)
    found = logs(flow, instance_id)
    assert [entry.message for entry in found[:40]] == [f"{number} " for number in range(40)]
    assert [(entry.level, entry.message) for entry in found[40:]] == [
        ("warning", "the attempt has logged too much: the rest is dropped")
    ]


def test_why_it_failed_is_kept_however_much_was_said_before(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_LOG_LINES", 40)
    instance_id = flow.start({"a": {"run": "say.many", "with": {"count": 300, "fail": 9}}})
    flow.wait(instance_id)
    found = logs(flow, instance_id)
    assert [entry.level for entry in found[-2:]] == ["warning", "error"]
    assert "RuntimeError: again" in found[-1].message


def test_the_course_of_progress_is_kept_beside_the_log(flow: Flow) -> None:
    instance_id = flow.start({"a": {"run": "say.far"}})
    flow.wait(instance_id)
    assert logs(flow, instance_id) == []
    told = flow.engine.feed.read(0, names=["task.progress"], instance_id=instance_id).events
    assert [event.data for event in told] == [
        {"fraction": 0.0, "message": None},
        {"fraction": 0.5, "message": "half"},
        {"fraction": 0.5, "message": "still"},
        {"fraction": 1.0, "message": "still"},
    ]
    assert [(event.path, event.attempt, event.state) for event in told] == [("a", 1, "running")] * 4


def test_one_attempt_stores_so_many_bytes_and_later_ones_less(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_LOG_BYTES", 100_000)
    body = {"run": "say.many", "with": {"count": 100, "size": 10_000, "fail": 2}}
    instance_id = flow.start({"a": {**body, "retry": {"max": 5, "delay": "1ms"}}})
    flow.wait(instance_id)
    found = logs(flow, instance_id)
    stored = [sum(1 for e in found if e.attempt == n and len(e.message) > 10_000) for n in (1, 2, 3)]
    assert stored == [9, 4, 3]
    dropped = [entry.attempt for entry in found if "the rest is dropped" in entry.message]
    assert dropped == [1, 2, 3]


@pytest.mark.row("X-42")
def test_lines_are_deleted_by_age_while_their_runs_stay(
    flow: Flow, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strataflow.repositories.log_retention.LINES_AT_ONCE", 7)
    monkeypatch.setattr("strataflow.services.log_retention.LINES_AT_ONCE", 7)
    monkeypatch.setattr("strataflow.repositories.log_retention.RUNS_AT_ONCE", 2)
    monkeypatch.setattr("strataflow.services.log_retention.RUNS_AT_ONCE", 2)
    ended = [flow.start({"a": {"run": "say.many", "with": {"count": 10}}}) for _ in range(3)]
    for each in ended:
        flow.wait(each)
    live = flow.start({"a": say(*[("info", str(n)) for n in range(100)], gate="g")})
    until(lambda: len(said(flow, live)) == 100)
    assert sum(purge_logs(flow.database, 3600.0)) == 0
    assert cli("purge", "--logs", "--older", "1h", "--json").json == {"deleted": 0}
    with flow.database.write() as connection:
        old = int(time.time() * 1_000_000) - AGE
        connection.execute(update(LOGS).where(LOGS.c.instance_id != ended[2]).values(at=old))
        connection.execute(update(INSTANCES).values(created_at=INSTANCES.c.created_at - AGE))
    assert cli("purge", "--logs", "--older", "1h", "--name", "t.none").out == "0 deleted.\n"
    assert cli("purge", "--logs", "--older", "1h", "--state", "completed", "--json").json == {"deleted": 20}
    assert [len(said(flow, each)) for each in (*ended, live)] == [0, 0, 10, 100]
    batches = list(purge_logs(flow.database, 3600.0))
    assert (sum(batches), max(batches)) == (100, 7)
    assert {flow.engine.status(each).state for each in ended} == {"completed"}
    assert all(flow.history(each) for each in ended)
    flow.probe.gate("g").set()
    assert flow.wait(live).state == "completed"
    assert json.loads(cli("purge", "--logs", "--older", "0s", "--json").out) == {"deleted": 10}
    with flow.database.write() as connection:  # as the journal has it
        connection.execute(update(INSTANCES).values(created_at=INSTANCES.c.created_at + AGE))
