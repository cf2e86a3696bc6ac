"""Step 1: JSON text, or a value that JSON could have given, into a `Definition`.

Pure. Every problem carries a JSON pointer; a text that is no JSON gives line and column. `read_definition`
goes on past refused parts, so that the validator can report its problems in the same run; `parse_definition`
raises.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

from pydantic import ValidationError

from . import payload
from .collection import uncollected
from .definition import Definition
from .errors import DefinitionError, PayloadError, Problem
from .field_texts import kind_of
from .model_errors import problems_of, prune
from .pointers import child, values_in
from .problems import in_document_order
from .shape import check_shape

__all__ = ["MAX_DOCUMENT", "Reading", "canonical_text", "content_hash", "parse_definition", "read_definition"]

#: Bytes of one definition's text.
MAX_DOCUMENT: Final = 64 * 1024 * 1024
#: Rounds of taking refused values out until the models accept the rest.
_MAX_ROUNDS: Final = 4
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', re.DOTALL)


@dataclass(slots=True)
class Reading:
    """What was read: the definition as far as it makes sense, and every problem of its shape."""

    #: None when nothing could be made of the document.
    definition: Definition | None
    problems: list[Problem]
    #: Places where a stand-in replaces something refused; further problems there are echoes.
    muted: frozenset[str] = frozenset()
    #: The raw document, for the order of problems.
    document: object = None


class _NotFiniteError(ValueError):
    """A number that JSON does not have."""


def parse_definition(source: str | bytes | Mapping[str, Any]) -> Definition:
    """The definition that a document describes.

    Raises:
        DefinitionError: the document is not JSON or not of a definition's shape; holds all such problems.
    """
    with uncollected():
        reading = read_definition(source)
    if reading.definition is None or reading.problems:
        raise DefinitionError(reading.problems, name=_name_of(reading.document))
    return reading.definition


def read_definition(source: str | bytes | Mapping[str, Any]) -> Reading:
    """Like `parse_definition`, but returns the problems beside whatever definition is left without them."""
    document, problems = _document(source)
    if document is None and problems:
        return Reading(None, problems)
    if not isinstance(document, dict):
        problem = Problem("", "wrong_type", f"a definition is a JSON object, not {kind_of(document)}")
        return Reading(None, [*problems, problem], document=document)
    raw = cast("dict[str, Any]", document)
    shape = check_shape(raw)
    problems += shape.problems
    muted = shape.muted
    definition: Definition | None = None
    for _ in range(_MAX_ROUNDS):
        try:
            definition = Definition.model_validate(shape.document)
            break
        except ValidationError as error:
            found = problems_of(error)
            problems += (problem for problem in found if problem.pointer not in muted)
            muted |= {problem.pointer for problem in found}
            prune(shape.document, error)
    if definition is not None and "/name" in muted:
        # The stand-in was for the models only: no message may call the definition by it.
        definition = definition.model_copy(update={"name": ""})
    return Reading(definition, in_document_order(problems, raw), frozenset(muted), raw)


def canonical_text(definition: Definition) -> str:
    """The text to store and to hash: the given fields in one order, nodes as they stood. Parses back equal."""
    return payload.encode(definition.model_dump(by_alias=True, exclude_unset=True), limit=MAX_DOCUMENT)


def content_hash(text: str) -> str:
    """SHA-256 of a canonical text, in hexadecimal."""
    return payload.digest(text)


def _name_of(document: object) -> str | None:
    name = cast("Mapping[str, Any]", document).get("name") if isinstance(document, Mapping) else None
    return name if isinstance(name, str) else None


def _document(source: str | bytes | Mapping[str, Any]) -> tuple[object, list[Problem]]:
    """The raw JSON value; None with problems when there is none."""
    try:
        if not isinstance(source, (str, bytes)):
            return payload.decode(payload.encode(dict(source), limit=MAX_DOCUMENT)), []
        text = _text(source)
        return _load(text)
    except PayloadError as error:
        return None, [Problem(error.pointer, "not_json", error.message, error.hint)]


def _text(source: str | bytes) -> str:
    if len(source) > MAX_DOCUMENT:
        raise PayloadError(f"the document has {len(source):,} bytes; at most {MAX_DOCUMENT:,} are read.")
    if isinstance(source, str):
        return source.removeprefix("\ufeff")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PayloadError(f"the document is not UTF-8: byte {error.start} is invalid.") from None


def _load(text: str) -> tuple[object, list[Problem]]:
    repeated: list[tuple[dict[str, Any], list[str]]] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            names = [name for name, _ in pairs]
            repeated.append((members, [name for name in members if names.count(name) > 1]))
        return members

    try:
        document = json.loads(text, object_pairs_hook=build, parse_constant=_refuse, parse_float=_finite)
    except _NotFiniteError as error:
        return None, [_syntax(text, str(error), _position_of(text, str(error)))]
    except json.JSONDecodeError as error:
        return None, [_syntax(text, error.msg, error.pos)]
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        return None, [Problem("", "not_json", f"the document cannot be read: {reason}")]
    # Checks what the reader lets pass: depth, lone surrogates. What was repeated is gone by now.
    payload.encode(document, limit=2 * MAX_DOCUMENT)
    return document, _repeated(document, repeated) if repeated else []


def _refuse(text: str) -> NoReturn:
    raise _NotFiniteError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotFiniteError(text)
    return number


def _position_of(text: str, token: str) -> int:
    """Offset of a number that the reader refused without saying where."""
    if token[-1].isdigit():
        return max(text.find(token), 0)
    return next((found.start() for found in _TOKEN.finditer(text) if found.group() == token), 0)


def _syntax(text: str, reason: str, position: int) -> Problem:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    what = f"{reason[:40]} is not a JSON number" if reason[-1:].isdigit() or reason[-1:] in "Ny" else reason
    return Problem("", "not_json", f"the document is not JSON: {what}, line {line}, column {column}")


def _repeated(document: object, repeated: list[tuple[dict[str, Any], list[str]]]) -> list[Problem]:
    wanted = {id(members): names for members, names in repeated}
    return [
        Problem(
            child(pointer, name),
            "duplicate_key",
            f"the key {name!r} stands more than once in this object",
            "rename or remove one",
        )
        for pointer, value in values_in(document)
        for name in wanted.get(id(value), ())
    ]
