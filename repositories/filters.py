"""Which runs a list or a bulk operation means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, false, select

from .readmodels import uuid_range, uuid_text
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
    #: Labels that it has, whatever they say.
    label_names: tuple[str, ...] = ()
    #: How its id begins, hyphens or not.
    id_prefix: str | None = None
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
        if self.roots:
            found.append(own.parent_id.is_(None))
        return [*found, *self._by_id(), *self._labelled()]

    def _by_id(self) -> list[ColumnElement[bool]]:
        """What is no id is nobody's, and no id begins with it."""
        own = INSTANCES.c
        found: list[ColumnElement[bool]] = []
        if self.parent_id is not None:
            parent = uuid_text(self.parent_id)
            found.append(false() if parent is None else own.parent_id == parent)
        if self.id_prefix is not None:
            ends = uuid_range(self.id_prefix)
            found.append(false() if ends is None else own.id.between(*ends))
        return found

    def _labelled(self) -> list[ColumnElement[bool]]:
        own = LABELS.c
        pairs = [select(own.instance_id).where(own.name == n, own.value == v) for n, v in self.labels.items()]
        names = [select(own.instance_id).where(own.name == name) for name in self.label_names]
        return [INSTANCES.c.id.in_(each) for each in (*pairs, *names)]
