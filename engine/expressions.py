"""Expressions: any string of a definition may hold `{{ … }}`, and a template is a JSON value of such strings.

The validator parses and shows every problem, the planner takes the references as edges, the engine that claimed a task
renders. Pure: no clock, no randomness. A template is immutable and safe in threads. docs/expressions.md is the
reference for authors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, cast

from .errors import ExpressionError, Problem
from .grammar import KEYWORDS, Fault, Reference, SyntaxFault, plain_path
from .jsonlang.arguments import FUNCTIONS
from .jsonlang.closures import Run
from .jsonlang.values import Frame, Undefined, finish, joined, kind, text_of, walk
from .payload import Json
from .pointers import child
from .sandbox import compile_expression
from .templates import CLOSE, OPEN, Expression, Slot, scan

__all__ = [
    "FILTERS",
    "MAX_NESTING",
    "NAME_PATTERN",
    "RESERVED_NAMES",
    "ROOT_NAMES",
    "TESTS",
    "Reference",
    "Template",
    "has_expression",
    "parse_template",
]

#: Names of nodes, branches, variables, `as` and `index` (DSL rule 1).
NAME_PATTERN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
#: Where expressions find data, besides the `as` and `index` names of maps (DSL rules 14 and 30).
ROOT_NAMES: Final = frozenset(
    (
        "error",
        "index",
        "inputs",
        "instance",
        "item",
        "loop",
        "nodes",
        "result",
        "secrets",
        "signal",
        "task",
        "total",
        "trigger",
        "vars",
    )
)
#: What nodes, variables, `as` and `index` may not be called.
RESERVED_NAMES: Final = ROOT_NAMES | KEYWORDS | {"self"}
#: The fixed list of filters.
FILTERS: Final = frozenset(FUNCTIONS["filter"])
#: The fixed list of tests.
TESTS: Final = frozenset(FUNCTIONS["test"])
#: Levels of lists and objects in a template.
MAX_NESTING: Final = 100

#: Exact types that a plain path gives on as they are.
_NATIVE: Final = frozenset((str, int, bool, type(None), list, dict))
#: Definitions repeat their expressions; a compiled one holds no data. A refusal is raised, so it is not kept: it may be
#: due to the caller's deep stack.
_compiled: Final = lru_cache(maxsize=1_024)(compile_expression)


class Template:
    """A compiled JSON value in which any string may hold `{{ … }}`."""

    __slots__ = ("_pointer", "_run", "constant", "plain", "refs", "source")

    def __init__(
        self,
        source: Json,
        *,
        refs: tuple[Reference, ...] = (),
        plain: Reference | None = None,
        run: Run | None = None,
        pointer: str = "",
    ) -> None:
        #: The value as written.
        self.source = source
        #: Every reference of every expression inside, unique, in document order.
        self.refs = refs
        #: True when there is no expression in it.
        self.constant = run is None
        #: Set when the whole value is exactly one `{{ plain.path }}`.
        self.plain = plain
        self._run = run
        self._pointer = pointer

    def __repr__(self) -> str:
        return f"Template({self.source!r})"

    def render(self, roots: Mapping[str, Any]) -> Json:
        """The value with every expression evaluated.

        The result may share parts with `roots` and with the template: it is for reading. A value that a plain path
        names is given as it is, of any size; what an expression builds is bounded.

        Raises:
            ExpressionError: with the expression, the position in it where known, and the JSON pointer of its string.
        """
        if self.plain is not None:
            return _plain_value(self.plain, roots, self._pointer)
        if self._run is None:
            return self.source
        return self._run(Frame(roots))

    def render_bool(self, roots: Mapping[str, Any]) -> bool:
        """As `render`, for a condition: everything but true and false is an ExpressionError (DSL rule 11)."""
        value = self.render(roots)
        if value is True or value is False:
            return value
        raise ExpressionError(
            f"a condition gives true or false, not {kind(value)}",
            expression=self.source if isinstance(self.source, str) else "",
            pointer=self._pointer,
        )


def parse_template(value: Json, *, pointer: str = "") -> tuple[Template | None, list[Problem]]:
    """Compile a JSON value. All problems of all its expressions are found; with any there is no template.

    `pointer` is where the value stands in its document; problems and errors carry it with the place inside the value.
    """
    builder = _Builder()
    run = builder.build(value, pointer, 1)
    if builder.problems:
        return None, builder.problems
    plain = builder.plain if isinstance(value, str) else None
    return Template(value, refs=tuple(builder.refs.values()), plain=plain, run=run, pointer=pointer), []


def has_expression(value: Json) -> bool:
    """Whether any string inside, a key included, contains `{{`."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if OPEN in item:
                return True
        elif isinstance(item, dict):
            members = cast("dict[Any, Any]", item)
            stack.extend(members)
            stack.extend(members.values())
        elif isinstance(item, list):
            stack.extend(cast("list[Any]", item))
    return False


class _Builder:
    """Compiles one value from the outside in, collecting references and problems."""

    __slots__ = ("plain", "problems", "refs")

    def __init__(self) -> None:
        self.refs: dict[tuple[str, tuple[str | int, ...]], Reference] = {}
        self.problems: list[Problem] = []
        #: The path of the last string that was nothing but one.
        self.plain: Reference | None = None

    def build(self, value: Json, pointer: str, depth: int) -> Run | None:
        """What renders the value, or None when it is constant."""
        if isinstance(value, str):
            return self._string(value, pointer) if OPEN in value else None
        if not isinstance(value, (list, dict)):
            return None
        if depth > MAX_NESTING:
            self._problem(pointer, f"the value is nested deeper than {MAX_NESTING} levels", "Flatten it.")
            return None
        if isinstance(value, list):
            return self._container(value, enumerate(cast("list[Any]", value)), pointer, depth)
        members = cast("dict[Any, Any]", value)
        for key in members:
            if isinstance(key, str) and OPEN in key:
                message = "a key holds `{{`, but keys are never evaluated"
                self._problem(child(pointer, key), message, "Build the object with an expression.")
        return self._container(members, members.items(), pointer, depth)

    def _container(
        self, value: Any, members: Iterable[tuple[Any, Any]], pointer: str, depth: int
    ) -> Run | None:
        dynamic: list[tuple[Any, Run]] = []
        for key, item in members:
            # Most members are constant scalars; their pointer is never needed.
            if isinstance(item, (list, dict)) or (isinstance(item, str) and OPEN in item):
                run = self.build(item, child(pointer, key), depth + 1)
                if run is not None:
                    dynamic.append((key, run))
        return _filled(value, dynamic) if dynamic else None

    def _string(self, text: str, pointer: str) -> Run | None:
        if text.startswith(OPEN) and text.endswith(CLOSE):
            # The commonest form by far needs neither scan nor parser.
            reference = plain_path(text[2:-2].strip())
            if reference is not None:
                return self._path(reference, pointer)
        pieces, fault = scan(text)
        if fault is not None:
            self._problem(pointer, f"{fault.message} (at position {fault.position})", fault.hint)
        runs = [piece if isinstance(piece, str) else self._slot(piece, pointer) for piece in pieces]
        if len(runs) == 1:
            only = runs[0]
            return None if isinstance(only, str) else only
        self.plain = None
        return _text(runs, text, pointer)

    def _slot(self, slot: Slot, pointer: str) -> Run:
        reference = plain_path(slot.expression)
        if reference is not None:
            return self._path(reference, pointer)
        try:
            expression = _compiled(slot.expression)
        except SyntaxFault as error:
            for fault in error.faults:
                self._problem(pointer, _described(fault, slot.expression), fault.hint)
            return _nothing
        for reference in expression.refs:
            self.refs.setdefault((reference.root, reference.parts), reference)
        if expression.plain is not None:
            return self._path(expression.plain, pointer)
        self.plain = None
        return _evaluated(expression, pointer)

    def _path(self, reference: Reference, pointer: str) -> Run:
        self.refs.setdefault((reference.root, reference.parts), reference)
        self.plain = reference
        return lambda frame: _plain_value(reference, frame.roots, pointer)

    def _problem(self, pointer: str, message: str, hint: str) -> None:
        self.problems.append(Problem(pointer, "expression", message, hint))


def _described(fault: Fault, expression: str) -> str:
    shown = expression if len(expression) <= 80 else f"{expression[:80]}…"
    return f"{fault.message} (at position {fault.position} in `{{{{ {shown} }}}}`)"


def _nothing(_frame: Frame) -> Json:
    """Stands for an expression that was refused; never run."""


def _plain_value(reference: Reference, roots: Mapping[str, Any], pointer: str) -> Json:
    value = walk(roots, reference.root, reference.parts)
    if type(value) in _NATIVE:
        return value
    try:
        if isinstance(value, Undefined):
            raise value.error()
        return finish(Frame(roots), value)
    except ExpressionError as error:
        raise _placed(error, reference.expression, pointer, reference.position) from None


def _evaluated(expression: Expression, pointer: str) -> Run:
    return lambda frame: expression.evaluate(frame, pointer)


def _filled(source: Any, dynamic: list[tuple[Any, Run]]) -> Run:
    """Copies the container, so that a rendered value never changes the template, and fills in what is computed."""

    def run(frame: Frame) -> Json:
        result = source.copy()
        for key, member in dynamic:
            result[key] = member(frame)
        return result

    return run


def _text(pieces: list[str | Run], source: str, pointer: str) -> Run:
    def run(frame: Frame) -> Json:
        values = [piece if isinstance(piece, str) else piece(frame) for piece in pieces]
        try:
            return joined(frame, [text_of(frame, value) for value in values])
        except ExpressionError as error:
            raise _placed(error, source, pointer, None) from None

    return run


def _placed(error: ExpressionError, expression: str, pointer: str, position: int | None) -> ExpressionError:
    return ExpressionError(
        error.message, expression=expression, position=position, pointer=pointer, reason=error.reason
    )
