"""Which scope a variable belongs to, seen from any other scope (rule 15)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .symbols import Symbols

__all__ = ["VarOwners"]


class VarOwners(Mapping[tuple[str, str], str]):
    """`(address of a scope, variable)` → address of the scope that owns the variable as seen from there.

    Scopes are the definition (''), bodies of every kind, and the nodes that have some. A loop owns what its turns
    write, and its own fields see it. Looked up by walking outward, at most as far as containers are nested: a table of
    every pair would grow with scopes times variables.
    """

    __slots__ = ("_around", "_owned")

    def __init__(self, symbols: Symbols) -> None:
        #: Scope → the scope around it.
        self._around: dict[str, str | None] = {}
        #: Scope → the variables it owns.
        self._owned: dict[str, frozenset[str]] = {}
        for scope in symbols.scopes:
            owner, around = scope.owner, scope.around
            outside = None if around is None else around.address
            if owner is not None and scope.address != owner.address:
                # A container that is the only node of a body stands at the body's own address, which is known already.
                self._around.setdefault(owner.address, outside)
                self._around[scope.address] = owner.address
            else:
                self._around[scope.address] = outside
            if scope.writers:
                # A loop that is the only node of a branch keeps the branch's variables and those of its turns.
                owned = self._owned.get(scope.owner_address, frozenset())
                self._owned[scope.owner_address] = owned.union(scope.writers)

    def __getitem__(self, key: tuple[str, str]) -> str:
        scope: str | None
        scope, name = key
        if scope not in self._around:
            raise KeyError(key)
        while scope is not None:
            if name in self._owned.get(scope, ()):
                return scope
            scope = self._around[scope]
        raise KeyError(key)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        names = dict.fromkeys(name for owned in self._owned.values() for name in sorted(owned))
        return ((scope, name) for scope in self._around for name in names if self._sees(scope, name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _sees(self, scope: str, name: str) -> bool:
        here: str | None = scope
        while here is not None:
            if name in self._owned.get(here, ()):
                return True
            here = self._around[here]
        return False
