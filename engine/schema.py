"""The published JSON Schema of the definition language, for editors.

Generated from the models, so it cannot fall behind them; what a type cannot say (the pattern of names, the
keys beside a verb) is added here. It accepts everything that validates, and refuses what is wrong in shape;
references, cycles and expressions are the validator's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final, cast

from .definition import Definition
from .expressions import NAME_PATTERN, RESERVED_NAMES
from .shape_fields import (
    ACTIONS,
    LIMIT_KINDS,
    LOOP_KINDS,
    NEED_GROUPS,
    SCHEDULE_KINDS,
    TOTAL_KINDS,
    WAIT_KINDS,
)

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
            _without_null(part)
    definitions = cast("dict[str, dict[str, Any]]", schema["$defs"])
    _name_bodies(schema, definitions)
    _bound_names(schema, definitions)
    _relate(schema, definitions)
    _relate_pace(definitions)
    inputs = schema["properties"]["inputs"]
    schema["properties"]["inputs"] = {
        "$ref": _DIALECT,
        "type": "object",
        "description": inputs["description"],
    }
    title = "Strataflow workflow definition, DSL version 1"
    return {"$schema": _DIALECT, "$id": SCHEMA_ID, "title": title, **schema}


def _without_null(part: dict[str, Any]) -> None:
    """Leave the one form that a field has besides its absence."""
    forms = [form for form in part.get("anyOf", []) if form != {"type": "null"}]
    if len(forms) == 1:
        del part["anyOf"]
        part.update(forms[0])


def _name_bodies(schema: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> None:
    """Say once what a body is; where a variable would end with it, it is not a lone `set`."""
    forms = definitions["MapNode"]["properties"]["do"]["oneOf"]
    lone_set = {"$ref": "#/$defs/SetNode"}
    for part in _objects(schema):
        if part.get("oneOf") == forms:
            part["$ref"] = "#/$defs/Body"
            del part["oneOf"]
    definitions["Body"] = {"oneOf": list(forms)}
    definitions["OwnBody"] = {"oneOf": [form for form in forms if form != lone_set]}
    own = [definitions["MapNode"]["properties"]["do"], schema["properties"]["finally"]]
    own.append(definitions["ParallelNode"]["properties"]["parallel"]["additionalProperties"])
    own += (part["properties"]["undo"] for name, part in definitions.items() if name.endswith("Node"))
    for part in own:
        part["$ref"] = "#/$defs/OwnBody"


def _bound_names(schema: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> None:
    """Say what may be called how, and that there must be something to call."""
    for scope in (schema, definitions["Scope"]):
        scope["properties"]["nodes"].update(propertyNames=_name_schema(), minProperties=1)
    definitions["SetNode"]["properties"]["set"].update(propertyNames=_name_schema(), minProperties=1)
    branches = definitions["ParallelNode"]["properties"]["parallel"]
    branches.update(propertyNames=_name_schema(), minProperties=1)
    for node in ("MapNode", "LoopNode"):
        fields = definitions[node]["properties"]
        for field in ("as", "index"):
            fields[field].update(_name_schema(allowed=fields[field]["default"]))
    schema["properties"]["labels"]["additionalProperties"] = False
    definitions["Limits"]["properties"]["pools"].update(additionalProperties=False, minProperties=1)


def _relate(schema: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> None:
    """Say which fields exclude or need each other."""
    for name, kinds in (("Loop", LOOP_KINDS), ("Wait", WAIT_KINDS), ("NeedGroup", tuple(NEED_GROUPS))):
        definitions[name]["oneOf"] = [{"required": [kind]} for kind in kinds]
    definitions["Wait"]["dependentRequired"] = {
        "match": ["signal"],
        "every": ["condition"],
        "on_timeout": ["timeout"],
    }
    for_list = {"properties": {"loop": {"required": ["for"]}}}
    definitions["LoopNode"]["dependentSchemas"] = {"as": for_list, "index": for_list}
    for name in ("Handler", "OnError"):
        actions = [{"required": [action]} for action in ACTIONS]
        only_undo = {"required": ["undo"], "properties": {"undo": {"const": True}}}
        alone = {**only_undo, "not": {"anyOf": actions}}
        definitions[name]["oneOf"] = [*actions, alone]
    definitions["OnError"]["properties"]["on"].pop("default", None)
    definitions["Start"].update(_one_at_least(("key", "mutex")))
    entries = schema["properties"]["on_error"]
    entries["items"] = {"allOf": [entries["items"], {"not": {"required": ["continue"]}}]}


def _relate_pace(definitions: dict[str, dict[str, Any]]) -> None:
    """The same for `limits` and `schedule`."""
    counted = _one_at_least(TOTAL_KINDS)
    for name, kinds in (("Limits", LIMIT_KINDS), ("TotalLimits", TOTAL_KINDS)):
        definitions[name].update(_one_at_least(kinds), dependentRequired={"burst": ["rate"]})
    definitions["Limits"]["dependentSchemas"] = {"key": counted, "group": counted}
    schedule = definitions["Schedule"]
    schedule["oneOf"] = [{"required": [kind]} for kind in SCHEDULE_KINDS]
    caught_up = {"required": ["misfire"], "properties": {"misfire": {"const": "all"}}}
    schedule["dependentSchemas"] = {"catch_up": caught_up}


def _one_at_least(names: Sequence[str]) -> dict[str, Any]:
    return {"anyOf": [{"required": [name]} for name in names]}


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
