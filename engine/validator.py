"""Step 2: every problem of a definition at once, each with its place, a code, and what to do.

Pure: the executors that are known come in as a `registry`. Which code means what is listed in docs/dsl.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, cast

from .analysis import Analysis, analyse
from .definition import Definition, RunNode
from .errors import Problem
from .expressions import has_expression
from .pointers import child, parts_of
from .problems import in_document_order, suggestion
from .symbols import NodeSymbol
from .validation_rules import check_definition, check_nodes

__all__ = ["ExecutorCatalog", "Severity", "SeverityOf", "validate", "validate_analysis"]

Severity = Literal["error", "warning"]
#: What an unknown executor is; by its name where some are refused and others not.
SeverityOf = Severity | Callable[[str], Severity]


class ExecutorCatalog(Protocol):
    """The executors that are known here, as far as validation asks about them."""

    def has(self, name: str) -> bool:
        """Whether an executor of this name is known."""
        ...

    def names(self) -> Iterable[str]:
        """Every known name, for suggestions."""
        ...

    def config_problems(self, name: str, config: Any) -> Iterable[tuple[str, str]]:
        """What is wrong with a `with`, as (JSON pointer inside it, message).

        An expression in it stands for any value. A missing member is best reported by the pointer it would
        have.
        """
        ...


def validate(
    definition: Definition,
    registry: ExecutorCatalog | None = None,
    *,
    executor_severity: SeverityOf = "error",
) -> list[Problem]:
    """Every problem of the definition, in document order; empty = it may run.

    Without a registry executors are not looked at. `executor_severity` is for processes that know only a part
    of the executors: there an unknown one is a warning.
    """
    problems = validate_analysis(analyse(definition), registry, executor_severity=executor_severity)
    return (
        in_document_order(problems, definition.model_dump(by_alias=True, exclude_unset=True))
        if problems
        else []
    )


def validate_analysis(
    analysis: Analysis, registry: ExecutorCatalog | None = None, *, executor_severity: SeverityOf = "error"
) -> list[Problem]:
    """Like `validate`, for a definition that is analysed already; in no particular order."""
    problems = [
        *analysis.problems,
        *check_definition(analysis.definition),
        *check_nodes(analysis.symbols, analysis.definition.defaults),
    ]
    if registry is not None:
        problems += _check_executors(analysis.symbols.nodes, registry, executor_severity)
    return problems


def _check_executors(
    nodes: list[NodeSymbol], registry: ExecutorCatalog, severity_of: SeverityOf
) -> Iterable[Problem]:
    hints: dict[str, str] = {}
    for node in nodes:
        model = node.model
        if not isinstance(model, RunNode):
            continue
        if registry.has(model.run):
            yield from _check_config(node, model, registry)
            continue
        if model.run not in hints:
            way_out = "register it, or name its module with --import"
            names = sorted(registry.names())
            hints[model.run] = suggestion(model.run, names, otherwise=f"{way_out}; known") or way_out
        message = f"no executor {model.run!r} is known here"
        severity = severity_of if isinstance(severity_of, str) else severity_of(model.run)
        yield Problem(child(node.pointer, "run"), "unknown_executor", message, hints[model.run], severity)


def _check_config(node: NodeSymbol, model: RunNode, registry: ExecutorCatalog) -> Iterable[Problem]:
    config: Any = model.with_ if model.has("with_") else {}
    if isinstance(config, str) and has_expression(config):
        return
    for pointer, message in registry.config_problems(model.run, config):
        if not _is_computed(config, pointer):
            hint = f"see the config of {model.run}"
            yield Problem(f"{child(node.pointer, 'with')}{pointer}", "bad_config", message, hint)


def _is_computed(config: Any, pointer: str) -> bool:
    """Whether the value at the pointer holds an expression, so that nobody knows yet what it will be."""
    here = config
    for key in parts_of(pointer):
        if isinstance(here, dict) and key in here:
            here = cast("dict[str, Any]", here)[key]
        elif isinstance(here, list) and key.isdigit() and int(key) < len(cast("list[Any]", here)):
            here = cast("list[Any]", here)[int(key)]
        else:
            return False
    return isinstance(here, str) and has_expression(here)
