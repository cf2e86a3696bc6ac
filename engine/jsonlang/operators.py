"""What the operators and tests of an expression do, on JSON values only.

Between `values` and `filters`. JSON's types are kept apart where Python mixes them: true is not 1, text is not
repeated by `*` nor formatted by `%`, and only numbers or only texts have an order. Every result is JSON again: integers
are bounded, floats are finite.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import ExpressionError
from .values import (
    MAX_INT_BITS,
    Frame,
    is_list,
    is_number,
    is_object,
    joined,
    kind,
    not_whole,
    too_large,
)

__all__ = [
    "ARITHMETIC",
    "COMPARISONS",
    "bounded",
    "check_ordered",
    "contains",
    "equal",
    "negative",
    "positive",
    "sliced",
    "truth",
]

Operation = Callable[[Frame, Any, Any], Any]

#: float() of a longer integer would fail with Python's message.
_FLOAT_BITS: Final = 1_024


def bounded(value: Any) -> Any:
    """A computed number, refused when it is not finite or has too many bits."""
    if isinstance(value, int):
        if value.bit_length() > MAX_INT_BITS:
            raise too_large(f"the whole number is too large (more than {MAX_INT_BITS:,} bits)")
    elif not math.isfinite(value):
        raise ExpressionError("the result is not a finite number")
    return value


def truth(value: Any) -> bool:
    """Whether a value holds in `and`, `or`, `not`, `if`, `select`: null, false, 0 and everything empty do not."""
    return bool(value)


def equal(frame: Frame, left: Any, right: Any) -> bool:
    """JSON equality: 1 equals 1.0, true does not equal 1, members of objects have no order."""
    if isinstance(left, str):
        frame.spend_text(len(left))
        return isinstance(right, str) and str.__eq__(left, right)
    if is_number(left):
        return is_number(right) and left == right
    if is_list(left):
        return is_list(right) and len(left) == len(right) and _same_items(frame, left, right)
    if is_object(left):
        return is_object(right) and len(left) == len(right) and _same_members(frame, left, right)
    return left is right


def _same_items(frame: Frame, left: list[Any], right: list[Any]) -> bool:
    frame.spend(len(left))
    return all(equal(frame, one, other) for one, other in zip(left, right, strict=True))


def _same_members(frame: Frame, left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    frame.spend(len(left) + (sum(map(len, left)) >> 4))
    return all(key in right and equal(frame, value, right[key]) for key, value in left.items())


def check_ordered(frame: Frame, left: Any, right: Any) -> None:
    """Raise ExpressionError unless the two values have an order; their comparison is paid for."""
    if is_number(left) and is_number(right):
        return
    if isinstance(left, str) and isinstance(right, str):
        frame.spend_text(len(right))
        return
    raise ExpressionError(f"{kind(left)} and {kind(right)} have no order; only two numbers or two texts do")


def contains(frame: Frame, container: Any, item: Any) -> bool:
    """`item in container`: an item of a list, a member of an object, a part of a text."""
    if is_list(container):
        frame.spend(len(container))
        return any(equal(frame, other, item) for other in container)
    if isinstance(container, str) and isinstance(item, str):
        frame.spend(len(container) >> 4)
        return item in container
    if is_object(container) and isinstance(item, str):
        frame.spend_text(len(item))
        return item in container
    if is_object(container) or isinstance(container, str):
        raise ExpressionError(f"`in` looks for text in {kind(container)}, not for {kind(item)}")
    raise ExpressionError(f"`in` needs a list, an object or text on its right, not {kind(container)}")


def sliced(frame: Frame, value: Any, start: Any, stop: Any, step: Any) -> Any:
    """`value[start:stop:step]` of a list or text."""
    for bound in (start, stop, step):
        if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool)):
            raise ExpressionError(f"the bounds of a slice are whole numbers, not {not_whole(bound)}")
    if step == 0:
        raise ExpressionError("the step of a slice cannot be 0")
    part = slice(start, stop, step)
    if isinstance(value, str):
        size = len(range(*part.indices(len(value))))
        return joined(frame, [value[part]] if size else [])
    if is_list(value):
        frame.spend(len(range(*part.indices(len(value)))) + 1)
        return list(value[part])
    raise ExpressionError(f"only a list or text can be sliced, not {kind(value)}")


def _numbers(sign: str, left: Any, right: Any, hint: str = "") -> None:
    if not (is_number(left) and is_number(right)):
        raise ExpressionError(f"`{sign}` does not work on {kind(left)} and {kind(right)}{hint}")


def _add(frame: Frame, left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return joined(frame, [left, right])
    if is_list(left) and is_list(right):
        frame.spend(len(left) + len(right))
        return [*left, *right]
    _numbers("+", left, right, "; join text with `~`")
    return bounded(left + right)


def _sub(_frame: Frame, left: Any, right: Any) -> Any:
    _numbers("-", left, right)
    return bounded(left - right)


def _mul(_frame: Frame, left: Any, right: Any) -> Any:
    _numbers("*", left, right, "; text and lists cannot be repeated")
    if isinstance(left, int) and isinstance(right, int):
        # The product has at least this many bits less one, so it is not computed when it cannot be kept.
        if left.bit_length() + right.bit_length() > MAX_INT_BITS + 1:
            raise too_large(f"the whole number is too large (more than {MAX_INT_BITS:,} bits)")
        return bounded(left * right)
    return bounded(_float(left) * _float(right))


def _div(_frame: Frame, left: Any, right: Any) -> Any:
    _numbers("/", left, right)
    return bounded(left / right)


def _floordiv(_frame: Frame, left: Any, right: Any) -> Any:
    _numbers("//", left, right)
    return bounded(left // right)


def _mod(_frame: Frame, left: Any, right: Any) -> Any:
    _numbers("%", left, right, "; text is not formatted by `%`, join it with `~`")
    return bounded(left % right)


def _float(value: float) -> float:
    if isinstance(value, int) and value.bit_length() > _FLOAT_BITS:
        raise ExpressionError("the result is not a finite number")
    return float(value)


def negative(_frame: Frame, value: Any) -> Any:
    """`-value`."""
    if not is_number(value):
        raise ExpressionError(f"`-` does not work on {kind(value)}")
    return bounded(-value)


def positive(_frame: Frame, value: Any) -> Any:
    """`+value`."""
    if not is_number(value):
        raise ExpressionError(f"`+` does not work on {kind(value)}")
    return bounded(+value)


ARITHMETIC: Final[dict[str, Operation]] = {
    "+": _add,
    "-": _sub,
    "*": _mul,
    "/": _div,
    "//": _floordiv,
    "%": _mod,
}


def _ordering(compare: Callable[[Any, Any], bool]) -> Operation:
    def ordered(frame: Frame, left: Any, right: Any) -> bool:
        check_ordered(frame, left, right)
        return compare(left, right)

    return ordered


def _unequal(frame: Frame, left: Any, right: Any) -> bool:
    return not equal(frame, left, right)


def _in(frame: Frame, item: Any, container: Any) -> bool:
    return contains(frame, container, item)


def _not_in(frame: Frame, item: Any, container: Any) -> bool:
    return not contains(frame, container, item)


_LESS: Final = _ordering(operator.lt)
_AT_MOST: Final = _ordering(operator.le)
_GREATER: Final = _ordering(operator.gt)
_AT_LEAST: Final = _ordering(operator.ge)

#: By the grammar's names for the operators.
COMPARISONS: Final[dict[str, Operation]] = {
    "eq": equal,
    "ne": _unequal,
    "lt": _LESS,
    "lteq": _AT_MOST,
    "gt": _GREATER,
    "gteq": _AT_LEAST,
    "in": _in,
    "notin": _not_in,
}
