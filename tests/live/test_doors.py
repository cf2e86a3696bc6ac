"""Who may open a live stream, and for how long: the same keys and scopes as every call, and pages are looked at."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from sqlalchemy import update
from starlette.routing import WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus

from strataflow.api.live.guard import GuardedWebSocketRoute, require_guards
from strataflow.api.live.settings import StreamLimits
from strataflow.api.rest.app import ServerLimits
from strataflow.repositories.access_tables import API_KEYS
from strataflow.repositories.database import Database
from strataflow.services.access.scopes import RESOURCES, VERBS
from tests.integration.kit import until
from tests.live.conftest import PATH, STREAM, listen, sse, talk, to_the_end
from tests.rest.conftest import HELLO, Serve, Served

QUICK = ServerLimits(rate=0, streams=StreamLimits(heartbeat_s=0.2))


def refused(api: Served, token: str | None, **more: Any) -> int:
    """The status that a handshake is refused with; it is a problem like any other."""
    with pytest.raises(InvalidStatus) as caught:
        listen(api.client.base_url, token, **more)
    response = caught.value.response
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    return response.status_code


def asked(api: Served, token: str | None, **more: Any) -> int:
    """The status of the same as server-sent events."""
    headers = STREAM | ({} if token is None else {"Authorization": f"Bearer {token}"})
    return api.client.get(PATH, headers=headers, **more).status_code


def test_a_stream_needs_a_key_with_its_scope(
    api: Served, token: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for wrong in (None, "nonsense", f"{token[:-4]}AAAA"):
        assert (refused(api, wrong), asked(api, wrong)) == (401, 401)
    everything = [f"{verb}:{resource}" for verb in VERBS for resource in RESOURCES]
    others = api.token(*(scope for scope in everything if scope != "read:events"))
    assert (refused(api, others), asked(api, others)) == (403, 403)
    assert refused(api, others, query={"instance": "0190a000-0000-7000-8000-000000000001"}) == 403
    denied = [
        (each["action"], each["outcome"], each["target"])
        for each in api("GET", "/audit", token=token, status=200).json()["items"]
        if each["status"] == 403
    ]
    assert denied.count(("read:events", "denied", f"WEBSOCKET {PATH}")) == 2
    assert denied.count(("read:events", "denied", f"GET {PATH}")) == 1
    with listen(api.client.base_url, api.token("read:events")) as opened:
        assert talk(opened)["type"] == "begin"
    assert "ERROR" not in capfd.readouterr().err, "a refusal is no error of ours"


def test_a_key_reads_the_events_of_its_own_namespace(serve: Serve) -> None:
    with serve(namespaces=("main", "other")) as api:
        mine, theirs = api.token(), api.token(namespace="other")
        run = {"json": {"definition": HELLO}, "status": 201}
        seen = api("POST", "/instances?wait=30s", token=mine, **run).json()["id"]
        with (
            listen(api.client.base_url, theirs, query={"after": 0, "name": "instance.*"}) as opened,
            sse(api.client.base_url, theirs, after=0, name="instance.*") as stream,
        ):
            own = api("POST", "/instances?wait=30s", token=theirs, **run).json()["id"]
            assert talk(opened)["type"] == "begin"
            first = talk(opened)["event"]
            other = next(frame for frame in stream if frame.data and "instance_id" in frame.data)
            assert {first["instance_id"], other.data["instance_id"]} == {own} != {seen}
        forged = theirs.replace("sf1.other.", "sf1.main.")
        assert (refused(api, forged), asked(api, forged)) == (401, 401)


def test_a_token_is_taken_from_header_or_subprotocol_and_never_from_the_address(
    api: Served, token: str
) -> None:
    protocols: Any = ["strataflow.v1", f"bearer.{token}"]
    with listen(api.client.base_url, None, subprotocols=protocols) as opened:
        assert opened.subprotocol == "strataflow.v1", "the token is not said back"
        assert talk(opened)["type"] == "begin"
    assert refused(api, None, subprotocols=["strataflow.v1", "bearer.nonsense"]) == 401
    for name in ("token", "access_token", "authorization", "bearer"):
        assert refused(api, None, query={name: token}) == 401
        assert asked(api, None, params={name: token}) == 401


def test_pages_of_other_origins_may_not_open_one(serve: Serve) -> None:
    allowed = StreamLimits(origins=frozenset({"https://flows.example"}))
    with serve(limits=ServerLimits(rate=0, streams=allowed)) as api:
        token = api.token()
        own = str(api.client.base_url).rstrip("/")
        for origin in ("https://flows.example", own):
            with listen(api.client.base_url, token, origin=origin) as opened:
                assert talk(opened)["type"] == "begin"
        port = api.client.base_url.port or 0
        for origin in (
            "https://evil.example",
            "null",
            f"http://127.0.0.1:{port + 1}",
            f"http://127.0.0.1.evil.example:{port}",
            "https://flows.example.evil.example",
            "http://flows.example",
            "http://[",
        ):
            assert refused(api, token, origin=origin) == 403, origin


def test_a_host_that_is_not_expected_is_refused(serve: Serve) -> None:
    with serve(hosts=frozenset({"127.0.0.1"})) as api:
        token, port = api.token(), api.client.base_url.port or 0
        with listen(api.client.base_url, token) as opened:
            assert talk(opened)["type"] == "begin"
        sock = socket.create_connection(("127.0.0.1", port))
        assert refused(api, token, place=f"http://evil.example:{port}", sock=sock) == 400


def test_a_websocket_route_that_does_not_say_what_it_needs_cannot_be_made() -> None:
    async def handle(_: Any) -> None: ...

    with pytest.raises(TypeError, match="does not say what it needs"):
        GuardedWebSocketRoute("/open", handle, need="")
    with pytest.raises(ValueError, match="no scope"):
        GuardedWebSocketRoute("/open", handle, need="read:everything")
    require_guards([GuardedWebSocketRoute("/open", handle, need="read:events")])
    with pytest.raises(TypeError, match="does not say what it needs"):
        require_guards([WebSocketRoute("/open", handle)])


def expire(api: Served, key_id: str) -> None:
    database = Database(api.urls["main"])
    with database.write() as connection:
        connection.execute(update(API_KEYS).where(API_KEYS.c.id == key_id).values(expires_at=1))
    database.close()


@pytest.mark.parametrize("way", ["revoked", "expired"])
def test_a_stream_ends_when_its_key_does(serve: Serve, way: str) -> None:
    with serve(limits=QUICK) as api:
        admin = api.token()
        body = {"name": "ci", "scopes": ["read:events"], "expires_in": "1h"}
        made = api("POST", "/keys", token=admin, status=201, json=body).json()
        with (
            listen(api.client.base_url, made["token"]) as opened,
            sse(api.client.base_url, made["token"]) as stream,
        ):
            if way == "revoked":
                api("DELETE", f"/keys/{made['id']}", token=admin, status=200)
            else:
                expire(api, made["id"])
            last = [frame for frame in stream if frame.event != "message"][-1]
            assert (last.event, last.data["code"]) == ("error", "unauthenticated")
            assert to_the_end(opened)[1:] == (4401, "unauthenticated")
        assert refused(api, made["token"]) == 401


def test_too_many_streams(serve: Serve) -> None:
    few = ServerLimits(rate=0, streams=StreamLimits(per_key=2))
    with serve(limits=few) as api:
        token = api.token()
        with listen(api.client.base_url, token) as first, sse(api.client.base_url, token) as second:
            assert (talk(first)["type"], next(second).data) == ("begin", None)
            assert asked(api, token) == 429
            with listen(api.client.base_url, token) as third:
                assert to_the_end(third) == ([], 4029, "too_many_streams")
            with listen(api.client.base_url, api.token()) as other:
                assert talk(other)["type"] == "begin", "it is another key's"
        until(lambda: room(api, token))


def room(api: Served, token: str) -> bool:
    with listen(api.client.base_url, token) as opened:
        try:
            return talk(opened)["type"] == "begin"
        except ConnectionClosed:
            return False


def test_only_who_asks_for_a_stream_gets_one(api: Served, token: str) -> None:
    for path in ("/events/stream", "/instances/0190a000-0000-7000-8000-000000000001/logs/stream"):
        found = api("GET", path, token=token, status=406)
        assert found.json()["code"] == "not_acceptable"
