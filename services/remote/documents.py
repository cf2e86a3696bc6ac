"""A file's definition as a value to send; what is wrong with its text is told here, in the words of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ...engine.errors import DefinitionError
from ..documents import read_document

__all__ = ["document_of"]


def document_of(path: Path) -> Any:
    """The document of a file. Raises NotFound, DefinitionError for what is no JSON, or says a name twice."""
    from ...engine.parser import read_definition

    source = read_document(path)
    if not isinstance(source, bytes):
        return source
    reading = read_definition(source)
    if not isinstance(reading.document, dict) or any(
        each.code == "duplicate_key" for each in reading.problems
    ):
        raise DefinitionError(reading.problems)
    return cast("dict[str, Any]", reading.document)
