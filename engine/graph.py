"""Step 3: the graph of each scope, and the plan that the engine runs.

The only module that knows networkx; planning only, never on the hot path. Every scope is a graph of its own,
because an edge never leaves its scope: a reference from inside a container makes the container wait. Nodes of
a `ScopePlan` stand in topological order; wherever names stand beside each other (`successors`, `roots`,
`leaves`) it is document order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import networkx as nx

from .definition import Definition, Join, MapNode, RunNode
from .durations import parse_duration
from .fields import percent_of
from .plan import COMPLETED_ONLY, Edge, JoinRule, Plan, PlanNode, RetryPolicy, ScopePlan
from .symbols import NodeSymbol, ScopeSymbol, Symbols
from .variables import VarOwners

__all__ = ["Cycle", "assemble_plan", "digraph", "sort"]

#: Names in the order they run; the last runs before the first.
Cycle = list[str]


def digraph(deps: Mapping[str, Iterable[str]]) -> nx.DiGraph[str]:
    """The graph of one scope: every node, and an edge from each dependency to the node that waits for it."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(deps)
    graph.add_edges_from((before, after) for after, names in deps.items() for before in names)
    return graph


def sort(deps: Mapping[str, Iterable[str]]) -> tuple[list[str], list[Cycle]]:
    """The names so that dependencies come first, in document order where the graph allows; or the cycles.

    One cycle is named per group of nodes that wait for each other, the shortest through its first node.
    """
    graph = digraph(deps)
    try:
        return list(nx.topological_sort(graph)), []
    except nx.NetworkXUnfeasible:
        return [], _cycles(graph, {name: index for index, name in enumerate(deps)})


def _cycles(graph: nx.DiGraph[str], position: Mapping[str, int]) -> list[Cycle]:
    found: list[Cycle] = []
    for component in nx.strongly_connected_components(graph):
        first = min(component, key=position.__getitem__)
        if len(component) > 1:
            found.append(_shortest_cycle(graph.subgraph(component), first))
        elif graph.has_edge(first, first):
            found.append([first])
    return sorted(found, key=lambda cycle: position[cycle[0]])


def _shortest_cycle(graph: nx.DiGraph[str], first: str) -> Cycle:
    distance: dict[str, int] = dict(nx.single_source_shortest_path_length(graph, first))
    last = min(graph.predecessors(first), key=distance.__getitem__)
    path: list[str] = nx.bidirectional_shortest_path(graph, first, last)
    return path


def assemble_plan(symbols: Symbols, definition: Definition, *, definition_id: str, version: int) -> Plan:
    """The plan of a checked and sorted tree."""
    planner = _Planner(definition)
    root = planner.scope(symbols.root)
    runs = [node for node in planner.nodes.values() if node.kind == "run"]
    return Plan(
        definition_id=definition_id,
        name=definition.name,
        version=version,
        root=root,
        nodes=planner.nodes,
        scopes=planner.scopes,
        executors=frozenset(node.executor for node in runs if node.executor),
        queues=frozenset(node.queue for node in runs),
        vars=VarOwners(symbols),
        deadline=None if definition.deadline is None else parse_duration(definition.deadline),
    )


class _Planner:
    def __init__(self, definition: Definition) -> None:
        self.nodes: dict[str, PlanNode] = {}
        self.scopes: dict[str, ScopePlan] = {}
        self._defaults = definition.defaults
        self._retry_defaults = definition.defaults.retry.model_dump(exclude_unset=True)
        self._edges: dict[tuple[str, frozenset[str]], Edge] = {}
        self._retries: dict[str, RetryPolicy] = {}

    def scope(self, symbol: ScopeSymbol) -> ScopePlan:
        """The plan of a scope and everything inside; as deep as containers are nested."""
        successors: dict[str, list[str]] = {name: [] for name in symbol.nodes}
        handled: set[str] = set()
        for node in symbol.nodes.values():
            for before, dep in node.deps.items():
                successors[before].append(node.name)
                if dep.on is not COMPLETED_ONLY and "failed" in dep.on:
                    handled.add(before)
        planned = {
            node.name: self.node(node, successors[node.name], node.name in handled) for node in symbol.order
        }
        plan = ScopePlan(
            address=symbol.address,
            nodes=planned,
            roots=tuple(name for name, node in symbol.nodes.items() if not node.deps),
            leaves=tuple(name for name in symbol.nodes if not successors[name]),
            output=symbol.output.template if symbol.output else None,
            kind="definition" if symbol.kind == "single" else symbol.kind,
        )
        self.scopes[symbol.address] = plan
        return plan

    def node(self, symbol: NodeSymbol, successors: Collection[str] = (), handled: bool = False) -> PlanNode:  # noqa: FBT001, FBT002 - private
        """The plan of one node; its fields by verb."""
        single = symbol.scope.kind == "single"
        owner = symbol.scope.owner
        uses = {use.field: use.template for use in symbol.uses}
        plan = PlanNode(
            address=symbol.address,
            name=symbol.name,
            kind=symbol.kind,
            scope=owner.address if single and owner else symbol.scope.address,
            deps=self._deps(symbol),
            successors=tuple(successors),
            failure_handled=handled,
            when=uses.get("when"),
            output=uses.get("output"),
            with_=uses.get("with"),
            set_=uses.get("set"),
            wait_for=uses.get("wait/for"),
            items=uses.get("map"),
            description=symbol.model.description or None,
        )
        self.nodes[symbol.address] = plan
        if isinstance(symbol.model, RunNode):
            self._run(plan, symbol.model)
        elif isinstance(symbol.model, MapNode):
            _map(plan, symbol.model, uses.get("concurrency"))
        if symbol.inner is not None:
            plan.body = (
                self.node(symbol.inner.nodes[""])
                if symbol.inner.kind == "single"
                else self.scope(symbol.inner)
            )
        return plan

    def _deps(self, symbol: NodeSymbol) -> tuple[Edge, ...]:
        siblings = symbol.scope.nodes
        names = (
            symbol.deps
            if len(symbol.deps) < 2
            else sorted(symbol.deps, key=lambda name: siblings[name].index)
        )
        return tuple(self._edge(name, symbol.deps[name].on) for name in names)

    def _edge(self, name: str, on: frozenset[str]) -> Edge:
        edge = self._edges.get((name, on))
        if edge is None:
            edge = self._edges[name, on] = Edge(name, on)
        return edge

    def _run(self, plan: PlanNode, model: RunNode) -> None:
        plan.executor = model.run
        chosen: dict[str, Any] = {}
        for name in ("queue", "priority", "timeout"):
            source = model if model.has(name) else self._defaults
            chosen[name] = getattr(source, name)
        plan.queue = chosen["queue"]
        plan.priority = chosen["priority"]
        plan.timeout = None if chosen["timeout"] is None else parse_duration(chosen["timeout"])
        own = model.retry.model_dump(exclude_unset=True) if model.has("retry") else {}
        plan.retry = self._retry(self._retry_defaults | own)

    def _retry(self, keys: dict[str, Any]) -> RetryPolicy:
        """One policy per distinct set of keys: thousands of nodes share a few."""
        identity = repr(sorted(keys.items()))
        policy = self._retries.get(identity)
        if policy is None:
            times = {name: parse_duration(keys[name]) for name in ("delay", "max_delay") if name in keys}
            policy = replace(RetryPolicy(), **(keys | times))
            if "max_delay" not in keys and policy.delay > policy.max_delay:
                # The default bound must not cut a longer delay that somebody asked for.
                policy = replace(policy, max_delay=policy.delay)
            self._retries[identity] = policy
        return policy


def _map(plan: PlanNode, model: MapNode, concurrency: Any) -> None:
    plan.as_ = model.as_
    plan.index_as = model.index if model.index != "index" else None
    plan.concurrency = model.concurrency if isinstance(model.concurrency, int) else concurrency
    plan.join = _join(model.join if isinstance(model.join, Join) else Join(need=model.join))


def _join(join: Join) -> JoinRule:
    percent = percent_of(join.need)
    tolerated = percent_of(join.tolerate)
    return JoinRule(
        need="all" if percent is not None else join.need,
        need_percent=percent,
        tolerate=0 if tolerated is not None else join.tolerate,
        tolerate_percent=tolerated,
        rest=join.rest,
    )
