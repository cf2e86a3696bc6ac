"""The fixed list of tests, `value is name(arguments)`, also used by `select` and its like.

A test takes the frame, the value and its arguments. Only `defined` and `undefined` are given an Undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..errors import ExpressionError
from .operators import COMPARISONS, contains, equal
from .values import Frame, Undefined, is_list, is_number, is_object, kind

__all__ = ["LENIENT_TESTS", "TEST_FUNCTIONS"]


def _remainder(value: Any, number: Any) -> float:
    for side in (value, number):
        if not is_number(side):
            raise ExpressionError(f"only numbers can be divided, not {kind(side)}")
    return value % number


def _divisible_by(_frame: Frame, value: Any, number: Any, /) -> bool:
    return _remainder(value, number) == 0


def _has_prefix(frame: Frame, value: Any, prefix: Any, /) -> bool:
    return _text_pair(frame, value, prefix)[0].startswith(prefix)


def _has_suffix(frame: Frame, value: Any, suffix: Any, /) -> bool:
    return _text_pair(frame, value, suffix)[0].endswith(suffix)


def _text_pair(frame: Frame, value: Any, other: Any) -> tuple[str, str]:
    for side in (value, other):
        if not isinstance(side, str):
            raise ExpressionError(f"only text begins or ends with text, not {kind(side)}")
    frame.spend_text(len(other))
    return value, other


def _is(check: Callable[[Any], bool]) -> Callable[[Frame, Any], bool]:
    """A test of one value, with the signature that all tests share."""

    def test(_frame: Frame, value: Any, /) -> bool:
        return check(value)

    return test


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_UNEQUAL: Final = COMPARISONS["ne"]
_LESS: Final = COMPARISONS["lt"]
_AT_MOST: Final = COMPARISONS["lteq"]
_GREATER: Final = COMPARISONS["gt"]
_AT_LEAST: Final = COMPARISONS["gteq"]
_NULL: Final = _is(lambda value: value is None)
_LIST: Final = _is(is_list)

#: The only tests that are given an Undefined.
LENIENT_TESTS: Final = frozenset(("defined", "undefined"))

#: The fixed list of tests, by name.
TEST_FUNCTIONS: Final[dict[str, Callable[..., bool]]] = {
    "!=": _UNEQUAL,
    "<": _LESS,
    "<=": _AT_MOST,
    "==": equal,
    ">": _GREATER,
    ">=": _AT_LEAST,
    "boolean": _is(lambda value: isinstance(value, bool)),
    "contains": contains,
    "defined": _is(lambda value: not isinstance(value, Undefined)),
    "divisibleby": _divisible_by,
    "endswith": _has_suffix,
    "eq": equal,
    "equalto": equal,
    "even": _is(lambda value: _remainder(value, 2) == 0),
    "false": _is(lambda value: value is False),
    "float": _is(lambda value: isinstance(value, float)),
    "ge": _AT_LEAST,
    "greaterthan": _GREATER,
    "gt": _GREATER,
    "in": COMPARISONS["in"],
    "integer": _is(_integer),
    "le": _AT_MOST,
    "lessthan": _LESS,
    "list": _LIST,
    "lt": _LESS,
    "mapping": _is(is_object),
    "ne": _UNEQUAL,
    "none": _NULL,
    "null": _NULL,
    "number": _is(is_number),
    "odd": _is(lambda value: _remainder(value, 2) == 1),
    "sequence": _LIST,
    "startswith": _has_prefix,
    "string": _is(lambda value: isinstance(value, str)),
    "true": _is(lambda value: value is True),
    "undefined": _is(lambda value: isinstance(value, Undefined)),
}
