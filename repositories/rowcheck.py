"""Is this a row of that table? What comes out of a file is checked before the database sees it.

SQLite takes any value in any column, so a wrong kind of value would be found by whoever reads it, long after.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Float, Integer, Table

from .columns import ID
from .readmodels import uuid_text

__all__ = ["row_problem"]

_LISTED: Final = 5


def row_problem(table: Table, row: Mapping[str, Any]) -> str | None:
    """Say why this is no row of the table, or give None."""
    columns = _columns(table)
    for what, names in (("unknown", set(row) - set(columns)), ("missing", set(columns) - set(row))):
        if names:
            more = ", …" if len(names) > _LISTED else ""
            listed = ", ".join(repr(name) for name in sorted(names)[:_LISTED])
            return f"{what} in a row of {table.name!r}: {listed}{more}"
    for name, column in columns.items():
        wanted = _wanted(column, row[name])
        if wanted is not None:
            return f"{name!r} of a row of {table.name!r} is no {wanted}"
    return None


@cache
def _columns(table: Table) -> dict[str, Column[Any]]:
    return {column.name: column for column in table.columns}


def _wanted(column: Column[Any], value: Any) -> str | None:
    """What the value should be and is not; None when it fits."""
    if value is None:
        return None if column.nullable else "value, and must be one"
    kind = column.type
    if isinstance(kind, Float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return None if fits else "number"
    if isinstance(kind, Integer):
        most = 1 << (63 if isinstance(kind, BigInteger) else 31)
        whole = isinstance(value, int) and not isinstance(value, bool) and -most <= value < most
        return None if whole else "whole number in its range"
    if not isinstance(value, str) or not _storable(value):
        return "text that can be stored"
    return None if kind is not ID or uuid_text(value) == value else "id"


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return False
    return True
