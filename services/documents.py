"""Definitions as files: read, check without a database, find in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..engine.errors import DefinitionError, EngineError, NotFound, Problem
from ..executors.registry import ExecutorRegistry

if TYPE_CHECKING:
    from ..engine.definition import Definition
    from ..engine.plan import Plan

__all__ = ["Checked", "check_document", "definitions_in", "read_document"]

Document = Mapping[str, Any] | bytes
SUFFIXES: Final = (".json", ".yaml", ".yml")


@dataclass(slots=True, frozen=True)
class Checked:
    """What became of a document; without errors it has a definition and a plan."""

    problems: tuple[Problem, ...]
    #: As far as the document tells.
    name: str | None = None
    definition: Definition | None = None
    plan: Plan | None = None

    @property
    def valid(self) -> bool:
        """Whether it may be stored and started."""
        return self.plan is not None


class _Known:
    """This process's executors, as validation asks for them."""

    def __init__(self, registry: ExecutorRegistry) -> None:
        self._registry = registry
        self._names = {entry.name for entry in registry.list_executors()}

    def has(self, name: str) -> bool:
        return name in self._names

    def names(self) -> Iterable[str]:
        return sorted(self._names)

    def config_problems(self, name: str, config: Any) -> Iterable[tuple[str, str]]:
        return self._registry.config_problems(name, config) if name in self._names else ()


def read_document(path: Path) -> Document:
    """A definition's text, or of YAML its value. Raises NotFound, DefinitionError."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise NotFound(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if path.suffix not in {".yaml", ".yml"}:
        return data
    from ..engine.catalog import read_yaml

    return read_yaml(data, str(path))


def check_document(document: Document, registry: ExecutorRegistry) -> Checked:
    """Every problem of a document, and its plan if there is no error. Never raises for what is in it."""
    from ..engine.compiler import compile_definition

    try:
        definition, plan, warnings = compile_definition(
            document, registry=_Known(registry), node_types=registry.node_types
        )
    except DefinitionError as exc:
        return Checked(exc.problems, exc.name)
    return Checked(tuple(warnings), definition.name, definition, plan)


def definitions_in(folder: Path) -> Iterator[Path]:
    """The files of a folder that call themselves definitions: a mapping with `dsl`. Raises NotFound."""
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder.", hint="Name the folder that holds the other definitions.")
    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES and path.is_file() and _has_dsl(path):
            yield path


def _has_dsl(path: Path) -> bool:
    import json

    try:
        document = read_document(path)
        value = document if isinstance(document, Mapping) else json.loads(document)
    except (EngineError, ValueError, RecursionError):
        return False
    return isinstance(value, Mapping) and "dsl" in value
