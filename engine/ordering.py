"""In which order a scope's nodes run, and whether every value is fixed before it is read (rules 15, 30).

An attempt that is repeated after a crash must see what the first one saw. So every reader of a variable waits
for its writers, two writers must be ordered by the graph, and what a node's `output` names must certainly
have ended.

"Certainly" matters: a node is skipped as soon as one dependency cannot be met, while others may still run. So
what lies behind a dependency has ended for sure only when that dependency really ran, that is, when the edge
accepts nothing but `completed` and `failed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from .errors import Problem
from .graph import Cycle, sort
from .pointers import child
from .references import LateRead, References, VarRead
from .symbols import Dep, NodeSymbol, Outer, ScopeSymbol, Symbols

__all__ = ["MAX_EDGES", "check_order"]

#: Edges that readers of variables may add.
MAX_EDGES: Final = 2_000_000
_RAN: Final = frozenset({"completed", "failed"})
_WRITTEN: Final = frozenset({"completed", "skipped"})

#: One variable: the scope that owns it, and its name.
Key = tuple[ScopeSymbol, str]


@dataclass(slots=True, eq=False)
class _Traffic:
    """Who writes and reads which variable in one scope; inner nodes count as the node here that holds them."""

    writers: dict[Key, dict[NodeSymbol, NodeSymbol]] = field(default_factory=dict)
    readers: dict[Key, dict[NodeSymbol, VarRead]] = field(default_factory=dict)
    late: list[tuple[Key, NodeSymbol, VarRead]] = field(default_factory=list)


def check_order(symbols: Symbols, references: References) -> list[Problem]:
    """Sort every scope, add the edges of variables, and report cycles and values that nothing orders."""
    traffic = _traffic(symbols, references)
    late: dict[ScopeSymbol, list[LateRead]] = {}
    for read in references.late_reads:
        late.setdefault(read.reader.scope, []).append(read)
    problems: list[Problem] = []
    budget = MAX_EDGES
    for scope in symbols.scopes:
        if not _sorted(scope, problems):
            continue
        here = traffic.get(scope)
        if here is not None:
            budget -= _add_edges(scope, here, budget)
            if budget < 0:
                message = f"reads of variables make more than {MAX_EDGES:,} dependencies"
                return [
                    *problems,
                    Problem(scope.pointer, "too_large", message, "write variables in fewer nodes"),
                ]
            if not _sorted(scope, problems):
                continue
            problems += _check_variables(scope, here)
        problems += _check_late(scope, late.get(scope, []))
    return problems


def _sorted(scope: ScopeSymbol, problems: list[Problem]) -> bool:
    nodes = scope.nodes
    order, cycles = sort({name: node.before() for name, node in nodes.items()})
    problems += (_cycle_problem(scope, cycle) for cycle in cycles)
    scope.order = [nodes[name] for name in order]
    return not cycles


def _cycle_problem(scope: ScopeSymbol, cycle: Cycle) -> Problem:
    path = " → ".join([*cycle, cycle[0]])
    waits = [
        f"{after!r} waits for {before!r} by {dep.pointer}"
        for before, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True)
        if (dep := scope.nodes[after].why(before)) is not None
    ]
    hint = "; ".join(waits[:6])
    return Problem(scope.nodes[cycle[0]].pointer, "cycle", f"the nodes wait for each other: {path}", hint)


def _traffic(symbols: Symbols, references: References) -> dict[ScopeSymbol, _Traffic]:
    found: dict[ScopeSymbol, _Traffic] = {}
    for owner in symbols.scopes:
        for name, writers in owner.writers.items():
            for writer in writers:
                for step in _levels(writer.scope, owner):
                    if step.late and step.holder is None:
                        continue  # written after the whole scope
                    table = found.setdefault(step.scope, _Traffic()).writers.setdefault((owner, name), {})
                    table.setdefault(step.holder or writer, writer)
    for read in references.var_reads:
        key = (read.owner, read.name)
        for step in _levels(read.scope, read.owner):
            unit = step.holder or (None if step.late else read.node)
            traffic = found.get(step.scope)
            if unit is None or traffic is None or key not in traffic.writers:
                continue
            if step.late or read.use.kind in ("reshape", "handler"):
                traffic.late.append((key, unit, read))
            else:
                traffic.readers.setdefault(key, {}).setdefault(unit, read)
    return found


def _levels(start: ScopeSymbol, owner: ScopeSymbol) -> Iterable[Outer]:
    """The scopes from `start` out to the owner of a variable."""
    for step in start.outward():
        yield step
        if step.scope is owner:
            return


class _Later:
    """Which of some chosen nodes start only after a given node has certainly ended."""

    __slots__ = ("bits", "chosen", "later")

    def __init__(self, order: list[NodeSymbol], chosen: Iterable[NodeSymbol]) -> None:
        #: The chosen nodes; the position of each is its bit.
        self.chosen = list(dict.fromkeys(chosen))
        self.bits = {node: 1 << position for position, node in enumerate(self.chosen)}
        #: Per node, the chosen nodes behind it as a set of bits.
        self.later = dict.fromkeys(order, 0)
        solid = dict.fromkeys(order, 0)
        for node in reversed(order):
            reached = self.bits.get(node, 0) | solid[node]
            if not reached:
                continue
            for name, dep in node.deps.items():
                before = node.scope.nodes[name]
                self.later[before] |= reached
                if dep.on <= _RAN:
                    solid[before] |= reached
            for group in node.groups:
                if group.kind == "none" or len(group.deps) == 1:
                    # All of its members have ended; which of them ran is open.
                    for name in group.deps:
                        self.later[node.scope.nodes[name]] |= reached

    def orders(self, first: NodeSymbol, second: NodeSymbol) -> bool:
        """Whether the second, a chosen node, certainly starts after the first has ended."""
        return bool(self.later[first] & self.bits[second])

    def members(self, mask: int) -> Iterator[NodeSymbol]:
        """The chosen nodes whose bits are set."""
        while mask:
            low = mask & -mask
            yield self.chosen[low.bit_length() - 1]
            mask ^= low


def _add_edges(scope: ScopeSymbol, traffic: _Traffic, budget: int) -> int:
    """Let every reader wait for the writers that do not come after it; the number of new edges."""
    behind = _Later(scope.order, (unit for table in traffic.writers.values() for unit in table))
    added = 0
    for key, readers in traffic.readers.items():
        table = traffic.writers[key]
        every = sum(behind.bits[unit] for unit in table)
        for reader, read in readers.items():
            own = behind.bits.get(reader, 0)
            for writer in behind.members(every & ~behind.later[reader] & ~own):
                if writer in readers and reader in table and not behind.orders(writer, reader):
                    continue  # each changes what the other wrote: reported as two unordered writers
                added += _wait_for(reader, writer, read)
                if added > budget:
                    return added
    return added


def _wait_for(reader: NodeSymbol, writer: NodeSymbol, read: VarRead) -> int:
    dep = reader.deps.get(writer.name)
    if dep is None:
        reader.deps[writer.name] = Dep(_WRITTEN, pointer=read.pointer)
        return 1
    if not dep.explicit:
        dep.on &= _WRITTEN
    return 0


def _check_variables(scope: ScopeSymbol, traffic: _Traffic) -> Iterable[Problem]:
    written = [unit for table in traffic.writers.values() for unit in table]
    behind = _Later(scope.order, [*written, *(unit for _, unit, _ in traffic.late)])
    position = {node: index for index, node in enumerate(scope.order)}
    for (_, name), table in traffic.writers.items():
        after = 0
        for unit in sorted(table, key=position.__getitem__, reverse=True):
            loose = next(behind.members(after & ~behind.later[unit]), None)
            if loose is not None:
                yield _unordered_writers(name, unit, loose, table[loose].pointer)
            after |= behind.bits[unit]
    for (owner, name), unit, read in traffic.late:
        for writer in traffic.writers[owner, name]:
            if writer is unit:
                if unit is read.node and unit.kind == "set" and read.use.kind == "reshape":
                    message = f"vars.{name} is being written by this node"
                    yield Problem(read.pointer, "unordered_var", message, "read result instead")
            elif not behind.orders(writer, unit) and not behind.orders(unit, writer):
                yield _unordered_reader(name, writer, unit, read.pointer)


def _unordered_writers(name: str, first: NodeSymbol, second: NodeSymbol, pointer: str) -> Problem:
    return Problem(
        child(f"{pointer}/set", name),
        "unordered_var",
        f"{first.label!r} and {second.label!r} both write vars.{name} and nothing orders them",
        f"add {first.label!r} to the needs of {second.label!r}",
    )


def _unordered_reader(name: str, writer: NodeSymbol, reader: NodeSymbol, pointer: str) -> Problem:
    return Problem(
        pointer,
        "unordered_var",
        f"{writer.label!r} may write vars.{name} before or after {reader.label!r} reads it here",
        f"add {writer.label!r} to the needs of {reader.label!r}",
    )


def _check_late(scope: ScopeSymbol, reads: list[LateRead]) -> Iterable[Problem]:
    loose = [read for read in reads if read.target.name not in read.reader.deps]
    if not loose:
        return
    behind = _Later(scope.order, (read.reader for read in loose))
    for read in loose:
        if not behind.orders(read.target, read.reader):
            target, reader = read.target.label, read.reader.label
            message = f"{target!r} may not have ended when {reader!r} ends"
            hint = f"add {target!r} to the needs of {reader!r}"
            if read.several is not None:
                message = f"{reader!r} begins with any of several, and {target!r} may not have ended then"
                hint = "read trigger.output: what the one gave that has ended"
            if read.several == "inside":
                hint = f"let a 'set' node wait for any of them, keep its trigger.output, and let {reader!r} read that"
            yield Problem(read.pointer, "unordered_reference", message, hint)
