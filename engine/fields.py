"""Types of the definition's single fields: what one value may be, and the problem it makes otherwise.

Each is a pydantic type whose errors carry our own code, message and hint. Texts and names stand in `field_texts`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, cast

from pydantic import BeforeValidator, WithJsonSchema

from .durations import parse_duration
from .field_texts import COMPUTED_SCHEMA, computed, fail, kind_of, pattern_schema, plain_text

__all__ = [
    "Concurrency",
    "Condition",
    "Count",
    "Delay",
    "FlowInputs",
    "Instant",
    "ItemKey",
    "ItemSource",
    "JoinNeed",
    "Moment",
    "Priority",
    "QueueName",
    "RateText",
    "Share",
    "Timeout",
    "Times",
    "WaitTime",
    "Yes",
    "instant_of",
    "kind_of",
    "percent_of",
    "rate_of",
]

_MARK: Final = "{{"
_JOINS: Final = ("all", "any", "first", "majority", "none")
_QUEUE: Final = r"^[A-Za-z0-9_.-]{1,63}$"
_PERCENT: Final = r"^\d{1,3}(\.\d{1,6})?%$"
_DURATION: Final = r"^([0-9]+(ms|s|m|h|d))+$|^P"
_EXPRESSION: Final = r"^\{\{[\s\S]*\}\}$"
_PRIORITY_BOUND: Final = 1_000_000
_COUNT_BOUND: Final = 1_000_000_000
_RATE: Final = re.compile(r"([0-9]{1,9})/(.+)", re.DOTALL)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RATE_UNITS: Final = ("s", "m", "h", "d")


def percent_of(value: object) -> float | None:
    """12.5 of the text "12.5%"; None for anything else."""
    return float(value[:-1]) if isinstance(value, str) and re.match(_PERCENT, value) else None


def instant_of(text: str | None) -> int | None:
    """Microseconds since 1970 of an ISO 8601 text with a zone; None stays None."""
    return None if text is None else (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def rate_of(text: str) -> tuple[int, int]:
    """50 and a second, in microseconds, of "50/s". Raises ValueError with a sentence that says what is accepted."""
    found = _RATE.fullmatch(text)
    try:
        count, per = (int(found[1]), found[2]) if found else (0, "")
        period = parse_duration(f"1{per}" if per in _RATE_UNITS else per)
    except ValueError:
        shown = text if len(text) <= 64 else f"{text[:64]}…"
        raise ValueError(f"{shown!r} is no rate; write e.g. '50/s', '1000/h' or '100/10s'") from None
    if not (count and period):
        raise ValueError(f"{text!r} would never let anything begin, or everything")
    if count > period:
        raise ValueError(f"{text!r} is more than a million a second, which is no limit")
    return count, period


def _constant(value: Any, field: str) -> Any:
    if computed(value):
        raise fail(
            "not_supported",
            f"an expression in {field!r} is not built in this version",
            "write a constant value",
        )
    return value


def _queue(value: Any) -> str:
    text = plain_text(_constant(value, "queue"))
    if not re.match(_QUEUE, text):
        raise fail(
            "bad_name", f"{text!r} is no queue name", "use letters, digits, '_', '.' and '-', at most 63"
        )
    return text


def _priority(value: Any) -> int:
    _constant(value, "priority")
    if not isinstance(value, int) or isinstance(value, bool):
        raise fail("wrong_type", f"must be a whole number, not {kind_of(value)}")
    if abs(value) > _PRIORITY_BOUND:
        raise fail("bad_value", f"must be between {-_PRIORITY_BOUND} and {_PRIORITY_BOUND}")
    return value


def _duration(value: Any) -> str:
    if isinstance(value, str):
        plain_text(value)
    try:
        parse_duration(value)
    except ValueError as error:
        raise fail("bad_duration", str(error)) from None
    return value


def _timeout(value: Any) -> str:
    if parse_duration(_duration(value)) == 0:
        raise fail("bad_duration", f"{value!r} is no time at all", "leave the field out for no limit")
    return value


def _wait_time(value: Any) -> str:
    return value if computed(value) else _duration(value)


def _condition(value: Any) -> str | bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise fail("wrong_type", f"must be an expression that gives true or false, not {kind_of(value)}")
    text = value.strip()
    if not (text.startswith(_MARK) and text.endswith("}}")):
        raise fail(
            "bad_value", f"{value!r} is text, not a condition", "write '{{ … }}' around the whole condition"
        )
    if text != value:
        raise fail("bad_value", "spaces around '{{ … }}' make it text, not a condition", "remove them")
    return value


def _items(value: Any) -> Any:
    if isinstance(value, (list, dict)) or (computed(value)):
        return cast("Any", value)
    raise fail(
        "wrong_type",
        f"must be a list, an object or an expression that gives one, not {kind_of(value)}",
        "write e.g. '{{ inputs.rows }}'",
    )


def _whole(value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise fail("wrong_type", f"must be a whole number, not {kind_of(value)}")
    if not least <= value <= _COUNT_BOUND:
        raise fail("bad_value", f"must be at least {least} and at most {_COUNT_BOUND}, not {value}")
    return value


def _concurrency(value: Any) -> Any:
    return value if computed(value) else _whole(value, 1)


def _share(value: Any) -> int | str:
    if not isinstance(value, str):
        return _whole(value, 0)
    percent = percent_of(plain_text(value))
    if percent is None or percent > 100:
        raise fail(
            "bad_value", f"{value!r} is no percentage", "write e.g. '5%', from 0% to 100%, or a whole number"
        )
    return value


def _join_need(value: Any) -> int | str:
    if isinstance(value, str) and value in _JOINS:
        return value
    if isinstance(value, str) and percent_of(value) is None:
        known = ", ".join(repr(word) for word in _JOINS)
        raise fail("bad_value", f"{value!r} is no join", f"use {known}, a number of successes or e.g. '80%'")
    if _share(value) == 0 or percent_of(value) == 0:
        raise fail("bad_value", "a join that needs no success is always met", "write 'none' if that is meant")
    return value


def _times(value: Any) -> Any:
    return value if computed(value) else _whole(value, 0)


def _count(value: Any) -> int:
    if computed(value):
        plain_text(value)
    return _whole(value, 1)


def _rate(value: Any) -> str:
    text = plain_text(value)
    try:
        rate_of(text)
    except ValueError as error:
        raise fail("bad_value", str(error)) from None
    return text


def _yes(value: Any) -> bool:
    if value is not True:
        raise fail("bad_value", "must be true", "leave the field out otherwise")
    return True


def _instant(value: Any) -> str:
    return value if computed(value) else _moment(value)


def _moment(value: Any) -> str:
    text = plain_text(value)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or "T" not in text.upper():
        raise fail("bad_value", f"{text!r} is no instant", "write e.g. '2027-01-31T08:00:00Z', with a zone")
    return text


def _item_key(value: Any) -> str:
    if not computed(value):
        raise fail(
            "bad_value",
            "a key without an expression is the same for every item",
            "write e.g. '{{ item.id }}'",
        )
    return value


def _flow_inputs(value: Any) -> Any:
    if isinstance(value, dict) or computed(value):
        return cast("Any", value)
    raise fail(
        "wrong_type",
        f"must be an object of inputs, or an expression that gives one, not {kind_of(value)}",
        'write e.g. {"day": "{{ inputs.day }}"}',
    )


_PERCENT_SCHEMA: Final = {"type": "string", "pattern": _PERCENT}

QueueName = Annotated[str, BeforeValidator(_queue), pattern_schema(_QUEUE)]
Priority = Annotated[
    int,
    BeforeValidator(_priority),
    WithJsonSchema({"type": "integer", "minimum": -_PRIORITY_BOUND, "maximum": _PRIORITY_BOUND}),
]
Delay = Annotated[str, BeforeValidator(_duration), pattern_schema(_DURATION)]
Timeout = Annotated[str | None, BeforeValidator(_timeout), pattern_schema(_DURATION)]
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
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, COMPUTED_SCHEMA]}),
]
#: A whole number from 1 on.
Count = Annotated[int, BeforeValidator(_count), WithJsonSchema({"type": "integer", "minimum": 1})]
RateText = Annotated[
    str,
    BeforeValidator(_rate),
    pattern_schema(r"^[0-9]*[1-9][0-9]*/([smhd]|([0-9]+(ms|s|m|h|d))+|P.+)$"),
]
Yes = Annotated[bool | None, BeforeValidator(_yes), WithJsonSchema({"const": True})]
#: An instant that stands in the document.
Moment = Annotated[
    str, BeforeValidator(_moment), WithJsonSchema({"type": "string", "not": {"pattern": r"\{\{"}})
]
Instant = Annotated[str | None, BeforeValidator(_instant), WithJsonSchema({"type": "string"})]
ItemKey = Annotated[str | None, BeforeValidator(_item_key), WithJsonSchema(COMPUTED_SCHEMA)]
FlowInputs = Annotated[
    Any, BeforeValidator(_flow_inputs), WithJsonSchema({"anyOf": [{"type": "object"}, COMPUTED_SCHEMA]})
]
