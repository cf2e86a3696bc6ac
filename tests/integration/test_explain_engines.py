"""`explain` where engines are the reason: killed, without room, for other queues; and what follows a failure."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from pathlib import Path

from sqlalchemy import update

from strataflow import StartOptions
from strataflow.repositories.tables import TASKS
from strataflow.services.explain import Explainer, Explanation
from tests.integration.kit import Doc, Flow, until
from tests.support.cli import Cli

INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
WORKER = "`strataflow worker` starts one"


def explain(flow: Flow, instance_id: str, path: str | None = None) -> Explanation:
    return Explainer(flow.database, flow.engine.parts.catalog).explain(instance_id, path)


def gate(name: str, **more: object) -> Doc:
    return {"run": "t.gate", "with": {"gate": name}, **more}


def echo(value: object = 1, **more: object) -> Doc:
    return {"run": "t.echo", "with": value, **more}


def waited_long(flow: Flow, instance_id: str, path: str) -> None:
    """As if the task had been ready since yesterday."""
    with flow.database.write() as connection:
        which = (TASKS.c.instance_id == instance_id, TASKS.c.path == path)
        connection.execute(update(TASKS).where(*which).values(ready_at=1))


def test_a_killed_engine_is_seen_before_its_lease_is_over(flow: Flow) -> None:
    one = flow.start({"a": gate("g")})
    until(lambda: flow.state(one, "a") == "running")
    gone = flow.engine.parts.engine_id
    lock = flow.engine.parts.heartbeat.membership.lock_file
    other = flow.open(recovery_s=3600, slots=1)
    until(lambda: other.parts.recovery._rounds)  # it has looked around, and will not soon again
    flow.crash()
    Path(lock or "").touch()  # a killed process leaves its lock file behind
    (reason,) = explain(flow, one).reasons
    said = rf"a was running on engine {gone} \(.+, process \d+\), which is gone; another engine takes it over soon"
    assert (reason.kind, reason.details) == ("dead_engine", {"engine": gone, "attempt": 1})
    assert re.fullmatch(rf"{said}, at {INSTANT} at the latest", reason.text), reason.text
    assert reason.until is not None
    flow.shut()
    flow.probe.gate("g").set()
    assert flow.wait(one).state == "completed"


def test_what_came_back_from_a_dead_engine_says_so_while_it_waits_for_a_slot(flow: Flow) -> None:
    one = flow.start({"a": gate("g")})
    until(lambda: flow.state(one, "a") == "running")
    flow.crash()
    flow.open(queues=("other",))
    until(lambda: flow.state(one, "a") == "queued")
    text = explain(flow, one).reasons[0].text
    assert "(its engine died once while it ran)" in text
    flow.open()
    flow.probe.gate("g").set()
    assert flow.wait(one).state == "completed"


def test_a_queue_that_no_engine_serves_is_suspected(flow: Flow) -> None:
    flow.open(queues=("mail",))
    one = flow.start_with(StartOptions(queue="bills"), {"a": echo()})
    (reason,) = explain(flow, one).reasons
    assert re.fullmatch(rf"a is ready since {INSTANT} and is taken at any moment", reason.text), reason.text
    waited_long(flow, one, "a")
    found = explain(flow, one)
    (reason,) = found.reasons
    assert (reason.kind, reason.details["queue"]) == ("not_served", "bills")
    assert found.sentence == (
        f"a is ready since {reason.details['since']}, and no engine takes it although 1 with its executor has free "
        "slots: perhaps none serves queue bills; `strataflow worker --queue bills`."
    )
    flow.open()
    assert flow.wait(one).state == "completed"


def test_what_is_evaluated_waits_for_no_slot(flow: Flow) -> None:
    """A control node needs no executor and no slot: with an engine it is a matter of a moment."""
    flow.open(executes=False)
    one = flow.start({"a": {"set": {"x": 1}}})
    assert explain(flow, one).reasons[0].kind == "no_engine"
    flow.shut()
    assert flow.wait(one).state == "completed"


def test_who_is_blocked_while_no_engine_runs_says_both(flow: Flow) -> None:
    nodes = {"m": {"map": [1, 2], "do": gate("g", limits={"concurrency": 1})}}
    one = flow.start(nodes)
    until(lambda: set(flow.states(one).values()) == {"waiting", "running", "blocked"})
    flow.shut()
    flow.open(executes=False)
    blocked = next(each for each in explain(flow, one).reasons if each.kind == "limit")
    room = "it has room again, and an engine lets the next ones in at any moment"
    assert blocked.text == (
        f"{blocked.path} waits for node:flow/m[]: {room}; and no engine runs on this database: {WORKER}"
    )
    flow.shut()
    flow.probe.gate("g").set()
    assert flow.wait(one).state == "completed"


def test_of_more_counters_than_are_read_nothing_untrue_is_said(flow: Flow) -> None:
    body = gate("g", limits={"key": "{{ item % 30 }}", "concurrency": 1})
    one = flow.start({"m": {"map": list(range(60)), "do": body}})
    until(lambda: list(flow.states(one).values()).count("blocked") == 30)
    blocked = [each for each in explain(flow, one).reasons if each.kind == "limit"]
    assert len(blocked) == 30
    held = [each for each in blocked if ": 1 of 1 in use, held by" in each.text]
    plain = [each for each in blocked if re.fullmatch(r"m\[\d+\] waits for node:flow/m\[\]:\d+", each.text)]
    assert (len(held), len(plain)) == (20, 10)
    flow.probe.gate("g").set()
    assert flow.wait(one).state == "completed"


def test_what_was_ready_when_its_instance_was_paused_says_so(flow: Flow) -> None:
    client = flow.open(executes=False)
    one = client.start_now(flow.document({"a": echo()}))
    asyncio.run(client.pause_workflow(one, "lunch"))
    reason = explain(flow, one, "a").reasons[-1]
    assert (reason.kind, reason.text) == ("paused", "a is ready, but its instance is paused")
    asyncio.run(client.resume_workflow(one))
    flow.shut()
    assert flow.wait(one).state == "completed"


def test_what_is_undone_says_why_and_what_runs(flow: Flow) -> None:
    nodes = {"a": echo(undo=gate("u")), "b": {"run": "t.fail", "with": {"retryable": False}, "needs": ["a"]}}
    one = flow.start(nodes, on_error=[{"undo": True, "fail": {"code": "undone", "message": "as it was"}}])
    until(lambda: flow.state(one, "a!undo") == "running")
    found = explain(flow, one)
    assert found.sentence == (
        "It failed with t.Broken at b (broken), and what it did is being undone (and 1 more reason)."
    )
    assert [(each.kind, each.path) for each in found.reasons] == [("compensating", ""), ("running", "a!undo")]
    assert explain(flow, one, "a").reasons[0].text == "a has ended completed, and is being undone"
    flow.probe.gate("u").set()
    assert flow.wait(one).state == "failed"
    assert explain(flow, one, "a").reasons[0].text == "a has ended completed, and was undone"
    assert explain(flow, one).sentence.startswith(
        "It has ended failed with undone (as it was); `strataflow retry "
    )


def test_a_wait_says_when_it_looks_again_and_when_it_gives_up(flow: Flow) -> None:
    condition = {"condition": "{{ vars.n | default(0) > 1 }}", "every": "10m", "timeout": "2h"}
    nodes = {
        "w": {"wait": condition},
        "s": {"wait": {"signal": "go", "match": "{{ signal.ok }}"}},
        "v": {"set": {"n": 2}, "needs": ["s"]},
    }
    one = flow.start(nodes)
    until(lambda: flow.state(one, "w") == "waiting" and flow.state(one, "s") == "waiting")
    text = explain(flow, one, "w").reasons[0].text
    source = re.escape(condition["condition"])
    change = "looked at with every change of a variable"
    assert re.fullmatch(
        rf"w waits until its condition `{source}` holds; {change} and at {INSTANT}, at most until {INSTANT}",
        text,
    ), text
    asyncio.run(flow.engine.signal_workflow(one, "go", {"ok": False}))
    until(lambda: flow.state(one, "s") == "waiting")
    reason = explain(flow, one, "s").reasons[0]
    assert reason.details == {"signal": "go", "unmatched": 1}
    assert reason.text.startswith(
        "s waits for the signal 'go' (1 of that name came, and its `match` takes none of them); "
    )
    asyncio.run(flow.engine.signal_workflow(one, "go", {"ok": True}))
    assert flow.wait(one).state == "completed"


def test_the_command_line_shows_a_reason_that_cannot_steer_a_terminal(flow: Flow, tmp_path: Path) -> None:
    one = flow.start({"a": {"wait": {"signal": "go"}}})
    until(lambda: flow.state(one, "a") == "waiting")
    asyncio.run(flow.engine.pause_workflow(one, "red \x1b[31m\nand more"))
    with closing(Cli(flow.url, tmp_path)) as cli:
        said = cli("explain", one)
    assert "\x1b" not in said.out + said.err
    assert said.out.startswith("It is paused (red �[31m and more) since ")
    assert said.err.startswith("  a waits for the signal 'go'; ")
    flow.cancel(one)
