"""What a compiled expression is made of: small functions of a frame, nested as the syntax tree was.

Made by `sandbox` once per expression, run for every evaluation. Each operation turns what Python raises on unfitting
values into an ExpressionError in plain words, with the operation's offset in the text; the innermost offset wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..errors import ExpressionError
from .operators import truth
from .values import Frame, Undefined, joined, kind, member, missing, not_whole, text_of, too_large, walk

__all__ = [
    "EVALUATION_ERRORS",
    "Run",
    "Step",
    "applied",
    "both",
    "chain",
    "choice",
    "computed_step",
    "concatenated",
    "constant",
    "defined",
    "either",
    "fallback",
    "fixed_step",
    "located",
    "object_key",
    "operation",
    "reader",
    "stepped",
    "with_options",
]

Run = Callable[[Frame], Any]
Step = Callable[[Frame, Any], Any]

#: What an operation may raise on values that do not fit it.
EVALUATION_ERRORS: Final = (
    ExpressionError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def located(error: Exception, position: int | None = None, name: str = "") -> ExpressionError:
    """The error in plain words; position and filter name are added unless a part of the expression did so already."""
    if not isinstance(error, ExpressionError):
        error = _translated(error)
    if error.position is None and position is not None:
        error.position = position
        if name:
            error.message = f"`{name}`: {error.message}"
    return error


def _translated(error: Exception) -> ExpressionError:
    if isinstance(error, ZeroDivisionError):
        return ExpressionError("division by zero")
    if isinstance(error, OverflowError):
        return ExpressionError("the result is not a finite number")
    if isinstance(error, RecursionError):
        return too_large("the value is nested too deeply")
    return ExpressionError("the values do not fit the operation")


def constant(value: Any) -> Run:
    """Always the same value."""
    return lambda _frame: value


def reader(root: str, parts: tuple[str | int, ...]) -> Run:
    """The value at a literal path, or Undefined."""
    return lambda frame: walk(frame.roots, root, parts)


def defined(run: Run, position: int) -> Run:
    """The same value, but an error when it is Undefined."""

    def check(frame: Frame) -> Any:
        value = run(frame)
        if type(value) is Undefined:
            raise located(value.error(), position)
        return value

    return check


def fixed_step(part: str | int, where: str) -> Step:
    """Member `part` of what stands at `where`; of Undefined it is the same Undefined."""

    def step(_frame: Frame, value: Any) -> Any:
        if type(value) is Undefined:
            return value
        try:
            return member(value, part)
        except LookupError:
            return missing(where, value, part)

    return step


def computed_step(key_run: Run, where: str, position: int) -> Step:
    """Member of what stands at `where`, its name or index computed; a computed name is data, so it is not shown."""

    def step(frame: Frame, value: Any) -> Any:
        if type(value) is Undefined:
            return value
        key = key_run(frame)
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            message = f"a member is read by text and an item by a whole number, not by {not_whole(key)}"
            raise ExpressionError(message, position=position)
        try:
            return member(value, key)
        except LookupError:
            return missing(where, value, key, hidden=isinstance(key, str))

    return step


def stepped(base: Run, steps: Sequence[Step]) -> Run:
    """The members read one after the other, without recursion however many there are."""

    def run(frame: Frame) -> Any:
        value = base(frame)
        for step in steps:
            value = step(frame, value)
        return value

    return run


def applied(function: Callable[..., Any], frame: Frame, values: Sequence[Any], position: int) -> Any:
    """One operation on values that are at hand."""
    try:
        return function(frame, *values)
    except EVALUATION_ERRORS as error:
        raise located(error, position) from None


def operation(function: Callable[..., Any], operands: Sequence[Run], position: int, name: str = "") -> Run:
    """A function of the frame and the operands' values; `name` is shown in its errors."""
    if len(operands) == 2:
        left, right = operands

        def binary(frame: Frame) -> Any:
            one, other = left(frame), right(frame)
            try:
                return function(frame, one, other)
            except EVALUATION_ERRORS as error:
                raise located(error, position, name) from None

        return binary

    def run(frame: Frame) -> Any:
        values = [operand(frame) for operand in operands]
        try:
            return function(frame, *values)
        except EVALUATION_ERRORS as error:
            raise located(error, position, name) from None

    return run


def with_options(
    function: Callable[..., Any],
    operands: Sequence[Run],
    options: Mapping[str, Run],
    position: int,
    name: str,
) -> Run:
    """As `operation`, for a filter or test that is also given arguments by name."""

    def run(frame: Frame) -> Any:
        values = [operand(frame) for operand in operands]
        named = {key: option(frame) for key, option in options.items()}
        try:
            return function(frame, *values, **named)
        except EVALUATION_ERRORS as error:
            raise located(error, position, name) from None

    return run


def fallback(value_run: Run, other: Run, boolean: Run | None) -> Run:
    """`value | default(other)`: `other` is looked at only when it is needed, and may be Undefined itself."""

    def run(frame: Frame) -> Any:
        value = value_run(frame)
        if value is None or type(value) is Undefined:
            return other(frame)
        if boolean is not None and truth(boolean(frame)) and not truth(value):
            return other(frame)
        return value

    return run


def choice(test: Run, yes: Run, no: Run) -> Run:
    """`yes if test else no`."""
    return lambda frame: yes(frame) if truth(test(frame)) else no(frame)


def both(left: Run, right: Run) -> Run:
    """`left and right`: the first that does not hold, else the last."""

    def run(frame: Frame) -> Any:
        value = left(frame)
        return right(frame) if truth(value) else value

    return run


def either(left: Run, right: Run) -> Run:
    """`left or right`: the first that holds, else the last."""

    def run(frame: Frame) -> Any:
        value = left(frame)
        return value if truth(value) else right(frame)

    return run


def chain(first: Run, links: Sequence[tuple[Callable[..., Any], Run]], position: int) -> Run:
    """`first < second <= third`, each operand computed at most once."""

    def run(frame: Frame) -> Any:
        left = first(frame)
        for compare, operand in links:
            right = operand(frame)
            if not applied(compare, frame, (left, right), position):
                return False
            left = right
        return True

    return run


def concatenated(frame: Frame, *values: Any) -> str:
    """`a ~ b ~ c`."""
    return joined(frame, [text_of(frame, value) for value in values])


def object_key(value: Any, position: int) -> str:
    """The value as key of an object literal."""
    if not isinstance(value, str):
        raise ExpressionError(f"the keys of an object are text, not {kind(value)}", position=position)
    return value
