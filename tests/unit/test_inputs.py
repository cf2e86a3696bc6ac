"""Inputs against the definition's schema: defaults, formats, refusals; and the schemas that are refused themselves."""

from __future__ import annotations

import copy
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strataflow.engine.errors import InputError, Problem
from strataflow.engine.input_formats import FORMATS, matches, pattern_problem
from strataflow.engine.input_schema import check_input_schema
from strataflow.engine.inputs import InputSchema, prepare_inputs
from strataflow.engine.parser import parse_definition
from strataflow.engine.validator import validate

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["day"],
    "properties": {
        "day": {"type": "string", "format": "date"},
        "currency": {"type": "string", "default": "EUR"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10},
        "options": {"type": "object", "properties": {"depth": {"default": 3}, "tags": {"default": []}}},
        "mail": {"default": {}, "properties": {"to": {"format": "email", "default": "ops@example.com"}}},
        "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}, "maxItems": 3},
        "kind": {"enum": ["a", "b"]},
    },
    "$defs": {"row": {"properties": {"n": {"type": "integer", "default": 1}}, "additionalProperties": False}},
}


def problems_of(schema: Any, inputs: Any) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        prepare_inputs(schema, inputs)
    return list(caught.value.problems)


# --- what is accepted


def test_defaults_are_filled_in_also_inside() -> None:
    inputs = {"day": "2026-01-02", "options": {"depth": 5}, "rows": [{}, {"n": 7}]}
    before = copy.deepcopy(inputs)
    assert prepare_inputs(SCHEMA, inputs) == {
        "day": "2026-01-02",
        "options": {"depth": 5, "tags": []},
        "rows": [{"n": 1}, {"n": 7}],
        "currency": "EUR",
        "mail": {"to": "ops@example.com"},
    }
    assert inputs == before


def test_a_default_is_never_shared_between_starts() -> None:
    schema = InputSchema({"properties": {"tags": {"default": []}}})
    first = schema.prepare({})
    first["tags"].append("x")
    assert schema.prepare({}) == {"tags": []}


def test_an_absent_object_without_a_default_stays_absent() -> None:
    assert "options" not in prepare_inputs(SCHEMA, {"day": "2026-01-02"})


def test_defaults_come_through_references_and_all_of_but_not_through_choices() -> None:
    schema = {
        "$ref": "#/$defs/base",
        "allOf": [{"properties": {"b": {"default": 2}}}],
        "anyOf": [{"properties": {"c": {"default": 3}}}],
        "properties": {"d": {"$ref": "#/$defs/four"}},
        "$defs": {"base": {"properties": {"a": {"default": 1}}}, "four": {"default": 4}},
    }
    assert prepare_inputs(schema, {}) == {"a": 1, "b": 2, "d": 4}


@pytest.mark.parametrize("inputs", [{}, None])
def test_a_definition_without_a_schema_takes_no_inputs(inputs: Any) -> None:
    assert prepare_inputs(None, inputs) == {}
    (problem,) = problems_of(None, {"x": 1})
    assert (problem.pointer, problem.code, problem.hint) == (
        "/x",
        "unknown_input",
        "this workflow takes no inputs",
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"additionalProperties": True},
        {"additionalProperties": {"type": "integer"}},
        {"patternProperties": {"^x": {"type": "integer"}}},
    ],
)
def test_undeclared_inputs_are_accepted_where_the_schema_says_so(schema: dict[str, Any]) -> None:
    assert prepare_inputs(schema, {"x": 1}) == {"x": 1}


def test_big_integers_and_floats_stay_exact() -> None:
    inputs = {"a": 2**70, "b": 1e16, "c": -0.0}
    prepared = prepare_inputs({"additionalProperties": True}, inputs)
    assert repr(prepared) == repr(inputs)


# --- what is refused


@pytest.mark.parametrize(
    ("change", "pointer", "code", "words"),
    [
        ({"day": None}, "/day", "wrong_type", "of type string, not null"),
        ({"day": "2026-02-30"}, "/day", "bad_format", "is no valid date: '2026-02-30'"),
        ({"limit": "5"}, "/limit", "wrong_type", "of type integer, not text"),
        ({"limit": True}, "/limit", "wrong_type", "not a boolean"),
        ({"limit": 0}, "/limit", "bad_value", "at least 1, not 0"),
        ({"limit": 11}, "/limit", "bad_value", "at most 10, not 11"),
        ({"kind": "c"}, "/kind", "bad_value", "one of 'a', 'b', not 'c'"),
        ({"rows": [{}] * 4}, "/rows", "bad_value", "at most 3 entries"),
        ({"rows": [{}, {"n": "x"}]}, "/rows/1/n", "wrong_type", "'n' must be of type integer"),
        ({"rows": [{"m": 1}]}, "/rows/0/m", "unknown_input", "no input 'm'"),
        ({"rows": 5}, "/rows", "wrong_type", "of type array"),
        ({"mail": {"to": "nobody"}}, "/mail/to", "bad_format", "no valid email"),
        ({"curency": "USD"}, "/curency", "unknown_input", "no input 'curency'"),
        ({"a/b~c": 1}, "/a~1b~0c", "unknown_input", "'a/b~c'"),
    ],
)
def test_each_misfit_is_named(change: dict[str, Any], pointer: str, code: str, words: str) -> None:
    (problem,) = problems_of(SCHEMA, {"day": "2026-01-02", **change})
    assert (problem.pointer, problem.code) == (pointer, code)
    assert words in problem.message


def test_all_misfits_come_at_once() -> None:
    found = {
        (problem.pointer, problem.code)
        for problem in problems_of(SCHEMA, {"limit": 0, "dya": 1, "kind": "x"})
    }
    assert found == {
        ("/dya", "unknown_input"),
        ("/day", "missing_input"),
        ("/limit", "bad_value"),
        ("/kind", "bad_value"),
    }


def test_an_unknown_input_comes_with_what_was_meant() -> None:
    (problem,) = problems_of(SCHEMA, {"day": "2026-01-02", "curency": "USD"})
    assert problem.hint == "did you mean 'currency'?"


def test_a_closed_schema_reports_an_unknown_input_once() -> None:
    assert [problem.pointer for problem in problems_of({"additionalProperties": False}, {"x": 1})] == ["/x"]


@pytest.mark.parametrize(
    ("inputs", "pointer", "code"),
    [
        ([], "", "wrong_type"),
        ("text", "", "wrong_type"),
        ({"x": {1}}, "/x", "not_json"),
        ({"x": float("nan")}, "/x", "not_json"),
        ({1: 2}, "", "not_json"),
    ],
)
def test_inputs_are_a_json_object(inputs: Any, pointer: str, code: str) -> None:
    (problem,) = problems_of({"additionalProperties": True}, inputs)
    assert (problem.pointer, problem.code) == (pointer, code)


def test_a_long_value_is_not_repeated_in_full() -> None:
    (problem,) = problems_of({"properties": {"x": {"maxLength": 5}}}, {"x": "y" * 10_000})
    assert len(problem.message) < 200


# --- schemas that are refused at validation


@pytest.mark.parametrize(
    ("schema", "pointer", "words"),
    [
        ({"type": "array"}, "/type", "inputs are an object"),
        ({"properties": {"a": {"type": "strng"}}}, "/properties/a/type", "not JSON Schema"),
        ({"required": "day"}, "/required", "not JSON Schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "2020-12"),
        ({"properties": {"a": {"$ref": "https://example.com/x.json"}}}, "/properties/a/$ref", "leads nowhere"),
        ({"properties": {"a": {"$ref": "../other.json"}}}, "/properties/a/$ref", "leads nowhere"),
        ({"properties": {"a": {"$ref": "#/$defs/nope"}}}, "/properties/a/$ref", "leads nowhere"),
        ({"allOf": [{"$dynamicRef": "#x"}]}, "/allOf/0/$dynamicRef", "is not read here"),
        ({"$id": "https://example.com/"}, "/$id", "is not read here"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "/properties/a/pattern", "look-around"),
        ({"properties": {"a": {"pattern": "(a"}}}, "/properties/a/pattern", "unclosed group"),
        ({"patternProperties": {"(a)\\1": {}}}, "/patternProperties/(a)\\1", "backreferences"),
        ({"unevaluatedProperties": False}, "/unevaluatedProperties", "is not read here"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "/properties/a/default", "does not fit"),
        (
            {"properties": {"a": {"default": {"b": 1}, "properties": {"b": {"type": "string"}}}}},
            "/properties/a/default/b",
            "does not fit",
        ),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "/$ref", "leads back to itself"),
    ],
)  # fmt: skip
def test_bad_schemas_are_problems_of_the_definition(schema: dict[str, Any], pointer: str, words: str) -> None:
    source = {"dsl": "1", "name": "t", "inputs": schema, "nodes": {"a": {"run": "core.noop"}}}
    problem = validate(parse_definition(source))[0]
    assert (problem.pointer, problem.code) == ("/inputs" + pointer, "bad_inputs_schema")
    assert words in problem.message


def test_a_format_that_nobody_checks_is_a_warning() -> None:
    (problem,) = check_input_schema({"properties": {"a": {"format": "colour"}}})
    assert problem.severity == "warning"


def test_properties_may_be_called_like_keywords() -> None:
    names = ["pattern", "$ref", "$id", "format", "default", "type", "properties", "unevaluatedProperties"]
    assert check_input_schema({"properties": {name: {"type": "string"} for name in names}}) == []


def test_a_schema_that_refers_to_its_members_is_fine() -> None:
    schema = {
        "properties": {"tree": {"$ref": "#/$defs/t"}},
        "$defs": {"t": {"properties": {"left": {"$ref": "#/$defs/t"}}}},
    }
    assert check_input_schema(schema) == []
    assert prepare_inputs(schema, {"tree": {"left": {"left": {}}}})


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the network was touched")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}
    assert check_input_schema(schema)
    with pytest.raises(Exception, match="Unresolvable"):
        prepare_inputs(schema, {"a": 1})


# --- patterns and formats


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*a){20}$"])
def test_patterns_run_in_linear_time(pattern: str) -> None:
    schema = {
        "properties": {"x": {"pattern": pattern}},
        "patternProperties": {pattern: {}},
        "additionalProperties": {},
    }
    text = "a" * 20_000 + "!"
    start = time.process_time()
    assert problems_of(schema, {"x": text, text: 1})
    assert time.process_time() - start < 5


def test_a_pattern_is_searched_for() -> None:
    assert matches("b+", "abc")
    assert not matches("^b", "abc")
    assert pattern_problem("^[a-z]+(\\.[a-z]+)*$") is None


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", ["2026-01-31", "2024-02-29"], ["2026-02-29", "20260131", "2026-1-1", "2026-W01-1", "٢٠٢٦-01-01"]),
        (
            "date-time",
            ["2026-01-02T03:04:05Z", "2026-01-02t03:04:05.123+02:00", "1990-12-31T23:59:60Z"],
            ["2026-01-02", "2026-01-02T03:04:05", "2026-01-02 03:04:05Z", "2026-01-02T25:00:00Z", "x"],
        ),
        ("time", ["03:04:05Z", "03:04:05.5-01:00"], ["03:04:05", "24:00:00Z", "03:04Z"]),
        ("duration", ["P1D", "PT5M", "P1Y2M3DT4H", "P2W", "PT0.5S"], ["P", "PT", "5m", "P1DT", ""]),
        ("email", ["a@b.example", "a.b+c@example"], ["a", "@b", "a@", "a b@c", "a@b@c", "a..b@c", "a@-b"]),
        ("hostname", ["example.com", "a", "xn--bcher-kva.example"], ["-a", "a_b", "a..b", "", "a" * 64]),
        ("ipv4", ["127.0.0.1"], ["127.0.0", "256.1.1.1", "01.1.1.1", "::1"]),
        ("ipv6", ["::1", "2001:db8::1"], ["127.0.0.1", ":::"]),
        ("uri", ["https://x.example/a?b#c", "urn:x:y", "mailto:a@b"], ["x", "h://a b", "//x", "http://[::1", "%zz:"]),
        ("uri-reference", ["../a", "", "#x", "https://example.com"], ["a b", "%zz", "\\"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000", "x"]),
        ("json-pointer", ["", "/a/~0~1"], ["a", "/~2"]),
        ("regex", ["^a+$"], ["(", "(?=a)"]),
    ],
)  # fmt: skip
def test_formats(name: str, good: list[str], bad: list[str]) -> None:
    fits = FORMATS[name]
    assert [text for text in good if not fits(text)] == []
    assert [text for text in bad if fits(text)] == []
    assert set(FORMATS) >= {name}


def test_a_format_looks_at_text_only() -> None:
    assert prepare_inputs({"properties": {"x": {"format": "date"}}}, {"x": 5}) == {"x": 5}


@settings(max_examples=200)
@given(st.sampled_from(sorted(FORMATS)), st.text(max_size=30))
def test_formats_never_raise(name: str, text: str) -> None:
    assert FORMATS[name](text) in (True, False)


_LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "object"]),
        "default": st.integers() | st.text(max_size=3),
    },
)
_SCHEMAS = st.recursive(
    st.booleans() | _LEAVES,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "items": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "additionalProperties": inner,
            "$ref": st.sampled_from(["#", "#/properties/a", "#/properties/b"]),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        },
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    _SCHEMAS,
    st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers() | st.text(max_size=3) | st.just({})),
)
def test_a_schema_that_validates_prepares_or_refuses(schema: Any, inputs: dict[str, Any]) -> None:
    if not isinstance(schema, dict) or any(found.severity == "error" for found in check_input_schema(schema)):
        return
    try:
        prepared = prepare_inputs(schema, inputs)
    except InputError:
        return
    assert set(prepared) >= set(inputs)
