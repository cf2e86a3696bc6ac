"""What a generated case consists of, and how the attempts of its executors end."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

from tests.reference.shape import Doc
from tests.reference.values import Error

__all__ = ["INPUTS", "Case", "Place", "oracle_of"]

INPUTS: Final[Doc] = {"n": 2, "rows": [1, 2, 3], "flag": True, "nothing": None}
_ERRORS: Final = (
    Error("ref.Red", ("ref.Warm",)),
    Error("ref.Orange", ("ref.Warm",)),
    Error("ref.Blue"),
    Error("ref.Lost", retryable=False),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A definition, those it starts, and how likely attempts fail."""

    seed: int
    document: Doc
    flows: dict[str, Doc]
    failing: float


def oracle_of(case: Case, definition: str, path: str, attempt: int) -> Error | None:
    """How an attempt ends: always the same for one case, definition, path and attempt."""
    chance = random.Random(f"{case.seed} {definition} {path}")
    fails, often, error = chance.random() < case.failing, chance.choice([1, 1, 2, 9]), chance.choice(_ERRORS)
    return error if fails and attempt <= often and "!undo" not in path else None


@dataclass(frozen=True, slots=True)
class Place:
    """What can be read where a node is written."""

    depth: int = 0
    #: Expressions that certainly give whole numbers, and others that give anything.
    numbers: tuple[str, ...] = ("inputs.n",)
    things: tuple[str, ...] = ("inputs.flag", "inputs.nothing")
    #: Nodes before this one, in this scope and those around it.
    nodes: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    def inside(self, numbers: tuple[str, ...] = (), things: tuple[str, ...] = ()) -> Place:
        """Add names of a container for its body; they hide those of the same name around it."""
        gone = {*numbers, *things} | ({"item", "index"} if "total" in numbers else set())
        kept = (each for each in self.things if each not in gone and not each.startswith("trigger"))
        return replace(
            self,
            depth=self.depth + 1,
            numbers=(*(each for each in self.numbers if each not in gone), *numbers),
            things=(*kept, *things),
        )
