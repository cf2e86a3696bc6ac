"""Steps 1 to 3 in one call: a document becomes a definition and its plan, or every reason why not.

The front door of the definition language. Pure; whoever calls it stores the canonical text and starts
instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .analysis import analyse
from .collection import uncollected
from .definition import Definition
from .errors import DefinitionError, Problem
from .graph import assemble_plan
from .node_types import Expansion, expand_node_types
from .parser import Reading, read_definition
from .plan import Plan
from .problems import in_document_order
from .validator import ExecutorCatalog, SeverityOf, validate_analysis

__all__ = ["build_plan", "compile_definition"]


def build_plan(definition: Definition, *, definition_id: str, version: int) -> Plan:
    """The plan of a definition that validates.

    Raises:
        DefinitionError: its nodes wait for each other, or an expression is malformed: it cannot have been
        validated.
    """
    with uncollected():
        analysis = analyse(definition)
        if analysis.problems:
            raise DefinitionError(analysis.problems, name=definition.name)
        return assemble_plan(analysis.symbols, definition, definition_id=definition_id, version=version)


def compile_definition(
    source: str | bytes | Mapping[str, Any],
    *,
    registry: ExecutorCatalog | None = None,
    definition_id: str = "",
    version: int = 0,
    executor_severity: SeverityOf = "error",
    node_types: Mapping[str, Expansion] = MappingProxyType({}),
) -> tuple[Definition, Plan, list[Problem]]:
    """Parse, validate and plan a document; the problems returned are warnings.

    `node_types` are verbs from outside, which are written out first.

    Raises:
        DefinitionError: the document is refused; holds all problems, in document order.
    """
    with uncollected():
        reading = read_definition(expand_node_types(source, node_types))
        definition = reading.definition
        if definition is None:
            raise DefinitionError(reading.problems)
        analysis = analyse(definition)
        problems = _merged(
            reading, validate_analysis(analysis, registry, executor_severity=executor_severity)
        )
        if any(problem.severity == "error" for problem in problems):
            raise DefinitionError(problems, name=definition.name)
        plan = assemble_plan(analysis.symbols, definition, definition_id=definition_id, version=version)
    return definition, plan, problems


def _merged(reading: Reading, found: list[Problem]) -> list[Problem]:
    """Both steps' problems in document order, without echoes from places that hold a stand-in."""
    fresh = [problem for problem in found if problem.pointer not in reading.muted]
    return (
        in_document_order([*reading.problems, *fresh], reading.document) if reading.problems or fresh else []
    )
