"""Who waits for a limit gets in: heavy tasks, tasks with several limits, keys, and waiters whose limit was changed."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.repositories import control_store
from tests.integration.kit import Doc, Flow, until
from tests.integration.test_limits import counters, measured


def stream(body: Doc, width: int, turns: int = 400) -> Doc:
    """Give `width` lines in which the next task comes as soon as the one before ended."""
    return {"m": {"map": list(range(width)), "do": {"loop": {"times": turns}, "do": body}}}


def gated(names: list[str], **limits: Any) -> Doc:
    """Give one task a name, each behind a gate of its own."""
    return {n: {"run": "t.gate", "with": {"gate": n}, "limits": limits} for n in names}


def end(flow: Flow, run: str, name: str) -> None:
    """Let one task end, and let the engine look at what waits more than once."""
    flow.probe.gate(name).set()
    until(lambda: flow.state(run, name) == "completed")
    for _ in range(3):
        flow.run({"a": {"run": "t.echo", "with": 1}, "b": {"run": "t.echo", "with": 1, "needs": ["a"]}})


def test_a_heavy_task_gets_in_although_light_ones_keep_coming(flow: Flow) -> None:
    control_store.set_limit(flow.engine.database, "pool:gpu", concurrency=4)
    first = flow.start(gated(["a", "b", "c", "d"], pools={"gpu": 1}))
    until(lambda: counters(flow).get("pool:gpu") == (4, 0))
    heavy = flow.start(gated(["heavy"], pools={"gpu": 3}))
    until(lambda: flow.state(heavy, "heavy") == "blocked")
    others = [flow.start(gated([name], pools={"gpu": 1})) for name in ("e", "f", "g")]
    until(lambda: counters(flow)["pool:gpu"] == (4, 4))
    for name, left in (("a", 3), ("b", 2)):
        end(flow, first, name)
        assert counters(flow)["pool:gpu"] == (left, 4), "a light one went before the heavy one"
    end(flow, first, "c")
    until(lambda: flow.state(heavy, "heavy") == "running")
    assert counters(flow)["pool:gpu"] == (4, 3)
    end(flow, heavy, "heavy")
    until(lambda: counters(flow)["pool:gpu"] == (4, 0))
    for name in "defg":
        flow.probe.gate(name).set()
    assert {flow.wait(each).state for each in (first, heavy, *others)} == {"completed"}


def test_a_task_with_two_limits_gets_in_although_each_is_always_used_up(flow: Flow) -> None:
    """Each of the two is free now and then, both at the same time hardly ever."""
    steps = {"x": (0.011, 0.017, 0.005), "y": (0.019, 0.007, 0.013)}
    streams = [
        flow.start(
            stream({"run": "core.sleep", "with": {"seconds": s}, "limits": {"mutex": name}}, 1, 3000),
            name=f"{name}{s}",
        )
        for name, all_ in steps.items()
        for s in all_
    ]
    until(lambda: counters(flow) == {"mutex:x": (1, 2), "mutex:y": (1, 2)})
    both = flow.start({"a": measured("both", mutex=["x", "y"])})
    assert flow.wait(both).state == "completed"
    for each in streams:
        assert flow.engine.status(each).state == "running", "it waited for the end of the stream"
        flow.cancel(each)


def test_what_can_never_fit_holds_nobody_up(flow: Flow) -> None:
    control_store.set_limit(flow.engine.database, "pool:gpu", concurrency=2)
    never = flow.start({"a": measured("never", pools={"gpu": 3})})
    until(lambda: flow.state(never, "a") == "blocked")
    assert flow.run({"m": {"map": [1, 2, 3], "do": measured("light", pools={"gpu": 1})}}).state == "completed"
    assert "needs 3 of pool:gpu, which has 2" in flow.history(never)[-1].reason
    control_store.set_limit(flow.engine.database, "pool:gpu", concurrency=3)
    assert flow.wait(never).state == "completed"


def test_who_cannot_be_taken_now_slows_nobody_down(flow: Flow) -> None:
    """A task of a paused queue waits in the line of everything: the others need no poll to pass it."""
    flow.open(poll_s=3600.0)
    database = flow.engine.database
    control_store.set_limit(database, "*", concurrency=1)
    gate = flow.start({"a": {"run": "t.gate", "with": {"gate": "x"}}})
    until(lambda: flow.state(gate, "a") == "running")
    stuck = flow.start({"a": {"run": "t.echo", "with": 1, "queue": "mail"}})
    flow.engine.parts.scheduler.loop.wake()
    until(lambda: flow.state(stuck, "a") == "blocked")
    control_store.set_queue(database, "mail", state="paused")
    flow.probe.gate("x").set()
    flow.wait(gate)
    chain = {"m": {"loop": {"times": 5}, "do": {"run": "t.echo", "with": 1}}}
    assert flow.run(chain).state == "completed"
    control_store.set_queue(database, "mail", state="active")
    flow.engine.parts.scheduler.loop.wake()
    assert flow.wait(stuck).state == "completed"


def test_no_key_starves_beside_a_busy_one(flow: Flow) -> None:
    busy = measured("busy", key="{{ 'busy' }}", concurrency=1)
    crowd = flow.start(stream(busy, 4), name="crowd")
    until(lambda: flow.probe.running["busy"])
    keys = [f"k{n % 40}" for n in range(120)]
    others = {"m": {"map": keys, "do": measured("{{ item }}", key="{{ item }}", concurrency=1)}}
    assert flow.run(others).state == "completed"
    assert flow.engine.status(crowd).state == "running", "they waited for the end of the busy one"
    flow.cancel(crowd)
    assert {flow.probe.most[key] for key in keys} == {1}


def line_up(flow: Flow, **limit: Any) -> str:
    """Start ten tasks under a limit that lets in few or none of them."""
    control_store.set_limit(flow.engine.database, "queue:default", **limit)
    nodes = {"m": {"map": list(range(10)), "do": {"run": "t.measure", "with": {"at": "m"}}}}
    instance_id = flow.start(nodes)
    until(lambda: counters(flow).get("queue:default", (0, 0))[1] >= 9)
    return instance_id


#: One an hour: nobody waits so long in a test.
HOURLY = (1, 3_600_000_000, 1)


@pytest.mark.parametrize("before", [{"concurrency": 0}, {"rate": HOURLY}, {"concurrency": 0, "rate": HOURLY}])
@pytest.mark.parametrize(
    "after",
    [
        None,
        {"concurrency": 5},
        {"rate": (1000, 1_000_000, 1)},
        {"concurrency": 3, "rate": (500, 1_000_000, 9)},
    ],
)
def test_waiters_go_on_at_once_when_their_limit_is_raised_or_removed(
    flow: Flow, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    instance_id = line_up(flow, **before)
    if after is None:
        control_store.unset_limit(flow.engine.database, "queue:default")
    else:
        control_store.set_limit(flow.engine.database, "queue:default", **after)
    assert flow.wait(instance_id).state == "completed"
    assert counters(flow).get("queue:default", (0, 0)) == (0, 0)


def test_a_limit_lowered_below_what_is_held_stops_nothing_and_lets_nobody_in(flow: Flow) -> None:
    database = flow.engine.database
    control_store.set_limit(database, "queue:default", concurrency=4)
    held = flow.start({"m": {"map": list("1234"), "do": {"run": "t.gate", "with": {"gate": "{{ item }}"}}}})
    until(lambda: counters(flow).get("queue:default") == (4, 0))
    control_store.set_limit(database, "queue:default", concurrency=1)
    later = flow.start({"m": {"map": list(range(6)), "do": {"run": "t.measure", "with": {"at": "m"}}}})
    until(lambda: counters(flow)["queue:default"] == (4, 6))
    for gate in "123":
        flow.probe.gate(gate).set()
    until(lambda: counters(flow)["queue:default"] == (1, 6))
    flow.probe.gate("4").set()
    assert flow.wait(held).state == "completed"
    assert flow.wait(later).state == "completed"
    assert flow.probe.most["m"] == 1


def test_a_rate_that_is_set_again_gives_no_second_burst(flow: Flow) -> None:
    rate = (1, 3_600_000_000, 3)
    control_store.set_limit(flow.engine.database, "queue:default", rate=rate)
    nodes = {"m": {"map": list(range(8)), "do": {"run": "t.measure", "with": {"at": "m"}}}}
    instance_id = flow.start(nodes)
    until(lambda: counters(flow).get("queue:default") == (0, 5))
    control_store.set_limit(flow.engine.database, "queue:default", rate=rate)
    other = flow.start({"a": {"run": "t.echo", "with": 1}})
    until(lambda: counters(flow)["queue:default"] == (0, 6))
    assert len(flow.probe.calls) == 3
    for each in (instance_id, other):
        flow.cancel(each)
