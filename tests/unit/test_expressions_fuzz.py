"""Expressions as nobody would write them: whatever comes in, JSON or an ExpressionError comes out."""

from __future__ import annotations

import json
from typing import Any

import jinja2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from strataflow.engine.errors import ExpressionError
from strataflow.engine.expressions import FILTERS, TESTS, has_expression, parse_template

RELAXED = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

ROOTS: dict[str, Any] = {
    "inputs": {"n": 3, "s": "text", "none": None, "yes": True, "f": 1.5, "list": [3, 1, 2], "empty": []},
    "rows": [{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"k": "a", "v": None}, None],
    "item": {"items": {"keys": [1]}},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

words = st.sampled_from(
    [
        *"()[]{}.,|~+-*/%<>=!:'\"\\ ",
        *("==", "!=", "<=", ">=", "//", "**", "{{", "}}", "{%", "{#", "''", "'a'", "\\u00e9", "\n"),
        *(
            "and",
            "or",
            "not",
            "in",
            "is",
            "if",
            "else",
            "null",
            "none",
            "true",
            "false",
            "self",
            "for",
            "lambda",
        ),
        *("inputs", "rows", "item", "nope", ".n", ".s", ".list", ".items", ".__class__"),
        *("[0]", "[-1]", "[1:]", "['k']"),
        *(
            "1",
            "0",
            "2.5",
            "99999999999999999999",
            "1e308",
            "-1",
            "attribute='k'",
            "reverse=true",
            "default=0",
        ),
        *(f"| {name}" for name in sorted(FILTERS)),
        *(f"| {name}(" for name in sorted(FILTERS)),
        *(f"is {name}" for name in sorted(TESTS)),
    ]
)


def outcome(source: Any, roots: dict[str, Any] = ROOTS) -> Any:
    """The value, or the error, of a source that may be anything."""
    template, problems = parse_template(source)
    if template is None:
        assert problems
        assert all(problem.message and problem.hint for problem in problems)
        return None
    try:
        value = template.render(roots)
    except ExpressionError as error:
        value = error
    if isinstance(value, ExpressionError):
        assert value.message
        assert value.reason in ("expression", "expression.too_large")
    else:
        json.dumps(value, allow_nan=False)
    return value


@RELAXED
@given(st.lists(words, max_size=14).map(" ".join))
def test_any_sequence_of_words_gives_json_or_an_error(text: str) -> None:
    before = json.dumps(ROOTS)
    outcome("{{ " + text + " }}")
    assert json.dumps(ROOTS) == before


@RELAXED
@given(st.lists(words, max_size=14).map("".join), st.text(max_size=5))
def test_any_text_with_braces_gives_json_or_an_error(text: str, around: str) -> None:
    outcome(around + "{{" + text + "}}" + around)
    outcome(text)


@RELAXED
@given(st.text())
@example("'\ud800'")
@example("x\x00")
@example("۱۲")
@example("1٣")
@example("\uff41.b")
def test_any_characters_give_json_or_an_error(text: str) -> None:
    outcome("{{" + text + "}}")


@RELAXED
@given(json_values)
def test_values_pass_through_an_expression_unchanged(value: Any) -> None:
    roots = {"x": value}
    assert outcome("{{ x }}", roots) == value
    assert json.dumps(outcome("{{ [x, {'k': x}][1].k }}", roots)) == json.dumps(value)
    assert outcome("{{ x == x and [x] == [x] }}", roots) is True
    text = outcome("{{ x | tojson }}", roots)
    assert isinstance(text, ExpressionError) or json.loads(text) == value


@RELAXED
@given(json_values)
def test_values_without_braces_are_constant(value: Any) -> None:
    if has_expression(value):
        return
    template, problems = parse_template(value)
    assert problems == []
    assert template is not None
    assert template.constant
    assert template.render({}) == value


@RELAXED
@given(st.text().filter(lambda text: "{{" not in text and not text.endswith("{")), st.text())
def test_text_around_an_expression_is_verbatim(before: str, value: str) -> None:
    after = before.replace("}", "")
    assert outcome(before + "{{ x }}" + after, {"x": value}) == before + value + after


@RELAXED
@given(json_values, st.sampled_from(sorted(FILTERS)), st.lists(json_values, max_size=3))
def test_every_filter_gives_json_or_an_error(value: Any, name: str, arguments: list[Any]) -> None:
    roots = {"v": value, **{f"a{index}": argument for index, argument in enumerate(arguments)}}
    call = ", ".join(f"a{index}" for index in range(len(arguments)))
    outcome("{{ v | " + name + "(" + call + ") }}", roots)
    outcome("{{ v | " + name + " }}", roots)
    outcome("{{ [v, v] | map('" + name + "') | list }}", roots)


# Where both give a value, ours is Jinja's. What differs on purpose (text form, null, truth as number) is left out.
numbers = st.integers(-9, 9).map(str) | st.sampled_from(["n", "d.f", "l[1]", "l | length", "l | max", "2.5"])
lists = st.sampled_from(
    ["l", "[1, 2]", "l[1:]", "l | sort", "l | reverse | list", "(l + [5])", "l[::-1]", "[]"]
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arithmetic = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(" ".join)
    compare = st.tuples(inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner).map(" ".join)
    chain = st.tuples(inner, st.sampled_from(["<", "<="]), inner, st.sampled_from(["<", ">="]), inner).map(
        " ".join
    )
    choice = st.tuples(inner, compare | chain, inner).map("({0[0]} if {0[1]} else {0[2]})".format)
    sums = lists.map("({} | sum)".format)
    return st.one_of(arithmetic, choice, arithmetic.map("({})".format), inner.map("-{}".format), sums)


sums = st.recursive(numbers, larger, max_leaves=8)
conditions = st.recursive(
    st.tuples(sums, st.sampled_from(["==", "<", ">=", "!="]), sums).map(" ".join)
    | st.tuples(sums, st.sampled_from(["in", "not in"]), lists).map(" ".join)
    | st.tuples(numbers, st.sampled_from(["even", "odd", "divisibleby(2)", "defined", "number"])).map(
        "({0[0]}) is {0[1]}".format
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        inner.map("not ({})".format),
    ),
    max_leaves=5,
)
ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined)


@RELAXED
@given(sums | conditions | lists)
def test_where_jinja_gives_a_value_it_is_the_same(expression: str) -> None:
    roots = {"n": 4, "d": {"f": 1.5}, "l": [3, 1, 2]}
    ours = outcome("{{ " + expression + " }}", roots)
    try:
        theirs = ENVIRONMENT.compile_expression(expression, undefined_to_none=False)(**roots)
    except (ArithmeticError, TypeError, ValueError, jinja2.TemplateError):
        assert ours is None or isinstance(ours, ExpressionError)
        return
    assert ours == theirs
    assert type(ours) is type(theirs)
