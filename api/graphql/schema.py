"""The schema: put together, and every field's needs and weight worked out from what the types have declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import strawberry
from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    get_named_type,
)
from strawberry.schema.config import StrawberryConfig

from ...engine.errors import RequestError
from ...services.access.scopes import Need, allows
from ..rest.problems import Refused
from .context import Context
from .declare import NEEDS, WEIGHT, declared
from .mutation import Mutation
from .query import Query
from .scalars import SCALARS

__all__ = ["Built", "FieldFacts", "build", "forbidden", "make"]


@dataclass(slots=True, frozen=True)
class FieldFacts:
    """What is known of a field before anything runs."""

    #: All of them are needed; none: what gives the type that it stands in has asked already.
    needs: frozenset[Need]
    weight: int
    #: Entries that it gives when nobody says how many; None for one that gives no pages.
    first: int | None


@dataclass(slots=True, frozen=True)
class Built:
    """The schema as it is executed, and its fields by type and name."""

    schema: GraphQLSchema
    text: str
    facts: Mapping[tuple[str, str], FieldFacts]


@cache
def build() -> Built:
    """The schema of this release."""
    return make(Query, Mutation)


def make(query: type, mutation: type | None = None) -> Built:
    """A schema of these roots. Raises TypeError for a type, or a field at the top, that does not say what it needs."""
    config = StrawberryConfig(scalar_map=SCALARS)
    made = strawberry.Schema(query=query, mutation=mutation, config=config)
    core = made._schema  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is executed without strawberry's own checks
    facts: dict[tuple[str, str], FieldFacts] = {}
    roots = (core.query_type, core.mutation_type)
    for kind in core.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            _declared(kind)
            for name, field in kind.fields.items():
                found = facts[kind.name, name] = _facts(field)
                if kind in roots and not found.needs:
                    raise TypeError(f"the field {kind.name}.{name} does not say what it needs")
                field.resolve = _guarded(field, found.needs)
    return Built(core, made.as_str() + "\n", facts)


def _facts(field: Any) -> FieldFacts:
    given: Mapping[str, Any] = field.extensions["strawberry-definition"].metadata or {}
    needs: set[Need] = set()
    target = _named(field)
    if NEEDS in given:
        needs.add(given[NEEDS])
    if isinstance(target, GraphQLObjectType):
        own = _declared(target)
        if own is not None:
            needs.add(own)
        elif NEEDS not in given:
            needs |= set(_of_members(target, set()))
    first = field.args.get("first")
    return FieldFacts(frozenset(needs), given.get(WEIGHT, 1), None if first is None else first.default_value)


def _named(field: Any) -> object:
    """The type that a field gives, one of it or a list."""
    return cast("object", get_named_type(field.type))


def _declared(kind: GraphQLObjectType) -> Need | None:
    """What a type needs; None for a part."""
    definition: Any = kind.extensions["strawberry-definition"]
    found = declared((definition.concrete_of or definition).origin)
    if found is None:
        raise TypeError(f"the type {kind.name} does not say what it needs")
    return found if isinstance(found, Need) else None


def _of_members(kind: GraphQLObjectType, seen: set[str]) -> Iterator[Need]:
    """What the members of a part need, and those of its parts."""
    if kind.name in seen:
        return
    seen.add(kind.name)
    fields: Mapping[str, Any] = kind.fields
    for field in fields.values():
        target = _named(field)
        if isinstance(target, GraphQLObjectType):
            own = _declared(target)
            if own is not None:
                yield own
            else:
                yield from _of_members(target, seen)


def forbidden(context: Context, need: Need) -> Refused:
    """The answer to who has not the scope."""
    detail = f"the key {context.principal.who!r} may not {need}."
    return Refused(403, "forbidden", detail, hint=f"It needs the scope {need}.")


def _guarded(field: GraphQLField, needs: frozenset[Need]) -> Callable[..., Any]:
    """The resolver behind its needs: a second wall, whatever was looked at before the execution."""
    inner, args = cast("Callable[..., Any]", field.resolve), cast("Mapping[str, Any]", field.args)

    def resolve(source: Any, info: GraphQLResolveInfo[Context], **given: Any) -> Any:
        context: Context = info.context
        for need in needs:
            if not allows(context.principal.scopes, need):
                raise forbidden(context, need)
        context.check_time()
        for name, value in given.items():
            _check_texts(args[name].type, value, f"/{name}")
        return inner(source, info, **given)

    return resolve


def _check_texts(kind: Any, value: Any, pointer: str) -> None:
    """No database has texts with NUL. Raises RequestError. What is free data is looked at where it is stored."""
    kind = cast("Any", kind.of_type if isinstance(kind, GraphQLNonNull) else kind)
    if value is None or isinstance(kind, GraphQLScalarType):
        if isinstance(value, str) and "\0" in value and kind.name != "JSON":
            raise RequestError("a text has no NUL characters.", pointer=pointer)
    elif isinstance(kind, GraphQLList):
        inner: Any = cast("Any", kind).of_type
        for number, each in enumerate(value):
            _check_texts(inner, each, f"{pointer}/{number}")
    elif isinstance(kind, GraphQLInputObjectType):
        for name, each in value.items():
            if name in kind.fields:
                _check_texts(kind.fields[name].type, each, f"{pointer}/{name}")
