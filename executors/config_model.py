"""The config check for pydantic models.

A model that says nothing about `extra` forbids unknown keys, at every level: a misspelt key must not be
ignored. Pydantic reports a place as keys mixed with union tags; `_place` finds the value meant in the config
itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from .base import Json
from .config import Problems, given, has_expression, is_expression, pointer_to
from .errors import ConfigRefused

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["ModelConfig"]

#: What stays wrong whatever the expressions inside a list or mapping become.
_STRUCTURAL: Final = frozenset({"missing", "model_type", "dict_type", "list_type", "too_short", "too_long"})


@dataclass(slots=True, frozen=True)
class _Found:
    """One error of pydantic: its place, its branch of a union, and whether an expression may heal it."""

    pointer: str
    message: str
    unknown: bool
    #: (pointer of the union, tag of the branch); None outside a union.
    branch: tuple[str, str] | None


class ModelConfig:
    """Checks and builds instances of one model class."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model
        self._extra: Any = None if "extra" in model.model_config else "forbid"

    def problems(self, config: Json) -> Problems:
        """What the model refuses whatever the expressions become."""
        value = given(config)
        if is_expression(value):
            return []
        try:
            self._build(value)
        except ValidationError as exc:
            return _certain([self._found(value, error) for error in _details(exc)])
        except Exception as exc:  # noqa: BLE001  # user code: a validator of the model
            # It stumbled, perhaps only because it met the text of an expression.
            return [] if has_expression(value) else [("", f"the model raised {type(exc).__name__}")]
        return []

    def prepare(self, config: Json, executor: str) -> Any:
        """An instance of the model. Raises ConfigRefused."""
        value = given(config)
        try:
            return self._build(value)
        except ValidationError as exc:
            found = [self._found(value, error) for error in _details(exc)]
        except Exception as exc:
            raise ConfigRefused(executor, [("", f"the model raised {type(exc).__name__}")]) from exc
        # Outside the handler: pydantic's own error shows the values, which may be secrets.
        raise ConfigRefused(executor, [(each.pointer, each.message) for each in found])

    def schema(self) -> Mapping[str, Any]:
        """The model's schema; `{"type": "object"}` if it cannot be described."""
        return self._schema

    @cached_property
    def _schema(self) -> Mapping[str, Any]:
        try:
            schema = self.model.model_json_schema()
        except PydanticInvalidForJsonSchema:
            return {"type": "object"}
        if self._extra == "forbid":
            for part in (schema, *schema.get("$defs", {}).values()):
                if part.get("type") == "object" and "properties" in part:
                    part.setdefault("additionalProperties", False)
        return schema

    def _build(self, value: Json) -> BaseModel:
        return self.model.model_validate(value, extra=self._extra)

    def _found(self, config: Json, error: ErrorDetails) -> _Found:
        kind, loc = error["type"], error["loc"]
        path, value, above, branch = _place(config, loc, kind)
        if kind == "extra_forbidden":
            unknown = above
        else:
            unknown = above or is_expression(value) or (kind not in _STRUCTURAL and has_expression(value))
        return _Found(pointer_to(path), self._say(error, top=len(path) == 1), unknown, branch)

    def _say(self, error: ErrorDetails, *, top: bool) -> str:
        if error["type"] == "missing":
            return "this key is required"
        if error["type"] == "extra_forbidden":
            near = get_close_matches(str(error["loc"][-1]), self._keys(), n=1) if top else []
            return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key"
        return error["msg"]

    def _keys(self) -> list[str]:
        return [field.alias or name for name, field in self.model.model_fields.items()]


def _details(exc: ValidationError) -> list[ErrorDetails]:
    return exc.errors(include_url=False, include_input=False, include_context=False)


def _place(
    config: Json, loc: tuple[int | str, ...], kind: str
) -> tuple[list[int | str], Json, bool, tuple[str, str] | None]:
    """Where an error stands in `config`: path, value, whether below an expression, branch of a union."""
    path: list[int | str] = []
    value, above = config, False
    branch: tuple[str, str] | None = None
    for part in loc:
        above = above or is_expression(value)
        known, inner = _member(value, part)
        if known:
            path.append(part)
            value = inner
        elif kind == "missing" and part == loc[-1]:
            path.append(part)
        elif branch is None:
            branch = (pointer_to(path), str(part))
    return path, value, above, branch


def _member(value: Json, part: int | str) -> tuple[bool, Json]:
    if isinstance(value, dict):
        members = cast("dict[int | str, Json]", value)
        return part in members, members.get(part)
    if isinstance(value, list) and isinstance(part, int):
        items = cast("list[Json]", value)
        return (True, items[part]) if part < len(items) else (False, None)
    return False, None


def _certain(found: list[_Found]) -> Problems:
    """Drop what expressions may heal; a union with one branch that may still fit is no problem at all."""
    open_unions = {
        each.branch[0]
        for each in found
        if each.branch and all(other.unknown for other in found if other.branch == each.branch)
    }
    return [
        (each.pointer, each.message)
        for each in found
        if not each.unknown and not (each.branch and each.branch[0] in open_unions)
    ]
