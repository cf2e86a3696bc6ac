"""Filters that give lists and objects another shape, and `default`; they look at no member by name.

Lists are never changed in place. `first` and `last` of nothing give an Undefined, so that `default` can follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import ExpressionError
from .operators import truth
from .textfilters import UNSET, need_int, need_text
from .values import MAX_RESULT, Frame, Undefined, is_list, is_object, kind

__all__ = ["SHAPE_FILTERS", "need_list", "nothing"]


def need_list(frame: Frame, value: Any) -> list[Any]:
    """The value when it is a list, its length paid for."""
    if not is_list(value):
        hint = "; use `| items`, `| keys` or `| values` first" if is_object(value) else ""
        raise ExpressionError(f"needs a list, not {kind(value)}{hint}")
    frame.spend(len(value) + 1)
    return value


def need_object(frame: Frame, value: Any) -> Mapping[str, Any]:
    if not is_object(value):
        raise ExpressionError(f"needs an object, not {kind(value)}")
    frame.spend(len(value) + (sum(map(len, value)) >> 4) + 1)
    return value


def _default(_frame: Frame, value: Any, /, fallback: Any, boolean: Any = None) -> Any:
    if value is None or isinstance(value, Undefined) or (boolean and not truth(value)):
        return fallback
    return value


def _length(_frame: Frame, value: Any, /) -> int:
    if isinstance(value, str) or is_list(value) or is_object(value):
        return len(value)
    raise ExpressionError(f"needs a list, an object or text, not {kind(value)}")


def _as_list(frame: Frame, value: Any, /) -> list[Any]:
    return list(need_text(frame, value)) if isinstance(value, str) else need_list(frame, value)


def _first(_frame: Frame, value: Any, /) -> Any:
    return _end(value, 0, "first")


def _last(_frame: Frame, value: Any, /) -> Any:
    return _end(value, -1, "last")


def _end(value: Any, index: int, name: str) -> Any:
    if not is_list(value) and not isinstance(value, str):
        raise ExpressionError(f"needs a list or text, not {kind(value)}")
    return value[index] if value else nothing(name)


def nothing(name: str) -> Undefined:
    """What the filter gives for an empty list or text."""
    return Undefined(name, "the value is empty")


def _limit(frame: Frame, value: Any, /, count: Any) -> list[Any]:
    count = need_int(count, "the count", 0, MAX_RESULT)
    if not is_list(value):
        raise ExpressionError(f"needs a list, not {kind(value)}")
    frame.spend(min(count, len(value)))
    return value[:count]


def _reverse(frame: Frame, value: Any, /) -> Any:
    if isinstance(value, str):
        return need_text(frame, value)[::-1]
    return need_list(frame, value)[::-1]


def _batch(frame: Frame, value: Any, /, size: Any, fill: Any = UNSET) -> list[Any]:
    items = need_list(frame, value)
    size = need_int(size, "the size", 1, MAX_RESULT)
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    if fill is not UNSET and batches:
        lacking = size - len(batches[-1])
        frame.spend(lacking)
        batches[-1] = [*batches[-1], *([fill] * lacking)]
    return batches


def _flatten(frame: Frame, value: Any, /, levels: Any = 1) -> list[Any]:
    items = need_list(frame, value)
    for _ in range(need_int(levels, "levels", 1, 100)):
        if not any(is_list(item) for item in items):
            break
        frame.spend(sum(len(item) if is_list(item) else 1 for item in items))
        items = [inner for item in items for inner in (item if is_list(item) else (item,))]
    return items


def _zip(frame: Frame, value: Any, /, *others: Any) -> list[Any]:
    lists = [need_list(frame, value), *(need_list(frame, other) for other in others)]
    return [list(row) for row in zip(*lists, strict=False)]


def _keys(frame: Frame, value: Any, /) -> list[str]:
    return list(need_object(frame, value))


def _values(frame: Frame, value: Any, /) -> list[Any]:
    return list(need_object(frame, value).values())


def _items(frame: Frame, value: Any, /) -> list[Any]:
    return [{"key": key, "value": item} for key, item in need_object(frame, value).items()]


def _fromitems(frame: Frame, value: Any, /) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for entry in need_list(frame, value):
        if not (is_object(entry) and "key" in entry and "value" in entry):
            raise ExpressionError("needs a list of objects with the members key and value")
        if not isinstance(entry["key"], str):
            raise ExpressionError(f"a key is text, not {kind(entry['key'])}")
        frame.spend_text(len(entry["key"]))
        result[entry["key"]] = entry["value"]
    return result


def _merge(frame: Frame, value: Any, /, *others: Any) -> dict[str, Any]:
    result = dict(need_object(frame, value))
    for other in others:
        result.update(need_object(frame, other))
    return result


SHAPE_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "batch": _batch,
    "count": _length,
    "default": _default,
    "first": _first,
    "flatten": _flatten,
    "fromitems": _fromitems,
    "items": _items,
    "keys": _keys,
    "last": _last,
    "length": _length,
    "limit": _limit,
    "list": _as_list,
    "merge": _merge,
    "reverse": _reverse,
    "values": _values,
    "zip": _zip,
}
