"""The definition as a tree of scopes and nodes with addresses, pointers and parsed templates.

Built once per definition; the validator checks it and the planner compiles it, so no expression is parsed
twice. A map whose body is one node gets a scope of kind `single`, which exists only here: it makes inner
references look alike. Nodes and scopes are compared by identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from .definition import AnyNode, Definition, DoNode, MapNode, RunNode, Scope, SetNode, Verb, WaitNode
from .errors import Problem
from .expressions import parse_template
from .plan import COMPLETED_ONLY
from .pointers import child, values_in

if TYPE_CHECKING:
    from .expressions import Template

__all__ = ["Dep", "NodeSymbol", "ScopeSymbol", "Symbols", "Use", "UseKind", "build_symbols", "locate"]

#: `forward`: read before the node works, so it makes edges. `reshape`: a node's own `output`, read when it has ended.
#: `scope`: a scope's `output`, read when all its nodes have ended.
UseKind = Literal["forward", "reshape", "scope"]
ScopeKind = Literal["definition", "item", "group", "single"]

#: Kinds of scopes that own variables (rule 15); groups are transparent.
_OWNERS: Final = frozenset({"definition", "item", "single"})


@dataclass(slots=True, eq=False)
class Use:
    """One field that holds a template."""

    field: str
    pointer: str
    kind: UseKind
    #: The value as it stands in the document, to find an expression's place in it.
    value: Any
    template: Template


@dataclass(slots=True, eq=False)
class Dep:
    """Why one node waits for a sibling."""

    on: frozenset[str] = COMPLETED_ONLY
    #: Written in `needs`; replaces what references say (rule 7).
    explicit: bool = False
    #: Where the document says so.
    pointer: str = ""


@dataclass(slots=True, eq=False)
class NodeSymbol:
    """One node of the definition."""

    name: str
    address: str
    pointer: str
    model: AnyNode
    scope: ScopeSymbol
    #: Position among its siblings, in document order.
    index: int
    uses: list[Use] = field(default_factory=list)
    #: Siblings it waits for, by name.
    deps: dict[str, Dep] = field(default_factory=dict)
    #: What a map or a group contains.
    inner: ScopeSymbol | None = None

    @property
    def kind(self) -> Verb:
        """The verb."""
        return self.model.verb

    @property
    def label(self) -> str:
        """Its name for people; the only node of a map's body has none and goes by its place."""
        return self.name or "do"


@dataclass(slots=True, eq=False)
class ScopeSymbol:
    """A set of sibling nodes."""

    address: str
    pointer: str
    kind: ScopeKind
    #: The map or group around it; None for the definition.
    owner: NodeSymbol | None
    nodes: dict[str, NodeSymbol] = field(default_factory=dict)
    output: Use | None = None
    #: Variables it owns, with the nodes that write them.
    writers: dict[str, list[NodeSymbol]] = field(default_factory=dict)
    #: Its nodes so that dependencies come first; empty until sorted, or when there is a cycle.
    order: list[NodeSymbol] = field(default_factory=list)

    @property
    def owns_variables(self) -> bool:
        """Whether `set` inside writes to this scope, and not to one around it."""
        return self.kind in _OWNERS

    def outward(self) -> Iterator[tuple[ScopeSymbol, NodeSymbol | None]]:
        """This scope and those around it, each with the node there that holds this scope (None for itself)."""
        scope: ScopeSymbol = self
        holder: NodeSymbol | None = None
        while True:
            yield scope, holder
            if scope.owner is None:
                return
            holder = scope.owner
            scope = holder.scope


@dataclass(slots=True)
class Symbols:
    """The whole tree, with flat lists in document order."""

    root: ScopeSymbol
    scopes: list[ScopeSymbol] = field(default_factory=list)
    nodes: list[NodeSymbol] = field(default_factory=list)
    #: Malformed expressions.
    problems: list[Problem] = field(default_factory=list)


def build_symbols(definition: Definition) -> Symbols:
    """The tree of a definition. References are not looked at yet."""
    root = ScopeSymbol("", "", "definition", None)
    symbols = Symbols(root)
    _fill(symbols, root, definition)
    return symbols


def locate(use: Use, expression: str) -> str:
    """Pointer of the text inside the field that holds the expression; of the field when it is not found."""
    for pointer, value in values_in(use.value, use.pointer):
        if isinstance(value, str) and "{{" in value and expression.strip() in value:
            return pointer
    return use.pointer


def _fill(symbols: Symbols, scope: ScopeSymbol, model: Scope | Definition) -> None:
    symbols.scopes.append(scope)
    prefix = f"{scope.address}." if scope.address else ""
    here = child(scope.pointer, "nodes")
    for index, (name, node) in enumerate(model.nodes.items()):
        _add(symbols, NodeSymbol(name, prefix + name, child(here, name), node, scope, index))
    if model.has("output"):
        scope.output = _use(symbols, "output", child(scope.pointer, "output"), "scope", model.output)


def _add(symbols: Symbols, node: NodeSymbol) -> None:
    node.scope.nodes[node.name] = node
    symbols.nodes.append(node)
    model = node.model
    if model.when is not None:
        _read(symbols, node, "when", model.when)
    match model:
        case RunNode():
            if model.has("with_"):
                _read(symbols, node, "with", model.with_)
        case MapNode():
            _read(symbols, node, "map", model.map)
            if isinstance(model.concurrency, str):
                _read(symbols, node, "concurrency", model.concurrency)
            _add_body(symbols, node, model)
        case SetNode():
            _read(symbols, node, "set", model.set)
            _add_writer(node, model)
        case WaitNode():
            _read(symbols, node, "wait/for", model.wait.for_)
        case DoNode():
            node.inner = ScopeSymbol(node.address, child(node.pointer, "do"), "group", node)
            _fill(symbols, node.inner, model.do)
    if model.has("output"):
        _read(symbols, node, "output", model.output, "reshape")


def _add_body(symbols: Symbols, node: NodeSymbol, model: MapNode) -> None:
    address = f"{node.address}[]"
    pointer = child(node.pointer, "do")
    if isinstance(model.do, Scope):
        node.inner = ScopeSymbol(address, pointer, "item", node)
        _fill(symbols, node.inner, model.do)
    else:
        node.inner = ScopeSymbol(address, pointer, "single", node)
        symbols.scopes.append(node.inner)
        _add(symbols, NodeSymbol("", address, pointer, model.do, node.inner, 0))


def _add_writer(node: NodeSymbol, model: SetNode) -> None:
    owner = next(scope for scope, _ in node.scope.outward() if scope.owns_variables)
    for name in model.set:
        owner.writers.setdefault(name, []).append(node)


def _read(symbols: Symbols, node: NodeSymbol, name: str, value: Any, kind: UseKind = "forward") -> None:
    use = _use(symbols, name, f"{node.pointer}/{name}", kind, value)
    if use is not None:
        node.uses.append(use)


def _use(symbols: Symbols, name: str, pointer: str, kind: UseKind, value: Any) -> Use | None:
    template, problems = parse_template(value, pointer=pointer)
    symbols.problems += problems
    return None if template is None else Use(name, pointer, kind, value, template)
