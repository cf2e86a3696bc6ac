"""Which inputs a definition's schema declares by name.

Read by the validator, for references to `inputs.x`, and at a start, for inputs nobody declared. A schema may
spread its properties over `allOf`, `$ref` and the like; all of those count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from .pointers import parts_of

__all__ = ["DeclaredInputs", "declared_inputs", "local_target", "subschemas_in_place"]

_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SINGLE: Final = ("if", "then", "else")


@dataclass(slots=True, frozen=True)
class DeclaredInputs:
    """What may be given at a start and read as `inputs.<name>`."""

    names: frozenset[str] = frozenset()
    #: Undeclared inputs are accepted as well (`additionalProperties`, `patternProperties`).
    open: bool = False


def declared_inputs(schema: Mapping[str, Any] | None) -> DeclaredInputs:
    """The declared names; a definition without a schema takes no inputs."""
    if schema is None:
        return DeclaredInputs()
    names: set[str] = set()
    is_open = False
    for part in _all_in_place(schema):
        properties = part.get("properties")
        if isinstance(properties, dict):
            names.update(cast("dict[str, Any]", properties))
        if part.get("additionalProperties", False) is not False or part.get("patternProperties"):
            is_open = True
    return DeclaredInputs(frozenset(names), is_open)


def subschemas_in_place(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas that apply to the same value as `schema` does."""
    for name in _LISTS:
        members = schema.get(name)
        if isinstance(members, list):
            yield from (member for member in cast("list[Any]", members) if isinstance(member, dict))
    for name in _SINGLE:
        if isinstance(schema.get(name), dict):
            yield schema[name]
    dependent = schema.get("dependentSchemas")
    if isinstance(dependent, dict):
        yield from (
            member for member in cast("dict[str, Any]", dependent).values() if isinstance(member, dict)
        )
    target = local_target(schema.get("$ref"), root)
    if isinstance(target, dict):
        yield cast("dict[str, Any]", target)


def local_target(reference: object, root: Mapping[str, Any]) -> object:
    """What `#/$defs/…` points to; None when nothing is there or the reference is not local."""
    if not isinstance(reference, str) or not re.match(r"#(/|\Z)", reference):
        return None
    here: Any = root
    for part in parts_of(reference[1:]):
        if isinstance(here, dict) and part in here:
            here = cast("dict[str, Any]", here)[part]
        elif isinstance(here, list) and part.isdigit() and int(part) < len(cast("list[Any]", here)):
            here = cast("list[Any]", here)[int(part)]
        else:
            return None
    return here


def _all_in_place(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    seen: set[int] = set()
    stack: list[Mapping[str, Any]] = [schema]
    while stack:
        part = stack.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            stack.extend(subschemas_in_place(part, schema))
