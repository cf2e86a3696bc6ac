"""YAML for the same shape as JSON: only what JSON has is a type, and no key stands twice.

YAML 1.1 takes `on`, `yes` and `off` for booleans and `2027-01-31` for a date. A definition has a field `on`, and dates
in it are text; so here only `true` and `false` are booleans, and instants stay as they are written.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

__all__ = ["load_yaml"]

_BOOLEAN: Final = re.compile(r"^(?:true|false)$")


class _Loader(yaml.SafeLoader):
    """SafeLoader without what JSON does not have."""


_NOT_JSON: Final = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
_resolvers: dict[str, list[tuple[str, Any]]] = dict(yaml.SafeLoader.yaml_implicit_resolvers)  # pyright: ignore[reportUnknownMemberType] - untyped there
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in _NOT_JSON]
    for first, pairs in _resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOLEAN, ["t", "f"])  # pyright: ignore[reportUnknownMemberType] - untyped there


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key: Any = loader.construct_object(key_node, deep=True)
        if key in found:
            raise yaml.MarkedYAMLError(None, None, f"the key {key!r} stands there twice", key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_yaml(data: bytes | str) -> Any:
    """The document. Raises yaml.YAMLError, ValueError."""
    return yaml.load(data, Loader=_Loader)  # noqa: S506 - a safe loader with fewer types
