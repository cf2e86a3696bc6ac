"""Canonical JSON text: exact both ways, one text per value, and refusals that name the member."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import json
import math
import uuid
from collections import OrderedDict
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strataflow.engine.errors import PayloadError
from strataflow.engine.payload import (
    BLOB_LIMIT,
    MAX_DEPTH,
    decode,
    digest,
    encode,
    split,
)

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXT, inner, max_size=5),
    max_leaves=25,
)


def _same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from 1.0 and True, 0.0 from -0.0, and one key order from another."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return left == right


def _nested(levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = [value]
    return value


class _Colour(enum.Enum):
    RED = 1


class _Level(enum.IntEnum):
    LOW = 1


class _Kind(enum.StrEnum):
    OPEN = "open"


@given(_JSON)
def test_a_value_reads_back_exactly(value: Any) -> None:
    text = encode(value)
    assert _same(decode(text), value)
    assert encode(decode(text)) == text


@given(_JSON)
def test_the_text_is_valid_for_the_standard_library_and_has_no_raw_nul(
    value: Any,
) -> None:
    text = encode(value)
    assert "\0" not in text
    assert _same(json.loads(text), value)


@given(_JSON)
def test_a_member_has_the_same_text_beside_a_big_integer(value: Any) -> None:
    assert encode([value, 2**70]) == f"[{encode(value)},{2**70}]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0, "-0.0"),
        (1e16, "1e+16"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (2**53 + 1, "9007199254740993"),
        (2**64 - 1, "18446744073709551615"),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (2**70, "1180591620717411303424"),
        ("\0", '"\\u0000"'),
        ("é\u2028😀", '"é\u2028😀"'),
        ({"b": 1, "a": [True, None, {}], "": []}, '{"b":1,"a":[true,null,{}],"":[]}'),
        ((1, (2,)), "[1,[2]]"),
        (OrderedDict(z=1, a=2), '{"z":1,"a":2}'),
        ([_Level.LOW, _Kind.OPEN], '[1,"open"]'),
    ],
)
def test_text_of(value: Any, text: str) -> None:
    assert encode(value) == text


@pytest.mark.parametrize(
    ("value", "pointer", "words"),
    [
        (math.nan, "", "nan"),
        ({"a": [1, math.inf]}, "/a/1", "inf"),
        ({"a/b": {"~": -math.inf}}, "/a~1b/~0", "-inf"),
        (["\ud800"], "/0", "lone surrogate"),
        ({"a": {"\udfff": 1}}, "/a", "lone surrogate"),
        ({"a": {1: 2}}, "/a", "type int"),
        ({"a": {2**70: 2**70}}, "/a", "type int"),
        ([10**4300], "/0", "4,300 digits"),
        ([-(10**4300)], "/0", "4,300 digits"),
        ({"when": dt.date(2026, 1, 2)}, "/when", "datetime.date"),
        ([uuid.UUID(int=1)], "/0", "uuid.UUID"),
        ([_Colour.RED], "/0", "_Colour"),
        ({"s": {1, 2}}, "/s", "type set"),
        (b"x", "", "type bytes"),
        (object(), "", "type object"),
    ],
)
def test_refused_with_the_place_and_the_reason(value: Any, pointer: str, words: str) -> None:
    with pytest.raises(PayloadError) as caught:
        encode(value)
    assert caught.value.pointer == pointer
    assert words in str(caught.value)
    assert caught.value.hint


def test_the_longest_integer_is_exact() -> None:
    value = 10**4300 - 1
    assert decode(encode({"n": value})) == {"n": value}


@pytest.mark.parametrize("wide", [[], [[]] * 300])
def test_depth_is_limited_whatever_stands_beside(wide: list[Any]) -> None:
    assert decode(encode([*wide, _nested(MAX_DEPTH - 1)])) == [
        *wide,
        _nested(MAX_DEPTH - 1),
    ]
    with pytest.raises(PayloadError, match="deeper than 200"):
        encode([*wide, _nested(MAX_DEPTH)])


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(PayloadError, match="contains itself"):
        encode(value)


def test_size_is_counted_in_bytes_and_named() -> None:
    assert len(encode("é" * 10, limit=22)) == 12
    with pytest.raises(PayloadError, match="22 bytes as JSON; at most 21"):
        encode("é" * 10, limit=21)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" [1, 2] ", [1, 2]),
        ("1180591620717411303424", 2**70),
        ('{"a": 1e5}', {"a": 100000.0}),
        ('"\\u0000"', "\0"),
        ('"\\ud83d\\ude00"', "😀"),
        ("2.2250738585072011e-308", 2.2250738585072011e-308),
    ],
)
def test_texts_written_by_others_are_read_exactly(text: str, value: Any) -> None:
    assert _same(decode(text), value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "NaN",
        "[Infinity]",
        "1e400",
        "9" * 4301,
        '"\\ud800"',
        '"\ud800"',
        "[" * 100_000,
    ],
)
def test_texts_that_cannot_be_held_are_refused(text: str) -> None:
    with pytest.raises(PayloadError):
        decode(text)


def test_digest_is_sha256_of_the_bytes() -> None:
    assert digest('"é"') == hashlib.sha256('"é"'.encode()).hexdigest()


@pytest.mark.parametrize(("text", "inline"), [("x" * BLOB_LIMIT, True), ("x" * (BLOB_LIMIT + 1), False)])
def test_split_at_the_limit(text: str, *, inline: bool) -> None:
    assert split(text) == ((text, None) if inline else (None, digest(text)))


def test_split_counts_bytes() -> None:
    text = "é" * (BLOB_LIMIT // 2 + 1)
    assert split(text) == (None, digest(text))


def test_orjson_still_hides_what_the_read_back_finds() -> None:
    """The fast path rests on these facts; if orjson changes them, `_encode_fast` may become simpler."""
    assert orjson.dumps(math.nan) == b"null"
    assert orjson.loads("18446744073709551616") == 2.0**64
