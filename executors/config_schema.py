"""The config check for plain JSON Schemas.

Messages are our own: jsonschema's repeat the value, which may be a secret. References to other documents are
refused, because checking a definition must not reach into the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import validator_for

from .base import Json
from .config import Problems, given, has_expression, is_expression, pointer_to
from .errors import ConfigRefused, InvalidExecutor

__all__ = ["SchemaConfig"]

#: What stays wrong whatever the expressions inside a list or mapping become.
_STRUCTURAL: Final = frozenset(
    {
        "additionalProperties",
        "dependentRequired",
        "maxItems",
        "maxProperties",
        "minItems",
        "minProperties",
        "propertyNames",
        "required",
        "type",
    }
)
_SHOWN: Final = 200


class SchemaConfig:
    """Checks configs against one JSON Schema (draft 2020-12 unless it names another)."""

    def __init__(self, executor: str, schema: Mapping[str, Any]) -> None:
        self._document = dict(schema)
        for reference in _references(self._document):
            if not _resolves(self._document, reference):
                raise InvalidExecutor(
                    f"the config schema of {executor} refers to {reference!r}, which it does not hold; "
                    "put it under $defs and write '#/$defs/…'"
                )
        kind = validator_for(self._document, default=Draft202012Validator)
        try:
            kind.check_schema(self._document)
        except SchemaError as exc:
            where = pointer_to(exc.absolute_path) or "/"
            raise InvalidExecutor(
                f"the config schema of {executor} is no JSON Schema, at {where}: {exc.message}"
            ) from None
        self._validator = kind(self._document, format_checker=kind.FORMAT_CHECKER)

    def problems(self, config: Json) -> Problems:
        """What the schema refuses whatever the expressions become."""
        value = given(config)
        if is_expression(value):
            return []
        errors = [error for error in self._errors(value) if not _may_pass(error, value)]
        return [problem for error in errors for problem in _tell(error)]

    def prepare(self, config: Json, executor: str) -> Any:
        """The config itself; the schema's `default`s are not filled in. Raises ConfigRefused."""
        value = given(config)
        found = [problem for error in self._errors(value) for problem in _tell(error)]
        if found:
            raise ConfigRefused(executor, found)
        return value

    def schema(self) -> Mapping[str, Any]:
        """The schema as it was given."""
        return self._document

    def _errors(self, value: Json) -> list[ValidationError]:
        return list(self._validator.iter_errors(value))


def _may_pass(error: ValidationError, config: Json) -> bool:
    """True if the expressions in `config` may turn out so that `error` is none."""
    value = config
    for part in error.absolute_path:
        value = value[part]
        if is_expression(value):
            return True
    if not has_expression(value) or error.validator in _STRUCTURAL:
        return "if" in error.absolute_schema_path and has_expression(config)
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(inner)
    if error.validator in ("anyOf", "oneOf") and branches:
        return any(all(_may_pass(inner, config) for inner in each) for each in branches.values())
    return True


def _tell(error: ValidationError) -> Iterator[tuple[str, str]]:
    """The problem in words that do not repeat the value: one for each key missing or unknown."""
    path = list(error.absolute_path)
    wanted: Any = error.validator_value
    keys = cast("dict[str, Any]", error.instance) if isinstance(error.instance, dict) else {}
    if error.validator == "required":
        # One error per key, and only the message says which.
        missing = [key for key in wanted if key not in keys and error.message.startswith(repr(key))]
        yield from ((pointer_to([*path, key]), "this key is required") for key in missing)
    elif error.validator == "additionalProperties" and wanted is False:
        known = cast("dict[str, Any]", error.schema).get("properties", {})
        patterns = cast("dict[str, Any]", error.schema).get("patternProperties")
        names = [key for key in keys if key not in known] if not patterns else []
        yield from ((pointer_to([*path, key]), "unknown key") for key in names)
        if patterns:
            yield pointer_to(path), "has unknown keys"
    elif error.validator == "type":
        kinds = wanted if isinstance(wanted, str) else " or ".join(cast("list[str]", wanted))
        yield pointer_to(path), f"must be of type {kinds}"
    else:
        shown = json.dumps(wanted, ensure_ascii=False, default=str)[:_SHOWN]
        yield pointer_to(path), f"does not meet {error.validator}: {shown}"


def _resolves(document: Json, reference: str) -> bool:
    """True for a reference into the document itself; names set by `$anchor` are trusted."""
    if not reference.startswith("#/"):
        return reference.startswith("#")
    place = document
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or key not in place:
            return False
        place = cast("dict[str, Any]", place)[key]
    return True


def _references(schema: Json) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in cast("dict[str, Any]", schema).items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in cast("list[Any]", schema):
            yield from _references(value)
