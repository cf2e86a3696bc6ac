"""Limits of queues, executors, nodes, keys, pools and mutex groups; queues that are paused or bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from strataflow import StartOptions
from strataflow.engine.errors import QueueFull
from strataflow.repositories import control_store, limitviews
from tests.integration.kit import Doc, Flow, until


def fan(count: int, **more: Any) -> Doc:
    return {"m": {"map": list(range(count)), "do": {"run": "t.measure", "with": {"at": "m"}, **more}}}


def counters(flow: Flow) -> dict[str, tuple[int, int]]:
    with flow.engine.database.read() as connection:
        return {row.name: (row.used, row.waiting) for row in limitviews.limits(connection)}


@pytest.mark.parametrize("name", ["*", "queue:default", "executor:t.measure"])
def test_a_counter_that_somebody_set_holds(flow: Flow, name: str) -> None:
    control_store.set_limit(flow.engine.database, name, concurrency=3)
    instance_id = flow.start(fan(30))
    assert flow.wait(instance_id).state == "completed"
    assert 2 <= flow.probe.most["m"] <= 3
    assert len(flow.probe.calls) == 30
    assert counters(flow)[name] == (0, 0)


def test_a_rate_spreads_what_begins(flow: Flow) -> None:
    control_store.set_limit(flow.engine.database, "queue:default", rate=(20, 1_000_000, 2))
    instance_id = flow.start(fan(12))
    flow.wait(instance_id)
    begun = sorted(
        row.started_at or 0 for row in flow.tasks(instance_id).values() if row.executor is not None
    )
    assert len(begun) == 12
    for index in range(len(begun) - 2):  # burst 2: any three begin within an interval or more
        assert begun[index + 2] - begun[index] >= 50_000


def test_a_paused_queue_gives_nothing_until_it_is_resumed(flow: Flow) -> None:
    database = flow.engine.database
    control_store.set_queue(database, "default", state="paused", reason="upgrade")
    instance_id = flow.start({"a": {"run": "t.echo", "with": 1}})
    other = flow.start({"a": {"run": "t.echo", "with": 2, "queue": "other"}})
    assert flow.wait(other).state == "completed"
    assert flow.state(instance_id, "a") == "queued"
    control_store.set_queue(database, "default", state="active")
    assert flow.wait(instance_id).output == {"a": 1}


def test_a_full_queue_refuses_the_start(flow: Flow) -> None:
    database = flow.engine.database
    control_store.set_queue(database, "q", state="paused", max_size=2)
    options = StartOptions(queue="q")
    nodes = {"a": {"run": "t.echo", "with": 1}}
    first = [flow.start_with(options, nodes) for _ in range(2)]
    with pytest.raises(QueueFull, match="queue 'q' is full: it holds 2 tasks"):
        flow.start_with(options, nodes)
    control_store.set_queue(database, "q", state="active")
    assert [flow.wait(each).state for each in first] == ["completed"] * 2


def test_a_changed_number_counts_at_once(flow: Flow) -> None:
    database = flow.engine.database
    control_store.set_limit(database, "queue:default", concurrency=0)
    instance_id = flow.start(fan(10))
    until(lambda: counters(flow).get("queue:default", (0, 0))[1] > 0)
    assert flow.probe.calls == []
    control_store.set_limit(database, "queue:default", concurrency=5)
    flow.wait(instance_id)
    assert flow.probe.most["m"] <= 5
    assert control_store.unset_limit(database, "queue:default")
    assert flow.wait(flow.start(fan(5))).state == "completed"


def test_blocked_tasks_are_cancelled_and_leave_the_line(flow: Flow) -> None:
    control_store.set_limit(flow.engine.database, "queue:default", concurrency=1)
    instance_id = flow.start({"a": {"run": "t.gate", "with": {"gate": "x"}}, **fan(5)})
    until(lambda: counters(flow)["queue:default"][1] >= 5)
    asyncio.run(flow.engine.cancel_workflow(instance_id))
    flow.probe.gate("x").set()
    assert flow.wait(instance_id).state == "cancelled"
    assert counters(flow)["queue:default"] == (0, 0)


def test_pause_and_resume_of_a_run_whose_tasks_are_blocked(flow: Flow) -> None:
    control_store.set_limit(flow.engine.database, "queue:default", concurrency=1)
    instance_id = flow.start({"a": {"run": "t.gate", "with": {"gate": "x"}}, **fan(5)})
    until(lambda: counters(flow)["queue:default"][1] >= 5)
    asyncio.run(flow.engine.pause_workflow(instance_id))
    flow.probe.gate("x").set()
    until(lambda: flow.state(instance_id, "a") == "completed")
    asyncio.run(flow.engine.resume_workflow(instance_id))
    assert flow.wait(instance_id).state == "completed"
    assert counters(flow)["queue:default"] == (0, 0)


@pytest.mark.row("X-24")
def test_higher_priority_of_a_start_runs_first(flow: Flow) -> None:
    database = flow.engine.database
    control_store.set_queue(database, "default", state="paused")
    nodes = {"a": {"run": "t.measure", "with": {"at": "{{ instance.id }}"}}}
    ids = {p: flow.start_with(StartOptions(priority=p), nodes) for p in (1, 9, 5)}
    control_store.set_limit(database, "queue:default", concurrency=1)
    control_store.set_queue(database, "default", state="active")
    for each in ids.values():
        flow.wait(each)
    order = [config["at"] for _, _, config in flow.probe.calls]
    assert order == [ids[9], ids[5], ids[1]]


def measured(at: str, **limits: Any) -> Doc:
    return {"run": "t.measure", "with": {"at": at}, "limits": limits}


def test_a_key_has_a_counter_of_its_own(flow: Flow) -> None:
    body = measured("{{ item }}", key="{{ item }}", concurrency=1)
    status = flow.run({"m": {"map": ["a", "b"] * 8, "do": body}})
    assert status.state == "completed"
    assert (flow.probe.most["a"], flow.probe.most["b"]) == (1, 1)
    assert set(counters(flow)) == {"node:flow/m[]:a", "node:flow/m[]:b"}


def test_a_group_is_shared_by_nodes_and_a_definition_bounds_all_its_runs(flow: Flow) -> None:
    one, two = measured("g", group="bank", concurrency=2), measured("g", group="bank", concurrency=2)
    nodes: Doc = {"a": {"map": [1, 2, 3, 4], "do": one}, "b": {"map": [1, 2, 3, 4], "do": two}}
    flow.run(nodes)
    assert flow.probe.most["g"] <= 2
    plain = {"m": {"map": list(range(6)), "do": {"run": "t.measure", "with": {"at": "d"}}}}
    runs = [flow.start(plain, limits={"concurrency": 3}) for _ in range(3)]
    for each in runs:
        flow.wait(each)
    assert 2 <= flow.probe.most["d"] <= 3


def test_a_key_of_a_node_does_not_divide_the_limit_of_its_definition(flow: Flow) -> None:
    body = measured("d", key="{{ item }}", concurrency=2)
    flow.run({"m": {"map": list(range(12)), "do": body}}, limits={"concurrency": 3})
    assert 2 <= flow.probe.most["d"] <= 3
    assert "definition:flow" in counters(flow)


@pytest.mark.row("A-25")
def test_mutexes_and_pools_serialise_and_never_deadlock_however_they_cross(flow: Flow) -> None:
    database = flow.engine.database
    control_store.set_limit(database, "pool:gpu", concurrency=2)
    control_store.set_limit(database, "pool:license", concurrency=1)
    crossed = [
        measured("ab", mutex=["a", "b"]),
        measured("ba", mutex=["b", "a"], pools={"gpu": 1}),
        measured("gl", pools={"gpu": 2, "license": 1}),
        measured("lg", pools={"license": 1, "gpu": 1}, mutex="{{ 'a' }}"),
    ]
    nodes = {f"n{i}": {"map": list(range(6)), "do": body} for i, body in enumerate(crossed)}
    runs = [flow.start(nodes) for _ in range(2)]
    assert [flow.wait(each).state for each in runs] == ["completed"] * 2
    assert len(flow.probe.calls) == 2 * 4 * 6
    assert {flow.probe.most[name] for name in ("ab", "ba", "gl", "lg")} == {1}
    assert set(counters(flow).values()) == {(0, 0)}


def test_a_heavy_task_is_not_overtaken_for_ever(flow: Flow) -> None:
    control_store.set_limit(flow.engine.database, "pool:gpu", concurrency=4)
    light = {"m": {"map": list(range(60)), "do": measured("light", pools={"gpu": 1})}}
    stream = flow.start(light)
    until(lambda: flow.probe.running["light"] > 0)
    heavy = flow.start({"a": measured("heavy", pools={"gpu": 4})})
    flow.wait(heavy)
    assert flow.wait(stream).state == "completed"
    assert flow.probe.most["light"] <= 4
    assert flow.probe.most["heavy"] == 1


def test_a_pool_that_nobody_has_sized_lets_nobody_in(flow: Flow) -> None:
    instance_id = flow.start({"a": measured("x", pools={"tpu": 1})})
    until(lambda: flow.state(instance_id, "a") == "blocked")
    assert "nobody has said how large pool:tpu is" in flow.history(instance_id)[-1].reason
    control_store.set_limit(flow.engine.database, "pool:tpu", concurrency=1)
    assert flow.wait(instance_id).state == "completed"


def test_several_engines_share_the_counters(flow: Flow) -> None:
    engines = [flow.engine, flow.open(), flow.open()]
    control_store.set_limit(flow.engine.database, "executor:t.measure", concurrency=3)
    runs = [flow.start(fan(20)) for _ in engines]
    for each in runs:
        assert flow.wait(each).state == "completed"
    assert flow.probe.most["m"] <= 3
    assert len(flow.probe.calls) == 60


def test_a_key_that_is_no_text_fails_its_task(flow: Flow) -> None:
    status = flow.run({"m": {"map": [[1]], "do": measured("x", key="{{ item }}", concurrency=1)}})
    assert status.state == "failed"
    (task,) = (task for path, task in flow.tasks(status.id).items() if path == "m[0]")
    assert "limits.key must give text or a whole number" in (task.error or "")
