"""Schedules: when they fire, what overlap and misfire do, by hand, in the definition, among several engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strataflow.engine.errors import Conflict, EngineError, InputError, NotFound
from strataflow.repositories import schedule_store
from strataflow.repositories.records import InstanceState
from strataflow.services.schedules import SchedulerService, ScheduleSpec
from tests.integration.kit import Doc, Flow, until

ECHO: Doc = {"a": {"run": "t.echo", "with": "{{ instance.scheduled_for }}"}}
GATE: Doc = {"a": {"run": "t.gate", "with": {"gate": "x"}}}


def service(flow: Flow) -> SchedulerService:
    return SchedulerService(flow.engine.database, flow.engine.parts.catalog, flow.engine)


def register(flow: Flow, nodes: Doc = ECHO, **top: Any) -> str:
    flow.engine.parts.catalog.register(flow.document(nodes, **top), activate=True)
    return "flow"


def runs(flow: Flow, schedules: SchedulerService, name: str) -> list[str]:
    found = [firing.instance_id for firing in schedules.history(name) if firing.instance_id]
    flow.started += [each for each in found if each not in flow.started]
    return found


def ended(flow: Flow, instance_id: str) -> Any:
    until(lambda: flow.state(instance_id, "") is not None)
    return flow.wait(instance_id)


def rewind(flow: Flow, name: str, seconds: float) -> int:
    """Make the schedule's past look undecided, as if no engine had been there; gives the new beginning."""
    with flow.engine.database.write() as connection:
        row = schedule_store.lock_schedule(connection, name)
        assert row is not None
        since = schedule_store.now_of(connection) - int(seconds * 1_000_000)
        schedule_store.change_schedule(connection, row.id, fired_until=since, next_at=since)
    return since


@pytest.mark.row("X-35")
def test_an_interval_starts_instances_with_their_instant(flow: Flow) -> None:
    schedules = service(flow)
    schedules.create(ScheduleSpec("often", register(flow), every_s=1))
    until(lambda: len(schedules.history("often")) >= 2)
    schedules.pause("often")
    firings = schedules.history("often")
    for firing in firings:
        assert firing.instance_id is not None
        status = ended(flow, firing.instance_id)
        flow.started.append(firing.instance_id)
        at = datetime.fromtimestamp(firing.at / 1_000_000, UTC)
        assert status.output == {"a": at.isoformat(timespec="microseconds").replace("+00:00", "Z")}
    assert all(firing.at % 1_000_000 == 0 for firing in firings)
    assert schedules.get("often").runs == len(firings)


def test_a_definition_schedules_itself_while_its_version_is_active(flow: Flow) -> None:
    schedules = service(flow)
    register(flow, schedule={"every": "1s", "overlap": "skip"})
    row = schedules.get("definition:flow")
    assert (row.every, row.overlap, row.origin) == (1_000_000, "skip", "definition")
    until(lambda: len(runs(flow, schedules, row.name)) >= 1)
    register(flow, ECHO, description="no schedule any more")
    with pytest.raises(NotFound):
        schedules.get("definition:flow")
    for instance_id in list(flow.started):
        assert ended(flow, instance_id).state is InstanceState.COMPLETED


def test_a_definition_without_other_times_keeps_what_has_fired(flow: Flow) -> None:
    schedules = service(flow)
    register(flow, schedule={"cron": "0 0 1 1 *"})
    first = schedules.get("definition:flow")
    register(flow, schedule={"cron": "0 0 1 1 *", "overlap": "queue"})
    second = schedules.get("definition:flow")
    assert (second.id, second.next_at, second.overlap) == (first.id, first.next_at, "queue")


@pytest.mark.parametrize(("misfire", "fired", "missed"), [("latest", 1, 2), ("skip", 0, 3), ("all", 3, 0)])
def test_what_was_missed_is_dealt_with_as_the_schedule_says(
    flow: Flow, misfire: str, fired: int, missed: int
) -> None:
    schedules = service(flow)
    register(flow)
    flow.shut()
    flow.open(executes=False)
    client = service(flow)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    client.create(ScheduleSpec("hourly", "flow", every_s=3600, start_at=start, misfire=misfire))
    now = rewind(flow, "hourly", 3 * 3600)
    flow.shut()
    schedules = service(flow)
    until(lambda: len(schedules.history("hourly")) >= 3)
    found = schedules.history("hourly")
    outcomes = [firing.outcome for firing in found]
    assert (outcomes.count("started"), outcomes.count("missed")) == (fired, missed)
    assert all(firing.at > now for firing in found)
    for instance_id in runs(flow, schedules, "hourly"):
        ended(flow, instance_id)


def test_overlap_skip_and_by_force(flow: Flow) -> None:
    schedules = service(flow)
    far = datetime.now(UTC) + timedelta(days=300)
    schedules.create(ScheduleSpec("s", register(flow, GATE), at=far, overlap="skip"))
    first, second, third = schedules.trigger("s"), schedules.trigger("s"), schedules.trigger("s", force=True)
    assert [f.outcome for f in (first, second, third)] == ["started", "skipped", "started"]
    assert second.reason == f"{first.instance_id} has not ended"
    flow.probe.gate("x").set()
    for instance_id in runs(flow, schedules, "s"):
        assert ended(flow, instance_id).state is InstanceState.COMPLETED
    assert (schedules.get("s").runs, schedules.get("s").skips) == (2, 1)


def test_overlap_queue_runs_one_after_the_other(flow: Flow) -> None:
    schedules = service(flow)
    far = datetime.now(UTC) + timedelta(days=300)
    schedules.create(ScheduleSpec("s", register(flow, GATE), at=far, overlap="queue"))
    first, second = schedules.trigger("s"), schedules.trigger("s")
    assert first.instance_id is not None
    assert second.instance_id is not None
    until(lambda: flow.state(first.instance_id or "", "a") == "running")
    waiting = second.instance_id
    until(lambda: flow.state(waiting, "") is not None)
    assert flow.engine.status(waiting).state is InstanceState.QUEUED
    flow.probe.gate("x").set()
    for instance_id in runs(flow, schedules, "s"):
        assert ended(flow, instance_id).state is InstanceState.COMPLETED


def test_overlap_cancel_stops_the_one_before(flow: Flow) -> None:
    schedules = service(flow)
    far = datetime.now(UTC) + timedelta(days=300)
    schedules.create(ScheduleSpec("s", register(flow, GATE), at=far, overlap="cancel"))
    first = schedules.trigger("s").instance_id or ""
    until(lambda: flow.state(first, "a") == "running")
    second = schedules.trigger("s").instance_id or ""
    assert ended(flow, first).state is InstanceState.CANCELLED
    flow.probe.gate("x").set()
    assert ended(flow, second).state is InstanceState.COMPLETED
    runs(flow, schedules, "s")


@pytest.mark.row("X-35")
def test_several_engines_fire_each_instant_once(flow: Flow) -> None:
    schedules = service(flow)
    others = [flow.open() for _ in range(2)]
    schedules.create(ScheduleSpec("often", register(flow), every_s=1))
    until(lambda: len(schedules.history("often")) >= 3)
    schedules.pause("often")
    found = schedules.history("often")
    assert len({firing.at for firing in found}) == len(found)
    for firing in found:
        assert firing.instance_id is not None
        flow.started.append(firing.instance_id)
        assert ended(flow, firing.instance_id).state is InstanceState.COMPLETED
    assert len(flow.probe.calls) == len(found)
    assert len(others) == 2


def test_backfill_fires_a_range_once(flow: Flow) -> None:
    schedules = service(flow)
    far = datetime.now(UTC) + timedelta(days=300)
    spec = ScheduleSpec("daily", register(flow), cron="0 6 * * *", timezone="Europe/Paris", start_at=far)
    schedules.create(spec)
    first, last = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)
    found = schedules.backfill("daily", first, last)
    hours = [datetime.fromtimestamp(firing.at / 1_000_000, UTC).hour for firing in found]
    assert hours == [5, 5, 4, 4]  # summer time begins on the 29th
    again = schedules.backfill("daily", first, last)
    assert [firing.instance_id for firing in again] == [firing.instance_id for firing in found]
    for instance_id in runs(flow, schedules, "daily"):
        assert ended(flow, instance_id).state is InstanceState.COMPLETED
    assert len(flow.probe.calls) == 4


def test_pause_resume_update_remove(flow: Flow) -> None:
    schedules = service(flow)
    spec = ScheduleSpec("s", register(flow), cron="*/5 * * * *")
    schedules.create(spec)
    with pytest.raises(Conflict, match="there is a schedule 's' already"):
        schedules.create(spec)
    assert schedules.pause("s", "holidays").next_at is None
    assert schedules.get("s").problem == "holidays"
    assert schedules.update(ScheduleSpec("s", "flow", cron="0 1 * * *")).state == "paused"
    row = schedules.resume("s")
    assert row.next_at is not None
    assert datetime.fromtimestamp(row.next_at / 1_000_000, UTC).hour == 1
    assert schedules.preview("s", 3) == sorted(schedules.preview("s", 3))
    schedules.remove("s")
    assert [each.name for each in schedules.list()] == []


def test_what_cannot_be_is_refused_and_what_breaks_later_is_told(flow: Flow) -> None:
    schedules = service(flow)
    register(flow, inputs={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    with pytest.raises(EngineError, match="minute"):
        schedules.create(ScheduleSpec("s", "flow", cron="99 * * * *"))
    with pytest.raises(NotFound):
        schedules.create(ScheduleSpec("s", "nothing", cron="* * * * *"))
    with pytest.raises(EngineError, match="would never fire"):
        schedules.create(ScheduleSpec("s", "flow", at=datetime(2020, 1, 1, tzinfo=UTC), inputs={"n": 1}))
    with pytest.raises(InputError, match="/n"):
        schedules.create(ScheduleSpec("s", "flow", cron="0 0 1 1 *", inputs={"n": "many"}))
    assert schedules.list() == []
    schedules.create(ScheduleSpec("s", "flow", cron="0 0 1 1 *", inputs={"n": 1}))
    register(flow, inputs={"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]})
    found = schedules.trigger("s")
    assert found.outcome == "skipped"
    assert "/n" in (found.reason or "")


BAD: list[tuple[Doc, str]] = [
    ({"every_s": 0.5}, "every is 1 s or more"),
    ({"every_s": float("nan")}, "every is 1 s or more"),
    ({"every_s": float("inf")}, "every is 1 s or more"),
    ({"every_s": 60, "jitter_s": -1.0}, "jitter is 0 s or more"),
    ({"every_s": 60, "cooldown_s": -1.0}, "cooldown is 0 s or more"),
    ({"every_s": 60, "catch_up": 0}, "catch_up is a whole number from 1 to 10000"),
    ({"every_s": 60, "catch_up": 10_001}, "catch_up is a whole number from 1 to 10000"),
    ({"every_s": 60, "overlap": "both"}, "allow, skip, queue, cancel"),
    ({"every_s": 60, "misfire": "both"}, "skip, latest, all"),
    ({"every_s": 60, "queue": "a b"}, "'a b' is no queue name"),
    ({"every_s": 60, "priority": 1_000_001}, "a priority is a whole number"),
    ({"every_s": 60, "inputs": {"x": 1}}, "there is no input 'x'"),
    ({"every_s": 60, "inputs": [1]}, "inputs are an object"),
    ({"every_s": 60, "inputs": {"x": "{{ 1 + }}"}}, "the inputs cannot be read"),
    ({"every_s": 60, "inputs": {"x": "{{ now }}"}}, "the inputs read now, which a schedule does not know"),
    ({"every_s": 60, "inputs": {"x": "{{ instance.id }}"}}, "the inputs read instance.id"),
    ({"every_s": 60, "timezone": "Mars/Base"}, "no known time zone"),
    ({"every_s": 60, "cron": "* * * * *"}, "exactly one of"),
    ({}, "exactly one of"),
    ({"every_s": 60, "name": "a b"}, "no schedule name"),
    ({"every_s": 60, "definition": "flow@x"}, "no definition reference"),
    ({"every_s": 60, "definition": "flow@9"}, "there is no definition"),
    (
        {
            "every_s": 60,
            "start_at": datetime(2031, 1, 1, tzinfo=UTC),
            "end_at": datetime(2030, 1, 1, tzinfo=UTC),
        },
        "never fires",
    ),
]


def spec_of(fields: dict[str, Any]) -> ScheduleSpec:
    given: dict[str, Any] = {"name": "s", "definition": "flow", **fields}
    return ScheduleSpec(**given)


@pytest.mark.row("M-29")
def test_every_wrong_kind_of_schedule_is_refused_before_and_while_it_is_saved(flow: Flow) -> None:
    schedules = service(flow)
    register(flow)
    for wrong, said in BAD:
        spec = spec_of(wrong)
        for attempt in (schedules.create, schedules.preview):
            with pytest.raises(EngineError, match=said):
                attempt(spec)
    assert schedules.list() == []
    schedules.create(ScheduleSpec("s", "flow", every_s=60))
    for wrong, said in BAD[:-4]:
        with pytest.raises(EngineError, match=said):
            schedules.update(spec_of(wrong))
    assert schedules.get("s").every == 60_000_000


def test_a_range_that_is_reversed_or_to_come_is_not_filled_back(flow: Flow) -> None:
    schedules = service(flow)
    schedules.create(ScheduleSpec("s", register(flow), cron="0 6 * * *"))
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
    with pytest.raises(EngineError, match="ends before it begins"):
        schedules.backfill("s", last, first)
    with pytest.raises(EngineError, match="ends in the future"):
        schedules.backfill("s", first, datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(EngineError, match="more than 10,000 times"):
        schedules.backfill("s", datetime(1980, 1, 1, tzinfo=UTC), first)
    assert schedules.history("s") == []


@pytest.mark.row("M-29")
def test_a_schedule_is_disabled_enabled_fired_by_hand_updated_and_removed_over_restarts(flow: Flow) -> None:
    schedules = service(flow)
    first = schedules.create(ScheduleSpec("s", register(flow), cron="0 0 1 1 *"))
    other: Doc = {"b": {"run": "t.echo", "with": "other"}}
    flow.engine.parts.catalog.register({"dsl": "1", "name": "other", "nodes": other}, activate=True)
    with pytest.raises(Conflict, match="there is a schedule 's' already"):
        schedules.create(ScheduleSpec("s", "flow", every_s=60))
    assert schedules.pause("s").next_at is None  # disable

    flow.shut()
    schedules = service(flow)
    kept = schedules.get("s")
    assert (kept.id, kept.state, kept.cron, kept.next_at) == (first.id, "paused", "0 0 1 1 *", None)
    by_hand = [schedules.trigger("s"), schedules.trigger("s")]  # a pause stops the clock, not a person
    ids = [firing.instance_id for firing in by_hand]
    assert len({*ids}) == 2, "each run has an id of its own"
    for each in runs(flow, schedules, "s"):
        assert ended(flow, each).state is InstanceState.COMPLETED

    assert schedules.resume("s").next_at is not None  # enable
    changed = schedules.update(ScheduleSpec("s", "other", every_s=3600))
    assert (changed.id, changed.definition, changed.cron, changed.runs) == (first.id, "other", None, 2)
    flow.shut()
    schedules = service(flow)
    assert schedules.get("s").next_at == changed.next_at
    last = schedules.trigger("s").instance_id or ""
    assert last not in ids
    runs(flow, schedules, "s")
    assert ended(flow, last).output == {"b": "other"}
    assert schedules.get("s").runs == 3

    schedules.remove("s")
    for gone in (schedules.get, schedules.trigger, schedules.pause, schedules.resume, schedules.remove):
        with pytest.raises(NotFound, match="there is no schedule 's'"):
            gone("s")
    with pytest.raises(NotFound):
        schedules.update(ScheduleSpec("s", "flow", every_s=60))
    flow.shut()
    assert service(flow).list() == []
    assert flow.engine.status(last).state is InstanceState.COMPLETED  # what it started stays


def test_a_kill_between_firing_and_start_loses_nothing(flow: Flow) -> None:
    schedules = service(flow)
    far = datetime.now(UTC) + timedelta(days=300)
    schedules.create(ScheduleSpec("s", register(flow), at=far))
    flow.shut()
    client = flow.open(executes=False)
    found = SchedulerService(client.database, client.parts.catalog).trigger("s")
    assert found.instance_id is not None  # written, and nobody is there to apply it
    assert flow.state(found.instance_id, "") is None
    flow.shut()
    assert flow.engine.parts.config.executes
    assert ended(flow, found.instance_id).state is InstanceState.COMPLETED
    flow.started.append(found.instance_id)


@pytest.mark.row("A-28")
def test_a_cron_fires_once_per_instant_over_restarts_with_cooldown_and_by_hand(flow: Flow) -> None:
    schedules = service(flow)
    schedules.create(ScheduleSpec("cron", register(flow), cron="* * * * *", cooldown_s=3600))
    since = rewind(flow, "cron", 60)
    until(lambda: len(schedules.history("cron")) >= 1)
    assert ended(flow, runs(flow, schedules, "cron")[0]).state is InstanceState.COMPLETED
    flow.shut()
    rewind_again = service(flow)
    with flow.engine.database.write() as connection:  # as if the restart had forgotten what was decided
        row = schedule_store.lock_schedule(connection, "cron")
        assert row is not None
        schedule_store.change_schedule(connection, row.id, fired_until=since, next_at=since)
    until(lambda: (rewind_again.get("cron").next_at or 0) > since + 60_000_000)
    started = runs(flow, rewind_again, "cron")
    assert len(started) == 1
    assert rewind_again.get("cron").runs == 1
    soon = rewind_again.trigger("cron")
    assert (soon.outcome, soon.reason) == ("skipped", "too soon after the last start")
    forced = rewind_again.trigger("cron", force=True)
    assert forced.outcome == "started"
    for instance_id in runs(flow, rewind_again, "cron"):
        assert ended(flow, instance_id).state is InstanceState.COMPLETED
    assert len(flow.probe.calls) == 2
