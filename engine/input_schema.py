"""The checks of a definition's `inputs` schema, made when the definition is validated.

A start must neither fail because of the schema nor reach out of the process: references stay inside the
document, patterns are of the linear kind, and every default fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from .errors import Problem
from .input_check import CIRCLE, problems_in, validator_for
from .input_formats import FORMATS, pattern_problem
from .input_names import local_target
from .pointers import child, pointer_of

__all__ = ["check_input_schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ONE: Final = (
    "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_LIST: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_BY_NAME: Final = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
#: What would change the meaning of references, or look for their target elsewhere.
_REFUSED: Final = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$vocabulary")
#: Checked by searching with Python's own regular expressions inside the library.
_UNSAFE_WITH_PATTERNS: Final = ("unevaluatedProperties",)


def check_input_schema(schema: Mapping[str, Any], pointer: str = "/inputs") -> list[Problem]:
    """Everything that is wrong with the schema itself."""
    problems = [_problem(pointer + where, message) for where, message in _against_dialect(schema)]
    if problems:
        return problems
    problems += _check_root(schema, pointer)
    for where, part in _parts(schema, pointer):
        problems += _check_part(part, where, schema)
    return problems or [*_check_circles(schema, pointer)] or [*_check_defaults(schema, pointer)]


def _problem(pointer: str, message: str, hint: str | None = None, severity: str = "error") -> Problem:
    return Problem(pointer, "bad_inputs_schema", message, hint, severity)


def _against_dialect(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from jsonschema import Draft202012Validator

    dialect = schema.get("$schema", _DIALECT)
    if not isinstance(dialect, str) or dialect.rstrip("#") != _DIALECT:
        yield "/$schema", f"only JSON Schema 2020-12 is read ({_DIALECT})"
        return
    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    for error in cast("Any", meta).iter_errors(schema):
        yield pointer_of(error.absolute_path), f"this is not JSON Schema: {error.message[:200]}"


def _check_root(schema: Mapping[str, Any], pointer: str) -> Iterable[Problem]:
    kinds = schema.get("type", "object")
    if "object" not in ([kinds] if isinstance(kinds, str) else kinds):
        yield _problem(child(pointer, "type"), "inputs are an object", 'write "type": "object"')


def _parts(schema: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schema and every schema inside it, with their places."""
    stack: list[tuple[str, object]] = [(pointer, schema)]
    while stack:
        where, value = stack.pop()
        if not isinstance(value, dict):
            continue
        part = cast("dict[str, Any]", value)
        yield where, part
        stack.extend((child(where, name), part[name]) for name in _ONE if name in part)
        for name in _LIST:
            members = cast("list[Any]", part.get(name, []))
            stack.extend((child(child(where, name), index), member) for index, member in enumerate(members))
        for name in _BY_NAME:
            named = cast("dict[str, Any]", part.get(name, {}))
            stack.extend((child(child(where, name), key), member) for key, member in named.items())


def _check_part(part: Mapping[str, Any], where: str, root: Mapping[str, Any]) -> Iterable[Problem]:
    for name in _REFUSED:
        if name in part:
            yield _problem(child(where, name), f"{name!r} is not read here", "refer to '#/$defs/…' instead")
    reference = part.get("$ref")
    if reference is not None and local_target(reference, root) is None:
        hint = "references stay inside the schema: '#/$defs/…'"
        yield _problem(child(where, "$ref"), f"{reference!r} leads nowhere in this schema", hint)
    patterns = [(child(where, "pattern"), part["pattern"])] if "pattern" in part else []
    patterns += [
        (child(child(where, "patternProperties"), key), key) for key in part.get("patternProperties", {})
    ]
    for place, pattern in patterns:
        reason = pattern_problem(pattern)
        if reason:
            yield _problem(
                place, f"this pattern cannot be used: {reason}", "patterns run in linear time only"
            )
    for name in _UNSAFE_WITH_PATTERNS:
        if name in part:
            yield _problem(child(where, name), f"{name!r} is not read here", "write 'additionalProperties'")
    if part.get("format", "date") not in FORMATS:
        message = f"the format {part['format']!r} is not checked"
        yield _problem(
            child(where, "format"), message, f"checked are {', '.join(sorted(FORMATS))}", "warning"
        )


def _check_circles(schema: Mapping[str, Any], pointer: str) -> Iterable[Problem]:
    """Report references that apply themselves to the same value again and again."""
    check = validator_for(schema)
    for where, part in _parts(schema, pointer):
        # Null has no members, so only a circle that never gets to a member runs away.
        if "$ref" in part and any(found.code == CIRCLE for found in problems_in(check, None, part)):
            yield _problem(
                child(where, "$ref"), "this reference leads back to itself", "refer to a member's schema"
            )


def _check_defaults(schema: Mapping[str, Any], pointer: str) -> Iterable[Problem]:
    check = validator_for(schema)
    for where, part in _parts(schema, pointer):
        if "default" in part:
            for problem in problems_in(check, part["default"], part):
                inside = f"{child(where, 'default')}{problem.pointer}"
                yield _problem(inside, f"the default does not fit: {problem.message}", problem.hint)
