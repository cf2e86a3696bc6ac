"""Translation of the models' errors into problems, and removal of the values they refuse.

Between the models and the parser. Errors of our own field types come with code, message and hint already; the
rest are pydantic's, put into the words of the language.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, cast

from .definition_parts import TAG_MARK
from .errors import Problem
from .field_texts import kind_of
from .pointers import pointer_of
from .shape import STAND_IN

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["problems_of", "prune"]

_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_BOUNDS: Final = {
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
}
_OTHER: Final = {"too_short": "must have at least one entry", "finite_number": "must be a finite number"}
#: What takes the place of a refused value that a node or the definition cannot do without.
_STAND_INS: Final[Mapping[str, Any]] = {
    "run": STAND_IN,
    "map": [],
    "set": {},
    "parallel": {},
    "loop": {"times": 0},
    "switch": [{"when": False, "do": {"run": STAND_IN}}],
    "flow": "refused",
    "wait": {"for": "0s"},
    "do": {"nodes": {}},
    "nodes": {},
    "dsl": "1",
    "name": "refused",
}

#: Lists of names, whose entries keep their places.
_NEEDS: Final = frozenset({"needs", "all", "any", "none", "mutex"})
#: Objects whose members are called by their authors.
_NAMED: Final = frozenset({("nodes",), ("parallel",), ("pools",)})

Path = tuple[str | int, ...]


def problems_of(error: ValidationError) -> list[Problem]:
    """The problems behind a validation error, the deepest of each place only."""
    found = [(_path(detail), detail) for detail in error.errors(include_url=False)]
    paths = {path for path, _ in found}
    outer = {path[:length] for path in paths for length in range(len(path))}
    return [_problem(path, detail) for path, detail in found if path not in outer]


def prune(document: dict[str, Any], error: ValidationError) -> None:
    """Take every refused value out of the document, in place, or put a stand-in there."""
    for path in sorted(
        {_path(detail) for detail in error.errors(include_url=False)}, key=_depth_first, reverse=True
    ):
        _remove(document, path)


def _depth_first(path: Path) -> list[tuple[int, int, str]]:
    return [(0, part, "") if isinstance(part, int) else (1, 0, part) for part in path]


def _path(detail: ErrorDetails) -> Path:
    parts = tuple(part for part in detail["loc"] if not (isinstance(part, str) and part.startswith(TAG_MARK)))
    # What pydantic adds when it is the name of a member that is refused.
    return parts[:-1] if parts[-1:] == ("[key]",) else parts


def _problem(path: Path, detail: ErrorDetails) -> Problem:
    code, message, hint = _words(detail)
    field = next((part for part in reversed(path) if isinstance(part, str)), "")
    if message.startswith(("must ", "is missing")):
        message = f"{field!r} {message}"
    return Problem(pointer_of(path), code, message, hint or None)


def _words(detail: ErrorDetails) -> tuple[str, str, str]:
    """Code, message and hint."""
    kind, given = detail["type"], cast("object", detail["input"])
    context = detail.get("ctx", {})
    if "message" in context:
        return kind, context["message"], context.get("hint", "")
    if kind in _WANTED:
        return "wrong_type", f"must be {_WANTED[kind]}, not {kind_of(given)}", ""
    if kind == "missing":
        return "missing_field", "is missing", ""
    if kind in _BOUNDS:
        return "bad_value", f"must be {_BOUNDS[kind].format(**context)}, not {given!r}", ""
    return "bad_value", _OTHER.get(kind, detail["msg"]), ""


def _remove(document: dict[str, Any], path: Path) -> None:
    here: Any = document
    for part in path[:-1]:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            # The place is gone already, with an outer one.
            return
    if not path:
        return
    last: Any = path[-1]
    present = last in here if isinstance(here, dict) else isinstance(here, list) and isinstance(last, int)
    if not present:
        # A missing member: what lacks it goes.
        _remove(document, path[:-1])
    else:
        stand_in = _stand_in(path)
        if stand_in is None:
            del here[last]
        else:
            here[last] = stand_in


def _stand_in(path: Path) -> Any:
    """What takes the place of a value that its neighbours, or what holds it, cannot do without; else None."""
    last, around = path[-1], path[-2:-1]
    if isinstance(last, int):
        return STAND_IN if around[0] in _NEEDS else None
    if last == "when" and path[-3:-2] == ("switch",):
        return False
    return deepcopy(_STAND_INS.get(last)) if around not in _NAMED else None
