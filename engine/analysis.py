"""Everything that steps 2 and 3 both need to know about a definition, found out once.

The tree of symbols with resolved edges and sorted scopes, and the problems met on the way. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from .definition import Definition
from .errors import Problem
from .input_names import declared_inputs
from .ordering import check_order
from .references import resolve
from .symbols import Symbols
from .tree import build_symbols

__all__ = ["Analysis", "analyse"]


@dataclass(slots=True)
class Analysis:
    """A definition, understood."""

    definition: Definition
    symbols: Symbols
    problems: list[Problem]


def analyse(definition: Definition) -> Analysis:
    """Build the tree, resolve references into edges, and order every scope."""
    symbols = build_symbols(definition)
    references = resolve(symbols, declared_inputs(definition.inputs))
    order = check_order(symbols, references)
    return Analysis(definition, symbols, [*symbols.problems, *references.problems, *order])
