"""Where features of the language meet: undo one child at a time, handlers inside maps, errors that rise, what stays."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow import ExecutorError
from tests.integration.kit import Doc, Flow, until


class Base(ExecutorError):
    retryable = False


class Sub(Base):
    pass


class Red(ExecutorError):
    retryable = False


def _raise(kind: type[ExecutorError]) -> Any:
    async def work(_ctx: Any, _config: Any) -> Any:
        raise kind("broken")

    return work


B: Doc = {"run": "m.red"}
S: Doc = {"run": "m.sub"}
W: Doc = {"run": "t.echo"}
U: Doc = {**W, "undo": W}


@pytest.fixture(autouse=True)
def failing(flow: Flow) -> None:
    flow.registry.register_executor_domain("m", {"red": _raise(Red), "sub": _raise(Sub)})


def undone(flow: Flow, g: Doc) -> list[str]:
    """Run something that is undone when what follows it fails; gives what was undone, in order."""
    nodes = {"g": g, "z": {**B, "needs": ["g"]}}
    status = flow.run(nodes, on_error=[{"undo": True}])
    assert (status.state, status.error and status.error["code"]) == ("failed", "m.Red")
    return [path for path in flow.probe.paths() if path.endswith("!undo")]


# --- undo


@pytest.mark.parametrize(
    ("g", "paths"),
    [
        ({"map": [0, 0, 0], "concurrency": 1, "do": {"nodes": {"a": U}}}, ["g[2].a", "g[1].a", "g[0].a"]),
        ({"map": [0, 0, 0], "concurrency": 1, "do": U}, ["g[2]", "g[1]", "g[0]"]),
        ({"parallel": {"x": U, "y": {"nodes": {"a": U}}}, "concurrency": 1}, ["g.y.a", "g.x"]),
        ({"loop": {"times": 3}, "do": U}, ["g#2", "g#1", "g#0"]),
        ({"loop": {"until": "{{ loop.index == 1 }}"}, "do": {"nodes": {"a": U}}}, ["g#1.a", "g#0.a"]),
        (
            {"loop": {"times": 2}, "do": {"map": [0, 0], "concurrency": 1, "do": U}},
            ["g#1[1]", "g#1[0]", "g#0[1]", "g#0[0]"],
        ),
    ],
)
def test_what_ran_one_at_a_time_is_undone_one_at_a_time(flow: Flow, g: Doc, paths: list[str]) -> None:
    assert undone(flow, g) == [f"{path}!undo" for path in paths]


def test_a_container_that_undoes_itself_undoes_all_its_children(flow: Flow) -> None:
    body = {"nodes": {"a": U, "z": {**B, "needs": ["a"], "when": "{{ item == 2 }}"}}}
    m = {"map": [0, 1, 2], "concurrency": 1, "do": body, "on_error": [{"undo": True, "output": "undone"}]}
    assert flow.run({"m": m}).output == {"m": "undone"}
    assert [p for p in flow.probe.paths() if p.endswith("!undo")] == [f"m[{n}].a!undo" for n in (2, 1, 0)]


# --- kept rests


def kept(flow: Flow, node: Doc) -> list[str]:
    status = flow.run({"o": node})
    assert status.state == "completed"
    return sorted(path for path, state in flow.states(status.id).items() if state == "completed" and path)


INNER: Doc = {"map": [1, 2, 3], "concurrency": 1, "join": {"need": "any", "rest": "keep"}, "do": W}
ALL_OF = ["", "[0]", "[1]", "[2]"]


def test_an_item_keeps_its_rest_when_its_map_is_met(flow: Flow) -> None:
    wanted = [f"o{item}{each}" for item in ("[0]", "[1]") for each in ALL_OF]
    assert kept(flow, {"map": [1, 2], "do": INNER}) == sorted(["o", *wanted])
    assert kept(flow, {"map": [1, 2], "concurrency": 1, "do": INNER}) == sorted(["o", *wanted])


def test_a_branch_keeps_its_rest(flow: Flow) -> None:
    assert kept(flow, {"parallel": {"b": INNER}}) == sorted(["o", *(f"o.b{each}" for each in ALL_OF)])


def test_what_begins_after_the_verdict_keeps_its_rest_too(flow: Flow) -> None:
    outer = {"map": [1, 2], "concurrency": 1, "join": {"need": "any", "rest": "keep"}, "do": INNER}
    wanted = [f"o{item}{each}" for item in ("[0]", "[1]") for each in ALL_OF]
    assert kept(flow, outer) == sorted(["o", *wanted])
    assert flow.run({"o": outer | {"do": {**INNER, "do": {**W, "with": 1}}}}).output == {
        "o": [[1, None, None], None]
    }


def test_of_a_met_parallel_the_branches_that_have_not_ended_are_cancelled(flow: Flow) -> None:
    gate = {"run": "t.gate", "with": {"gate": "quick"}}
    inner = {"map": [0, 0], "join": {"need": "any", "rest": "keep"}, "concurrency": 1, "do": gate}
    slow = {"switch": [{"when": True, "do": {"run": "t.gate", "with": {"gate": "never"}}}]}
    instance_id = flow.start({"o": {"parallel": {"quick": inner, "slow": slow}, "join": "any"}})
    until(lambda: flow.state(instance_id, "o.slow.0") == "running")
    flow.probe.gate("quick").set()
    assert flow.wait(instance_id).state == "completed"
    states = flow.states(instance_id)
    assert (states["o.slow"], states["o.slow.0"]) == ("cancelled", "cancelled")
    assert (states["o.quick[0]"], states["o.quick[1]"]) == ("completed", "completed")


# --- handlers


def test_a_handler_of_an_inner_map_sees_the_item_of_the_outer_one(flow: Flow) -> None:
    shown = {**W, "with": "{{ item }}/{{ index }}/{{ total }}"}
    for inner in ({"map": ["b", "c"]}, {"loop": {"for": ["b", "c"]}}):
        handled = {**inner, "do": B, "on_error": [{"do": shown}]}
        assert flow.run({"m": {"map": ["a"], "do": handled}}).output == {"m": ["a/0/1"]}
        nested = {"nodes": {"x": {**inner, "do": B, "on_error": [{"do": {"nodes": {"y": shown}}}]}}}
        assert flow.run({"m": {"map": ["a"], "do": nested}}).output == {"m": [{"x": {"y": "a/0/1"}}]}


def test_a_handler_of_an_inner_loop_sees_the_turn_of_the_outer_one(flow: Flow) -> None:
    shown = {**W, "with": "{{ loop.index }}"}
    inner = {"loop": {"times": 1}, "do": B, "on_error": [{"do": shown}]}
    assert flow.run({"l": {"loop": {"times": 2}, "do": inner}}).output == {"l": [0, 1]}


# --- errors that rise

WRAPS: list[Doc] = [
    S,
    {"do": {"nodes": {"b": S}}},
    {"loop": {"times": 1}, "do": S},
    {"loop": {"times": 1}, "do": {"nodes": {"b": S}}},
    {"switch": [{"when": True, "do": {"nodes": {"b": {"do": {"nodes": {"c": S}}}}}}]},
]


@pytest.mark.parametrize("on_failure", ["stop", "finish"])
@pytest.mark.parametrize("node", WRAPS)
def test_base_classes_match_however_far_an_error_rises(flow: Flow, node: Doc, on_failure: str) -> None:
    entries = [{"on": ["m.Base"], "output": "base"}, {"output": "any"}]
    assert flow.run({"a": node}, on_error=entries, on_failure=on_failure, output="none").output == "base"


def test_the_join_of_a_map_has_its_own_code(flow: Flow) -> None:
    entries = [{"on": ["m.Base"], "output": "base"}, {"on": ["join"], "output": "join"}]
    assert flow.run({"m": {"map": [1], "do": S}}, on_error=entries).output == "join"


@pytest.mark.parametrize("on_failure", ["stop", "finish"])
def test_the_error_of_a_fail_handler_is_what_rises(flow: Flow, on_failure: str) -> None:
    entries = [{"on": ["m.Base", "m.Sub"], "output": "old"}, {"on": ["x.Y"], "output": "new"}]
    for message in ("constant", "was {{ error.code }}"):
        a = {**S, "on_error": [{"fail": {"code": "x.Y", "message": message}}]}
        assert flow.run({"a": a}, on_error=entries, on_failure=on_failure).output == "new"


def test_the_error_of_a_failed_handler_rises_with_its_bases(flow: Flow) -> None:
    a = {**B, "on_error": [{"do": S}]}
    entries = [{"on": ["m.Red"], "output": "first"}, {"on": ["m.Base"], "output": "second"}]
    assert flow.run({"a": a}, on_error=entries).output == "second"


@pytest.mark.parametrize(
    "entry",
    [
        {"fail": {"code": "x.Y", "message": "constant"}},
        {"fail": {"code": "x.Y", "message": "was {{ error.code }}"}},
        {"do": {"nodes": {"h": {**W, "with": "{{ error.code }}"}, "i": {**S, "needs": ["h"]}}}},
    ],
)
def test_finally_sees_the_error_that_the_run_ends_with(flow: Flow, entry: Doc) -> None:
    status = flow.run({"a": B}, on_error=[entry], **{"finally": {**W, "with": "{{ error.code }}"}})
    code = status.error and status.error["code"]
    assert flow.probe.calls[-1] == ("!finally", 1, code)
    assert code in {"x.Y", "m.Sub"}


# --- what can be read of a node


def test_a_failed_node_has_no_output(flow: Flow) -> None:
    flow.engine.register({"dsl": "1", "name": "kid", "nodes": {"w": {**W, "with": 1}}}, activate=True)
    broken = "{{ result.q.x }}"
    for f in (
        {"flow": "kid", "output": broken},
        {"map": [1], "do": W, "collect": "stats", "output": broken},
    ):
        ended = {"node": "f", "on": ["failed"]}
        status = flow.run({"f": f, "o": {**W, "needs": [ended], "with": "{{ nodes.f.output }}"}})
        assert status.output == {"o": None}
        row = flow.tasks(status.id)["f"]
        assert (row.state, row.output, row.output_ref) == ("failed", None, None)


def test_a_run_that_fails_in_finally_has_no_output(flow: Flow) -> None:
    status = flow.run({"a": {**W, "with": 1}}, output="{{ nodes.a.output }}", **{"finally": B})
    root = flow.tasks(status.id)[""]
    assert (status.state, status.output, root.output, root.output_ref) == ("failed", None, None, None)


def test_fields_of_containers_that_did_not_begin_are_null(flow: Flow) -> None:
    nodes: Doc = {
        "s": {"switch": [{"when": False, "do": W}]},
        "t": {"when": False, "switch": [{"when": True, "do": W}]},
        "m": {"when": False, "map": [1], "do": W},
        "l": {"loop": {"while": False}, "do": W},
    }
    output = {
        "branches": ["{{ nodes.s.branch }}", "{{ nodes.t.branch }}"],
        "stats": ["{{ nodes.m.stats }}", "{{ nodes.l.stats.total }}"],
    }
    assert flow.run(nodes, output=output).output == {"branches": [None, None], "stats": [None, 0]}


# --- flows


@pytest.mark.parametrize("on_failure", ["stop", "finish"])
@pytest.mark.parametrize(
    ("pattern", "takes"),
    [("flow", True), ("m.Red", True), ("m.*", True), ("m.Sub", False)],
)
def test_a_flow_fails_with_its_own_code_and_matches_its_childs_too(
    flow: Flow,
    pattern: str,
    takes: bool,  # noqa: FBT001 - a parameter
    on_failure: str,
) -> None:
    flow.engine.register({"dsl": "1", "name": "kid", "nodes": {"b": B}}, activate=True)
    entries = [{"on": [pattern], "output": "{{ error.code }}"}, {"output": "other"}]
    wanted = "flow" if takes else "other"
    assert flow.run({"f": {"flow": "kid", "on_error": entries}}).output == {"f": wanted}
    group = {"do": {"nodes": {"f": {"flow": "kid"}}}}
    assert flow.run({"g": group}, on_error=entries, on_failure=on_failure).output == wanted


# --- loops


@pytest.mark.parametrize("loop", [{"times": 3}, {"for": [0, 0, 0]}])
def test_a_list_of_turns_keeps_what_old_turns_gave(flow: Flow, loop: Doc) -> None:
    number = {**W, "with": "{{ loop.index }}"}
    bodies: list[tuple[Doc, Any]] = [
        (number, lambda n: n),
        ({"nodes": {"a": number, "b": {**W, "needs": ["a"]}}}, lambda _: {"b": None}),
        ({"nodes": {"a": number, "b": W}, "output": "{{ nodes.a.output }}"}, lambda n: n),
        ({"map": [1, 2], "do": number}, lambda n: [n, n]),
    ]
    for body, gives in bodies:
        status = flow.run({"l": {"loop": {**loop, "keep_last": 1}, "do": body}})
        assert status.output == {"l": [gives(n) for n in range(3)]}
        paths = set(flow.tasks(status.id))
        assert {"l#0", "l#1", "l#2"} <= paths
        assert ("l#0.a" in paths) == ("nodes" in body and "output" not in body)
        assert ("l#2.a" in paths) == ("nodes" in body)


# --- on_failure: finish


def inside(body: Doc, wrap: str) -> Doc:
    """Give a container whose body it is, by name."""
    wraps: dict[str, Doc] = {
        "group": {"do": body},
        "item": {"map": [1], "do": body},
        "branch": {"parallel": {"x": body}},
        "turn": {"loop": {"times": 2}, "do": body},
        "case": {"switch": [{"when": True, "do": body}]},
    }
    return wraps[wrap]


@pytest.mark.parametrize(
    ("wrap", "place"),
    [("group", "g"), ("item", "g[0]"), ("branch", "g.x"), ("turn", "g#0"), ("case", "g.0")],
)
def test_what_does_not_depend_on_a_failure_goes_on_in_its_scope(flow: Flow, wrap: str, place: str) -> None:
    gate = {"run": "t.gate", "with": {"gate": "failed"}}
    nodes = {"a": B, "b": gate, "c": {**W, "needs": ["b"]}, "d": {**W, "needs": ["a"]}}
    after = {"node": "g", "on": ["failed"]}
    names = {"g": inside({"nodes": nodes}, wrap), "e": {**W, "needs": [after]}, "f": {**W, "needs": ["g"]}}
    instance_id = flow.start(names, on_failure="finish")
    until(lambda: flow.state(instance_id, f"{place}.a") == "failed")
    flow.probe.gate("failed").set()
    assert flow.wait(instance_id).state == "completed"
    states = flow.states(instance_id)
    inner = {name: states[f"{place}.{name}"] for name in nodes}
    assert inner == {"a": "failed", "b": "completed", "c": "completed", "d": "skipped"}
    assert (states["g"], states["e"], states["f"], "g#1" in states) == (
        "failed",
        "completed",
        "skipped",
        False,
    )


def test_the_first_failure_of_a_scope_that_finishes_is_its_error(flow: Flow) -> None:
    g = {
        "do": {"nodes": {"a": S, "b": {**B, "needs": [{"node": "a", "on": ["failed", "completed"]}]}, "c": B}}
    }
    g["do"]["nodes"]["a"]["on_error"] = [{"continue": True}]
    entries = [{"on": ["m.Red"], "output": "{{ error.path }}/{{ error.cause.code }}"}]
    status = flow.run({"g": {**g, "on_error": entries}}, on_failure="finish")
    assert status.output == {"g": "g/m.Red"}


def test_under_stop_an_inner_scope_begins_nothing_new(flow: Flow) -> None:
    wait: Doc = {"wait": {"for": "1h"}}
    status = flow.run({"g": {"do": {"nodes": {"a": B, "b": wait, "c": {**W, "needs": ["b"]}}}}})
    states = flow.states(status.id)
    assert (states["g.b"], "g.c" in states) == ("cancelled", False)
