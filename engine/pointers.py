"""JSON pointers (RFC 6901): how every problem and error names a place in a document.

Used by all of steps 1-3 and by the payload encoder. The whole document is `''`; a member is its parent's pointer, a
slash and the escaped key.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["child", "pointer_of"]


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
