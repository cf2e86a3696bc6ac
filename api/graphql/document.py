"""A document before anybody knows the schema: read it, and count it with all its fragments put in their places.

The lexer stops at the first token too many, and brackets are counted before the parser sees them, so that nothing can
make it recurse. Fragments are never put in: each is counted once, and what it counts is added wherever it is spread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Lexer,
    OperationDefinitionNode,
    SelectionNode,
    Source,
    TokenKind,
    parse,
)

from ...engine.errors import Problem
from ..rest.problems import Refused
from .limits import GraphQLLimits, TooMuch

__all__ = ["Document", "fields_of", "read_document", "root_fields"]

#: Counting stops here: what is spread in each other can come to numbers with many digits.
_ENDLESS: Final = 10**12
_OPENING: Final = frozenset({TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L})
_CLOSING: Final = frozenset({TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R})


@dataclass(slots=True)
class _Count:
    """What a part has: by itself first, then with everything that it spreads."""

    fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0
    root_fields: int = 0
    #: How often one name stands in one selection; the validation compares each with each.
    repeats: int = 0
    #: Fragments and how many fields stand around them.
    spread: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    spreads: int = 0

    def add(self, other: _Count, around: int) -> None:
        for name in ("fields", "aliases", "directives", "spreads"):
            setattr(self, name, min(_ENDLESS, getattr(self, name) + getattr(other, name)))
        self.depth = max(self.depth, around + other.depth)
        self.repeats = max(self.repeats, other.repeats)
        if around == 0:
            self.root_fields = min(_ENDLESS, self.root_fields + other.root_fields)


@dataclass(slots=True, frozen=True)
class Document:
    """A document that is not too large, and the operation of it that is meant."""

    tree: DocumentNode
    operation: OperationDefinitionNode
    #: Fragments by name; each stands behind all that it spreads.
    fragments: Mapping[str, FragmentDefinitionNode]

    @property
    def kind(self) -> str:
        """`query`, `mutation` or `subscription`."""
        return self.operation.operation.value


def read_document(text: str, name: str | None, limits: GraphQLLimits) -> Document:
    """Read a document and choose its operation. Raises TooMuch, and Refused for one that cannot be read."""
    _measure(text, limits)
    try:
        tree = parse(text, no_location=False)
    except GraphQLSyntaxError as exc:
        raise _unreadable(exc) from exc
    parts = tree.definitions
    if len(parts) > limits.definitions:
        raise TooMuch("definitions", limits.definitions, len(parts))
    operations = [part for part in parts if isinstance(part, OperationDefinitionNode)]
    fragments = {part.name.value: part for part in parts if isinstance(part, FragmentDefinitionNode)}
    if len(operations) + len(fragments) < len(parts):
        raise _wrong("a document holds operations and fragments, each fragment's name once.")
    ordered = _count(operations, fragments, limits)
    return Document(tree, _chosen(operations, name), {each: fragments[each] for each in ordered})


def fields_of(tree: DocumentNode) -> Iterable[FieldNode]:
    """Every field that is written anywhere in a document."""
    stack: list[SelectionNode] = []
    for part in tree.definitions:
        if isinstance(part, OperationDefinitionNode | FragmentDefinitionNode):
            stack.extend(part.selection_set.selections)
        while stack:
            node = stack.pop()
            if isinstance(node, FieldNode):
                yield node
            stack.extend(_inside(node))


def root_fields(document: Document) -> dict[str, str]:
    """The fields at the top of the operation, those of its fragments too, by their names in the answer."""
    found: dict[str, str] = {}
    stack: list[SelectionNode] = list(document.operation.selection_set.selections)
    while stack:
        node = stack.pop(0)
        if isinstance(node, FieldNode):
            found[(node.alias or node.name).value] = node.name.value
        elif isinstance(node, FragmentSpreadNode):
            stack[:0] = document.fragments[node.name.value].selection_set.selections
        else:
            stack[:0] = _inside(node)
    return found


def _measure(text: str, limits: GraphQLLimits) -> None:
    """Look at the tokens alone, and stop at the first too many."""
    if len(text) > limits.length:
        raise TooMuch("length", limits.length, len(text), "Give large values as variables.")
    lexer, tokens, nesting = Lexer(Source(text)), 0, 0
    token = lexer.token
    try:
        while token.kind is not TokenKind.EOF:
            token = lexer.read_next_token(token.end)
            tokens += 1
            if token.kind in _OPENING:
                nesting += 1
            elif token.kind in _CLOSING:
                nesting -= 1
            if tokens > limits.tokens:
                raise TooMuch("tokens", limits.tokens, tokens)
            if nesting > limits.nesting:
                raise TooMuch("nesting", limits.nesting, nesting)
    except GraphQLSyntaxError as exc:
        raise _unreadable(exc) from exc


def _count(
    operations: Iterable[OperationDefinitionNode],
    fragments: Mapping[str, FragmentDefinitionNode],
    limits: GraphQLLimits,
) -> list[str]:
    """Check every operation with what it spreads. Gives the fragments' names, each behind what it spreads."""
    counts = {name: _own(part) for name, part in fragments.items()}
    ordered = _ordered(counts)
    for name in ordered:
        _put_in(counts[name], counts)
    for part in operations:
        whole = _own(part)
        _put_in(whole, counts)
        if len(part.variable_definitions or ()) > limits.variables:
            raise TooMuch("variables", limits.variables, len(part.variable_definitions or ()))
        for what in ("depth", "root_fields", "aliases", "directives", "spreads", "repeats", "fields"):
            allowed, found = getattr(limits, what), getattr(whole, what)
            if found > allowed:
                raise TooMuch(what, allowed, found)
    return ordered


def _put_in(count: _Count, counts: Mapping[str, _Count]) -> None:
    for name, around in count.spread:
        if name in counts:  # one that is not there is said by the validation
            count.add(counts[name], around)


def _own(part: OperationDefinitionNode | FragmentDefinitionNode) -> _Count:
    """What a part has without what it spreads."""
    found = _Count(directives=len(part.directives or ()))
    names: Counter[tuple[int, str]] = Counter()
    #: Each with how many fields stand around it, and which one stands next to it.
    stack: list[tuple[SelectionNode, int, int]] = [(node, 0, 0) for node in part.selection_set.selections]
    while stack:
        node, around, owner = stack.pop()
        found.directives += len(node.directives or ())
        inside = around
        if isinstance(node, FieldNode):
            inside += 1
            names[owner, (node.alias or node.name).value] += 1
            owner = found.fields + 1
            found.fields += 1
            found.aliases += node.alias is not None
            found.root_fields += around == 0
            found.depth = max(found.depth, inside)
        elif isinstance(node, FragmentSpreadNode):
            found.spreads += 1
            found.spread.append((node.name.value, around))
        stack.extend((each, inside, owner) for each in _inside(node))
    found.repeats = max(names.values(), default=0)
    return found


def _inside(node: SelectionNode) -> Sequence[SelectionNode]:
    if isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
        return node.selection_set.selections
    return ()


def _ordered(counts: Mapping[str, _Count]) -> list[str]:
    """Fragments, each behind all that it spreads. Raises Refused for one that spreads itself."""
    done: dict[str, bool] = {}  # False: we are inside it
    ordered: list[str] = []
    for first in counts:
        stack = [(first, False)]
        while stack:
            name, left = stack.pop()
            if left:
                done[name] = True
                ordered.append(name)
            elif done.get(name) is None:
                done[name] = False
                stack.append((name, True))
                for other, _ in counts[name].spread:
                    if done.get(other) is False:
                        raise _wrong(f"the fragment {other!r} spreads itself.", code="fragment_cycle")
                    if other in counts:
                        stack.append((other, False))
    return ordered


def _chosen(operations: Sequence[OperationDefinitionNode], name: str | None) -> OperationDefinitionNode:
    if name is None:
        if len(operations) == 1:
            return operations[0]
        raise _wrong("a document with several operations, or none, needs operationName.", "/operationName")
    for each in operations:
        if each.name is not None and each.name.value == name:
            return each
    raise _wrong("the document has no operation with this name.", "/operationName")


def _wrong(detail: str, pointer: str = "/query", code: str = "request") -> Refused:
    return Refused(400, code, detail, errors=[Problem(pointer, code, detail)])


def _unreadable(exc: GraphQLSyntaxError) -> Refused:
    place = exc.locations[0] if exc.locations else None
    where = f" (line {place.line}, column {place.column})" if place is not None else ""
    text = exc.message.encode("utf-8", "replace").decode()
    return _wrong(f"{text}{where}", code="syntax")
