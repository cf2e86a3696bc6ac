"""Every field that reads or writes a resource needs its scope; a type without one cannot be a part of the schema."""

from __future__ import annotations

import pytest
import strawberry
from graphql import GraphQLObjectType, get_named_type, is_leaf_type, is_required_argument

from strataflow.api.graphql.declare import needs, part, states
from strataflow.api.graphql.schema import Built, build, make
from strataflow.services.access.scopes import RESOURCES, VERBS, Need
from tests.graphql.conftest import Ask, asking
from tests.rest.conftest import HELLO, Serve, Served

EVERYTHING = [f"{verb}:{resource}" for verb in VERBS for resource in RESOURCES]
ID = "0190a000-0000-7000-8000-000000000001"
#: What must be given, by the type of an argument.
VALUES = {
    "ID": f'"{ID}"',
    "String": '"hello"',
    "Int": "1",
    "JSON": "{}",
    "StartInput": '{definition: "hello"}',
}
#: How a type is reached: what it takes to see one.
WAYS = {
    "Definition": "definitions { nodes { %s } }",
    "DefinitionVersion": "definitions { nodes { latest { %s } } }",
    "Instance": "instances { nodes { %s } }",
    "Task": "instances { nodes { tasks { nodes { %s } } } }",
    "Queue": "queues { nodes { %s } }",
    "QueueEntry": "queues { nodes { entries { %s } } }",
    "Schedule": "schedules { nodes { %s } }",
    "Firing": "schedules { nodes { firings { nodes { %s } } } }",
    "Trigger": "triggers { nodes { %s } }",
    "Started": 'startInstance(input: {definition: "hello"}) { %s }',
    "Operated": f'pauseInstance(id: "{ID}") {{ %s }}',
    "Defined": 'activateDefinition(name: "hello", version: 1) { %s }',
    "Query": "%s",
    "Mutation": "%s",
}


def written(built: Built, kind: str, name: str) -> str:
    """A field with what it must be given, and one thing that it gives."""
    owner = built.schema.type_map[kind]
    assert isinstance(owner, GraphQLObjectType)
    field = owner.fields[name]
    given = [
        f"{argument}: {VALUES[get_named_type(each.type).name]}"
        for argument, each in field.args.items()
        if is_required_argument(each)
    ]
    text = f"{name}({', '.join(given)})" if given else name
    target = get_named_type(field.type)
    return text if is_leaf_type(target) else f"{text} {{ __typename }}"


def guarded(built: Built) -> list[tuple[str, str]]:
    """Every field that asks for a scope: those at the top, and relations that cross to another resource."""
    return [
        place
        for place, facts in built.facts.items()
        if facts.needs and not place[0].endswith(("Connection", "Edge", "Page"))
    ]


def document_of(built: Built, kind: str, name: str) -> str:
    body = WAYS[kind] % written(built, kind, name)
    mutation = kind in {"Mutation", "Started", "Operated", "Defined"}
    return f"mutation {{ {body} }}" if mutation else f"{{ {body} }}"


def test_every_field_of_every_resource_has_a_way() -> None:
    found = guarded(build())
    assert len(found) >= 60
    assert {kind for kind, _ in found} == set(WAYS)


def test_every_field_times_every_scope(api: Served, token: str) -> None:
    """With all scopes but one of those that it needs it is a 403; with these alone it is none."""
    built = build()
    asking(api, token)("mutation ($d: JSON!) { registerDefinition(document: $d) { name } }", d=HELLO)
    seen: dict[tuple[str, ...], Ask] = {}

    def key(*scopes: str) -> Ask:
        return seen.setdefault(scopes, asking(api, api.token(*scopes)))

    for kind, name in guarded(built):
        document = document_of(built, kind, name)
        (own,) = built.facts[kind, name].needs or {None}
        need = str(own)
        refused = key(*(scope for scope in EVERYTHING if scope != need))(document, status=403)
        assert refused["errors"][0]["extensions"]["hint"] == f"It needs the scope {need}.", document
        assert "data" not in refused
        needed = sorted({need, *around(built, kind)})
        answer = key(*needed)(document, errors=True)
        for error in answer.get("errors", ()):
            assert error["extensions"]["status"] not in {401, 403, 500}, (document, error)


def around(built: Built, kind: str) -> set[str]:
    """What the way to a type needs."""
    from strataflow.api.graphql.document import read_document
    from strataflow.api.graphql.limits import GraphQLLimits
    from strataflow.api.graphql.weighing import weigh

    mutation = kind in {"Mutation", "Started", "Operated", "Defined"}
    text = ("mutation " if mutation else "") + "{ " + WAYS[kind] % "__typename" + " }"
    document = read_document(text, None, GraphQLLimits())
    return {str(need) for need in weigh(document, built, {}).needs}


def test_a_resolver_asks_again(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the look at the document wrong, the fields themselves would still refuse."""
    from strataflow.api.graphql import route
    from strataflow.api.graphql.weighing import Demand

    monkeypatch.setattr(route, "weigh", lambda *_: Demand())
    ask = asking(api, api.token("read:instances"))
    answer = ask("{ engines { nodes { id } } }", status=403)
    assert (answer["data"], answer["errors"][0]["extensions"]["code"]) == (None, "forbidden")
    answer = ask('mutation { pauseInstance(id: "x") { id } }', errors=True)
    assert answer["errors"][0]["extensions"]["code"] == "forbidden"


def test_fragments_aliases_and_directives_hide_nothing(api: Served) -> None:
    ask = asking(api, api.token("read:instances"))
    for text in (
        "{ instances { ...A } } fragment A on InstanceConnection { nodes { t: tasks { pageInfo { endCursor } } } }",
        "{ instances { nodes { ... { ... on Instance { logs { __typename } } } } } }",
        "query ($no: Boolean = false) { instances { nodes { events @include(if: $no) { nodes { name } } } } }",
        "{ instances { edges { node { definition { name } } } } }",
        "{ __typename ...Q } fragment Q on Query { __schema { types { name } } }",
        '{ a: __type(name: "Query") { name } }',
    ):
        assert ask(text, status=403)["errors"][0]["extensions"]["code"] == "forbidden", text
    assert ask("{ __typename instances { __typename nodes { __typename id } } }")["__typename"] == "Query"


def test_who_may_not_read_the_schema_learns_nothing_of_it(api: Served) -> None:
    stranger = asking(api, api.token("read:instances"))
    message = stranger("{ instance(id: 1) { task } }", status=422)["errors"][0]["message"]
    assert "Did you mean" not in stranger("{ instancs { nodes { id } } }", status=422)["errors"][0]["message"]
    assert message
    reader = asking(api, api.token("read:definitions"))
    assert "Did you mean" in reader("{ instancs { nodes { id } } }", status=422)["errors"][0]["message"]
    assert reader("{ __schema { queryType { name } } }")["__schema"]["queryType"]["name"] == "Query"


def test_without_a_key_there_is_nothing(api: Served) -> None:
    assert asking(api, None)("{ __typename }", status=401)["code"] == "unauthenticated"
    assert asking(api, "sf1.main.x.y")("{ __typename }", status=401)["code"] == "unauthenticated"


def test_a_key_opens_its_own_namespace_alone(serve: Serve) -> None:
    with serve(namespaces=("main", "other")) as api:
        mine, theirs = asking(api, api.token()), asking(api, api.token(namespace="other"))
        made = mine("mutation ($d: JSON!) { startInstance(input: {document: $d}) { id } }", d=HELLO)
        one = made["startInstance"]["id"]
        look = "query ($id: ID!) { instance(id: $id) { id } instances { nodes { id } } }"
        assert mine(look, id=one) == {"instance": {"id": one}, "instances": {"nodes": [{"id": one}]}}
        assert theirs(look, id=one) == {"instance": None, "instances": {"nodes": []}}
        assert theirs(look, id=one, headers={"X-Namespace": "main"})["instance"] is None
        stop = "mutation ($id: ID!) { cancelInstance(id: $id) { id } }"
        refused = theirs(stop, id=one, errors=True)
        assert refused["errors"][0]["extensions"]["code"] == "not_found"


@strawberry.type
class Open:
    name: str


@part
@strawberry.type
class Bare:
    @strawberry.field
    def name(self) -> str:
        return ""


@part
@strawberry.type
class OfOpen:
    @strawberry.field(metadata=states("read:logs"))
    def one(self) -> Open:
        return Open(name="")


@part
@strawberry.type
class Page:
    pages: int


@part
@strawberry.type
class OfPage:
    @strawberry.field
    def one(self) -> Page:
        return Page(pages=1)


def test_what_does_not_say_what_it_needs_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"the field Bare\.name does not say what it needs"):
        make(Bare)
    with pytest.raises(TypeError, match="the type Open does not say what it needs"):
        make(OfOpen)
    with pytest.raises(TypeError, match=r"the field OfPage\.one does not say what it needs"):
        make(OfPage)
    with pytest.raises(ValueError, match="no scope"):
        needs("read:everything")
    with pytest.raises(ValueError, match="no scope"):
        states("look:logs")


def test_what_gives_a_resource_needs_its_scope_wherever_it_stands() -> None:
    facts = build().facts
    assert facts["Instance", "tasks"].needs == {Need("read", "tasks")}
    assert facts["TaskConnection", "nodes"].needs == {Need("read", "tasks")}
    assert facts["Instance", "logs"].needs == facts["Task", "logs"].needs == {Need("read", "logs")}
    assert facts["Query", "events"].needs == {Need("read", "events")}
    assert facts["Started", "instance"].needs == {Need("read", "instances")}
    assert facts["Mutation", "startInstance"].needs == {Need("start", "instances")}
