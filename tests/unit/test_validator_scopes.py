"""What an expression sees in every body, handler and group: roots, fields, names, and what must have ended."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.engine.errors import Problem
from strataflow.engine.parser import parse_definition
from strataflow.engine.validator import validate

RUN: dict[str, Any] = {"run": "core.noop"}
INPUTS = {"type": "object", "properties": {"day": {"type": "string"}, "rows": {"type": "array"}}}


def run(value: Any = None, **fields: Any) -> dict[str, Any]:
    """A run node, reading `value` in its `with`."""
    return {**RUN, **({} if value is None else {"with": value}), **fields}


def reads(expression: str) -> dict[str, Any]:
    return run(f"{{{{ {expression} }}}}")


def problems_of(nodes: dict[str, Any], **rest: Any) -> list[Problem]:
    return validate(parse_definition({"dsl": "1", "name": "t", "inputs": INPUTS, "nodes": nodes, **rest}))


def codes(nodes: dict[str, Any], **rest: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in problems_of(nodes, **rest)]


def loop(how: dict[str, Any], do: Any = RUN, **fields: Any) -> dict[str, Any]:
    return {"loop": how, "do": do, **fields}


# --- where a root is known (rule 14)

PLACES: dict[str, dict[str, Any]] = {
    "with": {"n": run("{{ X }}")},
    "when": {"n": run(when="{{ X == 1 }}")},
    "output": {"n": run(output="{{ X }}")},
    "on_error": {"n": run(on_error=[{"output": "{{ X }}"}])},
    "fail": {"n": run(on_error=[{"fail": {"code": "a.B", "message": "{{ X }}"}}])},
    "handler": {"n": run(on_error=[{"do": run("{{ X }}")}])},
    "handler map": {"n": run(on_error=[{"do": {"nodes": {"m": {"map": [1], "do": run("{{ X }}")}}}}])},
    "undo": {"n": run(undo=run("{{ X }}"))},
    "undo in handler": {"n": run(on_error=[{"do": {"do_": 0}}])},
    "item": {"n": {"map": [1], "do": run("{{ X }}")}},
    "key": {"n": {"map": [1], "key": "{{ X }}", "do": RUN}},
    "map": {"n": {"map": "{{ X }}", "do": RUN}},
    "map output": {"n": {"map": [1], "do": RUN, "output": "{{ X }}"}},
    "turn": {"n": loop({"times": 2}, run("{{ X }}"))},
    "turn of for": {"n": loop({"for": [1]}, run("{{ X }}"))},
    "turn output": {"n": loop({"times": 2}, {"nodes": {"x": RUN}, "output": "{{ X }}"})},
    "while": {"n": loop({"while": "{{ X == 1 }}"})},
    "until": {"n": loop({"until": "{{ X == 1 }}"})},
    "times": {"n": loop({"times": "{{ X }}"})},
    "for": {"n": loop({"for": "{{ X }}"})},
    "loop output": {"n": loop({"times": 1}, output="{{ X }}")},
    "branch": {"n": {"parallel": {"b": run("{{ X }}")}}},
    "concurrency": {"n": {"parallel": {"b": RUN}, "concurrency": "{{ X }}"}},
    "case": {"n": {"switch": [{"when": True, "do": run("{{ X }}")}]}},
    "switch when": {"n": {"switch": [{"when": "{{ X == 1 }}", "do": RUN}]}},
    "else": {"n": {"switch": [{"when": True, "do": RUN}], "else": run("{{ X }}")}},
    "flow": {"n": {"flow": "other", "with": {"a": ["{{ X }}"]}}},
    "flow output": {"n": {"flow": "other", "output": "{{ X }}"}},
    "wait for": {"n": {"wait": {"for": "{{ X }}s"}}},
    "wait until": {"n": {"wait": {"until": "{{ X }}"}}},
    "match": {"n": {"wait": {"signal": "go", "match": "{{ X == 1 }}"}}},
    "signal output": {"n": {"wait": {"signal": "go"}, "output": "{{ X }}"}},
    "for output": {"n": {"wait": {"for": "1s"}, "output": "{{ X }}"}},
    "on_timeout": {"n": {"wait": {"signal": "go", "timeout": "1s", "on_timeout": {"output": "{{ X }}"}}}},
    "timeout do": {"n": {"wait": {"signal": "go", "timeout": "1s", "on_timeout": {"do": run("{{ X }}")}}}},
    "any": {"a": RUN, "n": run("{{ X }}", needs={"any": ["a"]})},
    "any output": {"a": RUN, "n": run(needs={"any": ["a"]}, output="{{ X }}")},
    "any handler": {"a": RUN, "n": run(needs={"any": ["a"]}, on_error=[{"output": "{{ X }}"}])},
    "any inside": {"a": RUN, "n": {"do": {"nodes": {"x": run("{{ X }}")}}, "needs": {"any": ["a"]}}},
    "none": {"a": RUN, "n": run("{{ X }}", needs={"none": ["a"]})},
    "limits": {"n": run(limits={"key": "{{ X }}", "rate": "1/s"})},
    "mutex": {"n": run(limits={"mutex": ["a", "b:{{ X }}"]})},
    "limits in item": {"n": {"map": [1], "do": run(limits={"key": "{{ X }}", "concurrency": 1})}},
    "limits in turn": {"n": loop({"for": [1]}, {"nodes": {"x": run(limits={"mutex": "{{ X }}"})}})},
    "limits in while": {"n": loop({"times": 2}, run(limits={"mutex": "{{ X }}"}))},
    "limits in handler": {"n": run(on_error=[{"do": run(limits={"mutex": "{{ X }}"})}])},
    "limits beside any": {"a": RUN, "n": run(needs={"any": ["a"]}, limits={"mutex": "{{ X }}"})},
}
PLACES["undo in handler"] = {
    "n": run(
        on_error=[
            {
                "do": {
                    "nodes": {
                        "g": {"do": {"nodes": {"x": run(undo=run("{{ X }}"))}}, "on_error": [{"undo": True}]}
                    }
                }
            }
        ]
    )
}
WHOLE: dict[str, dict[str, Any]] = {
    "definition output": {"output": "{{ X }}"},
    "definition on_error": {"on_error": [{"output": "{{ X }}"}]},
    "definition fail": {"on_error": [{"fail": {"code": "a.B", "message": "{{ X }}"}}]},
    "definition do": {"on_error": [{"do": run("{{ X }}")}]},
    "finally": {"finally": run("{{ X }}")},
    "finally nodes": {"finally": {"nodes": {"x": run("{{ X }}")}}},
    "start": {"start": {"key": "{{ X }}"}},
    "schedule": {"schedule": {"every": "1h", "inputs": {"rows": ["{{ X }}"]}}},
}
_LIMITS = {name for name in PLACES if name.startswith(("limits", "mutex"))}
KNOWN: dict[str, set[str]] = {
    "result": {
        "output",
        "map output",
        "loop output",
        "flow output",
        "signal output",
        "for output",
        "any output",
    },
    "error.message": {
        *("on_error", "fail", "handler", "handler map", "on_timeout", "timeout do", "any handler"),
        *("definition on_error", "definition fail", "definition do", "finally", "finally nodes"),
    },
    "loop.index": {"turn", "turn of for", "turn output", "while", "until"},
    "item": {"item", "key", "turn of for", "handler map", "limits in item", "limits in turn"},
    "total": {"item", "key", "turn of for", "handler map", "limits in item", "limits in turn"},
    "signal.x": {"match", "signal output"},
    "trigger.path": {"any", "any output", "any handler"},
    "task.path": {*PLACES} - {"turn output"} - _LIMITS | {"definition do", "finally", "finally nodes"},
    "instance.id": {*PLACES, *WHOLE} - {"start", "schedule"},
    "instance.scheduled_for": {*PLACES, *WHOLE} - {"start"},
    "inputs.day": {*PLACES, *WHOLE} - {"schedule"},
}
#: Executors read secrets, wherever their `with` stands; that of a flow would be stored.
_WITH = {
    *("with", "handler", "handler map", "undo", "undo in handler", "item", "turn", "turn of for", "branch"),
    *("case", "else", "timeout do", "any", "any inside", "none"),
    *("definition do", "finally", "finally nodes"),
}
KNOWN["secrets.token"] = _WITH


def put(value: Any, expression: str) -> Any:
    if isinstance(value, str):
        return value.replace("{{ X", "{{ " + expression)
    if isinstance(value, dict):
        return {key: put(member, expression) for key, member in value.items()}
    return [put(member, expression) for member in value] if isinstance(value, list) else value


@pytest.mark.parametrize("expression", KNOWN)
def test_where_each_root_is_known(expression: str) -> None:
    known = {name for name, nodes in PLACES.items() if not problems_of(put(nodes, expression))}
    known |= {name for name, rest in WHOLE.items() if not problems_of({"a": RUN}, **put(rest, expression))}
    assert known == KNOWN[expression]


@pytest.mark.parametrize("expression", [e for e in KNOWN if e != "instance.id"])
def test_a_root_out_of_place_is_named_and_comes_with_a_way_out(expression: str) -> None:
    early = {name: {"a": RUN} for name in ("start", "schedule")}
    for name, nodes in {**PLACES, **early}.items():
        if name in KNOWN[expression]:
            continue
        rest = put(WHOLE[name], expression) if name in early else {}
        (problem,) = problems_of(put(nodes, expression), **rest)
        in_flow = (expression, name) == ("secrets.token", "flow")
        assert problem.code == ("secret_in_flow" if in_flow else "unknown_root"), name
        assert f"{expression.partition('.')[0]!r}" in problem.message
        assert problem.hint


@pytest.mark.parametrize(
    ("place", "expression", "hint"),
    [
        ("turn", "loop.indx", "did you mean 'index'?"),
        ("until", "loop.result", "it has"),
        ("on_error", "error.mesage", "did you mean 'message'?"),
        ("any", "trigger.node", "it has"),
        ("with", "instance.scheduled", "did you mean 'scheduled_for'?"),
    ],
)
def test_members_that_do_not_exist(place: str, expression: str, hint: str) -> None:
    (problem,) = problems_of(put(PLACES[place], expression))
    assert problem.code == "unknown_member"
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    "expression",
    ["error", "error.details.x", "error.cause.code", "error.attempt ~ error.path", "error.compensation"],
)
def test_members_of_an_error(expression: str) -> None:
    assert problems_of({"n": run(on_error=[{"output": f"{{{{ {expression} }}}}"}])}) == []


# --- names of items and loops

INNER = {"nodes": {"x": reads("row ~ at ~ total")}}


@pytest.mark.parametrize(
    ("node", "found"),
    [
        (loop({"for": [1]}, INNER, **{"as": "row", "index": "at"}), []),
        (loop({"for": [1]}, reads("item ~ index ~ total ~ loop.index")), []),
        (loop({"for": [1]}, reads("item"), **{"as": "row"}), ["unknown_root"]),
        (loop({"times": 1}, reads("item")), ["unknown_root"]),
        ({"map": [1], "do": loop({"times": 1}, reads("item ~ index ~ total ~ loop.index"))}, []),
        ({"map": [1], "as": "row", "do": loop({"for": [1]}, reads("row ~ item"))}, []),
        (loop({"for": [1]}, {"map": [1], "do": reads("loop.output ~ item")}, **{"as": "row"}), []),
        (loop({"for": [1]}, {"map": [1], "do": RUN, "as": "row"}, **{"as": "row"}), ["reused_name"]),
        ({"map": [1], "as": "row", "do": loop({"for": [1]}, index="row")}, ["reused_name"]),
        (loop({"for": [1]}, **{"as": "a b"}), ["bad_name"]),
        (loop({"for": [1]}, index="loop"), ["bad_name"]),
        ({"map": [1], "as": "row", "key": "{{ row.id ~ index }}", "do": RUN}, []),
        ({"map": [1], "as": "row", "key": "{{ item }}", "do": RUN}, ["unknown_root"]),
    ],
)
@pytest.mark.row("A-12")
def test_names_that_maps_and_loops_give(node: dict[str, Any], found: list[str]) -> None:
    assert [code for _, code in codes({"n": node})] == found


def test_names_of_branches_follow_the_rule_of_names() -> None:
    assert codes({"p": {"parallel": {"left": RUN, "a-b": RUN, "not": RUN}}}) == [
        ("/nodes/p/parallel/a-b", "bad_name"),
        ("/nodes/p/parallel/not", "bad_name"),
    ]


def test_inner_names_may_not_be_those_around_in_any_body() -> None:
    again = {"nodes": {"n": RUN}}
    nodes = {
        "n": run(on_error=[{"do": again}], undo=again),
        "p": {"parallel": {"b": again, "c": {"nodes": {"own": RUN}}}},
        "s": {"switch": [{"when": True, "do": {"nodes": {"own": RUN}}}], "else": again},
        "l": loop({"times": 1}, again),
    }
    assert codes(nodes, **{"finally": again, "on_error": [{"do": again}]}) == [
        ("/nodes/n/on_error/0/do/nodes/n", "reused_name"),
        ("/nodes/n/undo/nodes/n", "reused_name"),
        ("/nodes/p/parallel/b/nodes/n", "reused_name"),
        ("/nodes/s/else/nodes/n", "reused_name"),
        ("/nodes/l/do/nodes/n", "reused_name"),
        ("/on_error/0/do/nodes/n", "reused_name"),
        ("/finally/nodes/n", "reused_name"),
    ]


# --- nodes.X (rules 3 to 6)


@pytest.mark.parametrize(
    ("node", "fields"),
    [
        ({"map": [1], "do": RUN}, {"stats"}),
        ({"parallel": {"b": RUN}}, {"stats"}),
        (loop({"times": 1}), {"stats"}),
        ({"switch": [{"when": True, "do": RUN}]}, {"branch"}),
        ({"flow": "other"}, {"instance"}),
        ({"wait": {"signal": "x"}}, set()),
        ({"set": {"x": 1}}, set()),
        ({"do": {"nodes": {"x": RUN}}}, set()),
        (RUN, set()),
    ],
)
def test_fields_that_only_some_verbs_have(node: dict[str, Any], fields: set[str]) -> None:
    known = {
        f for f in ("stats", "branch", "instance") if not problems_of({"n": node, "r": reads(f"nodes.n.{f}")})
    }
    assert known == fields


def test_bodies_do_not_see_each_other_and_are_not_seen() -> None:
    nodes = {
        "p": {
            "parallel": {"a": {"nodes": {"x": RUN}}, "b": {"nodes": {"y": reads("nodes.x.output")}}},
            "output": "{{ nodes.x.output }}",
        },
        "s": {
            "switch": [{"when": True, "do": {"nodes": {"c": RUN}}}],
            "else": {"nodes": {"d": reads("nodes.c.output")}},
        },
        "l": loop({"until": "{{ nodes.t.output }}"}, {"nodes": {"t": RUN}}),
        "h": run(on_error=[{"do": {"nodes": {"e": RUN}}}], undo=reads("nodes.e.output")),
        "z": reads("nodes.e.output ~ nodes.c.output"),
    }
    found = problems_of(nodes, **{"finally": {"nodes": {"f": reads("nodes.t.output")}}})
    assert {problem.code for problem in found} == {"invisible_node"}
    hints = {problem.pointer: problem.hint for problem in found}
    assert set(hints) == {
        "/nodes/p/parallel/b/nodes/y/with",
        "/nodes/p/output",
        "/nodes/s/else/nodes/d/with",
        "/nodes/l/loop/until",
        "/nodes/h/undo/with",
        "/nodes/z/with",
        "/finally/nodes/f/with",
    }
    assert hints["/nodes/l/loop/until"] == "return it in the 'output' of 'l' and read loop.output"
    assert hints["/nodes/p/output"] == "return it in the 'output' of 'p' and read result"
    assert hints["/finally/nodes/f/with"] == "return it in the 'output' of 'l' and read nodes.l.output"


@pytest.mark.parametrize(
    ("node", "pointer"),
    [
        (loop({"times": 1}, reads("nodes.n.output")), "/do/with"),
        (loop({"while": "{{ nodes.n.state == 'running' }}"}), "/loop/while"),
        ({"parallel": {"b": reads("nodes.n.output")}}, "/parallel/b/with"),
        ({"switch": [{"when": True, "do": reads("nodes.n.branch")}]}, "/switch/0/do/with"),
        ({"switch": [{"when": "{{ nodes.n.branch == '0' }}", "do": RUN}]}, "/switch/0/when"),
        ({"map": [1], "do": {"nodes": {"x": run(undo=reads("nodes.n.output"))}}}, "/do/nodes/x/undo/with"),
        (
            {"do": {"nodes": {"x": run(on_error=[{"output": "{{ nodes.n.output }}"}])}}},
            "/do/nodes/x/on_error/0/output",
        ),
    ],
)
def test_a_node_waits_neither_for_itself_nor_for_what_holds_it(node: dict[str, Any], pointer: str) -> None:
    ((place, code),) = codes({"n": node})
    assert (place, code[:4]) == (f"/nodes/n{pointer}", "own_")


HANDLERS: list[dict[str, Any]] = [
    {"on_error": [{"output": "{{ nodes.X.output }}"}]},
    {"on_error": [{"fail": {"code": "a.B", "message": "{{ nodes.X.state }}"}}]},
    {"on_error": [{"do": reads("nodes.X.output")}]},
    {"on_error": [{"do": {"nodes": {"x": RUN}, "output": "{{ nodes.X.output }}"}}]},
    {"on_error": [{"do": {"nodes": {"m": {"map": [1], "do": reads("nodes.X.output")}}}}]},
    {"undo": reads("nodes.X.output")},
    {"undo": {"nodes": {"x": RUN, "y": loop({"times": 1}, reads("nodes.X.output"))}}},
]


@pytest.mark.parametrize("handler", HANDLERS, ids=str)
def test_handlers_and_undo_see_their_node_and_what_comes_before_it(handler: dict[str, Any]) -> None:
    def name(value: Any, what: str) -> Any:
        if isinstance(value, str):
            return value.replace("nodes.X", f"nodes.{what}")
        if isinstance(value, dict):
            return {key: name(member, what) for key, member in value.items()}
        return [name(member, what) for member in value] if isinstance(value, list) else value

    def found(what: str) -> list[str]:
        nodes = {
            "first": RUN,
            "before": run(needs=["first"]),
            "n": run(needs=["before"], **name(handler, what)),
            "after": run(needs=["n"]),
            "beside": RUN,
        }
        return [problem.code for problem in problems_of(nodes)]

    assert found("n") == found("before") == found("first") == []
    assert found("after") == found("beside") == ["unordered_reference"]


def test_handlers_inside_a_container_see_what_comes_before_the_container() -> None:
    def nodes(**fields: Any) -> dict[str, Any]:
        inner = {"nodes": {"x": run(on_error=[{"output": "{{ nodes.a.output }}"}])}}
        return {"a": RUN, "g": {"do": inner, **fields}}

    assert codes(nodes(needs=["a"])) == []
    assert [code for _, code in codes(nodes())] == ["unordered_reference"]


def test_the_end_of_a_run_sees_every_node_of_the_definition() -> None:
    nodes = {"a": RUN, "b": {"do": {"nodes": {"c": RUN}}}}
    both = "{{ nodes.a.output }} {{ nodes.b.state }}"
    rest: dict[str, Any] = {
        "finally": {"nodes": {"x": run(both), "y": reads("nodes.x.output")}, "output": both}
    }
    rest["on_error"] = [{"on": ["a"], "output": both}, {"do": {"map": [1], "do": run(both)}}]
    assert codes(nodes, **rest) == []
    assert [code for _, code in codes(nodes, **{"finally": reads("nodes.c.output")})] == ["invisible_node"]


# --- needs in groups (rules 7, 30)


@pytest.mark.parametrize(
    ("needs", "pointer", "code"),
    [
        ({"any": ["a", "zz"]}, "/any/1", "unknown_dependency"),
        ({"all": ["zz"]}, "/all/0", "unknown_dependency"),
        ([{"none": ["n"]}], "/0/none/0", "own_reference"),
        ({"any": ["a", "a"]}, "/any/1", "duplicate_need"),
        (["a", {"any": ["a", "b"]}], "/1/any/0", "duplicate_need"),
        ([{"any": ["a", "b"]}, "b"], "/1", "duplicate_need"),
        ([{"all": ["a"]}, "a"], "/1", "duplicate_need"),
    ],
)
def test_groups_name_siblings_once(needs: Any, pointer: str, code: str) -> None:
    assert codes({"a": RUN, "b": RUN, "n": run(needs=needs)}) == [(f"/nodes/n/needs{pointer}", code)]


def test_a_node_may_stand_in_two_groups() -> None:
    assert (
        codes({"a": RUN, "b": RUN, "c": RUN, "n": run(needs=[{"any": ["a", "b"]}, {"any": ["b", "c"]}])})
        == []
    )


@pytest.mark.parametrize("kind", ["any", "none"])
@pytest.mark.row("A-22")
def test_a_cycle_through_a_group_is_found(kind: str) -> None:
    (problem,) = problems_of({"a": RUN, "b": run(needs=["n"]), "n": run(needs={kind: ["a", "b"]})})
    assert problem.code == "cycle"
    assert f"'n' waits for 'b' by /nodes/n/needs/{kind}/1" in (problem.hint or "")


def test_what_any_may_leave_unfinished_is_read_as_trigger() -> None:
    nodes = {"a": RUN, "b": RUN, "n": run("{{ nodes.a.output }}", needs={"any": ["a", "b"]})}
    (problem,) = problems_of(nodes)
    assert (problem.pointer, problem.code) == ("/nodes/n/with", "unordered_reference")
    assert problem.hint is not None
    assert "trigger.output" in problem.hint
    assert codes({**nodes, "n": run("{{ trigger.output }}", needs={"any": ["a", "b"]})}) == []
    inside = {"do": {"nodes": {"x": run("{{ nodes.a.output }}")}}, "needs": {"any": ["a", "b"]}}
    (problem,) = problems_of({**nodes, "n": inside})
    assert "let a 'set' node wait for any of them" in (problem.hint or "")
    kept = {"set": {"first": "{{ trigger.output }}"}, "needs": {"any": ["a", "b"]}}
    assert codes({**nodes, "k": kept, "n": {"do": {"nodes": {"x": run("{{ vars.first }}")}}}}) == []
    ordered = {**nodes, "c": run(needs=["a"])}
    ordered["n"] = run("{{ nodes.a.output }}", needs=[{"any": ["a", "b"]}, "c"])
    assert codes(ordered) == []


def test_what_none_waits_for_has_ended() -> None:
    needs = {"none": ["a", {"node": "b", "on": ["failed"]}]}
    both = "{{ nodes.a.state }} {{ nodes.b.state }}"
    assert (
        codes({"a": RUN, "b": RUN, "n": run(both, needs=needs, output=both, on_error=[{"output": both}])})
        == []
    )


def test_a_group_proves_nothing_about_what_comes_before_its_members() -> None:
    nodes = {"x": RUN, "a": run(needs=["x"]), "b": run(needs=["x"])}
    read = run(needs={"none": ["a", "b"]}, output="{{ nodes.x.output }}")
    assert [code for _, code in codes({**nodes, "n": read})] == ["unordered_reference"]
