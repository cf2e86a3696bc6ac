"""Filters and tests one by one: arguments, edges, and what they say of values that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow.engine.errors import ExpressionError
from strataflow.engine.expressions import parse_template

ROWS = [
    {"id": 1, "name": "b", "owner": {"name": "x"}, "tags": ["p", "q"]},
    {"id": 2, "name": "a", "owner": {"name": "y"}, "tags": []},
    {"id": 3, "name": "b", "owner": None, "tags": ["p"]},
]


def ev(expression: str, **roots: Any) -> Any:
    template, problems = parse_template("{{ " + expression + " }}")
    assert problems == []
    assert template is not None
    return template.render({"rows": ROWS, "big": 2**70} | roots)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("-1.5 | abs", 1.5),
        ("(-1.5) | abs", 1.5),
        ("[1, 2, 3] | batch(2)", [[1, 2], [3]]),
        ("[] | batch(2, fill=0)", []),
        ("[1, 2] | batch(2, fill=0)", [[1, 2]]),
        ("[1] | batch(3, fill=null)", [[1, None, None]]),
        ("'2026-11-20' | date", "2026-11-20"),
        ("'2026-11-20T23:30:00Z' | date", "2026-11-20"),
        ("'2026-11-20T00:30:00+01:00' | date", "2026-11-20"),
        ("'2026-11-20T00:30:00+01:00' | date('UTC')", "2026-11-19"),
        ("'abc' | first", "a"),
        ("'abc' | last", "c"),
        ("[1, [2, [3, [4]]]] | flatten(levels=9)", [1, 2, 3, 4]),
        ("[1, 2] | flatten(5)", [1, 2]),
        ("big | float", float(2**70)),
        ("' 1.5e2 ' | float", 150.0),
        ("'x' | float(default=0)", 0),
        ("null | float(1.5)", 1.5),
        ("[] | fromitems", {}),
        ("{'a': 1, 'b': 2} | items | rejectattr('value', '==', 1) | fromitems", {"b": 2}),
        ("'{\"a\": [1.0, 12345678901234567890123]}' | fromjson", {"a": [1.0, 12345678901234567890123]}),
        ("rows | groupby('owner.name', default='-') | map(attribute='key')", ["x", "y", "-"]),
        ("rows | groupby('name') | map(attribute='items') | map('length')", [2, 1]),
        ("rows | groupby('tags') | length", 3),
        ("rows | groupby('owner') | length", 3),
        ("2.9 | int", 2),
        ("-2.9 | int", -2),
        ("'-2.9' | int", -2),
        ("' 12 ' | int", 12),
        ("'1e3' | int", 1000),
        ("'x' | int(0)", 0),
        ("'1_000' | int(default=null)", None),
        ("'٣' | int(-1)", -1),
        ("[1, null, 'x'] | join('-')", "1-null-x"),
        ("rows | join(',', attribute='name')", "b,a,b"),
        ("[] | join(',')", ""),
        ("{'b': 1, 'a': 2} | keys", ["b", "a"]),
        ("{} | length", 0),
        ("'a b' | list", ["a", " ", "b"]),
        ("[1, 2] | limit(0)", []),
        ("[1, 2] | limit(5)", [1, 2]),
        ("rows | map(attribute='owner.name', default='-')", ["x", "y", "-"]),
        ("rows | map(attribute='tags.0', default=null)", ["p", None, "p"]),
        ("[[1, 2], [3]] | map(attribute=0)", [1, 3]),
        ("['1', 'x'] | map('int', default=0)", [1, 0]),
        ("['a', 'b'] | map('replace', 'a', 'x')", ["x", "b"]),
        ("[[3, 1], [2]] | map('sort') | map('first')", [1, 2]),
        (
            "rows | max(attribute='name') | string",
            '{"id":1,"name":"b","owner":{"name":"x"},"tags":["p","q"]}',
        ),
        ("['b', 'a'] | min", "a"),
        ("{'a': 1} | merge", {"a": 1}),
        ("{'a': 1} | merge({'b': 2}, {'a': 3})", {"a": 3, "b": 2}),
        ("[0, 1, '', 'a', [], [0], {}, null, true, false] | select", [1, "a", [0], True]),
        ("[0, 1, '', null] | reject", [0, "", None]),
        ("[1, 2, 3] | select('in', [1, 3])", [1, 3]),
        ("rows | selectattr('owner') | length", 2),
        ("rows | selectattr('owner.name', 'undefined') | map(attribute='id')", [3]),
        ("rows | selectattr('tags', 'contains', 'q') | map(attribute='id')", [1]),
        ("rows | rejectattr('tags') | map(attribute='id')", [2]),
        ("'aXa' | replace('a', 'b', 1)", "bXa"),
        ("'abc' | replace('x', 'y')", "abc"),
        ("'abc' | reverse", "cba"),
        ("5 | round(2)", 5),
        ("25 | round(-1)", 20),
        ("25 | round(-1, 'ceil')", 30),
        ("25 | round(1, 'ceil')", 25),
        ("2.5 | round", 2.0),
        ("2.1 | round(method='ceil')", 3.0),
        ("2.5 | round | int", 2),
        ("[] | sort", []),
        ("[2, 1.5, 3] | sort(reverse=true)", [3, 2, 1.5]),
        ("['b', 'B', 'a'] | sort", ["B", "a", "b"]),
        ("rows | sort(attribute='name') | map(attribute='id')", [2, 1, 3]),
        ("rows | sort(true, 'name') | map(attribute='id')", [1, 3, 2]),
        ("' a  b ' | split", ["a", "b"]),
        ("'a,b,c' | split(',', 1)", ["a", "b,c"]),
        ("'' | split(',')", [""]),
        ("'x' | string", "x"),
        ("null | string", "null"),
        ("2.0 | string", "2.0"),
        ("[] | sum", 0),
        ("[1, 2.5] | sum(start=1)", 4.5),
        ("'they\\'re a-b (c)' | title", "They're A-B (C)"),
        ("{'a': 'ü\\n', 'b': [1.0, null]} | tojson", '{"a":"ü\\n","b":[1.0,null]}'),
        ("'xaxx' | trim('x')", "a"),
        ("[{'a': 1}, {'a': 1.0}, [1], [true], 1, true, '1'] | unique", [{"a": 1}, [1], [True], 1, True, "1"]),
        ("rows | unique(attribute='name') | map(attribute='id')", [1, 2]),
        ("'a b/ü' | urlencode", "a%20b%2F%C3%BC"),
        ("12 | urlencode", "12"),
        ("[1, 2, 3] | zip('ab' | list, [true, false])", [[1, "a", True], [2, "b", False]]),
        ("1.5 is even", False),
        ("3 is odd", True),
        ("-3 is odd", True),
        ("'' is none", False),
        ("'b' is in 'abc'", True),
        ("1 is in([2])", False),
    ],
)
def test_values(expression: str, expected: Any) -> None:
    result = ev(expression)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'x' | abs", "`abs`: needs a number, not text"),
        ("true | abs", "`abs`: needs a number, not true/false"),
        ("1 | upper", "`upper`: needs text, not a number"),
        ("1 | split", "`split`: needs text, not a number"),
        ("'a' | split('')", "`split`: the separator is empty"),
        ("'a' | replace('', 'b')", "`replace`: the text to replace is empty"),
        ("'a' | replace('a', 'b', 1.0)", "`replace`: count is a whole number, not a fraction"),
        ("[1] | batch(0)", "`batch`: the size is a number from 1 to 1,000,000"),
        ("[1] | batch('2')", "`batch`: the size is a whole number, not text"),
        ("[1] | limit(-1)", "`limit`: the count is a number from 0"),
        ("'abc' | limit(1)", "`limit`: needs a list, not text"),
        ("{} | list", "`list`: needs a list, not an object; use `| items`, `| keys` or `| values` first"),
        ("null | length", "`length`: needs a list, an object or text, not null"),
        ("1 | first", "`first`: needs a list or text, not a number"),
        ("[] | first", "first: the value is empty"),
        ("[] | min", "min: the value is empty"),
        ("[[], [1]] | map('first')", "`map`: first: the value is empty"),
        ("[] | keys", "`keys`: needs an object, not a list"),
        ("{} | merge([])", "`merge`: needs an object, not a list"),
        ("[1] | fromitems", "`fromitems`: needs a list of objects with the members key and value"),
        ("[{'key': 1, 'value': 2}] | fromitems", "`fromitems`: a key is text, not a number"),
        ("[1, 'a'] | sort", "`sort`: a number and text have no order"),
        ("[null] | sort", "`sort`: null and null have no order"),
        ("[1, 'a'] | sum", "`sum`: adds numbers, not text"),
        ("[[1]] | sum(start=[])", "`sum`: adds numbers, not a list"),
        ("[null] | sum", "`sum`: `+` does not work on a number and null"),
        ("rows | map", "`map`: needs the name of a filter, or attribute="),
        ("rows | map(attribute='')", "`map`: the attribute is the name of a member"),
        ("rows | map(attribute=true)", "`map`: the attribute is the name of a member"),
        ("rows | map('length', attribute='id')", "`map`: takes the name of a filter or attribute=, not both"),
        ("rows | map('no' ~ 'such')", "`map`: needs the name of a filter, or attribute="),
        ("rows | select('no' ~ 'such')", "`select`: needs the name of a test"),
        ("rows | select('in' ~ '')", "`select`: the values do not fit the operation"),
        (
            "rows | map(attribute='owner.name')",
            "`map`: item[2].owner.name: owner is null and has no member 'name'",
        ),
        ("1 | round(31)", "`round`: precision is a number from -30 to 30"),
        ("1 | round(0, 'up')", "`round`: the method is 'common', 'ceil' or 'floor'"),
        ("'x' | int", "`int`: the text is no number"),
        ("[] | int", "`int`: cannot make a number of a list"),
        ("true | float", "`float`: cannot make a number of true/false"),
        ("'1e400' | float", "`float`: the result is not a finite number"),
        ("'today' | date", "`date`: the text is no ISO date or instant"),
        ("1 | date", "`date`: needs text, not a number"),
        ("'2026-11-20' | date('UTC')", "`date`: the instant has no offset"),
        ("'2026-11-20T00:00:00Z' | date('Mars/Base')", "`date`: there is no such time zone"),
        ("'2026-11-20T00:00:00Z' | date('../../etc/passwd')", "`date`: there is no such time zone"),
        ("'2026-11-20T00:00:00Z' | date('/etc/passwd')", "`date`: there is no such time zone"),
        ("'2026-11-20T00:00:00Z' | date('Europe')", "`date`: there is no such time zone"),
        ("'0001-01-01T00:00:00Z' | date('America/New_York')", "`date`: "),
        ("'{' | fromjson", "`fromjson`: the text is not JSON that can be read"),
        ("'[NaN]' | fromjson", "`fromjson`: the text is not JSON that can be read"),
        ("'\"\\\\ud800\"' | fromjson", "`fromjson`: the text is not JSON that can be read"),
        ("1 | fromjson", "`fromjson`: needs text, not a number"),
        ("'%' | b64decode", "`b64decode`: the text is not base64 of UTF-8 text"),
        ("'/w==' | b64decode", "`b64decode`: the text is not base64 of UTF-8 text"),
        ("'a' is even", "`even`: only numbers can be divided, not text"),
        ("1 is divisibleby(0)", "division by zero"),
        ("1 is startswith('a')", "`startswith`: only text begins or ends with text, not a number"),
        ("1 is in 2", "`in`: `in` needs a list"),
        ("rows[1, 2]", "not by a list"),
        ("+'a'", "`+` does not work on text"),
        ("{'a': 1} | zip", "`zip`: needs a list, not an object"),
        ("1 | tojson(2)", "does not take"),
    ],
)
def test_what_does_not_fit_is_said_in_plain_words(expression: str, message: str) -> None:
    template, problems = parse_template("{{ " + expression + " }}")
    if template is None:
        assert message in problems[0].message
        return
    with pytest.raises(ExpressionError) as caught:
        template.render({"rows": ROWS})
    assert message in caught.value.message
    assert caught.value.position is not None


def test_lists_of_the_data_are_never_changed() -> None:
    before = repr(ROWS)
    for call in (
        "sort(attribute='id', reverse=true)",
        "reverse",
        "batch(2, fill=1)",
        "unique(attribute='id')",
        "list",
    ):
        ev(f"rows | {call}")
    assert repr(ROWS) == before


def test_a_template_shows_its_source() -> None:
    template, _ = parse_template("{{ a }}")
    assert repr(template) == "Template('{{ a }}')"
