"""Objects of JSON become the records that local services give: instants as microseconds, words as members of enums."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, cast

from .problems import NotUnderstood

__all__ = ["duration", "instant", "moment", "revive"]

T = TypeVar("T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def duration(seconds: float) -> str:
    """Seconds as a body or a query takes them, to the microsecond."""
    return f"PT{seconds:.6f}S"


def moment(at: int) -> str:
    """An instant in microseconds as a query takes it."""
    return (_EPOCH + at * _MICROSECOND).isoformat().replace("+00:00", "Z")


def instant(text: str | None) -> int | None:
    """The microseconds of an instant in ISO 8601."""
    return None if text is None else (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


def revive(kind: type[T], given: Mapping[str, Any], **more: Any) -> T:
    """A record from the members of an object that are its fields; `more` says what the object does not.

    Raises NotUnderstood when that is not enough: the server is of another release.
    """
    values, hints = {**given, **more}, _hints(kind)
    try:
        return kind(
            **{
                each.name: _value(hints[each.name], values[each.name])
                for each in fields(cast("Any", kind))
                if each.init and each.name in values
            }
        )
    except (TypeError, ValueError, KeyError) as exc:
        raise NotUnderstood(
            f"the server's answer is no {kind.__name__}: {exc}.", hint="It may be of another release."
        ) from exc


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(each for each in typing.get_args(hint) if each is not types.NoneType)
    if hint is int and isinstance(value, str):
        return instant(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if isinstance(hint, type) and is_dataclass(cast("Any", hint)):
        return revive(cast("type[Any]", hint), value)
    if typing.get_origin(hint) in {tuple, list}:
        inner = typing.get_args(hint)[0]
        made = [_value(inner, each) for each in value]
        return tuple(made) if typing.get_origin(hint) is tuple else made
    return value
