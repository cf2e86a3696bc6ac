"""The grammar of expressions: text to tokens with positions, tokens to Jinja's syntax tree.

Below `sandbox`, which gives the tree its meaning. The tokens are ours, because Jinja's know no more than their line and
its literals are Python's: here every node's `lineno` is its offset in the text, strings have JSON's escapes and numbers
are JSON's. What could exhaust the parser (length, number of tokens, nesting) is refused before it runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import TOKEN_EOF, Token, TokenStream, operators
from jinja2.parser import Parser

from .jsonlang.values import MAX_INT_BITS

__all__ = [
    "KEYWORDS",
    "MAX_LENGTH",
    "MAX_NESTING",
    "MAX_TOKENS",
    "STRING",
    "Fault",
    "Reference",
    "SyntaxFault",
    "is_name",
    "is_slice",
    "literal_part",
    "literal_parts",
    "options",
    "parse",
    "plain_path",
]

#: Characters of one expression.
MAX_LENGTH: Final = 8_192
#: Words, signs and literals of one expression.
MAX_TOKENS: Final = 2_000
#: Brackets open at once.
MAX_NESTING: Final = 24

#: Names that are part of the language, so no data can be reached by them.
KEYWORDS: Final = frozenset(
    ("and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "null", "or", "true", "True")
)

#: Text in quotes; the scanner for the end of an expression must see the same texts as the tokens.
STRING: Final = r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*\""""

_TOKEN: Final = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<name>[^\W\d]\w*)"
    # `rows.0.1` is two positions, not the float 0.1
    r"|(?P<float>(?<!\.)[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))"
    r"|(?P<integer>0|[1-9][0-9]*)"
    rf"|(?P<string>{STRING})"
    r"|(?P<operator>\*\*|//|[=!<>]=|[-+*/%~\[\](){}<>=.:|,;])",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"} | {sign: sign for sign in "\\'\"/"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INDEX: Final = r"-?(?:0|[1-9][0-9]{0,8})"
_KEY: Final = r"""'[^'\\]*'|"[^"\\]*\""""
_PLAIN: Final = re.compile(rf"([A-Za-z_]\w*)((?:\.[^\W\d]\w*|\[(?:{_INDEX}|{_KEY})\])*)")
_PLAIN_PART: Final = re.compile(rf"\.(\w+)|\[(?:({_INDEX})|({_KEY}))\]")

#: What people write out of habit, by the sign that is unexpected then.
_HINTS: Final = {
    "&": "Write `and`.",
    "|": "Write `or` for a choice; a filter is written `value | name`.",
    "!": "Write `not`.",
    "?": "Write `a if condition else b`.",
    "=": "Write `==` to compare.",
    "'": "Close the quotes; a quote inside them is written \\'.",
    '"': 'Close the quotes; a quote inside them is written \\".',
    "$": "Names begin with a letter or `_`.",
    "{": "An expression is written once between `{{` and `}}`.",
    "%": "There are no statements, only expressions.",
}
_ANY_HINT: Final = "docs/expressions.md lists what an expression may hold."

_ENVIRONMENT: Final = Environment(autoescape=False, extensions=[])  # noqa: S701 - it only parses, nothing is rendered


class Fault(NamedTuple):
    """One thing wrong with a text: offset, what, and what to do."""

    position: int
    message: str
    hint: str = _ANY_HINT


class SyntaxFault(Exception):
    """Raised when a text is no expression; `faults` is what is wrong with it, at least one."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults[0].message)
        self.faults = faults


@dataclass(slots=True, frozen=True)
class Reference:
    """A static path, as far as it is literal: `nodes.a.output.rows[0].x`."""

    #: First name: `nodes`, `inputs`, `vars`, `item`, an `as` name, …
    root: str
    #: Names and positions after it; shorter than what is written when a part is computed.
    parts: tuple[str | int, ...]
    #: Offset in the expression's text.
    position: int
    #: The expression's text.
    expression: str


def plain_path(text: str) -> Reference | None:
    """The reference when the text is nothing but a literal path in its usual spelling; needs no parser."""
    found = _PLAIN.fullmatch(text)
    if not found or len(text) > MAX_LENGTH:
        return None
    root, tail = found.groups()
    if root in KEYWORDS:
        return None
    if "[" not in tail:
        return Reference(root, tuple(tail.split(".")[1:]), 0, text)
    parts = [name or (int(index) if index else key[1:-1]) for name, index, key in _PLAIN_PART.findall(tail)]
    return Reference(root, tuple(parts), 0, text)


def parse(text: str) -> nodes.Expr:
    """The syntax tree of an expression, every node's `lineno` being its offset.

    Raises:
        SyntaxFault: the text is no expression, or exceeds a cap.
    """
    if len(text) > MAX_LENGTH:
        raise SyntaxFault(
            Fault(
                MAX_LENGTH,
                f"the expression has {len(text):,} characters; at most {MAX_LENGTH:,} are allowed",
                "Compute in steps with `set`, or in an executor.",
            )
        )
    if not text:
        raise SyntaxFault(Fault(0, "the expression is empty", "Write what to compute between `{{` and `}}`."))
    parser = Parser(_ENVIRONMENT, "", state="variable")
    parser.stream = TokenStream(_tokens(text), None, None)
    try:
        tree = parser.parse_expression()
    except TemplateSyntaxError as error:
        raise _unexpected(text, error.lineno) from None
    except RecursionError:
        raise _too_deep(0) from None
    if not parser.stream.eos:
        raise _unexpected(text, parser.stream.current.lineno)
    return tree


def _unexpected(text: str, position: int) -> SyntaxFault:
    if position >= len(text):
        return SyntaxFault(
            Fault(len(text), "the expression ends too early", "Something must follow its last sign.")
        )
    found = _TOKEN.match(text, position)
    sign = found.group() if found else text[position]
    if sign in "'\"":
        return SyntaxFault(Fault(position, "the quotes are not closed", _HINTS[sign]))
    shown = sign if len(sign) <= 40 else f"{sign[:40]}…"
    return SyntaxFault(Fault(position, f"unexpected `{shown}`", _HINTS.get(sign, _ANY_HINT)))


def _too_deep(position: int) -> SyntaxFault:
    hint = "Compute in steps with `set`."
    return SyntaxFault(
        Fault(position, f"the expression is nested too deeply (more than {MAX_NESTING} levels)", hint)
    )


def _tokens(text: str) -> Iterator[Token]:
    position = depth = count = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise _unexpected(text, position)
        form, value = found.lastgroup, found.group()
        if form != "space":
            count += 1
            depth += (value in "([{") - (value in ")]}")
            if depth > MAX_NESTING:
                raise _too_deep(position)
            if count > MAX_TOKENS:
                message = f"the expression has more than {MAX_TOKENS:,} words and signs"
                raise SyntaxFault(Fault(position, message, "Compute in steps with `set`, or in an executor."))
            yield _token(position, form, value)
        position = found.end()
    # Jinja's own end of the stream would stand where the last token begins.
    yield Token(position, TOKEN_EOF, "")


def _token(position: int, form: str | None, value: str) -> Token:
    # Jinja too puts numbers as numbers into the value of a token, whatever its annotation says.
    if form == "operator":
        return Token(position, operators[value], value)
    if form == "string":
        return Token(position, "string", _unquoted(position, value))
    if form == "integer":
        return Token(position, "integer", _integer(position, value))
    if form == "float":
        return Token(position, "float", _float(position, value))
    return Token(position, "name", value)


def _unquoted(position: int, literal: str) -> str:
    inner = literal[1:-1]
    if "\\" not in inner:
        return inner

    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        if code:
            return chr(int(code, 16))
        if found[3] not in _ESCAPED:
            where = position + 1 + found.start()
            raise SyntaxFault(
                Fault(where, "unknown escape in the quotes", "A backslash itself is written \\\\.")
            )
        return _ESCAPED[found[3]]

    text = _ESCAPE.sub(character, inner)
    if _SURROGATE.search(text):
        try:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise SyntaxFault(
                Fault(position, "the quotes hold half a character", "Write both surrogates.")
            ) from None
    return text


def _integer(position: int, digits: str) -> Any:
    # Python refuses to read much longer ones; the bound on computed integers is applied to literals too.
    if len(digits) > MAX_INT_BITS // 3 or int(digits).bit_length() > MAX_INT_BITS:
        raise SyntaxFault(Fault(position, "the whole number is too large", "Pass it as text."))
    return int(digits)


def _float(position: int, digits: str) -> Any:
    value = float(digits)
    if not math.isfinite(value):
        raise SyntaxFault(Fault(position, "the number is too large", "The largest is about 1.8e308."))
    return value


def options(node: nodes.Filter | nodes.Test) -> dict[str, nodes.Expr]:
    """The arguments by name. Jinja's annotation calls them pairs of expressions, which they are not."""
    return {option.key: option.value for option in cast("list[nodes.Keyword]", node.kwargs)}


def is_slice(node: nodes.Getattr | nodes.Getitem) -> bool:
    """Whether it is `value[start:stop]`."""
    return isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)


def is_name(node: nodes.Node, name: str) -> bool:
    """Whether it is this root."""
    return isinstance(node, nodes.Name) and node.name == name


def literal_part(node: nodes.Getattr | nodes.Getitem) -> str | int | None:
    """The name or position that is written, or None when it is computed."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    argument, sign = node.arg, 1
    if isinstance(argument, nodes.Neg):
        argument, sign = argument.node, -1
    if not isinstance(argument, nodes.Const):
        return None
    value = argument.value
    if isinstance(value, str) and sign == 1:
        return value
    return sign * value if isinstance(value, int) and not isinstance(value, bool) else None


def literal_parts(chain: Sequence[nodes.Getattr | nodes.Getitem]) -> tuple[str | int, ...]:
    """The names and positions that are written, up to the first that is computed."""
    parts: list[str | int] = []
    for node in chain:
        part = literal_part(node)
        if part is None:
            break
        parts.append(part)
    return tuple(parts)
