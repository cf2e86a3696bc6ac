"""Runs of definitions that nobody has registered: one call, an id at once, the same checks as any start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..engine.errors import DefinitionError, Problem
from ..engine.starts import StartOptions
from .documents import read_document

if TYPE_CHECKING:
    from ..engine.workflow_engine import WorkflowEngine
    from .execution_service import ExecutionService
    from .workflow_service import WorkflowService

__all__ = ["definition_of", "is_step_list", "read_spec", "record_of", "run_ad_hoc"]


def is_step_list(document: object) -> bool:
    """Is it an ordered list of steps in Aura's form, and no definition of ours?"""
    return isinstance(document, Mapping) and "steps" in document and "dsl" not in document


def definition_of(document: Any, *, name: str | None = None) -> dict[str, Any]:
    """A definition as it is; an ordered list of steps written as one. Raises DefinitionError."""
    if not is_step_list(document):
        return cast("dict[str, Any]", document)
    from ..engine.aura import import_aura

    return import_aura(document, name=name)


def read_spec(path: Path) -> Any:
    """The value of a JSON or YAML file. Raises NotFound, DefinitionError."""
    document: Any = read_document(path)
    if not isinstance(document, str | bytes):
        return document
    try:
        return json.loads(document)
    except ValueError as exc:
        raise DefinitionError([Problem("", "not_json", f"{path} is not JSON: {exc}")]) from exc


def run_ad_hoc(
    engine: WorkflowEngine,
    task_spec: Mapping[str, Any] | Path,
    inputs: Any = None,
    *,
    options: StartOptions | None = None,
) -> str:
    """Start a definition, or a list of steps, that nobody has registered; gives the task's id.

    It is durable when this returns, and nothing of it has run. Raises DefinitionError, InputError.
    """
    document = read_spec(task_spec) if isinstance(task_spec, Path) else task_spec
    return engine.start_now(definition_of(document), inputs, options=options or StartOptions())


def record_of(executions: ExecutionService, workflows: WorkflowService, task_id: str) -> dict[str, Any]:
    """A task with its definition, inputs, state and steps, as the API gives it. Raises NotFound."""
    status, seen = executions.status(task_id), executions.live(task_id).read()
    steps = [
        {
            "name": node.name,
            "state": None if node.state is None else node.state.value,
            "attempt": node.attempt,
            "executor": node.executor,
        }
        for node in seen.nodes
    ]
    return {
        "task_id": status.id,
        "name": status.name,
        "version": status.version,
        "definition": workflows.stored_document(f"{status.name}@{status.version}"),
        "inputs": status.inputs,
        "state": status.state.value,
        "steps": steps,
        "output": status.output,
        "error": status.error,
        "created_at": status.created_at,
        "started_at": status.started_at,
        "ended_at": status.ended_at,
    }
