"""Names and expressions of an Aura task file in our spelling; `aura` has the rest of the import.

Pure. An expression is scanned and parsed with our own grammar, so what stands in quotes is never taken for a name. Its
roots are replaced where they stand: `ctx.x` → `vars.x`, `steps.x.output` → `nodes.x.output`, `loop.index` → `index`.
Everything else stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

from .errors import Problem
from .expressions import NAME_PATTERN, RESERVED_NAMES, parse_template
from .field_texts import kind_of
from .grammar import STRING, Reference, parse, plain_path
from .pointers import child
from .problems import suggestion
from .reference_fields import ERROR_FIELDS, Refused, member_of, refuse
from .sandbox import compile_expression
from .templates import Slot, scan

__all__ = ["Names", "Sight", "Texts", "slug"]

#: Characters of a name of ours.
_MAX_NAME: Final = 63
_OTHER: Final = re.compile(r"[^A-Za-z0-9_]+")
_MEMBER: Final = re.compile(rf"\s*(?:\.\s*[^\W\d]\w*|\[\s*(?:{STRING})\s*\])", re.DOTALL)
_ROOTS: Final = ("inputs", "ctx", "steps", "item", "index", "loop", "error")
#: Nodes of the syntax tree that give true or false.
_BOOLEAN: Final = frozenset({"Compare", "Not", "Test"})


def slug(text: str) -> str:
    """The text with nothing but letters, digits and `_`; empty when nothing is left."""
    return _OTHER.sub("_", text).strip("_")


class Names:
    """Names that rule 1 allows, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        #: The number to try next, by what stands before it.
        self._next: dict[str, int] = {}

    def keep(self, wish: str) -> bool:
        """Whether the name could be taken as it is."""
        if not NAME_PATTERN.match(wish) or wish in RESERVED_NAMES or wish in self._taken:
            return False
        self._taken.add(wish)
        return True

    def given(self, wishes: Sequence[tuple[str, str]]) -> list[str]:
        """A name for each wish, or its second choice: those that are legal stay, then the others are made."""
        kept = [wish if self.keep(wish) else "" for wish, _ in wishes]
        return [name or self.make(*wish) for name, wish in zip(kept, wishes, strict=True)]

    def make(self, wish: str, otherwise: str) -> str:
        """A name like the wish, or like `otherwise` when nothing is left of it; numbered where it is taken."""
        stem = (slug(wish) or otherwise)[:_MAX_NAME]
        stem = f"_{stem}"[:_MAX_NAME] if stem[0].isdigit() else stem
        if self.keep(stem):
            return stem
        number = self._next.get(stem, 1 if stem in RESERVED_NAMES else 2)
        while not self.keep(name := f"{stem[: _MAX_NAME - len(str(number)) - 1]}_{number}"):
            number += 1
        self._next[stem] = number + 1
        return name


@dataclass(slots=True)
class Sight:
    """What expressions may read at their place, and what those there do read."""

    #: Nodes of the steps that have run, by the steps' names in Aura.
    steps: Mapping[str, str]
    item: bool = False
    error: bool = False
    #: The step that the expression belongs to.
    own: str = ""
    nodes: set[str] = field(default_factory=set[str])
    variables: set[str] = field(default_factory=set[str])


class _Part(NamedTuple):
    """A root with the members that are replaced together with it."""

    text: str
    members: int


class Texts:
    """Rewrites values; what is refused becomes a problem, and the value stays as it was."""

    def __init__(
        self,
        inputs: Mapping[str, str],
        variables: Mapping[str, str],
        steps: frozenset[str],
        problems: list[Problem],
    ) -> None:
        #: Aura's types of the declared inputs, by name.
        self._inputs = inputs
        #: Our names of the context's variables.
        self._variables = variables
        #: Names of all steps.
        self._steps = steps
        self.problems = problems

    def value(self, value: Any, pointer: str, sight: Sight) -> Any:
        """A value in which any text may hold expressions."""
        _, problems = parse_template(value, pointer=pointer)
        if problems:
            self.problems += problems
            return value
        found = self._rewritten(value, pointer, sight)
        # What is nearly too long may be so with our names.
        self.problems += parse_template(found, pointer=pointer)[1]
        return found

    def whole(self, value: str, pointer: str, sight: Sight) -> str:
        """A text that is one expression, with or without braces around it."""
        text = value if "{{" in value else f"{{{{ {value} }}}}"
        pieces, fault = scan(text.strip())
        if fault is None and (len(pieces) != 1 or isinstance(pieces[0], str)):
            hint = "write it as one expression: {{ a == 'x' and b }}"
            self.problems.append(Problem(pointer, "expression", "here stands one expression, no text", hint))
            return value
        return self.value(text.strip(), pointer, sight)

    def condition(self, value: str, pointer: str, sight: Sight) -> str:
        """One expression that gives true or false: in Aura whatever is not empty holds."""
        count = len(self.problems)
        text = self.whole(value, pointer, sight)
        if len(self.problems) > count:
            return text
        inner = text[2:-2].strip()
        if self._is_boolean(inner):
            return text
        text = f"{{{{ true if ({inner}) else false }}}}"
        self.problems += parse_template(text, pointer=pointer)[1]
        return text

    def _is_boolean(self, text: str) -> bool:
        """Whether an expression gives nothing but true and false."""
        path = plain_path(text)
        if path is None or path.root != "inputs" or len(path.parts) != 1:
            return _is_boolean(parse(text))
        return self._inputs.get(str(path.parts[0])) == "boolean"

    def _rewritten(self, value: Any, pointer: str, sight: Sight) -> Any:
        if isinstance(value, str):
            return self._text(value, pointer, sight)
        if isinstance(value, list):
            elements = cast("list[Any]", value)
            return [self._rewritten(each, child(pointer, at), sight) for at, each in enumerate(elements)]
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            return {key: self._rewritten(each, child(pointer, key), sight) for key, each in members.items()}
        return value

    def _text(self, text: str, pointer: str, sight: Sight) -> str:
        pieces: list[str] = []
        for piece in scan(text)[0]:
            if isinstance(piece, Slot):
                pieces.append(f"{{{{ {self._expression(piece.expression, pointer, sight)} }}}}")
                continue
            pieces.append(piece)
            if "{%" in piece or "{#" in piece:
                message = "`{%` and `{#` begin a statement or comment in Aura and are plain text here"
                self.problems.append(Problem(pointer, "expression", message, "write one expression: {{ … }}"))
        return "".join(pieces)

    def _expression(self, text: str, pointer: str, sight: Sight) -> str:
        path = plain_path(text)
        written: list[str] = []
        at = 0
        for reference in (path,) if path else sorted(compile_expression(text).refs, key=_position):
            try:
                part = self._part(reference, sight)
                end = _end(text, reference, part.members)
            except Refused as found:
                self.problems.append(Problem(pointer, found.code, found.message, found.hint))
                continue
            written += (text[at : reference.position], part.text)
            at = end
        return "".join([*written, text[at:]])

    def _part(self, reference: Reference, sight: Sight) -> _Part:
        match reference.root:
            case "inputs":
                return self._input(reference)
            case "ctx":
                return self._variable(reference, sight)
            case "steps":
                return self._step(reference, sight)
            case "item" | "index" | "loop":
                return _looped(reference, sight)
            case "error":
                if not sight.error:
                    refuse("unknown_root", "'error' is known in 'on_error' only", "move the step there")
                member_of("error", reference, ERROR_FIELDS)
                return _Part("error", 0)
            case name:
                hint = suggestion(name, _ROOTS, otherwise="such a task has")
                return refuse("unknown_root", f"there is no {name!r}", hint)

    def _input(self, reference: Reference) -> _Part:
        if reference.parts and reference.parts[0] not in self._inputs:
            name = str(reference.parts[0])
            hint = suggestion(name, self._inputs, otherwise="declared inputs") or "declare it in 'inputs'"
            refuse("unknown_input", f"there is no input {name!r}", hint)
        return _Part("inputs", 0)

    def _variable(self, reference: Reference, sight: Sight) -> _Part:
        name = _first(reference, "the context is read by name", "write ctx.<name>")
        if name not in self._variables:
            hint = suggestion(name, self._variables, otherwise="set are") or "set it first, or give a value"
            refuse("unknown_variable", f"no core.set_context of this task sets {name!r}", hint)
        sight.variables.add(name)
        return _Part(f"vars.{self._variables[name]}", 1)

    def _step(self, reference: Reference, sight: Sight) -> _Part:
        name = _first(
            reference, "a step is read by name", "write steps['a name'].output, or steps.name.output"
        )
        if name not in sight.steps:
            self._unseen(name, sight)
        if len(reference.parts) < 2 or reference.parts[1] not in ("output", "result"):
            hint = f"write steps[{name!r}].output"
            refuse("unknown_node_field", "of a step only its output can be read", hint)
        node = sight.steps[name]
        sight.nodes.add(node)
        return _Part(f"nodes.{node}.output", 2)

    def _unseen(self, name: str, sight: Sight) -> None:
        if name == sight.own:
            hint = "read error.message in 'on_error'"
            refuse("own_reference", f"the step {name!r} cannot read its own output", hint)
        if name in self._steps:
            message = f"the step {name!r} does not come before this one, or runs after an error only"
            refuse("unordered_reference", message, "put it before this one, or read another")
        hint = (
            suggestion(name, sight.steps, otherwise="before it are") or "no step with a name comes before it"
        )
        refuse("unknown_node", f"there is no step {name!r}", hint)


def _position(reference: Reference) -> int:
    return reference.position


def _first(reference: Reference, message: str, hint: str) -> str:
    if not reference.parts or not isinstance(reference.parts[0], str):
        refuse("unknown_root", message, hint)
    return reference.parts[0]


def _looped(reference: Reference, sight: Sight) -> _Part:
    root = reference.root
    if not sight.item:
        message = f"{root!r} is known in the params of a step with 'loop' only"
        refuse("unknown_root", message, "choose the items in the list itself: {{ rows | selectattr('ok') }}")
    if root != "loop":
        return _Part(root, 0)
    if not reference.parts or reference.parts[0] not in ("item", "index"):
        refuse("unknown_member", "of 'loop' only its item and index are known", "write item or index")
    return _Part(str(reference.parts[0]), 1)


def _end(text: str, reference: Reference, members: int) -> int:
    """Where the replaced part ends: behind the root and as many members."""
    at = reference.position + len(reference.root)
    for _ in range(members):
        found = _MEMBER.match(text, at)
        if found is None:
            message = f"what is read of {reference.root!r} cannot be told here"
            refuse("expression", message, f"write {reference.root}.<name> without brackets around a part")
        at = found.end()
    return at


def _is_boolean(tree: Any) -> bool:
    """The same of a syntax tree; its nodes go by their names here, because their types are the grammar's."""
    kind = type(tree).__name__
    if kind in ("And", "Or"):
        return _is_boolean(tree.left) and _is_boolean(tree.right)
    return kind in _BOOLEAN or (kind == "Const" and kind_of(tree.value) == "a boolean")
