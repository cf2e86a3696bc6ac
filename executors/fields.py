"""Field types that the built-in executors' configs share."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

__all__ = ["BuiltinConfig", "DurationText", "Text", "json_text", "seconds_of"]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SHORT: Final = re.compile(r"(?:\d+(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"(\d+)(ms|s|m|h|d)")
_ISO: Final = re.compile(
    r"P(?=.)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,6})?)S)?)?"
)
_ISO_SECONDS: Final = (604_800.0, 86_400.0, 3600.0, 60.0, 1.0)
_LONGEST: Final = 64


class BuiltinConfig(BaseModel):
    """Base of the built-in configs: unknown keys and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def seconds_of(text: str) -> float:
    """Seconds of a duration as the DSL writes it (rule 29): "10s", "1h30m", "PT5M". Raises ValueError."""
    if len(text) <= _LONGEST:
        if _SHORT.fullmatch(text):
            return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        if found := _ISO.fullmatch(text):
            parts = (float(part or 0) for part in found.groups())
            return sum(part * unit for part, unit in zip(parts, _ISO_SECONDS, strict=True))
    raise ValueError("write a duration like '250ms', '30s', '1h30m' or 'PT5M'")


def json_text(value: Any) -> str:
    """A text verbatim, any other value as compact JSON: as expressions inside a text are written (rule 10)."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _positive(text: str) -> str:
    if seconds_of(text) <= 0:
        raise ValueError("the duration must be longer than nothing")
    return text


def _scalar(value: Any) -> Any:
    return json_text(value) if isinstance(value, (bool, int, float)) else value


DurationText = Annotated[str, AfterValidator(_positive)]
"""A duration longer than nothing."""

Text = Annotated[str, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""A text; numbers and booleans become one, because `{{ inputs.n }}` alone keeps its type."""
