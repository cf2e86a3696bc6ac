"""JSON pointers (RFC 6901): how every problem and error names a place in a document.

Used by all of steps 1-3 and by the payload encoder. The whole document is `''`; a member is its parent's
pointer, a slash and the escaped key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

__all__ = ["child", "parts_of", "pointer_of", "values_in"]


def child(pointer: str, key: str | int) -> str:
    """Pointer of a member or an element of what stands at `pointer`."""
    if isinstance(key, str) and ("~" in key or "/" in key):
        key = key.replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{key}"


def pointer_of(parts: Iterable[str | int]) -> str:
    """Pointer of the place that the keys and indexes in `parts` lead to."""
    pointer = ""
    for part in parts:
        pointer = child(pointer, part)
    return pointer


def parts_of(pointer: str) -> list[str]:
    """The keys and indexes, as text, that lead to a place."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def values_in(value: object, pointer: str = "") -> Iterator[tuple[str, object]]:
    """Every value inside a JSON value, itself first, with its place, in document order."""
    stack: list[tuple[str, object]] = [(pointer, value)]
    while stack:
        here, found = stack.pop()
        yield here, found
        if isinstance(found, dict):
            members = cast("dict[str, Any]", found)
            stack.extend((child(here, key), members[key]) for key in reversed(members))
        elif isinstance(found, list):
            elements = cast("list[Any]", found)
            stack.extend((child(here, index), elements[index]) for index in reversed(range(len(elements))))
