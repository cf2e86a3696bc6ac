"""What a look for causes has at hand, and how findings are made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from .kinds import seconds_of
from .model import Finding, Rule

if TYPE_CHECKING:
    from ...engine.workflow_engine import WorkflowEngine
    from ...repositories.alert_store import AlertRow
    from ...repositories.database import Database
    from ..explain import Explainer

__all__ = ["Look", "by_name", "fits"]

_US = 1_000_000


@dataclass(slots=True)
class Look:
    """One round: the rules that are on, what is open, and where to read."""

    database: Database
    #: By the database's clock, in microseconds.
    now: int
    rules: Sequence[Rule]
    #: Open alerts, by rule.
    open: Mapping[str, Sequence[AlertRow]]
    #: When a round was done last; 0: never.
    done_at: int = 0
    explainer: Explainer | None = None
    #: The engine of this process, for what only it can see.
    engine: WorkflowEngine | None = None
    #: Its connections in use, and at most, by pool.
    pools: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    #: Findings by rule; a rule that is not in it could not be looked at.
    found: dict[str, list[Finding]] = field(default_factory=dict[str, list[Finding]])

    def of(self, kind: str) -> list[Rule]:
        """The rules of a kind that are on."""
        return [rule for rule in self.rules if rule.kind == kind and rule.enabled]

    def ago(self, rule: Rule, setting: str) -> int:
        """The instant that lies a setting's time span back."""
        return self.now - int(seconds_of(rule.settings, setting) * _US)

    def open_subjects(self, rule: Rule) -> set[str]:
        """What a rule has open alerts on."""
        return {row.subject for row in self.open.get(rule.name, ())}


def fits(rule: Rule, name: str) -> bool:
    """Does a name fit the rule's pattern?"""
    return fnmatchcase(name, rule.settings["pattern"])


def by_name(items: Iterable[Any]) -> dict[str, list[Any]]:
    """Things that have a name, by it."""
    found: dict[str, list[Any]] = defaultdict(list)
    for each in items:
        found[each.name].append(each)
    return dict(found)
