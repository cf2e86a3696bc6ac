"""`explain` of tasks without a row: not reached yet, waiting for room, or never to come; and what is awaited still."""

from __future__ import annotations

import asyncio
import re

import pytest

from strataflow import NotFound, StartOptions
from strataflow.services.explain import Explainer, Explanation
from tests.integration.kit import Doc, Flow, until

INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
WORKER = "`strataflow worker` starts one"


def explain(flow: Flow, instance_id: str, path: str | None = None) -> Explanation:
    return Explainer(flow.database, flow.engine.parts.catalog).explain(instance_id, path)


def said(flow: Flow, instance_id: str, path: str | None = None) -> str:
    return explain(flow, instance_id, path).reasons[0].text


def gate(name: str, **more: object) -> Doc:
    return {"run": "t.gate", "with": {"gate": name}, **more}


def echo(value: object = 1, **more: object) -> Doc:
    return {"run": "t.echo", "with": value, **more}


def signal(name: str, **more: object) -> Doc:
    return {"wait": {"signal": name}, **more}


# --- dependencies


def test_only_what_has_not_come_is_named(flow: Flow) -> None:
    nodes = {
        "a": echo(),
        "b": signal("b"),
        "c": signal("c"),
        "every": echo(needs=["a", "b", "c"]),
        "first": echo(needs=[{"any": ["b", "c"]}]),
        "failed": echo(needs=["a", {"node": "b", "on": ["failed"]}]),
        "neither": echo(needs=[{"none": ["a", "b"]}]),
    }
    one = flow.start(nodes)
    until(lambda: flow.state(one, "a") == "completed" and flow.state(one, "c") == "waiting")
    until(lambda: flow.state(one, "every") == "pending" and flow.state(one, "b") == "waiting")
    expected = {
        "every": ("every waits for b and c", ["b", "c"]),
        "first": ("first waits for b or c", ["b", "c"]),
        "failed": ("failed waits for b (to end failed)", ["b"]),
    }
    for path, (text, names) in expected.items():
        reason = explain(flow, one, path).reasons[0]
        assert (reason.kind, reason.text, reason.details) == ("dependencies", text, {"nodes": names})
    assert said(flow, one, "neither") == "neither has ended skipped (a is completed)"
    asyncio.run(flow.engine.signal_workflow(one, "b"))
    until(lambda: flow.state(one, "first") == "completed" and flow.state(one, "b") == "completed")
    assert said(flow, one, "every") == "every waits for c"
    assert said(flow, one) == f"c waits for the signal 'c'; `strataflow signal {one} c` sends it"
    flow.cancel(one)


def test_of_a_wide_join_some_names_are_listed_and_the_rest_counted(flow: Flow) -> None:
    names = [f"n{number}" for number in range(150)]
    nodes = {**{name: signal("go") for name in names}, "z": echo(needs=names)}
    one = flow.start(nodes)
    until(lambda: list(flow.states(one).values()).count("waiting") == 151)
    reason = explain(flow, one, "z").reasons[0]
    assert reason.text == f"z waits for {', '.join(names[:10])} and 140 more"
    assert (reason.details["nodes"], reason.details["count"]) == (names[:100], 150)
    flow.cancel(one)


def test_a_task_is_not_one_whose_name_only_begins_alike(flow: Flow) -> None:
    nodes = {"a": {"do": {"nodes": {"x": signal("x")}}}, "ab": signal("ab"), "a_b": signal("a_b")}
    one = flow.start(nodes)
    until(lambda: list(flow.states(one).values()).count("waiting") == 5)
    assert [reason.path for reason in explain(flow, one, "a").reasons] == ["a.x"]
    assert explain(flow, one, "a").sentence.endswith(f"`strataflow signal {one} x` sends it.")
    flow.cancel(one)


def test_a_task_behind_many_others_is_found(flow: Flow) -> None:
    """The rows of the task are read, not the first ones of its instance."""
    one = flow.start(
        {"m": {"map": list(range(600)), "do": signal("m")}, "z": {"do": {"nodes": {"x": signal("z")}}}}
    )
    until(lambda: list(flow.states(one).values()).count("waiting") == 604)
    found = explain(flow, one, "z")
    assert [reason.path for reason in found.reasons] == ["z.x"]
    assert not found.more
    flow.cancel(one)


# --- items, turns, branches


@pytest.mark.parametrize("scoped", [False, True])
def test_an_item_without_a_row_says_how_much_room_there_is(flow: Flow, *, scoped: bool) -> None:
    body = {"nodes": {"x": signal("go")}} if scoped else signal("go")
    one = flow.start({"m": {"map": list(range(600)), "concurrency": 5, "do": body}})
    until(lambda: list(flow.states(one).values()).count("waiting") == (12 if scoped else 7))
    reason = explain(flow, one, "m[500]").reasons[0]
    room = "at most 5 of its items are unfinished at a time, 5 are now"
    assert (reason.kind, reason.path) == ("room", "m[500]")
    assert reason.text == f"m[500] waits for room in m: {room}, and 495 items come first"
    assert reason.details == {"width": 5, "unfinished": 5, "ahead": 495, "total": 600}
    assert said(flow, one, "m[5]") == f"m[5] waits for room in m: {room}"
    assert said(flow, one, "m[6]").endswith(", and 1 item comes first")
    assert {each.kind for each in explain(flow, one, "m[5]").reasons[1:]} == {"signal"}
    if scoped:
        assert said(flow, one, "m[5].x") == f"m[5].x is inside m[5], which waits for room in m: {room}"
    whole = next(each for each in explain(flow, one, "m").reasons if each.kind == "room")
    assert whole.text == "m has begun 5 of 600 items: at most 5 are unfinished at a time, 5 are now"
    for beyond in ("m[600]", "m[600].x" if scoped else "m[99999]"):
        with pytest.raises(NotFound, match=r"m\[\d+\]' in this instance: m has 600 items"):
            explain(flow, one, beyond)
    flow.cancel(one)
    assert said(flow, one, "m[500]") == "m[500] never began: m has ended cancelled"
    assert explain(flow, one, "m[500]").reasons[1].text == "it has ended cancelled (cancelled by its user)"


def test_an_item_of_a_list_that_is_not_known_yet_waits_for_its_map(flow: Flow) -> None:
    one = flow.start({"a": gate("a"), "m": {"map": [1], "do": echo(), "needs": ["a"]}})
    until(lambda: flow.state(one, "a") == "running")
    found = explain(flow, one, "m[7]")
    assert found.sentence == "m[7] is inside m, which waits for a."
    assert [reason.kind for reason in found.reasons] == ["dependencies", "running"]
    flow.probe.gate("a").set()
    assert flow.wait(one).state == "completed"
    with pytest.raises(NotFound, match="m has 1 item"):
        explain(flow, one, "m[7]")


def test_a_turn_to_come_waits_for_those_before_it(flow: Flow) -> None:
    one = flow.start({"l": {"loop": {"times": 3}, "do": signal("go")}})
    until(lambda: flow.state(one, "l#0") == "waiting")
    found = explain(flow, one, "l#2")
    assert (
        found.reasons[0].text
        == "l#2 waits for its turn: turns go one by one, turn l#0 is the last that began"
    )
    assert (found.reasons[0].kind, found.reasons[0].details) == ("room", {"ahead": 1, "total": 3})
    assert [reason.path for reason in found.reasons] == ["l#2", "l#0"]
    with pytest.raises(NotFound, match="l has 3 turns"):
        explain(flow, one, "l#3")
    flow.cancel(one)


def test_a_case_that_was_not_taken_says_so(flow: Flow) -> None:
    case = {"do": {"nodes": {"x": echo()}}}
    nodes = {
        "a": gate("a"),
        "s": {
            "switch": [
                {"when": "{{ nodes.a.output == 1 }}", **case},
                {"when": "{{ true }}", "do": signal("go")},
            ],
            "else": echo(),
        },
    }
    one = flow.start(nodes)
    until(lambda: flow.state(one, "a") == "running")
    assert said(flow, one, "s.0.x") == "s.0.x is inside s, which waits for a"
    flow.probe.gate("a").set()
    until(lambda: flow.state(one, "s.1") == "waiting")
    assert said(flow, one, "s.0") == "s.0 has ended skipped (not chosen)"
    assert said(flow, one, "s.0.x") == "s.0.x never began: s.0 has ended skipped (not chosen)"
    assert said(flow, one, "s.else") == "s.else has ended skipped (not chosen)"
    assert [reason.kind for reason in explain(flow, one, "s").reasons] == ["signal"]
    flow.cancel(one)


def test_what_runs_beside_a_task_says_when_it_would(flow: Flow) -> None:
    nodes = {"a": signal("a", on_error=[{"do": echo()}]), "u": echo(undo=echo())}
    one = flow.start(nodes, **{"finally": echo()})
    until(lambda: flow.state(one, "a") == "waiting" and flow.state(one, "u") == "completed")
    assert (
        said(flow, one, "a!error") == "a!error runs only if a fails with an error that it names; a is waiting"
    )
    assert said(flow, one, "u!undo") == "u!undo runs only if what u did is undone"
    assert said(flow, one, "!finally") == (
        "!finally runs when everything else of the run has ended: the run has not ended"
    )
    asyncio.run(flow.engine.signal_workflow(one, "a"))
    assert flow.wait(one).state == "completed"
    assert said(flow, one, "a") == "a has ended completed"
    assert said(flow, one, "a!error").endswith("; a has ended completed")


def test_a_skipped_task_says_why(flow: Flow) -> None:
    nodes = {"a": echo(when="{{ false }}"), "b": echo(needs=["a"]), "c": signal("go")}
    one = flow.start(nodes)
    until(lambda: flow.state(one, "c") == "waiting" and flow.state(one, "b") == "skipped")
    assert said(flow, one, "a") == "a has ended skipped (when is false)"
    assert said(flow, one, "b") == "b has ended skipped (a is skipped)"
    flow.cancel(one)


# --- nobody is there to do it


def test_a_start_whose_time_has_come_says_that_nobody_begins_it(flow: Flow) -> None:
    client = flow.open(executes=False)
    one = client.start_now(flow.document({"a": echo()}), options=StartOptions(start_at=0.2))
    two = client.start_now(flow.document({"a": echo()}), options=StartOptions(start_at=3600))
    none = f"no engine runs on this database to begin it: {WORKER}"
    until(lambda: explain(flow, one).reasons[0].kind == "no_engine")
    found = explain(flow, one)
    assert re.fullmatch(rf"Its time came at {INSTANT}, but {none}\.", found.sentence), found.sentence
    assert explain(flow, one, "a").reasons[0] == found.reasons[0]
    found = explain(flow, two)
    idle = rf"It starts at {INSTANT} if an engine runs then, and none does now: {WORKER}\."
    assert re.fullmatch(idle, found.sentence), found.sentence
    flow.shut()
    assert flow.wait(one).state == "completed"
    assert re.fullmatch(rf"It starts at {INSTANT}\.", explain(flow, two).sentence)
    flow.cancel(two)


def test_a_mutex_that_became_free_says_that_nobody_begins_it(flow: Flow) -> None:
    client = flow.open(executes=False)
    definition = client.register(flow.document({"a": echo()}))
    options = StartOptions(mutex="m", on_duplicate="queue", expires_at=3600)
    first, second = (client.start_now(definition, options=options) for _ in range(2))
    found = explain(flow, second)
    text = (
        f"Mutex 'm' is held by instance {first}, which is pending; `strataflow explain {first}` says why; "
        "it is given up if it has not begun by "
    )
    assert found.sentence.startswith(text)
    flow.cancel(first)
    until(lambda: explain(flow, second).reasons[0].kind != "mutex")
    flow.shut()
    assert flow.wait(second).state == "completed"


def test_a_timer_that_is_due_says_that_nobody_looks(flow: Flow) -> None:
    one = flow.start(
        {"w": {"wait": {"for": "1s"}}, "r": {"run": "t.fail", "with": {"times": 1}, "retry": {"max": 1}}}
    )
    until(lambda: flow.state(one, "w") == "waiting" and flow.state(one, "r") == "retrying")
    flow.shut()
    flow.open(executes=False)
    until(lambda: {each.kind for each in explain(flow, one).reasons} == {"no_engine"})
    for path in "wr":
        found = explain(flow, one, path)
        text = rf"{path} was due at {INSTANT}, and no engine runs on this database; {WORKER}\."
        assert re.fullmatch(text, found.sentence), found.sentence
    flow.shut()
    assert flow.wait(one).state == "completed"
