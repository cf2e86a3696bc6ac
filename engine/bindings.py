"""What an expression refers to, resolved to rows: which tasks, variables and items a template of a node needs.

Resolution is static (DSL rule 3): `nodes.X` is the nearest enclosing scope that declares X. Done once per node and
kept; at run time only the static addresses are turned into the paths of the task at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .plan import Plan, PlanNode, address_of, given
from .rows import parent_path

if TYPE_CHECKING:
    from .expressions import Reference, Template

__all__ = ["Bindings", "Chain", "bind", "chain_of", "templates_of"]


@dataclass(slots=True, frozen=True)
class Bindings:
    """Static needs of a set of templates. Addresses are of scopes and maps around the node."""

    #: (address of the declaring scope, node name) → is its output wanted, which may be a long list?
    nodes: tuple[tuple[str, str, bool], ...] = ()
    #: (address of the owning scope, variable name)
    vars: tuple[tuple[str, str], ...] = ()
    #: (name in expressions, address of the map)
    items: tuple[tuple[str, str], ...] = ()
    indexes: tuple[tuple[str, str], ...] = ()
    totals: tuple[str, ...] = ()
    inputs: bool = False
    instance: bool = False
    result: bool = False

    @property
    def nothing(self) -> bool:
        """True when no stored value but the inputs is needed."""
        return not (self.nodes or self.vars or self.items or self.indexes or self.totals)


#: `nodes.name.field`: how many parts a reference has when it names a field.
_FIELD: Final = 2
#: Static address → path of this task's own enclosing rows, innermost first.
Chain = dict[str, str]


def chain_of(path: str) -> Chain:
    """Every row around a task, itself included: `a[3].b` gives {a[].b: a[3].b, a[]: a[3], a: a, '': ''}."""
    chain: Chain = {}
    at: str | None = path
    while at is not None:
        chain[address_of(at)] = at
        at = parent_path(at)
    return chain


def templates_of(plan: Plan, path: str, *, output_phase: bool) -> tuple[list[Template], bool]:
    """Templates that a claim of this row evaluates, and whether they see the inside of its own scope."""
    address = address_of(path)
    node = plan.nodes.get(address)
    scope = plan.scopes.get(address)
    if output_phase:
        inner = scope.output if scope is not None else None
        found = [inner] if inner is not None else []
        if node is not None and node.output is not None:
            found.append(node.output)
        return found, True
    node = given(node, "node")
    wanted = [
        node.when,
        node.with_,
        node.set_,
        node.wait_for,
        node.items,
        node.output if node.kind != "do" else None,
    ]
    if not isinstance(node.concurrency, int):
        wanted.append(node.concurrency)
    return [template for template in wanted if template is not None], False


def bind(plan: Plan, path: str, templates: Iterable[Template], *, inside: bool) -> Bindings:
    """Resolve every reference of the templates; `inside` = they see the nodes of the row's own scope."""
    around = list(chain_of(path))
    scopes = [a for a in (around if inside else around[1:]) if a in plan.scopes]
    maps = [plan.nodes[a] for a in around[1:] if a in plan.nodes and plan.nodes[a].kind == "map"]
    found = _Found()
    for template in templates:
        for reference in template.refs:
            _resolve(plan, scopes, maps, reference, found)
    return found.freeze()


class _Found:
    def __init__(self) -> None:
        self.nodes: dict[tuple[str, str], bool] = {}
        self.vars: dict[tuple[str, str], None] = {}
        self.items: dict[tuple[str, str], None] = {}
        self.indexes: dict[tuple[str, str], None] = {}
        self.totals: dict[str, None] = {}
        self.inputs = False
        self.instance = False
        self.result = False

    def freeze(self) -> Bindings:
        return Bindings(
            tuple((scope, name, output) for (scope, name), output in self.nodes.items()),
            tuple(self.vars),
            tuple(self.items),
            tuple(self.indexes),
            tuple(self.totals),
            self.inputs,
            self.instance,
            self.result,
        )


def _resolve(
    plan: Plan, scopes: list[str], maps: list[PlanNode], reference: Reference, found: _Found
) -> None:
    root = reference.root
    name = str(reference.parts[0]) if reference.parts else ""
    if root == "nodes":
        for scope in scopes:
            if name in plan.scopes[scope].nodes:
                whole = len(reference.parts) < _FIELD or reference.parts[1] == "output"
                found.nodes[scope, name] = whole or found.nodes.get((scope, name), False)
                return
    elif root == "vars":
        for scope in scopes:
            owner = plan.vars.get((scope, name))
            if owner is not None:
                found.vars[owner, name] = None
                return
    elif root == "inputs":
        found.inputs = True
    elif root == "instance":
        found.instance = True
    elif root == "result":
        found.result = True
    else:
        _resolve_item(maps, root, found)


def _resolve_item(maps: list[PlanNode], root: str, found: _Found) -> None:
    for node in maps:
        if root == node.as_:
            found.items[root, node.address] = None
            return
        if root == (node.index_as or "index"):
            found.indexes[root, node.address] = None
            return
    if root == "total" and maps:
        found.totals[maps[0].address] = None
