"""Expressions as an attacker writes them: nothing escapes the data, and nothing takes more than it is given."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from strataflow.engine.errors import ExpressionError
from strataflow.engine.expressions import FILTERS, parse_template
from strataflow.engine.grammar import MAX_LENGTH, MAX_NESTING, MAX_TOKENS
from strataflow.engine.jsonlang.values import MAX_RESULT, MAX_TEXT, MAX_WORK

TOO_LARGE = "expression.too_large"


@contextmanager
def quickly(seconds: float = 4.0) -> Iterator[None]:
    """Processor time, because the machine is shared."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def ev(expression: str, /, **roots: Any) -> Any:
    template, problems = parse_template("{{ " + expression + " }}")
    assert problems == []
    assert template is not None
    return template.render(roots)


def refused(expression: str) -> str:
    template, problems = parse_template("{{ " + expression + " }}")
    assert template is None
    return problems[0].message


def fails(expression: str, /, **roots: Any) -> ExpressionError:
    with quickly(), pytest.raises(ExpressionError) as caught:
        ev(expression, **roots)
    return caught.value


class Trap:
    """Stands for a Python object that came into the data by mistake; whoever looks at it is told."""

    public = "secret"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError(key)

    def __call__(self) -> Any:
        raise AssertionError


class TestEscape:
    @pytest.mark.parametrize(
        "expression",
        [
            "''.__class__",
            "''.__class__.__mro__[1].__subclasses__",
            "''['__class__']",
            "''['__cl' ~ 'ass__']",
            "[].__class__",
            "[]['__class__']",
            "[].append",
            "(1).__class__",
            "1.0.real",
            "true.__class__",
            "null.__class__",
            "d.__class__",
            "d['__class__']",
            "d.get",
            "d.update",
            "d.items.__self__",
            "t.public",
            "t['public']",
            "t[0]",
            "self",
            "self.__init__",
            "self._TemplateReference__context",
            "range",
            "dict",
            "lipsum.__globals__",
            "cycler.__init__.__globals__",
            "joiner",
            "namespace",
            "config",
            "request",
            "__builtins__",
            "__import__",
            "environment",
            "context",
            "caller",
            "loop.__class__",
            "[t] | map(attribute='public') | list",
            "[t] | map(attribute='__class__.__mro__') | list",
            "[t] | selectattr('public')",
            "[t] | sort(attribute='public')",
            "[t] | groupby('public')",
            "[t] | unique(attribute='public')",
            "[t] | sum(attribute='public')",
            "[t] | join(',', attribute='public')",
            "['x'] | map(attribute='__class__')",
            "[[]] | map(attribute='append')",
            "['x'] | selectattr('upper')",
            "[1] | map(attribute='real')",
        ],
    )
    def test_nothing_but_members_can_be_read(self, expression: str) -> None:
        error = fails(expression, d={"a": 1}, t=Trap(), loop={"index": 0})
        assert "has no" in error.message or "not available here" in error.message

    @pytest.mark.parametrize(
        "expression",
        [
            "''.__class__()",
            "''.format('x')",
            "'{0.__class__}'.format(x)",
            "d.items()",
            "range(10)",
            "range(999999999)",
            "lipsum()",
            "self()",
            "(x)()",
            "[x][0]()",
            "x|upper()()",
            "cycler('a').next()",
            "x|attr('__class__')",
            "x|format(y)",
            "x|map('attr', '__class__')",
            "x|map('format')",
            "x|pprint",
            "x|xmlattr",
            "x|random",
            "x|safe",
            "x|foo.bar",
            "x is callable",
            "x is filter",
            "x is sameas(y)",
            "x|select('callable')",
            "2 ** 99999999",
            "2 ** 2 ** 2",
            "x if y",
            "*x",
            "x|join(*y)",
            "x := 1",
            "x = 1",
            "lambda x: x",
            "yield x",
            "import os",
            "x; y",
            "`id`",
            "x # y",
            "x @ y",
            "x\\",
            "x \x00",
            "{% set x = 1 %}",
            "'%c' %",
        ],
    )
    def test_calls_statements_and_strange_filters_are_refused(self, expression: str) -> None:
        with quickly():
            refused(expression)

    def test_no_python_object_becomes_a_result(self) -> None:
        for expression in ("t", "[t]", "{'a': t}", "t | default(1)", "[t] | first", "t if true else 1"):
            assert "not JSON" in fails(expression, t=Trap()).message
        assert "no text form" in fails("'' ~ t", t=Trap()).message

    def test_statements_and_comments_are_text(self) -> None:
        text = "{% for x in y %}${#a[@]}{# {% endfor %} #}{{ 1 }}{%- if %}"
        template, problems = parse_template(text)
        assert problems == []
        assert template is not None
        assert template.render({}) == text.replace("{{ 1 }}", "1")

    def test_what_an_expression_gives_is_not_evaluated_again(self) -> None:
        assert ev("x", x="{{ 1 / 0 }}") == "{{ 1 / 0 }}"
        assert ev("'{' ~ '{ 1 / 0 }' ~ '}'") == "{{ 1 / 0 }}"

    def test_markup_is_plain_text(self) -> None:
        assert ev("x ~ y | tojson", x="<b>&'", y="</b>") == '<b>&\'"</b>"'

    def test_messages_do_not_show_data(self) -> None:
        secret = "hunter2"
        for expression in (
            "s | int",
            "s | float",
            "s | fromjson",
            "s | date",
            "s + 1",
            "s < 1",
            "s - s",
            "s | b64decode",
            "s | sum",
            "s | map(s)",
            "[1] | map(s)",
            "[1] | select(s)",
            "d[s]",
            "d | keys | map('int')",
            "[d] | sort",
            "'2026-11-20T00:00:00Z' | date(s)",
            "s | round(s)",
            "1 | round(0, s)",
            "s | merge(s)",
            "[s] | fromitems",
            "s.x.y",
            "-s",
            "1 in s",
            "s | batch(s)",
        ):
            error = fails(expression, s=secret, d={"x": secret, secret + "x": 1})
            assert secret not in str(error) + repr(error.__cause__), expression
            assert error.__suppress_context__, expression


class TestSize:
    @pytest.mark.parametrize(
        "expression",
        [
            "(" * 2000 + "1" + ")" * 2000,
            "[" * 2000 + "]" * 2000,
            "{'a':" * 1500 + "1" + "}" * 1500,
            "x[" * 2000 + "0" + "]" * 2000,
            "not " * 2000 + "x",
            "-" * 4000 + "1",
            "1 if x else " * 600 + "1",
            "x if x else " * 150 + "1",
            "1" + " + 1" * 900,
            "x" + " | upper" * 900,
            "x" + " and x" * 900,
            "1" + " < 1" * 1500,
            "'a'" + " ~ 'a'" * 1500,
            "(" * (MAX_NESTING + 1) + "1" + ")" * (MAX_NESTING + 1),
            "x.a" * (MAX_LENGTH // 3 + 1),
            "1," * MAX_TOKENS,
            "'" + "a" * MAX_LENGTH + "'",
            "9" * 5000,
            "1" + "e9" * 3,
            "1e400",
            "1e999999999",
            "0." + "1" * 8000 + "e400",
        ],
    )
    def test_expressions_that_are_too_large_are_refused_quickly(self, expression: str) -> None:
        with quickly():
            refused(expression)

    def test_nesting_up_to_the_cap_works_deep_in_a_stack(self) -> None:
        expression = "(" * MAX_NESTING + "x" + ")" * MAX_NESTING
        assert ev(expression, x=1) == 1
        assert ev("[" * MAX_NESTING + "]" * MAX_NESTING) is not None

        def deeper(levels: int) -> Any:
            return deeper(levels - 1) if levels else ev(expression + " + 1", x=1)

        assert deeper(150) == 2

    def test_a_refusal_for_lack_of_stack_is_not_remembered(self) -> None:
        expression = "[" * (MAX_NESTING - 1) + "'not remembered'" + "]" * (MAX_NESTING - 1)
        refusals = 0

        def deeper() -> None:
            nonlocal refusals
            try:
                deeper()
            except RecursionError:
                if not refusals:
                    refusals += parse_template("{{ " + expression + " }}")[0] is None

        # Somewhere on the way back up there is stack enough to parse, but not for all of it.
        deeper()
        assert refusals == 1
        assert parse_template("{{ " + expression + " }}")[1] == []

    def test_recursion_never_escapes(self) -> None:
        deep: list[Any] = []
        other: list[Any] = []
        for _ in range(sys.getrecursionlimit() * 2):
            deep, other = [deep], [other]
        for expression in (
            "deep == other",
            "[deep] | unique",
            "'' ~ deep",
            "deep | tojson",
            "deep in [other]",
        ):
            fails(expression, deep=deep, other=other)
        assert "not JSON that can be read" in fails("t | fromjson", t="[" * 100_000).message
        value: Any = "{{ x }}"
        for _ in range(5_000):
            value = {"a": value}
        with quickly():
            assert parse_template(value)[0] is None

    def test_a_long_chain_of_members_is_read_without_recursion(self) -> None:
        assert fails("x" + "[y]" * 600, x={}, y="a").message.startswith("x[…]: x has no such member")
        assert fails("x" + ".a" * 900, x={}).message == "x.a: x has no member 'a'"

    @pytest.mark.parametrize(
        "expression",
        [
            "n * n * n * n * n * n * n * n",
            "n * -n * n * n * n * n * n * n",
            "(n * n) * (n * n) * (n * n) * (n * n) * (n * n)",
            "n + huge",
            "huge * 1",
            "-huge",
            "huge - huge - 1 - huge",
            "huge | abs",
            "[n, huge] | sum",
            "(1.7e308 | int) * (1.7e308 | int) * (1.7e308 | int) * (1.7e308 | int) * (1.7e308 | int)",
        ],
    )
    def test_whole_numbers_are_bounded(self, expression: str) -> None:
        assert fails(expression, n=10**300, huge=10**1300).reason == TOO_LARGE

    @pytest.mark.parametrize(
        "expression",
        [
            "1e308 * 10",
            "1e308 + 1e308",
            "-1e308 - 1e308",
            "[1e308, 1e308] | sum",
            "huge / 3",
            "huge * 1.5",
            "huge | float",
            "'1e999' | float",
            "'1e999' | int",
            "inf",
            "[inf]",
            "inf ~ ''",
            "nan | tojson",
            "1e308 * 10 - 1e308 * 10",
            "1.5 | round(-400)",
        ],
    )
    def test_numbers_stay_finite(self, expression: str) -> None:
        fails(expression, huge=10**1200, inf=float("inf"), nan=float("nan"))

    @pytest.mark.parametrize(
        "expression",
        [
            "'a' * 1000000000",
            "[0] * 1000000000",
            "1000000000 * 'a'",
            "'%1000000000d' % 1",
            "'%s' % x",
        ],
    )
    def test_nothing_is_repeated_or_formatted(self, expression: str) -> None:
        assert "does not work on" in fails(expression, x=1).message

    @pytest.mark.parametrize(
        "expression",
        [
            "big ~ big",
            "big + big",
            "[big, big] | join",
            "[1, 2, 3] | join(big)",
            "big | replace('a', 'bb')",
            "big | replace('a', big)",
            "many | join(long)",
            "many | map('string') | map('replace', '1', big) | join",
            "big | replace('a', '/') | urlencode",
            "('ß' ~ big[1:]) | upper ~ 'x'",
            "big | b64encode",
            "[big, big] | tojson",
            "[many, many, many] | tojson",
            "many | string | replace(',', long)",
            "{'a': big, 'b': big} | urlencode",
        ],
    )
    def test_texts_are_bounded(self, expression: str) -> None:
        error = fails(expression, big="a" * MAX_TEXT, long="b" * 20_000, many=list(range(100_000)))
        assert error.reason == TOO_LARGE

    def test_text_around_expressions_is_bounded(self) -> None:
        template, _ = parse_template("{{ x }}{{ x }}")
        assert template is not None
        with pytest.raises(ExpressionError) as caught:
            template.render({"x": "a" * 600_000})
        assert caught.value.reason == TOO_LARGE

    @pytest.mark.parametrize(
        "expression",
        [
            "[many, many, many, many, many, many, many, many, many, many, many]",
            "many + many + many + many + many + many + many + many + many + many + many",
            "[many, many, many, many, many, many] | flatten | map('string') | list",
            "[1] | batch(999999, fill=many) | first",
            "[1] | batch(999999, fill=many) | flatten | flatten",
            "many | batch(1) | map('batch', 900, fill=many)",
            "many | select('in', many)",
            "many | reject('in', many)",
            "[many] | batch(100000, fill=many) | first | map('map', 'string')",
            "[many] | batch(900000, fill=many) | first | unique",
            "[many] | batch(900000, fill=many) | first | map('sum')",
            "many | zip(many, many, many, many, many, many, many, many, many, many, many, many, many, many, many)",
            "many | map('string') | map('list') | map('map', 'map', 'map', 'map', 'upper')",
            "[many, [many, many]] | tojson | fromjson | tojson | fromjson | string | length",
        ],
    )
    def test_lists_are_bounded(self, expression: str) -> None:
        fails(expression, many=list(range(100_000)))

    @pytest.mark.parametrize(
        "expression",
        [
            "copies | select('==', other)",
            "copies | select('<=', other)",
            "copies | select('startswith', other)",
            "copies | select('endswith', other)",
            "copies | reject('in', [other])",
            "copies | select('contains', other)",
            "copies | select('in', {('a' ~ other[1:]): 1})",
            "(copies + [other]) | sort",
            "(copies + [other]) | unique",
            "(copies + [other]) | groupby(0)",
            "copies | map('replace', other, 'x')",
            "copies | map('split', other)",
            "copies | map('int', default=0)",
            "copies | map('float', default=0)",
            "copies | map('fromjson')",
            "copies | map('sha256')",
            "copies | map('trim', other)",
            "copies | map('title')",
            "copies | map('urlencode')",
            "copies | map('list')",
            "copies | map('reverse')",
            "objects | map('merge', {('a' ~ other[1:]): 1})",
            "objects | select('==', {('a' ~ other[1:]): 1})",
            "copies | map('date')",
            "copies | map('map', attribute=other)",
            "[1] | batch(400000, fill=[]) | first | map('selectattr', other[:256] | replace('a', 'a.'))",
            "[1] | batch(400000, fill=digits) | first | map('int')",
            "[1] | batch(400000, fill='2026-11-20T00:00:00Z') | first | map('date', 'Europe/Paris')",
            "[1] | batch(400000, fill=[1]) | first | map('sort') | map('first') | map('round', 3) | map('string')",
        ],
    )
    def test_work_on_shared_values_is_paid_each_time(self, expression: str) -> None:
        # The copies are one object, so they cost the attacker nothing; `other` equals them but is another object.
        big = "a" * 900_000
        other = "".join(["a"] * 900_000)
        copies = [big] * 100_000
        objects = [{big: 1}] * 100_000
        fails(expression, copies=copies, other=other, objects=objects, digits="1" * 1200)

    def test_the_budget_is_that_of_the_whole_value(self) -> None:
        many = list(range(MAX_WORK // 20))
        source = ["{{ many | select('odd') | length }}" for _ in range(30)]
        template, _ = parse_template(source)
        assert template is not None
        with pytest.raises(ExpressionError) as caught, quickly():
            template.render({"many": many})
        assert caught.value.reason == TOO_LARGE
        assert ev("many | select('odd') | length", many=many) == len(many) // 2

    def test_a_plain_path_may_be_of_any_size(self) -> None:
        many = list(range(MAX_RESULT + 1))
        assert ev("many", many=many) is many
        assert ev("many | length", many=many) == MAX_RESULT + 1
        assert ev("many[5:7]", many=many) == [5, 6]
        assert fails("many | default([])", many=many).reason == TOO_LARGE

    def test_usual_sizes_are_far_from_the_caps(self) -> None:
        rows = [{"id": i, "status": "held" if i % 3 else "done", "note": "x" * 50} for i in range(10_000)]
        with quickly():
            held = ev(
                "rows | select | selectattr('status', '==', 'held') | sort(attribute='id', reverse=true)",
                rows=rows,
            )
            assert len(held) == 6666
            assert len(ev("rows | map(attribute='note') | join(',')", rows=rows)) == 509_999
            assert len(ev("rows | groupby('status')", rows=rows)) == 2

    def test_numbers_of_rounding_are_bounded(self) -> None:
        for expression in ("5 | round(-1000000000)", "5 | round(1000000000)", "5 | round(1e9)"):
            fails(expression)

    def test_scanning_is_linear(self) -> None:
        with quickly():
            for text in ("{{ x }}" * 20_000, "{" * 200_000, "{{ '" + "\\'" * 100_000, "{{ " + "{" * 100_000):
                parse_template(text)

    def test_every_filter_refuses_every_unfitting_value_in_plain_words(self) -> None:
        values: list[Any] = [
            None,
            True,
            0,
            -1,
            1.5,
            "",
            "a",
            [],
            [None],
            [1, "a"],
            [[]],
            {},
            {"a": None},
            10**1200,
        ]
        for name in sorted(FILTERS):
            for value in values:
                for arguments in ("", "(a)", "(a, b)", "(a, b, c)"):
                    template, _ = parse_template("{{ v | " + name + arguments + " }}")
                    if template is None:
                        continue
                    for argument in values:
                        with suppress(ExpressionError):
                            result = template.render({"v": value, "a": argument, "b": 1, "c": "x"})
                            json.dumps(result, allow_nan=False)
