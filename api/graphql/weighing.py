"""What an operation needs and costs, worked out before anything of it runs.

Each fragment is looked at once; what it costs is added wherever it is spread. Whether a directive leaves a field out is
not looked at: a field that is written is a field that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    InlineFragmentNode,
    IntValueNode,
    NullValueNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)

from ...services.access.scopes import Need
from .document import Document
from .schema import Built, FieldFacts

__all__ = ["INTROSPECTION", "Demand", "weigh"]

#: What the schema itself is read with.
INTROSPECTION: Final = Need("read", "definitions")
_OF_THE_SCHEMA: Final = {"__schema": "__Schema", "__type": "__Type"}
#: How long the lists of the schema are, roughly: they can be asked for inside each other without an end.
_SIZES: Final = {"types": 80, "fields": 25, "inputFields": 15, "enumValues": 15, "args": 6, "directives": 8}
#: So many fields of the schema cost one: they are at hand, no database is asked.
_IN_MEMORY: Final = 25


@dataclass(slots=True, frozen=True)
class Demand:
    """What is needed, and what it costs."""

    needs: frozenset[Need] = frozenset()
    cost: int = 0

    def plus(self, other: Demand, times: int = 1) -> Demand:
        """Both together, the other one so many times."""
        return Demand(self.needs | other.needs, self.cost + other.cost * times)


def weigh(document: Document, built: Built, variables: Mapping[str, Any]) -> Demand:
    """What a valid document's operation needs and costs with these variables."""
    given = {
        each.variable.name.value: _number(each.default_value)
        for each in document.operation.variable_definitions or ()
    }
    given |= {name: value for name, value in variables.items() if type(value) is int}
    scale = _Scale(built, given)
    for name, fragment in document.fragments.items():
        scale.fragments[name] = scale.of(fragment.type_condition.name.value, fragment.selection_set)
    root = "Mutation" if document.kind == "mutation" else "Query"
    return scale.of(root, document.operation.selection_set)


class _Scale:
    """Looks at selections; they are nested no deeper than brackets may be."""

    def __init__(self, built: Built, variables: Mapping[str, int | None]) -> None:
        self._built, self._variables = built, variables
        self.fragments: dict[str, Demand] = {}

    def of(self, parent: str, selection: SelectionSetNode | None) -> Demand:
        """What the members of a selection need and cost."""
        found = Demand()
        for node in selection.selections if selection is not None else ():
            if isinstance(node, FieldNode):
                found = found.plus(self._field(parent, node))
            elif isinstance(node, FragmentSpreadNode):
                found = found.plus(self.fragments[node.name.value])
            elif isinstance(node, InlineFragmentNode):
                kind = node.type_condition.name.value if node.type_condition is not None else parent
                found = found.plus(self.of(kind, node.selection_set))
        return found

    def _field(self, parent: str, node: FieldNode) -> Demand:
        name = node.name.value
        if name == "__typename":
            return Demand()
        if name in _OF_THE_SCHEMA:
            inside = self.of(_OF_THE_SCHEMA[name], node.selection_set)
            return Demand(frozenset({INTROSPECTION}), 1 + inside.cost // _IN_MEMORY)
        target = cast("GraphQLNamedType", get_named_type(self._field_of(parent, name).type))
        inside = self.of(target.name, node.selection_set)
        if parent.startswith("__"):
            return Demand(cost=1).plus(inside, _SIZES.get(name, 1))
        facts = self._built.facts[parent, name]
        return Demand(facts.needs, facts.weight).plus(inside, self._size(facts, node))

    def _field_of(self, parent: str, name: str) -> Any:
        kind = self._built.schema.type_map[parent]
        fields: Mapping[str, Any] = kind.fields if isinstance(kind, GraphQLObjectType) else {}
        return fields[name]

    def _size(self, facts: FieldFacts, node: FieldNode) -> int:
        """How many entries a page may have."""
        if facts.first is None:
            return 1
        asked: int | None = facts.first
        for argument in node.arguments or ():
            if argument.name.value == "first":
                asked = self._asked(argument.value)
        return max(1, facts.first if asked is None else asked)

    def _asked(self, value: object) -> int | None:
        if isinstance(value, VariableNode):
            return self._variables.get(value.name.value)
        return _number(value)


def _number(value: object) -> int | None:
    if value is None or isinstance(value, NullValueNode) or not isinstance(value, IntValueNode):
        return None
    return int(value.value) if len(value.value) <= 12 else 10**12
