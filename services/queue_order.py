"""Places in a queue, pure: which priority and instant each entry must have for an order to hold.

A queue is taken by priority, highest first, then by since when a task is ready. An entry that stands right already
keeps its place; another one gets a place just before the one behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..repositories.queueviews import QueueEntry

__all__ = ["Place", "inserted", "put_before"]


@dataclass(slots=True, frozen=True)
class Place:
    """A new place for one entry."""

    entry: QueueEntry
    priority: int
    ready_at: int


Key = tuple[int, int]


def _key(entry: QueueEntry) -> Key:
    return -entry.priority, entry.at


def put_before(wanted: Sequence[QueueEntry], following: Key | None) -> list[Place]:
    """Places that make `wanted` stand in this order, all of them before `following` (None: nothing is behind)."""
    places: list[Place] = []
    for entry in reversed(wanted):
        key = _key(entry)
        if following is not None and key >= following:
            key = following[0], following[1] - 1
            places.append(Place(entry, -key[0], key[1]))
        following = key
    return places


def inserted(entry: QueueEntry, others: Sequence[QueueEntry], position: int) -> list[Place]:
    """Places that put an entry at a position, from 0, among the others, which are given at least up to it."""
    before, own = list(others[:position]), _key(entry)
    if position < len(others):
        behind = _key(others[position])
        if own < behind and (not before or _key(before[-1]) < own):
            return []
        own = behind[0], behind[1] - 1
    elif before and own <= _key(before[-1]):
        last = _key(before[-1])
        own = last[0], last[1] + 1
    else:
        return []
    return [Place(entry, -own[0], own[1]), *put_before(before, own)]
