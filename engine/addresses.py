"""Map items by their key: `settle["ACME"].charge` is `settle[17].charge` where item 17 has the key ACME.

People and tickets know an item by its key, the database by its place. Whoever takes a path from a person resolves it
here first; a path without a quoted key is given back as it is and costs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from ..repositories import views
from .errors import NotFound
from .rows import ITEMS_PER_PAGE, keys_key
from .translate import engine_errors

if TYPE_CHECKING:
    from ..repositories.database import Database

__all__ = ["resolve_keys", "resolve_path"]

_KEYED: Final = re.compile(r'\[("(?:[^"\\]|\\.)*")\]')


def resolve_keys(database: Database, instance_id: str, paths: Iterable[str]) -> tuple[str, ...]:
    """`resolve_path` for each of these."""
    return tuple(resolve_path(database, instance_id, path) for path in paths)


def resolve_path(database: Database, instance_id: str, path: str) -> str:
    """The path with every quoted item key replaced by the item's number. Raises NotFound for a key no item has."""
    while (found := _KEYED.search(path)) is not None:
        owner, key = path[: found.start()], str(json.loads(found.group(1)))
        number = _number_of(database, instance_id, owner, key)
        path = f"{owner}[{number}]{path[found.end() :]}"
    return path


def _number_of(database: Database, instance_id: str, owner: str, key: str) -> int:
    with engine_errors(), database.read() as connection:
        row = views.task(connection, instance_id, owner)
        pages = -(-(row.total or 0) // ITEMS_PER_PAGE) if row is not None else 0
        for page in range(pages):
            body = views.blob(connection, instance_id, keys_key(owner, row.gen if row else 0, page))
            keys = cast("list[Any]", json.loads(body)) if body else []
            if key in keys:
                return page * ITEMS_PER_PAGE + keys.index(key)
    raise NotFound(
        f"no item of {owner!r} has the key {key!r}.",
        hint="Only a map with `key` has keyed items; `strataflow tasks` lists what has begun.",
    )
