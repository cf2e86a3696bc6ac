"""The plan: a definition compiled once for execution. Data only; `engine/graph.py` builds it.

A plan is read millions of times and never changed. Nodes are addressed statically: names joined by dots, `[]` where a
map item stands: the task `settle[3].charge` is an instance of the plan node `settle[].charge`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeVar

if TYPE_CHECKING:
    from .expressions import Template

__all__ = [
    "COMPLETED_ONLY",
    "Edge",
    "JoinRule",
    "NodeKind",
    "Plan",
    "PlanNode",
    "RetryPolicy",
    "ScopePlan",
    "address_of",
    "given",
]

_T = TypeVar("_T")
NodeKind = Literal["run", "map", "set", "wait", "do"]
COMPLETED_ONLY: Final = frozenset({"completed"})
_INDEX: Final = re.compile(r"\[\d+\]")


def given(value: _T | None, what: str) -> _T:
    """A part that the validator guarantees to be there. Raises LookupError naming what a broken plan lacks."""
    if value is None:
        raise LookupError(f"the plan has no {what}")
    return value


def address_of(path: str) -> str:
    """Static address of the node a task path stands for: `settle[3].charge` gives `settle[].charge`."""
    return _INDEX.sub("[]", path) if "[" in path else path


@dataclass(slots=True, frozen=True)
class Edge:
    """A dependency on a sibling node, met when it ends in one of `on`."""

    node: str
    on: frozenset[str] = COMPLETED_ONLY


@dataclass(slots=True, frozen=True)
class RetryPolicy:
    """`max` retries after the first attempt (DSL rule 20); durations in microseconds."""

    max: int = 0
    delay: int = 1_000_000
    backoff: Literal["fixed", "linear", "exponential"] = "exponential"
    factor: float = 2.0
    max_delay: int = 3_600_000_000
    #: Share of the delay, 0 to 1, that a hash of (instance, path, attempt) may add or take.
    jitter: float = 0.0
    #: Error patterns that are retried; empty = any retryable error.
    on: tuple[str, ...] = ()
    #: Error patterns that end the node at once.
    never: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class JoinRule:
    """When a map is met. `need` is `all`, `any`, a number of successes, or a share of the total in percent.

    `tolerate` is how many items may fail under `all`, as a number or in percent of the total (rounded down).
    """

    need: Literal["all", "any"] | int = "all"
    #: `need` as percent of the total, rounded up; overrides `need`.
    need_percent: float | None = None
    tolerate: int = 0
    tolerate_percent: float | None = None
    rest: Literal["cancel", "keep"] = "cancel"


@dataclass(slots=True)
class PlanNode:
    """One node. Fields that its verb does not use keep their default."""

    #: Static address, unique in the plan.
    address: str
    #: Name in its scope; '' for the one-node body of a map.
    name: str
    kind: NodeKind
    #: Address of the scope that owns the node ('' = the definition).
    scope: str
    deps: tuple[Edge, ...] = ()
    #: Names of siblings that depend on this node, in document order.
    successors: tuple[str, ...] = ()
    #: True when a successor's edge accepts `failed`: the failure is handled by it.
    failure_handled: bool = False
    when: Template | None = None
    #: Reshapes the result (`result` is the raw one).
    output: Template | None = None
    # run
    executor: str | None = None
    with_: Template | None = None
    queue: str = "default"
    priority: int = 0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Per attempt, in microseconds; None = no limit.
    timeout: int | None = None
    # set
    set_: Template | None = None
    # wait: a template that gives a duration text
    wait_for: Template | None = None
    # map
    items: Template | None = None
    as_: str = "item"
    index_as: str | None = None
    concurrency: Template | int | None = None
    join: JoinRule = field(default_factory=JoinRule)
    #: map and do: what runs inside; a ScopePlan, or for a one-node map body that node.
    body: ScopePlan | PlanNode | None = None
    #: Keys of `error` objects etc. need a label for people.
    description: str | None = None

    @property
    def is_control(self) -> bool:
        """Control nodes use no executor slot."""
        return self.kind != "run"


@dataclass(slots=True)
class ScopePlan:
    """A set of nodes that run together: the definition, a map item, a group."""

    address: str
    nodes: dict[str, PlanNode]
    #: Names of the nodes without dependencies, in document order.
    roots: tuple[str, ...]
    #: Names of the nodes nobody depends on; their outputs are the scope's default output.
    leaves: tuple[str, ...]
    output: Template | None = None
    #: `as`/`index` names visible inside, mapped to the address of the map that sets them.
    kind: Literal["definition", "item", "group"] = "definition"


@dataclass(slots=True)
class Plan:
    """A whole definition, ready to run."""

    definition_id: str
    name: str
    version: int
    root: ScopePlan
    #: Every node by address.
    nodes: Mapping[str, PlanNode]
    #: Every scope by address ('' = root; `settle[]` = the item scope of map `settle`; `grp` = a group).
    scopes: Mapping[str, ScopePlan]
    #: Executors the definition calls.
    executors: frozenset[str]
    #: Queues its nodes use.
    queues: frozenset[str]
    #: Variable name and reading/writing scope resolution: (scope address, name) → address of the owning scope.
    vars: Mapping[tuple[str, str], str]
    #: How long a run may take from its start, in microseconds; None = no limit.
    deadline: int | None = None
