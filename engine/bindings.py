"""What an expression refers to, resolved to rows: which tasks, variables and items a template of a node needs.

Resolution is static (DSL rule 3): `nodes.X` is the nearest enclosing scope that declares X. Done once per node and
kept; at run time only the static addresses are turned into the paths of the task at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .plan import ErrorEntry, LoopRule, Plan, PlanNode, WaitRule, address_of, given
from .rows import memo_of, parent_path

if TYPE_CHECKING:
    from ..repositories.records import TaskRow
    from .expressions import Reference, Template

__all__ = ["Bindings", "Chain", "bind", "chain_of", "chosen_entry", "templates_of"]


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
    #: (address of the enclosing loop, is its output wanted?)
    loop: tuple[str, bool] | None = None
    inputs: bool = False
    instance: bool = False
    result: bool = False
    error: bool = False
    trigger: bool = False
    #: Names of secrets.
    secrets: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """True when no stored value but the inputs is needed."""
        return not (
            self.nodes
            or self.vars
            or self.items
            or self.indexes
            or self.totals
            or self.loop
            or self.error
            or self.trigger
            or self.secrets
        )


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


def templates_of(plan: Plan, row: TaskRow) -> tuple[list[Template], bool]:
    """Templates that a claim of this row evaluates, and whether they see the inside of its own scope."""
    address = address_of(row.path)
    node, scope = plan.nodes.get(address), plan.scopes.get(address)
    wanted: list[Template | None]
    match row.phase:
        case "output":
            inner = scope.output if scope is not None else None
            return _present([inner, node.output if node is not None else None]), True
        case "handler":
            return _present([chosen_entry(plan, row).template]), row.scope is None
        case "turn":
            rule = given(given(node, "node").loop, "loop")
            return _present([rule.while_, rule.until]), False
        case "limits":
            node = given(node, "node")
            limits = given(node.limits, "limits")
            return _present([node.when, limits.key, *limits.mutex]), False
        case _:
            node = given(node, "node")
            wanted = [node.when, node.with_, node.set_, node.items, node.key, *node.cases]
            wanted += _waited(node.wait) + _looped(node.loop)
            if node.kind in {"run", "set", "wait", "flow"}:
                wanted.append(node.output)
            if not isinstance(node.concurrency, int):
                wanted.append(node.concurrency)
            return _present(wanted), False


def _present(templates: Iterable[Template | None]) -> list[Template]:
    return [template for template in templates if template is not None]


def _waited(rule: WaitRule | None) -> list[Template | None]:
    return [] if rule is None else [rule.template, rule.match]


def _looped(rule: LoopRule | None) -> list[Template | None]:
    return [] if rule is None else [rule.while_, rule.until, rule.times, rule.for_]


def chosen_entry(plan: Plan, row: TaskRow) -> ErrorEntry:
    """The entry of `on_error`, or the `on_timeout`, that decide chose for this row."""
    node, memo = plan.nodes.get(address_of(row.path)), memo_of(row)
    if memo.get("timeout") and node is not None and node.wait is not None:
        return given(node.wait.on_timeout, "on_timeout")
    entries, index = plan.on_error if node is None else node.on_error, int(memo["handler"])
    return entries[index]


def bind(plan: Plan, path: str, templates: Iterable[Template], *, inside: bool) -> Bindings:
    """Resolve every reference of the templates; `inside` = they see the nodes of the row's own scope."""
    around = list(chain_of(path))
    scopes = [a for a in (around if inside else around[1:]) if a in plan.scopes]
    # a handler or an undo of a map or loop stands beside its items and turns
    outer = [plan.nodes[a] for a in around[1:] if a in plan.nodes and _is_inside(plan.nodes[a], around)]
    maps = [n for n in outer if n.kind == "map" or (n.loop is not None and n.loop.for_ is not None)]
    loops = [n.address for n in outer if n.kind == "loop"]
    found, own = _Found(), _own_templates(plan.nodes.get(around[0]))
    for template in templates:
        # a loop's variables are seen by its conditions and its output, not by what is evaluated before it turns
        owning = [around[0], *scopes] if template in own else scopes
        for reference in template.refs:
            _resolve(plan, owning if reference.root == "vars" else scopes, maps, reference, found)
            if reference.root == "loop" and loops:
                whole = not reference.parts or reference.parts[0] == "output"
                found.loop = (loops[0], whole or (found.loop is not None and found.loop[1]))
    return found.freeze()


def _is_inside(node: PlanNode, around: list[str]) -> bool:
    mark = {"map": "[]", "loop": "#"}.get(node.kind)
    return mark is None or node.address + mark in around


def _own_templates(node: PlanNode | None) -> list[Template]:
    if node is None or node.loop is None:
        return []
    return _present([node.loop.while_, node.loop.until, node.output])


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
        self.loop: tuple[str, bool] | None = None
        self.error = False
        self.trigger = False
        self.secrets: dict[str, None] = {}

    def freeze(self) -> Bindings:
        return Bindings(
            tuple((scope, name, output) for (scope, name), output in self.nodes.items()),
            tuple(self.vars),
            tuple(self.items),
            tuple(self.indexes),
            tuple(self.totals),
            self.loop,
            self.inputs,
            self.instance,
            self.result,
            self.error,
            self.trigger,
            tuple(self.secrets),
        )


def _resolve(  # noqa: C901, PLR0912 - one case a root
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
    elif root == "error":
        found.error = True
    elif root == "trigger":
        found.trigger = True
    elif root == "secrets":
        found.secrets[name] = None
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
