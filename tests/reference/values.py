"""The few expressions that the generator writes, evaluated from their text.

comparison = sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum]
sum        = term {("+" | "~") term}
term       = (constant | path) {"|" ("default(" constant ")" | "length")}
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

__all__ = ["Error", "Failure", "evaluate", "is_true", "matches"]

_HOLE: Final = re.compile(r"\{\{ (.*?) \}\}")
_TOKEN: Final = re.compile(r"\s*(==|!=|<=|>=|[<>+~|()]|'[^']*'|-?\d+|[A-Za-z_][\w.]*)")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_UNDEFINED: Final = object()
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Error:
    """Why something failed: its code, the codes of its base classes, and whether another attempt makes sense."""

    code: str
    bases: tuple[str, ...] = ()
    retryable: bool = True


class Failure(Exception):
    """A node, scope or run has failed."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.code)
        self.error = error


def matches(error: Error, patterns: list[str]) -> bool:
    """Whether one of the patterns names the error."""
    return any(
        pattern in {"*", code} or (pattern.endswith(".*") and code.startswith(pattern[:-1]))
        for pattern in patterns
        for code in (error.code, *error.bases)
    )


def evaluate(template: Any, roots: Mapping[str, Any]) -> Any:
    """Fill in a template; a text that is one expression keeps the type of its value. Raises Failure."""
    if isinstance(template, list):
        return [evaluate(each, roots) for each in cast("list[Any]", template)]
    if isinstance(template, dict):
        return {key: evaluate(value, roots) for key, value in cast("dict[str, Any]", template).items()}
    if not isinstance(template, str):
        return template
    whole = _HOLE.fullmatch(template)
    if whole and "}}" not in whole[1]:
        return _Reader(whole[1], roots).value()
    return _HOLE.sub(lambda hole: _text(_Reader(hole[1], roots).value()), template)


def is_true(template: Any, roots: Mapping[str, Any]) -> bool:
    """Evaluate a condition, which gives true or false and nothing else. Raises Failure."""
    found = evaluate(template, roots)
    if not isinstance(found, bool):
        raise Failure(Error("expression"))
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _same(left: Any, right: Any) -> bool:
    """JSON equality, for values without fractions: true is not 1."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


class _Reader:
    """One expression, read from left to right."""

    def __init__(self, text: str, roots: Mapping[str, Any]) -> None:
        self._tokens = _TOKEN.findall(text)
        assert "".join(self._tokens) == re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", text), text
        self._roots = roots

    def value(self) -> Any:
        left = self._sum()
        if self._tokens:
            sign = self._tokens.pop(0)
            left = self._compare(sign, left, self._sum())
        assert not self._tokens, self._tokens
        return _defined(left)

    def _compare(self, sign: str, left: Any, right: Any) -> bool:
        left, right = _defined(left), _defined(right)
        if sign in {"==", "!="}:
            return _same(left, right) == (sign == "==")
        if not all(isinstance(side, int) and not isinstance(side, bool) for side in (left, right)):
            raise Failure(Error("expression"))
        return _ORDER[sign](left, right)

    def _sum(self) -> Any:
        left = self._term()
        while self._tokens and self._tokens[0] in {"+", "~"}:
            sign = self._tokens.pop(0)
            left, right = _defined(left), _defined(self._term())
            left = left + right if sign == "+" else _text(left) + _text(right)
        return left

    def _term(self) -> Any:
        value = self._operand(self._tokens.pop(0))
        while self._tokens and self._tokens[0] == "|":
            _, name = self._tokens.pop(0), self._tokens.pop(0)
            if name == "length":
                value = len(_defined(value))
                continue
            assert name == "default"
            _, other, _ = (self._tokens.pop(0) for _ in "(x)")
            value = self._operand(other) if value is None or value is _UNDEFINED else value
        return value

    def _operand(self, token: str) -> Any:
        if token[0] == "'":
            return token[1:-1]
        if token[-1].isdigit() and token.lstrip("-").isdigit():
            return int(token)
        return _CONSTANTS[token] if token in _CONSTANTS else self._path(token)

    def _path(self, token: str) -> Any:
        value: Any = self._roots
        for name in token.split("."):
            known = isinstance(value, Mapping) and name in value
            value = cast("Mapping[str, Any]", value)[name] if known else _UNDEFINED
        return value


def _defined(value: Any) -> Any:
    if value is _UNDEFINED:
        raise Failure(Error("expression"))
    return value
