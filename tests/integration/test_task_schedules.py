"""Tasks that a task system starts by itself: made, listed, changed, switched, fired by hand, across restarts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strataflow import Conflict, EngineError, NotFound, PayloadError, TaskState, WorkflowEngine
from strataflow.services.schedules import SchedulerService, ScheduleSpec
from tests.integration.kit import until
from tests.integration.task_kit import WAIT_S, Bench, benched

NEVER = {"cron": "0 0 29 2 *"}


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    with benched(db_url) as made:
        yield made


@pytest.mark.row("M-27", "M-29")
def test_an_interval_starts_tasks_each_with_an_id_of_its_own(bench: Bench) -> None:
    with bench.system() as system:
        often = system.schedule("square", 7, every_s=1)
        until(lambda: len(often.runs()) >= 2, WAIT_S)
        often.disable()
        runs = often.runs()
        assert len({each.id for each in runs}) == len(runs)
        assert [each.get(WAIT_S) for each in runs] == [49] * len(runs)
        assert {system.get_task(each.id).name for each in runs} == {"square"}
        info = often.info
        assert (info.name, info.task, info.payload, info.every_s) == ("square", "square", 7, 1.0)
        assert info.run_count == len(runs)
        assert info.last_run is not None
        assert info.next_run is None
        assert often.runs(limit=2) == runs[:2]


@pytest.mark.row("M-29")
def test_a_schedule_is_disabled_enabled_fired_by_hand_and_removed(bench: Bench) -> None:
    with bench.system() as system:
        rare = system.schedule("square", 3, name="rare", **NEVER)
        assert system.schedules() == [rare]
        assert system.get_schedule("rare") == rare
        assert rare.info.enabled
        assert [(at.month, at.day) for at in rare.upcoming(2)] == [(2, 29), (2, 29)]
        rare.disable("not now")
        assert (rare.info.enabled, rare.info.next_run, rare.info.problem) == (False, None, "not now")
        rare.enable()
        assert rare.info.enabled
        assert rare.info.next_run == rare.upcoming(1)[0]
        first, second = rare.trigger_now(), rare.trigger_now()
        assert first != second
        assert (first.get(WAIT_S), second.get(WAIT_S)) == (9, 9)
        assert rare.runs() == [second, first]
        assert rare.info.run_count == 2
        assert system.unschedule("rare")
        assert not system.unschedule("rare")
        assert system.schedules() == []
        assert first.get(WAIT_S) == 9
        for call in (rare.enable, rare.disable, rare.remove, rare.trigger_now, rare.update, rare.runs):
            with pytest.raises(NotFound, match="no schedule 'rare' of a task"):
                call()
        with pytest.raises(NotFound, match="no schedule 'rare' of a task"):
            system.get_schedule("rare")


@pytest.mark.row("M-29")
def test_a_schedule_is_updated_and_keeps_what_is_not_named(bench: Bench) -> None:
    with bench.system() as system:
        made = system.schedule(
            "fail", name="s", queue="slow", priority="high", retries=0, timezone="Europe/Paris", **NEVER
        )
        before = made.info
        assert before.config.queue == "slow"
        assert (before.config.priority, before.config.max_retries) == (7, 0)
        info = made.update(cron="30 4 * * *", overlap="skip")
        assert (info.cron, info.overlap, info.timezone) == ("30 4 * * *", "skip", "Europe/Paris")
        assert (info.task, info.config) == ("fail", before.config)
        info = made.update(payload={"a": 1}, queue="default", timeout=5)
        assert (info.payload, info.cron, info.config.timeout) == ({"a": 1}, "30 4 * * *", 5)
        assert info.config.max_retries == 0
        assert made.update(payload=None).payload is None
        with pytest.raises(Conflict, match="is told by 'cron', not by 'every_s'"):
            made.update(every_s=5)
        interval = system.schedule("fail", name="i", every_s=3600)
        with pytest.raises(Conflict, match="is told by 'every_s', not by 'cron'"):
            interval.update(cron="* * * * *")
        assert interval.update(every_s=7200).every_s == 7200


@pytest.mark.row("M-29")
def test_a_name_that_is_taken_and_times_that_cannot_be_are_refused(bench: Bench) -> None:
    system = bench.system()
    system.schedule("square", 1, name="taken", **NEVER)
    with pytest.raises(Conflict, match="there is a schedule 'taken' already"):
        system.schedule("echo", 2, name="taken", every_s=5)
    refused: list[tuple[type[Exception], dict[str, Any]]] = [
        (EngineError, {}),
        (EngineError, {"cron": "61 * * * *"}),
        (EngineError, {"cron": "* * * * *", "every_s": 5}),
        (EngineError, {"every_s": 0}),
        (EngineError, {"at": datetime(2001, 1, 1, tzinfo=UTC)}),
        (EngineError, {"cron": "* * * * *", "overlap": "maybe"}),
        (EngineError, {"cron": "* * * * *", "timezone": "Mars/Base"}),
        (ValueError, {"every_s": "5"}),
        (ValueError, {"every_s": float("nan")}),
        (ValueError, {"at": "tomorrow"}),
        (ValueError, {"every_s": 5, "priority": "urgent"}),
        (TypeError, {"every_s": 5, "tags": ["a"]}),
        (TypeError, {"every_s": 5, "delay": 3}),
    ]
    for error, options in refused:
        with pytest.raises(error):
            system.schedule("square", 1, name="other", **options)
    with pytest.raises(PayloadError, match="not JSON"):
        system.schedule("square", object(), name="other", **NEVER)
    with pytest.raises(EngineError, match="templates cannot be filled in: nothing: not available here"):
        system.schedule("square", "{{ nothing }}", name="other", **NEVER)
    assert [each.name for each in system.schedules()] == ["taken"]


@pytest.mark.row("M-29")
def test_schedules_outlive_their_process_and_fire_in_another(bench: Bench) -> None:
    first = bench.system(handlers=False)
    at = datetime.now(UTC) + timedelta(seconds=1)
    once = first.schedule("square", 5, name="once", at=at)
    assert once.info.at == at
    first.stop()
    with bench.system() as second:
        found = second.get_schedule("once")
        until(lambda: found.runs() != [], WAIT_S)
        assert found.runs()[0].get(WAIT_S) == 25
        assert (found.info.run_count, found.info.last_run, found.info.next_run) == (1, at, None)


def test_a_payload_reads_its_instant_and_braces_can_be_text(bench: Bench) -> None:
    with bench.system() as system:
        payload = {"day": "{{ instance.scheduled_for | date }}", "text": "{{ '{{' }} stays"}
        task = system.schedule("echo", payload, **NEVER).trigger_now()
        today = datetime.now(UTC)
        days = {f"{each:%Y-%m-%d}" for each in (today, today - timedelta(minutes=5))}
        result = task.get(WAIT_S)
        assert result["text"] == "{{ stays"
        assert result["day"] in days


def test_the_overlap_policy_refuses_a_run_by_hand_unless_it_is_forced(bench: Bench) -> None:
    with bench.system() as system:
        held = system.schedule("hold", name="one", overlap="skip", **NEVER)
        first = held.trigger_now()
        until(lambda: first.state is TaskState.RUNNING, WAIT_S)
        with pytest.raises(Conflict, match="has not ended"):
            held.trigger_now()
        second = held.trigger_now(force=True)
        bench.gate.set()
        assert (first.get(WAIT_S), second.get(WAIT_S)) == ("held", "held")
        assert held.info.skip_count == 1


def test_schedules_of_workflows_are_none_of_tasks(bench: Bench) -> None:
    system = bench.system()
    engine: WorkflowEngine = system.engine
    engine.register({"dsl": "1", "name": "other", "nodes": {"a": {"wait": {"for": "1s"}}}}, activate=True)
    service = SchedulerService(engine.database, engine.parts.catalog, engine)
    service.create(ScheduleSpec("theirs", "other", every_s=3600))
    assert system.schedules() == []
    assert not system.unschedule("theirs")
    with pytest.raises(NotFound):
        system.get_schedule("theirs")
    with pytest.raises(Conflict, match="there is a schedule 'theirs' already"):
        system.schedule("square", 1, name="theirs", every_s=5)
    assert [row.name for row in service.list()] == ["theirs"]


def test_an_id_comes_back_only_when_the_task_is_there(bench: Bench) -> None:
    system = bench.system()
    task = system.schedule("square", 4, **NEVER).trigger_now()
    assert system.get_task(task.id).state is TaskState.QUEUED
    with system:
        assert task.get(WAIT_S) == 16
