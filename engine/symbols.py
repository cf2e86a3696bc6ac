"""The definition as a tree of scopes and nodes with addresses, pointers and parsed templates.

Built once per definition; the validator checks it and the planner compiles it, so no expression is parsed
twice. A body that is one node gets a scope of its own here, marked `single`, which the plan does not have: it makes
inner references look alike. Nodes and scopes are compared by identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from .definition import AnyNode, Handler, SetNode, Verb
from .errors import Problem
from .plan import COMPLETED_ONLY, ScopeKind
from .pointers import values_in

if TYPE_CHECKING:
    from .expressions import Template

__all__ = [
    "Dep",
    "EntrySymbol",
    "Group",
    "NodeSymbol",
    "Outer",
    "ScopeSymbol",
    "Symbols",
    "Use",
    "UseKind",
    "add_writer",
    "locate",
]

#: `forward`: read before the node works, so it makes edges. `reshape`: a node's own `output`, read when it has ended.
#: `handler`: what an error leads to. `scope`: the output or the handlers of a scope, read when all its nodes have
#: ended. `start`: before anything runs; `schedule`: before even that.
UseKind = Literal["forward", "reshape", "handler", "scope", "start", "schedule"]

#: Scopes that own variables (rule 15); what a turn writes belongs to its loop, the other kinds are transparent.
_OWNERS: Final = frozenset({"definition", "item", "turn", "branch", "undo", "finally"})
#: Scopes that begin when their owner has ended: they see what came before it, and nothing waits for that.
_LATE: Final = frozenset({"handler", "undo", "finally"})


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
class Group:
    """One `any` or `none` of a node's `needs`."""

    kind: Literal["any", "none"]
    deps: dict[str, Dep] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class EntrySymbol:
    """One entry of `on_error`, or an `on_timeout`."""

    model: Handler
    #: Its `output` or `fail`.
    use: Use | None = None
    #: What its `do` runs.
    body: ScopeSymbol | None = None
    #: What the body's address adds to the owner's.
    suffix: str = ""


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
    #: Siblings of which one, or none, must end well.
    groups: list[Group] = field(default_factory=list)
    #: What a map, a loop or a group contains.
    inner: ScopeSymbol | None = None
    #: Branches by name, or cases by label.
    bodies: dict[str, ScopeSymbol] = field(default_factory=dict)
    on_error: list[EntrySymbol] = field(default_factory=list)
    on_timeout: EntrySymbol | None = None
    undo: ScopeSymbol | None = None

    @property
    def kind(self) -> Verb:
        """The verb."""
        return self.model.verb

    @property
    def label(self) -> str:
        """Its name for people; the only node of a body has none and goes by its place."""
        return self.name or self.pointer.rpartition("/")[2]

    def entries(self) -> list[EntrySymbol]:
        """Everything that handles its errors."""
        return self.on_error if self.on_timeout is None else [*self.on_error, self.on_timeout]

    def why(self, name: str) -> Dep | None:
        """Why it waits for a sibling."""
        if name in self.deps:
            return self.deps[name]
        return next((group.deps[name] for group in self.groups if name in group.deps), None)

    def before(self) -> Iterator[str]:
        """Names of the siblings it waits for, each once."""
        if not self.groups:
            return iter(self.deps)
        return iter(dict.fromkeys([*self.deps, *(name for group in self.groups for name in group.deps)]))


class Outer(NamedTuple):
    """One step on the way out from a scope."""

    scope: ScopeSymbol
    #: The node there that holds the scope one began in; None for that scope itself, and in the definition for what
    #: belongs to no node.
    holder: NodeSymbol | None
    #: Does what one began in begin when the holder, or something inside it, or the definition has ended?
    late: bool
    #: Does it begin when the holder itself has ended?
    after: bool


@dataclass(slots=True, eq=False)
class ScopeSymbol:
    """A set of sibling nodes."""

    #: Address of the scope; of a single body, that of its node.
    address: str
    pointer: str
    kind: ScopeKind
    #: The node it belongs to; None for the definition, its handlers and `finally`.
    owner: NodeSymbol | None = None
    #: The scope around it; None for the definition.
    around: ScopeSymbol | None = None
    #: Does the body consist of one node, written without `nodes`?
    single: bool = False
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

    @property
    def owner_address(self) -> str:
        """Address of the row that keeps its variables: a loop keeps those of its turns."""
        return self.owner.address if self.kind == "turn" and self.owner else self.address

    def outward(self) -> Iterator[Outer]:
        """This scope and those around it."""
        scope, late, after = self, False, False
        holder: NodeSymbol | None = None
        while True:
            yield Outer(scope, holder, late, after)
            if scope.around is None:
                return
            after = scope.kind in _LATE
            late = late or after
            holder = scope.owner
            scope = scope.around


@dataclass(slots=True)
class Symbols:
    """The whole tree, with flat lists in document order."""

    root: ScopeSymbol
    scopes: list[ScopeSymbol] = field(default_factory=list)
    nodes: list[NodeSymbol] = field(default_factory=list)
    #: The definition's own `on_error`.
    on_error: list[EntrySymbol] = field(default_factory=list)
    finally_: ScopeSymbol | None = None
    #: `key` and `mutex` of `start`.
    start: dict[str, Use] = field(default_factory=dict)
    #: `inputs` of `schedule`.
    schedule: Use | None = None
    #: Malformed expressions.
    problems: list[Problem] = field(default_factory=list)


def add_writer(node: NodeSymbol, model: SetNode) -> None:
    """Note who owns the variables that a node sets."""
    owner = next(step.scope for step in node.scope.outward() if step.scope.owns_variables)
    for name in model.set:
        owner.writers.setdefault(name, []).append(node)


def locate(use: Use, expression: str) -> str:
    """Pointer of the text inside the field that holds the expression; of the field when it is not found."""
    for pointer, value in values_in(use.value, use.pointer):
        if isinstance(value, str) and "{{" in value and expression.strip() in value:
            return pointer
    return use.pointer
