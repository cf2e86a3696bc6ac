"""What every reference means, and the edges that follow from it (rules 3 to 7, 14).

Works on the tree of symbols: fills each node's `deps`, collects the reads of variables for `ordering`, and
reports every reference that nothing answers. A reference resolves once, to the nearest enclosing scope that
declares the name; when it leaves a container, the container waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from .definition import MapNode, NeedOn
from .errors import Problem
from .plan import COMPLETED_ONLY
from .pointers import child
from .problems import nearest, suggestion
from .reference_fields import INSTANCE_FIELDS, TASK_FIELDS, Refused, check_field, member_of, refuse
from .symbols import Dep, NodeSymbol, ScopeSymbol, Symbols, Use, locate

if TYPE_CHECKING:
    from .expressions import Reference
    from .input_names import DeclaredInputs

__all__ = ["LateRead", "References", "VarRead", "resolve"]

#: Parts of the language that a later version brings.
_LATER_ROOTS: Final = frozenset({"secrets", "loop", "error", "signal", "trigger"})
_ROOTS: Final = ("inputs", "nodes", "vars", "instance", "task", "item", "index", "total", "result")


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
    """A node's `output` that names another node: no edge, so that node must certainly have ended (rule 6)."""

    reader: NodeSymbol
    target: NodeSymbol
    pointer: str


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
            resolver.use(use, node.scope, node)
    for scope in symbols.scopes:
        if scope.output is not None:
            resolver.use(scope.output, scope, None)
    return resolver.found


class _Resolver:
    def __init__(self, symbols: Symbols, inputs: DeclaredInputs) -> None:
        self.found = References()
        self._symbols = symbols
        self._inputs = inputs
        #: Containers by the names of nodes inside; made when a name is not found.
        self._inner: dict[str, NodeSymbol] | None = None
        self._roots = {
            "inputs": self._check_inputs,
            "nodes": self._check_node,
            "vars": self._check_variable,
            "instance": self._check_instance,
            "task": self._check_task,
            "result": self._check_result,
        }

    # --- needs

    def needs(self, node: NodeSymbol) -> None:
        """Turn a node's `needs` into edges."""
        for index, need in enumerate(node.model.needs):
            pointer = child(f"{node.pointer}/needs", index)
            name, on = (
                (need.node, frozenset[str](need.on)) if isinstance(need, NeedOn) else (need, COMPLETED_ONLY)
            )
            if name in node.deps:
                self._report(pointer, "duplicate_need", f"{name!r} is needed twice", "keep one of them")
            elif name == node.name:
                self._report(pointer, "own_reference", f"{name!r} cannot need itself", "remove it")
            elif name in node.scope.nodes:
                node.deps[name] = Dep(on, explicit=True, pointer=pointer)
            else:
                self._report(
                    pointer, "unknown_dependency", f"{name!r} is no sibling node", self._need_hint(name, node)
                )

    def _need_hint(self, name: str, node: NodeSymbol) -> str | None:
        if any(name in scope.nodes for scope, _ in node.scope.outward()):
            return "'needs' names siblings; a reference to nodes." + name + " makes the container wait"
        return suggestion(name, node.scope.nodes, otherwise="siblings", not_this=node.name)

    # --- expressions

    def use(self, use: Use, scope: ScopeSymbol, node: NodeSymbol | None) -> None:
        """Check every reference of one field."""
        for reference in use.template.refs:
            check = self._roots.get(reference.root, self._check_name)
            try:
                check(reference, use, scope, node)
            except Refused as error:
                pointer = locate(use, reference.expression)
                where = f"{error.message}, in '{{{{ {reference.expression.strip()} }}}}'"
                self._report(pointer, error.code, where, error.hint)

    def _report(self, pointer: str, code: str, message: str, hint: str | None = None) -> None:
        self.found.problems.append(Problem(pointer, code, message, hint))

    def _check_inputs(
        self, reference: Reference, _use: Use, _scope: ScopeSymbol, _node: NodeSymbol | None
    ) -> None:
        if not reference.parts or self._inputs.open:
            return
        name = str(reference.parts[0])
        if name not in self._inputs.names:
            hint = suggestion(name, sorted(self._inputs.names), otherwise="declared inputs")
            hint = hint or f'declare it: "inputs": {{"type": "object", "properties": {{"{name}": {{}}}}}}'
            refuse("unknown_input", f"there is no input {name!r}", hint)

    def _check_instance(
        self, reference: Reference, _use: Use, _scope: ScopeSymbol, _node: NodeSymbol | None
    ) -> None:
        if reference.parts and reference.parts[0] == "scheduled_for":
            refuse("not_supported", "'instance.scheduled_for' is not built in this version")
        member_of("instance", reference, INSTANCE_FIELDS)

    def _check_task(
        self, reference: Reference, use: Use, _scope: ScopeSymbol, _node: NodeSymbol | None
    ) -> None:
        if use.kind == "scope":
            refuse(
                "unknown_root", "'task' is not known in a scope's output", "read it in a node of the scope"
            )
        member_of("task", reference, TASK_FIELDS)

    def _check_result(
        self, _reference: Reference, use: Use, _scope: ScopeSymbol, _node: NodeSymbol | None
    ) -> None:
        if use.kind != "reshape":
            refuse(
                "unknown_root", "'result' is known in a node's own 'output' only", "read nodes.<name>.output"
            )

    def _check_name(
        self, reference: Reference, _use: Use, scope: ScopeSymbol, _node: NodeSymbol | None
    ) -> None:
        """Check `item`, `index`, `total` and the names that maps give, and refuse every other root."""
        name = reference.root
        maps = [
            around.owner.model for around, _ in scope.outward() if around.owner and around.kind != "group"
        ]
        inner = next((model for model in maps if isinstance(model, MapNode)), None)
        given = {alias for model in maps if isinstance(model, MapNode) for alias in (model.as_, model.index)}
        if inner is not None and name in (inner.as_, inner.index, "total"):
            return
        if name in given and name not in ("item", "index"):
            return
        if name in ("item", "index", "total"):
            if inner is None:
                refuse(
                    "unknown_root",
                    f"{name!r} is known inside a map only",
                    "move the node into the map's 'do'",
                )
            called = inner.as_ if name == "item" else inner.index
            refuse("unknown_root", f"{name!r} is called {called!r} in this map", f"write {called!r}")
        if name in _LATER_ROOTS:
            refuse("not_supported", f"{name!r} is not built in this version")
        refuse("unknown_root", f"there is no {name!r}", self._root_hint(name, scope, sorted(given)))

    def _root_hint(self, name: str, scope: ScopeSymbol, given: list[str]) -> str | None:
        for around, _ in scope.outward():
            if name in around.nodes:
                return f"write nodes.{name}.output"
            if name in around.writers:
                return f"write vars.{name}"
        if name in self._inputs.names:
            return f"write inputs.{name}"
        return suggestion(name, [*_ROOTS, *given], otherwise="known")

    # --- variables

    def _check_variable(
        self, reference: Reference, use: Use, scope: ScopeSymbol, node: NodeSymbol | None
    ) -> None:
        name = reference.parts[0] if reference.parts else None
        if not isinstance(name, str):
            refuse("bare_vars", "variables are read by name", "write vars.<name>")
        owner = next((around for around, _ in scope.outward() if name in around.writers), None)
        if owner is None:
            visible = sorted({known for around, _ in scope.outward() for known in around.writers})
            hint = suggestion(name, visible, otherwise="variables") or "a 'set' node writes variables"
            if any(name in other.writers for other in self._symbols.scopes):
                hint = "it belongs to the items of a map; return it in the item's 'output'"
            refuse("unknown_variable", f"no node sets a variable {name!r} that can be read here", hint)
        pointer = use.pointer
        self.found.var_reads.append(VarRead(name, use, pointer, scope, node, owner))

    # --- nodes

    def _check_node(
        self, reference: Reference, use: Use, scope: ScopeSymbol, node: NodeSymbol | None
    ) -> None:
        parts = reference.parts
        if not parts or not isinstance(parts[0], str):
            refuse("bare_nodes", "'nodes' is read by a literal name and field", "write nodes.<name>.output")
        name = parts[0]
        for around, holder in scope.outward():
            target = around.nodes.get(name)
            if target is not None and name:
                check_field(target, parts)
                self._edge(target, holder or node, use, reference, node)
                return
        self._refuse_unknown(name, scope)

    def _edge(
        self,
        target: NodeSymbol,
        waiting: NodeSymbol | None,
        use: Use,
        reference: Reference,
        node: NodeSymbol | None,
    ) -> None:
        """Let the node beside the target wait for it; `waiting` is None in the output of the target's scope."""
        if waiting is None:
            return
        if target is waiting:
            if target is not node:
                refuse("own_container", f"{target.name!r} contains this node and ends after it", None)
            what = "read 'result' instead" if use.kind == "reshape" else "a node cannot wait for itself"
            refuse("own_reference", f"{target.name!r} reads itself", what)
        if use.kind == "reshape":
            self.found.late_reads.append(LateRead(waiting, target, locate(use, reference.expression)))
            return
        dep = waiting.deps.get(target.name)
        if dep is None:
            waiting.deps[target.name] = Dep(pointer=use.pointer)
        elif not dep.explicit:
            dep.on &= COMPLETED_ONLY

    def _refuse_unknown(self, name: str, scope: ScopeSymbol) -> NoReturn:
        if self._inner is None:
            self._inner = {node.name: node.scope.owner for node in self._symbols.nodes if node.scope.owner}
        around = self._inner.get(name) if name else None
        if around is not None:
            refuse(
                "invisible_node",
                f"{name!r} stands inside {around.label!r} and is not visible here",
                f"return it in the 'output' of {around.label!r} and read nodes.{around.label}.output",
            )
        scopes = [outer.nodes for outer, _ in scope.outward() if outer.kind != "single"]
        similar = next((found for found in (nearest(name, nodes) for nodes in scopes) if found), None)
        hint = f"did you mean {similar[0]!r}?" if similar else suggestion(name, scopes[-1], otherwise="nodes")
        refuse("unknown_node", f"there is no node {name!r}", hint)
