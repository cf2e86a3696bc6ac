"""A value against a JSON Schema, as problems in our own words.

Wraps jsonschema so that it never leaves the process (references stay inside the schema) and never runs
Python's regular expressions on a user's pattern. jsonschema is imported on first use: a definition without
inputs needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from .errors import Problem
from .fields import kind_of
from .input_formats import FORMATS, matches
from .pointers import pointer_of
from .problems import suggestion

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

__all__ = ["CIRCLE", "problems_in", "validator_for"]

_LIMITS: Final = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} entries",
    "maxItems": "must have at most {} entries",
    "minProperties": "must have at least {} members",
    "maxProperties": "must have at most {} members",
    "pattern": "must match the pattern {}",
}
#: Code of the problem that a schema without end gives.
CIRCLE: Final = "endless_schema"
#: Values longer than this are not repeated in a message.
_MAX_SHOWN: Final = 60
_MAX_CHOICES: Final = 20


def validator_for(schema: Mapping[str, Any]) -> Validator:
    """The checker for one schema; safe to share between threads."""
    from referencing import Registry

    kind, checker = _dialect()
    # An empty registry: what is not in the schema is not found, instead of being fetched.
    registry: Registry[Any] = Registry()
    return kind(schema, registry=registry, format_checker=checker)


def problems_in(validator: Validator, value: Any, part: Mapping[str, Any] | None = None) -> list[Problem]:
    """What is wrong with the value, in the order of the schema; by one `part` of the schema when that is given."""
    if part is not None:
        validator = cast("Any", validator).evolve(schema=part)
    try:
        return [_problem(error) for error in validator.iter_errors(value)]
    except RecursionError:
        return [Problem("", CIRCLE, "the schema refers to itself without end")]


@lru_cache(maxsize=1)
def _dialect() -> tuple[Callable[..., Validator], Any]:
    from jsonschema import Draft202012Validator, FormatChecker, validators

    checker = FormatChecker(formats=())
    for name, fits in FORMATS.items():
        checker.checks(name)(_format_check(fits))
    keywords = {
        "additionalProperties": _additional,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "required": _required,
    }
    extend = cast("Callable[..., Callable[..., Validator]]", validators.extend)
    return extend(Draft202012Validator, keywords), checker


def _format_check(fits: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or fits(value)


def _error(message: str, *path: str) -> ValidationError:
    from jsonschema import ValidationError

    return ValidationError(message, path=path)


def _pattern(
    _validator: Validator, pattern: str, value: object, _schema: object
) -> Iterator[ValidationError]:
    if isinstance(value, str) and not matches(pattern, value):
        yield _error("")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], value: object, _schema: object
) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for pattern, part in patterns.items():
            for name, member in cast("dict[str, Any]", value).items():
                if matches(pattern, name):
                    yield from validator.descend(member, part, path=name, schema_path=pattern)


def _additional(
    validator: Any, allowed: object, value: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, member in cast("dict[str, Any]", value).items():
        if name in known or any(matches(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield _error(suggestion(name, list(known), otherwise="known") or "", name)
        else:
            yield from validator.descend(member, allowed, path=name)


def _required(
    _validator: Validator, names: Iterable[str], value: object, _schema: object
) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        yield from (_error("", name) for name in names if name not in value)


def _problem(error: ValidationError) -> Problem:
    pointer = pointer_of(error.absolute_path)
    name = next((part for part in reversed(error.absolute_path) if isinstance(part, str)), "the value")
    code, message, hint = _words(error, str(error.validator), error.validator_value, error.instance)
    return Problem(pointer, code, message.replace("$", repr(name), 1), hint or None)


def _words(error: ValidationError, keyword: str, wanted: Any, given: object) -> tuple[str, str, str]:
    """Code, message with `$` for the name, and hint."""
    code, message, hint = "bad_value", f"$ breaks the rule {keyword!r}{_got(given)}", ""
    if keyword == "required":
        code, message = "missing_input", "$ is missing"
    elif keyword == "additionalProperties":
        code, message, hint = "unknown_input", "there is no input $", error.message
    elif keyword == "type":
        kinds = " or ".join([wanted] if isinstance(wanted, str) else wanted)
        code, message = "wrong_type", f"$ must be of type {kinds}, not {kind_of(given)}"
    elif keyword == "enum":
        message = f"$ must be one of {', '.join(_shown(one) for one in wanted[:_MAX_CHOICES])}{_got(given)}"
    elif keyword == "const":
        message = f"$ must be {_shown(wanted)}{_got(given)}"
    elif keyword in _LIMITS:
        message = f"$ {_LIMITS[keyword].format(wanted)}{_got(given)}"
    elif keyword == "format":
        code, message = "bad_format", f"$ is no valid {wanted}: {_shown(given)}"
    elif keyword in ("anyOf", "oneOf"):
        message = f"$ fits none of the allowed forms, or more than one{_got(given)}"
    return code, message, hint


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _got(value: object) -> str:
    return f", not {_shown(value)}" if not isinstance(value, (dict, list)) else ""
