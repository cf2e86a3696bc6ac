"""The published JSON Schema of the definition language, for editors.

Generated from the models, so it cannot fall behind them; what a type cannot say (the pattern of names, the
keys beside a verb) is added here. It accepts everything that validates, and refuses what is wrong in shape;
references, cycles and expressions are the validator's alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final, cast

from .definition import Definition
from .expressions import NAME_PATTERN, RESERVED_NAMES

__all__ = ["SCHEMA_ID", "definition_schema"]

SCHEMA_ID: Final = "urn:strataflow:dsl:1"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def definition_schema() -> dict[str, Any]:
    """The schema (draft 2020-12); a fresh copy on every call."""
    return deepcopy(_schema())


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = Definition.model_json_schema(by_alias=True)
    for part in _objects(schema):
        part.pop("title", None)
        if part.get("default", ...) is None:
            # Stands for an absent field; writing null is refused.
            del part["default"]
    definitions = cast("dict[str, dict[str, Any]]", schema["$defs"])
    for scope in (schema, definitions["Scope"]):
        scope["properties"]["nodes"].update(propertyNames=_name_schema(), minProperties=1)
    definitions["SetNode"]["properties"]["set"].update(propertyNames=_name_schema(), minProperties=1)
    in_map = definitions["MapNode"]["properties"]
    for field in ("as", "index"):
        in_map[field].update(_name_schema(allowed=in_map[field]["default"]))
    in_map["do"]["oneOf"].remove({"$ref": "#/$defs/SetNode"})
    inputs = schema["properties"]["inputs"]
    schema["properties"]["inputs"] = {
        "$ref": _DIALECT,
        "type": "object",
        "description": inputs["description"],
    }
    title = "Strataflow workflow definition, DSL version 1"
    return {"$schema": _DIALECT, "$id": SCHEMA_ID, "title": title, **schema}


def _name_schema(allowed: str | None = None) -> dict[str, Any]:
    reserved = sorted(RESERVED_NAMES - {allowed})
    pattern = "^" + NAME_PATTERN.pattern.replace(r"\Z", "$")
    return {"type": "string", "pattern": pattern, "not": {"enum": reserved}}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside; a property called `title` is none."""
    stack: list[Any] = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            members = cast("dict[str, Any]", here)
            if not isinstance(members.get("title"), dict):
                yield members
            stack.extend(members.values())
        elif isinstance(here, list):
            stack.extend(cast("list[Any]", here))
