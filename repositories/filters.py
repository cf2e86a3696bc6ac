"""Which runs a list or a bulk operation means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, false, select

from .readmodels import uuid_text
from .records import InstanceState
from .tables import INSTANCES, LABELS

__all__ = ["InstanceFilter"]


@dataclass(frozen=True, slots=True)
class InstanceFilter:
    """Which runs: everything that is given must hold. Instants in microseconds."""

    states: frozenset[InstanceState] = frozenset()
    name: str | None = None
    version: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    key: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    parent_id: str | None = None
    #: Only runs that no other run started.
    roots: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a row of `instances` must meet."""
        own = INSTANCES.c
        found: list[ColumnElement[bool]] = []
        for column, value in ((own.name, self.name), (own.version, self.version), (own.key, self.key)):
            if value is not None:
                found.append(column == value)
        if self.states:
            found.append(own.state.in_([state.value for state in self.states]))
        if self.created_after is not None:
            found.append(own.created_at >= self.created_after)
        if self.created_before is not None:
            found.append(own.created_at < self.created_before)
        if self.parent_id is not None:
            parent = uuid_text(self.parent_id)
            found.append(false() if parent is None else own.parent_id == parent)  # what is no id is nobody's
        if self.roots:
            found.append(own.parent_id.is_(None))
        for name, value in self.labels.items():
            labelled = select(LABELS.c.instance_id).where(LABELS.c.name == name, LABELS.c.value == value)
            found.append(own.id.in_(labelled))
        return found
