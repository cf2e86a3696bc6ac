"""Chains, chords and groups: order, results, failures, and restarts, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strataflow import TaskContext, TaskFailed, TaskState, TaskSystem, task_builder
from strataflow.repositories import views
from strataflow.repositories.filters import InstanceFilter
from tests.integration.kit import until
from tests.integration.task_child import equip
from tests.integration.task_kit import WAIT_S, Bench, Process, benched


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    with benched(db_url) as made:
        yield made


def opened(bench: Bench, **options: Any) -> TaskSystem:
    """Give a system with a few more handlers."""
    system = bench.system(**options)
    system.register("add", sum)
    system.register("plus", lambda payload: payload["_chain_result"] + payload["n"])
    system.register("broken", lambda _: 1 // 0)
    return system


# --- chain


@pytest.mark.row("M-25")
def test_the_result_of_a_step_is_the_payload_of_the_next(bench: Bench) -> None:
    with opened(bench) as system:
        assert system.chain([("square", 2), "square", "square"]).get(WAIT_S) == 256
        assert system.chain([("square", 2), ("plus", {"n": 1}), ("plus", {"n": 10})]).get(WAIT_S) == 15
        whole = system.chain([("square", 2), ("echo", {"to": "ana"})])
        assert whole.get(WAIT_S) == {"to": "ana", "_chain_result": 4}
        built = task_builder("square").payload(3).timeout(5).build()
        assert system.chain([built, task_builder("echo").priority("high").build()]).get(WAIT_S) == 9
        assert (whole.progress.fraction, whole.progress.message) == (1.0, "2 of 2")
        record = system.get_task(whole.id)
        assert (record.kind, record.name) == ("chain", "square > echo")


@pytest.mark.row("M-25")
def test_a_chain_hands_on_any_json_value_and_texts_with_braces_stay_texts(bench: Bench) -> None:
    values: list[Any] = [None, 0, "", "{{ inputs }}", [], {}, [1, {"a": [None]}], {"payload": 1}, 1.5, 2**70]
    with opened(bench) as system:
        for value in values:
            assert system.chain([("echo", value), "echo"]).get(WAIT_S) == value
        large = "x" * 200_000
        assert system.chain([("echo", large), ("echo", {"n": 1})]).get(WAIT_S)["_chain_result"] == large


@pytest.mark.row("M-25")
def test_a_failure_ends_a_chain_and_names_the_step(bench: Bench) -> None:
    with opened(bench) as system:
        chain = system.chain([("echo", 1), ("broken", None, {"retries": 0}), "square"])
        with pytest.raises(TaskFailed, match="step2_broken") as found:
            chain.get(WAIT_S)
        failure = found.value.failure
        assert failure is not None
        assert (failure.step, failure.code) == ("step2_broken", "task.ZeroDivisionError")
        assert failure.traceback is not None
        assert "ZeroDivisionError" in failure.traceback
        assert chain.progress.message == "1 of 3"
    assert bench.calls == [1]  # the third step was never called


def test_a_chain_of_nothing_is_refused_and_of_one_is_the_task(bench: Bench) -> None:
    with opened(bench) as system:
        with pytest.raises(ValueError, match="at least one step"):
            system.chain([])
        one = system.chain([("square", 3)])
        assert one.get(WAIT_S) == 9
        assert system.get_task(one.id).kind == "task"


def test_what_a_composition_cannot_do_is_refused(bench: Bench) -> None:
    system = opened(bench)
    with pytest.raises(ValueError, match="_chain_result"):
        system.chain([("echo", 1), ("echo", 2)])
    with pytest.raises(ValueError, match="delay"):
        system.chain([("echo", 1), task_builder("echo").delay(3).build()])
    with pytest.raises(ValueError, match="tags"):
        system.group([task_builder("echo").tag("a").build()])
    with pytest.raises(ValueError, match="expire"):
        system.group([("echo", 1)], expires=3)
    with pytest.raises(TypeError, match="timeout"):
        system.chain([("echo", 1), "echo"], timeout=3)
    with pytest.raises(ValueError, match="at least one task"):
        system.group([])
    assert system.statistics().submitted == 0


@pytest.mark.row("M-25")
def test_a_chain_outlives_a_restart(bench: Bench, tmp_path: Path) -> None:
    chain = [["step", {"start": 1}], ["step", {"hang": True}], ["step", {}]]
    child = Process(bench.url, tmp_path, chain=chain, start=True)
    (task_id,) = child.line()
    child.await_line("step:2")
    child.kill()
    system = bench.system()
    equip(system, str(child.effects), stuck=False)
    with system:
        assert system.result(task_id).get(WAIT_S) == 4
    assert child.lines() == ["step:1", "step:2", "step:2", "step:3"]  # the first step is not repeated


# --- chord and group


@pytest.mark.row("M-26")
def test_the_callback_gets_all_results_in_the_order_of_the_tasks(bench: Bench) -> None:
    def late(ctx: TaskContext, payload: float) -> float:
        ctx.wait_cancelled(payload)
        return payload

    with opened(bench) as system:
        system.register("late", late)
        naps = [0.2, 0.0, 0.1, 0.05]
        assert system.chord([("late", nap) for nap in naps], "echo").get(WAIT_S) == naps
        assert system.chord([("late", 0.1), ("square", 3), ("late", 0.0)], "echo").get(WAIT_S) == [
            0.1,
            9,
            0.0,
        ]
        assert system.chord([("square", n) for n in range(5)], "add").get(WAIT_S) == 30
        told = system.chord([("square", 2), ("square", 3)], ("echo", {"to": "ana"})).get(WAIT_S)
        assert told == {"to": "ana", "_chord_results": [4, 9]}
        many = system.chord([("square", n) for n in range(1500)], "add")
        assert many.get(WAIT_S * 2) == sum(n * n for n in range(1500))
        assert many.progress.message == "1501 of 1501"


@pytest.mark.row("M-26")
@pytest.mark.parametrize("alike", [True, False])
def test_one_failure_fails_the_chord_and_the_callback_is_not_called(bench: Bench, *, alike: bool) -> None:
    once = {"retries": 0}
    tasks = [("fail", each, once) for each in (0, None, 0)]
    if not alike:
        tasks[0] = ("echo", 1, {})
    with opened(bench) as system:
        chord = system.chord(tasks, ("echo", {"callback": True}))
        with pytest.raises(TaskFailed) as found:
            chord.get(WAIT_S)
        assert found.value.failure is not None
        assert found.value.failure.step == ("each[1]" if alike else "task2_fail")
        assert found.value.failure.code == "task.ValueError"
        assert chord.state is TaskState.FAILED
    assert not [call for call in bench.calls if isinstance(call, dict)]


@pytest.mark.row("M-26")
def test_a_chord_of_nothing_calls_back_at_once(bench: Bench) -> None:
    with opened(bench) as system:
        assert system.chord([], "echo").get(WAIT_S) == []
        assert system.chord([], ("echo", {"n": 1})).get(WAIT_S) == {"n": 1, "_chord_results": []}
        assert system.chord([], "add").get(WAIT_S) == 0


@pytest.mark.row("M-26")
def test_a_chord_outlives_a_restart(bench: Bench, tmp_path: Path) -> None:
    tasks = [["work", number] for number in (1, 2, 0, 3)]
    child = Process(bench.url, tmp_path, chord=[tasks, ["total", None]], start=True)
    (task_id,) = child.line()
    child.await_line("begin:0")
    child.kill()
    system = bench.system()
    equip(system, str(child.effects), stuck=False)
    with system:
        assert system.result(task_id).get(WAIT_S) == [1, 2, 0, 3]
    assert child.lines().count("done:1") == 1  # what was done before the kill is not repeated


def test_a_group_outlives_one_kill_after_another(bench: Bench, tmp_path: Path) -> None:
    child = Process(bench.url, tmp_path, group=[["work", number] for number in (1, 2, 0, 3)], start=True)
    (task_id,) = child.line()
    child.await_line("begin:0")
    child.kill()
    again = Process(bench.url, tmp_path, start=True)
    again.line()
    until(lambda: again.lines().count("begin:0") == 2, WAIT_S)
    again.kill()
    with bench.system() as system:
        equip(system, str(child.effects), stuck=False)
        assert system.result(task_id).get(WAIT_S) == [1, 2, 0, 3]
    assert [child.lines().count(f"done:{number}") for number in (0, 1, 2)] == [1, 1, 1]


def test_a_group_gives_the_list_of_results(bench: Bench) -> None:
    with opened(bench) as system:
        assert system.group([("square", n) for n in (3, 1, 2)]).get(WAIT_S) == [9, 1, 4]
        assert system.group([("square", 3), ("echo", "x")]).get(WAIT_S) == [9, "x"]


def test_compositions_of_one_shape_share_a_definition(bench: Bench) -> None:
    system = opened(bench)
    for count in (2, 3, 50):
        system.group([("square", n) for n in range(count)])
        system.chain([("square", count), "square"])
    with system.engine.database.read() as connection:
        runs = views.instances(connection, where=InstanceFilter())
    assert len({run.definition_id for run in runs}) == 2


def test_a_whole_composition_is_delayed_tagged_cancelled_and_started_once(bench: Bench) -> None:
    with opened(bench) as system:
        later = system.chain([("square", 2), "square"], delay=60, tags=["night"])
        assert later.state is TaskState.PENDING
        held = system.group([("hold", 1), ("hold", 2)], tags=["night"])
        until(lambda: len(bench.calls) == 2)
        assert held.progress.message == "0 of 2"
        assert set(system.cancel_by_tag("night")) == {later.id, held.id}
        assert held.wait(WAIT_S)
        assert {held.state, later.state} == {TaskState.CANCELLED}
        first = system.chain([("square", 2), "square"], key="once")
        assert system.chain([("square", 3), "square"], key="once") == first
        assert first.get(WAIT_S) == 16


def test_tasks_of_a_composition_keep_their_own_queue_and_priority(bench: Bench) -> None:
    with opened(bench, queues=None) as system:
        steps = [task_builder("echo").payload(1).queue("slow").priority("high").build(), "echo"]
        chain = system.chain(steps, queue="mail", priority="low")
        assert chain.get(WAIT_S) == 1
        with system.engine.database.read() as connection:
            rows = {row.path: row for row in views.tasks(connection, chain.id) if row.executor}
        assert {path: (row.queue, row.priority) for path, row in rows.items()} == {
            "step1_echo": ("slow", 2),
            "step2_echo": ("mail", -2),
        }
