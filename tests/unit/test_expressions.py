"""Expressions as an author uses them: templates, paths, operators, undefined values, problems."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from strataflow.engine.errors import ExpressionError, Problem
from strataflow.engine.expressions import (
    FILTERS,
    NAME_PATTERN,
    RESERVED_NAMES,
    ROOT_NAMES,
    TESTS,
    Reference,
    Template,
    has_expression,
    parse_template,
)

DATA: dict[str, Any] = {
    "inputs": {"day": "2026-11-20", "n": 3, "zero": 0, "none": None, "yes": True, "rate": 0.5, "empty": []},
    "nodes": {
        "fetch": {"state": "completed", "output": {"rows": [{"x": 1}, {"x": 2}], "total": 2}},
        "risk": {"state": "completed", "output": {"score": 0.7}},
        "skipped": {"state": "skipped", "output": None},
    },
    "vars": {"held": [1, 2], "count": 2},
    "order": {"id": "o-1", "amount": 5, "bank": "b"},
}


def compiled(value: Any) -> Template:
    template, problems = parse_template(value)
    assert problems == []
    assert template is not None
    return template


def render(value: Any, **roots: Any) -> Any:
    return compiled(value).render(DATA | roots)


def ev(expression: str, **roots: Any) -> Any:
    return render("{{ " + expression + " }}", **roots)


def failure(value: Any, **roots: Any) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        render(value, **roots)
    return caught.value


def problems(value: Any, pointer: str = "") -> list[Problem]:
    template, found = parse_template(value, pointer=pointer)
    assert template is None
    assert found
    assert all(problem.code == "expression" and problem.hint for problem in found)
    return found


def paths(value: Any) -> list[tuple[str, tuple[str | int, ...]]]:
    return [(ref.root, ref.parts) for ref in compiled(value).refs]


class TestTemplates:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("{{ inputs.n }}", 3),
            ("{{inputs.n}}", 3),
            ("{{\n  inputs.n\n}}", 3),
            (" {{ inputs.n }}", " 3"),
            ("{{ inputs.n }}\n", "3\n"),
            ("{{ inputs.n }}{{ inputs.n }}", "33"),
            ("{{ inputs.none }}", None),
            ("<{{ inputs.none }}|{{ inputs.yes }}|{{ inputs.rate }}>", "<null|true|0.5>"),
            ("{{ order }}!", '{"id":"o-1","amount":5,"bank":"b"}!'),
            ("{{ 4 / 2 }}", 2.0),
            ("{{ 4 / 2 }} ", "2.0 "),
            ("{{ order.id }}: {{ 'Zoë 😀' }}", "o-1: Zoë 😀"),
            ("$" + "{{ inputs.n }}", "$3"),
        ],
    )
    def test_one_expression_keeps_its_type_and_all_else_is_text(self, source: str, expected: Any) -> None:
        result = render(source)
        assert result == expected
        assert type(result) is type(expected)

    def test_two_expressions_are_not_taken_for_one(self) -> None:
        assert render("{{ order.id }}: {{ order.bank }}") == "o-1: b"

    @pytest.mark.parametrize(
        "text",
        [
            "n=${#a}; echo ${#arr[@]} {#} ok",
            "date +{%Y-%m-%d}",
            "{% raw %} {# comment #} {%- x -%}",
            "line one\r\nline two\n\n",
            "} }} }}} { {x}",
            "\t \x0b\u2028\u0085",
            "",
        ],
    )
    def test_text_without_an_expression_is_constant(self, text: str) -> None:
        template = compiled(text)
        assert template.constant
        assert template.render({}) == text

    @pytest.mark.parametrize("text", ["${#arr[@]} {#} ", "\r\n {% if x %}\r\n", "}} ", "{ ", 'it\'s "so" '])
    def test_text_around_an_expression_is_verbatim(self, text: str) -> None:
        assert render(text + "{{ order.id }}" + text) == text + "o-1" + text

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("{{ '{{' }}", "{{"),
            ("{{ '}}' }}", "}}"),
            ("{{ \"}}\" ~ '{{' }}", "}}{{"),
            ("{{ 'it\\'s }}' }}", "it's }}"),
            ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
            ("{{ {'a': {'b': 1}}}}", {"a": {"b": 1}}),
            ("{{ {'a': 1}}}", {"a": 1}),
            ("a{{ {} }}b", "a{}b"),
            ("{{ order['id'] }}", "o-1"),
            ("{{ {'}}': 1}['}}'] }}", 1),
            ("{{ x['}}'] }}", 1),
        ],
    )
    def test_quotes_and_braces_inside_an_expression_are_respected(self, source: str, expected: Any) -> None:
        assert render(source, x={"}}": 1}) == expected

    def test_values_are_filled_in_at_any_depth(self) -> None:
        source = {"a": ["{{ inputs.n }}", {"b": "n={{ inputs.n }}", "c": 1}], "d": None, "e": [1, [2]]}
        expected = {"a": [3, {"b": "n=3", "c": 1}], "d": None, "e": [1, [2]]}
        assert render(source) == expected
        assert list(render(source)) == list(source)

    def test_rendering_changes_neither_the_template_nor_the_data(self) -> None:
        source = {"a": ["{{ inputs.n }}", 1], "b": {"c": "{{ order.id }}"}}
        before = json.dumps([source, DATA])
        template = compiled(source)
        first = template.render(DATA)
        first["a"].append(2)
        first["b"]["c"] = 0
        assert template.render(DATA) == {"a": [3, 1], "b": {"c": "o-1"}}
        assert json.dumps([source, DATA]) == before

    @pytest.mark.parametrize("value", [None, True, 1, 2.5, "x", [], {}, [1, {"a": "b"}]])
    def test_a_value_without_expressions_is_constant(self, value: Any) -> None:
        template = compiled(value)
        assert template.constant
        assert template.plain is None
        assert template.refs == ()
        assert template.source == value
        assert template.render({}) == value

    def test_keys_are_never_evaluated(self) -> None:
        (problem,) = problems({"a": {"{{ inputs.n }}": 1}}, pointer="/nodes/x/with")
        assert problem.pointer == "/nodes/x/with/a/{{ inputs.n }}"
        assert "key" in problem.message

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("{{ x }}", True),
            ("a {{", True),
            ([1, {"a": ["{{ x }}"]}], True),
            ({"{{ x }}": 1}, True),
            ("{ { x } }", False),
            ([1, None, True, {"a": "{%"}], False),
            ({1: 2}, False),
        ],
    )
    def test_has_expression_looks_into_every_string(self, value: Any, *, expected: bool) -> None:
        assert has_expression(value) is expected

    def test_a_template_is_rendered_by_many_threads(self) -> None:
        template = compiled(
            {"a": "{{ (inputs.n + 1) * 2 }}", "b": "{{ vars.held | map('string') | join('-') }}"}
        )
        results: list[Any] = []

        def work() -> None:
            results.extend(template.render(DATA) for _ in range(200))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 1600
        assert all(result == {"a": 8, "b": "1-2"} for result in results)


class TestPaths:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("order", DATA["order"]),
            ("order.id", "o-1"),
            ("nodes.fetch.output.rows[0].x", 1),
            ("nodes.fetch.output.rows[-1].x", 2),
            ("nodes.fetch.output['rows'][1]['x']", 2),
            ('nodes.fetch["output"].total', 2),
            ("nodes . fetch . output . total", 2),
            ("(nodes.fetch).output.total", 2),
            ("nodes.fetch.output.rows.0.x", 1),
            ("nodes.fetch.output.rows[inputs.zero].x", 1),
            ("nodes['fe' ~ 'tch'].output.total", 2),
            ("nodes.fetch.output.rows[1:][0].x", 2),
            ("[order][0].id", "o-1"),
            ("order.id[0]", "o"),
            ("order.id[1:]", "-1"),
        ],
    )
    def test_members_and_items_are_read(self, expression: str, expected: Any) -> None:
        assert ev(expression) == expected

    @pytest.mark.parametrize(
        "name", ["items", "keys", "values", "count", "get", "pop", "not", "in", "größe", "null"]
    )
    def test_a_key_named_like_a_method_or_keyword_is_data(self, name: str) -> None:
        data = {name: {"deep": 7}}
        assert ev(f"d.{name}.deep", d=data) == 7
        assert ev(f"d.{name}.deep + 0", d=data) == 7
        assert ev(f"d['{name}']['deep']", d=data) == 7
        assert ev(f"[d] | map(attribute='{name}.deep')", d=data) == [7]

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("nodes.fetch.output.row", "nodes.fetch.output.row: output has no member 'row'"),
            ("nodes.fetch.output.row.x[1]", "nodes.fetch.output.row: output has no member 'row'"),
            ("nodes.nope.output", "nodes.nope: nodes has no member 'nope'"),
            ("nope.x", "nope: not available here"),
            (
                "nodes.skipped.output.id.deep",
                "nodes.skipped.output.id: output is null and has no member 'id'",
            ),
            (
                "nodes.fetch.output.rows[7].x",
                "nodes.fetch.output.rows[7]: rows has the length 2 and no item 7",
            ),
            (
                "nodes.fetch.output.rows[-3]",
                "nodes.fetch.output.rows[-3]: rows has the length 2 and no item -3",
            ),
            ("nodes.fetch.output.rows.x", "nodes.fetch.output.rows.x: rows is a list and has no member 'x'"),
            ("order[0]", "order[0]: order is an object and has no item 0"),
            ("order['a b']", "order['a b']: order has no member 'a b'"),
            ("inputs.n.x", "inputs.n.x: n is a number and has no member 'x'"),
        ],
    )
    def test_the_first_missing_part_is_named(self, expression: str, message: str) -> None:
        error = failure("{{ " + expression + " }}")
        assert error.message == message
        assert error.expression == expression
        # The same from the compiled form.
        assert failure("{{ [" + expression + "] }}").message.startswith(message + " (in `{{ [")

    def test_a_computed_name_is_not_shown_because_it_may_be_a_secret(self) -> None:
        error = failure("{{ order[secrets.token] }}", secrets={"token": "hunter2"})
        assert "hunter2" not in str(error)
        assert error.message.startswith("order[…]: order has no such member")

    def test_references_are_found_wherever_they_stand(self) -> None:
        source = {
            "a": "{{ nodes.a.output.rows[0].x + inputs['k'] }}",
            "b": [
                "{{ vars.v if nodes.b.state == 'f' else item.y[index].z }}",
                "{{ nodes.c.output.rows[1:2] }}",
            ],
            "c": "{{ x | default(nodes.d.output) | map('replace', inputs.old, inputs.new) }} {{ nodes[inputs.n] }}",
            "d": "{{ [nodes, {'k': nodes.e}] | length is divisibleby(total) }}",
        }
        assert paths(source) == [
            ("nodes", ("a", "output", "rows", 0, "x")),
            ("inputs", ("k",)),
            ("vars", ("v",)),
            ("nodes", ("b", "state")),
            ("item", ("y",)),
            ("index", ()),
            ("nodes", ("c", "output", "rows")),
            ("x", ()),
            ("nodes", ("d", "output")),
            ("inputs", ("old",)),
            ("inputs", ("new",)),
            ("nodes", ()),
            ("inputs", ("n",)),
            ("nodes", ("e",)),
            ("total", ()),
        ]

    def test_a_reference_knows_its_place(self) -> None:
        (reference,) = compiled("x {{  1 + inputs.n }}").refs
        assert reference == Reference("inputs", ("n",), 4, "1 + inputs.n")

    def test_references_are_unique(self) -> None:
        assert paths(["{{ inputs.n }}", "{{ inputs.n + inputs.n }}", "{{ inputs['n'] }}"]) == [
            ("inputs", ("n",))
        ]

    @pytest.mark.parametrize(
        "source",
        [
            "{{ nodes.a.output }}",
            "{{ (nodes.a.output) }}",
            "{{ nodes['a'].output }}",
            "{{ nodes.a. output }}",
        ],
    )
    def test_a_plain_path_is_known_in_any_spelling(self, source: str) -> None:
        plain = compiled(source).plain
        assert plain is not None
        assert (plain.root, plain.parts) == ("nodes", ("a", "output"))

    @pytest.mark.parametrize(
        "source",
        ["{{ a }} ", "{{ a }}{{ b }}", "{{ a + 1 }}", "{{ a[b] }}", "{{ a[1:] }}", ["{{ a }}"], "{{ null }}"],
    )
    def test_everything_else_is_not_plain(self, source: Any) -> None:
        template = compiled(source)
        assert template.plain is None
        assert not template.constant

    def test_a_plain_path_gives_the_value_itself(self) -> None:
        assert ev("nodes.fetch.output") is DATA["nodes"]["fetch"]["output"]

    def test_roots_may_be_lazy_mappings(self) -> None:
        class Lazy(Mapping[str, Any]):
            def __getitem__(self, key: str) -> Any:
                return {"a": [1, 2]}[key]

            def __iter__(self) -> Iterator[str]:
                return iter(["a"])

            def __len__(self) -> int:
                return 1

        roots = {"nodes": MappingProxyType({"x": Lazy()}), "t": (1, (2,))}
        assert compiled("{{ nodes.x.a[1] }}").render(roots) == 2
        assert compiled("{{ nodes }}").render(roots) == {"x": {"a": [1, 2]}}
        assert compiled("{{ [nodes.x, t] }}").render(roots) == [{"a": [1, 2]}, [1, [2]]]
        assert compiled("{{ t }}").render(roots) == [1, [2]]
        assert compiled("v{{ nodes.x }}").render(roots) == 'v{"a":[1,2]}'


class TestUndefinedAndNull:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("order.nope | default('d')", "d"),
            ("order.nope.deeper[3] | default('d')", "d"),
            ("nope | default('d')", "d"),
            ("inputs.none | default('d')", "d"),
            ("inputs.none.x | default('d')", "d"),
            ("nodes.skipped.output.id | default(false)", False),
            ("inputs.zero | default('d')", 0),
            ("inputs.empty | default('d')", []),
            ("inputs.empty | default('d', true)", "d"),
            ("inputs.empty | default('d', boolean=true)", "d"),
            ("order.a | default(order.b) | default(order.id)", "o-1"),
            ("order.id | default(order.nope)", "o-1"),
            ("order.id | default(1 / 0)", "o-1"),
            ("(order.nope if inputs.yes else 1) | default('d')", "d"),
            ("[] | first | default('d')", "d"),
            ("inputs.empty | max | default(0)", 0),
            ("order.nope is defined", False),
            ("order.nope.x is undefined", True),
            ("inputs.none is defined", True),
            ("inputs.none.x is defined", False),
            ("nope is not defined", True),
            ("order.id is defined and order.id == 'o-1'", True),
            ("inputs.none == null", True),
            ("inputs.none == none", True),
            ("inputs.none is null", True),
            ("null == None", True),
            ("[null, true, false, True, False, none]", [None, True, False, True, False, None]),
            ("null.x | default(1)", 1),
            ("[inputs.none, 1] | map('default', 0)", [0, 1]),
        ],
    )
    def test_default_and_defined(self, expression: str, expected: Any) -> None:
        result = ev(expression)
        assert result == expected
        assert type(result) is type(expected)

    @pytest.mark.parametrize(
        "expression",
        [
            "order.nope ~ 'x'",
            "order.nope == 1",
            "not order.nope",
            "1 if order.nope else 2",
            "order.nope or 1",
            "[order.nope]",
            "{'a': order.nope}",
            "order.nope | length",
            "order.nope is null",
            "'a' in order.nope",
            "order[order.nope]",
            "order.id | default(0) ~ order.nope",
            "order.nope | default(order.nope)",
            "-order.nope",
            "vars.held[order.nope:]",
            "order.nope if inputs.yes else 1",
            "[order] | map(attribute='nope')",
            "[order] | selectattr('nope')",
            "[order] | sort(attribute='nope')",
        ],
    )
    def test_every_other_use_is_an_error(self, expression: str) -> None:
        error = failure("{{ " + expression + " }}")
        assert "has no member 'nope'" in error.message
        assert expression in str(error)

    def test_what_is_not_needed_is_not_looked_at(self) -> None:
        assert ev("inputs.zero and order.nope") == 0
        assert ev("inputs.n or order.nope") == 3
        assert ev("1 if inputs.yes else order.nope") == 1

    def test_null_items_are_named_when_their_member_is_used(self) -> None:
        data = [{"status": "held"}, None]
        error = failure("{{ rows | selectattr('status', '==', 'held') }}", rows=data)
        assert "item[1].status: item[1] is null" in error.message
        assert ev("rows | select | selectattr('status', '==', 'held')", rows=data) == [{"status": "held"}]
        assert ev("rows | selectattr('status', 'defined') | length", rows=data) == 1
        assert ev("rows | map(attribute='status', default='?')", rows=data) == ["held", "?"]


class TestOperators:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("1 + 2 * 3 - 4", 3),
            ("7 // 2", 3),
            ("7 % 3", 1),
            ("-7 // 2", -4),
            ("4 / 2", 2.0),
            ("1 + 1.5", 2.5),
            ("-inputs.n", -3),
            ("+inputs.n", 3),
            ("- -3", 3),
            ("'a' + 'b'", "ab"),
            ("[1] + [2]", [1, 2]),
            ("'a' ~ 1 ~ null ~ true ~ [1, 'x'] ~ 1.5", 'a1nulltrue[1,"x"]1.5'),
            ("1 == 1.0", True),
            ("true == 1", False),
            ("[true] == [1]", False),
            ("{'a': 1, 'b': [1.0]} == {'b': [1], 'a': 1}", True),
            ("'1' == 1", False),
            ("null == false", False),
            ("'a' < 'b'", True),
            ("1 < 2 < 3", True),
            ("1 < 3 < 2", False),
            ("3 >= 3.0", True),
            ("2 in [1, 2]", True),
            ("true in [1]", False),
            ("'a' in {'a': 1}", True),
            ("'b' in 'abc'", True),
            ("'x' not in 'abc'", True),
            ("not 0", True),
            ("0 or 'x'", "x"),
            ("1 and []", []),
            ("'a' if 1 > 2 else 'b' if 2 > 3 else 'c'", "c"),
            ("[1, 2, 3, 4][1:3]", [2, 3]),
            ("[1, 2, 3, 4][::-2]", [4, 2]),
            ("'abc'[:2]", "ab"),
            ("(1, 2)", [1, 2]),
            ("()", []),
            ("{'a': [1, {'b': 2}]}['a'][1].b", 2),
            ("12345678901234567890123 + 1", 12345678901234567890124),
            ("1.5e3", 1500.0),
            ("'\\u0041\\n\\x42\\\\'", "A\nB\\"),
            ("'\\ud83d\\ude00'", "😀"),
            ("'a' 'b'", "ab"),
            ("'Zoë 😀' | length", 5),
        ],
    )
    def test_values(self, expression: str, expected: Any) -> None:
        result = ev(expression)
        assert result == expected
        assert type(result) is type(expected)

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("1 + 'a'", "`+` does not work on a number and text; join text with `~`"),
            ("true + 1", "`+` does not work on true/false and a number"),
            ("'ab' * 3", "text and lists cannot be repeated"),
            ("[1] * 3", "text and lists cannot be repeated"),
            ("'%s' % 'a'", "text is not formatted by `%`"),
            ("{} - 1", "`-` does not work on an object and a number"),
            ("-'a'", "`-` does not work on text"),
            ("1 / 0", "division by zero"),
            ("1 // 0", "division by zero"),
            ("1 % 0", "division by zero"),
            ("1.5 % 0", "division by zero"),
            ("1 < 'a'", "a number and text have no order"),
            ("null < 1", "null and a number have no order"),
            ("[1] < [2]", "a list and a list have no order"),
            ("1 in 2", "`in` needs a list, an object or text on its right, not a number"),
            ("1 in 'a1'", "`in` looks for text in text, not for a number"),
            ("1 in {}", "`in` looks for text in an object, not for a number"),
            ("order[1.0]", "not by a fraction"),
            ("order[null]", "not by null"),
            ("vars.held[inputs.yes]", "not by true/false"),
            ("vars.held['a':]", "the bounds of a slice are whole numbers, not text"),
            ("vars.held[::0]", "the step of a slice cannot be 0"),
            ("order[1:]", "only a list or text can be sliced, not an object"),
            ("{order: 1}", "the keys of an object are text, not an object"),
            ("1e308 * 10", "not a finite number"),
            ("1e308 - -1e308", "not a finite number"),
        ],
    )
    def test_what_does_not_fit_is_said_in_plain_words(self, expression: str, message: str) -> None:
        error = failure("{{ " + expression + " }}")
        assert message in error.message
        assert error.expression == expression
        assert error.position is not None

    def test_the_position_is_that_of_the_innermost_operation(self) -> None:
        assert failure("{{ 1 + (2 * ('a' - 1)) }}").position == len("1 + (2 * (")
        assert failure("{{ inputs.n | upper }}").position == len("inputs.n | ")

    @pytest.mark.parametrize(("expression", "expected"), [("inputs.n > 2", True), ("inputs.n > 5", False)])
    def test_a_condition_gives_true_or_false(self, expression: str, *, expected: bool) -> None:
        assert compiled("{{ " + expression + " }}").render_bool(DATA) is expected
        assert compiled(expected).render_bool({}) is expected

    @pytest.mark.parametrize(
        ("source", "word"),
        [
            ("{{ inputs.n }}", "a number"),
            ("{{ inputs.zero }}", "a number"),
            ("{{ inputs.none }}", "null"),
            ("{{ order.id }}", "text"),
            ("{{ vars.held }}", "a list"),
            ("{{ inputs.yes }} ", "text"),
            ("true", "text"),
            (1, "a number"),
            ({}, "an object"),
        ],
    )
    def test_a_condition_takes_nothing_else(self, source: Any, word: str) -> None:
        template, _ = parse_template(source, pointer="/nodes/a/when")
        assert template is not None
        with pytest.raises(ExpressionError, match=f"true or false, not {word}") as caught:
            template.render_bool(DATA)
        assert caught.value.pointer == "/nodes/a/when"

    def test_a_plain_path_to_a_number_that_is_not_json_is_an_error(self) -> None:
        assert "finite" in failure("{{ x }}", x=math.nan).message
        assert "not JSON" in failure("{{ x }}", x=object()).message
        assert "not JSON" in failure("{{ [x] }}", x=object()).message

    def test_errors_carry_the_pointer_of_their_string(self) -> None:
        template, _ = parse_template({"a/b": ["x", "{{ 1 / inputs.zero }}"]}, pointer="/nodes/n/with")
        assert template is not None
        with pytest.raises(ExpressionError) as caught:
            template.render(DATA)
        assert caught.value.pointer == "/nodes/n/with/a~1b/1"
        template, _ = parse_template(["{{ order.nope }}"], pointer="/p")
        assert template is not None
        with pytest.raises(ExpressionError) as caught:
            template.render(DATA)
        assert caught.value.pointer == "/p/0"


class TestProblems:
    @pytest.mark.parametrize(
        ("expression", "message", "hint"),
        [
            ("", "empty", ""),
            ("a b", "unexpected `b` (at position 2", ""),
            ("a +", "ends too early (at position 3", ""),
            ("(a", "ends too early", ""),
            ("a)", "unexpected `)`", ""),
            ("a[1", "ends too early", ""),
            ("f(x)", "calls are not available (at position 1", "no functions"),
            ("order.items()", "calls are not available", "`value | items`"),
            ("''.join([])", "calls are not available", "`value | join`"),
            ("2 ** 3", "`**` is not available", ""),
            ("'a' if x", "`if` has no `else`", "else null"),
            ("x | nope", "there is no filter `nope` (at position 4", ""),
            ("x | uper", "there is no filter `uper`", "`upper`"),
            ("x | format(1)", "there is no filter `format`", "`~`"),
            ("x is nope", "there is no test `nope`", ""),
            ("x | map('nope')", "there is no filter `nope`", ""),
            ("x | select('nope')", "there is no test `nope`", ""),
            ("x | selectattr('a', 'nope')", "there is no test `nope`", ""),
            ("x | replace('a')", "`replace` does not take these arguments", "replace(old, new, count=…)"),
            ("x | upper(1)", "`upper` does not take these arguments", "`upper`"),
            ("x | default", "`default` does not take these arguments", "default(fallback"),
            ("x | map('replace', 'a')", "`replace` does not take these arguments", ""),
            ("x is divisibleby", "`divisibleby` does not take these arguments", "divisibleby(number)"),
            ("x | join(*y)", "`*` before an argument", ""),
            ("x | join(**y)", "`*` before an argument", ""),
            ("nodes.fetch-data.output", "`nodes.fetch` is followed by `-`", "subtracts"),
            ("a && b", "unexpected `&`", "`and`"),
            ("a || b", "unexpected `|`", "`or`"),
            ("!a", "unexpected `!`", "`not`"),
            ("a = 1", "unexpected `=`", "`==`"),
            ("a ? b : c", "unexpected `?`", "`a if condition else b`"),
            ("a, b", "unexpected `,`", ""),
            ("'\\d'", "unknown escape", "\\\\"),
            ("'\\ud800'", "half a character", ""),
            ("{1: 2}", "keys of an object are text", "quotes"),
            ("1e400", "the number is too large", ""),
            ("9" * 2000, "the whole number is too large", "text"),
            ("007", "unexpected `0`", ""),
            ("x is defined if y else z", "unexpected", ""),
            ("x; y", "unexpected `;`", ""),
            ("lambda: 1", "unexpected `:`", ""),
            ("[x for x in y]", "unexpected `for`", ""),
            ("x.", "ends too early", ""),
            ("x.'a'", "unexpected", ""),
        ],
    )
    def test_a_malformed_expression_is_refused(self, expression: str, message: str, hint: str) -> None:
        (problem,) = problems("{{ " + expression + " }}")
        assert message in problem.message
        assert hint in (problem.hint or "")

    @pytest.mark.parametrize(
        ("text", "position"),
        [("{{", 0), ("ab {{ x", 3), ("{{ x }} and {{ y }", 12), ("{{ {'a': 1 }}", 0), ("{{ it's }}", 0)],
    )
    def test_an_unclosed_expression_is_refused_with_its_position(self, text: str, position: int) -> None:
        (problem,) = problems(text)
        assert "`{{` is not closed" in problem.message
        assert f"position {position})" in problem.message

    def test_whitespace_control_is_refused_but_a_negative_is_not(self) -> None:
        (problem,) = problems("{{- inputs.n -}}")
        assert "{{ -x }}" in (problem.hint or "")
        assert ev("-inputs.n") == -3
        assert render("{{-inputs.n}}") == -3

    def test_all_problems_of_a_value_are_found(self) -> None:
        value = {
            "a": "{{ f(x) + g(y) }} and {{ z | nope }}",
            "b": ["ok {{ inputs.n }}", "{{ }}"],
            "{{ k }}": "{{ 1 ** 2 }}",
        }
        found = problems(value, pointer="/nodes/n/with")
        assert sorted(problem.pointer for problem in found) == [
            "/nodes/n/with/a",
            "/nodes/n/with/a",
            "/nodes/n/with/a",
            "/nodes/n/with/b/1",
            "/nodes/n/with/{{ k }}",
            "/nodes/n/with/{{ k }}",
        ]

    def test_a_value_that_is_too_deep_is_refused(self) -> None:
        value: Any = "{{ x }}"
        for _ in range(150):
            value = [value]
        (problem,) = problems(value)
        assert "nested" in problem.message


class TestNames:
    @pytest.mark.parametrize("name", ["a", "_", "A1_b", "x" * 63, "items"])
    def test_good_names(self, name: str) -> None:
        assert NAME_PATTERN.match(name)

    @pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "x" * 64, "größe", "a\n", "a.b"])
    def test_bad_names(self, name: str) -> None:
        assert not NAME_PATTERN.match(name)

    def test_reserved_names_are_the_roots_self_and_the_keywords(self) -> None:
        roots = "inputs nodes vars secrets instance task item index total loop error result signal trigger"
        assert set(roots.split()) == ROOT_NAMES
        keywords = "and or not in is if else true false none null True False None"
        assert set(roots.split()) | {"self"} | set(keywords.split()) == RESERVED_NAMES

    @pytest.mark.parametrize("name", sorted(RESERVED_NAMES - ROOT_NAMES - {"self"}))
    def test_a_keyword_reads_no_data(self, name: str) -> None:
        template, _ = parse_template("{{ " + name + " }}")
        assert template is None or (template.plain is None and not template.refs)

    @pytest.mark.parametrize(
        "name", ["set", "for", "block", "filter", "import", "call", "print", "class", "lambda"]
    )
    def test_words_of_statements_are_ordinary_names(self, name: str) -> None:
        assert name not in RESERVED_NAMES
        assert ev(f"{name}.x + 1", **{name: {"x": 1}}) == 2

    def test_the_lists_are_fixed(self) -> None:
        assert len(FILTERS) == 47
        assert len(TESTS) == 36
        assert not FILTERS & {"attr", "format", "pprint", "random", "safe", "xmlattr", "forceescape"}
