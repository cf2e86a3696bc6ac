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
    "Body",
    "Edge",
    "ErrorEntry",
    "FlowRule",
    "JoinRule",
    "LimitRule",
    "LoopRule",
    "NeedGroup",
    "NodeKind",
    "Plan",
    "PlanNode",
    "Rate",
    "RetryPolicy",
    "ScheduleRule",
    "ScopePlan",
    "StartRule",
    "WaitRule",
    "address_of",
    "given",
]

_T = TypeVar("_T")
NodeKind = Literal["run", "map", "set", "wait", "do", "parallel", "loop", "switch", "flow"]
ScopeKind = Literal["definition", "item", "group", "turn", "branch", "case", "handler", "undo", "finally"]
COMPLETED_ONLY: Final = frozenset({"completed"})
_INDEX: Final = re.compile(r"\[\d+\]|#\d+")
_GENERAL: Final = {"[": "[]", "#": "#"}


def given(value: _T | None, what: str) -> _T:
    """A part that the validator guarantees to be there. Raises LookupError naming what a broken plan lacks."""
    if value is None:
        raise LookupError(f"the plan has no {what}")
    return value


def address_of(path: str) -> str:
    """Static address of the node a task path stands for: `settle[3].poll#7.ask` gives `settle[].poll#.ask`."""
    if "[" not in path and "#" not in path:
        return path
    return _INDEX.sub(lambda found: _GENERAL[found[0][0]], path)


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

    need: Literal["all", "any", "first", "majority", "none"] | int = "all"
    #: `need` as percent of the total, rounded up; overrides `need`.
    need_percent: float | None = None
    tolerate: int = 0
    tolerate_percent: float | None = None
    rest: Literal["cancel", "keep"] = "cancel"


@dataclass(slots=True, frozen=True)
class NeedGroup:
    """One level of `any` or `none` in `needs` (`all` is plain edges)."""

    kind: Literal["any", "none"]
    #: `any`: holds with the first edge that holds. `none`: holds when all ended and none in its `on`.
    edges: tuple[Edge, ...]


@dataclass(slots=True)
class ErrorEntry:
    """One entry of `on_error`, or an `on_timeout`: what happens when an error matches."""

    #: Error patterns; empty = any error.
    on: tuple[str, ...] = ()
    #: First undo what is inside the failed container.
    undo: bool = False
    #: `none`: the entry only undoes.
    action: Literal["output", "do", "continue", "fail", "none"] = "none"
    #: action `output`: the value; action `fail`: a template of {code, message}.
    template: Template | None = None
    #: action `do`: what runs, and what its path adds to the node's: `!error`, `!error2`, `!timeout`.
    body: Body | None = None
    suffix: str = ""


@dataclass(slots=True)
class LoopRule:
    """How often a loop turns; exactly one of the four templates is set."""

    while_: Template | None = None
    until: Template | None = None
    #: A whole number.
    times: Template | None = None
    #: A list or object, as a map's.
    for_: Template | None = None
    #: Most turns; None = no limit (`for` and `times` without a written `max`).
    max: int | None = 1000
    #: Pause from the end of a turn to the start of the next, in microseconds.
    every: int = 0
    #: How many ended turns keep their rows; None = all.
    keep_last: int | None = 100


@dataclass(slots=True)
class WaitRule:
    """What a wait waits for."""

    kind: Literal["for", "until", "signal", "condition"]
    #: for: a duration; until: an instant (ISO 8601 text); condition: true or false. None for a signal.
    template: Template | None = None
    signal: str | None = None
    #: signal: true or false, reads the payload as `signal`.
    match: Template | None = None
    #: condition: also look this often, in microseconds.
    every: int | None = None
    #: Microseconds from its beginning.
    timeout: int | None = None
    on_timeout: ErrorEntry | None = None


@dataclass(slots=True, frozen=True)
class FlowRule:
    """Which definition a `flow` node starts."""

    name: str
    #: None = the active version at the moment of the start.
    version: int | None = None
    #: True: the node completes with the start.
    detach: bool = False


@dataclass(slots=True, frozen=True)
class Rate:
    """At most `count` begin per `period` (microseconds), spread evenly, up to `burst` of them at once."""

    count: int
    period: int
    burst: int = 1


@dataclass(slots=True, frozen=True)
class LimitRule:
    """How many tasks of a node (or of a definition) may run at once, and how fast they may begin.

    Counted under `name`, or under `name:<key>` for each key.
    """

    #: `node:<definition>/<address>`, `group:<group>`, or `definition:<definition>`.
    name: str
    concurrency: int | None = None
    rate: Rate | None = None
    #: Text or whole number; reads inputs, item, index, instance only.
    key: Template | None = None
    #: Names of mutex groups: at most one task that names a group runs at a time. Each reads what `key` reads.
    mutex: tuple[Template, ...] = ()
    #: (name, weight) of resource pools that it uses while it runs.
    pools: tuple[tuple[str, int], ...] = ()

    @property
    def is_evaluated(self) -> bool:
        """Must something be evaluated before it is known which counters it uses?"""
        return self.key is not None or bool(self.mutex)


@dataclass(slots=True, frozen=True)
class ScheduleRule:
    """`schedule` of a definition: when it starts by itself. Applied when the version becomes the active one."""

    cron: str | None = None
    #: Microseconds; an alternative to `cron`.
    every: int | None = None
    timezone: str = "UTC"
    overlap: Literal["allow", "skip", "queue", "cancel"] = "allow"
    misfire: Literal["skip", "latest", "all"] = "latest"
    #: Most firings that `misfire: all` catches up.
    catch_up: int = 100
    #: Each firing starts up to so much later, by chance of a hash; microseconds.
    jitter: int = 0
    #: Microseconds since 1970, both inclusive.
    start_at: int | None = None
    end_at: int | None = None
    #: A value with templates; reads `instance.scheduled_for` only.
    inputs: Template | None = None


@dataclass(slots=True)
class StartRule:
    """`start` of a definition; templates read `inputs` only."""

    key: Template | None = None
    mutex: Template | None = None
    on_duplicate: Literal["return_existing", "reject", "queue"] = "return_existing"


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
    #: None: the run's queue and priority, which are `default` and 0 unless its start says otherwise.
    queue: str | None = None
    priority: int | None = None
    limits: LimitRule | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Per attempt, in microseconds; None = no limit.
    timeout: int | None = None
    # set
    set_: Template | None = None
    # wait: a template that gives a duration text
    # wait
    wait: WaitRule | None = None
    # map
    items: Template | None = None
    as_: str = "item"
    index_as: str | None = None
    concurrency: Template | int | None = None
    join: JoinRule = field(default_factory=JoinRule)
    #: map: text or number per item, reads the item; a second item of the same key is dropped.
    key: Template | None = None
    collect: Literal["list", "stats", "none"] = "list"
    #: map, loop and do: what runs inside; a ScopePlan, or for a one-node body that node.
    body: Body | None = None
    #: parallel: branches by name; switch: cases by label ("0", "1", "else"); in document order.
    bodies: Mapping[str, Body] = field(default_factory=dict["str", "Body"])
    #: switch: the conditions of "0", "1", …
    cases: tuple[Template, ...] = ()
    loop: LoopRule | None = None
    flow: FlowRule | None = None
    # any node
    #: `any` and `none` groups of `needs`; their members are in `deps` only when an all-of edge names them too.
    groups: tuple[NeedGroup, ...] = ()
    on_error: tuple[ErrorEntry, ...] = ()
    #: Runs when a finished node is undone; its address is the node's and `!undo`.
    undo: Body | None = None
    #: Does it, or anything inside it, have an `undo`?
    has_undo: bool = False
    #: Microseconds from the moment its dependencies held.
    deadline: int | None = None
    #: run: longest silence of an attempt, in microseconds.
    heartbeat: int | None = None
    description: str | None = None

    @property
    def is_control(self) -> bool:
        """Control nodes use no executor slot."""
        return self.kind != "run"

    @property
    def is_fan(self) -> bool:
        """Runs children side by side under a join."""
        return self.kind in {"map", "parallel"}


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
    kind: ScopeKind = "definition"


Body = ScopePlan | PlanNode


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
    on_error: tuple[ErrorEntry, ...] = ()
    finally_: Body | None = None
    #: `finish`: after a failure, nodes that do not depend on it go on.
    on_failure: Literal["stop", "finish"] = "stop"
    labels: Mapping[str, str] = field(default_factory=dict["str", "str"])
    start: StartRule | None = None
    schedule: ScheduleRule | None = None
    limits: LimitRule | None = None
    #: Does the definition, or any of its nodes, have limits? Set from them.
    limited: bool = False
    #: Does a condition watch variables? Set from the nodes.
    watches_vars: bool = False

    def __post_init__(self) -> None:
        """Note what deciding asks for with every claim, and with every write of a variable."""
        self.limited = self.limits is not None or any(n.limits is not None for n in self.nodes.values())
        self.watches_vars = any(
            n.wait is not None and n.wait.kind == "condition" for n in self.nodes.values()
        )
