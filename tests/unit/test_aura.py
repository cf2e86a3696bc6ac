"""Aura task files become definitions that validate and say the same; what cannot be said is refused, all at once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strataflow.engine.aura import import_aura
from strataflow.engine.errors import DefinitionError
from strataflow.executors.builtin import default_registry
from strataflow.services.documents import check_document

Doc = dict[str, Any]

REGISTRY = default_registry(entry_points=False)
SKIPPABLE = ["completed", "skipped"]


def task(*steps: Doc, inputs: list[Doc] | None = None) -> Doc:
    return {"meta": {"title": "T"}, "inputs": inputs or [], "steps": list(steps)}


def noop(name: str, params: Any = None, **fields: Any) -> Doc:
    given = {} if params is None else {"params": params}
    return {"name": name, "action": "core.noop", **given, **fields}


def assign(name: str, params: Doc, **fields: Any) -> Doc:
    return {"name": name, "action": "core.set_context", "params": params, **fields}


def imported(document: Any, **options: Any) -> Doc:
    """Give the definition, which validates with the executors that come along."""
    found = import_aura(document, **options)
    checked = check_document(found, REGISTRY)
    assert (checked.problems, checked.valid) == ((), True)
    return found


def nodes(*steps: Doc, inputs: list[Doc] | None = None) -> Doc:
    return imported(task(*steps, inputs=inputs))["nodes"]


def refused(document: Any, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(DefinitionError) as caught:
        import_aura(document, **options)
    assert all(problem.hint for problem in caught.value.problems if problem.code != "not_json")
    return [(problem.pointer, problem.code) for problem in caught.value.problems]


def refused_steps(*steps: Any) -> list[tuple[str, str]]:
    return refused(task(*steps))


# --- the head


def test_the_first_task_of_its_documentation_is_read_as_it_stands() -> None:
    document = {
        "meta": {"title": "Say Hello", "description": "Prints a line."},
        "inputs": [
            {"name": "who", "type": "string", "required": True, "default": "World", "description": "whom"}
        ],
        "steps": [
            {
                "name": "print_greeting",
                "action": "core.log",
                "params": {"message": "Hello, {{ inputs.who }}!", "level": "INFO"},
            }
        ],
    }
    assert imported(document) == {
        "dsl": "1",
        "name": "say_hello",
        "description": "Prints a line.",
        "inputs": {
            "type": "object",
            "properties": {"who": {"type": "string", "description": "whom", "default": "World"}},
            "additionalProperties": False,
        },
        "nodes": {
            "print_greeting": {
                "run": "core.log",
                "with": {"message": "Hello, {{ inputs.who }}!", "level": "info"},
            }
        },
    }


@pytest.mark.parametrize(
    ("meta", "name", "expected"),
    [
        ({"title": "Send a mail"}, None, ("send_a_mail", "Send a mail")),
        ({"title": "Send a mail", "description": "d"}, None, ("send_a_mail", "d")),
        ({"title": "Send a mail", "description": "d"}, "mails.send", ("mails.send", "Send a mail\nd")),
        ({"title": "发送邮件"}, "mails.send", ("mails.send", "发送邮件")),
        ({}, "mails.send", ("mails.send", None)),
        (None, "mails.send", ("mails.send", None)),
    ],
)
def test_title_and_description(meta: Any, name: str | None, expected: tuple[str, str | None]) -> None:
    found = imported({"meta": meta, "steps": [noop("a")]}, name=name)
    assert (found["name"], found.get("description")) == expected
    assert "inputs" not in found


def test_inputs_become_json_schema() -> None:
    found = imported(
        task(
            noop("a"),
            inputs=[
                {"name": "s", "type": "string", "required": True, "enum": ["x", "y"]},
                {"name": "i", "type": "integer", "min": 1, "max": 9, "default": 3},
                {"name": "b", "type": "boolean", "required": False},
                {"name": "f", "type": "float", "min": 0.5},
                {"name": "my-list", "type": "list", "required": True},
                {"name": "d", "type": "dict", "default": {"a": [1]}},
                {"name": "n", "type": "string", "default": None, "enum": ["x"]},
            ],
        )
    )
    assert found["inputs"] == {
        "type": "object",
        "required": ["s", "my-list"],
        "properties": {
            "s": {"type": "string", "enum": ["x", "y"]},
            "i": {"type": "integer", "default": 3, "minimum": 1, "maximum": 9},
            "b": {"type": "boolean"},
            "f": {"type": "number", "minimum": 0.5},
            "my-list": {"type": "array"},
            "d": {"type": "object", "default": {"a": [1]}},
            "n": {"type": ["string", "null"], "default": None, "enum": ["x", None]},
        },
        "additionalProperties": False,
    }


# --- steps


def test_steps_run_in_order_and_a_skipped_one_does_not_skip_the_next() -> None:
    found = nodes(
        noop("a"), noop("b", when="inputs.go"), noop("c"), inputs=[{"name": "go", "type": "boolean"}]
    )
    assert found == {
        "a": {"run": "core.noop"},
        "b": {"needs": ["a"], "when": "{{ inputs.go }}", "run": "core.noop"},
        "c": {"needs": [{"node": "b", "on": SKIPPABLE}], "run": "core.noop"},
    }


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (True, True),
        (False, False),
        ("inputs.go", "{{ inputs.go }}"),
        ("{{inputs.go}}", "{{ inputs.go }}"),
        ("inputs.n == 3", "{{ inputs.n == 3 }}"),
        ("not inputs.n", "{{ not inputs.n }}"),
        ("inputs.n is defined and inputs.n > 2", "{{ inputs.n is defined and inputs.n > 2 }}"),
        ("true", "{{ true }}"),
        ("inputs.n", "{{ true if (inputs.n) else false }}"),
        ("inputs.n > 2 and inputs.s", "{{ true if (inputs.n > 2 and inputs.s) else false }}"),
        ("inputs.maybe", "{{ true if (inputs.maybe) else false }}"),
        ("inputs.s | default('')", "{{ true if (inputs.s | default('')) else false }}"),
        (" {{ inputs.s == '}}' }} ", "{{ inputs.s == '}}' }}"),
    ],
)
def test_a_condition_is_one_expression_that_gives_true_or_false(when: Any, expected: Any) -> None:
    inputs: list[Doc] = [
        {"name": "go", "type": "boolean"},
        {"name": "n", "type": "integer"},
        {"name": "s", "type": "string"},
    ]
    inputs.append({"name": "maybe", "type": "boolean", "default": None})
    assert nodes(noop("a", when=when), inputs=inputs)["a"]["when"] == expected


def test_a_condition_that_gets_too_long_with_our_words_is_refused() -> None:
    inputs = [{"name": "s", "type": "string"}]
    fits = "inputs.s" + " " * 8_000 + "~ 'x'" * 35
    assert refused(task(noop("a", when=fits), inputs=inputs)) == [("/steps/0/when", "expression")]


def test_a_loop_is_a_map_of_one_at_a_time() -> None:
    inputs = [{"name": "rows", "type": "list"}]
    params = {"v": "{{ item.x }}", "i": "{{ index }}", "j": "{{ loop.index + 1 }}", "w": "{{ loop.item }}"}
    found = nodes(
        noop("a", params, loop="{{ inputs.rows }}"),
        noop("b", loop=[1, "{{ steps.a.output[0] }}"], parallelism=4, when="steps.a.output"),
        noop("c", loop="steps['a'].result", parallelism="inputs.rows | length"),
        inputs=inputs,
    )
    with_ = {"v": "{{ item.x }}", "i": "{{ index }}", "j": "{{ index + 1 }}", "w": "{{ item }}"}
    body = {"run": "core.noop"}
    assert found == {
        "a": {"map": "{{ inputs.rows }}", "concurrency": 1, "do": body | {"with": with_}},
        "b": {
            "needs": ["a"],
            "when": "{{ true if (nodes.a.output) else false }}",
            "map": [1, "{{ nodes.a.output[0] }}"],
            "concurrency": 4,
            "do": body,
        },
        "c": {
            "needs": ["a", {"node": "b", "on": SKIPPABLE}],
            "map": "{{ nodes.a.output }}",
            "concurrency": "{{ inputs.rows | length }}",
            "do": body,
        },
    }


def test_on_error_runs_its_steps_and_the_step_fails_all_the_same() -> None:
    alert = {
        "name": "alert",
        "action": "core.log",
        "when": "error.code != 'x.Y'",
        "params": {"message": "{{ error.message }} after {{ steps.a.output }}"},
    }
    found = nodes(noop("a", {"x": 1}), noop("b", on_error=[noop("tidy"), alert]), noop("c"))
    again = {"code": "{{ error.code }}", "message": "{{ error.message }}", "retryable": False}
    assert found["b"] == {
        "needs": ["a"],
        "run": "core.noop",
        "on_error": [
            {
                "do": {
                    "nodes": {
                        "tidy": {"run": "core.noop"},
                        "alert": {
                            "needs": ["tidy"],
                            "when": "{{ error.code != 'x.Y' }}",
                            "run": "core.log",
                            "with": {"message": "{{ error.message }} after {{ nodes.a.output }}"},
                        },
                        "b_failed": {
                            "needs": [{"node": "alert", "on": SKIPPABLE}],
                            "run": "core.fail",
                            "with": again,
                        },
                    }
                }
            }
        ],
    }
    assert found["c"]["needs"] == ["b"]


def test_on_error_stands_on_the_map_of_a_looped_step_and_in_itself() -> None:
    inner = noop("tidy", on_error=[noop("shout")])
    found = nodes(noop("a", loop=[1], on_error=[inner], retry=1), noop("b", on_error=[]))
    assert "on_error" in found["a"]
    assert "on_error" not in found["a"]["do"]
    handlers = found["a"]["on_error"][0]["do"]["nodes"]
    assert list(handlers) == ["tidy", "a_failed"]
    assert list(handlers["tidy"]["on_error"][0]["do"]["nodes"]) == ["shout", "tidy_failed"]
    assert found["b"] == {"needs": ["a"], "run": "core.noop"}


def test_the_context_is_variables() -> None:
    found = nodes(
        assign("one", {"count": 1, "user name": "{{ inputs.x }}"}),
        assign("two", {"count": "{{ ctx.count + 1 }}", "item": "{{ ctx['user name'] }}"}),
        noop("show", {"all": "{{ ctx.count }}/{{ ctx.item }}/{{ ctx['count'] ~ 'ctx.count' }} ctx.count"}),
        inputs=[{"name": "x", "type": "string"}],
    )
    assert found["one"] == {"set": {"count": 1, "user_name": "{{ inputs.x }}"}}
    assert found["two"]["set"] == {"count": "{{ vars.count + 1 }}", "item_1": "{{ vars.user_name }}"}
    assert found["show"]["with"] == {
        "all": "{{ vars.count }}/{{ vars.item_1 }}/{{ vars.count ~ 'ctx.count' }} ctx.count"
    }


def test_what_uses_one_variable_is_ordered_across_steps_that_may_be_skipped() -> None:
    found = nodes(
        noop("early", {"x": "{{ ctx.n | default(0) }}"}),
        noop("maybe", when="false"),
        assign("first", {"n": 1}),
        noop("perhaps", when="false"),
        assign("second", {"n": 2}, when="ctx.n == 1"),
        noop("fails", on_error=[noop("see", {"n": "{{ ctx.n }}"}), assign("third", {"n": 3})]),
    )
    maybe, perhaps, second = ({"node": name, "on": SKIPPABLE} for name in ("maybe", "perhaps", "second"))
    assert found["first"]["needs"] == ["early", maybe]
    assert found["second"]["needs"] == ["first", perhaps]
    assert found["fails"]["needs"] == ["first", second]


def test_retry_and_timeout_are_those_of_each_run() -> None:
    found = nodes(
        noop("a", retry=3, retry_delay=0.25, timeout=90),
        noop("b", loop=[1], retry=0),
        noop("c", retry=None, timeout=None, params=None),
    )
    assert found["a"]["retry"] == {"max": 3, "delay": "250ms", "backoff": "fixed"}
    assert found["a"]["timeout"] == "90s"
    assert found["b"]["do"]["retry"] == {"max": 0, "delay": "1s", "backoff": "fixed"}
    assert found["c"] == {"needs": ["b"], "run": "core.noop"}


# --- names


def test_names_that_cannot_stay_are_made_the_same_way_every_time() -> None:
    found = nodes(
        noop("fetch user"),
        noop("fetch_user", {"x": "{{ steps['fetch user'].output }}"}),
        noop("fetch-user", {"x": "{{ steps['fetch_user'].output }}{{ steps[\"fetch user\"] . result.y }}"}),
        noop("item", {"x": "{{ steps['fetch-user'].output['steps'] }}"}),
        noop("1st", {"x": "{{ steps.item.output }}"}),
        noop("等待", {"x": "{{ steps['1st'].output }}"}),
        {"action": "core.noop", "params": {"x": "{{ steps.等待.output }}"}},
        noop("n" * 70, on_error=[{"action": "core.noop"}, noop("fetch user")]),
    )
    assert list(found) == [
        "fetch_user_2",
        "fetch_user",
        "fetch_user_3",
        "item_1",
        "_1st",
        "step_6",
        "step_7",
        "n" * 63,
    ]
    assert [node.get("description") for node in found.values()] == [
        *("fetch user", None, "fetch-user", "item", "1st", "等待", None, "n" * 70)
    ]
    assert [node["with"]["x"] for node in list(found.values())[1:7]] == [
        "{{ nodes.fetch_user_2.output }}",
        "{{ nodes.fetch_user.output }}{{ nodes.fetch_user_2.output.y }}",
        "{{ nodes.fetch_user_3.output['steps'] }}",
        "{{ nodes.item_1.output }}",
        "{{ nodes._1st.output }}",
        "{{ nodes.step_6.output }}",
    ]
    handlers = found["n" * 63]["on_error"][0]["do"]["nodes"]
    assert list(handlers) == ["step_8_error_1", "fetch_user_4", "n" * 61 + "_2"]


def test_of_two_steps_with_one_name_the_later_is_read() -> None:
    found = nodes(
        noop("a"),
        noop("x", {"v": "{{ steps.a.output }}"}),
        noop("a"),
        noop("y", {"v": "{{ steps.a.output }}"}),
    )
    assert (found["x"]["with"], found["y"]["with"]) == (
        {"v": "{{ nodes.a.output }}"},
        {"v": "{{ nodes.a_2.output }}"},
    )


def test_what_stands_in_quotes_or_behind_a_dot_is_no_name() -> None:
    params = {
        "x": "{{ {'ctx.n': 'steps.a.output', 'k': inputs.ctx.steps} }}",
        "y": "{{ inputs.rows | map(attribute='item') | join('ctx.n') }} inputs.q ${ctx.n} {{ '}} ctx.n' }}",
        "z": [
            "{{ inputs.rows[ctx.n].ctx }}",
            {"ctx.n": "{{inputs.rows|selectattr('loop','==',ctx . n)|list}}"},
        ],
    }
    inputs = [{"name": "ctx", "type": "dict"}, {"name": "rows", "type": "list"}]
    found = nodes(assign("s", {"n": 1, "vars": 2}), noop("a", params), inputs=inputs)
    assert found["a"]["with"] == {
        "x": params["x"],
        "y": params["y"],
        "z": [
            "{{ inputs.rows[vars.n].ctx }}",
            {"ctx.n": "{{ inputs.rows|selectattr('loop','==',vars.n)|list }}"},
        ],
    }


# --- refusals


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    document = {
        "meta": {"title": "发送", "owner": "me"},
        "inputs": [{"name": "a", "type": "number"}, {"name": "b", "type": "integer", "default": "x"}, 5],
        "returns": {},
        "steps": [noop("x", depends_on="y"), noop("y", {"m": "{{ steps.z.output }}"}), 3],
    }
    assert refused(document) == [
        ("/meta/title", "bad_name"),
        ("/meta/owner", "unknown_field"),
        ("/inputs/0/type", "bad_value"),
        ("/inputs/1/default", "bad_inputs_schema"),
        ("/inputs/2", "wrong_type"),
        ("/returns", "unknown_field"),
        ("/steps/0/depends_on", "unknown_field"),
        ("/steps/1/params/m", "unknown_node"),
        ("/steps/2", "wrong_type"),
    ]


@pytest.mark.parametrize(
    ("document", "problems"),
    [
        ([], [("", "wrong_type")]),
        ({"steps": {1: 2}}, [("/steps", "not_json")]),
        ({"meta": {"title": "T"}}, [("/steps", "empty_nodes")]),
        ({"meta": {"title": "T"}, "steps": []}, [("/steps", "empty_nodes")]),
        ({"meta": {"title": "T"}, "steps": {"a": noop("a")}}, [("/steps", "wrong_type")]),
        ({"steps": [noop("a")]}, [("/meta/title", "missing_field")]),
        ({"meta": 3, "steps": [noop("a")]}, [("/meta", "wrong_type"), ("/meta/title", "missing_field")]),
        (
            {"meta": {"title": "T {{ x }}", "description": 3}, "steps": [noop("a")]},
            [("/meta/title", "expression_not_allowed"), ("/meta/description", "wrong_type")],
        ),
    ],
)
def test_files_that_are_none(document: Any, problems: list[tuple[str, str]]) -> None:
    assert refused(document) == problems


def test_a_name_from_outside_is_one_of_ours() -> None:
    assert refused(task(noop("a")), name="no name") == [("", "bad_name")]


@pytest.mark.parametrize(
    ("field", "code", "more"),
    [
        ("name", "missing_field", {"name": ""}),
        ("name", "wrong_type", {"name": 3}),
        ("type", "bad_value", {"type": "object"}),
        ("type", "bad_value", {"type": None}),
        ("required", "wrong_type", {"required": "yes"}),
        ("default", "bad_value", {"required": True, "default": None}),
        ("default", "bad_inputs_schema", {"type": "integer", "default": 0, "min": 1}),
        ("default", "bad_inputs_schema", {"default": "z", "enum": ["x"]}),
        ("default", "expression_not_allowed", {"default": "{{ inputs.b }}"}),
        ("description", "expression_not_allowed", {"description": "{{ x }}"}),
        ("enum", "bad_inputs_schema", {"enum": "x"}),
        ("min", "misplaced_field", {"min": 1}),
        ("max", "bad_inputs_schema", {"type": "float", "max": "9"}),
        ("max", "bad_value", {"type": "float", "min": 2, "max": 1}),
        ("options", "unknown_field", {"options": ["a"]}),
    ],
)
def test_inputs_that_cannot_be_expressed(field: str, code: str, more: Doc) -> None:
    row = {"name": "x", "type": "string", **more}
    assert refused(task(noop("a"), inputs=[row])) == [(f"/inputs/0/{field}", code)]


def test_an_input_is_declared_once() -> None:
    row = {"name": "x", "type": "string"}
    assert refused(task(noop("a"), inputs=[row, row])) == [("/inputs/1/name", "duplicate_key")]


@pytest.mark.parametrize(
    ("field", "code", "more"),
    [
        ("name", "wrong_type", {"name": 3}),
        ("name", "expression_not_allowed", {"name": "{{ x }}"}),
        ("action", "missing_field", {"action": None}),
        ("action", "missing_field", {"action": ""}),
        ("action", "bad_name", {"action": "log"}),
        ("action", "bad_name", {"action": "aura/base/log"}),
        ("action", "expression_not_allowed", {"action": "{{ x }}"}),
        ("params", "wrong_type", {"params": [1]}),
        ("params/a", "expression", {"params": {"a": "{{ x( }}"}}),
        ("params/a", "expression", {"params": {"a": "{{ x | nofilter }}"}}),
        ("params/a", "expression", {"params": {"a": "{{ x"}}),
        ("params/a", "expression", {"params": {"a": "{% if x %}1{% endif %}"}}),
        ("params/a", "expression", {"params": {"a": "{# note #}"}}),
        ("params/{{ a }}", "expression", {"params": {"{{ a }}": 1}}),
        ("params/a", "unknown_root", {"params": {"a": "{{ nodes.x.output }}"}}),
        ("params/a", "unknown_root", {"params": {"a": "{{ item }}"}}),
        ("params/a", "unknown_root", {"params": {"a": "{{ loop.index }}"}}),
        ("params/a", "unknown_root", {"params": {"a": "{{ error.message }}"}}),
        ("params/a", "unknown_root", {"params": {"a": "{{ ctx }}"}}),
        ("params/a", "unknown_root", {"params": {"a": "{{ steps | length }}"}}),
        ("params/a", "unknown_root", {"params": {"a": "{{ steps['b' ~ 'c'].output }}"}}),
        ("params/a", "unknown_member", {"loop": [1], "params": {"a": "{{ loop.length }}"}}),
        ("params/a", "expression", {"params": {"a": "{{ (steps).before.output }}"}}),
        ("params/a", "unknown_input", {"params": {"a": "{{ inputs.x }}"}}),
        ("params/a", "unknown_variable", {"params": {"a": "{{ ctx.x }}"}}),
        ("params/a", "unknown_node", {"params": {"a": "{{ steps.nope.output }}"}}),
        ("params/a", "unknown_node_field", {"params": {"a": "{{ steps.before.status }}"}}),
        ("params/a", "unknown_node_field", {"params": {"a": "{{ steps.before }}"}}),
        ("params/a", "own_reference", {"params": {"a": "{{ steps.b.output }}"}}),
        ("params/a", "unordered_reference", {"params": {"a": "{{ steps.after.output }}"}}),
        ("params/a", "unordered_reference", {"params": {"a": "{{ steps.handler.output }}"}}),
        ("when", "wrong_type", {"when": None}),
        ("when", "wrong_type", {"when": 1}),
        ("when", "expression", {"when": ""}),
        ("when", "expression", {"when": "{{ true }} and {{ false }}"}),
        ("when", "expression", {"when": "a ="}),
        ("when", "unknown_root", {"loop": [1], "when": "item > 1"}),
        ("loop", "wrong_type", {"loop": None}),
        ("loop", "wrong_type", {"loop": 3}),
        ("loop", "wrong_type", {"loop": {"for_each": [1], "parallelism": 2}}),
        ("loop", "expression", {"loop": "x{{ inputs }}"}),
        ("loop", "unknown_root", {"loop": "item"}),
        ("parallelism", "misplaced_field", {"parallelism": 2}),
        ("parallelism", "bad_value", {"loop": [1], "parallelism": 0}),
        ("retry_delay", "misplaced_field", {"retry_delay": 2}),
        ("retry", "wrong_type", {"retry": {"count": 2, "interval": 1}}),
        ("retry", "bad_value", {"retry": -1}),
        ("retry_delay", "wrong_type", {"retry": 1, "retry_delay": "1s"}),
        ("retry_delay", "bad_duration", {"retry": 1, "retry_delay": -1}),
        ("timeout", "wrong_type", {"timeout": True}),
        ("timeout", "bad_duration", {"timeout": 0}),
        ("timeout", "bad_duration", {"timeout": 1e300}),
        ("on_error", "wrong_type", {"on_error": noop("x")}),
        ("on_error/0/action", "missing_field", {"on_error": [{"name": "x"}]}),
        ("on_error/0/params/a", "own_reference", {"on_error": [noop("x", {"a": "{{ steps.x.output }}"})]}),
        (
            "on_error/0/params/a",
            "unordered_reference",
            {"on_error": [noop("x", {"a": "{{ steps.b.output }}"})]},
        ),
        ("on_error/0/params/a", "unknown_member", {"on_error": [noop("x", {"a": "{{ error.type }}"})]}),
        ("on_error/0/params/a", "unknown_root", {"loop": [1], "on_error": [noop("x", {"a": "{{ item }}"})]}),
        ("goto", "unknown_field", {"goto": "before"}),
    ],
)
def test_steps_that_cannot_be_expressed(field: str, code: str, more: Doc) -> None:
    before = noop("before", on_error=[noop("handler")])
    assert refused_steps(before, noop("b") | more, noop("after")) == [(f"/steps/1/{field}", code)]


@pytest.mark.parametrize(
    ("more", "field", "code"),
    [
        ({"loop": [1]}, "loop", "not_supported"),
        ({"retry": 1}, "retry", "not_supported"),
        ({"timeout": 1}, "timeout", "not_supported"),
        ({"params": {}}, "params", "missing_field"),
        ({"params": None}, "params", "missing_field"),
    ],
)
def test_setting_the_context_is_no_action_that_could_be_repeated(more: Doc, field: str, code: str) -> None:
    assert refused_steps(assign("a", {"x": 1}) | more) == [(f"/steps/0/{field}", code)]


def test_on_error_inside_on_error_has_an_end() -> None:
    step = noop("deepest")
    for depth in range(10):
        step = noop(f"s{depth}", on_error=[step])
    assert [code for _, code in refused_steps(step)] == ["too_deep"]


# --- at random

NAMES = ("a", "b", "a b", "a-b", "item", "not", "等", "x" * 70, "", "A.b", "2x", "error")
KEYS = ("n", "m", "my key", "loop", "k-1")


class Author:
    """Writes task files of which every part is allowed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.keys = [key for key in KEYS if self.random.random() < 0.7]
        self.calls = 0

    def expression(self, seen: list[str], *, item: bool, error: bool) -> str:
        choices = ["inputs.n", "inputs['odd name'] | default('ctx.n')", "'steps.a.output' ~ 1"]
        choices += [f"steps['{name}'].output" for name in seen]
        choices += [f"ctx['{key}']" for key in self.keys]
        choices += ["item", "index", "loop.index"] if item else []
        choices += ["error.message"] if error else []
        return self.random.choice(choices)

    def steps(self, seen: list[str], depth: int) -> list[Doc]:
        seen = list(seen)
        found: list[Doc] = []
        for _ in range(self.random.randint(1, 7 - 2 * depth)):
            name = self.random.choice(NAMES)
            found.append(self.step(name, seen, depth))
            if name:
                seen.append(name)
        return found

    def step(self, name: str, seen: list[str], depth: int) -> Doc:
        chance, error = self.random.random, depth > 0
        step: Doc = {"name": name} if name or chance() < 0.5 else {}
        sets = bool(self.keys) and chance() < 0.35
        item = not sets and chance() < 0.3
        value = f"{{{{ {self.expression(seen, item=item, error=error)} }}}}"
        step["action"] = "core.set_context" if sets else "core.noop"
        step["params"] = {self.random.choice(self.keys) if sets else "v": value}
        if item:
            step["loop"] = self.random.choice([[1, 2], f"[{self.expression(seen, item=False, error=error)}]"])
        if chance() < 0.4:
            step["when"] = self.expression(seen, item=False, error=error)
        if depth < 2 and chance() < 0.3:
            step["on_error"] = self.steps([each for each in seen if each != name], depth + 1)
        return step

    def document(self) -> Doc:
        steps = self.steps([], 0)
        steps += [assign("", {key: 0}) for key in self.keys]
        inputs = [{"name": "n", "type": "integer", "default": 1}, {"name": "odd name", "type": "string"}]
        return task(*steps, inputs=inputs)


@pytest.mark.parametrize("seed", range(120))
def test_whatever_is_allowed_gives_a_definition_that_validates(seed: int) -> None:
    document = Author(seed).document()
    assert imported(document) == import_aura(document)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["{{ ctx.a }}", "{{"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "meta",
                    "title",
                    "inputs",
                    "steps",
                    "name",
                    "type",
                    "action",
                    "params",
                    "when",
                    "loop",
                    "on_error",
                    "default",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)
STEP = st.fixed_dictionaries({}, optional={
    "name": JSON, "action": st.just("core.noop") | st.just("core.set_context") | JSON, "params": JSON, "when": JSON,
    "loop": JSON, "on_error": JSON, "retry": JSON, "timeout": JSON,
})  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {"meta": st.just({"title": "T"}) | JSON, "steps": st.lists(STEP, max_size=3) | JSON},
        optional={"inputs": JSON},
    )
)
def test_whatever_is_given_is_imported_or_refused(document: Any) -> None:
    try:
        found = import_aura(document)
    except DefinitionError as error:
        if error.problems:
            return
        raise
    assert {problem.code for problem in check_document(found, REGISTRY).problems} <= {"unknown_executor"}
