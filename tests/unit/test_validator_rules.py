"""Fields that contradict each other, forms of single expressions, executors in every body, and order of variables."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.engine.errors import Problem
from strataflow.engine.parser import parse_definition
from strataflow.engine.validator import validate

RUN: dict[str, Any] = {"run": "core.noop"}
INPUTS = {"type": "object", "properties": {"rows": {"type": "array"}, "id": {"type": "string"}}}


def run(value: Any = None, **fields: Any) -> dict[str, Any]:
    return {**RUN, **({} if value is None else {"with": value}), **fields}


def loop(how: dict[str, Any], do: dict[str, Any] = RUN, **fields: Any) -> dict[str, Any]:
    return {"loop": how, "do": do, **fields}


def problems_of(nodes: dict[str, Any], **rest: Any) -> list[Problem]:
    return validate(parse_definition({"dsl": "1", "name": "t", "inputs": INPUTS, "nodes": nodes, **rest}))


def codes(nodes: dict[str, Any], **rest: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in problems_of(nodes, **rest)]


# --- what contradicts itself

BRANCHES = {"parallel": {"a": RUN, "b": RUN}}


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ({**BRANCHES, "join": 3}, "/join"),
        ({**BRANCHES, "join": {"need": 3}}, "/join/need"),
        ({**BRANCHES, "join": {"need": "any", "tolerate": 1}}, "/join/tolerate"),
        ({"map": [1], "do": RUN, "join": {"need": "80%", "tolerate": "5%"}}, "/join/tolerate"),
        ({"map": [1], "do": RUN, "join": {"need": "none", "rest": "cancel"}}, "/join/rest"),
        (loop({"times": 5, "max": 4}), "/loop/max"),
        (loop({"for": [1, 2, 3], "max": 2}), "/loop/max"),
        ({"flow": "other", "detach": True, "retry": {"max": 1}}, "/retry"),
        ({"flow": "other", "retry": {"delay": "2h", "max_delay": "1h"}}, "/retry/max_delay"),
        ({"wait": {"condition": "{{ inputs.id == 'x' }}"}}, "/wait/condition"),
        ({"wait": {"condition": True, "every": "1s"}}, "/wait/condition"),
        (run(on_error=[{"output": 1}, {"on": ["a"], "output": 2}]), "/on_error/1"),
        (run(on_error=[{"on": ["a", "*"], "output": 1}, {"continue": True}]), "/on_error/1"),
    ],
    ids=str,
)
def test_what_could_never_have_its_effect_is_refused(node: dict[str, Any], place: str) -> None:
    (problem,) = problems_of({"n": node})
    assert (problem.pointer, problem.code) == (f"/nodes/n{place}", "bad_value")
    assert problem.hint


@pytest.mark.parametrize(
    "node",
    [
        {**BRANCHES, "join": 2},
        {**BRANCHES, "join": {"need": "first", "rest": "keep"}},
        {**BRANCHES, "join": {"need": "none"}},
        {**BRANCHES, "join": {"need": "none", "rest": "keep"}},
        {**BRANCHES, "join": {"need": "all", "tolerate": 1}},
        {"map": [1], "do": RUN, "join": 3},
        loop({"times": 5, "max": 5}),
        loop({"times": 5000}),
        loop({"times": "{{ inputs.rows | length }}", "max": 2}),
        {"flow": "other", "retry": {"max": 1}},
        run(on_error=[{"on": ["a"], "output": 1}, {"on": ["b.*"], "output": 2}, {"continue": True}]),
    ],
    ids=str,
)
def test_what_may_well_have_its_effect(node: dict[str, Any]) -> None:
    assert codes({"n": node}) == []


def test_the_definition_takes_a_cancelled_run_by_name_only() -> None:
    entries = [{"output": 1}, {"on": ["cancelled"], "do": RUN}, {"on": ["x"], "output": 2}]
    assert codes({"n": RUN}, on_error=entries) == [("/on_error/2", "bad_value")]


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        (lambda body: {"map": [1], "do": body}, "/do"),
        (lambda body: {"parallel": {"b": body}}, "/parallel/b"),
        (lambda body: run(undo=body), "/undo"),
        (lambda body: loop({"times": 1}, body), None),
        (lambda body: {"switch": [{"when": True, "do": body}], "else": body}, None),
        (lambda body: run(on_error=[{"do": body}]), None),
    ],
)
def test_a_variable_that_would_be_lost_is_not_set_alone(body: Any, lost: str | None) -> None:
    found = codes({"n": body({"set": {"x": 1}})})
    assert found == ([] if lost is None else [(f"/nodes/n{lost}", "not_supported")])
    assert codes({"n": body({"nodes": {"s": {"set": {"x": 1}}}, "output": "{{ vars.x }}"})}) == []


def test_a_variable_set_alone_at_the_end_would_be_lost() -> None:
    assert codes({"n": RUN}, **{"finally": {"set": {"x": 1}}}) == [("/finally", "not_supported")]


@pytest.mark.parametrize(
    ("nodes", "rest", "pointer"),
    [
        ({"n": run(on_error=[{"do": run(undo=RUN)}])}, {}, "/nodes/n/on_error/0/do/undo"),
        ({"n": run(undo={"nodes": {"x": run(undo=RUN)}})}, {}, "/nodes/n/undo/nodes/x/undo"),
        ({"n": RUN}, {"finally": run(undo=RUN)}, "/finally/undo"),
    ],
)
def test_an_undo_that_nothing_calls_is_refused(
    nodes: dict[str, Any], rest: dict[str, Any], pointer: str
) -> None:
    assert codes(nodes, **rest) == [(pointer, "misplaced_field")]


def test_a_container_in_a_handler_may_undo_what_is_inside_it() -> None:
    group = {"do": {"nodes": {"x": run(undo=RUN)}}, "on_error": [{"undo": True}]}
    assert codes({"n": run(on_error=[{"do": {"nodes": {"g": group}}}])}) == []


# --- forms


@pytest.mark.parametrize(
    ("node", "place"),
    [
        (loop({"times": "{{ 1 }} times"}), "/loop/times"),
        (loop({"for": "rows {{ inputs.rows }}"}), "/loop/for"),
        (loop({"while": "{{ true }} or {{ false }}"}), "/loop/while"),
        (loop({"until": "{{ true }} or {{ false }}"}), "/loop/until"),
        ({"switch": [{"when": "{{ 1 }} {{ 2 }}", "do": RUN}]}, "/switch/0/when"),
        ({"wait": {"signal": "x", "match": "{{ 1 }} {{ 2 }}"}}, "/wait/match"),
        ({**BRANCHES, "concurrency": "{{ 1 }}0"}, "/concurrency"),
    ],
)
def test_text_beside_an_expression_makes_it_text(node: dict[str, Any], place: str) -> None:
    (problem,) = problems_of({"n": node})
    assert (problem.pointer, problem.code) == (f"/nodes/n{place}", "bad_value")
    assert repr(place.rpartition("/")[2]) in problem.message


@pytest.mark.parametrize(
    ("nodes", "rest", "pointer"),
    [
        ({"n": loop({"times": "{{ + }}"})}, {}, "/nodes/n/loop/times"),
        ({"n": loop({"for": ["{{ + }}"]})}, {}, "/nodes/n/loop/for/0"),
        ({"n": {"switch": [{"when": "{{ + }}", "do": RUN}]}}, {}, "/nodes/n/switch/0/when"),
        ({"n": {"flow": "x", "with": {"a": "{{ + }}"}}}, {}, "/nodes/n/with/a"),
        ({"n": {"wait": {"until": "{{ + }}"}}}, {}, "/nodes/n/wait/until"),
        ({"n": {"wait": {"signal": "x", "match": "{{ + }}"}}}, {}, "/nodes/n/wait/match"),
        ({"n": {"wait": {"condition": "{{ + }}"}}}, {}, "/nodes/n/wait/condition"),
        ({"n": {"map": [1], "key": "{{ + }}", "do": RUN}}, {}, "/nodes/n/key"),
        ({"n": run(on_error=[{"output": {"a": "{{ + }}"}}])}, {}, "/nodes/n/on_error/0/output/a"),
        (
            {"n": run(on_error=[{"fail": {"code": "{{ + }}", "message": ""}}])},
            {},
            "/nodes/n/on_error/0/fail/code",
        ),
        ({"n": run(undo=run("{{ + }}"))}, {}, "/nodes/n/undo/with"),
        ({"n": RUN}, {"finally": run("{{ + }}")}, "/finally/with"),
        ({"n": RUN}, {"on_error": [{"output": "{{ + }}"}]}, "/on_error/0/output"),
        ({"n": RUN}, {"start": {"key": "{{ + }}"}}, "/start/key"),
        ({"n": RUN}, {"start": {"mutex": "{{ + }}"}}, "/start/mutex"),
    ],
)
@pytest.mark.row("X-02")
def test_bad_expressions_are_found_in_every_field(
    nodes: dict[str, Any], rest: dict[str, Any], pointer: str
) -> None:
    assert codes(nodes, **rest) == [(pointer, "expression")]


def test_a_key_names_declared_inputs() -> None:
    assert codes({"n": RUN}, start={"key": "{{ inputs.id }}:1", "mutex": "{{ inputs.idd }}"}) == [
        ("/start/mutex", "unknown_input")
    ]


class Nobody:
    """A catalog without executors."""

    def has(self, name: str) -> bool:
        return name == "core.noop"

    def names(self) -> list[str]:
        return ["core.noop"]

    def config_problems(self, name: str, config: Any) -> list[tuple[str, str]]:
        return []


def test_executors_are_checked_in_every_body() -> None:
    gone = {"run": "no.such"}
    nodes = {
        "p": {"parallel": {"a": gone}},
        "l": loop({"times": 1}, {"nodes": {"x": gone}}),
        "s": {"switch": [{"when": True, "do": gone}], "else": gone},
        "w": {"wait": {"signal": "x", "timeout": "1s", "on_timeout": {"do": gone}}},
        "h": run(on_error=[{"do": gone}], undo=gone),
    }
    source = {"dsl": "1", "name": "t", "nodes": nodes, "finally": gone, "on_error": [{"do": gone}]}
    found = validate(parse_definition(source), Nobody())
    assert {problem.code for problem in found} == {"unknown_executor"}
    assert {problem.pointer.removesuffix("/run") for problem in found} == {
        *("/nodes/p/parallel/a", "/nodes/l/do/nodes/x", "/nodes/s/switch/0/do", "/nodes/s/else"),
        *(
            "/nodes/w/wait/on_timeout/do",
            "/nodes/h/on_error/0/do",
            "/nodes/h/undo",
            "/finally",
            "/on_error/0/do",
        ),
    }


# --- variables (rules 15, 30)

X = {"set": {"x": 1}}
READ = run("{{ vars.x }}")


@pytest.mark.parametrize(
    "nodes",
    [
        # cases of one switch exclude each other
        {"s": {"switch": [{"when": True, "do": X}, {"when": True, "do": {"nodes": {"w": X}}}], "else": X}},
        # a branch, a turn and an item each have their own
        {"p": {"parallel": {"a": {"nodes": {"w": X, "r": READ}}, "b": {"nodes": {"v": X}}}}},
        {"l": loop({"times": 2}, {"nodes": {"w": X, "r": READ}}), "w2": X},
        {"l": loop({"times": 2}, X), "k": loop({"times": 2}, X)},
        # before its writer in the same turn: what the turn before left
        {
            "l": loop(
                {"times": 2}, {"nodes": {"r": run("{{ vars.x | default(0) }}"), "w": {**X, "needs": ["r"]}}}
            )
        },
        {"l": loop({"until": "{{ vars.x > 3 }}"}, {"set": {"x": "{{ loop.index }}"}})},
        {"l": loop({"while": "{{ vars.x | default(0) < 3 }}"}, {"nodes": {"w": X}}, output="{{ vars.x }}")},
        # a handler comes after what failed
        {"g": {"do": {"nodes": {"w": X}}, "on_error": [{"output": "{{ vars.x }}"}]}},
        {"g": {"do": {"nodes": {"w": X}}, "on_error": [{"do": X}]}},
        {"w": X, "r": run(needs=["w"], on_error=[{"output": "{{ vars.x }}"}], undo=READ)},
        {"w": {**X, "on_error": [{"output": "{{ vars.x | default(0) }}"}]}},
        # an undo has its own
        {"a": run(undo={"nodes": {"w": X, "r": READ}}), "b": run(undo={"nodes": {"w2": X}})},
        # any of one is that one
        {"a": X, "r": run(needs={"any": ["a"]}, output="{{ vars.x }}")},
        # a condition waits for whoever writes
        {"w": X, "c": {"wait": {"condition": "{{ vars.x > 0 }}"}}},
        {"c": {"wait": {"condition": "{{ vars.x > 0 }}"}}, "w": {**X, "needs": ["c"]}},
    ],
    ids=str,
)
def test_values_that_are_ordered(nodes: dict[str, Any]) -> None:
    assert codes(nodes) == []


@pytest.mark.parametrize(
    ("nodes", "pointer"),
    [
        ({"a": X, "h": run(on_error=[{"do": X}])}, "/nodes/h/on_error/0/do/set/x"),
        ({"a": X, "h": run(on_error=[{"output": "{{ vars.x }}"}])}, "/nodes/h/on_error/0/output"),
        (
            {"a": X, "h": run(on_error=[{"do": {"nodes": {"r": READ}}}])},
            "/nodes/h/on_error/0/do/nodes/r/with",
        ),
        ({"a": X, "h": run(undo=READ)}, "/nodes/h/undo/with"),
        ({"a": X, "s": {"switch": [{"when": True, "do": X}]}}, "/nodes/s/switch/0/do/set/x"),
        ({"l": loop({"times": 2}, {"nodes": {"a": X, "b": X}})}, "/nodes/l/do/nodes/b/set/x"),
        ({"p": {"parallel": {"b": {"nodes": {"c": X, "d": X}}}}}, "/nodes/p/parallel/b/nodes/d/set/x"),
        ({"h": run(undo={"nodes": {"c": X, "d": X}})}, "/nodes/h/undo/nodes/d/set/x"),
        ({"a": X, "b": X, "n": {**X, "needs": {"any": ["a", "b"]}}}, "/nodes/b/set/x"),
        ({"a": X, "b": RUN, "r": run(needs={"any": ["a", "b"]}, output="{{ vars.x }}")}, "/nodes/r/output"),
        ({"w": X, "c": {"wait": {"condition": "{{ vars.x }}"}, "output": "{{ vars.x }}"}}, "/nodes/c/output"),
    ],
    ids=str,
)
def test_values_that_nothing_orders(nodes: dict[str, Any], pointer: str) -> None:
    found = codes(nodes)
    assert {code for _, code in found} == {"unordered_var"}
    assert pointer in [place for place, _ in found]


@pytest.mark.parametrize(
    ("nodes", "hint"),
    [
        ({"l": loop({"times": 1}, X), "r": READ}, "a loop; return it in the 'output' of its turns"),
        ({"l": loop({"for": "{{ vars.x }}"}, X)}, "a loop;"),
        ({"l": loop({"times": 1}, X, on_error=[{"output": "{{ vars.x }}"}])}, "a loop;"),
        ({"p": {"parallel": {"a": {"nodes": {"w": X}}, "b": READ}}}, "a branch of a parallel"),
        ({"n": run(undo={"nodes": {"w": X}}), "r": READ}, "an undo"),
        ({"m": {"map": [1], "do": {"nodes": {"w": X}}}, "r": READ}, "the items of a map"),
    ],
)
def test_variables_end_with_what_owns_them(nodes: dict[str, Any], hint: str) -> None:
    (problem,) = problems_of(nodes)
    assert problem.code == "unknown_variable"
    assert hint in (problem.hint or "")


def test_the_end_of_a_run_has_its_own_variables_and_reads_the_others() -> None:
    last = {"nodes": {"w": {"set": {"y": "{{ vars.x }}"}}, "r": run("{{ vars.y }}")}}
    entry = {"do": {"nodes": {"w2": {"set": {"x": "{{ vars.x + 1 }}"}}}}}
    assert codes({"a": X}, **{"finally": last, "on_error": [entry]}) == []
    (problem,) = problems_of({"a": X, "late": run("{{ vars.y }}")}, **{"finally": last})
    assert (problem.code, problem.hint) == ("unknown_variable", "it belongs to 'finally', and ends with it")
