"""Documents that ask for too much: refused before anything runs, with the number that is allowed."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from strataflow.api.graphql.context import Context, TimeOver
from strataflow.api.graphql.document import read_document
from strataflow.api.graphql.limits import GraphQLLimits, TooMuch
from strataflow.api.graphql.schema import build
from strataflow.api.graphql.weighing import weigh
from strataflow.api.rest.app import ServerLimits
from strataflow.api.rest.gate import Caller
from strataflow.api.rest.problems import Refused
from strataflow.services.access.keys import Principal
from tests.graphql.conftest import Ask, asking
from tests.rest.conftest import HELLO, Serve, Served

LIMITS = GraphQLLimits()


def chain(depth: int) -> str:
    return "instance(id: 1) {" + "parent {" * depth + "id" + "}" * depth + "}"


def laughs(levels: int, width: int = 2) -> str:
    """Fragments that double at each level: a short text, an endless document."""
    parts = [
        f"fragment F{number} on Instance {{ {f'...F{number + 1} ' * width} }}" for number in range(levels)
    ]
    return f"{{ instance(id: 1) {{ ...F0 }} }} {' '.join(parts)} fragment F{levels} on Instance {{ id }}"


def spread_over(body: str, pieces: int) -> str:
    """The same body in many small fragments, each with its own share: what counts one by one sees little."""
    fragments = " ".join(f"fragment P{number} on Query {{ {body} }}" for number in range(pieces))
    return f"{{ {' '.join(f'...P{number}' for number in range(pieces))} }} {fragments}"


ALIASES = " ".join(f"a{number}: id" for number in range(60))
NESTED = (
    "{ instances(first: 100) { ...A } } fragment A on InstanceConnection { nodes { ...B } } "
    "fragment B on Instance { children(first: 100) { nodes { children(first: 100) { nodes { id } } } } }"
)
#: Documents by what they are, and the limit that refuses them.
HOSTILE: dict[str, tuple[str, str]] = {
    "4 MB of brackets": ("{" * 4_000_000, "length"),
    "4 MB of one name": ("{ " + "a" * 4_000_000 + " }", "length"),
    "4 MB of commas": ("{" + "," * 4_000_000 + "a}", "length"),
    "4 MB of a string": ('{ instance(id: "' + "x" * 4_000_000 + '") { id } }', "length"),
    "many tokens": ("{" + " a" * 5_000 + "}", "tokens"),
    "many comments": ("#\n" * 5_000 + "{ a }", "tokens"),
    "brackets": ("{" * 60_000, "nesting"),
    "nested fields": ("{ " + "a {" * 100, "nesting"),
    "nested lists": ("{ a(b: " + "[" * 1_000 + "]" * 1_000 + ") }", "nesting"),
    "nested objects": ("{ a(b: " + "{c: " * 1_000 + "1" + "}" * 1_000 + ") }", "nesting"),
    "nested types of a variable": ("query ($a: " + "[" * 1_000 + "Int" + "]" * 1_000 + ") { a }", "nesting"),
    "many fragments": ("{ a } " + " ".join(f"fragment F{n} on A {{ b }}" for n in range(60)), "definitions"),
    "many operations": (" ".join(f"query Q{number} {{ a }}" for number in range(60)), "definitions"),
    "depth": ("{ " + chain(20) + " }", "depth"),
    "depth by fragments": (
        "{ instance(id: 1) { ...A } } "
        + " ".join(
            f"fragment {name} on Instance {{ parent {{ parent {{ parent {{ ...{other} }} }} }} }}"
            for name, other in ("AB", "BC", "CD", "DE", "EF")
        )
        + " fragment F on Instance { parent { parent { id } } }",
        "depth",
    ),
    "depth by inline fragments": (
        "{ instance(id: 1) {" + " ... { parent {" * 16 + "id" + "} }" * 16 + "} }",
        "depth",
    ),
    "aliases": ("{ instance(id: 1) {" + ALIASES + "} }", "aliases"),
    "aliases spread again and again": (
        "{ instance(id: 1) { ...A p: parent { ...A } parent { ...A } } } fragment A on Instance { "
        + " ".join(f"a{number}: id" for number in range(20))
        + " }",
        "aliases",
    ),
    "aliases in an unused operation": (
        "query A { instance(id: 1) { id } } query B { instance(id: 1) {" + ALIASES + "} }",
        "aliases",
    ),
    "directives": ("{ instance(id: 1) { id " + "@include(if: true) " * 60 + "} }", "directives"),
    "directives of an operation": ("query " + "@a " * 60 + "{ a }", "directives"),
    "directives in fragments": (
        "{ instance(id: 1) { ...A parent { ...A } } } fragment A on Instance { "
        + "id @skip(if: false) " * 15
        + "key @skip(if: false) " * 15
        + "}",
        "directives",
    ),
    "top fields": (
        "{" + " ".join(f"a{number}: engines {{ nodes {{ id }} }}" for number in range(25)) + "}",
        "root_fields",
    ),
    "top fields in fragments": (
        spread_over(" ".join(f"a{number}: __typename" for number in range(5)), 5),
        "root_fields",
    ),
    "one name again and again": ("{ instance(id: 1) {" + "id " * 400 + "} }", "repeats"),
    "one name in inline fragments": ("{ instance(id: 1) {" + "... { id } " * 400 + "} }", "repeats"),
    "fields": (
        "{ "
        + " ".join(
            f"a{each}: instance(id: 1) {{ {' '.join(['id key name version state reason labels mutex'] * 4)} }}"
            for each in range(18)
        )
        + " }",
        "fields",
    ),
    "a billion laughs": (laughs(30), "spreads"),
    "a googol of laughs": (laughs(45, 8), "spreads"),
    "laughs that nobody asked for": ("query A { a } query B " + laughs(30), "spreads"),
    "many variables": (
        "query (" + " ".join(f"$v{number}: Int" for number in range(60)) + ") { a }",
        "variables",
    ),
    "pages of pages": (
        "{ instances(first: 500) { nodes { tasks(first: 100) { nodes { logs(first: 100) { nodes { at } } } } } } }",
        "cost",
    ),
    "pages of pages by default": (
        "{ instances { nodes { children { nodes { children { nodes { children { nodes { id } } } } } } } } }",
        "cost",
    ),
    "pages of pages in fragments": (NESTED, "cost"),
    "explanations of everything": (
        "{ instances(first: 500) { nodes { "
        + " ".join(f'e{number}: explain(path: "a") {{ state }}' for number in range(3))
        + " } } }",
        "cost",
    ),
    "a page without an end": ("{ instances(first: 2000000000) { nodes { id } } }", "cost"),
}
#: Documents that cannot be read at all.
UNREADABLE: dict[str, str] = {
    "nothing": "",
    "blanks": " \t\n,",
    "a comment": "# { a }",
    "an open bracket": "{ a",
    "an open string": '{ a(b: "',
    "a lone surrogate": '{ a(b: "\\ud800") }',
    "a control character": "{ a \x07 }",
    "a byte of zero": "{ a\0 }",
    "a type": "type A { b: Int }",
    "a schema": "schema { query: A }",
    "a fragment alone": "fragment A on Query { engines { nodes { id } } }",
    "a fragment of itself": "{ ...A } fragment A on Query { ...A }",
    "fragments in a ring": (
        "{ ...A } fragment A on Query { ...B } fragment B on Query { ...C } fragment C on Query { ...A }"
    ),
    "a ring that nobody asked for": (
        "{ engines { nodes { id } } } fragment A on Query { ...B } fragment B on Query { ...A }"
    ),
    "a fragment twice": "{ ...A } fragment A on Query { __typename } fragment A on Query { __typename }",
    "two operations without a choice": "query A { a } query B { b }",
    "a subscription": "subscription { events { nodes { name } } }",
}


def refused(text: str) -> Refused:
    """What refuses a document, before or after the schema was looked at."""
    try:
        document = read_document(text, None, LIMITS)
    except Refused as exc:
        return exc
    return TooMuch("cost", LIMITS.cost, weigh(document, build(), {}).cost)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_is_too_much(name: str) -> None:
    text, limit = HOSTILE[name]
    found = refused(text)
    assert isinstance(found, TooMuch), found
    assert (found.what, found.status) == (limit, 413)
    assert found.allowed == getattr(LIMITS, limit) < found.found
    assert str(found.allowed) in found.detail


def test_hostile_documents_through_the_server(api: Served, gql: Ask) -> None:
    for text, limit in HOSTILE.values():
        if len(text) > 3_900_000:
            continue  # the body's own limit is another test's
        error = gql(text, status=413)["errors"][0]
        assert (error["extensions"]["code"], error["extensions"]["status"]) == (f"too_much_{limit}", 413)
        assert error["extensions"]["allowed"] == getattr(LIMITS, limit)
    for text in UNREADABLE.values():
        answer = gql(text, status=422 if "\0" in text else 400)
        assert answer["errors"][0]["extensions"]["code"] in {"syntax", "request", "fragment_cycle"}, answer
        assert "data" not in answer
    large = {"query": "{" * 4_300_000}
    assert api("POST", "/graphql", token=api.token(), status=413, json=large).json()["code"] == "too_large"
    full = {"query": "{" * 4_100_000}
    found = api("POST", "/graphql", token=api.token(), status=413, json=full).json()
    assert found["errors"][0]["extensions"]["code"] == "too_much_length"


def test_limits_of_pages_and_variables(api: Served, token: str, gql: Ask) -> None:
    listed = (
        "query ($n: Int!) { instances(first: $n) { nodes { id children(first: 100) { nodes { id } } } } }"
    )
    assert gql(listed, status=413, n=500)["errors"][0]["extensions"]["code"] == "too_much_cost"
    assert gql(listed, n=10) == {"instances": {"nodes": []}}
    for number in (0, -1, 501):
        error = gql("query ($n: Int!) { instances(first: $n) { nodes { id } } }", status=422, n=number)
        assert error["errors"][0]["extensions"]["pointers"] == ["/first"]
    body = {"query": "query ($a: JSON) { engines { nodes { id } } }", "variables": {"a": "x" * 1_100_000}}
    found = api("POST", "/graphql", token=token, status=413, json=body).json()
    assert found["errors"][0]["extensions"]["code"] == "too_much_variable_bytes"


def test_every_number_can_be_set(serve: Serve) -> None:
    small = GraphQLLimits(tokens=20, depth=3, cost=30)
    with serve(limits=ServerLimits(rate=0, graphql=small)) as api:
        ask = asking(api, api.token())
        assert ask("{ engines(first: 5) { nodes { id } } }")["engines"]["nodes"] != []
        for text, limit in (
            ("{ engines(first: 5) { nodes { id host pid slots role state host } } }", "tokens"),
            ("{ instance(id: 1) { parent { parent { id } } } }", "depth"),
            ("{ engines(first: 50) { nodes { id } } }", "cost"),
        ):
            found = ask(text, status=413)["errors"][0]["extensions"]
            assert (found["limit"], found["allowed"]) == (limit, getattr(small, limit))
    assert {each.name for each in dataclasses.fields(GraphQLLimits)} >= {"length", "seconds", "repeats"}


def test_the_time_of_a_query_is_bounded(serve: Serve) -> None:
    """It ends with an error, and what it still reads ends with it; a mutation begins nothing."""
    with serve(limits=ServerLimits(rate=0, graphql=GraphQLLimits(seconds=0.0))) as api:
        token = api.token()
        ask = asking(api, token)
        answer = ask("{ instances { nodes { id } } }", status=422)
        assert answer["errors"][0]["extensions"]["code"] == "timeout"
        start = "mutation ($d: JSON!) { startInstance(input: {document: $d}) { id } }"
        answer = ask(start, errors=True, d=HELLO)
        assert answer["errors"][0]["extensions"]["code"] == "timeout"
        assert api("GET", "/instances", token=token).json()["items"] == []


def test_the_introspection_of_common_tools_is_within_the_limits(gql: Ask) -> None:
    from graphql import build_client_schema, get_introspection_query, print_schema

    found = gql(get_introspection_query(specified_by_url=True, input_value_deprecation=True))
    schema = build_client_schema(found)
    assert schema.query_type is not None
    assert "startInstance" in print_schema(schema)


def test_the_schema_is_not_read_inside_itself(gql: Ask) -> None:
    """Each level would be ten times the one above it."""
    text = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    assert weigh(read_document(text, None, LIMITS), build(), {}).cost > 1_000
    deeper = text.replace("{ name }", "{ type { fields { type { fields { name } } } } }")
    assert weigh(read_document(deeper, None, LIMITS), build(), {}).cost > LIMITS.cost
    assert gql(deeper, status=422)["errors"][0]["extensions"]["code"] == "validation"


@pytest.mark.parametrize(
    ("content", "media", "status", "code"),
    [
        (b"[]", "application/json", 400, "batch"),
        (b'[{"query": "{ engines { nodes { id } } }"}]', "application/json", 400, "batch"),
        (b"{", "application/json", 400, "json"),
        (b"", "application/json", 400, "json"),
        (b'{"query": NaN}', "application/json", 400, "json"),
        (b'{"query": "{ a }", "variables": {"a": "\\ud800"}}', "application/json", 400, "json"),
        (b'{"query": "{ a }", "variables": {"a": ' + b"1" * 5000 + b"}}", "application/json", 400, "json"),
        (b"\xff\xfe", "application/json", 400, "json"),
        (b"1", "application/json", 422, "request"),
        (b"{}", "application/json", 422, "request"),
        (b'{"query": 1}', "application/json", 422, "request"),
        (b'{"query": "{ a }", "variables": []}', "application/json", 422, "request"),
        (b'{"query": "{ a }", "id": "1"}', "application/json", 422, "request"),
        (b'{"query": "{ a }", "operationName": "b"}', "application/json", 400, "request"),
        (
            b'{"query": "{ a }", "extensions": {"persistedQuery": {"version": 1}}}',
            "application/json",
            400,
            "persisted_query_not_supported",
        ),
        (b"query=a", "application/x-www-form-urlencoded", 415, "media_type"),
        (b"{ a }", "application/graphql", 415, "media_type"),
        (
            b'--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{}\r\n--x--',
            "multipart/form-data; boundary=x",
            415,
            "media_type",
        ),
    ],
)
def test_bodies_that_are_none(
    api: Served, token: str, content: bytes, media: str, status: int, code: str
) -> None:
    headers = {"content-type": media}
    found = api("POST", "/graphql", token=token, status=status, content=content, headers=headers).json()
    assert found["errors"][0]["extensions"]["code"] == code
    assert found["errors"][0]["extensions"]["request_id"]


def test_there_is_no_other_way_in(api: Served, token: str) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        found = api(method, "/graphql?query={engines{nodes{id}}}", token=token, status=405)
        assert found.headers["content-type"] == "application/problem+json"
        assert found.headers["Allow"] == "POST"
    assert api("POST", "/graphql?query={engines{nodes{id}}}", token=token, content=b"").status_code == 415


def test_the_media_type_is_the_one_asked_for(api: Served, token: str) -> None:
    body = json.dumps({"query": "{ __typename }"}).encode()
    for wanted, given in (
        ("application/graphql-response+json, application/json;q=0.9", "application/graphql-response+json"),
        ("*/*", "application/json"),
    ):
        headers: dict[str, Any] = {"accept": wanted, "content-type": "application/json"}
        found = api("POST", "/graphql", token=token, status=200, content=body, headers=headers)
        assert found.headers["content-type"] == given
        assert found.json() == {"data": {"__typename": "Query"}}


def test_nothing_is_read_when_the_time_is_over() -> None:
    """Between any two statements the time is looked at: what is left of a query reads nothing more."""
    now = [0.0]
    nothing: Any = SimpleNamespace(database=None, catalog=None)
    context = Context(Caller(Principal("main", None, "tests", ()), nothing), 5.0, lambda: now[0])
    context.check_time()
    now[0] = 5.1
    for read in (context.check_time, lambda: context.relations.history(["x"], 1, 0)):
        with pytest.raises(TimeOver) as caught:
            read()
        assert (caught.value.code, caught.value.allowed) == ("timeout", 5.0)
    now[0] = 1.0
    context.stop()
    with pytest.raises(TimeOver):
        context.relations.task_outputs([("x", "a")])
