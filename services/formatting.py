"""One layout for definitions: fields in a fixed order, nodes as they stand, short values on one line.

What a definition means does not change; comments of a YAML file are lost.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from ..engine.catalog import read_yaml
from ..engine.definition import VERBS
from ..engine.errors import DefinitionError, Problem

__all__ = ["format_document", "format_text"]

_WIDTH: Final = 100
_TOP: Final = (
    "dsl name description labels inputs start schedule limits defaults deadline on_failure nodes output on_error "
    "finally"
).split()
_BEFORE: Final = ("description", "needs", "when")
_AFTER: Final = (
    "with as index key concurrency join collect do else detach queue priority limits retry timeout heartbeat deadline "
    "on_error undo output"
).split()
#: Fields whose values are bodies, or hold them by name.
_BODIES: Final = frozenset({"do", "else", "undo", "finally"})


def format_text(text: str, *, yaml: bool, label: str = "the file") -> str:
    """The same definition in the fixed layout; YAML stays YAML. Raises DefinitionError for what cannot be read."""
    if yaml:
        import yaml as library

        document = format_document(read_yaml(text.encode(), label))
        return library.safe_dump(document, sort_keys=False, allow_unicode=True, width=_WIDTH)
    try:
        document = json.loads(text)
    except ValueError as exc:
        raise DefinitionError([Problem("", "not_json", f"{label} is not JSON: {exc}")]) from exc
    return _lines(format_document(document), 0) + "\n"


def format_document(document: Any) -> Any:
    """The document with its fields in order; values are untouched."""
    if not isinstance(document, dict):
        return document
    found = _ordered(cast("dict[str, Any]", document), _TOP)
    return {name: _field(name, value) for name, value in found.items()}


def _ordered(fields: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    known = [name for name in order if name in fields]
    return {name: fields[name] for name in [*known, *(name for name in fields if name not in known)]}


def _field(name: str, value: Any) -> Any:
    if name in _BODIES:
        return _body(value)
    if name in {"nodes", "parallel"} and isinstance(value, dict):
        return {key: _body(node) for key, node in cast("dict[str, Any]", value).items()}
    if name in {"switch", "on_error"} and isinstance(value, list):
        return [_entry(entry) for entry in cast("list[Any]", value)]
    return value


def _entry(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    fields = cast("dict[str, Any]", entry)
    return {key: _body(value) if key == "do" else value for key, value in fields.items()}


def _body(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    if "nodes" in fields:
        order = ["nodes", "output"]
    else:
        verbs = [verb for verb in VERBS if verb in fields]
        order = [*_BEFORE, *(verb for verb in verbs if verb != "do"), *_AFTER]
    return {name: _field(name, each) for name, each in _ordered(fields, order).items()}


def _lines(value: Any, depth: int, *, broken: bool = True) -> str:
    """JSON with two spaces, and on one line where that is short enough; the definition and its nodes never are."""
    flat = json.dumps(value, ensure_ascii=False)
    short = not broken and len(flat) + 2 * depth <= _WIDTH
    if not isinstance(value, (dict, list)) or not value or short:
        return flat
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        rows = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: "
            + _lines(each, depth + 1, broken=not depth and key == "nodes")
            for key, each in members
        ]
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
    rows = [inner + _lines(each, depth + 1, broken=False) for each in cast("list[Any]", value)]
    return "[\n" + ",\n".join(rows) + f"\n{outer}]"
