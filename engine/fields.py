"""Types of the definition's single fields: what one value may be, and the problem it makes otherwise.

Each is a pydantic type whose errors carry our own code, message and hint. `{{` is refused wherever no
expression is evaluated (DSL rule 12), so that nobody waits for a value that never comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, LiteralString, cast

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from .durations import parse_duration

__all__ = [
    "Concurrency",
    "Condition",
    "Delay",
    "ErrorCode",
    "ErrorPattern",
    "ExecutorName",
    "FlowInputs",
    "FlowName",
    "Instant",
    "ItemKey",
    "ItemSource",
    "JoinNeed",
    "KeyText",
    "LabelName",
    "Message",
    "PlainName",
    "PlainText",
    "Priority",
    "QueueName",
    "Share",
    "SignalName",
    "Timeout",
    "Times",
    "Turns",
    "WaitTime",
    "WorkflowName",
    "Yes",
    "kind_of",
    "percent_of",
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
_JOINS: Final = ("all", "any", "first", "majority", "none")
_FLOW: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}(@[1-9][0-9]{0,8})?$"
_SIGNAL: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}$"
_LABEL: Final = r"^[A-Za-z0-9_.-]{1,63}$"
_CODE: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
_EXECUTOR: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$"
_QUEUE: Final = r"^[A-Za-z0-9_.-]{1,63}$"
_WORKFLOW: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$"
_PATTERN: Final = r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$"
_PERCENT: Final = r"^\d{1,3}(\.\d{1,6})?%$"
_DURATION: Final = r"^([0-9]+(ms|s|m|h|d))+$|^P"
_EXPRESSION: Final = r"^\{\{[\s\S]*\}\}$"
_PRIORITY_BOUND: Final = 1_000_000
_COUNT_BOUND: Final = 1_000_000_000


def kind_of(value: object) -> str:
    """A JSON value's kind in words: `text`, `a number`, `an object` and so on."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def percent_of(value: object) -> float | None:
    """12.5 of the text "12.5%"; None for anything else."""
    return float(value[:-1]) if isinstance(value, str) and re.match(_PERCENT, value) else None


def _fail(code: LiteralString, message: str, hint: str = "") -> PydanticCustomError:
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _fail("wrong_type", f"must be text, not {kind_of(value)}")
    if _MARK in value:
        raise _fail(
            "expression_not_allowed",
            "no expression is evaluated here",
            "expressions are allowed in with, when, map, key, concurrency, loop, switch, wait, set, output, fail",
        )
    return value


def _matching(pattern: str, code: LiteralString, wanted: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text = _text(value)
        if not re.match(pattern, text) or text.endswith("\n"):
            raise _fail(code, f"{text!r} is no {wanted}")
        return text

    return check


def _constant(value: Any, field: str) -> Any:
    if isinstance(value, str) and _MARK in value:
        raise _fail(
            "not_supported",
            f"an expression in {field!r} is not built in this version",
            "write a constant value",
        )
    return value


def _queue(value: Any) -> str:
    text = _text(_constant(value, "queue"))
    if not re.match(_QUEUE, text):
        raise _fail(
            "bad_name", f"{text!r} is no queue name", "use letters, digits, '_', '.' and '-', at most 63"
        )
    return text


def _priority(value: Any) -> int:
    _constant(value, "priority")
    if not isinstance(value, int) or isinstance(value, bool):
        raise _fail("wrong_type", f"must be a whole number, not {kind_of(value)}")
    if abs(value) > _PRIORITY_BOUND:
        raise _fail("bad_value", f"must be between {-_PRIORITY_BOUND} and {_PRIORITY_BOUND}")
    return value


def _duration(value: Any) -> str:
    if isinstance(value, str):
        _text(value)
    try:
        parse_duration(value)
    except ValueError as error:
        raise _fail("bad_duration", str(error)) from None
    return value


def _timeout(value: Any) -> str:
    if parse_duration(_duration(value)) == 0:
        raise _fail("bad_duration", f"{value!r} is no time at all", "leave the field out for no limit")
    return value


def _wait_time(value: Any) -> str:
    return value if isinstance(value, str) and _MARK in value else _duration(value)


def _condition(value: Any) -> str | bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise _fail("wrong_type", f"must be an expression that gives true or false, not {kind_of(value)}")
    text = value.strip()
    if not (text.startswith(_MARK) and text.endswith("}}")):
        raise _fail(
            "bad_value", f"{value!r} is text, not a condition", "write '{{ … }}' around the whole condition"
        )
    if text != value:
        raise _fail("bad_value", "spaces around '{{ … }}' make it text, not a condition", "remove them")
    return value


def _items(value: Any) -> Any:
    if isinstance(value, (list, dict)) or (isinstance(value, str) and _MARK in value):
        return cast("Any", value)
    raise _fail(
        "wrong_type",
        f"must be a list, an object or an expression that gives one, not {kind_of(value)}",
        "write e.g. '{{ inputs.rows }}'",
    )


def _whole(value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _fail("wrong_type", f"must be a whole number, not {kind_of(value)}")
    if not least <= value <= _COUNT_BOUND:
        raise _fail("bad_value", f"must be at least {least} and at most {_COUNT_BOUND}, not {value}")
    return value


def _concurrency(value: Any) -> Any:
    return value if isinstance(value, str) and _MARK in value else _whole(value, 1)


def _share(value: Any) -> int | str:
    if not isinstance(value, str):
        return _whole(value, 0)
    percent = percent_of(_text(value))
    if percent is None or percent > 100:
        raise _fail(
            "bad_value", f"{value!r} is no percentage", "write e.g. '5%', from 0% to 100%, or a whole number"
        )
    return value


def _join_need(value: Any) -> int | str:
    if isinstance(value, str) and value in _JOINS:
        return value
    if isinstance(value, str) and percent_of(value) is None:
        known = ", ".join(repr(word) for word in _JOINS)
        raise _fail("bad_value", f"{value!r} is no join", f"use {known}, a number of successes or e.g. '80%'")
    if _share(value) == 0 or percent_of(value) == 0:
        raise _fail(
            "bad_value", "a join that needs no success is always met", "write 'none' if that is meant"
        )
    return value


def _computed(value: Any) -> bool:
    return isinstance(value, str) and _MARK in value


def _times(value: Any) -> Any:
    return value if _computed(value) else _whole(value, 0)


def _turns(value: Any) -> int:
    if _computed(value):
        _text(value)
    return _whole(value, 1)


def _yes(value: Any) -> bool:
    if value is not True:
        raise _fail("bad_value", "must be true", "leave the field out otherwise")
    return True


def _instant(value: Any) -> str:
    if _computed(value):
        return value
    text = _text(value)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or "T" not in text.upper():
        raise _fail("bad_value", f"{text!r} is no instant", "write e.g. '2027-01-31T08:00:00Z', with a zone")
    return text


def _item_key(value: Any) -> str:
    if not _computed(value):
        raise _fail(
            "bad_value",
            "a key without an expression is the same for every item",
            "write e.g. '{{ item.id }}'",
        )
    return value


def _key_text(value: Any) -> str:
    if not isinstance(value, str):
        raise _fail("wrong_type", f"must be text, not {kind_of(value)}")
    if not value:
        raise _fail("bad_value", "must not be empty", "write e.g. '{{ inputs.id }}'")
    return value


def _flow_inputs(value: Any) -> Any:
    if isinstance(value, dict) or _computed(value):
        return cast("Any", value)
    raise _fail(
        "wrong_type",
        f"must be an object of inputs, or an expression that gives one, not {kind_of(value)}",
        'write e.g. {"day": "{{ inputs.day }}"}',
    )


def _error_code(value: Any) -> str:
    return (
        value
        if _computed(value)
        else _matching(_CODE, "bad_value", "error code: write e.g. 'shop.NoStock'")(value)
    )


def _any_text(value: Any) -> str:
    if not isinstance(value, str):
        raise _fail("wrong_type", f"must be text, not {kind_of(value)}")
    return value


def _pattern_schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


_COMPUTED_SCHEMA: Final = {"type": "string", "pattern": r"\{\{"}
_PERCENT_SCHEMA: Final = {"type": "string", "pattern": _PERCENT}

PlainText = Annotated[
    str, BeforeValidator(_text), WithJsonSchema({"type": "string", "not": {"pattern": r"\{\{"}})
]
#: A name that the validator checks by rule 1.
PlainName = Annotated[str, BeforeValidator(_text)]
WorkflowName = Annotated[
    str,
    BeforeValidator(
        _matching(_WORKFLOW, "bad_name", "workflow name: use letters, digits, '_', '.' and '-', at most 200")
    ),
    _pattern_schema(_WORKFLOW),
]
ExecutorName = Annotated[
    str,
    BeforeValidator(_matching(_EXECUTOR, "bad_name", "executor name: write 'domain.name', e.g. 'core.log'")),
    _pattern_schema(_EXECUTOR),
]
ErrorPattern = Annotated[
    str,
    BeforeValidator(
        _matching(_PATTERN, "bad_value", "error pattern: write e.g. 'bank.Declined', 'bank.*' or '*'")
    ),
    _pattern_schema(_PATTERN),
]
QueueName = Annotated[str, BeforeValidator(_queue), _pattern_schema(_QUEUE)]
Priority = Annotated[
    int,
    BeforeValidator(_priority),
    WithJsonSchema({"type": "integer", "minimum": -_PRIORITY_BOUND, "maximum": _PRIORITY_BOUND}),
]
Delay = Annotated[str, BeforeValidator(_duration), _pattern_schema(_DURATION)]
Timeout = Annotated[str | None, BeforeValidator(_timeout), _pattern_schema(_DURATION)]
WaitTime = Annotated[
    str | None,
    BeforeValidator(_wait_time),
    WithJsonSchema({"type": "string", "pattern": _DURATION + r"|\{\{"}),
]
Condition = Annotated[
    str | bool | None,
    BeforeValidator(_condition),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": _EXPRESSION}]}),
]
ItemSource = Annotated[
    Any,
    BeforeValidator(_items),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"\{\{"}, {"type": "array"}, {"type": "object"}]}
    ),
]
Concurrency = Annotated[
    Any,
    BeforeValidator(_concurrency),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"\{\{"}]}),
]
Share = Annotated[
    Any,
    BeforeValidator(_share),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _PERCENT_SCHEMA]}),
]
JoinNeed = Annotated[
    Any,
    BeforeValidator(_join_need),
    WithJsonSchema({"anyOf": [{"enum": list(_JOINS)}, {"type": "integer", "minimum": 1}, _PERCENT_SCHEMA]}),
]
Times = Annotated[
    Any,
    BeforeValidator(_times),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _COMPUTED_SCHEMA]}),
]
Turns = Annotated[int, BeforeValidator(_turns), WithJsonSchema({"type": "integer", "minimum": 1})]
Yes = Annotated[bool | None, BeforeValidator(_yes), WithJsonSchema({"const": True})]
Instant = Annotated[str | None, BeforeValidator(_instant), WithJsonSchema({"type": "string"})]
ItemKey = Annotated[str | None, BeforeValidator(_item_key), WithJsonSchema(_COMPUTED_SCHEMA)]
KeyText = Annotated[
    str | None, BeforeValidator(_key_text), WithJsonSchema({"type": "string", "minLength": 1})
]
FlowInputs = Annotated[
    Any, BeforeValidator(_flow_inputs), WithJsonSchema({"anyOf": [{"type": "object"}, _COMPUTED_SCHEMA]})
]
FlowName = Annotated[
    str,
    BeforeValidator(
        _matching(_FLOW, "bad_name", "name of a definition: write 'name', or 'name@3' for one version")
    ),
    _pattern_schema(_FLOW),
]
SignalName = Annotated[
    str | None,
    BeforeValidator(
        _matching(_SIGNAL, "bad_name", "signal name: use letters, digits, '_', '.', ':' and '-', at most 200")
    ),
    _pattern_schema(_SIGNAL),
]
LabelName = Annotated[
    str,
    BeforeValidator(
        _matching(_LABEL, "bad_name", "label: use letters, digits, '_', '.' and '-', at most 63")
    ),
    _pattern_schema(_LABEL),
]
ErrorCode = Annotated[
    str,
    BeforeValidator(_error_code),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _CODE}, _COMPUTED_SCHEMA]}),
]
#: Text that may hold expressions.
Message = Annotated[str, BeforeValidator(_any_text), WithJsonSchema({"type": "string"})]
