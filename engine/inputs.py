"""The inputs of a start, checked against the definition's schema, defaults filled in (rule 29).

Pure. Runs once per start, before anything is written; what it returns is what `inputs` means in every
expression.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

from . import payload
from .errors import InputError, PayloadError, Problem
from .fields import kind_of
from .input_check import problems_in, validator_for
from .input_names import declared_inputs, local_target
from .payload import Json
from .pointers import child
from .problems import suggestion

__all__ = ["InputSchema", "prepare_inputs"]

_MAX_SCHEMAS: Final = 256


class InputSchema:
    """A definition's input schema, ready for many starts; safe in threads."""

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        self._schema: Mapping[str, Any] = schema or {}
        self._declared = declared_inputs(schema)
        self._validator = validator_for(schema) if schema else None

    def prepare(self, inputs: Json) -> Json:
        """A copy of the inputs with defaults filled in.

        A default is filled in wherever its member is missing, also inside given objects and lists; an object
        that is missing as a whole and has no default of its own stays missing.

        Raises:
            InputError: the inputs do not fit; holds all problems.
        """
        value = _copied({} if inputs is None else inputs)
        problems = self._unknown(value)
        if self._validator is not None:
            _fill(self._schema, value, self._schema)
            known = {problem.pointer for problem in problems}
            problems += (found for found in problems_in(self._validator, value) if found.pointer not in known)
        if problems:
            raise InputError(problems)
        return value

    def check_names(self, names: Collection[str]) -> list[Problem]:
        """What is wrong with inputs of which nothing but the names is known yet."""
        value: dict[str, Any] = dict.fromkeys(names)
        problems = self._unknown(value)
        _fill(self._schema, value, self._schema)
        parts = _applying(self._schema, self._schema)
        wanted = dict.fromkeys(name for part in parts for name in cast("list[str]", part.get("required", [])))
        missing = [name for name in wanted if name not in value]
        return [
            *problems,
            *(Problem(child("", name), "missing_input", f"{name!r} is missing") for name in missing),
        ]

    def _unknown(self, value: Mapping[str, Any]) -> list[Problem]:
        if self._declared.open:
            return []
        names = sorted(self._declared.names)
        hint = None if names else "this workflow takes no inputs"
        return [
            Problem(
                child("", name),
                "unknown_input",
                f"there is no input {name!r}",
                hint or suggestion(name, names, otherwise="inputs"),
            )
            for name in value
            if name not in self._declared.names
        ]


def prepare_inputs(schema: Mapping[str, Any] | None, inputs: Json) -> Json:
    """Like `InputSchema.prepare`, keeping the last few hundred schemas.

    Raises:
        InputError: the inputs do not fit; holds all problems.
    """
    if schema is None:
        return InputSchema(None).prepare(inputs)
    return _compiled(payload.encode(schema)).prepare(inputs)


@lru_cache(maxsize=_MAX_SCHEMAS)
def _compiled(text: str) -> InputSchema:
    return InputSchema(payload.decode(text))


def _copied(inputs: Json) -> dict[str, Any]:
    """A copy of JSON types only, so that filling defaults never changes the caller's object."""
    try:
        value = payload.decode(payload.encode(inputs))
    except PayloadError as error:
        raise InputError([Problem(error.pointer, "not_json", error.message, error.hint)]) from None
    if not isinstance(value, dict):
        raise InputError([Problem("", "wrong_type", f"inputs are an object, not {kind_of(value)}")])
    return cast("dict[str, Any]", value)


def _fill(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> None:
    """Fill in defaults, in place. Only what applies in every case counts: no `anyOf`, no `if`."""
    for part in _applying(schema, root):
        if isinstance(value, dict):
            _fill_object(part, cast("dict[str, Any]", value), root)
        elif isinstance(value, list):
            elements = cast("list[Any]", value)
            first = cast("list[Any]", part.get("prefixItems", []))
            rest = part.get("items")
            for index, element in enumerate(elements):
                inner = first[index] if index < len(first) else rest
                if isinstance(inner, dict):
                    _fill(cast("dict[str, Any]", inner), element, root)


def _fill_object(part: Mapping[str, Any], value: dict[str, Any], root: Mapping[str, Any]) -> None:
    properties = cast("dict[str, Any]", part.get("properties", {}))
    for name, inner in properties.items():
        if not isinstance(inner, dict):
            continue
        if name not in value:
            default = _default(cast("dict[str, Any]", inner), root)
            if default is _MISSING:
                continue
            value[name] = copy.deepcopy(default)
        _fill(cast("dict[str, Any]", inner), value[name], root)
    others = part.get("additionalProperties")
    if isinstance(others, dict):
        for name, member in value.items():
            if name not in properties:
                _fill(cast("dict[str, Any]", others), member, root)


_MISSING: Final = object()


def _default(schema: Mapping[str, Any], root: Mapping[str, Any]) -> object:
    return next((part["default"] for part in _applying(schema, root) if "default" in part), _MISSING)


def _applying(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schema and those that it applies to the same value in every case."""
    seen: set[int] = set()
    stack: list[object] = [schema]
    while stack:
        part = stack.pop()
        if not isinstance(part, dict) or id(cast("object", part)) in seen:
            continue
        here = cast("dict[str, Any]", part)
        seen.add(id(here))
        yield here
        stack.extend(reversed(cast("list[Any]", here.get("allOf", []))))
        if "$ref" in here:
            stack.append(local_target(here["$ref"], root))
