"""What differs between two documents: values by JSON pointer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from ..engine.pointers import child

__all__ = ["ABSENT", "Change", "changes"]


class _Absent:
    def __repr__(self) -> str:
        return "absent"


#: Stands where a document has nothing.
ABSENT: Final = _Absent()


@dataclass(slots=True, frozen=True)
class Change:
    """One place at which two documents differ; `before` or `after` may be ABSENT."""

    pointer: str
    before: Any
    after: Any


def changes(before: Any, after: Any) -> list[Change]:
    """Every place, in the order of the older document, what is new last. The order of members means nothing."""
    return list(_walk(before, after, ""))


def _walk(before: Any, after: Any, pointer: str) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        for name in dict.fromkeys([*old, *new]):
            yield from _walk(old.get(name, ABSENT), new.get(name, ABSENT), child(pointer, name))
    elif isinstance(before, list) and isinstance(after, list):
        first, second = cast("list[Any]", before), cast("list[Any]", after)
        for index in range(max(len(first), len(second))):
            old_item = first[index] if index < len(first) else ABSENT
            new_item = second[index] if index < len(second) else ABSENT
            yield from _walk(old_item, new_item, child(pointer, index))
    elif type(before) is not type(after) or before != after:  # pyright: ignore[reportUnknownArgumentType] - any two values
        yield Change(pointer, before, after)
