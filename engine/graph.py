"""Step 3: the graph of each scope, and the plan that the engine runs.

The only module that knows networkx; planning only, never on the hot path. Every scope is a graph of its own,
because an edge never leaves its scope: a reference from inside a container makes the container wait. Nodes of
a `ScopePlan` stand in topological order; wherever names stand beside each other (`successors`, `roots`,
`leaves`) it is document order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import networkx as nx

from .definition import Definition, FlowNode, LoopNode, MapNode, ParallelNode, RunNode, WaitNode
from .plan import COMPLETED_ONLY, Body, Edge, ErrorEntry, NeedGroup, Plan, PlanNode, RetryPolicy, ScopePlan
from .plan_rules import (
    Retries,
    duration,
    entry_of,
    fan,
    flow_rule,
    has_undo,
    limit_rule,
    loop_rule,
    schedule_rule,
    start_rule,
    total_rule,
    wait_rule,
)
from .symbols import Dep, EntrySymbol, NodeSymbol, ScopeSymbol, Symbols
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
    on_error = planner.entries(symbols.on_error)
    finally_ = None if symbols.finally_ is None else planner.body(symbols.finally_)
    runs = [node for node in planner.nodes.values() if node.kind == "run"]
    return Plan(
        definition_id=definition_id,
        name=definition.name,
        version=version,
        root=root,
        nodes=planner.nodes,
        scopes=planner.scopes,
        executors=frozenset(node.executor for node in runs if node.executor),
        queues=frozenset(node.queue for node in runs if node.queue is not None),
        vars=VarOwners(symbols),
        deadline=duration(definition.deadline),
        on_error=on_error,
        finally_=finally_,
        on_failure=definition.on_failure,
        labels=dict(definition.labels),
        start=start_rule(definition, symbols),
        schedule=schedule_rule(definition, symbols),
        limits=total_rule(definition),
    )


class _Planner:
    def __init__(self, definition: Definition) -> None:
        self.nodes: dict[str, PlanNode] = {}
        self.scopes: dict[str, ScopePlan] = {}
        self._name = definition.name
        self._defaults = definition.defaults
        self._retries = Retries(definition.defaults.retry.model_dump(exclude_unset=True))
        self._edges: dict[tuple[str, frozenset[str]], Edge] = {}

    # --- scopes

    def scope(self, symbol: ScopeSymbol) -> ScopePlan:
        """The plan of a scope and everything inside; as deep as containers are nested."""
        successors: dict[str, list[str]] = {name: [] for name in symbol.nodes}
        handled: set[str] = set()
        for node in symbol.nodes.values():
            for before in node.before():
                successors[before].append(node.name)
            handled.update(_handled(node))
        planned = {
            node.name: self.node(node, successors[node.name], handled=node.name in handled)
            for node in symbol.order
        }
        plan = ScopePlan(
            address=symbol.address,
            nodes=planned,
            roots=tuple(name for name, node in symbol.nodes.items() if not (node.deps or node.groups)),
            leaves=tuple(name for name in symbol.nodes if not successors[name]),
            output=symbol.output.template if symbol.output else None,
            kind=symbol.kind,
        )
        self.scopes[symbol.address] = plan
        return plan

    def body(self, symbol: ScopeSymbol) -> Body:
        """The plan of a body: its scope, or its only node."""
        return self.node(symbol.nodes[""]) if symbol.single else self.scope(symbol)

    # --- nodes

    def node(
        self, symbol: NodeSymbol, successors: Collection[str] = (), *, handled: bool = False
    ) -> PlanNode:
        """The plan of one node; its fields by verb."""
        model = symbol.model
        uses = {use.field: use.template for use in symbol.uses}
        plan = PlanNode(
            address=symbol.address,
            name=symbol.name,
            kind=symbol.kind,
            scope=_owner_row(symbol.scope),
            deps=self._deps(symbol, symbol.deps),
            groups=self._groups(symbol),
            successors=tuple(successors),
            failure_handled=handled,
            when=uses.get("when"),
            output=uses.get("output"),
            with_=uses.get("with"),
            set_=uses.get("set"),
            deadline=duration(model.deadline),
            description=model.description or None,
        )
        self.nodes[symbol.address] = plan
        if isinstance(model, RunNode):
            self._run(plan, model, uses)
        else:
            self._verb(plan, symbol, uses)
        if symbol.on_error:
            plan.on_error = self.entries(symbol.on_error)
        if symbol.undo is not None:
            plan.undo = self.body(symbol.undo)
        plan.has_undo = has_undo(plan)
        return plan

    def _verb(self, plan: PlanNode, symbol: NodeSymbol, uses: Mapping[str, Any]) -> None:
        model = symbol.model
        if symbol.inner is not None:
            plan.body = self.body(symbol.inner)
        if symbol.bodies:
            plan.bodies = {label: self.body(body) for label, body in symbol.bodies.items()}
        if isinstance(model, (MapNode, LoopNode)):
            plan.as_ = model.as_
            plan.index_as = model.index if model.index != "index" else None
        match model:
            case MapNode():
                plan.items, plan.key, plan.collect = uses.get("map"), uses.get("key"), model.collect
                fan(plan, model, uses)
            case ParallelNode():
                fan(plan, model, uses)
            case LoopNode():
                plan.loop = loop_rule(model, uses)
            case FlowNode():
                plan.flow = flow_rule(model)
                plan.retry = self._retry(model)
            case WaitNode():
                plan.wait = wait_rule(model.wait, uses)
                if symbol.on_timeout is not None:
                    (plan.wait.on_timeout,) = self.entries([symbol.on_timeout])
            case _:
                plan.cases = tuple(
                    template for field, template in uses.items() if field.startswith("switch/")
                )

    def _run(self, plan: PlanNode, model: RunNode, uses: Mapping[str, Any]) -> None:
        plan.executor = model.run
        chosen: dict[str, Any] = {}
        for name in ("queue", "priority", "timeout", "heartbeat"):
            source = model if model.has(name) else self._defaults
            chosen[name] = getattr(source, name) if source.has(name) else None
        plan.queue = chosen["queue"]
        plan.priority = chosen["priority"]
        plan.timeout = duration(chosen["timeout"])
        plan.heartbeat = duration(chosen["heartbeat"])
        plan.retry = self._retry(model)
        if model.limits is not None:
            plan.limits = limit_rule(model.limits, uses, f"{self._name}/{plan.address}")

    def _retry(self, model: RunNode | FlowNode) -> RetryPolicy:
        return self._retries.policy(model.retry.model_dump(exclude_unset=True) if model.has("retry") else {})

    def entries(self, symbols: Iterable[EntrySymbol]) -> tuple[ErrorEntry, ...]:
        """Handlers with what they run."""
        return tuple(
            entry_of(symbol, None if symbol.body is None else self.body(symbol.body)) for symbol in symbols
        )

    # --- edges

    def _deps(self, symbol: NodeSymbol, deps: Mapping[str, Dep]) -> tuple[Edge, ...]:
        siblings = symbol.scope.nodes
        names = deps if len(deps) < 2 else sorted(deps, key=lambda name: siblings[name].index)
        return tuple(self._edge(name, deps[name].on) for name in names)

    def _groups(self, symbol: NodeSymbol) -> tuple[NeedGroup, ...]:
        return tuple(NeedGroup(group.kind, self._deps(symbol, group.deps)) for group in symbol.groups)

    def _edge(self, name: str, on: frozenset[str]) -> Edge:
        edge = self._edges.get((name, on))
        if edge is None:
            edge = self._edges[name, on] = Edge(name, on)
        return edge


def _owner_row(scope: ScopeSymbol) -> str:
    """Address of the row that owns the nodes of a scope."""
    if not scope.single:
        return scope.address
    return scope.owner.address if scope.owner is not None else ""


def _handled(node: NodeSymbol) -> Iterable[str]:
    """Siblings whose failure this node waits for, so that it does not fail their scope."""
    for name, dep in node.deps.items():
        if dep.on is not COMPLETED_ONLY and "failed" in dep.on:
            yield name
    for group in node.groups:
        for name, dep in group.deps.items():
            # `none` waits for the end of each, whatever it is.
            if group.kind == "none" or "failed" in dep.on:
                yield name
