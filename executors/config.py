"""Checks configs: at definition time with `{{ … }}` still in them, and rendered, before each attempt.

Three kinds of check share one shape: none, a pydantic model, a JSON Schema. At definition time a text that
holds an expression may become anything, so what depends on its value is not reported; unknown and missing
keys always are. No message repeats a value of the config: at run time it may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

from .base import Json
from .errors import InvalidExecutor

__all__ = [
    "AnyConfig",
    "ConfigCheck",
    "Problems",
    "given",
    "has_expression",
    "is_expression",
    "make_check",
    "pointer_to",
]

#: (JSON pointer, message) pairs, in document order.
Problems = list[tuple[str, str]]


class ConfigCheck(Protocol):
    """What an entry asks of its config's schema."""

    def problems(self, config: Json) -> Problems:
        """What is certainly wrong with a config that may hold expressions."""
        ...

    def prepare(self, config: Json, executor: str) -> Any:
        """What `execute` receives for a rendered config. Raises ConfigRefused."""
        ...

    def schema(self) -> Mapping[str, Any]:
        """The config's JSON Schema."""
        ...


class AnyConfig:
    """No schema: every value is accepted and handed over as it is."""

    __slots__ = ()

    def problems(self, config: Json) -> Problems:
        """Nothing is ever wrong."""
        return []

    def prepare(self, config: Json, executor: str) -> Any:
        """The config itself, None when the node has no `with`."""
        return config

    def schema(self) -> Mapping[str, Any]:
        """The schema that accepts everything."""
        return {}


def make_check(executor: str, config: object) -> ConfigCheck:
    """The check for `config`: a pydantic model class, a JSON Schema or None. Raises InvalidExecutor."""
    if config is None:
        return AnyConfig()
    if isinstance(config, type) and hasattr(config, "model_validate"):
        from .config_model import ModelConfig  # pydantic costs 80 ms, paid by who uses it

        return ModelConfig(config)
    if isinstance(config, Mapping):
        from .config_schema import SchemaConfig  # jsonschema costs as much

        return SchemaConfig(executor, cast("Mapping[str, Any]", config))
    raise InvalidExecutor(
        f"the config of {executor} must be a pydantic model, a JSON Schema or None, not {config!r}"
    )


def given(config: Json) -> Json:
    """The config to check: a node without `with` has an empty one."""
    return cast("Json", {}) if config is None else config


def is_expression(value: Json) -> bool:
    """True for a text that holds an expression: its value is unknown until the task runs."""
    return isinstance(value, str) and "{{" in value


def has_expression(value: Json) -> bool:
    """True if an expression stands anywhere in `value`; keys are never evaluated."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, dict):
        return any(map(has_expression, cast("dict[str, Json]", value).values()))
    return isinstance(value, list) and any(map(has_expression, cast("list[Json]", value)))


def pointer_to(parts: Iterable[object]) -> str:
    """The JSON pointer of a path of keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
