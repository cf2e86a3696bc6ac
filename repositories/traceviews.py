"""Read models for traces: when tasks that ran more than once began, and what happened to them since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from .readmodels import chunks
from .tables import JOURNAL

__all__ = ["Step", "steps"]


@dataclass(frozen=True, slots=True)
class Step:
    """One transition of one task."""

    path: str
    gen: int
    attempt: int
    from_state: str | None
    to_state: str
    reason: str
    at: int


def steps(connection: Connection, instance_id: str, paths: Iterable[str], limit: int) -> list[Step]:
    """Give the transitions of some tasks of one instance, oldest first, at most `limit` for each page of paths.

    It reads the instance's journal once a page, so ask for all tasks of an instance together.
    """
    own = JOURNAL.c
    columns = (own.path, own.gen, own.attempt, own.from_state, own.to_state, own.reason, own.at)
    found: list[Step] = []
    for page in chunks(paths):
        which = select(*columns).where(own.instance_id == instance_id, own.path.in_(page))
        found += [Step(*row) for row in connection.execute(which.order_by(own.seq).limit(limit))]
    return found
