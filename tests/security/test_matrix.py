"""Every door times every kind of key, from what the application itself says its doors are.

A route that appears is here without anybody's doing; one that says nothing this table knows fails the test.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from graphql import GraphQLObjectType
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Router, WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from strataflow.api.graphql.schema import build
from strataflow.api.live.guard import GuardedWebSocketRoute
from strataflow.api.rest import metrics
from strataflow.api.rest.gate import KEYED, NEED, PUBLIC, GuardedRoute
from strataflow.api.rest.routes import ROUTERS, adhoc
from strataflow.repositories.database import Database
from strataflow.services.access.keys import KeyService
from strataflow.services.access.scopes import RESOURCES, VERBS
from tests.graphql.test_scopes import around, document_of, guarded
from tests.rest.conftest import API, HELLO, Serve, Served
from tests.rest.test_gate import filled

EVERYTHING: Final = frozenset(f"{verb}:{resource}" for verb in VERBS for resource in RESOURCES)
#: What anybody may ask; a route that joins them is decided about here, not where it is written.
OPEN: Final = frozenset({"/live", "/ready", "/version", "/openapi.json"})
#: What asks for its scopes itself, as only the body shows them; the fields of it stand in a test of their own.
ASKS_ITSELF: Final = frozenset({"/graphql"})
#: What a call needs beside its scope, whatever stands in its body; what depends on the body: test_privilege.py.
MORE: Final = {("POST", "/instances/import"): frozenset({"define:definitions"})}
NOBODY: Final = "sf1.main." + uuid.UUID(int=1).hex + "." + "A" * 43


@dataclass
class Keys:
    """One of each kind."""

    api: Served
    made: dict[frozenset[str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        database = Database(self.api.urls["main"])
        try:
            service = KeyService(database, "main")
            revoked = service.create("revoked", ["*:*"])
            service.revoke(revoked.key.id)
            expired = service.create("expired", ["*:*"], 0.000_001)
        finally:
            database.close()
        foreign = self.api.token(namespace="other")
        good = self.api.token()
        self.bad: dict[str, str | None] = {
            "no key": None,
            "malformed": "sf1.main.x.y",
            "never issued": NOBODY,
            "wrong secret": good[:-43] + "B" * 43,
            "expired": expired.token,
            "revoked": revoked.token,
            "of another namespace, as one of this": foreign.replace("sf1.other.", "sf1.main."),
            "of a namespace that is not served": foreign.replace("sf1.other.", "sf1.third."),
        }

    def of(self, scopes: frozenset[str]) -> str:
        if scopes not in self.made:
            self.made[scopes] = self.api.token(*sorted(scopes))
        return self.made[scopes]


@dataclass(frozen=True)
class Door:
    """A call."""

    method: str
    path: str
    need: str


def doors() -> list[Door]:
    """Every HTTP route that the application has, in its document or not."""
    found: list[Door] = []
    for router in (*ROUTERS, adhoc.root):
        for route in router.routes:
            if isinstance(route, WebSocketRoute):
                continue
            assert isinstance(route, GuardedRoute), f"{route} is not behind the gate"
            need = (route.openapi_extra or {})[NEED]
            where = "" if router is adhoc.root else API
            found += [Door(method, where + route.path_format, need) for method in sorted(route.methods or ())]
    return found


def sockets() -> list[GuardedWebSocketRoute]:
    found: list[BaseRoute] = [route for router in ROUTERS for route in router.routes]
    plain = [route for route in found if isinstance(route, WebSocketRoute)]
    assert plain
    assert all(isinstance(route, GuardedWebSocketRoute) for route in plain)
    return [route for route in plain if isinstance(route, GuardedWebSocketRoute)]


@pytest.fixture
def both(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Two namespaces, and nobody is slowed down for guessing: a test of its own holds that."""
    monkeypatch.setattr("strataflow.api.rest.callers._GUESSES", (0.0, 0))
    with serve(namespaces=("main", "other"), executes=False) as served:
        yield served


def call(api: Served, door: Door, token: str | None) -> Any:
    body: dict[str, Any] = {"json": {}} if door.method in {"POST", "PUT", "PATCH"} else {}
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return api.client.request(door.method, filled(door.path), headers=headers, **body)


def test_every_route_is_behind_the_gate_and_classified(both: Served) -> None:
    """What the server serves, what it documents and what stands above are the same; nothing else answers."""
    found = doors()
    told = both("GET", "/openapi.json", status=200).json()["paths"]
    documented = {(method.upper(), path) for path, entry in told.items() for method in entry}
    listed = {(door.method, door.path) for door in found}
    assert documented <= listed
    hidden = {path.removeprefix(API) for _, path in listed - documented}
    assert hidden == {"/openapi.json", "/graphql", "/tasks/run/ad_hoc", "/tasks/{task_id}"}
    for door in found:
        name = door.path.removeprefix(API)
        if door.need == PUBLIC:
            assert name in OPEN, f"{door} is open to everybody"
        elif door.need == KEYED:
            assert name in ASKS_ITSELF, f"{door} is open to every key"
        else:
            assert door.need in EVERYTHING, door
            changes = door.method not in {"GET", "HEAD"}
            looks = {"validate", "graph", "diff", "convert", "preview"}
            if changes and door.need.startswith("read:"):
                assert name.rsplit("/", 1)[1] in looks, f"{door} changes something with a scope to read"
            if door.need.startswith(("start:", "operate:", "define:", "schedule:")):
                assert changes, f"{door} looks and needs {door.need}"


def test_the_route_that_telemetry_adds_is_behind_the_gate() -> None:
    (found,) = metrics.router.routes
    assert isinstance(found, GuardedRoute)
    assert (found.openapi_extra or {})[NEED] == "read:statistics"


@pytest.mark.long("postgres")
def test_every_route_times_every_kind_of_key(both: Served) -> None:
    keys = Keys(both)
    for door in doors():
        if door.need == PUBLIC:
            assert call(both, door, None).status_code in {200, 503}, door
            continue
        for kind, token in keys.bad.items():
            found = call(both, door, token)
            assert found.status_code == 401, (door, kind, found.text)
            assert found.headers["www-authenticate"] == "Bearer"
        if door.need == KEYED:
            continue
        refused = call(both, door, keys.of(EVERYTHING - {door.need}))
        assert refused.status_code == 403, (door, refused.text)
        assert refused.json()["hint"] == f"It needs the scope {door.need}."
        more = MORE.get((door.method, door.path.removeprefix(API)), frozenset())
        enough = call(both, door, keys.of(frozenset({door.need}) | more))
        assert enough.status_code not in {401, 403, 500}, (door, enough.text)
        for scope in more:
            short = call(both, door, keys.of(EVERYTHING - {scope}))
            assert short.status_code == 403, (door, scope)


def test_every_socket_times_every_kind_of_key(both: Served) -> None:
    keys, base = Keys(both), both.client.base_url
    for route in sockets():
        guard: Any = route.endpoint
        need, address = str(guard.need), f"ws://{base.host}:{base.port}{API}{route.path}"
        expected = {kind: (token, 401) for kind, token in keys.bad.items()}
        expected["all but one"] = (keys.of(EVERYTHING - {need}), 403)
        for kind, (token, status) in expected.items():
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            with pytest.raises(InvalidStatus) as caught:
                connect(address, additional_headers=headers)
            assert caught.value.response.status_code == status, (route.path, kind)
        with connect(address, additional_headers={"Authorization": f"Bearer {keys.of(frozenset({need}))}"}):
            pass


@pytest.mark.long("postgres")
def test_every_field_times_every_kind_of_key(both: Served) -> None:
    """At the top, and wherever a relation crosses to another resource."""
    keys, built = Keys(both), build()
    both("POST", "/definitions", token=keys.of(EVERYTHING), json={"definition": HELLO}, status=201)
    places = guarded(built)
    for root in (built.schema.query_type, built.schema.mutation_type):
        assert isinstance(root, GraphQLObjectType)
        assert {(root.name, name) for name in root.fields} <= set(places), "a field at the top needs nothing"
    for place in places:
        body = {"query": document_of(built, *place)}
        (need,) = map(str, built.facts[place].needs)
        for kind, token in keys.bad.items():
            found = both("POST", "/graphql", token=token, json=body)
            assert found.status_code == 401, (place, kind)
            assert "data" not in found.json()
        refused = both("POST", "/graphql", token=keys.of(EVERYTHING - {need}), json=body, status=403)
        assert refused.json()["errors"][0]["extensions"]["hint"] == f"It needs the scope {need}."
        enough = frozenset({need, *around(built, place[0])})
        answer = both("POST", "/graphql", token=keys.of(enough), json=body).json()
        for error in answer.get("errors", ()):
            assert error["extensions"]["status"] not in {401, 403, 500}, (place, error)


def test_a_route_that_is_mounted_past_the_gate_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table looks at what is there, not at what is expected to be."""
    router = Router()
    router.add_route("/open", PlainTextResponse)
    monkeypatch.setattr("tests.security.test_matrix.ROUTERS", (*ROUTERS, router))
    with pytest.raises(AssertionError, match="not behind the gate"):
        doors()
