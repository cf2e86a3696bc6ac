"""What an expression can touch: JSON values, read by member and index only, under one budget per rendering.

Lowest of the expression modules: `values` → `operators` → `filters` → `sandbox` → `expressions`. Nothing here or
above reads an attribute of a Python object that came from data. One unit of the budget is one element visited or 16
characters of text built, so nested filters cannot multiply work. Messages name types and members, never values: a value
may be a secret.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard, cast

from ..errors import ExpressionError, PayloadError
from ..payload import Json, encode

__all__ = [
    "MAX_INT_BITS",
    "MAX_RESULT",
    "MAX_TEXT",
    "MAX_WORK",
    "Frame",
    "Undefined",
    "finish",
    "is_list",
    "is_number",
    "is_object",
    "joined",
    "kind",
    "label",
    "member",
    "missing",
    "not_whole",
    "settle",
    "text_of",
    "too_large",
    "walk",
]

#: Characters of one text that an expression builds.
MAX_TEXT: Final = 1_000_000
#: Units that the result of one expression may have.
MAX_RESULT: Final = 1_000_000
#: Units that one rendering may spend.
MAX_WORK: Final = 2_000_000
#: Bits of an integer that an expression computes.
MAX_INT_BITS: Final = 4_096

#: Characters of a text that nobody pays for reading.
_USUAL_TEXT: Final = 256
_SCALARS: Final = frozenset((str, int, bool, type(None)))


def too_large(message: str) -> ExpressionError:
    """Error for everything that a cap stops."""
    return ExpressionError(message, reason="expression.too_large")


class Frame:
    """One rendering: the data it reads and what is left of its budget. Used by one thread."""

    __slots__ = ("roots", "work")

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self.roots = roots
        self.work = MAX_WORK

    def spend_text(self, length: int) -> None:
        """Pay for reading a text; one of usual length costs no more than the call that reads it."""
        if length > _USUAL_TEXT:
            self.spend(length >> 4)

    def spend(self, units: int) -> None:
        """Take `units` from the budget; raises ExpressionError when it is used up."""
        self.work -= units
        if self.work < 0:
            raise too_large(f"the expression handles too much data (more than {MAX_WORK:,} elements)")


class Undefined:
    """A member that is not there. It names the first missing part, however far the path goes on."""

    __slots__ = ("reason", "where")

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason

    def error(self) -> ExpressionError:
        """What using it raises."""
        return ExpressionError(f"{self.where}: {self.reason}")


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """True for a JSON list."""
    return isinstance(value, (list, tuple))


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """True for a JSON object."""
    return isinstance(value, Mapping)


def is_number(value: Any) -> TypeGuard[int | float]:
    """True for a JSON number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def kind(value: Any) -> str:
    """JSON type in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (int, float)):
        return "a number"
    if is_list(value):
        return "a list"
    return "an object" if is_object(value) else "not a JSON value"


def not_whole(value: Any) -> str:
    """`kind` where a whole number was expected."""
    return "a fraction" if isinstance(value, float) else kind(value)


def label(root: str, parts: Iterable[str | int]) -> str:
    """The path as an author writes it: `nodes.a.output['a b'][0]`."""
    text = root
    for part in parts:
        text += f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{part!r}]"
    return text


def member(value: Any, part: str | int) -> Any:
    """Member of an object, item of a list or character of a text. Raises LookupError when there is none."""
    if type(part) is int:
        if is_list(value) or isinstance(value, str):
            return value[part]
    elif is_object(value):
        return value[cast("str", part)]
    raise LookupError


def walk(roots: Mapping[str, Any], root: str, parts: tuple[str | int, ...]) -> Any:
    """Value at a path, or the Undefined that names its first missing part. The hot path of rendering."""
    try:
        value = roots[root]
        for part in parts:
            value = cast("dict[Any, Any]", value)[part] if type(value) is dict else member(value, part)
    except LookupError:
        return _first_missing(roots, root, parts)
    return value


def _first_missing(roots: Mapping[str, Any], root: str, parts: tuple[str | int, ...]) -> Undefined:
    if root not in roots:
        return Undefined(root, "not available here")
    value = roots[root]
    for index, part in enumerate(parts):
        try:
            value = member(value, part)
        except LookupError:
            return missing(label(root, parts[:index]), value, part)
    return Undefined(label(root, parts), "not available here")


def missing(where: str, value: Any, part: str | int, *, hidden: bool = False) -> Undefined:
    """The Undefined for `part` of `value`, which stands at `where`; `hidden`: a name that is data is not shown."""
    owner = where.rpartition(".")[2]
    path = f"{where}[…]" if hidden else label(where, (part,))
    name = "such member" if hidden else f"member {part!r}" if isinstance(part, str) else f"item {part}"
    if isinstance(part, int) and (is_list(value) or isinstance(value, str)):
        return Undefined(path, f"{owner} has the length {len(value)} and no {name}")
    if isinstance(part, str) and is_object(value):
        return Undefined(path, f"{owner} has no {name}")
    return Undefined(path, f"{owner} is {kind(value)} and has no {name}")


def text_of(frame: Frame, value: Json) -> str:
    """Text form of a value: text verbatim, everything else as compact JSON."""
    if type(value) is str:
        return value
    if type(value) is int and value.bit_length() < 64:
        return str(value)
    if isinstance(value, (list, dict, tuple, Mapping)):
        value = settle(frame, value)
    try:
        text = encode(value)
    except PayloadError as error:
        raise ExpressionError(f"the value has no text form: {error.message}") from None
    frame.spend(len(text) >> 4)
    return text if not isinstance(value, str) else str.__str__(value)


def joined(frame: Frame, parts: list[str], separator: str = "") -> str:
    """The parts as one text, refused before it is built when it would be larger than `MAX_TEXT`."""
    size = sum(map(len, parts)) + len(separator) * max(0, len(parts) - 1)
    if size > MAX_TEXT:
        raise too_large(f"the text would have {size:,} characters; at most {MAX_TEXT:,} are allowed")
    frame.spend((size >> 4) + 1)
    return separator.join(parts)


def finish(frame: Frame, value: Any) -> Json:
    """The result of an expression: defined, JSON, finite and below the caps."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Undefined):
        raise value.error()
    return settle(frame, value)


def settle(frame: Frame, value: Any) -> Json:
    """The value with native JSON types only, its size paid for. Shares what needs no change."""
    try:
        units = _weigh(value)
    except TypeError:
        # Tuples, lazy mappings and subclasses are rare: only where there are any is the value walked again.
        value = _native(value)
        units = _weigh(value)
    frame.spend(units)
    return value


def _weigh(value: Any) -> int:
    """Units of a value, every shared part counted each time. Raises TypeError at the first type that is not native."""
    units = 1
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        form = cast("type[Any]", type(item))
        if form is str:
            units += len(item) >> 4
        elif form is dict:
            units += len(item) + sum(map(len, item)) // 16
            _check_size(units)
            stack.extend(item.values())
        elif form is list:
            units += len(item)
            # Checked before the members are taken, so that sharing cannot make the stack explode.
            _check_size(units)
            stack.extend(item)
        elif form is float:
            if not math.isfinite(item):
                raise ExpressionError("the result is not a finite number")
        elif form is int:
            units += item.bit_length() >> 7
        elif form is not bool and item is not None:
            raise TypeError
    _check_size(units)
    return units


def _check_size(units: int) -> None:
    if units > MAX_RESULT:
        raise too_large(f"the value is too large for an expression (more than {MAX_RESULT:,} elements)")


def _native(value: Any) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if is_list(value):
        return [_native(item) for item in value]
    if is_object(value):
        return {_key(key): _native(item) for key, item in value.items()}
    if isinstance(value, Undefined):
        raise value.error()
    raise ExpressionError("the data holds a value that is not JSON")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ExpressionError(f"the data holds an object whose key is {kind(key)}; keys are text")
    return str.__str__(key)
