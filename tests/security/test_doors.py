"""What comes through the wall: two meanings of one request, pages that are not the owner's, bodies that never end."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from strataflow.api.rest.app import ServerLimits, create_app
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from tests.rest.conftest import API, GATED, HELLO, Serve, Served, listening
from tests.security.conftest import raw

EVIL = "https://evil.example"


@pytest.mark.parametrize("first", [True, False])
def test_two_credentials_are_none(api: Served, token: str, *, first: bool) -> None:
    """A proxy may have looked at the other one."""
    both = [f"Authorization: Bearer {token}", "Authorization: Bearer x"]
    lines = "\n".join(both if first else reversed(both))
    status, text = raw(api, f"GET {API}/instances HTTP/1.1\nHost: x\n{lines}\nConnection: close")
    assert (status, '"code":"headers"' in text) == (400, True)


def test_a_body_has_one_length(api: Served, token: str) -> None:
    """Who counts by the other length sees another request behind this one."""
    head = f"POST {API}/instances HTTP/1.1\nHost: x\nAuthorization: Bearer {token}\nContent-Length: 5"
    status, text = raw(api, f"{head}\nTransfer-Encoding: chunked", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert (status, '"code":"headers"' in text) == (400, True)
    assert text.count("HTTP/1.1") == 1


def test_a_body_that_never_ends_is_given_up(serve: Serve) -> None:
    with serve(limits=ServerLimits(rate=0, body_s=0.05)) as api:
        status, text = raw(api, f"POST {API}/instances HTTP/1.1\nHost: x\nContent-Length: 5", b"{")
        assert (status, '"code":"too_slow"' in text) == (408, True)


def test_a_body_is_not_unpacked(api: Served, token: str) -> None:
    import gzip

    packed = gzip.compress(json.dumps({"definition": HELLO}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert api("POST", "/instances", token=token, content=packed, headers=headers).status_code in {400, 422}


def test_pages_do_nothing_where_no_key_is_asked_for(serve: Serve) -> None:
    """A browser sends any page's requests to this machine; what needs no leave of the browser is refused here."""
    with serve(authenticate=False, hosts=frozenset({"127.0.0.1"})) as api:
        own = f"http://127.0.0.1:{api.client.base_url.port}"
        api("POST", "/definitions", json={"definition": GATED}, status=201)
        for origin in (EVIL, "null", "http://127.0.0.1", "http://localhost:1", own + ".evil.example"):
            headers = {"Origin": origin, "Content-Type": "text/plain"}
            for method, path, body in (
                ("POST", "/instances/import", b"x"),
                ("POST", "/queues/default/pause", b""),
                ("GET", "/instances", b""),
                ("POST", "/graphql", b"{}"),
            ):
                found = api(method, path, content=body, headers=headers, status=403)
                assert found.json()["code"] == "origin", (origin, path)
        api("GET", "/instances", headers={"Origin": own}, status=200)
        api("GET", "/instances", headers={"Host": "evil.example"}, status=400)


def test_no_answer_lets_another_page_read_it(api: Served, token: str) -> None:
    for headers in ({"Origin": EVIL}, {"Origin": EVIL, "Access-Control-Request-Method": "POST"}):
        for method in ("GET", "OPTIONS"):
            found = api(method, "/instances", token=token, headers=headers)
            assert not [name for name in found.headers if name.startswith("access-control")]


def test_a_key_is_never_taken_from_the_address(api: Served, token: str) -> None:
    for name in ("token", "access_token", "authorization", "key", "api_key"):
        api("GET", f"/instances?{name}={token}", status=401)


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\rb", "a\x07b", "a\u202eb", "a\x9bb"])
def test_a_name_of_a_key_steers_no_terminal(api: Served, token: str, name: str) -> None:
    api("POST", "/keys", token=token, json={"name": name, "scopes": ["read:*"]}, status=422)


def test_an_application_of_ones_own_runs_no_local_code_either(db_url: str, tmp_path: Path) -> None:
    """Options of the command line allow it; whoever has a key is somebody else."""
    from strataflow.repositories.database import Database
    from strataflow.services.access.keys import KeyService

    options = Options(create=True, executes=True)
    assert options.allow_local_code
    run = {"shell.run": {"command": f"touch {tmp_path}/done"}}
    definition = {"dsl": "1", "name": "evil", "nodes": {"a": run}}
    with listening(create_app(Namespaces({"main": db_url}, options))) as address:
        database = Database(db_url)
        try:
            token = KeyService(database, "main").create("tests", ["*:*"]).token
        finally:
            database.close()
        answer = httpx.post(
            f"{address}{API}/instances?wait=20s",
            json={"definition": definition},
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
    assert answer.status_code == 422
    assert not (tmp_path / "done").exists()
