"""What a string of a template is made of, and the scan that finds it.

Only `{{` and `}}` are special. A shell's `${#list[@]}`, `{%` and `{#`, tabs and any kind of line end are text. Quotes
and braces inside an expression are respected, so `{{ '}}' }}` and `{{ {'a': {'b': 1}} }}` end where their author thinks
they do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from .errors import ExpressionError
from .grammar import STRING, Fault, Reference
from .jsonlang.closures import EVALUATION_ERRORS, Run, located
from .jsonlang.values import Frame, finish
from .payload import Json

__all__ = ["CLOSE", "OPEN", "Expression", "Slot", "scan"]

OPEN: Final = "{{"
CLOSE: Final = "}}"

_INSIDE: Final = re.compile(rf"{STRING}|['\"{{}}]", re.DOTALL)


@dataclass(slots=True, frozen=True)
class Expression:
    """A compiled expression."""

    text: str
    #: Every static path in it, in the order of the text.
    refs: tuple[Reference, ...]
    #: Set when the expression is nothing but a literal path.
    plain: Reference | None
    run: Run

    def evaluate(self, frame: Frame, pointer: str = "") -> Json:
        """The value as JSON. Raises ExpressionError, with the text and where known the position."""
        try:
            return finish(frame, self.run(frame))
        except EVALUATION_ERRORS as error:
            raise self._explained(located(error), pointer) from None

    def _explained(self, error: ExpressionError, pointer: str) -> ExpressionError:
        where = "" if error.position is None else f" at position {error.position}"
        shown = self.text if len(self.text) <= 120 else f"{self.text[:120]}…"
        return ExpressionError(
            f"{error.message} (in `{{{{ {shown} }}}}`{where})",
            expression=self.text,
            position=error.position,
            pointer=pointer,
            reason=error.reason,
        )


class Slot(NamedTuple):
    """One expression of a text."""

    #: What stands between the braces, without the blanks around it.
    expression: str
    #: Offset of its `{{` in the text.
    position: int


def scan(text: str) -> tuple[list[str | Slot], Fault | None]:
    """The text as texts and expressions in turn. A fault ends the scan: nothing after it can be told apart."""
    pieces: list[str | Slot] = []
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        if start > at:
            pieces.append(text[at:start])
        end = _end(text, start + 2)
        if isinstance(end, Fault):
            return pieces, end
        inner = text[start + 2 : end]
        if inner[:1] == "-" and inner[1:2].isspace():
            hint = "Blanks around an expression are kept; write `{{ -x }}` for a negative number."
            return pieces, Fault(start, "`{{-` has no meaning here", hint)
        pieces.append(Slot(inner.strip(), start))
        at = end + 2
    if at < len(text):
        pieces.append(text[at:])
    return pieces, None


def _end(text: str, at: int) -> int | Fault:
    """Offset of the `}}` that closes the expression which begins at `at`."""
    depth = 0
    opened = at - 2
    while found := _INSIDE.search(text, at):
        sign, at = found.group(), found.end()
        if sign == "{":
            depth += 1
        elif sign == "}" and depth:
            depth -= 1
        elif sign == "}" and text.startswith("}", at):
            return at - 1
        elif sign in "'\"":
            return Fault(
                opened, "`{{` is not closed: the quotes in it are not", "Close the quotes and write `}}`."
            )
    hint = "Write `}}` after the expression; a literal `{{` is written `{{ '{{' }}`."
    return Fault(opened, "`{{` is not closed" + (": a `{` in it is not" if depth else ""), hint)
