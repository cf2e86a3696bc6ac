r"""Canonical JSON text: the only form in which a user's value is stored.

One value has one text: key order kept, no spaces, shortest floats, integers exact at any size, `\u0000`
always escaped. What no database and no other reader could give back unchanged (NaN, lone surrogates, an
integer that Python itself refuses to read) is refused here, before it can enter a batch and poison its
neighbours. orjson does the work wherever it is exact; what it would change silently is found by reading back
and comparing, which is cheaper than looking at every member in Python.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

import orjson

from .errors import PayloadError
from .pointers import child

__all__ = [
    "BLOB_LIMIT",
    "MAX_DEPTH",
    "MAX_INT_DIGITS",
    "MAX_PAYLOAD",
    "Json",
    "decode",
    "digest",
    "encode",
    "split",
]

Json = Any
"""A JSON value: None, bool, int, float, str, list or dict with text keys."""

#: Bytes of UTF-8 above which a payload is kept apart, under its hash.
BLOB_LIMIT: Final = 65_536
#: Bytes of UTF-8 that one value may have, unless the caller says otherwise.
MAX_PAYLOAD: Final = 16 * 1024 * 1024
#: Levels of lists and objects in one value.
MAX_DEPTH: Final = 200
#: Python refuses to read longer integers (`sys.set_int_max_str_digits`), so a stored one would be a poison row.
MAX_INT_DIGITS: Final = 4_300

_INT_BOUND: Final = 10**MAX_INT_DIGITS
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1
#: Without these orjson would store subclasses, dataclasses and dates by rules of its own.
_OPTIONS: Final = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)


def encode(value: Json, *, limit: int = MAX_PAYLOAD) -> str:
    """Canonical text of a JSON value of at most `limit` bytes.

    Tuples become lists; subclasses of the JSON types (`OrderedDict`, `StrEnum`, …) are stored as their base.

    Raises:
        PayloadError: the value is not JSON, nested too deeply or too large; the error's pointer names the
        member.
    """
    raw = _encode_fast(value)
    if raw is None:
        parts: list[str] = []
        _write(value, "", 1, parts)
        raw = "".join(parts).encode()
    if len(raw) > limit:
        raise PayloadError(
            f"the value has {len(raw):,} bytes as JSON; at most {limit:,} may be stored.",
            hint="Keep large data in storage and pass a reference to it.",
        )
    return raw.decode()


def decode(text: str) -> Json:
    """The value of a JSON text, exact: integers of any size stay integers, floats stay floats.

    Raises:
        PayloadError: the text is not JSON, or holds a number that no float can hold.
    """
    try:
        value = orjson.loads(text)
        # A canonical text reads back as itself. It does not when orjson turned an integer beyond 64 bits into a float.
        if orjson.dumps(value) == text.encode():
            return value
    except (orjson.JSONDecodeError, TypeError, UnicodeEncodeError):
        pass
    return _decode_exact(text)


def digest(text: str) -> str:
    """SHA-256 of the text's UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def split(text: str) -> tuple[str | None, str | None]:
    """Where a payload goes: `(text, None)` into its row; `(None, hash)` when larger than `BLOB_LIMIT`."""
    size = len(text) if text.isascii() else len(text.encode())
    return (text, None) if size <= BLOB_LIMIT else (None, digest(text))


def _encode_fast(value: Json) -> bytes | None:
    """The text by orjson, or None when orjson refuses the value or would change it.

    orjson stores NaN as null, a UUID as text and a tuple as a list without a word. None of those equals what
    is read back, and everything that equals it is stored right.
    """
    try:
        raw = orjson.dumps(value, option=_OPTIONS)
        if orjson.loads(raw) != value:
            return None
    except (TypeError, ValueError, RecursionError):
        return None
    # Most payloads are too short, or hold too few brackets, to be too deep.
    deep = len(raw) > 2 * MAX_DEPTH and raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _too_deep(value)
    return None if deep else raw


def _too_deep(value: Json) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for container in level
            for member in (
                cast("dict[str, Any]", container).values() if type(container) is dict else container
            )
            if type(member) is dict or type(member) is list
        ]
        if not level:
            return False
    return True


def _write(value: Json, pointer: str, depth: int, parts: list[str]) -> None:
    """Append the text of `value`; the slow and complete path, which names what it refuses."""
    if value is None or value is True or value is False:
        parts.append(orjson.dumps(value).decode())
    elif isinstance(value, str):
        parts.append(_text(value, pointer))
    elif isinstance(value, int):
        parts.append(_integer(value, pointer))
    elif isinstance(value, float):
        parts.append(_float(value, pointer))
    elif isinstance(value, (dict, list, tuple)):
        if depth > MAX_DEPTH:
            raise PayloadError(
                f"the value is nested deeper than {MAX_DEPTH} levels, or contains itself.",
                pointer=pointer,
                hint="Flatten it, or store it as text.",
            )
        if isinstance(value, dict):
            _write_object(cast("dict[Any, Any]", value), pointer, depth, parts)
        else:
            _write_list(cast("list[Any]", value), pointer, depth, parts)
    else:
        _refuse_type(value, pointer)


def _write_object(value: Mapping[Any, Any], pointer: str, depth: int, parts: list[str]) -> None:
    mark = "{"
    for key, member in value.items():
        if not isinstance(key, str):
            raise PayloadError(
                f"{_at(pointer)} has the key {key!r} of type {_name(key)}; keys of a JSON object are text.",
                pointer=pointer,
                hint="Convert the keys with str().",
            )
        parts.append(mark)
        mark = ","
        # The surrogate is in the key, so the pointer names the object: it must be printable itself.
        parts.append(_text(key, pointer))
        parts.append(":")
        _write(member, child(pointer, key), depth + 1, parts)
    parts.append("}" if mark == "," else "{}")


def _write_list(value: list[Any] | tuple[Any, ...], pointer: str, depth: int, parts: list[str]) -> None:
    mark = "["
    for index, member in enumerate(value):
        parts.append(mark)
        mark = ","
        _write(member, child(pointer, index), depth + 1, parts)
    parts.append("]" if mark == "," else "[]")


def _text(value: str, pointer: str) -> str:
    try:
        return orjson.dumps(str.__str__(value)).decode()
    except TypeError:
        raise PayloadError(
            f"{_at(pointer)} holds a lone surrogate: it is not Unicode text.",
            pointer=pointer,
            hint="Decode the bytes with errors='replace', or encode them as base64.",
        ) from None


def _integer(value: int, pointer: str) -> str:
    if _INT64_MIN <= value <= _UINT64_MAX:
        return int.__repr__(value)
    if abs(value) >= _INT_BOUND:
        raise PayloadError(
            f"{_at(pointer)} is an integer of more than {MAX_INT_DIGITS:,} digits.",
            pointer=pointer,
            hint="Store it as text.",
        )
    return int.__repr__(value)


def _float(value: float, pointer: str) -> str:
    if not math.isfinite(value):
        raise PayloadError(
            f"{_at(pointer)} is {value!r}, which JSON cannot hold.",
            pointer=pointer,
            hint="Store null or text instead.",
        )
    return orjson.dumps(float(value)).decode()


def _refuse_type(value: object, pointer: str) -> NoReturn:
    raise PayloadError(
        f"{_at(pointer)} is of type {_name(value)}, which is not JSON.",
        pointer=pointer,
        hint="Give None, bool, int, float, str, list or dict.",
    )


def _at(pointer: str) -> str:
    return pointer or "the value"


def _name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _decode_exact(text: str) -> Json:
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if not text.isascii() or "\\ud" in text.lower():
            # The standard library lets lone surrogates pass; nothing could store them again.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"the text is not JSON that can be read: {error}.") from None
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
