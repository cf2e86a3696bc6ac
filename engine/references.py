"""What every reference means, and the edges that follow from it (rules 3 to 7, 14).

Works on the tree of symbols: fills each node's `deps`, collects the reads of variables for `ordering`, and
reports every reference that nothing answers. A reference resolves once, to the nearest enclosing scope that
declares the name; when it leaves a container, the container waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from .definition_parts import NeedGroup, NeedOn
from .errors import Problem
from .plan import COMPLETED_ONLY
from .pointers import child
from .problems import nearest, suggestion
from .reference_fields import Refused, check_field, refuse
from .reference_roots import Place, Roots, check_early
from .symbols import Dep, Group, NodeSymbol, Outer, ScopeSymbol, Symbols, Use, locate

if TYPE_CHECKING:
    from .expressions import Reference
    from .input_names import DeclaredInputs

__all__ = ["LateRead", "References", "VarRead", "resolve"]

#: Fields of a loop that are read between its turns, and so see what the turns write.
_BETWEEN_TURNS: Final = frozenset({"loop/while", "loop/until", "output"})
#: Where a variable lives that cannot be read from outside.
_HOMES: Final = {
    "item": "the items of a map; return it in the item's 'output'",
    "turn": "a loop; return it in the 'output' of its turns",
    "branch": "a branch of a parallel; return it in the branch's 'output'",
    "undo": "an undo, and ends with it",
    "finally": "'finally', and ends with it",
}


@dataclass(slots=True, eq=False)
class VarRead:
    """One field that reads one variable."""

    name: str
    use: Use
    pointer: str
    #: Scope in which it is read, and the node there that reads; None for the scope's own output.
    scope: ScopeSymbol
    node: NodeSymbol | None
    #: Scope that owns the variable.
    owner: ScopeSymbol


@dataclass(slots=True, eq=False)
class LateRead:
    """What a node does when it has ended, naming another node: no edge, so that must certainly have ended (rule 6)."""

    reader: NodeSymbol
    target: NodeSymbol
    pointer: str
    #: The target is one of several of which any lets the reader begin; read by the reader itself, or inside it.
    several: Literal["own", "inside"] | None = None


@dataclass(slots=True)
class References:
    """Everything that the references say."""

    problems: list[Problem] = field(default_factory=list)
    var_reads: list[VarRead] = field(default_factory=list)
    late_reads: list[LateRead] = field(default_factory=list)


def resolve(symbols: Symbols, inputs: DeclaredInputs) -> References:
    """Resolve every reference, filling the nodes' `deps`."""
    resolver = _Resolver(symbols, inputs)
    for node in symbols.nodes:
        resolver.needs(node)
    for node in symbols.nodes:
        for use in node.uses:
            resolver.use(Place(use, node.scope, node))
        for entry in node.entries():
            if entry.use is not None:
                resolver.use(Place(entry.use, node.scope, node))
    for scope in symbols.scopes:
        if scope.output is not None:
            resolver.use(Place(scope.output, scope, None))
    own = [*symbols.start.values(), symbols.schedule, *(entry.use for entry in symbols.on_error)]
    for use in own:
        if use is not None:
            resolver.use(Place(use, symbols.root, None))
    return resolver.found


class _Resolver:
    def __init__(self, symbols: Symbols, inputs: DeclaredInputs) -> None:
        self.found = References()
        self._symbols = symbols
        self._roots = Roots(inputs)
        #: Containers by the names of nodes inside; made when a name is not found.
        self._inner: dict[str, NodeSymbol] | None = None

    def _report(self, pointer: str, code: str, message: str, hint: str | None = None) -> None:
        self.found.problems.append(Problem(pointer, code, message, hint))

    # --- needs

    def needs(self, node: NodeSymbol) -> None:
        """Turn a node's `needs` into edges and groups."""
        needs = node.model.needs
        here = f"{node.pointer}/needs"
        if isinstance(needs, NeedGroup):
            self._group(node, needs, here)
            return
        for index, need in enumerate(needs):
            if isinstance(need, NeedGroup):
                self._group(node, need, child(here, index))
            else:
                self._need(node, need, child(here, index), node.deps)

    def _group(self, node: NodeSymbol, needs: NeedGroup, pointer: str) -> None:
        for index, need in enumerate(needs.all or ()):
            self._need(node, need, child(f"{pointer}/all", index), node.deps)
        for group, members in ((Group("any"), needs.any), (Group("none"), needs.none)):
            for index, need in enumerate(members or ()):
                self._need(node, need, child(f"{pointer}/{group.kind}", index), group.deps)
            if group.deps:
                node.groups.append(group)

    def _need(self, node: NodeSymbol, need: str | NeedOn, pointer: str, table: dict[str, Dep]) -> None:
        name, on = (
            (need.node, frozenset[str](need.on)) if isinstance(need, NeedOn) else (need, COMPLETED_ONLY)
        )
        is_plain = table is node.deps
        if name in table or name in node.deps or (is_plain and any(name in g.deps for g in node.groups)):
            self._report(pointer, "duplicate_need", f"{name!r} is needed twice", "keep one of them")
        elif name == node.name:
            self._report(pointer, "own_reference", f"{name!r} cannot need itself", "remove it")
        elif name in node.scope.nodes:
            table[name] = Dep(on, explicit=True, pointer=pointer)
        else:
            message = f"{name!r} is no sibling node"
            self._report(pointer, "unknown_dependency", message, self._need_hint(name, node))

    def _need_hint(self, name: str, node: NodeSymbol) -> str | None:
        if any(name in step.scope.nodes for step in node.scope.outward()):
            return "'needs' names siblings; a reference to nodes." + name + " makes the container wait"
        return suggestion(name, node.scope.nodes, otherwise="siblings", not_this=node.name)

    # --- expressions

    def use(self, place: Place) -> None:
        """Check every reference of one field."""
        for reference in place.use.template.refs:
            try:
                self._check(reference, place)
            except Refused as error:
                pointer = locate(place.use, reference.expression)
                where = f"{error.message}, in '{{{{ {reference.expression.strip()} }}}}'"
                self._report(pointer, error.code, where, error.hint)

    def _check(self, reference: Reference, place: Place) -> None:
        root = reference.root
        check_early(reference, place)
        if root == "nodes":
            self._check_node(reference, place)
        elif root == "vars":
            self._check_variable(reference, place)
        else:
            self._roots.check(reference, place)

    # --- variables

    def _check_variable(self, reference: Reference, place: Place) -> None:
        name = reference.parts[0] if reference.parts else None
        if not isinstance(name, str):
            refuse("bare_vars", "variables are read by name", "write vars.<name>")
        use, scope, node = place
        if node is not None and node.kind == "loop" and use.field in _BETWEEN_TURNS:
            turn = node.inner
            if turn is not None and name in turn.writers:
                return
        owner = next((step.scope for step in scope.outward() if name in step.scope.writers), None)
        if owner is None:
            self._refuse_variable(name, scope)
        # A condition waits for a change, whoever makes it: no edge, or it would wait for the writer's end.
        if use.field != "wait/condition":
            self.found.var_reads.append(VarRead(name, use, use.pointer, scope, node, owner))

    def _refuse_variable(self, name: str, scope: ScopeSymbol) -> NoReturn:
        visible = sorted({known for step in scope.outward() for known in step.scope.writers})
        hint = suggestion(name, visible, otherwise="variables") or "a 'set' node writes variables"
        home = next((other for other in self._symbols.scopes if name in other.writers), None)
        if home is not None:
            hint = f"it belongs to {_HOMES.get(home.kind, 'another scope')}"
        refuse("unknown_variable", f"no node sets a variable {name!r} that can be read here", hint)

    # --- nodes

    def _check_node(self, reference: Reference, place: Place) -> None:
        parts = reference.parts
        if not parts or not isinstance(parts[0], str):
            refuse("bare_nodes", "'nodes' is read by a literal name and field", "write nodes.<name>.output")
        name = parts[0]
        for step in place.scope.outward():
            target = step.scope.nodes.get(name)
            if target is not None and name:
                check_field(target, parts)
                self._edge(target, step, reference, place)
                return
        self._refuse_unknown(name, place)

    def _edge(self, target: NodeSymbol, step: Outer, reference: Reference, place: Place) -> None:
        """Let the node beside the target wait for it, or note that it must have ended."""
        use, node = place.use, place.node
        waiting = step.holder or (None if step.late else node)
        if waiting is None:
            return  # read at the end of the target's scope
        if target is waiting:
            if not step.after:
                self._own(target, place)
            return
        if step.late or use.kind in ("reshape", "handler"):
            self.found.late_reads.append(LateRead(waiting, target, locate(use, reference.expression)))
            return
        dep = waiting.deps.get(target.name)
        if dep is not None:
            if not dep.explicit:
                dep.on &= COMPLETED_ONLY
            return
        group = next((group for group in waiting.groups if target.name in group.deps), None)
        if group is None:
            waiting.deps[target.name] = Dep(pointer=use.pointer)
        elif group.kind == "any":
            pointer = locate(use, reference.expression)
            several = "inside" if step.holder is not None else "own"
            self.found.late_reads.append(LateRead(waiting, target, pointer, several))

    def _own(self, target: NodeSymbol, place: Place) -> None:
        """A node that names itself, or a node around it."""
        if target is not place.node:
            refuse("own_container", f"{target.label!r} contains this node and ends after it", None)
        if place.use.kind != "handler":
            what = "read 'result' instead" if place.use.kind == "reshape" else "a node cannot wait for itself"
            refuse("own_reference", f"{target.label!r} reads itself", what)

    def _refuse_unknown(self, name: str, place: Place) -> NoReturn:
        if self._inner is None:
            inner = ((node.name, node.scope) for node in self._symbols.nodes)
            self._inner = {name: around.owner for name, around in inner if around.owner is not None}
        around = self._inner.get(name) if name else None
        if around is not None:
            read = f"nodes.{around.label}.output"
            if around is place.node:
                read = "result" if place.use.kind == "reshape" else "loop.output"
            refuse(
                "invisible_node",
                f"{name!r} stands inside {around.label!r} and is not visible here",
                f"return it in the 'output' of {around.label!r} and read {read}",
            )
        scopes = [step.scope.nodes for step in place.scope.outward() if not step.scope.single]
        similar = next((found for found in (nearest(name, nodes) for nodes in scopes) if found), None)
        hint = f"did you mean {similar[0]!r}?" if similar else suggestion(name, scopes[-1], otherwise="nodes")
        refuse("unknown_node", f"there is no node {name!r}", hint)
