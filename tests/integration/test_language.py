"""The verbs beyond run, map, set, wait.for and do, on both databases: normal, empty, failing, skipped, cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from strataflow import InputError
from tests.integration.kit import Doc, Flow, until


def echo(value: Any, **more: Any) -> Doc:
    return {"run": "t.echo", "with": value, **more}


def broken(times: int = 1_000_000, **more: Any) -> Doc:
    return {"run": "t.fail", "with": {"times": times}, **more}


def signal(flow: Flow, instance_id: str, name: str, payload: Any = None, **more: Any) -> str:
    return asyncio.run(flow.engine.signal_workflow(instance_id, name, payload, **more)).status


# --- parallel and joins


@pytest.mark.row("X-11")
def test_branches_run_together_and_their_outputs_have_names(flow: Flow) -> None:
    meet = {"run": "t.meet", "with": {"parties": 2}}
    inner = {"nodes": {"x": meet, "y": echo("{{ nodes.x.output }}")}, "output": {"y": "{{ nodes.y.output }}"}}
    status = flow.run({"p": {"parallel": {"left": meet, "right": inner}}})
    assert status.output == {"p": {"left": "met", "right": {"y": "met"}}}


@pytest.mark.row("X-11", "A-13")
def test_concurrency_bounds_branches_and_items(flow: Flow) -> None:
    measure = {"run": "t.measure", "with": {"at": "branches"}}
    nodes: Doc = {
        "p": {"parallel": {f"b{n}": measure for n in range(6)}, "concurrency": 2},
        "m": {"map": list(range(20)), "concurrency": 3, "do": {"run": "t.measure", "with": {"at": "items"}}},
    }
    assert flow.run(nodes).state == "completed"
    assert flow.probe.most["branches"] == 2
    assert flow.probe.most["items"] <= 3


def join(need: Any, **more: Any) -> Doc:
    """Give a map whose items 0 and 1 succeed, 2 fails, and 3 waits for its gate."""
    gate = {"run": "t.gate", "with": {"gate": "late"}}
    cases = [
        {"when": "{{ item == 2 }}", "do": broken()},
        {"when": "{{ item == 3 }}", "do": gate},
    ]
    body: Doc = {
        "nodes": {"s": {"switch": cases, "else": echo("{{ item }}")}},
        "output": "{{ nodes.s.output }}",
    }
    return {"map": [0, 1, 2, 3], "do": body, "join": {"need": need, **more}}


@pytest.mark.row("X-13")
@pytest.mark.parametrize(
    ("need", "state", "failed"),
    [("all", "failed", 1), ("majority", "failed", None), ("any", "completed", None), (2, "completed", None)],
)
def test_a_join_is_decided_when_it_is_certain(flow: Flow, need: Any, state: str, failed: int | None) -> None:
    """`late` never opens before the verdict: whoever waited for it would hang."""
    instance_id = flow.start(
        {
            "m": join(need),
            "after": echo("{{ nodes.m.state }}", needs=[{"node": "m", "on": ["completed", "failed"]}]),
        }
    )
    if need == "majority":
        until(lambda: flow.state(instance_id, "m[2]") == "failed")
        flow.probe.gate("late").set()  # two of four are not three: only the last item decides
        state = "completed"
    assert flow.wait(instance_id).output == {"after": state}
    if failed is not None:
        assert flow.tasks(instance_id)["m"].failed == failed


@pytest.mark.row("X-13")
def test_first_is_decided_by_whoever_ends_first(flow: Flow) -> None:
    slow = {"run": "t.gate", "with": {"gate": "never"}}
    good = flow.run({"p": {"parallel": {"a": echo(1), "b": slow}, "join": "first"}})
    assert good.output == {"p": {"a": 1, "b": None}}
    bad = flow.run({"p": {"parallel": {"a": broken(), "b": slow}, "join": "first"}})
    assert (bad.state, bad.error and bad.error["code"]) == ("failed", "join")
    assert sorted(flow.probe.cancelled) == ["p.b", "p.b"]


@pytest.mark.row("X-13")
def test_none_waits_for_nobody_and_the_rest_goes_on(flow: Flow) -> None:
    slow = {"run": "t.gate", "with": {"gate": "later", "give": 1}}
    instance_id = flow.start(
        {"p": {"parallel": {"a": slow}, "join": "none"}, "b": echo("went on", needs=["p"])}
    )
    until(lambda: flow.state(instance_id, "b") == "completed")
    assert flow.state(instance_id, "p.a") == "running"
    flow.probe.gate("later").set()
    assert flow.wait(instance_id).state == "completed"
    assert flow.state(instance_id, "p.a") == "completed"


@pytest.mark.row("X-13", "X-33")
def test_losers_are_cancelled_or_kept(flow: Flow) -> None:
    slow = {"run": "t.gate", "with": {"gate": "loser", "give": "kept"}}
    cancelled = flow.start({"p": {"parallel": {"a": echo(1), "b": slow}, "join": "any"}})
    assert flow.wait(cancelled).output == {"p": {"a": 1, "b": None}}
    assert (flow.state(cancelled, "p.b"), flow.probe.cancelled) == ("cancelled", ["p.b"])
    kept = flow.start({"p": {"parallel": {"a": echo(1), "b": slow}, "join": {"need": "any", "rest": "keep"}}})
    until(lambda: flow.state(kept, "p") == "completed")
    flow.probe.gate("loser").set()
    assert flow.wait(kept).output == {"p": {"a": 1, "b": None}}
    assert flow.state(kept, "p.b") == "completed"


@pytest.mark.row("X-13")
@pytest.mark.parametrize(
    ("need", "state"),
    [
        ("all", "completed"),
        ("none", "completed"),
        ("any", "failed"),
        ("first", "failed"),
        ("majority", "failed"),
    ],
)
def test_an_empty_map_meets_what_asks_for_nobody(flow: Flow, need: str, state: str) -> None:
    status = flow.run({"m": {"map": [], "do": echo(1), "join": need}})
    assert status.state == state
    if state == "completed":
        assert status.output == {"m": []}


def test_items_of_one_key_run_once_and_outputs_may_be_dropped(flow: Flow) -> None:
    rows = [{"id": "a", "n": 1}, {"id": "b", "n": 2}, {"id": "a", "n": 3}]
    nodes: Doc = {
        "m": {"map": rows, "key": "{{ item.id }}", "do": echo("{{ item.n }}")},
        "s": {"map": rows, "collect": "stats", "do": echo("{{ item.n }}")},
        "n": {"map": rows, "collect": "none", "do": echo("{{ item.n }}")},
    }
    instance_id = flow.start(nodes)
    stats = {"total": 3, "completed": 3, "failed": 0, "skipped": 0, "cancelled": 0}
    assert flow.wait(instance_id).output == {"m": [1, 2], "s": stats, "n": None}
    assert flow.tasks(instance_id)["n[0]"].output is None


# --- loops


@pytest.mark.row("X-15", "A-12")
def test_loops_over_lists_and_numbers(flow: Flow) -> None:
    nodes: Doc = {
        "each": {"loop": {"for": ["a", "b"]}, "do": echo("{{ item ~ index ~ total }}")},
        "count": {"loop": {"times": "{{ inputs.n }}"}, "do": echo("{{ [loop.index, loop.output] }}")},
        "made": echo([3, 4]),
        "computed": {
            "loop": {"for": "{{ nodes.made.output }}"},
            "as": "row",
            "index": "at",
            "do": echo("{{ row + at }}"),
        },
        "empty": {"loop": {"for": []}, "do": broken()},
        "never": {"loop": {"times": 0}, "do": broken()},
    }
    assert flow.run(
        nodes, {"n": 2}, output={name: f"{{{{ nodes.{name}.output }}}}" for name in nodes}
    ).output == {
        "each": ["a02", "b12"],
        "count": [[0, None], [1, [0, None]]],
        "made": [3, 4],
        "computed": [3, 5],
        "empty": [],
        "never": [],
    }


@pytest.mark.row("X-15")
def test_while_and_until(flow: Flow) -> None:
    nodes: Doc = {
        "u": {
            "loop": {"until": "{{ loop.output >= 2 and loop.index >= 2 }}"},
            "do": echo("{{ loop.index }}"),
        },
        "w": {
            "loop": {"while": "{{ loop.index < 2 }}"},
            "do": {
                "nodes": {"a": echo("{{ loop.index }}"), "b": echo("{{ nodes.a.output + 10 }}")},
                "output": "{{ nodes.b.output }}",
            },
        },
        "not": {"loop": {"while": "{{ false }}"}, "do": broken()},
    }
    nodes = {("never" if name == "not" else name): node for name, node in nodes.items()}
    instance_id = flow.start(nodes)
    assert flow.wait(instance_id).output == {"u": 2, "w": 11, "never": None}
    assert flow.tasks(instance_id)["u"].next == 3


@pytest.mark.row("X-15", "X-14")
def test_a_loop_ends_at_its_limit_and_with_its_failure(flow: Flow) -> None:
    endless = flow.run({"l": {"loop": {"until": "{{ false }}", "max": 3}, "do": echo(1)}})
    assert endless.error is not None
    assert (endless.state, endless.error["code"], endless.error["details"]) == (
        "failed",
        "loop_limit",
        {"max": 3, "turns": 3},
    )
    failing = flow.start(
        {"l": {"loop": {"times": 5}, "do": {"nodes": {"a": echo(1), "b": broken(needs=["a"])}}}}
    )
    assert flow.wait(failing).state == "failed"
    assert flow.tasks(failing)["l"].next == 1
    going_on = flow.run(
        {
            "l": {"loop": {"times": 3}, "do": broken(on_error=[{"continue": True}])},
            "s": echo("{{ nodes.l.stats.failed }}"),
        }
    )
    assert (going_on.state, going_on.output) == ("completed", {"s": 3})


@pytest.mark.row("X-15")
def test_a_loop_pauses_between_turns_and_forgets_old_ones(flow: Flow) -> None:
    instance_id = flow.start(
        {
            "l": {
                "loop": {"until": "{{ loop.index == 4 }}", "every": "5ms", "keep_last": 2},
                "do": {"nodes": {"a": echo("{{ loop.index }}")}, "output": "{{ nodes.a.output }}"},
            }
        }
    )
    assert flow.wait(instance_id).output == {"l": 4}
    kept = {path for path in flow.tasks(instance_id) if path.startswith("l#")}
    assert kept == {"l#3", "l#3.a", "l#4", "l#4.a"}
    turns = [row for row in flow.history(instance_id) if row.path == "l#0.a"]
    assert [row.to_state for row in turns][-1] == "completed"


def test_variables_of_a_loop_go_from_turn_to_turn(flow: Flow) -> None:
    body: Doc = {
        "nodes": {"s": {"set": {"n": "{{ vars.n | default(0) + loop.index }}"}}},
        "output": "{{ nodes.s.output.n }}",
    }
    assert flow.run({"l": {"loop": {"times": 4}, "do": body}}).output == {"l": [0, 1, 3, 6]}


# --- switch


@pytest.mark.row("X-16")
@pytest.mark.parametrize(("n", "ran", "branch"), [(5, "big", 0), (2, "small", 1), (0, "none", "else")])
def test_exactly_one_case_runs_and_the_others_are_skipped(flow: Flow, n: int, ran: str, branch: Any) -> None:
    cases = [
        {"when": "{{ inputs.n > 3 }}", "do": echo("big")},
        {"when": "{{ inputs.n > 1 }}", "do": echo("small")},
    ]
    nodes: Doc = {
        "s": {"switch": cases, "else": {"nodes": {"e": echo("none")}, "output": "{{ nodes.e.output }}"}},
        "b": echo("{{ nodes.s.branch }}"),
    }
    instance_id = flow.start(
        nodes, {"n": n}, output={"out": "{{ nodes.s.output }}", "branch": "{{ nodes.b.output }}"}
    )
    assert flow.wait(instance_id).output == {"out": ran, "branch": branch}
    states = {
        path: state for path, state in flow.states(instance_id).items() if path in {"s.0", "s.1", "s.else"}
    }
    assert sorted(states.values()) == ["completed", "skipped", "skipped"]
    assert states[f"s.{branch}"] == "completed"


@pytest.mark.row("X-16")
def test_no_case_and_a_false_when(flow: Flow) -> None:
    nodes: Doc = {
        "s": {"switch": [{"when": "{{ false }}", "do": broken()}]},
        "w": {"when": "{{ false }}", "parallel": {"a": broken()}},
        "after": echo(1, needs=["w"]),
    }
    instance_id = flow.start(nodes)
    assert flow.wait(instance_id).output == {"s": None, "after": None}
    assert flow.state(instance_id, "after") == "skipped"


# --- needs


@pytest.mark.row("A-21")
def test_any_all_none_and_states(flow: Flow) -> None:
    gate = {"run": "t.gate", "with": {"gate": "g"}}
    nodes: Doc = {
        "quick": echo("Q"),
        "slow": gate,
        "bad": broken(),
        "one": echo("{{ trigger.path ~ trigger.output }}", needs={"any": ["slow", "quick"]}),
        "both": echo(1, needs=[{"all": ["slow", "quick"]}]),
        "nobody": echo(
            1, needs=[{"none": [{"node": "quick", "on": ["failed"]}, {"node": "bad", "on": ["completed"]}]}]
        ),
        "handler": echo("{{ nodes.bad.error.code }}", needs=[{"node": "bad", "on": ["failed"]}]),
        "unmet": echo(1, needs={"any": [{"node": "quick", "on": ["failed"]}, "bad"]}),
    }
    instance_id = flow.start(
        nodes, output={"one": "{{ nodes.one.output }}", "handler": "{{ nodes.handler.output }}"}
    )
    until(lambda: flow.state(instance_id, "one") == "completed")
    assert flow.state(instance_id, "both") in {"pending", None}
    flow.probe.gate("g").set()
    assert flow.wait(instance_id).output == {"one": "quickQ", "handler": "t.Broken"}
    states = flow.states(instance_id)
    assert {name: states[name] for name in ("both", "nobody", "unmet")} == {
        "both": "completed",
        "nobody": "completed",
        "unmet": "skipped",
    }


# --- failures


@pytest.mark.row("A-14")
def test_on_error_gives_a_value_runs_a_body_goes_on_or_fails_anew(flow: Flow) -> None:
    nodes: Doc = {
        "value": broken(
            on_error=[
                {"on": ["other.*"], "output": "no"},
                {"on": ["t.Broken"], "output": {"was": "{{ error.message }}"}},
            ]
        ),
        "body": broken(
            on_error=[
                {"do": {"nodes": {"x": echo("{{ error.attempt }}")}, "output": "{{ nodes.x.output + 1 }}"}}
            ]
        ),
        "on": broken(on_error=[{"continue": True}]),
        "met": echo("{{ nodes.on.state }}", needs=["on"]),
    }
    output = {name: f"{{{{ nodes.{name}.output }}}}" for name in nodes}
    assert flow.run(nodes, output=output).output == {
        "value": {"was": "broken"},
        "body": 2,
        "on": None,
        "met": "failed",
    }
    other = flow.run(
        {"a": broken(on_error=[{"fail": {"code": "mine.Bad", "message": "no: {{ error.code }}"}}])}
    )
    assert other.error is not None
    assert (other.error["code"], other.error["message"], other.error["cause"]["code"]) == (
        "mine.Bad",
        "no: t.Broken",
        "t.Broken",
    )


@pytest.mark.row("A-14")
def test_retries_come_before_handlers_and_a_failing_handler_keeps_the_first_error(flow: Flow) -> None:
    retried = flow.start({"a": broken(1, retry={"max": 1, "delay": "1ms"}, on_error=[{"output": "handled"}])})
    assert flow.wait(retried).output == {"a": 2}
    failing = flow.run(
        {
            "a": broken(
                on_error=[{"do": {"run": "core.fail", "with": {"code": "h.Bad", "message": "handler"}}}]
            )
        }
    )
    assert failing.error is not None
    assert (failing.state, failing.error["cause"]["code"]) == ("failed", "t.Broken")


@pytest.mark.row("A-14", "A-15")
def test_the_definition_handles_its_failure_and_finally_runs_after_every_end(flow: Flow) -> None:
    last = echo("{{ error.code | default('none') }}")
    bare = flow.start({"a": broken()}, **{"finally": last})
    assert flow.wait(bare).state == "failed"
    assert flow.tasks(bare)["!finally"].output == '"t.Broken"'
    good = flow.start({"a": echo(1)}, **{"finally": last})
    assert (flow.wait(good).state, flow.tasks(good)["!finally"].output) == ("completed", '"none"')
    handled = flow.run({"a": broken()}, on_error=[{"output": {"code": "{{ error.code }}"}}])
    assert (handled.state, handled.output) == ("completed", {"code": "t.Broken"})
    told = flow.start({"a": broken()}, on_error=[{"do": echo("{{ error.path }}")}])
    assert (flow.wait(told).state, flow.tasks(told)["!error"].output) == ("failed", '"a"')
    spoilt = flow.run({"a": echo(1)}, **{"finally": broken()})
    assert spoilt.state == "failed"


@pytest.mark.row("X-14")
def test_independent_nodes_go_on_where_the_definition_says_so(flow: Flow) -> None:
    nodes: Doc = {"a": broken(), "b": echo(1), "c": echo(2, needs=["b"]), "d": echo(3, needs=["a"])}
    instance_id = flow.start(nodes, on_failure="finish")
    assert flow.wait(instance_id).state == "failed"
    states = flow.states(instance_id)
    assert {name: states[name] for name in nodes} == {
        "a": "failed",
        "b": "completed",
        "c": "completed",
        "d": "skipped",
    }


@pytest.mark.row("X-14")
def test_failed_children_never_look_like_plain_success(flow: Flow) -> None:
    nodes: Doc = {
        "m": {"map": [0, 1, 2], "do": broken(when="{{ item > 0 }}"), "join": {"tolerate": 2}},
        "stats": echo("{{ nodes.m.stats }}"),
    }
    status = flow.run(nodes)
    assert status.output == {"stats": {"total": 3, "completed": 0, "failed": 2, "skipped": 1, "cancelled": 0}}
    group = flow.run({"p": {"parallel": {"a": echo(1), "b": broken()}}})
    assert group.error is not None
    assert (group.state, group.error["code"], group.error["cause"]["code"]) == ("failed", "join", "t.Broken")


def undoing(name: str, **more: Any) -> Doc:
    return echo(name, undo=echo(f"{{{{ 'undo ' ~ nodes.{name}.output }}}}"), **more)


def test_undo_runs_in_reverse_order_and_only_for_what_completed(flow: Flow) -> None:
    nodes: Doc = {
        "a": undoing("a"),
        "m": {"map": [0, 1], "do": echo("{{ item }}", undo=echo("undo item {{ index }}")), "needs": ["a"]},
        "b": undoing("b", needs=["m"]),
        "handled": broken(on_error=[{"output": 1}], undo=broken(), needs=["b"]),
        "bad": broken(needs=["handled"], undo=broken()),
    }
    instance_id = flow.start(nodes, on_error=[{"undo": True, "do": echo("told")}])
    status = flow.wait(instance_id)
    assert (status.state, status.error and status.error["code"]) == ("failed", "t.Broken")
    assert "compensating" in flow.moves(instance_id, None)
    undone = [path for path in flow.probe.paths() if path.endswith("!undo")]
    assert (undone[0], set(undone[1:3]), undone[3:]) == ("b!undo", {"m[0]!undo", "m[1]!undo"}, ["a!undo"])
    assert flow.tasks(instance_id)["m[1]!undo"].output == '"undo item 1"'
    assert flow.state(instance_id, "!error") == "completed"


def test_an_undo_is_retried_and_its_lasting_failure_is_told(flow: Flow) -> None:
    nodes: Doc = {
        "a": echo(1, undo=broken(1, retry={"max": 1, "delay": "1ms"})),
        "b": echo(2, needs=["a"], undo=broken()),
        "c": broken(needs=["b"]),
    }
    status = flow.run(nodes, on_error=[{"undo": True, "output": "never"}])
    assert status.error is not None
    assert status.state == "failed"
    assert [each["path"] for each in status.error["compensation"]] == ["b!undo"]


@pytest.mark.row("A-19")
def test_retries_filter_errors_and_a_loop_repeats_until_the_result_will_do(flow: Flow) -> None:
    filtered = flow.start({"a": broken(retry={"max": 3, "delay": "1ms", "on": ["other.*"]})})
    assert flow.wait(filtered).state == "failed"
    assert flow.probe.attempts("a") == [1]
    never = flow.start({"b": broken(retry={"max": 3, "delay": "1ms", "never": ["t.Broken"]})})
    assert (flow.wait(never).state, flow.probe.attempts("b")) == ("failed", [1])
    counted = flow.start({"c": broken(2, retry={"max": 2, "delay": "1ms"})})
    assert (flow.wait(counted).output, flow.probe.attempts("c")) == ({"c": 3}, [1, 2, 3])
    result = flow.run(
        {"r": {"loop": {"until": "{{ loop.output > 2 }}", "max": 5}, "do": echo("{{ loop.index }}")}}
    )
    assert result.output == {"r": 3}


def test_a_deadline_of_a_node_counts_everything_and_is_handled(flow: Flow) -> None:
    gate = {"run": "t.gate", "with": {"gate": "never"}}
    nodes: Doc = {
        "r": {**gate, "deadline": "80ms", "on_error": [{"on": ["deadline"], "output": "late"}]},
        "g": {"do": {"nodes": {"x": gate}}, "deadline": "80ms", "on_error": [{"output": "{{ error.code }}"}]},
        "b": broken(
            retry={"max": 100, "delay": "30ms", "backoff": "fixed"},
            deadline="100ms",
            on_error=[{"output": "enough"}],
        ),
    }
    assert flow.run(nodes).output == {"r": "late", "g": "deadline", "b": "enough"}


def test_an_attempt_without_a_sign_of_life_is_stopped(flow: Flow) -> None:
    silent = {
        "run": "t.gate",
        "with": {"gate": "never"},
        "heartbeat": "60ms",
        "on_error": [{"output": "{{ error.code }}"}],
    }
    assert flow.run({"a": silent}).output == {"a": "heartbeat"}


# --- inputs


@pytest.mark.row("A-24")
@pytest.mark.parametrize(
    ("inputs", "pointer"),
    [
        ({}, "/day"),
        ({"day": "x", "mode": "odd"}, "/mode"),
        ({"day": "x", "n": 0}, "/n"),
        ({"day": "x", "tags": [1]}, "/tags/0"),
        ({"day": "x", "deep": {"a": "b"}}, "/deep/a"),
        ({"day": "x", "more": 1}, "/more"),
    ],
)
def test_inputs_are_checked(flow: Flow, inputs: Doc, pointer: str) -> None:
    schema: Doc = {
        "type": "object",
        "required": ["day"],
        "properties": {
            "day": {"type": "string"},
            "mode": {"enum": ["a", "b"], "default": "a"},
            "n": {"type": "integer", "minimum": 1, "default": 1},
            "tags": {"type": "array", "items": {"type": "string"}},
            "deep": {"type": "object", "properties": {"a": {"type": "integer", "default": 7}}, "default": {}},
        },
    }
    document = flow.document({"a": echo("{{ [inputs.mode, inputs.n, inputs.deep.a] }}")}, inputs=schema)
    with pytest.raises(InputError) as caught:
        flow.engine.start_now(document, inputs)
    assert pointer in {problem.pointer for problem in caught.value.problems}
    assert flow.engine.run(document, {"day": "x"}) == {"a": ["a", 1, 7]}
