"""In which order a scope's nodes run, and whether every value is fixed before it is read (rules 15, 30).

An attempt that is repeated after a crash must see what the first one saw. So every reader of a variable waits for its
writers, two writers must be ordered by the graph, and what a node's `output` names must certainly have ended.

"Certainly" matters: a node is skipped as soon as one dependency cannot be met, while others may still run. So what lies
behind a dependency has ended for sure only when that dependency really ran, that is, when the edge accepts nothing but
`completed` and `failed`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from .errors import Problem
from .graph import Cycle, sort
from .references import LateRead, References, VarRead
from .symbols import Dep, NodeSymbol, ScopeSymbol, Symbols

__all__ = ["MAX_EDGES", "check_order"]

#: Edges that readers of variables may add.
MAX_EDGES: Final = 2_000_000
_RAN: Final = frozenset({"completed", "failed"})
_WRITTEN: Final = frozenset({"completed", "skipped"})

#: One variable: the scope that owns it, and its name.
Key = tuple[ScopeSymbol, str]


@dataclass(slots=True, eq=False)
class _Traffic:
    """Who writes and reads which variable in one scope; inner nodes count as the node of this scope that holds them."""

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
    order, cycles = sort({name: node.deps for name, node in nodes.items()})
    problems += (_cycle_problem(scope, cycle) for cycle in cycles)
    scope.order = [nodes[name] for name in order]
    return not cycles


def _cycle_problem(scope: ScopeSymbol, cycle: Cycle) -> Problem:
    path = " → ".join([*cycle, cycle[0]])
    waits = [
        f"{after!r} waits for {before!r} by {scope.nodes[after].deps[before].pointer}"
        for before, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    ]
    hint = "; ".join(waits[:6])
    return Problem(scope.nodes[cycle[0]].pointer, "cycle", f"the nodes wait for each other: {path}", hint)


def _traffic(symbols: Symbols, references: References) -> dict[ScopeSymbol, _Traffic]:
    found: dict[ScopeSymbol, _Traffic] = {}
    for owner in symbols.scopes:
        for name, writers in owner.writers.items():
            for writer in writers:
                for scope, holder in _levels(writer.scope, owner):
                    table = found.setdefault(scope, _Traffic()).writers.setdefault((owner, name), {})
                    table.setdefault(holder or writer, writer)
    for read in references.var_reads:
        key = (read.owner, read.name)
        for scope, holder in _levels(read.scope, read.owner):
            unit = holder or read.node
            traffic = found.get(scope)
            if unit is None or traffic is None or key not in traffic.writers:
                continue
            if read.use.kind == "reshape":
                traffic.late.append((key, unit, read))
            else:
                traffic.readers.setdefault(key, {}).setdefault(unit, read)
    return found


def _levels(start: ScopeSymbol, owner: ScopeSymbol) -> Iterable[tuple[ScopeSymbol, NodeSymbol | None]]:
    """The scopes from `start` out to the owner of a variable."""
    for scope, holder in start.outward():
        yield scope, holder
        if scope is owner:
            return


def _certainly_later(order: list[NodeSymbol], bits: dict[NodeSymbol, int]) -> dict[NodeSymbol, int]:
    """For each node, which of the nodes with a bit start only after it has certainly ended, as a set of bits."""
    later = dict.fromkeys(order, 0)
    solid = dict.fromkeys(order, 0)
    for node in reversed(order):
        bit = bits.get(node, 0)
        reached = bit | solid[node]
        if not reached:
            continue
        for name, dep in node.deps.items():
            before = node.scope.nodes[name]
            later[before] |= reached
            if dep.on <= _RAN:
                solid[before] |= reached
    return later


def _bits(nodes: Iterable[NodeSymbol]) -> dict[NodeSymbol, int]:
    unique = dict.fromkeys(nodes)
    return {node: 1 << number for number, node in enumerate(unique)}


def _members(mask: int, nodes: list[NodeSymbol]) -> Iterable[NodeSymbol]:
    while mask:
        low = mask & -mask
        yield nodes[low.bit_length() - 1]
        mask ^= low


def _add_edges(scope: ScopeSymbol, traffic: _Traffic, budget: int) -> int:
    """Let every reader wait for the writers that do not come after it; the number of new edges."""
    bits = _bits(unit for table in traffic.writers.values() for unit in table)
    writers = list(bits)
    later = _certainly_later(scope.order, bits)
    added = 0
    for key, readers in traffic.readers.items():
        table = traffic.writers[key]
        every = sum(bits[unit] for unit in table)
        for reader, read in readers.items():
            own = bits.get(reader, 0)
            for writer in _members(every & ~later[reader] & ~own, writers):
                both_ways = writer in readers and reader in table
                if both_ways and not later[writer] & own:
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
    bits = _bits([*written, *(unit for _, unit, _ in traffic.late)])
    units = list(bits)
    later = _certainly_later(scope.order, bits)
    position = {node: index for index, node in enumerate(scope.order)}
    for (_, name), table in traffic.writers.items():
        behind = 0
        for unit in sorted(table, key=position.__getitem__, reverse=True):
            loose = behind & ~later[unit]
            if loose:
                yield _unordered_writers(name, unit, next(iter(_members(loose, units))), table)
            behind |= bits[unit]
    for key, unit, read in traffic.late:
        yield from _unordered_reader(key[1], unit, read, traffic.writers[key], later, bits)


def _unordered_writers(
    name: str, first: NodeSymbol, second: NodeSymbol, table: dict[NodeSymbol, NodeSymbol]
) -> Problem:
    return Problem(
        f"{table[second].pointer}/set/{name}",
        "unordered_var",
        f"{first.label!r} and {second.label!r} both write vars.{name} and nothing orders them",
        f"add {first.label!r} to the needs of {second.label!r}",
    )


def _unordered_reader(
    name: str,
    unit: NodeSymbol,
    read: VarRead,
    table: dict[NodeSymbol, NodeSymbol],
    later: dict[NodeSymbol, int],
    bits: dict[NodeSymbol, int],
) -> Iterable[Problem]:
    for writer in table:
        if writer is unit:
            if unit is read.node and unit.kind == "set":
                yield Problem(
                    read.pointer,
                    "unordered_var",
                    f"vars.{name} is being written by this node",
                    "read result instead",
                )
        elif not (later[writer] & bits[unit] or later[unit] & bits[writer]):
            yield Problem(
                read.pointer,
                "unordered_var",
                f"{writer.label!r} may write vars.{name} before or after {unit.label!r} reads it here",
                f"add {writer.label!r} to the needs of {unit.label!r}",
            )


def _check_late(scope: ScopeSymbol, reads: list[LateRead]) -> Iterable[Problem]:
    loose = [read for read in reads if read.target.name not in read.reader.deps]
    if not loose:
        return
    bits = _bits(read.reader for read in loose)
    later = _certainly_later(scope.order, bits)
    for read in loose:
        if not later[read.target] & bits[read.reader]:
            yield Problem(
                read.pointer,
                "unordered_reference",
                f"{read.target.label!r} may not have ended when {read.reader.label!r} ends",
                f"add {read.target.label!r} to the needs of {read.reader.label!r}",
            )
