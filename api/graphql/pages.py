"""Connections: pages that go on behind a cursor, always bounded."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar, cast
from uuid import UUID

import strawberry

from ...engine.errors import RequestError
from ...repositories.readmodels import uuid_text
from .declare import part
from .limits import MAX_PAGE, MAX_ROOT_PAGE

__all__ = [
    "After",
    "Connection",
    "Edge",
    "First",
    "FirstOfAll",
    "PageInfo",
    "after",
    "cursor_of",
    "page",
    "size",
    "whole_page",
]

DEFAULT: Final = 20
First = Annotated[int, strawberry.argument(description=f"Entries of the page, 1 to {MAX_PAGE}.")]
FirstOfAll = Annotated[int, strawberry.argument(description=f"Entries of the page, 1 to {MAX_ROOT_PAGE}.")]
After = Annotated[
    str | None, strawberry.argument(name="after", description="`endCursor` of the page before.")
]
Node = TypeVar("Node")
Row = TypeVar("Row")


@part
@strawberry.type
class PageInfo:
    """Where a page ends."""

    has_next_page: bool
    end_cursor: str | None = strawberry.field(description="Give it as `after` to go on.")


@part
@strawberry.type
class Edge(Generic[Node]):
    """An entry of a page and the cursor to go on behind it."""

    cursor: str
    node: Node


@part
@strawberry.type
class Connection(Generic[Node]):
    """A page."""

    edges: list[Edge[Node]]
    page_info: PageInfo

    @strawberry.field(description="The entries without their cursors.")
    def nodes(self) -> list[Node]:
        """Give the entries alone."""
        return [edge.node for edge in self.edges]


def size(first: int, most: int = MAX_PAGE) -> int:
    """How many rows a page needs to be read: one more, to know whether more follow. Raises RequestError."""
    if not 1 <= first <= most:
        raise RequestError(f"a page has 1 to {most} entries, not {first}.", pointer="/first")
    return first + 1


def page(
    rows: Sequence[Row], first: int, make: Callable[[Row], Node], cursor: Callable[[Row], Sequence[Any]]
) -> Connection[Node]:
    """The first of these rows as a page."""
    edges = [Edge(cursor=cursor_of(*cursor(row)), node=make(row)) for row in rows[:first]]
    last = edges[-1].cursor if edges else None
    return Connection(edges=edges, page_info=PageInfo(has_next_page=len(rows) > first, end_cursor=last))


def whole_page(
    rows: Sequence[Row],
    first: int,
    behind: str | None,
    make: Callable[[Row], Node],
    name: Callable[[Row], str],
) -> Connection[Node]:
    """A page of a list that is read whole, because it is short; it is in the order of its names."""
    size(first, MAX_ROOT_PAGE)
    last = after(behind, str)
    rest = [row for row in rows if last is None or name(row) > last[0]]
    return page(sorted(rest, key=name)[: first + 1], first, make, lambda row: (name(row),))


def after(text: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """What a cursor says. Raises RequestError for what is none of this list's."""
    if text is None:
        return None
    try:
        found: Any = json.loads(base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    values = tuple(cast("list[Any]", found)) if isinstance(found, list) else ()
    if len(values) != len(kinds) or not all(_is(*each) for each in zip(values, kinds, strict=True)):
        raise RequestError("`after` is not the cursor of a page of this list.", pointer="/after")
    return values


def _is(value: Any, kind: type) -> bool:
    if kind is UUID:
        return isinstance(value, str) and uuid_text(value) is not None
    if kind is int:
        return type(value) is int and abs(value) < 2**63
    return (
        type(value) is kind and "\0" not in value and not any("\ud800" <= sign <= "\udfff" for sign in value)
    )


def cursor_of(*values: Any) -> str:
    """What `after` takes apart again."""
    return base64.urlsafe_b64encode(json.dumps(list(values), separators=(",", ":")).encode()).decode()
