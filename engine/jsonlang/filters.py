"""The fixed list of filters, and those of them that look into the members of a list.

Filters are pure functions from JSON to JSON that pay for what they touch: the frame, the value, the arguments.
`attribute='a.b'` reads members by name, never attributes of Python objects. Only `default` is given an Undefined.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from ..errors import ExpressionError
from .operators import ARITHMETIC, check_ordered, truth
from .predicates import LENIENT_TESTS, TEST_FUNCTIONS
from .shapefilters import SHAPE_FILTERS, need_list, nothing
from .textfilters import TEXT_FILTERS, UNSET, need_text
from .values import Frame, Undefined, is_list, is_object, joined, kind, label, member, missing, text_of

__all__ = ["FILTER_FUNCTIONS"]

Path = tuple[str | int, ...]

#: Characters of an attribute's path.
MAX_ATTRIBUTE: Final = 256

_POSITION: Final = re.compile(r"[0-9]{1,9}")


def _path(attribute: Any) -> Path:
    if isinstance(attribute, int) and not isinstance(attribute, bool):
        return (attribute,)
    if isinstance(attribute, str) and 0 < len(attribute) <= MAX_ATTRIBUTE:
        return tuple(int(part) if _POSITION.fullmatch(part) else part for part in attribute.split("."))
    raise ExpressionError("the attribute is the name of a member, like 'status' or 'owner.name'")


def _pick(item: Any, index: int, path: Path) -> Any:
    value = item
    for depth, part in enumerate(path):
        try:
            value = member(value, part)
        except LookupError:
            return missing(label(f"item[{index}]", path[:depth]), value, part)
    return value


def _picked(frame: Frame, items: list[Any], attribute: Any, default: Any = UNSET) -> list[Any]:
    """What stands at `attribute` in every item, or the items themselves without one."""
    if attribute is None:
        return items
    path = _path(attribute)
    frame.spend((len(items) + 1) * len(path))
    values: list[Any] = []
    for index, item in enumerate(items):
        value = _pick(item, index, path)
        if isinstance(value, Undefined):
            if default is UNSET:
                raise value.error()
            value = default
        values.append(value)
    return values


def _join(frame: Frame, value: Any, /, separator: Any = "", attribute: Any = None) -> str:
    items = _picked(frame, need_list(frame, value), attribute)
    return joined(
        frame, [text_of(frame, item) for item in items], need_text(frame, separator, " as separator")
    )


def _map(
    frame: Frame,
    value: Any,
    /,
    name: Any = None,
    *args: Any,
    attribute: Any = None,
    default: Any = UNSET,
    **options: Any,
) -> list[Any]:
    items = need_list(frame, value)
    if attribute is not None:
        if name is not None:
            raise ExpressionError("takes the name of a filter or attribute=, not both")
        return _picked(frame, items, attribute, default)
    if default is not UNSET:
        options["default"] = default
    if not isinstance(name, str) or name not in FILTER_FUNCTIONS:
        raise ExpressionError("needs the name of a filter, or attribute=")
    function = FILTER_FUNCTIONS[name]
    # A call costs several times what looking at an element does.
    frame.spend(4 * len(items))
    return [_defined(function(frame, item, *args, **options)) for item in items]


def _defined(value: Any) -> Any:
    if isinstance(value, Undefined):
        raise value.error()
    return value


def _holds(frame: Frame, values: list[Any], name: Any, args: tuple[Any, ...]) -> list[bool]:
    """For each value whether the test holds; without a test, whether it is neither null, false, 0 nor empty."""
    if name is None:
        return [truth(_defined(value)) for value in values]
    if not isinstance(name, str) or name not in TEST_FUNCTIONS:
        raise ExpressionError("needs the name of a test")
    test = TEST_FUNCTIONS[name]
    frame.spend(len(values))
    if name in LENIENT_TESTS:
        return [test(frame, value, *args) for value in values]
    return [test(frame, _defined(value), *args) for value in values]


def _select(frame: Frame, value: Any, /, test: Any = None, *args: Any) -> list[Any]:
    items = need_list(frame, value)
    return [item for item, holds in zip(items, _holds(frame, items, test, args), strict=True) if holds]


def _reject(frame: Frame, value: Any, /, test: Any = None, *args: Any) -> list[Any]:
    items = need_list(frame, value)
    return [item for item, holds in zip(items, _holds(frame, items, test, args), strict=True) if not holds]


def _attribute_holds(
    frame: Frame, items: list[Any], attribute: Any, test: Any, args: tuple[Any, ...]
) -> list[bool]:
    path = _path(attribute)
    frame.spend((len(items) + 1) * len(path))
    return _holds(frame, [_pick(item, index, path) for index, item in enumerate(items)], test, args)


def _selectattr(frame: Frame, value: Any, /, attribute: Any, test: Any = None, *args: Any) -> list[Any]:
    items = need_list(frame, value)
    chosen = _attribute_holds(frame, items, attribute, test, args)
    return [item for item, holds in zip(items, chosen, strict=True) if holds]


def _rejectattr(frame: Frame, value: Any, /, attribute: Any, test: Any = None, *args: Any) -> list[Any]:
    items = need_list(frame, value)
    chosen = _attribute_holds(frame, items, attribute, test, args)
    return [item for item, holds in zip(items, chosen, strict=True) if not holds]


def _ordered(frame: Frame, items: list[Any], attribute: Any) -> list[Any]:
    """The values to order by, all of them numbers or all of them texts."""
    values = _picked(frame, items, attribute)
    frame.spend(2 * len(values))
    for value in values:
        check_ordered(frame, values[0], value)
    return values


def _sort(frame: Frame, value: Any, /, reverse: Any = None, attribute: Any = None) -> list[Any]:
    items = need_list(frame, value)
    keys = _ordered(frame, items, attribute)
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__, reverse=truth(reverse))]


def _min(frame: Frame, value: Any, /, attribute: Any = None) -> Any:
    items = need_list(frame, value)
    keys = _ordered(frame, items, attribute)
    return items[min(range(len(items)), key=keys.__getitem__)] if items else nothing("min")


def _max(frame: Frame, value: Any, /, attribute: Any = None) -> Any:
    items = need_list(frame, value)
    keys = _ordered(frame, items, attribute)
    return items[max(range(len(items)), key=keys.__getitem__)] if items else nothing("max")


def _sum(frame: Frame, value: Any, /, attribute: Any = None, start: Any = 0) -> Any:
    total = start
    for number in _picked(frame, need_list(frame, value), attribute):
        if isinstance(number, str) or is_list(number):
            raise ExpressionError(f"adds numbers, not {kind(number)}")
        total = ARITHMETIC["+"](frame, total, number)
    return total


def _frozen(frame: Frame, value: Any) -> Any:
    """A hashable twin: two values have equal twins when they are equal as JSON."""
    frame.spend(1)
    if is_list(value):
        return ("list", tuple(_frozen(frame, item) for item in value))
    if is_object(value):
        frame.spend(sum(map(len, value)) >> 4)
        return ("object", frozenset((key, _frozen(frame, item)) for key, item in value.items()))
    if isinstance(value, str):
        frame.spend_text(len(value))
    # Python holds 1 and true for equal.
    return ("boolean", value) if isinstance(value, bool) else value


def _unique(frame: Frame, value: Any, /, attribute: Any = None) -> list[Any]:
    items = need_list(frame, value)
    kept: dict[Any, Any] = {}
    for item, key in zip(items, _picked(frame, items, attribute), strict=True):
        kept.setdefault(_frozen(frame, key), item)
    return list(kept.values())


def _groupby(frame: Frame, value: Any, /, attribute: Any, default: Any = UNSET) -> list[Any]:
    items = need_list(frame, value)
    groups: dict[Any, dict[str, Any]] = {}
    for item, key in zip(items, _picked(frame, items, attribute, default), strict=True):
        groups.setdefault(_frozen(frame, key), {"key": key, "items": []})["items"].append(item)
    return list(groups.values())


#: Every filter there is, by name.
FILTER_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = (
    SHAPE_FILTERS
    | TEXT_FILTERS
    | {
        "groupby": _groupby,
        "join": _join,
        "map": _map,
        "max": _max,
        "min": _min,
        "reject": _reject,
        "rejectattr": _rejectattr,
        "select": _select,
        "selectattr": _selectattr,
        "sort": _sort,
        "sum": _sum,
        "unique": _unique,
    }
)
