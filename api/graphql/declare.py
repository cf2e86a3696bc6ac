"""How types say what they need: one that does not cannot be a part of the schema (RELIABILITY R1, R13).

A resource is declared with its scope, and every field that gives it needs that scope, wherever it stands: nobody has
to remember to say so. What is only a part of something else (a page, an answer) is declared as a part; a field that
gives a part needs what the part's members need, unless it states a scope of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ...services.access.scopes import Need

__all__ = ["NEEDS", "PART", "WEIGHT", "declared", "needs", "part", "states", "weighs"]

#: Where a type's and a field's declarations stand.
NEEDS: Final = "strataflow_needs"
WEIGHT: Final = "strataflow_weight"
PART: Final = "part"
Type = TypeVar("Type", bound=type)


def needs(scope: str) -> Callable[[Type], Type]:
    """A resource that is seen with this scope, such as `read:tasks`. Raises ValueError for one that there is not."""
    need = Need(*scope.split(":"))

    def declare(kind: Type) -> Type:
        setattr(kind, NEEDS, need)
        return _described(kind)

    return declare


def part(kind: Type) -> Type:
    """A type that is only a part of what gives it."""
    setattr(kind, NEEDS, PART)
    return _described(kind)


def states(scope: str, weight: int = 1) -> dict[str, Any]:
    """The metadata of a field that says what it needs, whatever it gives."""
    return {NEEDS: Need(*scope.split(":")), WEIGHT: weight}


def weighs(weight: int) -> dict[str, Any]:
    """The metadata of a field that costs more than reading a column."""
    return {WEIGHT: weight}


def declared(kind: type) -> Need | str | None:
    """What a type has declared itself; nothing is taken over from what it is made of."""
    found: Need | str | None = vars(kind).get(NEEDS)
    return found


def _described(kind: Type) -> Type:
    """What the class says of itself is what the schema says of it."""
    definition: Any = vars(kind)["__strawberry_definition__"]
    definition.description = inspect.getdoc(kind)
    return kind
