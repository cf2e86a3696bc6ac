"""The schema's text stands in docs/schema.graphql; whoever changes the schema changes the text with it."""

from __future__ import annotations

from pathlib import Path

from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLObjectType, build_schema

from strataflow.api.graphql.schema import build

SNAPSHOT = Path(__file__).parents[2] / "docs" / "schema.graphql"


def test_the_text_of_the_schema_is_the_schema() -> None:
    """`python -m strataflow.api.graphql > docs/schema.graphql` writes it anew."""
    assert SNAPSHOT.read_text(encoding="utf-8") == build().text


def test_every_type_says_what_it_is_and_every_field_has_a_graphql_name() -> None:
    schema = build_schema(build().text)
    for kind in schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        if isinstance(kind, GraphQLObjectType | GraphQLEnumType | GraphQLInputObjectType):
            assert kind.description, kind.name
        if isinstance(kind, GraphQLObjectType):
            assert all("_" not in name for name in kind.fields), kind.name


def test_every_list_of_rows_is_bounded() -> None:
    """A list that grows with the database is a page, or has `first`."""
    facts = build().facts
    connections = [place for place in facts if str(build().schema.type_map[place[0]]).endswith("Connection")]
    assert connections
    for (kind, name), found in facts.items():
        owner = build().schema.type_map[kind]
        assert isinstance(owner, GraphQLObjectType)
        target = str(owner.fields[name].type).strip("!")
        if target.endswith(("Connection", "Page")):
            assert found.first == 20, (kind, name)
        elif target.startswith("[") and not kind.endswith(("Connection", "Page")):
            assert found.first == 20 or (kind, name) in SHORT, (kind, name)


#: Lists that are a part of what holds them, and as long as its own bound allows.
SHORT = {
    ("Engine", "executors"),
    ("Explanation", "reasons"),
    ("Statistics", "engines"),
    ("Statistics", "queues"),
    ("Statistics", "runs"),
}
