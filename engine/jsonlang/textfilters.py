"""Filters on text and numbers, and the conversions between JSON types; the other filters are in `filters`.

A filter takes the frame, the value and the arguments, and gives JSON. None knows the time, draws a random number or
matches a regular expression of the author's. What could multiply its input is refused before it is built. Messages name
types, never values; the caller puts the filter's name in front.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from ..errors import ExpressionError, PayloadError
from ..payload import decode, digest
from .operators import bounded
from .values import (
    MAX_RESULT,
    MAX_TEXT,
    Frame,
    is_number,
    is_object,
    joined,
    kind,
    not_whole,
    text_of,
    too_large,
)

__all__ = ["TEXT_FILTERS", "UNSET", "need_int", "need_text"]

#: Default of arguments for which null is a value.
UNSET: Final[Any] = object()

_WORD_BREAK: Final = re.compile(r"([\s\-(\[{<]+)")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,1200}")
_DECIMAL: Final = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?"
)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")


def need_text(frame: Frame, value: Any, what: str = "") -> str:
    """The value when it is text that may be worked on as a whole."""
    if not isinstance(value, str):
        raise ExpressionError(f"needs text{what}, not {kind(value)}")
    if len(value) > MAX_TEXT:
        raise too_large(f"the text has {len(value):,} characters; at most {MAX_TEXT:,} are allowed")
    frame.spend((len(value) >> 4) + 1)
    return value


def need_int(value: Any, what: str, low: int, high: int) -> int:
    """The value when it is a whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ExpressionError(f"{what} is a whole number, not {not_whole(value)}")
    if not low <= value <= high:
        raise ExpressionError(f"{what} is a number from {low:,} to {high:,}")
    return value


def _built(frame: Frame, text: str) -> str:
    return joined(frame, [text])


def _upper(frame: Frame, value: Any, /) -> str:
    return _built(frame, need_text(frame, value).upper())


def _lower(frame: Frame, value: Any, /) -> str:
    return _built(frame, need_text(frame, value).lower())


def _capitalize(frame: Frame, value: Any, /) -> str:
    return _built(frame, need_text(frame, value).capitalize())


def _title(frame: Frame, value: Any, /) -> str:
    text = need_text(frame, value)
    frame.spend(len(text) >> 1)
    return joined(frame, [part[:1].upper() + part[1:].lower() for part in _WORD_BREAK.split(text)])


def _trim(frame: Frame, value: Any, /, chars: Any = None) -> str:
    if chars is not None:
        chars = need_text(frame, chars, " as characters")
        # Trimming compares every character with every one of these.
        need_int(len(chars), "the count of characters to trim", 0, 64)
    return need_text(frame, value).strip(chars)


def _replace(frame: Frame, value: Any, /, old: Any, new: Any, count: Any = -1) -> str:
    text, old, new = need_text(frame, value), need_text(frame, old), need_text(frame, new)
    if not old:
        raise ExpressionError("the text to replace is empty")
    limit = need_int(count, "count", -1, MAX_TEXT)
    found = text.count(old)
    times = found if limit < 0 else min(found, limit)
    if len(text) + times * (len(new) - len(old)) > MAX_TEXT:
        raise too_large(f"the text would have more than {MAX_TEXT:,} characters")
    return _built(frame, text.replace(old, new, limit))


def _split(frame: Frame, value: Any, /, separator: Any = None, limit: Any = -1) -> list[str]:
    if not isinstance(value, str):
        raise ExpressionError(f"needs text, not {kind(value)}")
    if separator is not None and not need_text(frame, separator, " as separator"):
        raise ExpressionError("the separator is empty")
    limit = need_int(limit, "limit", -1, MAX_RESULT)
    frame.spend(len(value) >> 4)
    parts = value.split(separator, MAX_RESULT if limit < 0 else limit)
    frame.spend(len(parts))
    return parts


def _tojson(frame: Frame, value: Any, /) -> str:
    # Text has quotes in JSON, which `text_of` leaves out.
    text = text_of(frame, [value])[1:-1]
    return _built(frame, text)


def _fromjson(frame: Frame, value: Any, /) -> Any:
    if not isinstance(value, str):
        raise ExpressionError(f"needs text, not {kind(value)}")
    frame.spend(len(value) >> 2)
    try:
        return decode(value)
    except PayloadError:
        # The decoder's own message may quote the text, which may be a secret.
        raise ExpressionError("the text is not JSON that can be read") from None


def _string(frame: Frame, value: Any, /) -> str:
    return _built(frame, text_of(frame, value))


def _int(frame: Frame, value: Any, /, default: Any = UNSET) -> Any:
    if is_number(value):
        return bounded(int(value))
    if isinstance(value, str):
        frame.spend_text(len(value))
        text = value.strip()
        if _INTEGER.fullmatch(text):
            return bounded(int(text))
        if _DECIMAL.fullmatch(text):
            return bounded(int(bounded(float(text))))
    return _otherwise(value, default)


def _float(frame: Frame, value: Any, /, default: Any = UNSET) -> Any:
    if is_number(value):
        return float(value)
    if isinstance(value, str):
        frame.spend_text(len(value))
        text = value.strip()
        if _DECIMAL.fullmatch(text):
            return bounded(float(text))
    return _otherwise(value, default)


def _otherwise(value: Any, default: Any) -> Any:
    if default is UNSET:
        what = "the text is no number" if isinstance(value, str) else f"cannot make a number of {kind(value)}"
        raise ExpressionError(what)
    return default


def _abs(_frame: Frame, value: Any, /) -> Any:
    return bounded(abs(_number(value)))


def _round(_frame: Frame, value: Any, /, precision: Any = 0, method: Any = "common") -> Any:
    number = _number(value)
    digits = need_int(precision, "precision", -30, 30)
    if method == "common":
        return bounded(round(number, digits))
    if method not in ("ceil", "floor"):
        raise ExpressionError("the method is 'common', 'ceil' or 'floor'")
    whole = math.ceil if method == "ceil" else math.floor
    if isinstance(number, int) and digits >= 0:
        return number
    scaled = whole(bounded(number * 10.0**digits)) / 10.0**digits
    return bounded(int(scaled) if isinstance(number, int) else scaled)


def _number(value: Any) -> int | float:
    if not is_number(value):
        raise ExpressionError(f"needs a number, not {kind(value)}")
    return value


def _date(frame: Frame, value: Any, /, zone: Any = None) -> str:
    text = need_text(frame, value)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ExpressionError("the text is no ISO date or instant like 2026-11-20T02:15:00Z") from None
    if zone is None:
        return instant.date().isoformat()
    if instant.tzinfo is None:
        raise ExpressionError("the instant has no offset, so it cannot be converted to a time zone")
    return _local_date(instant, need_text(frame, zone, " as time zone")).isoformat()


def _local_date(instant: datetime, zone: str) -> date:
    try:
        if not _ZONE.fullmatch(zone):
            raise LookupError
        return instant.astimezone(ZoneInfo(zone)).date()
    except (LookupError, ValueError, OSError):
        raise ExpressionError("there is no such time zone; write it like 'Europe/Paris'") from None


def _sha256(frame: Frame, value: Any, /) -> str:
    text = text_of(frame, value)
    frame.spend(len(text) >> 4)
    return digest(text)


def _b64encode(frame: Frame, value: Any, /) -> str:
    return _built(frame, base64.b64encode(need_text(frame, value).encode()).decode())


def _b64decode(frame: Frame, value: Any, /) -> str:
    try:
        return _built(frame, base64.b64decode(need_text(frame, value).encode(), validate=True).decode())
    except ValueError:
        raise ExpressionError("the text is not base64 of UTF-8 text") from None


def _urlencode(frame: Frame, value: Any, /) -> str:
    if is_object(value):
        frame.spend(len(value))
        pairs = [f"{_quoted(frame, key)}={_quoted(frame, item)}" for key, item in value.items()]
        return joined(frame, pairs, "&")
    return _quoted(frame, value)


def _quoted(frame: Frame, value: Any) -> str:
    text = need_text(frame, text_of(frame, value))
    # One character may become twelve, and quoting is slow.
    frame.spend(len(text) >> 2)
    return _built(frame, quote(text, safe=""))


TEXT_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "abs": _abs,
    "b64decode": _b64decode,
    "b64encode": _b64encode,
    "capitalize": _capitalize,
    "date": _date,
    "float": _float,
    "fromjson": _fromjson,
    "int": _int,
    "lower": _lower,
    "replace": _replace,
    "round": _round,
    "sha256": _sha256,
    "split": _split,
    "string": _string,
    "title": _title,
    "tojson": _tojson,
    "trim": _trim,
    "upper": _upper,
    "urlencode": _urlencode,
}
