"""Every answer of `explain`: which kind of reason, its data, and the sentence that people read."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import pytest
from sqlalchemy import update

from strataflow import NotFound, TaskContext, WorkflowEngine
from strataflow.engine.starts import StartOptions
from strataflow.executors.builtin import default_registry
from strataflow.repositories.tables import ENGINES
from strataflow.services.explain import Explainer, Explanation, Reason
from tests.integration.kit import Doc, Flow, until

WORKER = "`strataflow worker` starts one"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


def explain(flow: Flow, instance_id: str, path: str | None = None) -> Explanation:
    return Explainer(flow.database, flow.engine.parts.catalog).explain(instance_id, path)


def only(flow: Flow, instance_id: str, path: str | None = None) -> tuple[Reason, str]:
    """Give the one reason that there is, and the sentence."""
    found = explain(flow, instance_id, path)
    assert len(found.reasons) == 1, found.reasons
    return found.reasons[0], found.sentence


def do(flow: Flow, method: str, *args: Any, **more: Any) -> Any:
    return asyncio.run(getattr(flow.engine, method)(*args, **more))


def begun(flow: Flow, nodes: Doc, path: str, state: str, **top: Any) -> str:
    """Start, and wait until a task is in a state."""
    instance_id = flow.start(nodes, **top)
    until(lambda: flow.state(instance_id, path) == state)
    return instance_id


def gate(name: str, **more: Any) -> Doc:
    return {"run": "t.gate", "with": {"gate": name}, **more}


def signal(name: str, **more: Any) -> Doc:
    return {"wait": {"signal": name}, **more}


# --- waits


#: Node, kind of its reason, its sentence (an instant where `{}` stands), details.
WAITS: dict[str, tuple[Doc, str, str, Doc]] = {
    "timer": ({"wait": {"for": "1h"}}, "timer", "timer waits until {}.", {}),
    "moment": ({"wait": {"until": "2099-01-31T08:00:00Z"}}, "timer", "moment waits until {}.", {}),
    "review": (
        signal("go"),
        "signal",
        "review waits for the signal 'go'; `strataflow signal ID go` sends it.",
        {"signal": "go"},
    ),
    "limited": (
        {"wait": {"signal": "ok", "timeout": "1h"}},
        "signal",
        "limited waits for the signal 'ok', at most until {}; `strataflow signal ID ok` sends it.",
        {"signal": "ok"},
    ),
    "watch": (
        {"wait": {"condition": "{{ vars.done | default(false) }}"}},
        "condition",
        (
            "watch waits until its condition `{{ vars.done | default(false) }}` holds; "
            "looked at with every change of a variable."
        ),
        {"condition": "{{ vars.done | default(false) }}", "timeout_at": None},
    ),
    "flaky": (
        {"run": "t.fail", "with": {}, "retry": {"max": 3, "delay": "1h"}},
        "backoff",
        "flaky is tried again at {} after t.Broken (broken), retry 1 of 3.",
        {"code": "t.Broken", "attempt": 1, "retry": 1, "of": 3},
    ),
    "poll": (
        {"loop": {"times": 2, "every": "1h"}, "do": {"run": "t.echo", "with": 1}},
        "timer",
        "poll begins its next turn at {}.",
        {"turns": 1},
    ),
}


def rests(flow: Flow, instance_id: str) -> bool:
    """Nothing is left to be claimed, and the loop has had its first turn."""
    states = flow.states(instance_id)
    busy = {"queued", "running"} & set(states.values())
    return len(states) >= len(WAITS) and not busy and states.get("poll#0") == "completed"


def test_whoever_waits_says_for_what_and_until_when(flow: Flow) -> None:
    nodes = {name: case[0] for name, case in WAITS.items()}
    done = {"set": {"done": True}, "needs": ["review"]}
    instance_id = flow.start({**nodes, "done": done})
    until(lambda: rests(flow, instance_id))
    for path, (_, kind, sentence, details) in WAITS.items():
        reason, said = only(flow, instance_id, path)
        expected = re.escape(sentence.replace(" ID ", f" {instance_id} ")).replace(r"\{\}", INSTANT)
        assert re.fullmatch(expected, said), said
        assert (reason.kind, reason.path, reason.details) == (kind, path, details)
        wake = flow.tasks(instance_id)[path].wake_at
        assert (reason.until is None) == (wake is None) == ("{}" not in sentence), path
        assert reason.until is None or reason.until in said
    assert str(only(flow, instance_id, "moment")[0].until).startswith("2099-01-31T08:00:00")
    whole = explain(flow, instance_id)
    assert {reason.path for reason in whole.reasons} == {*WAITS}, "what waits for one of them gives no reason"
    assert whole.reasons[0].kind == "signal", "what says most stands first"
    assert whole.sentence.endswith(f" (and {len(WAITS) - 1} more reasons).")
    assert (whole.state, whole.more) == ("running", False)


def test_a_node_that_was_not_reached_names_the_nodes_it_waits_for(flow: Flow) -> None:
    inner = {"nodes": {"x": gate("x"), "y": {"run": "t.echo", "with": 1, "needs": ["x"]}}}
    nodes = {
        "a": gate("a"),
        "b": gate("b"),
        "c": {"run": "t.echo", "with": 1, "needs": ["a", "b"]},
        "d": {"run": "t.echo", "with": "{{ nodes.c.output }}"},
        "g": {"do": inner, "needs": ["a"]},
    }
    instance_id = begun(flow, nodes, "a", "running")
    until(lambda: flow.state(instance_id, "b") == "running")
    expected = {
        "c": (["a", "b"], "c waits for a and b.", {"a", "b"}),
        "d": (["c"], "d waits for c.", {"c", "a", "b"}),
        "g": (["a"], "g waits for a.", {"a"}),
        "g.y": (["a"], "g.y is inside g, which waits for a.", {"a"}),
    }
    for path, (names, sentence, behind) in expected.items():
        found = explain(flow, instance_id, path)
        reason = found.reasons[0]
        assert (reason.kind, reason.path, reason.details) == (
            "dependencies",
            path,
            {"nodes": names},
        )
        assert found.sentence == sentence
        assert {each.path for each in found.reasons[1:]} == behind, "and what holds those up"
        assert found.reasons[1].kind == "running", "what says most stands first"
    flow.probe.gate("a").set()
    until(lambda: flow.state(instance_id, "g.x") == "running")
    assert {reason.kind for reason in explain(flow, instance_id, "g").reasons} == {"running"}
    until(lambda: flow.state(instance_id, "c") == "pending")
    for path, name in (("c", "b"), ("g.y", "x")):
        reason = explain(flow, instance_id, path).reasons[0]
        assert reason.text == f"{path} waits for {name}", "a has ended: it is awaited no more"
        assert reason.details == {"nodes": [name]}
    for name in "bx":
        flow.probe.gate(name).set()
    assert flow.wait(instance_id).state == "completed"


def test_a_flow_names_the_run_that_it_waits_for_and_its_state(flow: Flow) -> None:
    flow.engine.register({"dsl": "1", "name": "below", "nodes": {"w": signal("go")}}, activate=True)
    instance_id = flow.start({"f": {"flow": "below"}})
    until(lambda: ", which is running; " in explain(flow, instance_id, "f").sentence)
    reason, said = only(flow, instance_id)
    child = reason.details["child"]
    assert (reason.kind, reason.path) == ("child", "f")
    assert said == f"f waits for its run {child}, which is running; `strataflow explain {child}` says why."
    until(lambda: flow.state(child, "w") == "waiting")
    assert only(flow, child, "w")[0].details == {"signal": "go"}
    do(flow, "signal_workflow", child, "go")
    assert flow.wait(instance_id).state == "completed"


def test_of_many_reasons_some_are_given_and_that_there_are_more(flow: Flow) -> None:
    instance_id = flow.start({"m": {"map": list(range(501)), "do": signal("go")}})
    until(lambda: list(flow.states(instance_id).values()).count("waiting") == 503)
    found = explain(flow, instance_id)
    assert found.more
    assert 490 < len(found.reasons) <= 501
    assert {reason.kind for reason in found.reasons} == {"signal"}
    assert re.fullmatch(r"m\[\d+\] waits for the signal 'go'; .+ \(and \d+ more reasons\)\.", found.sentence)


# --- engines


def test_what_runs_says_since_when_and_where_and_what_is_ready_that_slots_are_taken(flow: Flow) -> None:
    flow.open(slots=1)
    instance_id = begun(flow, {"a": gate("g"), "b": gate("g")}, "a", "running")
    until(lambda: flow.state(instance_id, "b") == "queued")
    reason, said = only(flow, instance_id, "a")
    engine = flow.engine.parts.engine_id
    assert (reason.kind, reason.details) == ("running", {"engine": engine, "attempt": 1})
    assert re.fullmatch(rf"a is running since {INSTANT} \(attempt 1\) on .+, process \d+\.", said), said
    reason, said = only(flow, instance_id, "b")
    assert (reason.kind, reason.details["queue"]) == ("slot", "default")
    assert (
        said
        == f"b is ready since {reason.details['since']} and waits for a free slot in queue default: 1 of 1 in use."
    )
    assert [reason.kind for reason in explain(flow, instance_id).reasons] == ["running", "slot"]
    flow.probe.gate("g").set()
    assert flow.wait(instance_id).state == "completed"


def test_an_executor_that_no_engine_has_is_named(flow: Flow) -> None:
    client = flow.open(executes=False)
    instance_id = flow.start({"a": {"run": "t.echo", "with": 1}, "w": signal("go")})
    reason, said = only(flow, instance_id, "a")
    assert (reason.kind, reason.path, reason.until) == ("no_engine", "a", None)
    assert re.fullmatch(
        rf"no engine runs on this database \(a is ready since {INSTANT}\); {WORKER}\.", said
    ), said
    builtin = default_registry(entry_points=False)
    with WorkflowEngine(flow.url, registry=builtin, config=flow.config()):
        until(lambda: flow.state(instance_id, "w") == "waiting")
        found = explain(flow, instance_id)
        reason = found.reasons[0]
        assert (reason.kind, reason.details["executor"]) == ("no_executor", "t.echo")
        since = reason.details["since"]
        assert reason.text == (
            f"no live engine has the executor t.echo that a needs (ready since {since}; no known engine ever had it); "
            "start a worker that has it: `strataflow worker --import MODULE`"
        )
        assert found.sentence == f"{reason.text} (and 1 more reason)."
    assert [each.kind for each in explain(flow, instance_id).reasons] == ["no_engine", "signal"]
    flow.open()
    do(flow, "signal_workflow", instance_id, "go")
    assert client.wait_now(instance_id, 30).state == "completed"


def test_a_task_of_an_engine_that_is_gone_says_so_until_it_is_taken_over(flow: Flow) -> None:
    instance_id = begun(flow, {"a": gate("g")}, "a", "running")
    gone = flow.engine.parts.engine_id
    flow.crash()
    with flow.database.write() as connection:
        connection.execute(update(ENGINES).where(ENGINES.c.id == gone).values(lease_until=1))
    flow.open(executes=False)
    reason, said = only(flow, instance_id)
    assert (reason.kind, reason.path, reason.until) == ("dead_engine", "a", None)
    assert reason.details == {"engine": gone, "attempt": 1}
    lost = rf"a was running on engine {gone} \(.+, process \d+\), which is gone; "
    assert re.fullmatch(rf"{lost}no engine runs that could take it over: {WORKER}\.", said), said
    flow.shut()
    flow.probe.gate("g").set()
    assert flow.wait(instance_id).state == "completed"
    assert flow.probe.attempts("a") == [1, 2]


# --- the whole instance


def test_a_paused_instance_says_why_and_so_do_its_parked_tasks(flow: Flow) -> None:
    instance_id = begun(
        flow, {"a": gate("g"), "b": {"run": "t.echo", "with": 1, "needs": ["a"]}}, "a", "running"
    )
    do(flow, "pause_workflow", instance_id, "by Ana, for the audit")
    found = explain(flow, instance_id)
    assert [(reason.kind, reason.path) for reason in found.reasons] == [("paused", ""), ("running", "a")]
    paused = rf"It is paused \(by Ana, for the audit\) since {INSTANT}; `strataflow resume {instance_id}` lets it go on"
    assert re.fullmatch(rf"{paused} \(and 1 more reason\)\.", found.sentence), found.sentence
    flow.probe.gate("g").set()
    until(lambda: flow.state(instance_id, "b") == "paused")
    parked = [reason for reason in explain(flow, instance_id, "b").reasons if reason.path]
    assert [(reason.kind, reason.text) for reason in parked] == [
        ("paused", "b is parked: its instance is paused")
    ]
    do(flow, "resume_workflow", instance_id)
    assert flow.wait(instance_id).state == "completed"


def test_an_instance_that_is_being_cancelled_says_why_and_what_still_runs(flow: Flow) -> None:
    async def deaf(_ctx: TaskContext, _config: Any) -> None:
        while not flow.probe.gate("g").is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)

    flow.registry.register_executor_domain("deaf", {"wait": deaf})
    instance_id = begun(flow, {"a": {"run": "deaf.wait"}}, "a", "running")
    do(flow, "cancel_workflow", instance_id, "too dear", grace_s=60)
    found = explain(flow, instance_id)
    assert [(reason.kind, reason.path) for reason in found.reasons] == [("cancelling", ""), ("running", "a")]
    assert found.sentence == (
        f"It is being cancelled (too dear); what still runs is given up at {found.reasons[0].until} "
        "(and 1 more reason)."
    )
    assert "a was told to stop and still runs (attempt 1) on " in found.reasons[1].text
    flow.probe.gate("g").set()
    assert flow.wait(instance_id).state == "cancelled"
    assert only(flow, instance_id)[1] == "It has ended cancelled (too dear)."


def test_a_delayed_start_says_when_it_begins(flow: Flow) -> None:
    definition = flow.engine.register(flow.document({"a": {"run": "t.echo", "with": 1}}))
    later = flow.engine.start_now(definition, options=StartOptions(start_at=3600, mutex="m"))
    reason, said = only(flow, later)
    assert (reason.kind, reason.path) == ("start_at", "")
    assert said == f"It starts at {reason.until}."
    assert re.fullmatch(INSTANT, reason.until or "")
    assert explain(flow, later, "a").reasons[0] == reason, "it holds up each of its tasks"


def test_a_start_that_queues_says_who_holds_the_mutex(flow: Flow) -> None:
    definition = flow.engine.register(flow.document({"a": gate("g")}))
    options = StartOptions(mutex="account 7", on_duplicate="queue")
    first, second, third = (flow.engine.start_now(definition, options=options) for _ in range(3))
    for queued in (second, third):
        reason, said = only(flow, queued)
        assert (reason.kind, reason.details) == ("mutex", {"mutex": "account 7", "holder": first})
        why = f"`strataflow explain {first}` says why"
        assert re.fullmatch(
            rf"Mutex 'account 7' is held by instance {first}, which is (pending|running); {why}\.", said
        ), said
    flow.cancel(second)
    flow.probe.gate("g").set()
    assert flow.wait(third).state == "completed"
    assert only(flow, first)[0].kind == "ended"


def test_what_has_ended_says_how(flow: Flow) -> None:
    nodes = {"a": {"run": "t.echo", "with": 1}, "b": {"run": "t.fail", "with": {}, "needs": ["a"]}}
    instance_id = flow.start(nodes)
    assert flow.wait(instance_id).state == "failed"
    found = explain(flow, instance_id)
    text = f"it has ended failed with t.Broken at b (broken); `strataflow retry {instance_id}` tries again what failed"
    assert found.as_json() == {
        "id": instance_id,
        "state": "failed",
        "sentence": f"I{text[1:]}.",
        "reasons": [{"kind": "ended", "path": "", "text": text, "until": None, "details": {}}],
        "more": False,
    }
    ended = {path: explain(flow, instance_id, path) for path in nodes}
    assert {path: each.state for path, each in ended.items()} == {"a": "completed", "b": "failed"}
    assert ended["a"].reasons[0].text == "a has ended completed"
    assert ended["b"].reasons[0].text == "b has ended failed with t.Broken at b (broken)"


def test_what_does_not_exist_cannot_be_explained(flow: Flow) -> None:
    instance_id = flow.start({"m": {"map": [1], "do": {"run": "t.echo", "with": 1}}})
    for unknown in ("018f0000-0000-7000-8000-000000000009", "no id", ""):
        with pytest.raises(NotFound, match=f"no instance {unknown}"):
            explain(flow, unknown)
    for path in ("nobody", "m.x", "m[0].x"):
        with pytest.raises(NotFound, match=re.escape(repr(path))):
            explain(flow, instance_id, path)
    assert flow.wait(instance_id).state == "completed"
