"""Shape of every verb but `run` and `map`, of handlers, bodies and groups: each refusal with its place and code."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.engine.definition import FlowNode, LoopNode, ParallelNode, Scope, SwitchNode, WaitNode
from strataflow.engine.errors import DefinitionError, Problem
from strataflow.engine.parser import canonical_text, parse_definition

RUN: dict[str, Any] = {"run": "c.n"}
TIMES = {"times": 2}


def document(**nodes: Any) -> dict[str, Any]:
    return {"dsl": "1", "name": "test", "nodes": nodes or {"a": RUN}}


def problems_of(source: Any) -> list[Problem]:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(source)
    return list(caught.value.problems)


def found(source: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in problems_of(source)]


def cases(*whens: Any) -> list[dict[str, Any]]:
    return [{"when": when, "do": RUN} for when in whens]


# --- what is read

GOOD: list[dict[str, Any]] = [
    {"parallel": {"left": RUN, "right": {"nodes": {"x": RUN}, "output": 1}}},
    {"parallel": {"only": {"parallel": {"deep": RUN}}}, "join": "any"},
    {"loop": {"times": "{{ inputs.n }}"}, "do": RUN},
    {"loop": {"times": 0}, "do": RUN},
    {"loop": {"while": True, "max": 1, "every": "0s", "keep_last": 1}, "do": {"nodes": {"x": RUN}}},
    {"loop": {"until": "{{ loop.output }}"}, "do": {"set": {"x": 1}}},
    {"loop": {"for": {"a": 1}}, "as": "pair", "index": "i", "do": RUN},
    {"loop": {"for": "{{ inputs.rows }}"}, "do": {"loop": {"times": 1}, "do": RUN}},
    {"switch": cases(True, "{{ 1 == 2 }}")},
    {"switch": cases(False), "else": {"nodes": {"x": RUN}}},
    {"switch": [{"when": True, "do": {"set": {"x": 1}}}], "else": {"set": {"x": 2}}},
    {"flow": "other"},
    {"flow": "a.b-c_d@12", "with": {}, "detach": False},
    {"flow": "other", "with": "{{ inputs }}"},
    {"wait": {"for": "1s", "timeout": "1h", "on_timeout": {"continue": True}}},
    {"wait": {"until": "2027-01-31T08:00:00Z"}},
    {"wait": {"until": "{{ inputs.at }}"}},
    {"wait": {"signal": "approve:order-1.x", "match": True}},
    {"wait": {"condition": "{{ vars.x }}", "every": "1s"}},
    {**RUN, "on_error": []},
    {**RUN, "on_error": [{"output": None}]},
    {**RUN, "on_error": [{"on": ["*"], "do": {"set": {"x": 1}}}]},
    {**RUN, "on_error": [{"fail": {"code": "{{ error.code }}", "message": ""}}]},
    {"do": {"nodes": {"x": RUN}}, "on_error": [{"undo": True}, {"undo": True, "continue": True}]},
    {**RUN, "undo": {"nodes": {"x": RUN}}, "deadline": "1d", "heartbeat": "5s"},
    {**RUN, "needs": []},
    {**RUN, "needs": {"any": ["b"]}},
    {**RUN, "needs": [{"all": ["b", {"node": "c"}]}, "d", {"none": [{"node": "e", "on": ["failed"]}]}]},
]


@pytest.mark.parametrize("node", GOOD, ids=str)
def test_forms_that_are_read_and_stored_as_they_stand(node: dict[str, Any]) -> None:
    source = document(a=node)
    definition = parse_definition(source)
    assert parse_definition(canonical_text(definition)) == definition
    assert definition.nodes["a"].model_dump(by_alias=True, exclude_unset=True, mode="json") == node


def test_what_is_not_said_has_its_default() -> None:
    source = document(
        p={"parallel": {"x": RUN}},
        l={"loop": TIMES, "do": RUN},
        s={"switch": cases(True)},
        f={"flow": "other"},
        w={"wait": {"signal": "go"}},
    )
    parallel, loop, switch, flow, wait = parse_definition(source).nodes.values()
    assert isinstance(parallel, ParallelNode)
    assert (parallel.join, parallel.concurrency) == ("all", None)
    assert isinstance(loop, LoopNode)
    assert (loop.loop.max, loop.loop.every, loop.loop.keep_last, loop.as_) == (1000, "0s", 100, "item")
    assert isinstance(switch, SwitchNode)
    assert switch.else_ is None
    assert isinstance(flow, FlowNode)
    assert (flow.detach, flow.with_) == (False, None)
    assert isinstance(wait, WaitNode)
    assert (wait.wait.match, wait.wait.timeout, wait.wait.on_timeout) == (None, None, None)


def test_the_definition_has_its_own_fields() -> None:
    source = {
        **document(),
        "finally": {"nodes": {"x": RUN}},
        "on_error": [{"output": 1}],
        "labels": {"a.b-c_1": ""},
        "start": {"mutex": "one"},
    }
    definition = parse_definition(source)
    assert isinstance(definition.finally_, Scope)
    assert definition.on_failure == "stop"
    assert definition.model_dump(by_alias=True, exclude_unset=True, mode="json") == source


# --- parallel, loop, switch, flow

BAD_NODES: list[tuple[dict[str, Any], str, str]] = [
    ({"parallel": {}}, "/parallel", "empty_nodes"),
    ({"parallel": []}, "/parallel", "wrong_type"),
    ({"parallel": None}, "/parallel", "wrong_type"),
    ({"parallel": {"x": 5}}, "/parallel/x", "wrong_type"),
    ({"parallel": {"x": {}}}, "/parallel/x", "no_verb"),
    ({"parallel": {"x": {"nodes": {}}}}, "/parallel/x/nodes", "empty_nodes"),
    ({"parallel": {"x": {"nodes": {"y": RUN}, "when": True}}}, "/parallel/x/when", "unknown_field"),
    ({"parallel": {"x": {"nodes": {"y": RUN}, **RUN}}}, "/parallel/x", "two_verbs"),
    ({"parallel": {"x": {"do": {"nodes": {"y": RUN}}}}}, "/parallel/x", "bad_value"),
    ({"parallel": {"x": RUN}, "do": RUN}, "", "two_verbs"),
    ({"parallel": {"x": RUN}, "concurrency": 0}, "/concurrency", "bad_value"),
    ({"parallel": {"x": RUN}, "join": "some"}, "/join", "bad_value"),
    ({"parallel": {"x": RUN}, "as": "y"}, "/as", "misplaced_field"),
    ({"parallel": {"x": RUN}, "key": "{{ item }}"}, "/key", "misplaced_field"),
    ({"loop": TIMES}, "/do", "missing_field"),
    ({"loop": {}, "do": RUN}, "/loop", "missing_field"),
    ({"loop": 3, "do": RUN}, "/loop", "wrong_type"),
    ({"loop": {"times": 1, "for": [1]}, "do": RUN}, "/loop", "bad_value"),
    ({"loop": {"times": -1}, "do": RUN}, "/loop/times", "bad_value"),
    ({"loop": {"times": "3"}, "do": RUN}, "/loop/times", "wrong_type"),
    ({"loop": {"times": 1.5}, "do": RUN}, "/loop/times", "wrong_type"),
    ({"loop": {"while": "yes"}, "do": RUN}, "/loop/while", "bad_value"),
    ({"loop": {"until": 5}, "do": RUN}, "/loop/until", "wrong_type"),
    ({"loop": {"for": 5}, "do": RUN}, "/loop/for", "wrong_type"),
    ({"loop": {**TIMES, "max": 0}, "do": RUN}, "/loop/max", "bad_value"),
    ({"loop": {**TIMES, "max": "{{ 5 }}"}, "do": RUN}, "/loop/max", "expression_not_allowed"),
    ({"loop": {**TIMES, "every": 5}, "do": RUN}, "/loop/every", "bad_duration"),
    ({"loop": {**TIMES, "keep_last": 0}, "do": RUN}, "/loop/keep_last", "bad_value"),
    ({"loop": {**TIMES, "forever": 1}, "do": RUN}, "/loop/forever", "unknown_field"),
    ({"loop": TIMES, "as": "x", "do": RUN}, "/as", "misplaced_field"),
    ({"loop": TIMES, "index": "x", "do": RUN}, "/index", "misplaced_field"),
    ({"loop": TIMES, "join": "any", "do": RUN}, "/join", "misplaced_field"),
    ({"loop": TIMES, "map": [1], "do": RUN}, "", "two_verbs"),
    ({"switch": []}, "/switch", "bad_value"),
    ({"switch": {}}, "/switch", "wrong_type"),
    ({"switch": [5]}, "/switch/0", "wrong_type"),
    ({"switch": [{"do": RUN}]}, "/switch/0/when", "missing_field"),
    ({"switch": [{"when": True}]}, "/switch/0/do", "missing_field"),
    ({"switch": [{"when": "x", "do": RUN}]}, "/switch/0/when", "bad_value"),
    ({"switch": [{"when": None, "do": RUN}]}, "/switch/0/when", "wrong_type"),
    ({"switch": [{"when": True, "do": 5}]}, "/switch/0/do", "wrong_type"),
    ({"switch": [{"when": True, "do": RUN, "else": RUN}]}, "/switch/0/else", "unknown_field"),
    ({"switch": cases(True), "else": []}, "/else", "wrong_type"),
    ({**RUN, "else": RUN}, "/else", "misplaced_field"),
    ({"flow": 5}, "/flow", "wrong_type"),
    ({"flow": "a b"}, "/flow", "bad_name"),
    ({"flow": "a@0"}, "/flow", "bad_name"),
    ({"flow": "a@latest"}, "/flow", "bad_name"),
    ({"flow": "{{ inputs.x }}"}, "/flow", "expression_not_allowed"),
    ({"flow": "a", "with": [1]}, "/with", "wrong_type"),
    ({"flow": "a", "with": "text"}, "/with", "wrong_type"),
    ({"flow": "a", "detach": "yes"}, "/detach", "wrong_type"),
    ({"flow": "a", "queue": "q"}, "/queue", "misplaced_field"),
    ({**RUN, "detach": True}, "/detach", "misplaced_field"),
    ({"map": [1], "do": RUN, "key": "id"}, "/key", "bad_value"),
    ({"map": [1], "do": RUN, "key": 5}, "/key", "bad_value"),
    ({"map": [1], "do": RUN, "collect": "all"}, "/collect", "bad_value"),
]


@pytest.mark.parametrize(("node", "place", "code"), BAD_NODES, ids=str)
@pytest.mark.row("X-02")
def test_forms_that_are_refused(node: dict[str, Any], place: str, code: str) -> None:
    assert found(document(a=node, b=RUN)) == [(f"/nodes/a{place}", code)]


# --- wait

BAD_WAITS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "", "missing_field"),
    ({"timeout": "1s"}, "", "missing_field"),
    ({"for": "1s", "until": "2027-01-31T08:00:00Z"}, "", "bad_value"),
    ({"for": None}, "/for", "wrong_type"),
    ({"until": "tomorrow"}, "/until", "bad_value"),
    ({"until": "2027-01-31"}, "/until", "bad_value"),
    ({"until": "2027-01-31T08:00:00"}, "/until", "bad_value"),
    ({"until": 5}, "/until", "wrong_type"),
    ({"signal": ""}, "/signal", "bad_name"),
    ({"signal": "@vars"}, "/signal", "bad_name"),
    ({"signal": "a b"}, "/signal", "bad_name"),
    ({"signal": "{{ inputs.x }}"}, "/signal", "expression_not_allowed"),
    ({"signal": "x", "match": "yes"}, "/match", "bad_value"),
    ({"for": "1s", "match": True}, "/match", "misplaced_field"),
    ({"condition": 5}, "/condition", "wrong_type"),
    ({"condition": "{{ vars.x }}", "every": "0s"}, "/every", "bad_duration"),
    ({"signal": "x", "every": "1s"}, "/every", "misplaced_field"),
    ({"signal": "x", "timeout": "soon"}, "/timeout", "bad_duration"),
    ({"signal": "x", "timeout": "0s"}, "/timeout", "bad_duration"),
    ({"signal": "x", "on_timeout": {"continue": True}}, "/on_timeout", "misplaced_field"),
    ({"signal": "x", "timeout": "1s", "on_timeout": {}}, "/on_timeout", "missing_field"),
    ({"signal": "x", "timeout": "1s", "on_timeout": []}, "/on_timeout", "wrong_type"),
    (
        {"signal": "x", "timeout": "1s", "on_timeout": {"on": ["*"], "output": 1}},
        "/on_timeout/on",
        "unknown_field",
    ),
    ({"signal": "x", "timeout": "1s", "on_timeout": {"undo": True}}, "/on_timeout/undo", "misplaced_field"),
    ({"signal": "x", "timeout": "1s", "on_timeout": {"do": {}}}, "/on_timeout/do", "no_verb"),
]


@pytest.mark.parametrize(("wait", "place", "code"), BAD_WAITS, ids=str)
def test_waits_that_are_refused(wait: dict[str, Any], place: str, code: str) -> None:
    assert found(document(a={"wait": wait})) == [(f"/nodes/a/wait{place}", code)]


# --- needs

BAD_NEEDS: list[tuple[Any, str, str]] = [
    ({"node": "b"}, "", "wrong_type"),
    ({}, "", "wrong_type"),
    ({"any": []}, "/any", "bad_value"),
    ({"any": "b"}, "/any", "wrong_type"),
    ({"any": [5]}, "/any/0", "wrong_type"),
    ({"any": ["b", {"any": ["c"]}]}, "/any/1", "bad_value"),
    ({"any": ["b"], "none": ["c"]}, "", "bad_value"),
    ({"any": ["b"], "node": "c"}, "/node", "unknown_field"),
    ({"any": ["{{ x }}"]}, "/any/0", "expression_not_allowed"),
    ({"none": [{"node": "b", "on": ["done"]}]}, "/none/0/on/0", "bad_value"),
    ([{"all": ["b", None]}], "/0/all/1", "wrong_type"),
    ([{"all": None}], "/0/all", "wrong_type"),
    (["b", {"any": [{"on": ["failed"]}]}], "/1/any/0", "missing_field"),
]


@pytest.mark.parametrize(("needs", "place", "code"), BAD_NEEDS, ids=str)
def test_needs_that_are_refused(needs: Any, place: str, code: str) -> None:
    assert found(document(a={**RUN, "needs": needs}, b=RUN, c=RUN)) == [(f"/nodes/a/needs{place}", code)]


# --- handlers, undo, finally

BAD_ENTRIES: list[tuple[Any, str, str]] = [
    (5, "", "wrong_type"),
    ({}, "", "missing_field"),
    ({"on": ["*"]}, "", "missing_field"),
    ({"undo": False}, "", "missing_field"),
    ({"output": 1, "continue": True}, "", "bad_value"),
    ({"do": RUN, "fail": {"code": "x", "message": "y"}}, "", "bad_value"),
    ({"continue": False}, "/continue", "bad_value"),
    ({"continue": "yes"}, "/continue", "bad_value"),
    ({"on": [], "output": 1}, "/on", "bad_value"),
    ({"on": "x", "output": 1}, "/on", "wrong_type"),
    ({"on": ["a b"], "output": 1}, "/on/0", "bad_value"),
    ({"on": ["{{ x }}"], "output": 1}, "/on/0", "expression_not_allowed"),
    ({"undo": "yes"}, "/undo", "wrong_type"),
    ({"do": None}, "/do", "wrong_type"),
    ({"do": {"nodes": {}}}, "/do/nodes", "empty_nodes"),
    ({"fail": "x"}, "/fail", "wrong_type"),
    ({"fail": {"message": "x"}}, "/fail/code", "missing_field"),
    ({"fail": {"code": "x"}}, "/fail/message", "missing_field"),
    ({"fail": {"code": "a b", "message": "x"}}, "/fail/code", "bad_value"),
    ({"fail": {"code": "x", "message": 5}}, "/fail/message", "wrong_type"),
    ({"fail": {"code": "x", "message": "", "details": 1}}, "/fail/details", "unknown_field"),
    ({"then": RUN, "output": 1}, "/then", "unknown_field"),
]


@pytest.mark.parametrize(("entry", "place", "code"), BAD_ENTRIES, ids=str)
def test_handlers_that_are_refused(entry: Any, place: str, code: str) -> None:
    group = {"do": {"nodes": {"x": RUN}}, "on_error": [{"on": ["a"], "output": 1}, entry]}
    assert found(document(a=group)) == [(f"/nodes/a/on_error/1{place}", code)]
    definition = {**document(), "on_error": [{"on": ["a"], "output": 1}, entry]}
    if isinstance(entry, dict) and "continue" in entry:
        assert (f"/on_error/1{place}", code) in found(definition) or place == "/continue"
    else:
        assert found(definition) == [(f"/on_error/1{place}", code)]


def test_a_run_cannot_go_on_after_its_end() -> None:
    (problem,) = problems_of({**document(), "on_error": [{"continue": True}]})
    assert (problem.pointer, problem.code) == ("/on_error/0/continue", "misplaced_field")
    assert problem.hint == "use 'output' to complete it"


@pytest.mark.parametrize("node", [RUN, {"set": {"x": 1}}, {"wait": {"for": "1s"}}, {"flow": "other"}])
def test_only_containers_have_something_inside_to_undo(node: dict[str, Any]) -> None:
    entry = {"undo": True, "output": 1}
    assert found(document(a={**node, "on_error": [entry]})) == [
        ("/nodes/a/on_error/0/undo", "misplaced_field")
    ]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"on_error": {}}, "/on_error", "wrong_type"),
        ({"finally": 5}, "/finally", "wrong_type"),
        ({"finally": []}, "/finally", "wrong_type"),
        ({"finally": {}}, "/finally", "no_verb"),
        ({"on_failure": "continue"}, "/on_failure", "bad_value"),
        ({"labels": []}, "/labels", "wrong_type"),
        ({"labels": {"a": 5}}, "/labels/a", "wrong_type"),
        ({"labels": {"a": "{{ x }}"}}, "/labels/a", "expression_not_allowed"),
        ({"labels": {"a b": "x"}}, "/labels/a b", "bad_name"),
        ({"deadline": "0s"}, "/deadline", "bad_duration"),
        ({"start": []}, "/start", "wrong_type"),
        ({"start": {"on_duplicate": "reject"}}, "/start", "missing_field"),
        ({"start": {"key": ""}}, "/start/key", "bad_value"),
        ({"start": {"key": 5}}, "/start/key", "wrong_type"),
        ({"start": {"key": "x", "on_duplicate": "replace"}}, "/start/on_duplicate", "bad_value"),
        ({"start": {"key": "x", "on_duplicate": "queue"}}, "/start/on_duplicate", "bad_value"),
        ({"start": {"id": "x", "key": "y"}}, "/start/id", "unknown_field"),
        ({"undo": RUN}, "/undo", "unknown_field"),
        ({"defaults": {"heartbeat": 5}}, "/defaults/heartbeat", "bad_duration"),
        ({"defaults": {"deadline": "1s"}}, "/defaults/deadline", "unknown_field"),
    ],
)
def test_forms_of_the_definition(change: dict[str, Any], pointer: str, code: str) -> None:
    assert found({**document(), **change}) == [(pointer, code)]


@pytest.mark.parametrize("field", ["deadline", "heartbeat", "undo", "on_error"])
def test_fields_of_any_node_must_not_be_null(field: str) -> None:
    assert found(document(a={**RUN, field: None})) == [(f"/nodes/a/{field}", "wrong_type")]


def test_every_problem_says_what_to_do() -> None:
    for node, place, _ in BAD_NODES:
        for problem in problems_of(document(a=node)):
            said = problem.message.split()
            assert problem.hint or {"must", "no", "like"} & set(said), (node, place)


def test_bodies_of_every_kind_count_as_nesting() -> None:
    def nested(levels: int) -> dict[str, Any]:
        body = RUN
        wraps = [
            lambda inner: {"parallel": {"b": inner}},
            lambda inner: {"loop": TIMES, "do": inner},
            lambda inner: {"switch": [{"when": True, "do": inner}]},
            lambda inner: {**RUN, "on_error": [{"do": inner}]},
            lambda inner: {**RUN, "undo": inner},
            lambda inner: {"map": [1], "do": inner},
        ]
        for level in range(levels):
            body = wraps[level % len(wraps)](body)
        return document(a=body)

    parse_definition(nested(32))
    assert [code for _, code in found(nested(33))] == ["too_deep"]
