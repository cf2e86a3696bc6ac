"""What one GraphQL document may ask for, and how a document that asks for more is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..rest.problems import Refused

__all__ = ["LIMITS", "MAX_PAGE", "MAX_ROOT_PAGE", "GraphQLLimits", "TooMuch"]

#: Where the walls put the numbers into each request.
LIMITS: Final = "strataflow.graphql"
#: Entries of a page: of a relation, and of a list at the top.
MAX_PAGE: Final = 100
MAX_ROOT_PAGE: Final = 500
_SAID: Final = {
    "length": "characters of a document",
    "tokens": "tokens of a document",
    "nesting": "brackets inside each other",
    "definitions": "operations and fragments of a document",
    "depth": "fields inside each other",
    "fields": "fields, fragments counted wherever they are spread",
    "aliases": "aliases, fragments counted wherever they are spread",
    "directives": "directives, fragments counted wherever they are spread",
    "spreads": "spread fragments",
    "repeats": "fields of the same name in one selection",
    "root_fields": "fields at the top of an operation",
    "variables": "variables of an operation",
    "variable_bytes": "bytes of variables",
    "cost": "points of cost (each field's weight times the pages around it)",
}


@dataclass(slots=True, frozen=True)
class GraphQLLimits:
    """Numbers that hold for every document, counted with all its fragments put in their places."""

    #: Characters of a document. What is large goes into variables.
    length: int = 65_536
    #: Tokens of a document, comments included.
    tokens: int = 4_000
    #: Brackets inside each other, of any kind.
    nesting: int = 48
    #: Operations and fragments of a document.
    definitions: int = 50
    #: Fields inside each other.
    depth: int = 16
    #: Fields, aliases, directives and spread fragments.
    fields: int = 500
    aliases: int = 50
    directives: int = 50
    spreads: int = 200
    #: Fields of the same name in one selection.
    repeats: int = 20
    #: Fields at the top of an operation.
    root_fields: int = 20
    #: Variables that an operation names, and the bytes of their values.
    variables: int = 50
    variable_bytes: int = 1024 * 1024
    #: What the fields cost: each its own weight (1, or what the schema says), times the sizes of the pages around it.
    cost: int = 25_000
    #: Seconds that a query may take; a mutation begins nothing after them.
    seconds: float = 10.0


class TooMuch(Refused):
    """A document that is larger than it may be: which number, how much is allowed, how much it has."""

    def __init__(self, what: str, allowed: int, found: int, hint: str = "Ask for less at once.") -> None:
        had = "more" if found > 1_000_000_000 else str(found)
        detail = f"{_SAID[what]}: {allowed} are allowed, and this request has {had}."
        super().__init__(413, f"too_much_{what}", detail, hint=hint)
        self.what, self.allowed, self.found = what, allowed, found
