"""Statistics equal the truth after a mixed run, per queue and in all; they begin anew, and stay within their bounds."""

from __future__ import annotations

import math

import pytest

from strataflow import StartOptions
from strataflow.repositories import statistics
from strataflow.repositories.records import TaskRow
from strataflow.services.statistics import QueueFigures, StatisticsService
from tests.integration.kit import Doc, Flow, until


def echo(count: int, **more: object) -> Doc:
    return {"m": {"map": list(range(count)), "do": {"run": "t.echo", "with": "{{ item }}", **more}}}


def mixed(flow: Flow) -> list[str]:
    """Run everything that can become of a task, in the queues `default` and `q`."""
    retry = {"retry": {"max": 3, "delay": "1ms"}}
    failing = {"run": "t.fail", "queue": "q"}
    slow = {"run": "t.block", "with": {"gate": "never"}, "queue": "q", "timeout": "50ms"}
    nodes: list[Doc] = [
        echo(10),
        echo(5, queue="q"),
        {"a": {**failing, "with": {"times": 2}, **retry}},
        {"a": {**failing, "with": {"retryable": False}, **retry}},
        {"a": {**slow, "retry": {"max": 1, "delay": "1ms"}}},
        {"a": {"run": "t.echo", "with": "{{ nodes.b.output }}"}, "b": {"run": "t.fail", "with": {}}},
        {"a": {**slow, "on_error": [{"on": ["timeout"], "output": 1}]}},
    ]
    ids = [flow.start(each) for each in nodes]
    for each in ids:
        flow.wait(each)
    cancelled = flow.start({"a": {"run": "t.gate", "with": {"gate": "never"}}})
    until(lambda: flow.state(cancelled, "a") == "running")
    flow.cancel(cancelled)
    flow.wait(cancelled)
    return [*ids, cancelled]


def rank(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def numbers(figures: QueueFigures) -> dict[str, int]:
    names = "started attempts running completed failed cancelled expired retried timed_out".split()
    return {name: getattr(figures, name) for name in names}


def executed(flow: Flow, ids: list[str]) -> list[TaskRow]:
    rows = [row for each in ids for row in flow.tasks(each).values()]
    return [row for row in rows if row.executor is not None and row.attempt]


@pytest.mark.row("M-33")
def test_statistics_equal_the_truth_after_a_mixed_run(flow: Flow) -> None:
    ids = mixed(flow)
    running = flow.start({"a": {"run": "t.gate", "with": {"gate": "g"}, "queue": "q"}})
    until(lambda: flow.state(running, "a") == "running")
    flow.start_with(StartOptions(start_at=3600), echo(1))
    found = StatisticsService(flow.database).read()
    queues = {each.queue: each for each in found.queues}
    assert list(queues) == ["default", "q"]
    expected = {
        "default": {"started": 12, "attempts": 12, "completed": 10, "failed": 1, "cancelled": 1},
        "q": {
            "started": 10,
            "attempts": 13,
            "running": 1,
            "completed": 7,
            "failed": 2,
            "retried": 3,
            "timed_out": 3,
        },
    }
    blank = dict.fromkeys(numbers(found.total), 0)
    for name, figures in queues.items():
        assert numbers(figures) == blank | expected[name], name
    assert numbers(found.total) == {
        name: sum(numbers(each)[name] for each in found.queues) for name in numbers(found.total)
    }
    rows = [row for row in executed(flow, ids) if row.ended_at is not None]
    for figures in (*found.queues, found.total):
        mine = [row for row in rows if figures.queue in {"*", row.queue}]
        spent = [((row.ended_at or 0) - (row.started_at or 0)) / 1_000_000 for row in mine]
        assert figures.mean_s == pytest.approx(sum(spent) / len(spent))
        assert figures.p95_s == pytest.approx(rank(spent))
        assert (figures.last_5, figures.last_15, figures.last_60) == (len(mine),) * 3
    assert found.runs == {"completed": 4, "failed": 3, "cancelled": 1, "running": 1, "queued": 1}
    assert found.whole
    (engine,) = found.engines
    assert (engine.id, engine.slots, engine.used) == (flow.engine.parts.engine_id, 100, 1)
    assert found.as_json()["total"]["started"] == 22
    only = StatisticsService(flow.database).read(queue="q")
    assert [each.queue for each in only.queues] == ["q"]
    assert only.total.started == 10
    flow.probe.gate("g").set()
    assert flow.wait(running).state == "completed"


@pytest.mark.row("M-33")
def test_after_a_reset_only_what_begins_then_counts(flow: Flow) -> None:
    service = StatisticsService(flow.database)
    assert service.read().since is None
    flow.wait(flow.start(echo(3)))
    assert service.read().total.completed == 3
    instant = service.reset()
    found = service.read()
    assert (found.since, found.queues, found.runs) == (instant, (), {})
    assert numbers(found.total) == dict.fromkeys(numbers(found.total), 0)
    assert (found.total.mean_s, found.total.p95_s) == (None, None)
    flow.wait(flow.start(echo(2)))
    assert service.read().total.completed == 2
    assert service.read(window_s=0.0).total.started == 0


def test_what_ended_long_ago_is_not_of_the_last_minutes(flow: Flow) -> None:
    ids = [flow.start(echo(1)) for _ in range(4)]
    for each in ids:
        flow.wait(each)
    minute = 60_000_000
    with flow.database.read() as connection:
        newest = max(row.ended_at or 0 for row in executed(flow, ids))
        (default, _) = sorted(
            statistics.figures(connection, newest + 10 * minute, 0), key=lambda each: -len(each.queue)
        )
    assert (default.last_5, default.last_15, default.last_60) == (0, 4, 4)


def test_of_many_runs_the_newest_are_looked_at_and_that_is_said(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        flow.wait(flow.start(echo(2)))
    monkeypatch.setattr(statistics, "MOST_RUNS", 2)
    found = StatisticsService(flow.database).read()
    assert (found.total.started, found.whole) == (4, False)
    monkeypatch.setattr(statistics, "MOST_RUNS", 10_000)
    monkeypatch.setattr(statistics, "MOST_TASKS", 5)
    found = StatisticsService(flow.database).read()
    assert (found.total.started, found.whole) == (5, False)


@pytest.mark.row("M-30")
def test_engines_are_shown_with_what_they_hold(flow: Flow) -> None:
    flow.open(slots=3)
    flow.open(slots=2)
    service = StatisticsService(flow.database)
    assert sorted((each.slots, each.used) for each in service.engines()) == [(2, 0), (3, 0)]
    instance_id = flow.start({"m": {"map": [1, 2, 3, 4], "do": {"run": "t.gate", "with": {"gate": "g"}}}})
    until(lambda: sum(each.used for each in service.engines()) == 4)
    assert all(each.used <= each.slots for each in service.engines())
    flow.probe.gate("g").set()
    flow.wait(instance_id)
    until(lambda: sum(each.used for each in service.engines()) == 0)
