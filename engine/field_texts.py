"""Types of the definition's texts: names, patterns, messages, and what every single field's check needs.

The leaf below `fields`. `{{` is refused wherever no expression is evaluated (DSL rule 12), so that nobody waits for a
value that never comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, LiteralString

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = [
    "COMPUTED_SCHEMA",
    "CounterKey",
    "CounterName",
    "ErrorCode",
    "ErrorPattern",
    "ExecutorName",
    "FlowName",
    "KeyText",
    "LabelName",
    "Message",
    "PlainName",
    "PlainText",
    "SignalName",
    "WorkflowName",
    "computed",
    "fail",
    "kind_of",
    "pattern_schema",
    "plain_text",
]

_MARK: Final = "{{"
_KINDS: Final[Mapping[type, str]] = {
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
}
_FLOW: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}(@[1-9][0-9]{0,8})?$"
_SIGNAL: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}$"
_LABEL: Final = r"^[A-Za-z0-9_.-]{1,63}$"
_CODE: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
_EXECUTOR: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$"
_WORKFLOW: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$"
_PATTERN: Final = r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$"
_COUNTER: Final = r"^[A-Za-z0-9_.-]{1,63}$"
#: Characters of a constant key or mutex; what an expression gives is measured by the engine.
_LONGEST_KEY: Final = 512
#: A string that holds an expression.
COMPUTED_SCHEMA: Final = {"type": "string", "pattern": r"\{\{"}


def kind_of(value: object) -> str:
    """A JSON value's kind in words: `text`, `a number`, `an object` and so on."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def computed(value: Any) -> bool:
    """Whether it is text with an expression in it."""
    return isinstance(value, str) and _MARK in value


def fail(code: LiteralString, message: str, hint: str = "") -> PydanticCustomError:
    """The error of a field, with our own code."""
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


def plain_text(value: Any) -> str:
    """Check text in which no expression is evaluated."""
    if not isinstance(value, str):
        raise fail("wrong_type", f"must be text, not {kind_of(value)}")
    if _MARK in value:
        raise fail(
            "expression_not_allowed",
            "no expression is evaluated here",
            "expressions are allowed in with, when, map, key, mutex, concurrency, loop, switch, wait, set, output "
            "and fail",
        )
    return value


def _matching(pattern: str, code: LiteralString, wanted: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text = plain_text(value)
        if not re.match(pattern, text) or text.endswith("\n"):
            raise fail(code, f"{text!r} is no {wanted}")
        return text

    return check


def _key_text(value: Any) -> str:
    if not isinstance(value, str):
        raise fail("wrong_type", f"must be text, not {kind_of(value)}")
    if not value:
        raise fail("bad_value", "must not be empty", "write e.g. '{{ inputs.id }}'")
    return value


def _counter_key(value: Any) -> str:
    text = _key_text(value)
    if not computed(text) and (len(text) > _LONGEST_KEY or "\x00" in text):
        raise fail("bad_value", f"must have at most {_LONGEST_KEY} characters and no NUL")
    return text


def _error_code(value: Any) -> str:
    return (
        value
        if computed(value)
        else _matching(_CODE, "bad_value", "error code: write e.g. 'shop.NoStock'")(value)
    )


def _any_text(value: Any) -> str:
    if not isinstance(value, str):
        raise fail("wrong_type", f"must be text, not {kind_of(value)}")
    return value


def pattern_schema(pattern: str) -> WithJsonSchema:
    """For editors: text of this pattern."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


PlainText = Annotated[
    str, BeforeValidator(plain_text), WithJsonSchema({"type": "string", "not": {"pattern": r"\{\{"}})
]
#: A name that the validator checks by rule 1.
PlainName = Annotated[str, BeforeValidator(plain_text)]
WorkflowName = Annotated[
    str,
    BeforeValidator(
        _matching(_WORKFLOW, "bad_name", "workflow name: use letters, digits, '_', '.' and '-', at most 200")
    ),
    pattern_schema(_WORKFLOW),
]
ExecutorName = Annotated[
    str,
    BeforeValidator(_matching(_EXECUTOR, "bad_name", "executor name: write 'domain.name', e.g. 'core.log'")),
    pattern_schema(_EXECUTOR),
]
ErrorPattern = Annotated[
    str,
    BeforeValidator(
        _matching(_PATTERN, "bad_value", "error pattern: write e.g. 'bank.Declined', 'bank.*' or '*'")
    ),
    pattern_schema(_PATTERN),
]
KeyText = Annotated[
    str | None, BeforeValidator(_key_text), WithJsonSchema({"type": "string", "minLength": 1})
]
#: A key or a mutex of `limits`.
CounterKey = Annotated[str, BeforeValidator(_counter_key), WithJsonSchema({"type": "string", "minLength": 1})]
CounterName = Annotated[
    str,
    BeforeValidator(
        _matching(
            _COUNTER, "bad_name", "name of a group or pool: use letters, digits, '_', '.' and '-', at most 63"
        )
    ),
    pattern_schema(_COUNTER),
]
FlowName = Annotated[
    str,
    BeforeValidator(
        _matching(_FLOW, "bad_name", "name of a definition: write 'name', or 'name@3' for one version")
    ),
    pattern_schema(_FLOW),
]
SignalName = Annotated[
    str | None,
    BeforeValidator(
        _matching(_SIGNAL, "bad_name", "signal name: use letters, digits, '_', '.', ':' and '-', at most 200")
    ),
    pattern_schema(_SIGNAL),
]
LabelName = Annotated[
    str,
    BeforeValidator(
        _matching(_LABEL, "bad_name", "label: use letters, digits, '_', '.' and '-', at most 63")
    ),
    pattern_schema(_LABEL),
]
ErrorCode = Annotated[
    str,
    BeforeValidator(_error_code),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _CODE}, COMPUTED_SCHEMA]}),
]
#: Text that may hold expressions.
Message = Annotated[str, BeforeValidator(_any_text), WithJsonSchema({"type": "string"})]
