"""What people do to runs: pause, cancel, terminate, retry, go back, fork, rerun, migrate; keys, mutexes, versions."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import select

from strataflow import Conflict, IllegalTransition, NotFound
from strataflow.engine.starts import StartOptions
from strataflow.repositories.records import DefinitionState
from strataflow.repositories.tables import BLOBS
from strataflow.services.workflow_service import WorkflowService
from tests.integration.kit import Doc, Flow, until


def echo(value: Any, **more: Any) -> Doc:
    return {"run": "t.echo", "with": value, **more}


def gate(name: str, give: Any = None) -> Doc:
    return {"run": "t.gate", "with": {"gate": name, "give": give}}


def do(flow: Flow, method: str, *args: Any, **more: Any) -> Any:
    return asyncio.run(getattr(flow.engine, method)(*args, **more))


@pytest.mark.row("X-03", "X-32")
def test_pause_lets_what_runs_end_and_resume_goes_on(flow: Flow) -> None:
    instance_id = flow.start({"a": gate("a", 1), "b": echo("{{ nodes.a.output }}")})
    until(lambda: flow.state(instance_id, "a") == "running")
    assert do(flow, "pause_workflow", instance_id).status == "accepted"
    assert do(flow, "pause_workflow", instance_id).status == "ignored"
    flow.probe.gate("a").set()
    until(lambda: flow.state(instance_id, "a") == "completed")
    assert (flow.engine.status(instance_id).state, flow.state(instance_id, "b")) == ("paused", "paused")
    do(flow, "resume_workflow", instance_id)
    assert flow.wait(instance_id).output == {"b": 1}
    with pytest.raises(IllegalTransition):
        do(flow, "pause_workflow", instance_id)


@pytest.mark.row("X-33")
def test_a_cancel_waits_for_the_grace_and_then_gives_up(flow: Flow) -> None:
    stubborn = {"run": "t.block", "with": {"gate": "never", "polite": False}}
    instance_id = flow.start({"a": stubborn}, **{"finally": echo("bye")})
    until(lambda: flow.state(instance_id, "a") == "running")
    do(flow, "cancel_workflow", instance_id, grace_s=0.2)
    assert flow.wait(instance_id).state == "cancelled"
    assert flow.state(instance_id, "!finally") == "completed"
    flow.probe.gate("never").set()


def test_terminate_ends_at_once_and_runs_nothing_more(flow: Flow) -> None:
    instance_id = flow.start(
        {"a": gate("x"), "g": {"do": {"nodes": {"b": gate("y")}}}}, **{"finally": echo("bye")}
    )
    until(lambda: len(flow.probe.paths()) == 2)
    do(flow, "terminate_workflow", instance_id, "enough")
    status = flow.wait(instance_id)
    assert (status.state, status.reason) == ("cancelled", "enough")
    assert "!finally" not in flow.tasks(instance_id)
    assert do(flow, "terminate_workflow", instance_id).status == "ignored"


@pytest.mark.row("X-08")
def test_going_back_undoes_forgets_variables_and_runs_later_nodes_again(flow: Flow) -> None:
    nodes: Doc = {
        "a": echo(1, undo=echo("undo a")),
        "v": {"set": {"x": "{{ nodes.a.output }}"}},
        "b": echo("{{ vars.x }}", undo=echo("undo b")),
        "w": {"set": {"x": 2}, "needs": ["b"]},
        "c": echo("{{ vars.x }}", needs=["w"]),
    }
    instance_id = flow.start(nodes)
    assert flow.wait(instance_id).output == {"c": 2}
    do(flow, "rollback_state", instance_id, "b")
    assert flow.wait(instance_id).output == {"c": 2}
    assert flow.probe.attempts("b") == [1, 2]
    assert flow.probe.attempts("a") == [1]
    assert [path for path in flow.probe.paths() if "!" in path] == ["b!undo"]
    seen = [config for path, _, config in flow.probe.calls if path == "b"]
    assert seen == [1, 1], "the variable was back at its earlier value"
    with pytest.raises(Conflict, match="no node"):
        do(flow, "rollback_state", instance_id, "nobody")


@pytest.mark.row("X-08")
def test_going_back_into_a_container_keeps_the_rest_of_it(flow: Flow) -> None:
    body: Doc = {
        "nodes": {"a": echo("{{ item }}"), "b": echo("{{ nodes.a.output * 10 }}")},
        "output": "{{ nodes.b.output }}",
    }
    instance_id = flow.start({"m": {"map": [1, 2, 3], "do": body}, "after": echo("{{ nodes.m.output }}")})
    assert flow.wait(instance_id).output == {"after": [10, 20, 30]}
    do(flow, "retry_workflow", instance_id, "m[1].b")
    assert flow.wait(instance_id).output == {"after": [10, 20, 30]}
    again = {path for path in flow.probe.paths() if 2 in flow.probe.attempts(path)}
    assert again == {"m[1].b", "after"}


@pytest.mark.row("X-08", "X-14")
def test_a_retry_runs_only_the_failed_items_within_the_maps_concurrency(flow: Flow) -> None:
    body = {"run": "t.fail", "with": {"times": 1}, "when": "{{ item % 3 == 0 }}"}
    nodes: Doc = {
        "m": {"map": list(range(9)), "concurrency": 2, "do": body, "join": {"tolerate": 9}},
        "check": {"run": "t.fail", "with": {"times": 1}, "needs": ["m"]},
    }
    instance_id = flow.start(nodes)
    assert flow.wait(instance_id).state == "failed"
    do(flow, "retry_workflow", instance_id)
    assert flow.wait(instance_id).state == "completed"
    strict = flow.start({"s": {"map": list(range(9)), "concurrency": 2, "do": body}})
    assert flow.wait(strict).state == "failed"
    while flow.engine.status(strict).state == "failed":
        do(flow, "retry_workflow", strict)
        flow.wait(strict)
    assert {path: flow.probe.attempts(path) for path in ("s[0]", "s[3]", "s[6]")} == {
        "s[0]": [1, 2],
        "s[3]": [1, 2],
        "s[6]": [1, 2],
    }


def test_a_retry_of_a_loop_goes_on_with_the_turn_that_failed(flow: Flow) -> None:
    body: Doc = {
        "nodes": {
            "x": echo("{{ loop.index }}"),
            "y": {"run": "t.fail", "with": {"times": "{{ loop.index - 1 }}"}, "needs": ["x"]},
        }
    }
    instance_id = flow.start({"l": {"loop": {"times": 3}, "do": body}})
    assert flow.wait(instance_id).state == "failed"
    do(flow, "retry_workflow", instance_id)
    assert flow.wait(instance_id).state == "completed"
    assert (flow.probe.attempts("l#0.x"), flow.probe.attempts("l#2.x"), flow.probe.attempts("l#2.y")) == (
        [1],
        [1],
        [1, 2],
    )


def test_a_fork_takes_over_what_was_done_and_a_rerun_nothing(flow: Flow) -> None:
    nodes: Doc = {
        "a": echo("{{ inputs.n }}"),
        "m": {
            "map": "{{ [nodes.a.output, 2] }}",
            "do": {"nodes": {"x": echo("{{ item }}")}, "output": "{{ nodes.x.output }}"},
        },
        "b": echo("{{ [inputs.n, nodes.m.output] }}"),
    }
    instance_id = flow.start(nodes, {"n": 1})
    assert flow.wait(instance_id).output == {"b": [1, [1, 2]]}
    forked = do(flow, "fork_workflow", instance_id, "b", inputs={"n": 5})
    flow.started.append(forked)
    assert flow.wait(forked).output == {"b": [5, [1, 2]]}
    other = do(flow, "fork_workflow", instance_id, "m", outputs={"a": 7})
    flow.started.append(other)
    assert flow.wait(other).output == {"b": [1, [7, 2]]}
    assert flow.probe.attempts("a") == [1]
    again = do(flow, "rerun_workflow", instance_id)
    flow.started.append(again)
    assert flow.wait(again).output == {"b": [1, [1, 2]]}
    assert flow.probe.attempts("a") == [1, 1]
    with pytest.raises(NotFound):
        do(flow, "fork_workflow", "018f0000-0000-7000-8000-000000000009", "b")


# --- starts


@pytest.mark.row("X-34")
@pytest.mark.parametrize("rule", ["return_existing", "reject"])
def test_of_many_starts_at_once_one_holds_the_key_or_the_mutex(flow: Flow, rule: Any) -> None:
    definition = flow.engine.register(flow.document({"g": gate("go", 1)}))
    found: dict[str, list[str]] = {"key": [], "mutex": []}
    refused: list[str] = []

    def start(what: str) -> None:
        held: dict[str, Any] = {what: "one"}
        options = StartOptions(on_duplicate=rule, **held)
        try:
            found[what].append(flow.engine.start_now(definition, options=options))
        except Conflict as exc:
            refused.append(exc.message)

    threads = [threading.Thread(target=start, args=(what,)) for what in found for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(set(found["key"])), len(set(found["mutex"]))) == (1, 1)
    assert len(refused) == (14 if rule == "reject" else 0)
    flow.probe.gate("go").set()
    for ids in found.values():
        flow.wait(ids[0])
    free = flow.engine.start_now(definition, options=StartOptions(mutex="one", on_duplicate="reject"))
    assert free not in found["mutex"]
    flow.wait(free)


@pytest.mark.row("X-34")
def test_starts_that_queue_for_a_mutex_run_one_after_the_other(flow: Flow) -> None:
    document = flow.document(
        {"m": {"run": "t.measure", "with": {"at": "mutex"}}},
        start={"mutex": "{{ inputs.account }}", "on_duplicate": "queue"},
        inputs={"type": "object", "properties": {"account": {"type": "string"}}},
    )
    ids = [flow.engine.start_now(document, {"account": "a"}) for _ in range(6)]
    other = flow.engine.start_now(document, {"account": "b"})
    for instance_id in [*ids, other]:
        assert flow.wait(instance_id).state == "completed"
    assert flow.probe.most["mutex"] <= 2
    begun = [flow.history(instance_id)[0].to_state for instance_id in ids]
    assert begun.count("queued") >= 1
    assert len(set(ids)) == 6


def test_a_later_start_waits_for_its_time_and_expires_or_is_cancelled(flow: Flow) -> None:
    definition = flow.engine.register(flow.document({"a": echo(1)}))
    later = flow.engine.start_now(definition, options=StartOptions(start_at=0.15, labels={"team": "core"}))
    assert flow.engine.status(later).state == "queued"
    assert flow.wait(later).output == {"a": 1}
    late = flow.engine.start_now(definition, options=StartOptions(start_at=60, expires_at=0.1))
    assert flow.wait(late).state == "expired"
    never = flow.engine.start_now(definition, options=StartOptions(start_at=60))
    flow.cancel(never)
    assert flow.engine.status(never).state == "cancelled"


# --- versions


@pytest.mark.row("X-36")
def test_a_name_means_the_active_version_and_running_instances_keep_theirs(flow: Flow) -> None:
    engine = flow.engine
    versions = [
        engine.register(flow.document({"g": gate("v"), "out": echo(n, needs=["g"])}), activate=True).version
        for n in (1, 2)
    ]
    assert versions == [1, 2]
    old = engine.start_now("flow@1")
    new = engine.start_now("flow")
    service = WorkflowService(engine.registry, database=flow.database, catalog=engine.parts.catalog)
    states = {each.version: each.state for each in service.definitions("flow")}
    assert states == {1: DefinitionState.DEPRECATED, 2: DefinitionState.ACTIVE}
    service.retire("flow@1", "archived")
    flow.probe.gate("v").set()
    assert (flow.wait(old).output, flow.wait(new).output) == ({"out": 1}, {"out": 2})
    with pytest.raises(Conflict, match="archived"):
        engine.start_now("flow@1")
    changed = service.diff("flow@1", "flow@2")
    assert [(each.pointer, each.before, each.after) for each in changed] == [("/nodes/out/with", 1, 2)]


def test_what_is_deprecated_starts_only_by_its_number(flow: Flow) -> None:
    engine = flow.engine
    for n in (1, 2):
        engine.register(flow.document({"out": echo(n)}))
    service = WorkflowService(engine.registry, database=flow.database, catalog=engine.parts.catalog)
    service.retire("flow@2", "deprecated")
    assert flow.wait(engine.start_now("flow")).output == {"out": 1}
    service.retire("flow@1", "deprecated")
    assert flow.wait(engine.start_now("flow@2")).output == {"out": 2}
    with pytest.raises(NotFound, match=r"all are deprecated or archived.*definitions --activate flow@2"):
        engine.start_now("flow")
    parent = flow.document({"f": {"flow": "flow"}}) | {"name": "parent"}
    assert flow.wait(engine.start_now(parent)).state == "failed"
    with pytest.raises(NotFound, match="Register it first"):
        engine.start_now("nothing")
    service.activate("flow@1")
    assert flow.wait(engine.start_now("flow")).output == {"out": 1}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_was_archived_meanwhile_starts_no_more(flow: Flow, *, elsewhere: bool) -> None:
    """Neither by its document nor as what `register` gave; another process is heard of within a second."""
    engine, document = flow.engine, flow.document({"out": echo(1)})
    registered = engine.register(document, activate=True)
    for each in (registered, document):
        assert flow.wait(engine.start_now(each)).output == {"out": 1}
    other = flow.open(executes=False).parts.catalog if elsewhere else engine.parts.catalog
    service = WorkflowService(engine.registry, database=flow.database, catalog=other)

    def refused() -> bool:
        try:
            engine.start_now(registered)
        except Conflict:
            return True
        return False

    service.retire("flow@1", "archived")
    if elsewhere:
        until(refused, 5.0)
    for each in (registered, document):
        with pytest.raises(Conflict, match="archived"):
            engine.start_now(each)
    assert engine.register(document, activate=True).active, "brought back"
    assert flow.wait(engine.start_now(registered)).output == {"out": 1}


def test_a_live_run_goes_on_under_another_version(flow: Flow) -> None:
    engine = flow.engine
    one = {"a": echo(1), "g": gate("mig", 2), "b": echo("{{ nodes.g.output }}")}
    two = {**one, "b": echo("{{ nodes.g.output + 100 }}"), "c": echo("{{ nodes.a.output }}")}
    three = {"a": echo(1), "h": echo(3)}
    for nodes in (one, two, three):
        engine.register(flow.document(nodes))
    instance_id = engine.start_now("flow@1")
    flow.started.append(instance_id)
    until(lambda: flow.state(instance_id, "g") == "running" and flow.state(instance_id, "a") == "completed")
    assert engine.plan_migration(instance_id, "flow@3").verdict == "impossible"
    with pytest.raises(Conflict, match="has begun"):
        do(flow, "migrate_workflow", instance_id, "flow@3")
    assert engine.plan_migration(instance_id, "flow@2").verdict == "safe"
    do(flow, "migrate_workflow", instance_id, "flow@2")
    flow.probe.gate("mig").set()
    status = flow.wait(instance_id)
    assert (status.version, status.output) == (2, {"b": 102, "c": 1})
    assert "migrated from version 1" in "".join(row.reason for row in flow.history(instance_id))


# --- a whole map again


def pages(flow: Flow, instance_id: str) -> list[str]:
    """Give the keys of the stored pages of lists."""
    with flow.database.read() as connection:
        keys = connection.scalars(select(BLOBS.c.key).where(BLOBS.c.instance_id == instance_id))
        return sorted(key for key in keys if key.startswith(("items:", "keys:")))


def claims(flow: Flow, instance_id: str) -> dict[str, list[int]]:
    """Give the attempts of each task in the order in which they were claimed."""
    found: dict[str, list[int]] = {}
    for row in flow.history(instance_id):
        if row.path is not None and row.to_state == "running" and row.attempt:
            found.setdefault(row.path, []).append(row.attempt)
    return found


def test_a_whole_map_tried_again_goes_on_counting_attempts_and_keeps_one_list(flow: Flow) -> None:
    lists = iter([[1, 2, 3, 4], [5, 6], [7, 8, 9]])
    flow.probe.gives = {"list": lambda: next(lists)}
    inner: Doc = {
        "nodes": {
            "e": echo("{{ x }}"),
            "n": {"map": ["{{ x }}", 0], "as": "y", "do": echo("{{ y }}"), "needs": ["e"]},
        },
        "output": "{{ nodes.n.output }}",
    }
    nodes: Doc = {
        "l": {"run": "t.give", "with": "list"},
        "m": {"map": "{{ nodes.l.output }}", "as": "x", "key": "{{ x }}", "do": inner},
        "out": {"set": {"v": "{{ nodes.m.output }}"}},
    }
    one = flow.start(nodes)
    assert flow.wait(one).state == "completed"
    do(flow, "retry_workflow", one, "m")
    assert flow.wait(one).state == "completed"
    assert claims(flow, one)["m[0].e"] == claims(flow, one)["m[3].n[1]"] == [1, 2]
    for listed in ([5, 6], [7, 8, 9]):
        do(flow, "retry_workflow", one, "l")
        status = flow.wait(one)
        assert (status.state, status.output) == ("completed", {"out": {"v": [[x, 0] for x in listed]}})
        of_items = [f":m[{n}].n:{flow.tasks(one)[f'm[{n}].n'].gen}:0" for n in range(len(listed))]
        m = f"m:{flow.tasks(one)['m'].gen}:0"
        assert pages(flow, one) == sorted(["items" + p for p in of_items] + [f"items:{m}", f"keys:{m}"])
    assert {path: found[-1] for path, found in claims(flow, one).items()} == {
        "l": 3,
        **{f"m[{n}].{end}": (4, 4, 3, 2)[n] for n in range(4) for end in ("e", "n[0]", "n[1]")},
    }
