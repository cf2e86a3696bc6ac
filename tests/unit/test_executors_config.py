"""Configs checked against their schema: with expressions in them, and rendered."""

from __future__ import annotations

import threading
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from strataflow.executors.base import TaskContext
from strataflow.executors.config import has_expression
from strataflow.executors.entry import ExecutorEntry, make_entry
from strataflow.executors.errors import ConfigRefused, InvalidExecutor

E = "{{ inputs.x }}"
SECRET = "hunter2-secret"


class Card(BaseModel):
    number: str
    limit: int = 0


class Cash(BaseModel):
    currency: Literal["EUR", "USD"]


class Payment(BaseModel):
    amount: int = Field(gt=0)
    pay: Card | Cash | None = None
    tags: list[int] = Field(default_factory=list[int], max_length=3)
    speed: Literal["slow", "fast"] = "slow"


CARD = {
    "type": "object",
    "required": ["number"],
    "properties": {"number": {"type": "string"}, "limit": {"type": "integer"}},
    "additionalProperties": False,
}
PAYMENT_SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "additionalProperties": False,
    "properties": {
        "amount": {"type": "integer", "exclusiveMinimum": 0},
        "pay": {
            "anyOf": [
                {"$ref": "#/$defs/card"},
                {
                    "type": "object",
                    "required": ["currency"],
                    "properties": {"currency": {"enum": ["EUR", "USD"]}},
                    "additionalProperties": False,
                },
                {"type": "null"},
            ]
        },
        "tags": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        "speed": {"enum": ["slow", "fast"]},
    },
    "$defs": {"card": CARD},
}


def entry_of(config: object, *, execute: Any = None) -> ExecutorEntry:
    def nothing(_ctx: TaskContext, config: Any) -> Any:
        return config

    return make_entry("pay.send", execute or nothing, config=config)


def pointers(entry: ExecutorEntry, config: Any) -> list[str]:
    return sorted({pointer for pointer, _ in entry.config_problems(config)})


@pytest.mark.parametrize("schema", [Payment, PAYMENT_SCHEMA], ids=["model", "schema"])
@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"amount": 1}, []),
        ({"amount": 1, "pay": {"number": "7"}}, []),
        ({"amount": 1, "pay": {"currency": "EUR"}}, []),
        ({}, ["/amount"]),
        (None, ["/amount"]),
        ([], [""]),
        ("text", [""]),
        ({"amount": "x"}, ["/amount"]),
        ({"amount": 0}, ["/amount"]),
        ({"amount": 1, "a/b~c": 2}, ["/a~1b~0c"]),
        ({"amount": 1, "speed": "warp"}, ["/speed"]),
        ({"amount": 1, "tags": [1, "x"]}, ["/tags/1"]),
        ({"amount": 1, "tags": [1, 2, 3, 4]}, ["/tags"]),
        # The value of an expression is unknown: what depends on it is not reported …
        (E, []),
        ({"amount": E}, []),
        ({"amount": "text " + E}, []),
        ({"amount": 1, "pay": E}, []),
        ({"amount": 1, "tags": E}, []),
        ({"amount": 1, "tags": [1, E]}, []),
        ({"amount": 1, "speed": E}, []),
        ({"amount": 1, "pay": {"number": E}}, []),
        ({"amount": 1, "pay": {"number": "1", "limit": E}}, []),
        ({"amount": 1, "pay": {"currency": E}}, []),
        # … and what does not depend on it is.
        ({"pay": E}, ["/amount"]),
        ({"amount": E, "colour": E}, ["/colour"]),
        ({"amount": E, "tags": [E, E, E, E]}, ["/tags"]),
        ({"amount": E, "tags": [E, "x"]}, ["/tags/1"]),
    ],
)
def test_problems_of_a_definition(schema: object, config: Any, wrong: list[str]) -> None:
    assert pointers(entry_of(schema), config) == wrong


@pytest.mark.parametrize("schema", [Payment, PAYMENT_SCHEMA], ids=["model", "schema"])
def test_no_branch_of_a_union_can_fit(schema: object) -> None:
    found = pointers(entry_of(schema), {"amount": 1, "pay": {"colour": E}})
    assert found
    assert all(pointer.startswith("/pay") for pointer in found)


@pytest.mark.parametrize("schema", [Payment, PAYMENT_SCHEMA], ids=["model", "schema"])
@pytest.mark.parametrize(
    "config",
    [
        {"amount": SECRET},
        {"amount": 1, "speed": SECRET},
        {"amount": 1, "pay": {"number": 1, "limit": SECRET}},
        {"amount": 1, "pay": SECRET},
        SECRET,
    ],
)
def test_a_refusal_names_the_place_and_never_the_value(schema: object, config: Any) -> None:
    with pytest.raises(ConfigRefused) as caught:
        entry_of(schema).prepare(config)
    assert SECRET not in caught.value.message
    assert caught.value.message.startswith("the config does not fit pay.send: /")
    assert caught.value.__cause__ is None


def test_what_execute_receives() -> None:
    assert entry_of(None).prepare([1]) == [1]
    assert entry_of(None).prepare(None) is None
    assert entry_of(PAYMENT_SCHEMA).prepare({"amount": 1}) == {"amount": 1}
    assert entry_of(Payment).prepare({"amount": 1}) == Payment(amount=1)
    assert entry_of({"type": "object"}).prepare(None) == {}


def test_a_rendered_config_may_contain_braces() -> None:
    with pytest.raises(ConfigRefused, match="/amount"):
        entry_of(Payment).prepare({"amount": "{{ not evaluated"})


def test_an_unknown_key_suggests_the_one_meant() -> None:
    assert entry_of(Payment).config_problems({"amount": 1, "spede": 1}) == [
        ("/spede", "unknown key; did you mean 'speed'?")
    ]
    assert entry_of(Payment).config_problems({"amount": 1, "pay": {"number": "1", "lim": 1}}) != []


@pytest.mark.parametrize(("extra", "wrong"), [("allow", []), ("ignore", []), ("forbid", ["/colour"])])
def test_a_model_may_say_what_becomes_of_unknown_keys(extra: Any, wrong: list[str]) -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra=extra)

        amount: int = 0

    assert pointers(entry_of(Open), {"colour": 1}) == wrong


def test_validators_that_meet_an_expression_are_not_trusted() -> None:
    class Picky(BaseModel):
        when: Any = None
        note: str = ""

        @field_validator("when")
        @classmethod
        def _month(cls, value: Any) -> Any:
            return value["month"]

        @model_validator(mode="after")
        def _noted(self) -> Any:
            if not self.note.isupper():
                raise ValueError("shout")
            return self

    entry = entry_of(Picky)
    assert entry.config_problems({"when": E}) == []
    assert entry.config_problems({"note": E}) == []
    assert entry.config_problems({"note": "quiet", "when": {"month": 1}}) == [("", "Value error, shout")]
    assert entry.config_problems({"when": 1}) == [("", "the model raised TypeError")]
    with pytest.raises(ConfigRefused, match="the model raised TypeError"):
        entry.prepare({"when": 1})


@pytest.mark.parametrize(
    ("schema", "config", "wrong"),
    [
        ({"not": {"required": ["a"]}}, {"a": E}, []),
        ({"not": {"required": ["a"]}}, {"a": 1}, [""]),
        ({"uniqueItems": True}, [E, E], []),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1}, [""]),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": E, "b": 1}, []),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"c": E}, [""]),
        ({"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}}, {"a": 1}, ["/b"]),
        ({"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}}, {"a": E}, []),
        ({"properties": {"d": {"format": "date"}}}, {"d": "soon"}, ["/d"]),
        ({"properties": {"d": {"format": "date"}}}, {"d": E}, []),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"y": 1}, [""]),
        ({"required": ["a", "b"]}, {"c": E}, ["/a", "/b"]),
        ({"properties": {"a": {"type": ["string", "null"]}}}, {"a": 1}, ["/a"]),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"]}},
            {"a": 1},
            [""],
        ),
    ],
)
def test_json_schema_keywords(schema: Any, config: Any, wrong: list[str]) -> None:
    assert pointers(entry_of(schema), config) == wrong


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "nothing"}, "no JSON Schema, at /type"),
        ({"$ref": "https://example.com/schema.json"}, r"refers to 'https://example\.com"),
        ({"properties": {"a": {"$ref": "#/$defs/missing"}}}, "which it does not hold"),
        (42, "must be a pydantic model"),
    ],
)
def test_a_broken_schema_is_refused_at_registration(schema: Any, told: str) -> None:
    with pytest.raises(InvalidExecutor, match=told):
        entry_of(schema)


def test_the_schema_of_a_model_tells_that_unknown_keys_are_refused() -> None:
    schema = entry_of(Payment).config_schema
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Card"]["additionalProperties"] is False
    assert entry_of(PAYMENT_SCHEMA).config_schema == PAYMENT_SCHEMA
    assert entry_of(None).config_schema == {}


def test_a_model_that_has_no_schema_still_works() -> None:
    class Opaque(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)

        amount: int = 0
        origin: threading.Thread

    assert entry_of(Opaque).config_schema == {"type": "object"}
    assert pointers(entry_of(Opaque), {"amount": "x"}) == ["/amount", "/origin"]


class Checked:
    """An executor with a check of its own."""

    config_schema = PAYMENT_SCHEMA

    def __init__(self, verdict: Any) -> None:
        self.verdict = verdict
        self.seen: list[Any] = []

    def execute(self, _ctx: TaskContext, config: Any) -> Any:
        return config

    def validate_config(self, config: Any) -> Any:
        self.seen.append(config)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (None, []),
        (True, []),
        ([], []),
        ("", []),
        (False, ["refused by validate_config"]),
        ("too much", ["too much"]),
        (["too much", "too late"], ["too much", "too late"]),
        (ValueError("too odd"), ["too odd"]),
        (KeyError(), ["validate_config itself failed: KeyError"]),
        (AttributeError("no 'get'"), ["validate_config itself failed: AttributeError: no 'get'"]),
        (3, ["validate_config must return None, a bool or texts, not int"]),
    ],
)
def test_validate_config_is_called_in_the_definition_and_before_the_attempt(
    verdict: Any, told: list[str]
) -> None:
    entry = entry_of(None, execute=Checked(verdict))
    assert [message for _, message in entry.config_problems({"amount": 1})] == told
    if told:
        with pytest.raises(ConfigRefused, match=told[0]):
            entry.prepare({"amount": 1})
    else:
        assert entry.prepare({"amount": 1}) == {"amount": 1}


def test_validate_config_sees_only_configs_that_fit_and_are_complete() -> None:
    executor = Checked(None)
    entry = entry_of(None, execute=executor)
    entry.config_problems({"amount": E})
    entry.config_problems({"amount": "x"})
    assert executor.seen == []
    entry.config_problems({"amount": 2})
    assert executor.seen == [{"amount": 2}]


def test_expressions_are_found_in_values_not_in_keys() -> None:
    assert has_expression({"a": [{"b": E}]})
    assert not has_expression({E: ["a", 1, None]})
