"""A column of values as one Postgres array literal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["array_literal"]


def array_literal(values: Sequence[Any], *, numeric: bool) -> str:
    """A column as an array literal: on the hot path, so quoting is looked for once a column, not once a value."""
    nulls = values.count(None)
    if nulls == len(values):
        return "{" + ",".join(["NULL"] * nulls) + "}"
    if numeric:
        return "{" + ",".join(["NULL" if v is None else str(v) for v in values]) + "}"
    if not nulls:
        joined = '","'.join(values)
        if "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
            return '{"' + joined + '"}'
    quoted = [
        "NULL" if v is None else '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values
    ]
    return "{" + ",".join(quoted) + "}"
